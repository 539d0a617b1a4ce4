"""Clients that are slow or say nothing: each wait has its end, and its answer (RFC 9110 §15.5.9)."""

from __future__ import annotations

import time

import pytest
import verdict
import wire
from applications import Blocks

from headrace.errors import REFUSALS

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"


def drip(client: wire.Client, octets: bytes) -> bool:
    """An octet every 10 ms, until there are no more (then False) or the server says something (then True)."""
    for octet in octets:
        if client.has_input(0.01):
            return True
        client.send(bytes([octet]))
    return client.has_input()


class TestHead:
    @pytest.mark.parametrize("part", [b"G", b"\r\nG", b"GET / HTTP/1.1\r\n", HEAD, HEAD + b"\r"], ids=repr)
    def test_a_head_that_stops_gets_408(self, serve, transport, part):
        running = serve(verdict.echo, head_timeout=0.2)
        with running.connect() as client:
            client.send(part)
            assert not client.has_input(0.1)
            verdict.assert_refusal(client.read_response(), REFUSALS["REQUEST_HEAD_TIMEOUT"])
            client.assert_closed()
        assert running.calls == 0

    def test_the_first_request_may_come_late_where_there_is_no_keep_alive(self, serve, transport):
        running = serve(verdict.echo, keep_alive=0)
        with running.connect() as client:
            assert not client.has_input(0.1)
            assert client.exchange(verdict.GOOD).status == 200
            client.assert_closed()

    def test_a_connection_on_which_nothing_comes_is_closed_without_a_word(self, serve, transport):
        running = serve(verdict.echo, head_timeout=0.2)
        with running.connect() as client:
            assert not client.has_input(0.1)
            client.assert_closed()

    def test_an_empty_line_is_no_head_yet(self, serve, transport):
        """RFC 9112 §2.2: old clients send one behind a body; an idle connection is closed without a word."""
        running = serve(verdict.echo, head_timeout=0.1, keep_alive=0.4)
        with running.connect() as client:
            assert client.exchange(verdict.GOOD + b"\r\n").status == 200
            assert not client.has_input(0.2)
            client.assert_closed()

    def test_a_head_that_drips_gains_nothing_by_dripping(self, serve, transport):
        """Slowloris."""
        running = serve(verdict.echo, head_timeout=0.3)
        with running.connect() as client:
            client.send(HEAD)
            since = time.monotonic()
            assert drip(client, b"X-Header: value\r\n" * 20)
            assert 0.2 < time.monotonic() - since < 1
            verdict.assert_refusal(client.read_response(), REFUSALS["REQUEST_HEAD_TIMEOUT"])
            client.assert_closed()

    def test_a_head_that_drips_but_ends_in_time_is_served(self, serve, transport):
        running = serve(verdict.echo, head_timeout=3)
        with running.connect() as client:
            drip(client, HEAD + b"\r\n")
            assert client.read_response().status == 200

    def test_a_head_that_follows_an_answered_request_has_its_own_time(self, serve, transport):
        running = serve(verdict.echo, head_timeout=0.2)
        with running.connect() as client:
            client.send(verdict.GOOD + HEAD)
            assert client.read_response().status == 200
            assert client.read_response().status == 408
            client.assert_closed()
        assert running.calls == 1

    def test_the_time_of_a_head_starts_with_its_first_octet(self, serve):
        """Not with the wait for it."""
        running = serve(verdict.echo, head_timeout=0.4, keep_alive=5)
        with running.connect() as client:
            client.exchange(verdict.GOOD)
            for _ in range(3):
                assert not client.has_input(0.3)
                client.send(verdict.GOOD[:20])
                assert not client.has_input(0.05)
                client.send(verdict.GOOD[20:])
                assert client.read_response().status == 200

    def test_a_hundred_dripping_clients_keep_nobody_waiting(self, serve):
        running = serve(verdict.echo, head_timeout=0.5)
        slow = [running.connect() for _ in range(100)]
        for client in slow:
            client.send(HEAD)
        with running.connect() as quick:
            since = time.monotonic()
            while time.monotonic() - since < 0.3:
                for client in slow:
                    client.send(b"X")
                asked = time.monotonic()
                assert quick.exchange(verdict.GOOD).status == 200
                assert time.monotonic() - asked < 0.2
            for client in slow:
                assert client.read_response().status == 408
                client.assert_closed()
                client.close()
            wire.wait_until(lambda: running.connection_count() == 1, "the slow ones gone")


