"""One backend of a Balancer: its connections, made and kept by urllib3, and whether it is well.

Who holds what: a Backend's counters belong to its Balancer, which changes them under its lock.  The pool has locks of
its own.  A connection belongs to one request from urlopen() until its answer has been read or closed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from headrace.middleware.strict_response import StrictResponse

try:
    import urllib3
    from urllib3.connection import HTTPConnection
    from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError
    from urllib3.util import SKIP_HEADER
except ImportError as missing:
    raise ImportError("the Balancer needs urllib3 2.3 or newer: pip install 'headrace[balancer]'") from missing

#: Octets that are read at a time, from either side.
BLOCK_BYTES = 64 * 1024


class BackendFailure(Exception):
    """A backend did not answer, or not in a way that can be handed on.  str: what happened, for the log."""

    #: Of what the client is told (RFC 9110 §15.6.3, §15.6.5).
    status = "502 Bad Gateway"
    text = "The server behind this one gave no usable answer."


class CannotConnect(BackendFailure):
    """No connection: the request has not been sent, so any method may be tried elsewhere."""

    text = "The server behind this one could not be reached."


class ConnectTimeout(CannotConnect):
    """No connection within connect_s."""

    status = "504 Gateway Timeout"


class AnswerTimeout(BackendFailure):
    """Nothing came for read_s, or nothing was taken."""

    status = "504 Gateway Timeout"
    text = "The server behind this one took too long."


class Disconnected(BackendFailure):
    """The connection ended before an octet of the answer; ``stale`` says that it had served before, and was idle."""

    def __init__(self, message: str, stale: bool) -> None:
        super().__init__(message)
        self.stale = stale


class InputFailure(Exception):
    """Reading wsgi.input failed: no backend's fault.  ``reason`` is what it raised."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


@dataclass
class OutgoingRequest:
    """What is sent to a backend.

    length_bytes: of the body; None when unknown: then it is chunked.  input: wsgi.input, behind first_block.
    has_begun: a block of the body was taken, so it cannot be sent again.  fresh: not over a connection that is kept.
    reused: the connection had served before.
    """

    method: str
    target: str
    fields: dict[str, str]
    length_bytes: int | None = 0
    input: Any = None
    first_block: bytes = b""
    has_begun: bool = False
    fresh: bool = False
    reused: bool = False

    def __iter__(self) -> Iterator[bytes]:  # urllib3 takes it for a body
        return self.body()

    def body(self) -> Iterator[bytes]:
        """Blocks of the body.  Raises InputFailure when the client's side of it fails or ends too early."""
        self.has_begun = True
        left = self.length_bytes
        block, self.first_block = self.first_block, b""
        while left is None or left > 0:
            block = block or read_input(self.input, BLOCK_BYTES if left is None else min(left, BLOCK_BYTES))
            if not block:
                break
            if left is not None:
                left -= len(block)
            yield block
            block = b""
        if left:
            raise InputFailure(ConnectionError(f"the request's body ended {left} bytes early"))

    @property
    def has_body(self) -> bool:
        """Also when it is not known how long it is."""
        return self.length_bytes != 0


def read_input(stream: Any, size_bytes: int) -> bytes:
    """A block of wsgi.input.  Any failure becomes InputFailure: urllib3 would take an OSError for the backend's."""
    try:
        block: bytes = stream.read(size_bytes)
    except Exception as failure:
        raise InputFailure(failure) from failure
    return block


class BackendConnection(HTTPConnection):
    """A connection that is not used again after keep_alive_s of idling, and whose sends have send_timeout_s.

    Its request() takes an OutgoingRequest as the body, and everything but the method from there: urllib3 would
    normalize the target on its way here.
    """

    response_class = StrictResponse

    def __init__(self, *args: Any, keep_alive_s: float, send_timeout_s: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self.keep_alive_s = keep_alive_s
        self.send_timeout_s = send_timeout_s
        self.idle_since_s = math.inf  # in use

    @property
    def is_connected(self) -> bool:
        """Asked when a kept connection is taken: a backend that is about to close it should find nothing on it."""
        return time.monotonic() - self.idle_since_s < self.keep_alive_s and super().is_connected

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any) -> None:
        """http.client's, with ``body`` for everything; url and headers are not looked at."""
        del url, headers
        if body.fresh:
            self.close()
        body.reused = self.sock is not None
        self.idle_since_s = math.inf
        if self.sock is None:
            self.connect()
        self.timeout = self.send_timeout_s  # urllib3 has the time for connecting here, for one sendall() of a block
        options["chunked"] = body.length_bytes is None
        super().request(method, body.target, body if body.has_body else None, body.fields, **options)


class BackendPool(urllib3.HTTPConnectionPool):
    """urllib3's pool, of BackendConnections."""

    ConnectionCls = BackendConnection


@dataclass(frozen=True)
class Timeouts:
    """In seconds: connecting, sending a block or waiting for octets of an answer, keeping an idle connection."""

    connect_s: float
    read_s: float
    keep_alive_s: float


