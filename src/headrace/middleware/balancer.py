"""Load balancing and remote processing: a WSGI application that forwards requests to backends over the network.

    from headrace.middleware import Balancer

    application = Balancer(["http://10.0.0.1:8000", "http://10.0.0.2:8000"])

What is forwarded

    Method, path and query as they came (`strip_prefix`: without SCRIPT_NAME, which X-Forwarded-Prefix then says), the
    fields but those that concern one connection (RFC 9110 §7.6.1), and the body in blocks: with its length, or chunked
    where that is not known.  Framing is always made anew, from what wsgi.input gives.
    Host is the client's, so that a backend makes the same URLs as if it had been asked itself; `host` sets another.
    Via, X-Forwarded-For and Forwarded (RFC 7239) are added behind what is there.  X-Forwarded-Proto and -Host say what
    this server saw; what the client wrote into them, into others of that family, or into X-Real-IP and its kind, does
    not reach a backend; nor does a Forwarded that breaks its grammar.  Behind a proxy put ForwardedHeaders around the
    Balancer: then all of them say what the proxy saw.
    The answer comes back with its status, reason and fields, each block when it arrives, in whatever coding it has.
    It has to keep RFC 9112 to the letter, but for a lone LF at the end of a head's lines; an answer that ends within
    its head or a chunk is none.  A head has at most 32 KiB and 99 fields, a Content-Length at most 18 digits.

Which backend

    "least-busy": the one with the fewest requests in flight, in turn among equals; or "round-robin".
    Health is judged by what happens to requests.  A backend that cannot be connected to is left alone, and so is one
    that failed `max_failures` times in a row otherwise: for `rest_s`, and twice as long each time one request then
    finds it no better, up to `rest_max_s`.  A single backend never rests.

What happens when it fails

    A request that was not sent goes to the next backend.  One that was goes there if its method is idempotent (RFC 9110
    §9.2.2), no octet of its body was taken and none of the answer was given on; at most `attempts` backends are tried.
    Else: 502 (not reached, or no valid answer), 504 (no connection or no answer in time), 503 with Retry-After (all are
    resting).  An answer that breaks off later raises AnswerBrokenOff in the iteration, so that the server ends its own
    answer visibly incomplete.  What happened is logged by "headrace.balancer" with the backend's URL; clients are not
    told that.

Redirects, cookies, compressed content and errors of backends are handed on like any answer.  103 (Early Hints),
trailers and Upgrade are not, nor is CONNECT.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any

from headrace.middleware import plain_text
from headrace.middleware.backends import (
    BLOCK_BYTES,
    Backend,
    BackendAnswer,
    BackendFailure,
    CannotConnect,
    Disconnected,
    InputFailure,
    OutgoingRequest,
    Timeouts,
    may_be_sent_again,
    read_input,
    without_library_fields,
)
from headrace.middleware.forwarding import (
    BadRequest,
    answer_fields,
    declared_length,
    end_to_end_fields,
    forwarding_fields,
    host_of,
    max_forwards,
    quoted_path,
    target_of,
)
from headrace.middleware.grammar import has_control_character, is_token

__all__ = ["AnswerBrokenOff", "Balancer"]

logger = logging.getLogger("headrace.balancer")

_POLICIES = ("least-busy", "round-robin")

_ENDS_HERE = "Max-Forwards is 0: the request ends here."


class AnswerBrokenOff(RuntimeError):
    """A backend's answer ended early, after some of it had been given on."""


