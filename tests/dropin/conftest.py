"""Servers of wsgiref's kind, each in a thread of its own, and what they say on the wire and on stderr.

Fixtures

    start(app, module=headrace.simple_server, server_class=None, handler_class=None) -> Served
        make_server(...).serve_forever() in a thread.  All are shut down when the test ends.
    both(app, request, **classes) -> (theirs, ours)
        One request on a connection of its own to wsgiref's server and to headrace's: two Answers to be compared.
        classes: functions that make a class from the module's own: handler_class=lambda base: type(...).
"""

from __future__ import annotations

import re
import socket
import threading
import wsgiref.simple_server
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import wire

import headrace.simple_server

DATES = re.compile(rb"\r\nDate: [^\r\n]*\r\n")
LOG_DATES = re.compile(r"\[\d\d/\w{3}/\d{4} \d\d:\d\d:\d\d\]")


class Answer(NamedTuple):
    """octets: all that came, without the date.  log: what went to stderr, without dates and tracebacks' line numbers.
    environ: what the application was called with, but for streams; None: it was not."""

    octets: bytes
    log: str
    environ: dict[str, Any] | None


class Served:
    """server: as make_server() gave it.  failure: what left serve_forever()."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.address = server.server_address[:2]
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.server.serve_forever(poll_interval=0.01)
        except BaseException as failure:
            self.failure = failure

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, wire.PATIENCE_S)

    def ask(self, *octets: bytes) -> bytes:
        """Send on a connection of its own, and read to its end."""
        with self.connect() as client:
            for some in octets:
                client.sendall(some)
            return read_all(client)

    def shut_down(self) -> None:
        if self.thread.is_alive():
            self.server.shutdown()
        self.thread.join(wire.PATIENCE_S)
        assert not self.thread.is_alive()
        self.server.server_close()


def read_all(client: socket.socket) -> bytes:
    received = b""
    while block := client.recv(65536):
        received += block
    return received


@pytest.fixture
def start() -> Iterator[Callable[..., Served]]:
    started: list[Served] = []

    def one(
        app: Any, module: Any = headrace.simple_server, server_class: Any = None, handler_class: Any = None
    ) -> Served:
        server = module.make_server(
            "127.0.0.1", 0, app, server_class or module.WSGIServer, handler_class or module.WSGIRequestHandler
        )
        started.append(Served(server))
        return started[-1]

    yield one
    for served in started:
        served.shut_down()
    started.clear()  # pytest keeps `one`, and what it refers to: servers, applications, environs


def recorded(environ: dict[str, Any]) -> dict[str, Any]:
    """What can be compared of an environ: str as they are, of other things the type."""
    of_streams = {"wsgi.input", "wsgi.errors"}
    return {
        key: value if not key.startswith("wsgi.") or key not in of_streams else None
        for key, value in environ.items()
        if key != "SERVER_PORT"
    }


@pytest.fixture
def both(start: Callable[..., Served], capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[Answer, Answer]]:
    def ask_both(app: Any, *request: bytes, engine: str = "native", **classes: Any) -> tuple[Answer, Answer]:
        answers = []
        for module in (wsgiref.simple_server, headrace.simple_server):
            environs: list[dict[str, Any]] = []

            def witnessed(environ: Any, start_response: Any, environs: Any = environs) -> Any:
                environs.append(recorded(environ))
                return app(environ, start_response)

            made = {
                kind: make(module.WSGIServer if kind == "server_class" else module.WSGIRequestHandler)
                for kind, make in classes.items()
            }
            capsys.readouterr()
            served = start(witnessed, module, **made)
            octets = served.ask(*request)
            served.shut_down()
            log = LOG_DATES.sub("[]", capsys.readouterr().err)
            answers.append(Answer(DATES.sub(b"\r\n", octets), log, environs[0] if environs else None))
        assert served.server.engine == engine, served.server.engine_reason
        return answers[0], answers[1]

    return ask_both
