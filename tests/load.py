"""Steady load from one thread: so many keep-alive connections, each of which asks again as soon as it has its answer.

    with Load(("127.0.0.1", 8000)) as load:
        load.wait_for(1000)              # so many answers more
    assert not load.failures             # and load.answers, load.bodies

A connection that the server has ended in order (Connection: close, or silently between two answers) is made anew.  A
request that gets no answer, or another status than 200, is a failure.
"""

from __future__ import annotations

import re
import selectors
import socket
import threading
import time
from collections import Counter
from types import TracebackType

import wire

WAIT_S = 8 * wire.PATIENCE_S


class _Client:
    def __init__(self, load: Load) -> None:
        self.load = load
        self.received = b""
        self.answers = 0
        self.socket = socket.create_connection(load.address, WAIT_S)
        self.socket.setblocking(False)

    def ask(self) -> None:
        self.received = b""
        try:
            self.socket.send(self.load.request)
        except OSError as error:
            self.load.fail(f"send: {error}", self)

    def hear(self) -> None:
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self.load.fail(f"receive: {error}", self)
            return
        if not data:
            self.load.fail(f"ended after {self.received[:200]!r}", self)
            return
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if not found or length is None or len(body) < int(length[1]):
            return
        if not head.startswith(b"HTTP/1.1 200 "):
            self.load.fail(f"answer {head[:200]!r}", self)
            return
        self.answers += 1
        self.load.note(body)
        if re.search(rb"(?i)\r\nconnection: *close", head):
            self.load.renew(self)
        else:
            self.load.go_on(self)


class Load:
    """As a context manager it runs in a thread; at the end no request is in flight."""

    def __init__(self, address: tuple[str, int], connections: int = 64, path: str = "/") -> None:
        self.address = address
        self.request = f"GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n".encode()
        self.answers = 0
        self.bodies: Counter[bytes] = Counter()
        self.failures: list[str] = []
        self._connections = connections
        self._selector = selectors.DefaultSelector()
        self._ends = threading.Event()
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ends.set()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()

    def wait_for(self, answers: int) -> None:
        """So many more, or the first failure."""
        with self._news:
            wanted = self.answers + answers
            assert self._news.wait_for(lambda: self.answers >= wanted or self.failures, WAIT_S), self.answers

    # of the thread

    def _run(self) -> None:
        for _ in range(self._connections):
            self._start()
        while self._selector.get_map():
            for key, _ in self._selector.select(WAIT_S) or [(None, 0)]:
                if key is None:
                    self.failures.append("no answer")
                    return
                key.data.hear()

    def _start(self) -> None:
        try:
            client = _Client(self)
        except OSError as error:
            self.failures.append(f"connect: {error}")
            return
        self._selector.register(client.socket, selectors.EVENT_READ, client)
        client.ask()

    def note(self, body: bytes) -> None:
        with self._news:
            self.answers += 1
            self.bodies[body] += 1
            self._news.notify_all()

    def go_on(self, client: _Client) -> None:
        if self._ends.is_set():
            self._drop(client)
        else:
            client.ask()

    def fail(self, what: str, client: _Client) -> None:
        with self._news:
            self.failures.append(f"{time.monotonic():.3f} {what}")
            self._news.notify_all()
        self.renew(client)

    def renew(self, client: _Client) -> None:
        self._drop(client)
        if not self._ends.is_set() and len(self.failures) < 100:
            self._start()

    def _drop(self, client: _Client) -> None:
        self._selector.unregister(client.socket)
        client.socket.close()
