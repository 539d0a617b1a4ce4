"""Clients that ask and do not read: the iteration waits for them, nobody else does, and memory stays bounded."""

from __future__ import annotations

import time

import pytest
import verdict
import wire
from applications import Blocks

#: More than the kernel takes for one connection whatever it grows its buffers to.
KERNEL_BYTES_MAX = 24 << 20

#: One request of a flood, large so that not too many fit into the kernel.
FLOOD = wire.request("/flood", fields=[("X", "y" * 4000)])


def test_next_is_not_called_while_earlier_octets_are_unsent(serve, transport):
    blocks = Blocks(1000)
    running = serve(blocks)
    with running.connect(receive_buffer_bytes=4096) as stuck, running.connect() as other:
        stuck.send(wire.request("/blocks"))
        wire.wait_until(lambda: blocks.asked > 0, "the first block")
        asked = wire.wait_until_still(lambda: blocks.asked, "the iteration")
        assert asked * blocks.size < KERNEL_BYTES_MAX
        for _ in range(20):  # turns of the loop
            assert other.exchange(verdict.GOOD).body == b"quick"
        assert blocks.asked == asked
        response = stuck.read_response()
        assert len(response.body) == blocks.count * blocks.size
        wire.wait_until(lambda: blocks.closed, "close()")
        assert (blocks.asked, blocks.closed) == (1000, 1)
        stuck.assert_open()


def test_write_waits_for_a_slow_client_as_long_as_it_reads(serve):
    """Less in --write-timeout than poll(2) would call room."""
    body = b"x" * (16 << 20)

    def application(environ, start_response):
        write = start_response("200 OK", [("Content-Length", str(len(body)))])
        write(body)
        return []

    running = serve(application, write_timeout=0.5)
    with running.connect() as client:
        client.send(wire.request())
        got = 0
        until = time.monotonic() + 3
        while time.monotonic() < until:
            got += len(client.sock.recv(16384))
            time.sleep(0.05)
        while got <= len(body) and (octets := client.sock.recv(1 << 20)):
            got += len(octets)
            if got > len(body):
                break
        assert got > len(body)


def test_a_single_block_is_sent_to_its_end(serve, transport):
    body = bytes(range(256)) * 80_000

    def application(environ, start_response):
        start_response("200 OK", [])
        return [body]

    running = serve(application)
    with running.connect(receive_buffer_bytes=4096) as client:
        for _ in range(2):
            client.send(wire.request())
            wire.wait_until(lambda: running.calls, "the application")
            response = client.read_response()
            assert response.framing == "length"
            assert response.body == body


def test_many_slow_clients_at_once_each_get_their_own(serve, transport):
    def application(environ, start_response):
        start_response("200 OK", [])
        letter = environ["PATH_INFO"][1:].encode()
        return (letter * 50_000 for _ in range(40))

    running = serve(application)
    clients = [running.connect(receive_buffer_bytes=4096) for _ in range(10)]
    for number, client in enumerate(clients):
        client.send(wire.request(f"/{number}") * 2)
    for number, client in enumerate(clients):
        for _ in range(2):
            assert client.read_response().body == b"%d" % number * 2_000_000


def test_requests_behind_a_response_that_waits_are_run_after_it(serve, transport):
    blocks = Blocks(500)
    running = serve(blocks)
    with running.connect(receive_buffer_bytes=4096) as stuck, running.connect() as other:
        stuck.send(wire.request("/blocks") + verdict.GOOD * 5)
        wire.wait_until(lambda: blocks.asked > 0, "the first block")
        for _ in range(10):
            other.exchange(wire.request("/other"))
        assert "/good" not in running.targets
        assert len(stuck.read_response().body) == 500 * 65536
        for _ in range(5):
            assert stuck.read_response().body == b"quick"


@pytest.mark.parametrize("size", [10, 3000, 70_000])
def test_a_flood_of_pipelined_requests_whose_answers_nobody_reads_stops_being_read(serve, transport, size):
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"x" * size]

    running = serve(application)
    with running.connect(receive_buffer_bytes=4096) as flood, running.connect() as other:
        sent = 0
        while sent % len(FLOOD) == 0 and (more := flood.send_what_fits(FLOOD * 1000)):
            sent += more
            assert len(other.exchange(wire.request("/other")).body) == size
        assert 0 < sent < 10 * KERNEL_BYTES_MAX
        answered = wire.wait_until_still(lambda: running.targets.count("/flood"), "the flood")
        assert answered * size < KERNEL_BYTES_MAX
        for _ in range(20):
            other.exchange(wire.request("/other"))
        assert running.targets.count("/flood") == answered
        for _ in range(sent // len(FLOOD)):
            assert len(flood.read_response().body) == size
        assert running.targets.count("/flood") == sent // len(FLOOD)


def test_a_flood_does_not_make_the_server_grow(serve_apart):
    """The bound: per connection a partial head, one receive, and response_buffer with room for one head."""
    apart = serve_apart()
    count = 30
    with apart.connect() as other:
        other.exchange(verdict.GOOD)
        before = apart.resident_bytes()
        floods = [apart.connect(receive_buffer_bytes=4096) for _ in range(count)]
        for _ in range(3):
            for flood in floods:
                flood.send_what_fits(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 50_000)
                other.exchange(verdict.GOOD)
        apart.assert_grown_less(count * 400_000, before)
        for flood in floods:
            flood.close()


def test_large_heads_that_never_end_do_not_make_the_server_grow(serve_apart):
    apart = serve_apart()
    with apart.connect() as other:
        other.exchange(verdict.GOOD)
        before = apart.resident_bytes()
        floods = [apart.connect() for _ in range(100)]
        for flood in floods:
            flood.send(b"GET / HTTP/1.1\r\nHost: a\r\n" + (b"X: " + b"y" * 8000 + b"\r\n") * 8)
            other.exchange(verdict.GOOD)
        apart.assert_grown_less(100 * 300_000, before)
        for flood in floods:
            flood.close()
