"""Fixtures of the PEP 3333 tests: ways to ask an application that went wrong, or a client that is slow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import wire

Application = Callable[..., Iterable[bytes]]
GET = wire.request()


@pytest.fixture(autouse=True)
def no_traceback_is_kept(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """pytest keeps what was logged, with its tracebacks, and these keep responses alive: see nothing_is_left."""
    yield
    caplog.get_records("call").clear()


@pytest.fixture
def environ_of(serve: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """environ_of(message, **settings): the very dict that the application is called with."""

    def environ_of(message: bytes = GET, **settings: Any) -> dict[str, Any]:
        environs: list[dict[str, Any]] = []

        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            environs.append(environ)
            start_response("204 No Content", [])
            return []

        assert serve(application, **settings).exchange(message).status == 204
        return environs.pop()

    return environ_of


@pytest.fixture
def error_of(serve: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """error_of(application, message): it has to fail; the last line of the traceback that went to wsgi.errors.

    What the client gets is checked here: a complete 500 of fixed text, the end of the connection, and a worker that
    still answers.
    """

    def error_of(application: Application, message: bytes = GET, **settings: Any) -> str:
        def failing(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            if environ["PATH_INFO"] == "/afterwards":
                start_response("200 OK", [])
                return [b"alive"]
            return application(environ, start_response)

        running = serve(failing, **settings)
        client = running.connect()
        answer = client.exchange(message)
        assert (answer.status, answer.reason) == (500, "Internal Server Error")
        assert answer.body == b"Internal Server Error: the application could not answer this request\n"
        assert answer.says_close
        client.assert_closed()
        assert running.exchange(wire.request("/afterwards")).body == b"alive"
        lines = capsys.readouterr().err.rstrip().splitlines()
        assert "Traceback (most recent call last):" in lines
        return str(lines[-1])

    return error_of


class Slow:
    """A client that sends one request and reads nothing until it is told to."""

    def __init__(self, running: Any, message: bytes, has_interpreter_lock: bool) -> None:
        self.running = running
        self._has_interpreter_lock = has_interpreter_lock
        # Of a fixed size, so that not all of an answer fits in; not tiny, for then TCP itself is slow.
        self.client = running.connect(receive_buffer_bytes=1 << 18)
        self.client.send(message)
        wire.wait_until(self.client.has_input, "the beginning of the answer")
        self.other = running.connect()
        self.let_the_server_work()

    def let_the_server_work(self) -> None:
        """With an interpreter lock: once another client is answered, all has been done for us that could be.

        Without one the thread that serves us may be behind, so it gets some time; it is only for what must not happen.
        What must happen is waited for with wait_until.
        """
        for _ in range(3):
            assert self.other.exchange(wire.request("/other")).status in (200, 204)
        if not self._has_interpreter_lock:
            time.sleep(0.02)


@pytest.fixture(params=["tcp", "unix"])
def slow(request: pytest.FixtureRequest, serve: Callable[..., Any], has_interpreter_lock: bool) -> Callable[..., Slow]:
    """slow(application, message, **settings): serve it to such a client.  "/other" is answered without asking it.

    Every test that uses it runs over both kinds of socket.
    """
    unix = request.param == "unix"

    def slow(application: Application, message: bytes = GET, **settings: Any) -> Slow:
        def with_other(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            if environ["PATH_INFO"] == "/other":
                start_response("200 OK", [])
                return [b"other" * 200]
            return application(environ, start_response)

        settings.setdefault("threads", 1)  # or let_the_server_work would say nothing of the first client's thread
        return Slow(serve(with_other, unix=unix, **settings), message, has_interpreter_lock)

    return slow


class Blocks:
    """An iterable that says what is done to it.

    blocks: classes of exceptions are raised, all else is yielded.  asked: calls of next(); closed: calls of close().
    """

    def __init__(self, blocks: Iterable[Any], close_error: BaseException | None = None) -> None:
        self.asked = 0
        self.closed = 0
        self._blocks = iter(blocks)
        self._close_error = close_error

    def __iter__(self) -> Blocks:
        return self

    def __next__(self) -> Any:
        self.asked += 1
        block = next(self._blocks)
        if isinstance(block, type) and issubclass(block, BaseException):
            raise block
        return block

    def close(self) -> None:
        self.closed += 1
        if self._close_error is not None:
            raise self._close_error


@pytest.fixture
def blocks() -> type[Blocks]:
    return Blocks