class TestIdle:
    def test_a_client_that_never_says_a_word_is_dropped_in_silence(self, serve, transport):
        running = serve(verdict.echo, keep_alive=0.3, head_timeout=0.3)
        with running.connect() as client:
            client.assert_closed(timeout=3)
        assert running.calls == 0

    def test_an_idle_connection_closes_in_silence(self, serve, transport):
        running = serve(verdict.echo, keep_alive=0.3)
        with running.connect() as client:
            for _ in range(3):
                assert client.exchange(verdict.GOOD).status == 200
                assert not client.has_input(0.15)
            since = time.monotonic()
            client.assert_closed()
            assert time.monotonic() - since < 1
        wire.wait_until(lambda: running.connection_count() == 0, "the connection gone")

    @pytest.mark.parametrize("octets", [(b"\r",), (b"\r", b"\n")], ids=repr)
    def test_an_idle_connection_gains_nothing_by_an_empty_line(self, serve, octets):
        """RFC 9112 §2.2: it may come before a request, and is none."""
        running = serve(verdict.echo, keep_alive=2)
        with running.connect() as dripping, running.connect() as quiet:
            for client in (dripping, quiet):
                assert client.exchange(verdict.GOOD).status == 200
            assert not dripping.has_input(1)
            for octet in octets:
                dripping.send(octet, may_break=True)
                dripping.has_input(0.1)
            quiet.assert_closed()
            assert dripping.has_input(0.5)  # it was idle for longer
            dripping.assert_gone()

    def test_a_health_check_is_a_request_that_keeps_a_connection(self, serve):
        running = serve(verdict.echo, keep_alive=1.5, health_path="/health")
        with running.connect() as checking, running.connect() as quiet:
            for client in (quiet, checking):
                assert client.exchange(verdict.GOOD).status == 200
            while not quiet.has_input(0.1):
                assert checking.exchange(wire.request("/health")).status == 200
            assert checking.exchange(wire.request("/health")).status == 200

    def test_three_hundred_idle_connections_are_closed(self, serve):
        running = serve(verdict.echo, keep_alive=0.3)
        clients = [running.connect() for _ in range(300)]
        for client in clients:
            assert client.exchange(verdict.GOOD).status == 200
        for client in clients:
            client.assert_closed()
        wire.wait_until(lambda: running.connection_count() == 0, "all gone")


