"""Request bodies against what the server is willing to hold: limits, totals, temporary files."""

from __future__ import annotations

import contextlib
import os
import random
import re
import tempfile
import threading
import time
from pathlib import Path

import pytest
import verdict
import wire

from headrace.errors import REFUSALS

KIB = 1024
NO_ROOM = REFUSALS["REQUEST_NO_ROOM_FOR_BODY"]


def upload(size: int) -> tuple[bytes, bytes]:
    """All but the last octet of a request with a body of this size, and that octet."""
    message = wire.request(method="POST", body=b"x" * size)
    return message[:-1], message[-1:]


def begin(running, size: int) -> tuple[wire.Client, bytes]:
    """A client whose body has reached the server except for its last octet.  Over a UNIX socket."""
    client = running.connect()
    first, last = upload(size)
    client.send(first)
    wire.wait_until(lambda: client.unread_bytes() == 0, "the body read")
    return client, last


@pytest.mark.parametrize("chunks", [False, True], ids=["content-length", "chunked"])
def test_bodies_beyond_both_totals_get_503_and_room_comes_back(serve, prompt_release, chunks):
    """Five rounds: if anything of a round were not given back, the next would fail earlier."""
    running = serve(
        verdict.echo,
        unix=True,
        request_body_memory=100 * KIB,
        total_body_memory=100 * KIB,
        total_body_spool=250 * KIB,
        **prompt_release,
    )
    body = b"x" * 90 * KIB
    message = wire.request(method="POST", body=body)
    if chunks:
        message = wire.request(method="POST", fields=[("Transfer-Encoding", "chunked")]) + wire.chunked(body)
    for _ in range(5):
        clients = []
        for _ in range(3):  # one in memory, two in files
            client = running.connect()
            client.send(message[:-1])
            wire.wait_until(lambda reader=client: reader.unread_bytes() == 0, "the body read")
            clients.append(client)
        with running.connect() as refused:
            refused.send(message, may_break=True)
            verdict.assert_refusal(refused.read_response(), NO_ROOM)
            refused.assert_closed()
        with running.connect() as small:
            assert small.exchange(verdict.GOOD).status == 200
        for client in clients:
            assert client.exchange(message[-1:]).body == body
            client.close()
    assert running.calls == 20


def test_room_comes_back_when_clients_leave(serve, prompt_release):
    running = serve(verdict.echo, unix=True, total_body_memory=100 * KIB, total_body_spool=100 * KIB, **prompt_release)
    for _ in range(3):
        clients = [begin(running, 90 * KIB)[0] for _ in range(2)]
        with running.connect() as refused:
            refused.send(upload(90 * KIB)[0], may_break=True)
            assert refused.read_response().status == 503
        for client in clients:
            client.close()
        wire.wait_until(lambda: running.connection_count() == 0, "all gone")
    assert running.calls == 0


def test_room_comes_back_when_a_body_is_refused_or_too_slow(serve, prompt_release):
    running = serve(
        verdict.echo,
        unix=True,
        total_body_memory=100 * KIB,
        total_body_spool=0,
        body_timeout=0.1,
        limit_request_body=95 * KIB,
        **prompt_release,
    )
    for _ in range(3):
        slow, _ = begin(running, 90 * KIB)
        assert slow.read_response().status == 408
        bad = running.connect()
        bad.send(
            wire.request(method="POST", fields=[("Transfer-Encoding", "chunked")])
            + b"14000\r\n"
            + b"x" * 0x14000
            + b"bad"
        )
        assert bad.read_response().status == 400
        large = running.connect()
        large.send(
            wire.request(method="POST", fields=[("Transfer-Encoding", "chunked")]) + b"18000\r\n" + b"x" * 0x18000
        )
        assert large.read_response().status == 413
    assert running.exchange(wire.request(method="POST", body=b"x" * 90 * KIB)).status == 200


def test_room_is_taken_for_as_long_as_the_application_holds_the_body(serve, has_interpreter_lock, prompt_release):
    held = []

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/keep":
            held.append(environ["wsgi.input"])
        start_response("200 OK", [])
        return [b"ok"]

    running = serve(application, total_body_memory=100 * KIB, total_body_spool=0, **prompt_release)
    body = b"x" * 90 * KIB
    with running.connect() as client:
        assert client.exchange(wire.request("/keep", method="POST", body=body)).status == 200
        assert running.exchange(wire.request(method="POST", body=body)).status == 503
        assert held.pop().read() == body
        if not has_interpreter_lock:
            # What the server's thread made and this one let go of ends when that thread next looks: see prompt_release.
            wire.wait_until(lambda: running.exchange(wire.request(method="POST", body=body)).status == 200, "room")
        for _ in range(3):
            assert client.exchange(wire.request(method="POST", body=body)).status == 200