class Backend:
    """One server that requests are forwarded to.

    Counters, under the Balancer's lock: in_flight: requests that it works on.  failures: in a row.  rests_until_s:
    monotonic; 0 while it is well.  rest_s: how long its last rest was.  trial: the request that tries it again.
    """

    def __init__(self, url: str, timeouts: Timeouts, pool_size: int) -> None:
        self.url, host, port = parse_backend(url)
        self.in_flight = 0
        self.failures = 0
        self.rests_until_s = 0.0
        self.rest_s = 0.0
        self.trial: OutgoingRequest | None = None
        self._timeout = urllib3.Timeout(connect=timeouts.connect_s, read=timeouts.read_s)
        self._pool = BackendPool(
            host,
            port,
            maxsize=pool_size,
            keep_alive_s=timeouts.keep_alive_s,
            send_timeout_s=timeouts.read_s,
        )

    def is_ready(self, now_s: float) -> bool:
        """It is well, or has rested and nobody tries it yet."""
        return self.rests_until_s <= now_s and self.trial is None

    def ask(self, request: OutgoingRequest) -> BackendAnswer:
        """Send the request and wait for the head of the answer and the first block of its body.

        Raises BackendFailure, and InputFailure when the client's body fails.  A kept connection that turns out to be
        closed is replaced, where the request may be sent again: it says nothing about the backend.
        """
        request.fresh = False
        try:
            return self._ask_once(request)
        except Disconnected as failure:
            if not failure.stale or not may_be_sent_again(request):
                raise
        request.fresh = True
        return self._ask_once(request)

    def _ask_once(self, request: OutgoingRequest) -> BackendAnswer:
        try:
            response = self._pool.urlopen(
                request.method,
                "/",
                request,
                headers={},
                retries=False,
                redirect=False,
                assert_same_host=False,
                timeout=self._timeout,
                preload_content=False,
                decode_content=False,
            )
        except (HTTPError, OSError) as failure:
            raise explained(failure, request.reused) from failure
        answer = BackendAnswer(self, response, request.method)
        answer.read_first()
        return answer

    def close(self) -> None:
        """Close the connections that are kept."""
        self._pool.close()


def parse_backend(url: str) -> tuple[str, str, int]:
    """The normalized URL, host and port.  Raises ValueError for all but http://HOST[:PORT]."""
    if isinstance(url, str):
        with suppress(ValueError):  # of the port
            parts = urlsplit(url)
            only_host = "@" not in parts.netloc and parts.path in ("", "/") and parts[3:] == ("", "")
            if parts.scheme == "http" and parts.hostname and only_host:
                return f"http://{parts.netloc}", parts.hostname, parts.port or 80
    raise ValueError(f'a backend is written "http://HOST:PORT", not {url!r}')


def may_be_sent_again(request: OutgoingRequest) -> bool:
    """RFC 9110 §9.2.2: an idempotent method; and no block of the body has been taken."""
    return request.method in IDEMPOTENT and not request.has_begun


#: RFC 9110 §9.2.2: PUT, DELETE and the safe methods.
IDEMPOTENT = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PUT", "TRACE"})


def explained(failure: Exception, reused: bool) -> BackendFailure:
    """What urllib3 raised, in our terms."""
    inner = cause_of(failure)
    if isinstance(failure, ConnectTimeoutError) and not isinstance(failure, NewConnectionError):
        return ConnectTimeout("no connection in time")
    if isinstance(failure, NewConnectionError):
        return CannotConnect(f"no connection ({failure.__cause__ or failure})")
    if isinstance(inner, (ReadTimeoutError, TimeoutError)):
        return AnswerTimeout("no answer in time")
    if isinstance(inner, ConnectionError):
        return Disconnected(f"it closed the connection without an answer ({inner})", stale=reused)
    return BackendFailure(f"no valid answer ({inner})")


def cause_of(failure: Exception) -> Exception:
    """What urllib3 has wrapped."""
    return failure.args[1] if len(failure.args) > 1 and isinstance(failure.args[1], Exception) else failure


class BackendAnswer:
    """The answer of a backend: status and fields, and blocks of the body as they arrive."""

    def __init__(self, backend: Backend, response: urllib3.BaseHTTPResponse, method: str) -> None:
        self.backend = backend
        self.status = response.status
        self.reason = response.reason or ""
        self.protocol = "1.0" if response.version == 10 else "1.1"
        self.fields = list(response.headers.items())
        self._response = response
        self._connection: Any = response.connection
        self._has_body = method != "HEAD" and response.status not in (204, 304)
        self._first: bytes | None = None

    def read_first(self) -> None:
        """Wait for the first block: nothing can be given on before it anyway (PEP 3333, "The start_response()
        Callable"), and until then the request may be tried elsewhere."""
        if self._has_body:
            self._first = self._read()
        else:
            self._connection.idle_since_s = time.monotonic()
            self._response.drain_conn()  # reads nothing, and notices that: the connection goes back
            self._response.release_conn()

    def next_block(self) -> bytes:
        """The next block; b"" at the end.  Raises BackendFailure when the body breaks off."""
        block, self._first = self._first, None
        if block is None:
            block = self._read() if self._has_body else b""
        return block

    def _read(self) -> bytes:
        try:
            # With the last octet urllib3 gives the connection back: from then on it may be in use elsewhere.
            block = self._response.read1(BLOCK_BYTES)
            self._connection.idle_since_s = time.monotonic()
        except (HTTPError, OSError) as failure:
            self.close()
            if isinstance(failure, ReadTimeoutError):
                raise AnswerTimeout("the answer stood still for too long") from failure
            raise BackendFailure(f"the answer broke off ({cause_of(failure)})") from failure
        if not block or self._response.connection is None:
            self._has_body = False
        return block

    @property
    def is_complete(self) -> bool:
        """Everything has been read from the backend.  (In chunks, that shows when b"" is read.)"""
        return not self._has_body

    def close(self) -> None:
        """Drop the connection if there is more to read: nobody knows how much.  More than once is fine."""
        if self._has_body:
            self._has_body = False
            self._response.close()
            self._response.release_conn()  # what goes back is closed, and will connect anew


def without_library_fields(fields: dict[str, str]) -> dict[str, str]:
    """The fields, such that urllib3 adds none of its own and finds none of its own marks among the client's."""
    kept = {name: value for name, value in fields.items() if value != SKIP_HEADER}
    return {"Accept-Encoding": SKIP_HEADER, "User-Agent": SKIP_HEADER, **kept}
