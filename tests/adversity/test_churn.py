"""Many clients that do all sorts of things at once, until the server stops under their hands.

Every answer is checked: it belongs to its request, and is whole.  Nothing hangs, each iterable is closed exactly once,
and (see nothing_is_left in conftest.py) debug builds count what is left and illegal moves.

    pytest tests/adversity/test_churn.py --churn=180 -o timeout=900     # each test for three minutes, in rounds
"""

from __future__ import annotations

import hashlib
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import wire

CLIENTS = 12
ROUND_S = 2.0  # of a long run: then the server stops under load, and a new one begins
BLOCK = 20000  # octets of each block of a long answer


def body_of(name: str, size: int) -> bytes:
    """What the answer called so has to be."""
    word = hashlib.sha256(name.encode()).digest()
    return (word * (size // len(word) + 1))[:size]


# -- the application --------------------------------------------------------------------------------------------------


class Closing:
    """An iterable of blocks that counts its end."""

    def __init__(self, counts: Churning, blocks: Iterable[bytes]) -> None:
        self._counts = counts
        self._blocks = iter(blocks)
        counts.opened()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._blocks)

    def close(self) -> None:
        self._counts.closed()


class Churning:
    """/KIND/SIZE/NAME; the answer's X-Name is NAME, its body body_of(NAME, SIZE), or what was uploaded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.open = 0
        self.calls = 0
        self.file = tempfile.TemporaryFile()
        self.file.write(body_of("file", 100000))
        self.file.flush()

    def opened(self) -> None:
        with self._lock:
            self.open += 1

    def closed(self) -> None:
        with self._lock:
            self.open -= 1

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            self.calls += 1
        _, kind, size, name = environ["PATH_INFO"].split("/")
        answer: Iterable[bytes] = getattr(self, kind)(environ, start_response, int(size), name)
        return answer

    def quick(self, environ: Any, start_response: Any, size: int, name: str) -> Iterable[bytes]:
        start_response("200 OK", [("X-Name", name), ("Content-Length", str(size))])
        return [body_of(name, size)]

    def block(self, environ: Any, start_response: Any, size: int, name: str) -> Iterable[bytes]:
        time.sleep(random.choice((0.0002, 0.002, 0.015)))
        return self.quick(environ, start_response, size, name)

    def compute(self, environ: Any, start_response: Any, size: int, name: str) -> Iterable[bytes]:
        until = time.perf_counter() + random.choice((0.0005, 0.002, 0.007))
        while time.perf_counter() < until:
            pass
        return self.quick(environ, start_response, size, name)

    def length(self, environ: Any, start_response: Any, size: int, name: str) -> Iterable[bytes]:
        start_response("200 OK", [("X-Name", name), ("Content-Length", str(size))])
        return Closing(self, self._blocks(size, name))

    def chunks(self, environ: Any, start_response: Any, size: int, name: str) -> Iterable[bytes]:
        start_response("200 OK", [("X-Name", name)])
        return Closing(self, self._blocks(size, name))

    def written(self, environ: Any, start_response: Any, size: int, name: str) -> Iterable[bytes]:
        write = start_response("200 OK", [("X-Name", name), ("Content-Length", str(size))])
        blocks = list(self._blocks(size, name))
        for block in blocks[:-1]:
            write(block)
        return Closing(self, blocks[-1:])

    def upload(self, environ: Any, start_response: Any, size: int, name: str) -> Iterable[bytes]:
        body = environ["wsgi.input"].read()
        start_response("200 OK", [("X-Name", name), ("Content-Length", str(len(body)))])
        return [body]

    def sent_file(self, environ: Any, start_response: Any, size: int, name: str) -> Iterable[bytes]:
        start_response("200 OK", [("X-Name", name), ("Content-Length", "100000")])
        file = os.fdopen(os.dup(self.file.fileno()), "rb")
        file.seek(0)
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](file)
        return wrapped

    def _blocks(self, size: int, name: str) -> Iterator[bytes]:
        whole = body_of(name, size)
        for at in range(0, size, BLOCK):
            if random.random() < 0.1:
                time.sleep(0.001)
            yield whole[at : at + BLOCK]


# -- the clients ------------------------------------------------------------------------------------------------------


class WrongAnswerError(AssertionError):
    """Whatever the server is about to do, this must not be."""


class Visitor:
    """One client thread."""

    def __init__(self, address: wire.Address, number: int, seed: int) -> None:
        self.address = address
        self.number = number
        self.chance = random.Random(seed * 1000 + number)
        self.sent = self.answered = 0
        self.failure: BaseException | None = None
        self.doing = ""
        self.stopping = threading.Event()  # from here on connections may be refused, closed or reset
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._run, name=f"visitor-{number}", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        ways = [self.keep_alive, self.pipeline, self.pipeline, self.upload, self.read_slowly, self.half_close,
                self.reset_within_a_call, self.reset_within_an_answer, self.break_off, self.leave_pipelined]
        while not self.done.is_set():
            way = self.chance.choice(ways)
            self.doing = way.__name__
            try:
                self._visit(way)
            except (OSError, wire.WireError) as failure:
                if not self.stopping.is_set():
                    self.failure = failure
                    return
                self.done.wait(0.01)
            except BaseException as failure:
                self.failure = failure
                return

    def _visit(self, way: Callable[[wire.Client], None]) -> None:
        small = 8192 if way == self.read_slowly else None
        with wire.Client(self.address, watched=False, receive_buffer_bytes=small) as client:
            way(client)

    def ask(self, *kinds: str, large: bool = False) -> tuple[bytes, str, bytes]:
        """A request, and name and body of the answer."""
        kind = self.chance.choice(kinds)
        size = self.chance.choice((1, 100, 5000)) if not large else self.chance.choice((60000, 400000))
        self.sent += 1
        name = f"{self.number}-{self.sent}"
        body = body_of("file", 100000) if kind == "sent_file" else body_of(name, size)
        if kind != "upload":
            return wire.request(f"/{kind}/{size}/{name}"), name, body
        if self.chance.random() < 0.5:
            return wire.request(f"/upload/{size}/{name}", method="POST", body=body), name, body
        cut = self.chance.randint(0, size)
        fields = [("Transfer-Encoding", "chunked")]
        head = wire.request(f"/upload/{size}/{name}", method="POST", fields=fields)
        return head + wire.chunked(body[:cut], body[cut:]), name, body

    def check(self, response: wire.Response, name: str, body: bytes) -> None:
        if response.status != 200 or response.get("X-Name") != name:
            raise WrongAnswerError(f"{self.doing}: not the answer to {name}: {response.status} {response.fields}")
        if response.body != body:
            raise WrongAnswerError(f"{self.doing}: {name}: {len(response.body)} octets, and not these {len(body)}")
        self.answered += 1

    # -- ways to visit --

    def keep_alive(self, client: wire.Client) -> None:
        for _ in range(self.chance.randint(1, 8)):
            message, name, body = self.ask("quick", "quick", "block", "compute", "chunks", "written", "sent_file")
            self.check(client.exchange(message), name, body)

    def pipeline(self, client: wire.Client) -> None:
        kinds = ("quick", "quick", "block", "compute", "length", "chunks", "upload", "sent_file")
        asked = [self.ask(*kinds) for _ in range(self.chance.randint(2, 12))]
        client.send(b"".join(message for message, _, _ in asked))
        for _, name, body in asked:
            self.check(client.read_response(), name, body)

    def upload(self, client: wire.Client) -> None:
        message, name, body = self.ask("upload", large=self.chance.random() < 0.3)
        self.check(client.exchange(message, self.chance.randint(1, 1 << 20)), name, body)

    def read_slowly(self, client: wire.Client) -> None:
        message, name, body = self.ask("length", "chunks", "written", large=True)
        client.send(message + wire.request(f"/quick/5/{name}"))
        for size in (len(body), 5):
            response = client.read_head()
            if self.chance.random() < 0.5:
                time.sleep(0.02)
            client._read_body(response, "GET")
            self.check(response, name, body_of(name, size))

    def half_close(self, client: wire.Client) -> None:
        asked = [self.ask("quick", "block", "chunks", "upload") for _ in range(self.chance.randint(1, 3))]
        client.send(b"".join(message for message, _, _ in asked))
        client.half_close()
        for _, name, body in asked:
            self.check(client.read_response(), name, body)
        client.assert_closed()

    def reset_within_a_call(self, client: wire.Client) -> None:
        message, _, _ = self.ask("block", "compute", "written")
        client.send(message)
        time.sleep(self.chance.choice((0, 0.001, 0.003)))
        client.reset()

    def reset_within_an_answer(self, client: wire.Client) -> None:
        message, _, body = self.ask("length", "chunks", "written", large=True)
        client.send(message)
        client.read_head()
        client.read_exactly(min(1000, len(body) // 2))
        client.reset()

    def break_off(self, client: wire.Client) -> None:
        message, _, _ = self.ask("upload", "quick", large=self.chance.random() < 0.3)
        client.send(message[: self.chance.randint(0, len(message) - 1)], may_break=True)
        self.chance.choice((client.reset, client.close))()

    def leave_pipelined(self, client: wire.Client) -> None:
        asked = [self.ask("quick", "block", "compute", "length") for _ in range(4)]
        client.send(b"".join(message for message, _, _ in asked))
        self.check(client.read_response(), *asked[0][1:])
        self.chance.choice((client.reset, client.close))()


# -- the tests --------------------------------------------------------------------------------------------------------


def churn(serve: Callable[..., Any], seconds: float, seed: int, graceful: bool, **settings: Any) -> int:
    """One server, one crowd; how many answers were checked."""
    application = Churning()
    running = serve(application, referee=False, graceful_timeout=wire.PATIENCE_S if graceful else 0.5, **settings)
    visitors = [Visitor(running.address, number, seed) for number in range(CLIENTS)]
    until = time.monotonic() + seconds
    while time.monotonic() < until and not any(visitor.failure for visitor in visitors):
        time.sleep(0.02)
    for visitor in visitors:
        visitor.stopping.set()
    try:
        running.stop(graceful, timeout=4 * wire.PATIENCE_S)
    finally:
        for visitor in visitors:
            visitor.done.set()
        for visitor in visitors:
            visitor.thread.join(3 * wire.PATIENCE_S)
    running.environs.clear()
    for visitor in visitors:
        assert not visitor.thread.is_alive(), f"{visitor.doing} (seed {seed}) does not end"
        if visitor.failure is not None:
            raise AssertionError(f"{visitor.doing} (seed {seed})") from visitor.failure
    wire.wait_until(lambda: application.open == 0, f"close() of {application.open} iterables")
    application.file.close()
    return sum(visitor.answered for visitor in visitors)


@pytest.mark.parametrize("threads, unix, graceful", [(1, False, True), (4, True, False), (16, False, True),
                                                     (16, False, False)])
def test_a_crowd_is_answered_until_the_server_stops_under_its_hands(serve, request, threads, unix, graceful):
    seconds = request.config.getoption("churn")
    seed = request.config.getoption("churn_seed")
    until = time.monotonic() + seconds
    answers = rounds = 0
    while rounds == 0 or time.monotonic() < until:
        answers += churn(serve, min(seconds, ROUND_S), seed + rounds, graceful if rounds % 4 else not graceful,
                         threads=threads, unix=unix)
        rounds += 1
    assert answers > 10 * seconds
    print(f"{answers} answers checked in {rounds} rounds")
