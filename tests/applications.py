"""Applications that tests of slow clients need: one with a large response, one that waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import wire


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