@pytest.mark.parametrize("size", [10, 600 * KIB])
def test_an_application_may_read_the_body_after_the_response(serve, size):
    """wsgi.input outlives the request when the application keeps it; it is nobody else's."""
    held = []

    def application(environ, start_response):
        held.append(environ["wsgi.input"])
        start_response("200 OK", [])
        return [b"ok"]

    running = serve(application)
    with running.connect() as client:
        for letter in (b"a", b"b", b""):
            client.exchange(wire.request(method="POST", body=letter * size))
    assert [input_.read() for input_ in held] == [b"a" * size, b"b" * size, b""]
    held.clear()


@pytest.mark.parametrize("folder", ["/nonexistent/folder", "/proc"])
def test_bodies_go_to_anonymous_memory_where_the_default_folder_is_not_writable(
    serve, folder, monkeypatch, prompt_release
):
    if not hasattr(os, "memfd_create"):
        pytest.skip("no memfd_create here")
    running = serve(verdict.echo, total_body_spool=3_000_000, **prompt_release)
    monkeypatch.setattr(tempfile, "tempdir", folder)
    body = os.urandom(2_000_000)
    with running.connect() as client:
        for _ in range(3):
            assert client.exchange(wire.request(method="POST", body=body)).body == body
        client.send(wire.request(method="POST", body=body * 2), may_break=True)
        assert client.read_response().status == 503


def test_a_folder_that_was_named_and_has_gone_is_503_and_no_body_in_memory(serve, tmp_path, caplog):
    folder = tmp_path / "spool"
    folder.mkdir()
    running = serve(verdict.echo, spool_dir=folder, request_body_memory=0)
    folder.rmdir()
    assert running.exchange(wire.request(method="POST", body=b"x")).status == 503
    assert f"HR502 no temporary file in {folder} for the body of POST / of 127.0.0.1:" in caplog.text
    folder.mkdir()
    assert running.exchange(wire.request(method="POST", body=b"x")).body == b"x"


def test_temporary_files_have_no_name_and_stand_in_the_folder_that_was_set(serve, tmp_path, prompt_release):
    running = serve(verdict.echo, unix=True, spool_dir=str(tmp_path), **prompt_release)
    client, last = begin(running, 600 * KIB)
    in_folder = [link for number in os.listdir("/proc/self/fd") if (link := link_of(number)).startswith(str(tmp_path))]
    assert len(in_folder) == 1 and in_folder[0].endswith("(deleted)")
    assert list(tmp_path.iterdir()) == []
    assert client.exchange(last).body == b"x" * 600 * KIB
    wire.wait_until(
        lambda: not [number for number in os.listdir("/proc/self/fd") if link_of(number).startswith(str(tmp_path))],
        "the end of the file",
    )


