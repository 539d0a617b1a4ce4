"""One message, one verdict, however it arrives.

`accepts` and `refuses` (fixtures of conftest.py) feed a message whole, by line, by octet and at random cuts, over a
UNIX socket, where every cut is real, and over TCP; alone, behind a good request and in front of one.

    accepted = accepts(message)            # the same request reached the application each time
    accepted.environ, accepted.body        # what the application saw

    refuses(message, "REQUEST_HOST_MISSING")
        Each time: the answer that headrace.errors.REFUSALS has for this error, with Connection: close, then the end of
        the connection without a reset; the application is never called, neither for the message nor for a good request
        pipelined behind it; a good request in front of it is answered first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import wire

from headrace.errors import REFUSALS, Refusal

if TYPE_CHECKING:
    from conftest import Running

GOOD = b"GET /good HTTP/1.1\r\nHost: good.example\r\nAccept: */*\r\n\r\n"

#: Of environ, what depends on the connection and not on the message.
OF_THE_CONNECTION = ("REMOTE_ADDR", "REMOTE_PORT", "SERVER_NAME", "SERVER_PORT")


def echo(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """An application that answers with the request body."""
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [body]


@dataclass(frozen=True)
class Accepted:
    """A request as the application saw it.  closed: the server closed the connection after its answer."""

    environ: dict[str, str]
    body: bytes
    closed: bool


def assert_refusal(response: wire.Response, refusal: Refusal) -> None:
    """A complete answer that says why and that the connection ends."""
    assert (response.status, response.reason) == (refusal.status, refusal.reason), response
    assert refusal.explanation in response.body.decode(), response
    assert response.framing == "length"
    assert response.get("Connection") == "close"
    assert response.get("Content-Type") == "text/plain; charset=utf-8"
    assert response.get("Date") is not None
    assert response.get("Server") == "headrace"


def assert_refused(running: Running, message: bytes, error: str, cut: str | int, good: str = "") -> None:
    """One connection.  good: "before" or "behind": a good request comes with the message."""
    calls = running.calls
    if good == "before":
        message = GOOD + message
    elif good == "behind":
        message += GOOD
    with running.connect() as client:
        client.send(message, cut, may_break=True)
        if good == "before":
            first = client.read_response()
            assert first.status == 200, f"the good request in front got {first.status}"
            calls += 1
        assert_refusal(client.read_response(), REFUSALS[error])
        client.assert_closed()
    assert running.calls == calls, f"the application was called for {running.targets[calls:]}"
    if good == "before":
        assert running.targets[-1] == "/good"


def cuts_for(message: bytes) -> list[str | int]:
    """Octet by octet, a long message would take seconds."""
    return [cut for cut in wire.CUTS if cut != "octets" or len(message) < 10_000]


class Judge:
    """A server on each kind of socket, with `echo`."""

    def __init__(self, over_unix: Running, over_tcp: Running) -> None:
        self.over_unix = over_unix
        self.over_tcp = over_tcp

    def refuses(self, message: bytes, error: str) -> None:
        for cut in cuts_for(message):
            assert_refused(self.over_unix, message, error, cut)
        for good in ("before", "behind"):
            assert_refused(self.over_unix, message, error, "whole", good)
            assert_refused(self.over_unix, message, error, 3, good)
        assert_refused(self.over_tcp, message, error, "whole", "before")
        assert_refused(self.over_tcp, message, error, 4)

    def accepts(self, message: bytes) -> Accepted:
        verdicts = [self._accepted(self.over_unix, message, cut) for cut in cuts_for(message)]
        verdicts.append(self._accepted(self.over_tcp, message, "whole"))
        verdicts.append(self._accepted(self.over_tcp, message, 3, before=GOOD))
        if not verdicts[0].closed:
            verdicts.append(self._accepted(self.over_unix, message, "whole", before=message))
            verdicts.append(self._accepted(self.over_unix, message, 4, before=message))
        assert all(verdict == verdicts[0] for verdict in verdicts), verdicts
        return verdicts[0]

    def _accepted(self, running: Running, message: bytes, cut: str | int, before: bytes = b"") -> Accepted:
        method = message.split(b" ", 1)[0].strip().decode("latin-1")
        first_method = "GET" if before == GOOD else method
        calls = running.calls
        with running.connect() as client:
            client.send(before + message, cut)
            if before:
                calls += 1
                assert client.read_response(first_method).status == 200
            response = client.read_final_response(method)
            assert response.status == 200, response
            assert running.calls == calls + 1
            closed = response.says_close
            if closed:
                client.assert_closed()
            else:
                client.assert_open(GOOD)
        environ = {key: value for key, value in running.environs[calls].items() if key not in OF_THE_CONNECTION}
        return Accepted(environ, response.body, closed)
