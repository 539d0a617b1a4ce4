"""Stopping: what is in flight is finished, what is idle is closed, and what does not end is cut."""

from __future__ import annotations

import time

import pytest
import verdict
import wire
from applications import Blocks, Gate


def test_idle_connections_close_in_silence(serve, transport):
    running = serve(verdict.echo)
    clients = [running.connect() for _ in range(10)]
    for client in clients:
        client.exchange(verdict.GOOD)
    running.stop()
    for client in clients:
        client.assert_closed()


def test_a_request_whose_application_runs_is_answered_with_close(serve, transport):
    gate = Gate()
    running = serve(gate)
    with running.connect() as client:
        client.send(wire.request("/gate"))
        gate.wait_inside()
        running.ask_to_stop()
        gate.open()
        assert client.read_response().body == b"done"
        client.assert_closed()
    running.stop()


def test_requests_pipelined_before_the_stop_are_answered(serve, transport):
    gate = Gate()
    running = serve(gate)
    with running.connect() as client:
        client.send(verdict.GOOD + wire.request("/gate") + verdict.GOOD)
        gate.wait_inside()
        running.ask_to_stop()
        gate.open()
        answers = [client.read_response(), client.read_response()]
        if not answers[1].says_close:
            assert client.read_response().body == b"done"
        client.assert_gone()
    running.stop()
    assert running.targets[:2] == ["/good", "/gate"]


@pytest.mark.parametrize("place", [1, 30, -20, -1])
@pytest.mark.parametrize("chunks", [False, True], ids=["content-length", "chunked"])
def test_a_request_that_is_still_arriving_is_finished(serve, place, chunks):
    running = serve(verdict.echo, unix=True)
    message = wire.request(method="POST", body=b"x" * 100)
    if chunks:
        message = wire.request(method="POST", fields=[("Transfer-Encoding", "chunked")]) + wire.chunked(b"x" * 100)
    with running.connect() as client:
        client.send(message[:place])
        wire.wait_until(lambda: client.unread_bytes() == 0, "the part read")
        running.ask_to_stop()
        client.send(message[place:])
        assert client.read_response().body == b"x" * 100
        client.assert_closed()
    running.stop()


def test_a_response_that_waits_for_its_client_is_finished(serve, transport):
    blocks = Blocks(300)
    running = serve(blocks)
    with running.connect(receive_buffer_bytes=4096) as client:
        client.send(wire.request("/blocks"))
        wire.wait_until(lambda: blocks.asked > 0, "the first block")
        running.ask_to_stop()
        assert len(client.read_response().body) == 300 * blocks.size
        client.assert_closed()
    running.stop()
    assert blocks.closed == 1


def test_connections_that_were_made_before_the_stop_are_served(serve, transport):
    """They wait in the kernel's queue, and have sent their request."""
    gate = Gate()
    running = serve(gate, linger_timeout=0.2)
    with running.connect() as holder:
        holder.send(wire.request("/gate"))
        gate.wait_inside()
        waiting = [running.connect() for _ in range(10)]
        for client in waiting:
            client.send(verdict.GOOD)
        running.ask_to_stop()
        gate.open()
        for client in [holder, *waiting]:
            assert client.read_response().body == b"done"
            client.assert_closed()
    running.stop()


def test_nobody_new_is_accepted_while_the_rest_is_finished(serve, transport):
    blocks = Blocks(300)
    running = serve(blocks, linger_timeout=0.2)
    with running.connect(receive_buffer_bytes=4096) as client, running.connect() as idle:
        client.send(wire.request("/blocks"))
        wire.wait_until(lambda: blocks.asked > 0, "the first block")
        idle.exchange(verdict.GOOD)
        running.ask_to_stop()
        idle.assert_closed()  # so the server has begun to stop
        with pytest.raises(ConnectionRefusedError):
            running.connect()
        assert len(client.read_response().body) == 300 * blocks.size
        running.stop()
    assert running.targets.count("/good") == 1


def test_what_does_not_end_is_cut_when_the_time_is_over(serve, transport):
    blocks = Blocks(1000)
    running = serve(blocks, graceful_timeout=0.3)
    with running.connect(receive_buffer_bytes=4096) as stuck, running.connect() as half:
        half.send(verdict.GOOD[:-1])
        stuck.send(wire.request("/blocks"))
        wire.wait_until(lambda: blocks.asked > 0, "the first block")
        since = time.monotonic()
        running.stop()
        assert 0.2 < time.monotonic() - since < 2
    assert blocks.closed == 1


def test_a_stop_that_is_not_graceful_cuts_at_once(serve, transport):
    blocks = Blocks(1000)
    running = serve(blocks)
    with running.connect(receive_buffer_bytes=4096) as stuck:
        stuck.send(wire.request("/blocks"))
        wire.wait_until(lambda: blocks.asked > 0, "the first block")
        since = time.monotonic()
        running.stop(graceful=False)
        assert time.monotonic() - since < 1
    assert blocks.closed == 1


def test_a_response_that_is_cut_and_ends_with_the_connection_is_reset(serve):
    """HTTP/1.0 without a length: a regular close would say that it is complete (RFC 9112 §8)."""

    def application(environ, start_response):
        start_response("200 OK", [])
        return (b"x" * 65536 for _ in range(1000))

    running = serve(application)
    with running.connect(receive_buffer_bytes=4096) as client:
        client.send(wire.request(version="1.0"))
        client.read_head()
        running.stop(graceful=False)
        client.assert_reset()


def test_a_second_stop_that_is_not_graceful_cuts_the_first(serve):
    blocks = Blocks(1000)
    running = serve(blocks, graceful_timeout=60)
    with running.connect(receive_buffer_bytes=4096) as stuck, running.connect() as idle:
        stuck.send(wire.request("/blocks"))
        wire.wait_until(lambda: blocks.asked > 0, "the first block")
        idle.exchange(verdict.GOOD)
        running.ask_to_stop()
        idle.assert_closed()  # so the server has begun to stop
        assert running.thread.is_alive()
        assert blocks.closed == 0
        since = time.monotonic()
        running.stop(graceful=False)
        assert time.monotonic() - since < 1
    assert blocks.closed == 1


def test_a_client_that_keeps_asking_does_not_keep_the_server_alive(serve, transport):
    running = serve(verdict.echo, linger_timeout=0.2)
    with running.connect() as client:
        client.exchange(verdict.GOOD)
        client.send(verdict.GOOD * 100)
        running.ask_to_stop()

        def ask_again():
            client.send(verdict.GOOD, may_break=True)
            return not running.thread.is_alive()

        wire.wait_until(ask_again, "the server's end, while the client went on")
    running.stop()  # raises what ended the server's thread, if that was no stop