class Balancer:
    """Forwards each request to one of several backends; see the top of the module.  Any number of threads may call it.

    backends: URLs "http://HOST:PORT", fixed for the Balancer's life; names are looked up at each connection.
    policy: "least-busy" or "round-robin".
    connect_timeout_s: for one connection.  A backend in the same network answers within milliseconds.
    read_timeout_s: without an octet of the answer, and for sending one block of the request.  A client may have to wait
    for it `attempts` times.
    keep_alive_s: how long an idle connection is used again.  Keep it below the backends' own (5 s in Node.js and
    uvicorn, 75 s in Headrace), else requests that cannot be repeated meet connections that are being closed.
    pool_size: idle connections kept for each backend.  Not less than the server's threads: urllib3 logs each that it
    drops.
    max_failures, rest_s, rest_max_s, attempts, strip_prefix, host: see the top of the module.
    pseudonym: of this server in Via, a token or a host with port (RFC 9110 §7.6.3).

    Raises ValueError for a wrong setting, and TypeError for backends that are no sequence.
    """

    def __init__(
        self,
        backends: Sequence[str],
        *,
        policy: str = "least-busy",
        connect_timeout_s: float = 3.0,
        read_timeout_s: float = 60.0,
        keep_alive_s: float = 4.0,
        pool_size: int = 32,
        max_failures: int = 3,
        rest_s: float = 1.0,
        rest_max_s: float = 30.0,
        attempts: int = 3,
        strip_prefix: bool = False,
        host: str | None = None,
        pseudonym: str = "headrace",
    ) -> None:
        if isinstance(backends, (str, bytes)):
            raise TypeError(f"backends are a list of URLs, not one: {backends!r}")
        if policy not in _POLICIES:
            raise ValueError(f"policy is one of {', '.join(map(repr, _POLICIES))}, not {policy!r}")
        positive = {
            "connect_timeout_s": connect_timeout_s,
            "read_timeout_s": read_timeout_s,
            "rest_s": rest_s,
            "max_failures": max_failures,
            "attempts": attempts,
            "pool_size": pool_size,
        }
        for name, value in positive.items():
            if not value > 0:
                raise ValueError(f"{name} must be more than 0, not {value!r}")
        for name, text in {"host": host, "pseudonym": pseudonym}.items():
            if text is not None and (not text or has_control_character(text)):
                raise ValueError(f"{name} cannot be {text!r}: it becomes part of a field")
        timeouts = Timeouts(connect_timeout_s, read_timeout_s, keep_alive_s)
        self.backends = [Backend(url, timeouts, pool_size) for url in backends]
        if not self.backends:
            raise ValueError('a Balancer needs at least one backend, such as "http://127.0.0.1:8001"')
        self._policy = policy
        self._max_failures = max_failures
        self._rest_s = rest_s
        self._rest_max_s = rest_max_s
        self._attempts = attempts
        self._strip_prefix = strip_prefix
        self._host = host
        self._pseudonym = pseudonym
        self._next = 0
        self._lock = threading.Lock()  # for _next and the counters of the backends

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """PEP 3333.  Raises what wsgi.input raises."""
        try:
            if max_forwards(environ) == 0:
                return plain_text.answer(environ, start_response, "200 OK", _ENDS_HERE)
            request = self._outgoing_request(environ)
            answer = self._first_answer(request)
        except BadRequest as mistake:
            return plain_text.answer(environ, start_response, mistake.status, f"{mistake.status}: {mistake}.")
        except BackendFailure as failure:
            return plain_text.answer(environ, start_response, failure.status, f"{failure.status}: {failure.text}")
        except NoBackend as failure:
            fields = [("Retry-After", str(failure.wait_s))]
            status = "503 Service Unavailable"
            return plain_text.answer(environ, start_response, status, f"{status}: {failure}", fields)
        except InputFailure as failure:
            raise failure.reason from None
        blocks = AnswerBlocks(answer, lambda failure: self._leave(answer.backend, request, failure))
        try:
            fields = answer_fields(answer.fields, answer.status, answer.protocol, self._pseudonym)
            start_response(f"{answer.status} {answer.reason}", fields)
        except BaseException:
            blocks.close()
            raise
        return blocks

    def close(self) -> None:
        """Close the connections that are kept; those in use close when their answers end.  It serves no more."""
        for backend in self.backends:
            backend.close()

    def __enter__(self) -> Balancer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # -- the request --------------------------------------------------------------------------------------------------

    def _outgoing_request(self, environ: dict[str, Any]) -> OutgoingRequest:
        """Raises BadRequest for what cannot be forwarded, InputFailure when the body's first block cannot be read."""
        method = environ["REQUEST_METHOD"]
        if method == "CONNECT" or not is_token(method):
            raise BadRequest("This method is not forwarded", "501 Not Implemented")
        length_bytes = declared_length(environ)
        first_block = b""
        if length_bytes is None:
            # There may be a body or not, and only reading tells; a block in the hand can still be sent again.
            first_block = read_input(environ["wsgi.input"], BLOCK_BYTES)
            length_bytes = None if first_block else 0
        asked_host = host_of(environ)
        fields = {"Host": asked_host if self._host is None else self._host}
        fields |= end_to_end_fields(environ) | forwarding_fields(environ, asked_host, self._pseudonym)
        forwards_left = max_forwards(environ)
        if forwards_left is not None:
            fields["Max-Forwards"] = str(forwards_left - 1)
        if self._strip_prefix and environ.get("SCRIPT_NAME"):
            fields["X-Forwarded-Prefix"] = quoted_path(environ["SCRIPT_NAME"])  # decoded, it may have anything in it
        if length_bytes:
            fields["Content-Length"] = str(length_bytes)
        elif length_bytes == 0 and environ.get("CONTENT_LENGTH"):
            fields["Content-Length"] = "0"
        target = target_of(environ, self._strip_prefix)
        return OutgoingRequest(
            method, target, without_library_fields(fields), length_bytes, environ["wsgi.input"], first_block
        )

    def _first_answer(self, request: OutgoingRequest) -> BackendAnswer:
        """The answer that is given on; its backend still counts the request.  Raises BackendFailure or NoBackend."""
        failure: Exception | None = None
        for backend in self._choices(request):
            try:
                answer = backend.ask(request)
            except BackendFailure as this:
                self._leave(backend, request, this)
                failure = this
                if not may_go_elsewhere(request, this):
                    break
            except BaseException:
                self._leave(backend, request)
                raise
            else:
                self._is_well(backend)
                return answer
        raise failure or NoBackend(self._wait_s())

    # -- the choice ---------------------------------------------------------------------------------------------------

    def _choices(self, request: OutgoingRequest) -> Iterator[Backend]:
        """Backends to try, each once; the request is counted as theirs before they are handed out."""
        tried: list[Backend] = []
        while len(tried) < self._attempts:
            backend = self._enter(request, tried)
            if backend is None:
                return
            tried.append(backend)
            yield backend

    def _enter(self, request: OutgoingRequest, tried: list[Backend]) -> Backend | None:
        with self._lock:
            now_s = time.monotonic()
            in_turn = self.backends[self._next :] + self.backends[: self._next]
            ready = [backend for backend in in_turn if backend not in tried and backend.is_ready(now_s)]
            if not may_be_sent_again(request):  # a trial is for requests that can go elsewhere, if there is a choice
                ready = [backend for backend in ready if not backend.rests_until_s] or ready
            if not ready:
                return None
            chosen = ready[0] if self._policy == "round-robin" else min(ready, key=lambda backend: backend.in_flight)
            self._next = (self.backends.index(chosen) + 1) % len(self.backends)
            chosen.in_flight += 1
            if chosen.rests_until_s:
                chosen.trial = request
            return chosen

    def _wait_s(self) -> int:
        """Whole seconds until the first backend is tried again, for Retry-After."""
        with self._lock:
            until_s = min(backend.rests_until_s for backend in self.backends)
        return max(1, math.ceil(until_s - time.monotonic()))

    def _is_well(self, backend: Backend) -> None:
        """It answered, whatever the status."""
        with self._lock:
            was_resting = backend.rests_until_s > 0
            backend.failures, backend.rests_until_s, backend.rest_s, backend.trial = 0, 0.0, 0.0, None
        if was_resting:
            logger.info("%s answers again", backend.url)

    def _leave(self, backend: Backend, request: OutgoingRequest, failure: BackendFailure | None = None) -> None:
        """The request is through with the backend; the failure, if any, may send it to rest."""
        with self._lock:
            backend.in_flight -= 1
            was_trial = backend.trial is request
            if was_trial:
                backend.trial = None
            if failure is None or (isinstance(failure, Disconnected) and failure.stale):
                return  # a connection that was closed while idle says nothing
            rest_s = self._rest_after(backend, failure, was_trial)
        logger.warning("%s: %s%s", backend.url, failure, f"; left alone for {rest_s:g} s" if rest_s else "")

    def _rest_after(self, backend: Backend, failure: BackendFailure, was_trial: bool) -> float:
        """Under the lock.  Seconds for which the backend is left alone from now; 0 when nothing changes."""
        backend.failures += 1
        if backend.rests_until_s:
            rests = was_trial  # the others had begun before
        else:
            rests = isinstance(failure, CannotConnect) or backend.failures >= self._max_failures
        if not rests or len(self.backends) == 1:
            return 0.0
        backend.rest_s = min(2 * backend.rest_s or self._rest_s, self._rest_max_s)
        backend.rests_until_s = time.monotonic() + backend.rest_s
        return backend.rest_s


