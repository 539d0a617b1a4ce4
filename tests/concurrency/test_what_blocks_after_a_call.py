"""What blocks when the application has returned (the logs) holds one thread and nobody else."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import threading

import pytest
import wire

several_threads = pytest.mark.parametrize("threads", [2, 4, 16])

AT_ONCE_S = 1


class Blocker:
    """Something that whoever enters waits in, until it is opened."""

    def __init__(self) -> None:
        self.inside = threading.Event()
        self._open = threading.Event()

    def enter(self) -> None:
        self.inside.set()
        self._open.wait(3 * wire.PATIENCE_S)

    def __enter__(self) -> Blocker:
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.set()

    def wait_inside(self) -> None:
        assert self.inside.wait(wire.PATIENCE_S)


class BlocksAtItsEnd:
    def __init__(self, blocker):
        self.blocker = blocker

    def __del__(self):
        self.blocker.enter()


class BlockingStream:
    """A text stream that blocks when it is to write this text."""

    def __init__(self, blocker, text):
        self.blocker = blocker
        self.text = text

    def write(self, text):
        if self.text in text:
            self.blocker.enter()
        return len(text)

    def flush(self):
        pass


def application(environ, start_response):
    if environ["PATH_INFO"] == "/fails":
        raise ValueError("that blocks the error log")
    start_response("200 OK", [("Content-Length", "6")])
    return iter([b"ans", b"wer"])


def known_clients(running):
    clients = [running.connect(timeout=AT_ONCE_S) for _ in range(3)]
    for client in clients:
        client.exchange(wire.request())
    return clients


def assert_others_are_answered(running, known):
    for _ in range(3):
        for client in known:
            assert client.exchange(wire.request("/known")).body == b"answer"
        with running.connect(timeout=AT_ONCE_S) as fresh:
            assert fresh.exchange(wire.request("/fresh")).body == b"answer"


@several_threads
def test_others_are_answered_while_a_finalizer_of_something_in_environ_blocks(serve, threads, transport):
    with Blocker() as blocker:

        def keeping(environ, start_response):
            if environ["PATH_INFO"] == "/finalizer":
                environ["session"] = BlocksAtItsEnd(blocker)
            return application(environ, start_response)

        running = serve(keeping, threads=threads)
        known = known_clients(running)
        with running.connect() as client:
            client.send(wire.request("/finalizer"))
            blocker.wait_inside()
            assert_others_are_answered(running, known)
            blocker.__exit__()
            assert client.read_response().body == b"answer"


@several_threads
def test_others_are_answered_while_a_line_of_the_access_log_blocks(serve, monkeypatch, threads, transport):
    with Blocker() as blocker:
        monkeypatch.setattr(sys, "stdout", BlockingStream(blocker, "GET /logged"))
        running = serve(application, threads=threads, access_logfile="-")
        known = known_clients(running)
        with running.connect() as client:
            client.send(wire.request("/logged"))
            blocker.wait_inside()
            assert_others_are_answered(running, known)
            blocker.__exit__()
            assert client.read_response().body == b"answer"


@several_threads
def test_others_are_answered_while_a_traceback_to_wsgi_errors_blocks(serve, monkeypatch, threads, transport):
    with Blocker() as blocker:
        monkeypatch.setattr(sys, "stderr", BlockingStream(blocker, "that blocks the error log"))
        running = serve(application, threads=threads)
        known = known_clients(running)
        with running.connect() as client:
            client.send(wire.request("/fails"))
            blocker.wait_inside()
            assert_others_are_answered(running, known)
            blocker.__exit__()
            assert client.read_response().status == 500


@pytest.mark.parametrize("threads", [1, 4])
def test_everybody_is_answered_while_the_access_log_is_a_full_pipe(serve, tmp_path, threads):
    with full_pipe(tmp_path / "log") as drain:
        running = serve(application, threads=threads, access_logfile=str(tmp_path / "log"))
        drain.fill()
        for number in range(20):
            with running.connect(timeout=AT_ONCE_S) as client:
                assert client.exchange(wire.request(f"/{number}")).body == b"answer"
        lines = drain.read_until(b"/19 HTTP")
        assert [f"/{number} HTTP".encode() in lines for number in range(20)] == [True] * 20


def test_a_server_whose_access_log_is_a_full_pipe_stops(serve, tmp_path, caplog):
    with full_pipe(tmp_path / "log") as drain:
        running = serve(application, access_logfile=str(tmp_path / "log"))
        drain.fill()
        assert running.exchange(wire.request()).body == b"answer"
        running.stop()
    assert "HR605 1 lines of the access log were lost" in caplog.text


class Drain:
    def __init__(self, reader):
        self.reader = reader

    def fill(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self.reader, b"x")

    def __call__(self):
        """Read all that there is."""
        got = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                got += os.read(self.reader, 65536)
        return got

    def read_until(self, mark):
        got = [b""]

        def has_come():
            got[0] += self()
            return mark in got[0]

        wire.wait_until(has_come, f"{mark!r} in the pipe")
        return got[0]


@contextlib.contextmanager
def full_pipe(path):
    os.mkfifo(path)
    reader = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    drain = Drain(reader)
    try:
        yield drain
    finally:
        drain()
        os.close(reader)