class TestBody:
    FRAMINGS = (
        pytest.param(b"Content-Length: 1000\r\n\r\n", id="content-length"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n", id="chunked"),
    )

    @pytest.mark.parametrize("framing", FRAMINGS)
    def test_a_body_that_stops_gets_408(self, serve, transport, framing):
        running = serve(verdict.echo, body_timeout=0.2)
        with running.connect() as client:
            client.send(POST + framing + b"some")
            assert not client.has_input(0.1)
            verdict.assert_refusal(client.read_response(), REFUSALS["REQUEST_BODY_TIMEOUT"])
            client.assert_closed()
        assert running.calls == 0

    @pytest.mark.parametrize("framing", FRAMINGS)
    def test_a_body_that_drips_below_the_least_rate_gets_408(self, serve, framing):
        running = serve(verdict.echo, body_timeout=0.3, body_min_rate=1000)
        with running.connect() as client:
            client.send(POST + framing)
            since = time.monotonic()
            assert drip(client, b"x" * 300)
            assert 0.2 < time.monotonic() - since < 1
            verdict.assert_refusal(client.read_response(), REFUSALS["REQUEST_BODY_TIMEOUT"])
            client.assert_closed()
        assert running.calls == 0

    def test_a_body_that_drips_as_nothing_but_chunk_overhead_gets_408(self, serve):
        running = serve(verdict.echo, body_timeout=0.3, body_min_rate=1000)
        with running.connect() as client:
            client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n1;")
            assert drip(client, b"x" * 300)
            assert client.read_response().status == 408
            client.assert_closed()

    def test_a_slow_body_above_the_least_rate_is_served(self, serve):
        running = serve(verdict.echo, body_timeout=0.2, body_min_rate=10)
        with running.connect() as client:
            client.send(POST + b"Content-Length: 60\r\n\r\n")
            assert not drip(client, b"x" * 50)
            client.send(b"x" * 10)
            response = client.read_response()
            assert (response.status, response.body) == (200, b"x" * 60)

    def test_a_rate_of_zero_allows_any(self, serve):
        running = serve(verdict.echo, body_timeout=0.2, body_min_rate=0)
        with running.connect() as client:
            client.send(POST + b"Content-Length: 50\r\n\r\n")
            drip(client, b"x" * 50)
            assert client.read_response().status == 200

    def test_a_client_that_waits_for_100_continue_and_then_sleeps_gets_408(self, serve):
        running = serve(verdict.echo, body_timeout=0.2)
        with running.connect() as client:
            client.send(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
            assert client.read_response().status == 100
            assert client.read_response().status == 408
            client.assert_closed()
        assert running.calls == 0


class TestWrite:
    def test_a_client_that_never_reads_is_dropped(self, serve, transport, caplog):
        caplog.set_level("INFO", "headrace")
        blocks = Blocks(1000)
        running = serve(blocks, write_timeout=0.3)
        with running.connect(receive_buffer_bytes=4096) as client:
            peer = "unix" if transport == "unix" else f"127.0.0.1:{client.sock.getsockname()[1]}"
            client.send(wire.request("/blocks?secret"))
            wire.wait_until(lambda: blocks.asked > 0, "the first block")
            since = time.monotonic()
            wire.wait_until(lambda: running.connection_count() == 0, "the connection gone", 3)
            assert time.monotonic() - since > 0.2
            wire.wait_until(lambda: blocks.closed, "close()")
            assert blocks.closed == 1
            assert blocks.asked < 200
        assert (
            f"HR207 {peer} did not read its response in time; the connection is closed; its last request: GET /blocks\n"
            in caplog.text
        )

    @pytest.mark.parametrize("kind", ["blocks", "file"])
    def test_a_client_that_reads_slowly_is_not(self, serve, transport, tmp_path, kind):
        """Progress is what the client takes, not when the kernel finds the socket writable: that is when a third of a
        buffer of megabytes is free (half of it, over a UNIX socket)."""
        (tmp_path / "large").write_bytes(b"x" * 10_000_000)
        blocks = Blocks(100, 100_000)

        def application(environ, start_response):
            if kind == "blocks":
                return blocks(environ, start_response)
            start_response("200 OK", [])
            return environ["wsgi.file_wrapper"]((tmp_path / "large").open("rb"))

        running = serve(application, write_timeout=0.5)
        with running.connect() as client:
            client.send(wire.request("/blocks"))
            client.read_head()
            got = 0
            for _ in range(24):
                got += len(client.read_exactly(40_000 if transport == "tcp" else 10_000))
                time.sleep(0.05)  # the slowness that is being tested
            assert len(client.read_exactly(10_000_000 - got)) == 10_000_000 - got
            client.assert_open()

    def test_a_file_for_a_client_that_never_reads_is_given_up(self, serve, transport, tmp_path):
        path = tmp_path / "large"
        path.write_bytes(b"x" * 20_000_000)
        files = []

        def application(environ, start_response):
            file = path.open("rb")
            files.append(file)
            start_response("200 OK", [])
            return environ["wsgi.file_wrapper"](file)

        running = serve(application, write_timeout=0.3)
        with running.connect(receive_buffer_bytes=4096) as client:
            client.send(wire.request())
            wire.wait_until(lambda: files, "the application")
            wire.wait_until(lambda: running.connection_count() == 0, "the connection gone", 3)
        wire.wait_until(lambda: files[0].closed, "close() of the file")

    @pytest.mark.parametrize("kind", ["small blocks", "large blocks"])
    def test_a_response_that_ends_with_the_connection_is_reset(self, serve, kind):
        """To HTTP/1.0 without a length a regular close would say that the response is complete (RFC 9112 §8)."""
        size = 1000 if kind == "small blocks" else 10_000_000

        def application(environ, start_response):
            start_response("200 OK", [])
            return (b"x" * size for _ in range(20_000_000 // size))

        running = serve(application, write_timeout=0.2)
        with running.connect(receive_buffer_bytes=4096) as client:
            client.send(wire.request(version="1.0"))
            wire.wait_until(lambda: running.calls, "the application")
            wire.wait_until(lambda: running.connection_count() == 0, "the connection gone", 3)
            client.assert_reset()

    def test_pipelined_answers_that_nobody_reads_are_given_up(self, serve):
        """A client that floods and reads nothing."""
        running = serve(verdict.echo, write_timeout=0.3, unix=True)
        with running.connect() as client:
            client.send_what_fits(verdict.GOOD * 100_000)
            wire.wait_until(lambda: running.calls, "the application")
            wire.wait_until(lambda: running.connection_count() == 0, "the connection gone", 3)
        assert running.calls < 100_000

    def test_a_refusal_that_nobody_reads_is_given_up(self, serve, tmp_path, has_interpreter_lock):
        """Behind more answers than the socket takes, a request that is none."""
        log = tmp_path / "access.log"

        def application(environ, start_response):
            start_response("200 OK", [])
            return [b"x" * 8000]

        running = serve(application, write_timeout=0.3, response_buffer=1 << 20, access_logfile=str(log), unix=True)
        with running.connect() as client:
            client.send(wire.request() * 100 + b"BAD\r\n\r\n")
            wire.wait_until(lambda: running.connection_count() == 1, "the connection")
            wire.wait_until(lambda: running.connection_count() == 0, "the connection gone", 3)
            assert client.read_until_close().count(b"HTTP/1.1 ") < 100
        running.stop()
        statuses = [line.split('" ')[1][:3] for line in log.read_text().splitlines()]
        if has_interpreter_lock and "400" not in statuses:
            # The first of them had taken their turn, on a slow machine: their answers filled the socket before the last
            # request was looked at.
            assert statuses == ["200"] * len(statuses)
            assert 0 < len(statuses) <= 100
        elif has_interpreter_lock:
            assert statuses == ["200"] * 100 + ["400"]
        else:
            # Each answer leaves before the next call, so the socket is full before the last request is looked at: the
            # one that waited for room gets no answer, and what is behind it is not read.
            answered = statuses.count("200")
            assert 0 < answered < 100
            assert statuses == ["200"] * answered + ["499"]

    def test_the_write_callable_gives_up_as_well(self, serve, transport):
        failures = []

        def application(environ, start_response):
            write = start_response("200 OK", [])
            try:
                for _ in range(1000):
                    write(b"x" * 65536)
            except OSError as failure:
                failures.append(failure)
                raise
            return []

        running = serve(application, write_timeout=0.3)
        with running.connect(receive_buffer_bytes=4096) as client:
            client.send(wire.request())
            wire.wait_until(lambda: failures, "the end of write()", 3)
            wire.wait_until(lambda: running.connection_count() == 0, "the connection gone")
        assert "0.3" in str(failures[0])