class NoBackend(Exception):
    """All backends are resting.  ``wait_s``: whole seconds until one is tried again."""

    def __init__(self, wait_s: int) -> None:
        super().__init__("None of the servers behind this one can be reached at present.")
        self.wait_s = wait_s


class AnswerBlocks:
    """What the application returns: the blocks of a backend's answer.

    ``leave(failure)`` is called once: when the backend is through, when its answer breaks off, or at close().
    """

    def __init__(self, answer: BackendAnswer, leave: Callable[[BackendFailure | None], None]) -> None:
        self._answer = answer
        self._leave: Callable[[BackendFailure | None], None] | None = leave

    def __iter__(self) -> AnswerBlocks:
        return self

    def __next__(self) -> bytes:
        try:
            block = self._answer.next_block()
        except BackendFailure as failure:
            self._end(failure)
            raise AnswerBrokenOff(f"{self._answer.backend.url}: {failure}") from failure
        if self._answer.is_complete:
            self._end()  # before the client has the last octet, and may ask again
        if not block:
            raise StopIteration
        return block

    def close(self) -> None:
        """Give the connection back, or drop it where there is more to read."""
        self._answer.close()
        self._end()

    def _end(self, failure: BackendFailure | None = None) -> None:
        leave, self._leave = self._leave, None
        if leave is not None:
            leave(failure)


def may_go_elsewhere(request: OutgoingRequest, failure: BackendFailure) -> bool:
    """Not sent yet, or such that sending it again changes nothing (RFC 9110 §9.2.2)."""
    return isinstance(failure, CannotConnect) or may_be_sent_again(request)