def link_of(number: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return ""


def test_a_full_disk_is_503_and_no_end(serve_apart):
    """RLIMIT_FSIZE stands for the full disk."""
    apart = serve_apart("resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))")
    for _ in range(2):
        with apart.connect() as client:
            client.send(wire.request(method="POST", body=b"x" * 3_000_000), may_break=True)
            assert client.read_response().status == 503
            client.assert_closed()
        with apart.connect() as client:
            assert client.exchange(wire.request(method="POST", body=b"x" * 700_000)).body == b"x" * 700_000


def calls_of_write(apart) -> int:
    """Of write(2) and writev(2), so far."""
    try:
        counted = Path(f"/proc/{apart.process.pid}/io").read_text()
    except OSError as error:
        pytest.skip(f"system calls are not counted here: {error}")
    return int(re.findall("^syscw: ([0-9]+)$", counted, re.MULTILINE)[0])


class TestChunkFloods:
    @pytest.mark.parametrize("block", [b"1\r\nx\r\n", b"0000000000000001\r\nx\r\n", b"1;a=b\r\nx\r\n"], ids=repr)
    @pytest.mark.parametrize("streamed", [False, True], ids=["received first", "streamed"])
    def test_a_million_one_octet_chunks_are_refused(self, serve, transport, block, streamed):
        read = []

        def application(environ, start_response):
            read.append(environ["wsgi.input"].read())
            return verdict.echo(environ, start_response)

        running = serve(application, stream_request_body=streamed, linger_timeout=4 * wire.PATIENCE_S)
        with running.connect() as client:
            client.send(wire.request(method="POST", fields=[("Transfer-Encoding", "chunked")]))
            with contextlib.suppress(ConnectionError):
                client.sock.sendall(block * 1_000_000)  # not by way of llhttp, which reads along and takes seconds
            verdict.assert_refusal(client.read_response(), REFUSALS["REQUEST_CHUNK_OVERHEAD_TOO_LONG"])
            client.assert_closed()
        assert (running.calls, read) == (int(streamed), [])
        assert running.exchange(verdict.GOOD).status == 200

    def test_an_honest_client_with_small_chunks_is_served(self, serve):
        running = serve(verdict.echo)
        body = wire.chunked(*[b"x" * 100] * 20_000)
        response = running.exchange(wire.request(method="POST", fields=[("Transfer-Encoding", "chunked")]) + body)
        assert response.body == b"x" * 2_000_000

    @pytest.mark.parametrize("size", [6, 60])
    def test_small_chunks_are_put_together_before_they_are_written_to_the_temporary_file(self, serve_apart, size):
        """Each write(2) is made with the interpreter lock held."""
        apart = serve_apart(request_body_memory=0)
        number = 900_000 // size
        data = os.urandom(number * size)
        chunks = wire.chunked(*(data[at : at + size] for at in range(0, len(data), size)))
        with apart.connect() as client:
            client.exchange(verdict.GOOD)
            before = calls_of_write(apart)
            client.send(wire.request(method="POST", fields=[("Transfer-Encoding", "chunked")]) + chunks)
            assert client.read_response().body == data
            assert calls_of_write(apart) - before < number // 10

    @pytest.mark.parametrize("in_memory", [0, 100_000, 10_000_000])
    def test_chunks_of_all_sizes_give_the_body_that_was_sent(self, serve, in_memory):
        running = serve(verdict.echo, request_body_memory=in_memory)
        random_one = random.Random(7)
        sizes = [0, 1, 2, 100, 8191, 8192, 8193, 16383, 16384, 16385, 70_000]
        for cut in ("whole", 1000, 16384):
            blocks = [random_one.randbytes(random_one.choice(sizes)) for _ in range(60)]
            message = wire.request(method="POST", fields=[("Transfer-Encoding", "chunked")]) + wire.chunked(*blocks)
            assert running.exchange(message, cut).body == b"".join(blocks)

    @pytest.mark.parametrize("cut", ["whole", 1, 7])
    @pytest.mark.parametrize(
        ("settings", "error"),
        [
            ({"limit_request_body": 100}, "REQUEST_BODY_TOO_LONG"),
            ({"total_body_memory": 0, "total_body_spool": 100}, "REQUEST_NO_ROOM_FOR_BODY"),
            ({"total_body_memory": 0, "total_body_spool": 99, "limit_request_body": 100}, "REQUEST_NO_ROOM_FOR_BODY"),
        ],
    )
    def test_the_first_octet_too_many_is_what_is_refused_whatever_comes_behind_it(self, serve, settings, error, cut):
        running = serve(verdict.echo, **settings)
        body = wire.chunked(b"x" * 60, b"y" * 40, b"z")[: -len(b"0\r\n\r\n")] + b"not a size"
        with running.connect() as client:
            head = wire.request(method="POST", fields=[("Transfer-Encoding", "chunked")])
            client.send(head + body, cut, may_break=True)
            verdict.assert_refusal(client.read_response(), REFUSALS[error])
        assert running.calls == 0

    def test_one_octet_chunks_up_to_what_is_free_are_served(self, serve):
        running = serve(verdict.echo)
        body = wire.chunked(*[b"x"] * 10_000)
        response = running.exchange(wire.request(method="POST", fields=[("Transfer-Encoding", "chunked")]) + body)
        assert response.body == b"x" * 10_000


class TestStreamedBodies:
    """stream_request_body: the application reads as the body arrives."""

    def test_a_body_cut_short_is_an_error_and_never_an_end(self, serve, transport):
        seen = []

        def application(environ, start_response):
            try:
                seen.append(environ["wsgi.input"].read())
            except OSError as error:
                seen.append(error)
                raise
            start_response("200 OK", [])
            return [b"ok"]

        running = serve(application, stream_request_body=True)
        for framing in (b"Content-Length: 10\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n5\r\n"):
            with running.connect() as client:
                client.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"hello")
                client.half_close()
                client.assert_gone()
        assert len(seen) == 2
        assert all(isinstance(error, ConnectionError) for error in seen)

    def test_a_malformed_chunk_is_400(self, serve):
        running = serve(verdict.echo, stream_request_body=True)
        with running.connect() as client:
            client.send(wire.request(method="POST", fields=[("Transfer-Encoding", "chunked")]) + b"5\r\nhelloX")
            verdict.assert_refusal(client.read_response(), REFUSALS["REQUEST_CHUNK_DATA_UNTERMINATED"])
            client.assert_closed()

    def test_a_body_that_stops_is_408(self, serve):
        running = serve(verdict.echo, stream_request_body=True, body_timeout=0.2)
        with running.connect() as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
            verdict.assert_refusal(client.read_response(), REFUSALS["REQUEST_BODY_TIMEOUT"])
            client.assert_closed()

    def test_a_body_that_drips_below_the_least_rate_is_408(self, serve):
        running = serve(verdict.echo, stream_request_body=True, body_timeout=0.3, body_min_rate=1000)
        with running.connect() as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
            since = time.monotonic()
            while not client.has_input(0.01) and time.monotonic() - since < 1:
                client.send(b"x")
            assert client.has_input(), "it was let drip for a second"
            verdict.assert_refusal(client.read_response(), REFUSALS["REQUEST_BODY_TIMEOUT"])
            client.assert_closed()

    def test_what_came_with_the_head_counts_for_the_least_rate(self, serve):
        running = serve(verdict.echo, stream_request_body=True, body_timeout=0.3, body_min_rate=1000)
        with running.connect() as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5004\r\n\r\n" + b"x" * 5000)
            for _ in range(4):
                assert not client.has_input(0.2)
                client.send(b"x")
            assert client.read_response("POST").status == 200

    def test_a_body_beyond_the_limit_is_413(self, serve):
        running = serve(verdict.echo, stream_request_body=True, limit_request_body=100)
        with running.connect() as client:
            body = wire.chunked(b"x" * 60, b"x" * 60)
            client.send(wire.request(method="POST", fields=[("Transfer-Encoding", "chunked")]) + body)
            assert client.read_response().status == 413
            client.assert_closed()

    @pytest.mark.parametrize("line", ["", "Connection: close"])
    def test_the_answer_of_an_application_that_does_not_read_arrives(self, serve, transport, line):
        def application(environ, start_response):
            start_response("403 Forbidden", [])
            return [b"no"]

        running = serve(application, stream_request_body=True)
        fields = [("Connection", "close")] if line else []
        for size in (10, 100_000, 1_000_000):
            with running.connect() as client:
                client.send(wire.request(method="POST", fields=fields, body=b"x" * size), may_break=True)
                response = client.read_response()
                assert (response.status, response.body) == (403, b"no")
                assert response.says_close
                client.assert_closed()

    def test_what_the_application_left_unread_is_never_a_request(self, serve, transport):
        """gevent issue 2075, CVE-2022-29361."""

        def application(environ, start_response):
            environ["wsgi.input"].read(1)
            start_response("200 OK", [])
            return [b"ok"]

        running = serve(application, stream_request_body=True)
        inner = verdict.GOOD * 10
        for message in (
            wire.request("/outer", method="POST", body=inner),
            wire.request("/outer", method="POST", fields=[("Transfer-Encoding", "chunked")]) + wire.chunked(inner),
            wire.request("/outer", method="POST", fields=[("Expect", "100-continue")], body=inner),
        ):
            with running.connect() as client:
                client.send(message + wire.request("/behind"), may_break=True)
                response = client.read_final_response()
                assert response.body == b"ok"
                if not response.says_close:  # all of the body had come
                    assert client.read_response().body == b"ok"
        assert set(running.targets) <= {"/outer", "/behind"}

    def test_requests_behind_a_body_that_was_read_are_served(self, serve, transport):
        running = serve(verdict.echo, stream_request_body=True)
        message = wire.request(method="POST", body=b"a" * 100_000)
        chunks = wire.request(method="POST", fields=[("Transfer-Encoding", "chunked")]) + wire.chunked(
            b"b" * 70_000, b"c"
        )
        for cut in ("whole", 1, 2):
            with running.connect() as client:
                writer = threading.Thread(target=client.send, args=((message + chunks + verdict.GOOD) * 2, cut))
                writer.start()
                for _ in range(2):
                    assert client.read_response().body == b"a" * 100_000
                    assert client.read_response().body == b"b" * 70_000 + b"c"
                    assert client.read_response().body == b""
                writer.join()
