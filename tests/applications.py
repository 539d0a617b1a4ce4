"""Applications that tests of slow clients and of threads need: one with a large response, some that wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import wire

if TYPE_CHECKING:
    from conftest import Running


class Blocks:
    """An application whose response is `count` blocks of `size` octets each; counts what is asked of it."""

    def __init__(self, count: int, size: int = 65536) -> None:
        self.count = count
        self.size = size
        self.asked = 0
        self.closed = 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/blocks":
            start_response("200 OK", [])
            return [b"quick"]
        start_response("200 OK", [("Content-Length", str(self.count * self.size))])
        return _Iteration(self)


class _Iteration:
    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._left = blocks.count

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self._left:
            raise StopIteration
        self._left -= 1
        self._blocks.asked += 1
        return b"x" * self._blocks.size

    def close(self) -> None:
        self._blocks.closed += 1


class Gate:
    """An application that waits inside until it is opened, and so holds its thread."""

    def __init__(self, answer: bytes = b"done") -> None:
        self.answer = answer
        self.inside = threading.Event()
        self._open = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/gate":
            self.inside.set()
            assert self._open.wait(wire.PATIENCE_S)
        start_response("200 OK", [])
        return [self.answer]

    def wait_inside(self) -> None:
        assert self.inside.wait(wire.PATIENCE_S)

    def open(self) -> None:
        self._open.set()


class House:
    """An application whose calls of /hold... stay inside until they are let out; others are answered at once.

    The answer is the request target.  begun: the targets of held calls in the order in which they came in.  most: how
    many were inside at once at the most.
    """

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.inside = 0
        self.most = 0
        self._leave = 0
        self._open = False
        self._news = threading.Condition()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"].startswith("/hold"):
            self.hold(environ["RAW_URI"])
        start_response("200 OK", [])
        return [environ["RAW_URI"].encode()]

    def hold(self, name: str) -> None:
        """Stay inside."""
        with self._news:
            self.begun.append(name)
            self.inside += 1
            self.most = max(self.most, self.inside)
            self._news.notify_all()
            assert self._news.wait_for(lambda: self._open or self._leave, 3 * wire.PATIENCE_S), "nobody let me out"
            self._leave = max(self._leave - 1, 0)
            self.inside -= 1
            self._news.notify_all()

    def let_out(self, count: int = 1) -> None:
        with self._news:
            self._leave += count
            self._news.notify_all()
            assert self._news.wait_for(lambda: not self._leave, wire.PATIENCE_S)

    def open(self) -> None:
        """From now on nobody is held."""
        with self._news:
            self._open = True
            self._news.notify_all()

    def wait_for_begun(self, count: int) -> None:
        """Until so many calls have come in, in all."""
        with self._news:
            came = self._news.wait_for(lambda: len(self.begun) >= count, wire.PATIENCE_S)
        assert came, f"{len(self.begun)} of {count} calls came in"

    def fill(self, running: Running, count: int) -> list[wire.Client]:
        """So many clients whose calls are inside."""
        clients = [running.connect() for _ in range(count)]
        before = len(self.begun)
        for number, client in enumerate(clients):
            client.send(wire.request(f"/hold/in-{number}"))
        self.wait_for_begun(before + count)
        return clients
