"""Behind a proxy that is slow, cuts, stalls or resets at each octet of a request and of an answer.

Each request has a number, and so have its field, its body, and each part of its answer.  After each test: no request
that was cut has been run (or, where bodies are streamed, has seen all of its body), whoever got an answer got his own,
up to the octet where it was cut, each iterable was closed, a new connection is answered, and no connection and no
descriptor is left.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import socket
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest
import wire
from misbehaving_proxy import Fault, MisbehavingProxy

from headrace.engine import debug

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts the descriptors in /proc/self/fd")

#: The number in the messages that are the patterns of all others.
PATTERN = 9999
#: What is pipelined behind a request has its number and this; it asks for the end of the connection.
BEHIND = 5000
#: Of eight blocks of an answer that no socket takes as a whole: each kilobyte has the number.
LARGE_BLOCK_BYTES = 40 << 10
#: Of the server, where the proxy is to outlast it; long enough for the proxy to get there on a busy machine.
DEADLINE_S = wire.PATIENCE_S / 5
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


# -- requests and answers ---------------------------------------------------------------------------------------------


def numbered(pattern: bytes, number: int) -> bytes:
    """The same message of another number."""
    return pattern.replace(b"%04d" % PATTERN, b"%04d" % number)


LENGTH = wire.request("/chunks/9999", method="POST", host="a", fields=[("X-Number", "9999")], body=b"body of 9999")
CHUNKED = wire.request(
    "/length/9999", method="POST", host="a", fields=[("X-Number", "9999"), ("Transfer-Encoding", "chunked")]
) + wire.chunked(b"body ", b"of ", b"9999", trailer=b"X-Trailer: 9999\r\n")
REQUESTS = (LENGTH, CHUNKED)


def get(kind: str) -> bytes:
    return wire.request(f"/{kind}/9999", host="a", fields=[("X-Number", "9999")])


ANSWERS = ("length", "chunks", "file")
LARGE_ANSWERS = ("large-length", "large-chunks", "large-file")

#: Behind a request that is disturbed: another one, after which the server closes.
LAST = wire.request("/length/9999", host="a", fields=[("X-Number", "9999"), ("Connection", "close")])


class _Counting:
    """Blocks of an answer; tells that it was closed."""

    def __init__(self, blocks: Iterable[bytes], on_close: Callable[[], None]) -> None:
        self._blocks = iter(blocks)
        self.close = on_close

    def __iter__(self) -> Iterator[bytes]:
        return self._blocks


class Application:
    """/KIND/NUMBER.  begun and complete: the numbers of the calls, and of those that have read all of their body.

    The answer tells the number: in small blocks with Content-Length ("length") or in chunks ("chunks"), or as a file
    ("file"); "large-length" and so on: in large ones.  wrong: calls in which not everything was of the same number.
    """

    def __init__(self) -> None:
        self.begun: Counter[int] = Counter()
        self.complete: Counter[int] = Counter()
        self.wrong: list[object] = []
        self.open = 0
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="hr-")

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        _, kind, word = environ["PATH_INFO"].split("/")
        with self._lock:
            self.begun[int(word)] += 1
        body = environ["wsgi.input"].read()
        with self._lock:
            self.complete[int(word)] += 1
        expected = b"body of " + word.encode() if environ["REQUEST_METHOD"] == "POST" else b""
        if (environ["HTTP_X_NUMBER"], body) != (word, expected):
            self.wrong.append((environ["HTTP_X_NUMBER"], body, word))
        headers = [("Date", DATE), ("X-Number", word)]
        large, _, framing = kind.rpartition("-")
        blocks = [b"this ", b"is ", word.encode(), b"."]
        if large:
            blocks = [word.encode().ljust(1024) * (LARGE_BLOCK_BYTES // 1024)] * 8
        if framing != "chunks":
            headers.append(("Content-Length", str(sum(map(len, blocks)))))
        start_response("200 OK", headers)
        return self._answer(environ, framing, blocks)

    def _answer(self, environ: dict[str, Any], framing: str, blocks: list[bytes]) -> Iterable[bytes]:
        with self._lock:
            self.open += 1
        if framing != "file":
            return _Counting(blocks, self._one_closed)
        file = tempfile.TemporaryFile(dir=self._folder.name)
        file.write(b"".join(blocks))
        file.seek(0)
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](_ClosingFile(file, self._one_closed))
        return wrapped

    def _one_closed(self) -> None:
        with self._lock:
            self.open -= 1

    def close(self) -> None:
        self._folder.cleanup()


class _ClosingFile:
    """A file that tells that it was closed."""

    def __init__(self, file: Any, on_close: Callable[[], None]) -> None:
        self._file = file
        self._on_close = on_close
        self.read, self.fileno, self.tell = file.read, file.fileno, file.tell

    def close(self) -> None:
        self._file.close()
        self._on_close()


# -- the stage --------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def many_descriptors() -> Iterator[None]:
    """Each connection takes four of this process: the client's, two of the proxy, and the server's."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8192 if hard == resource.RLIM_INFINITY else min(hard, 8192)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def at_once() -> int:
    """So many connections in flight are far from the limit of descriptors."""
    return max((resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200) // 5, 20)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def counted() -> dict[str, int]:
    """Of debug builds, what does not outlive its connection; {} in others."""
    return {kind: n for kind, n in debug.object_counts().items() if kind in ("Connection", "Spool", "illegal moves")}


class Outcome:
    """What came of a request with a fault."""

    def __init__(self, stage: Stage, number: int, messages: tuple[bytes, bytes], fault: Fault, came: bytes) -> None:
        self.stage = stage
        self.number = number
        self.messages = messages
        self.fault = fault
        self.came = came

    def expected(self) -> bytes:
        """Without the fault.  Made when asked for: a few hundred large answers are many octets."""
        first, behind = self.messages
        return self.stage.answer(first, self.number) + self.stage.answer(behind, self.number + BEHIND)

    def assert_right(self) -> None:
        assert self.came == self.expected(), self.fault
        assert self.stage.application.complete[self.number] == 1, self.fault

    def assert_right_up_to_the_fault(self) -> None:
        assert self.came == self.expected()[: self.fault.at], self.fault

    def assert_never_run(self) -> None:
        assert self.number not in self.stage.application.begun, self.fault
        self.assert_nothing_behind_it_was_run()

    def assert_nothing_behind_it_was_run(self) -> None:
        assert self.number + BEHIND not in self.stage.application.begun, self.fault


class Stage:
    """A server, its application, and a proxy in front of it."""

    def __init__(self, running: Any, application: Application, has_interpreter_lock: bool) -> None:
        self.running = running
        self.application = application
        self._has_interpreter_lock = has_interpreter_lock
        self.answers: dict[bytes, bytes] = {}
        self.chance = random.Random(1)
        self._fresh = 9000

    def ask(self, message: bytes) -> bytes:
        """The octets of the answer to one request on a connection of its own, read strictly."""
        with wire.Client(self.running.address, watched=False) as client:
            response = client.exchange(message)
            assert response.status == 200, response
        with socket.socket(client.sock.family) as sock:
            sock.settimeout(wire.PATIENCE_S)
            sock.connect(self.running.address)
            sock.sendall(message)
            sock.shutdown(socket.SHUT_WR)
            return read_all(sock)

    def answer(self, pattern: bytes, number: int) -> bytes:
        """What the answer to this request of this number has to be, to the octet."""
        if pattern not in self.answers:
            self.answers[pattern] = self.ask(pattern)
        return numbered(self.answers[pattern], number)

    @contextlib.contextmanager
    def proxy(self) -> Iterator[MisbehavingProxy]:
        """What holds before and after the faults."""
        self.ask(get("length"))
        self._wait_until_quiet()
        before, objects = descriptors(), counted()
        with MisbehavingProxy(self.running.address) as proxy:
            yield proxy
        self._fresh += 1
        pattern = get("length")
        assert self.ask(numbered(pattern, self._fresh)) == self.answer(pattern, self._fresh)
        self._wait_until_quiet()
        wire.wait_until(lambda: descriptors() <= before, f"{before} descriptors")
        if self._has_interpreter_lock:  # without it objects end when the thread that made them next runs
            wire.wait_until(lambda: counted() == objects, f"{objects}")
        assert self.application.wrong == []

    def _wait_until_quiet(self) -> None:
        wire.wait_until(lambda: self.running.connection_count() == 0, "every connection gone", 4 * wire.PATIENCE_S)
        wire.wait_until(lambda: self.application.open == 0, "close() of every iterable", 4 * wire.PATIENCE_S)

    def disturb(
        self, sent: Sequence[tuple[bytes, Fault]], behind: bytes = LAST, receive_buffer_bytes: int | None = None
    ) -> list[Outcome]:
        """Each request with its fault, and another one behind it, many connections in flight at once."""
        outcomes = []
        for start in range(0, len(sent), at_once()):
            part = list(enumerate(sent))[start : start + at_once()]
            with self.proxy() as proxy, contextlib.ExitStack() as clients:
                socks = []
                for number, (pattern, fault) in part:
                    sock = clients.enter_context(proxy.connect(fault, receive_buffer_bytes))
                    sock.sendall(numbered(pattern, number) + numbered(behind, number + BEHIND))
                    socks.append(sock)
                if any(fault.kind == "hold" and fault.way == "response" for _, (_, fault) in part):
                    self._end_what_is_held(proxy, socks)
                for sock, (number, (pattern, fault)) in zip(socks, part, strict=True):
                    outcomes.append(Outcome(self, number, (pattern, behind), fault, read_all(sock)))
                assert proxy.faults == len(part)
        return outcomes

    def _end_what_is_held(self, proxy: MisbehavingProxy, socks: list[socket.socket]) -> None:
        """The proxy does not listen to the server any more, so it does not see that it closes: the clients end it."""
        wire.wait_until(lambda: proxy.faults == len(socks), "every fault", 4 * wire.PATIENCE_S)
        self._wait_until_quiet()
        for sock in socks:
            sock.shutdown(socket.SHUT_WR)


def read_all(sock: socket.socket) -> bytes:
    """Until the end of the connection.  A socket pair ends in an error where something was left unread."""
    received = bytearray()
    with contextlib.suppress(ConnectionError):
        while octets := sock.recv(65536):
            received += octets
    return bytes(received)


@pytest.fixture
def stage(serve: Callable[..., Any], has_interpreter_lock: bool, threads: int) -> Iterator[Callable[..., Stage]]:
    made: list[Application] = []

    def start(send_buffer_bytes: int | None = None, **settings: object) -> Stage:
        made.append(Application())
        running = serve(made[-1], referee=False, **{"threads": threads, "linger_timeout": 0.2, **settings})
        if send_buffer_bytes is not None:  # TCP sockets inherit it from their listener
            for listener in running.server._listeners:
                listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
        return Stage(running, made[-1], has_interpreter_lock)

    yield start
    for application in made:
        application.close()


everywhere = pytest.mark.parametrize("threads", [1, 16])


def in_requests(kind: str) -> list[tuple[bytes, Fault]]:
    """A fault of this kind at each octet of each request."""
    return [(request, Fault(kind, "request", at)) for request in REQUESTS for at in range(len(request))]


@everywhere
def test_without_a_fault_the_proxy_is_not_noticed(stage, transport, threads):
    play = stage()
    for pattern in (*REQUESTS, *map(get, ANSWERS + LARGE_ANSWERS)):
        with play.proxy() as proxy, proxy.connect() as sock:
            sock.sendall(pattern)
            sock.shutdown(socket.SHUT_WR)
            assert read_all(sock) == play.answer(pattern, PATTERN)


# -- the request ------------------------------------------------------------------------------------------------------


@everywhere
class TestRequests:
    @pytest.mark.parametrize("kind", ["cut", "reset", "half-close", "leave"])
    def test_that_end_at_any_octet_are_never_run(self, stage, transport, threads, kind):
        for outcome in stage().disturb(in_requests(kind)):
            outcome.assert_never_run()
            assert outcome.came == b"", outcome.fault

    @pytest.mark.parametrize("kind", ["cut", "reset", "half-close"])
    def test_that_end_while_they_are_streamed_never_show_a_complete_body(self, stage, transport, threads, kind):
        play = stage(stream_request_body=True)
        for outcome in play.disturb(in_requests(kind)):
            assert outcome.number not in play.application.complete, outcome.fault
            outcome.assert_nothing_behind_it_was_run()
            if outcome.fault.at < outcome.messages[0].index(b"\r\n\r\n") + 4:
                outcome.assert_never_run()

    def test_that_pause_at_any_octet_are_answered(self, stage, transport, threads):
        for outcome in stage().disturb(in_requests("pause")):
            outcome.assert_right()

    def test_that_come_octet_by_octet_are_answered(self, stage, transport, threads):
        for outcome in stage().disturb([(pattern, Fault("drip", "request", 0)) for pattern in REQUESTS * 2]):
            outcome.assert_right()

    def test_that_stop_at_any_octet_get_408(self, stage, transport, threads):
        for outcome in stage(head_timeout=DEADLINE_S, body_timeout=DEADLINE_S).disturb(in_requests("hold")):
            outcome.assert_never_run()
            if outcome.fault.at:
                assert outcome.came.startswith(b"HTTP/1.1 408 Request Timeout\r\n"), (outcome.fault, outcome.came)
            else:
                assert outcome.came == b""


# -- the answer -------------------------------------------------------------------------------------------------------


def in_answers(play: Stage, kind: str) -> list[tuple[bytes, Fault]]:
    """A fault of this kind at each octet of each answer."""
    return [
        (get(answer), Fault(kind, "response", at))
        for answer in ANSWERS
        for at in range(len(play.answer(get(answer), PATTERN)))
    ]


@everywhere
class TestAnswers:
    @pytest.mark.parametrize("kind", ["cut", "reset", "leave"])
    def test_that_are_broken_off_at_any_octet_are_right_up_to_there(self, stage, transport, threads, kind):
        play = stage()
        for outcome in play.disturb(in_answers(play, kind)):
            outcome.assert_right_up_to_the_fault()

    def test_whose_reader_pauses_at_any_octet_are_right(self, stage, transport, threads):
        play = stage()
        for outcome in play.disturb(in_answers(play, "pause")):
            outcome.assert_right()

    def test_that_are_read_octet_by_octet_are_right(self, stage, transport, threads):
        for outcome in stage().disturb([(get(answer), Fault("drip", "response", 0)) for answer in ANSWERS * 2]):
            outcome.assert_right()


@everywhere
class TestLargeAnswers:
    """The server is still sending, and has more than the socket takes."""

    @staticmethod
    def disturb(play: Stage, kind: str, places: Iterable[int]) -> list[Outcome]:
        sent = [(get(answer), Fault(kind, "response", at)) for at in places for answer in LARGE_ANSWERS]
        return play.disturb(sent, receive_buffer_bytes=4096)

    @pytest.mark.parametrize("kind", ["cut", "reset", "leave"])
    def test_that_are_broken_off_are_right_up_to_there(self, stage, transport, threads, kind):
        play = stage(send_buffer_bytes=4096)
        early = len(play.answer(get("large-chunks"), PATTERN).partition(b"\r\n\r\n")[0]) + 20
        places = [*range(0, early, 1 if kind == "reset" else 10)]
        places += [play.chance.randrange(8 * LARGE_BLOCK_BYTES) for _ in range(10)]
        for outcome in self.disturb(play, kind, places):
            outcome.assert_right_up_to_the_fault()
            if kind != "cut" and outcome.fault.at < early and transport == "tcp":
                outcome.assert_nothing_behind_it_was_run()  # for the small buffers held the server up

    def test_whose_reader_pauses_are_right(self, stage, transport, threads):
        for outcome in self.disturb(stage(send_buffer_bytes=4096), "pause", [0, 1, 100, *range(150, 50_000, 5_000)]):
            outcome.assert_right()

    def test_that_are_not_read_any_more_are_given_up(self, stage, transport, threads):
        play = stage(send_buffer_bytes=4096, write_timeout=DEADLINE_S)
        for outcome in self.disturb(play, "hold", [0, 1, 100, *range(150, 50_000, 5_000)]):
            outcome.assert_right_up_to_the_fault()
