"""Workers with slots of a scoreboard, several of which may share a listener; and one in a process of its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import wire

from headrace.config import Config
from headrace.engine.slot import Slot
from headrace.process.listeners import Listener, open_listeners
from headrace.process.scoreboard import Scoreboard
from headrace.process.worker import Worker

Application = Callable[..., Iterable[bytes]]


class Running:
    """A Worker in a thread of its own."""

    def __init__(self, application: Application, slot: Slot, listener: Listener, **settings: Any) -> None:
        mine = Listener(listener.socket.dup(), listener.address)
        self.slot = slot
        self.address: wire.Address = (listener.address.host, listener.address.port)
        self.worker = Worker(application, [mine], Config(threads=2, **settings), slot=slot)
        self.thread = threading.Thread(target=self.worker.run, daemon=True)
        self.thread.start()
        wire.wait_until(self.slot.is_accepting, "the worker accepting")

    def connect(self) -> wire.Client:
        return wire.Client(self.address, watched=False)

    def stop(self) -> None:
        self.worker.stop(graceful=False)
        self.thread.join(wire.PATIENCE_S)
        assert not self.thread.is_alive()


@contextlib.contextmanager
def running(*applications: Application, **settings: Any) -> Iterator[list[Running]]:
    """A worker for each application, all at one port."""
    (listener,) = open_listeners(["127.0.0.1:0"], 128)
    board = Scoreboard(len(applications), 2)
    workers: list[Running] = []
    try:
        for number, application in enumerate(applications):
            workers.append(Running(application, board.slot(number), listener, **settings))
        yield workers
    finally:
        for worker in workers:
            worker.stop()
        listener.close()
        board.close()


class Apart:
    """A worker in a process of its own; ``slot`` is here."""

    PROGRAM = """
import os, sys
from headrace.config import Config
from headrace.process.listeners import open_listeners
from headrace.process.scoreboard import Scoreboard
from headrace.process.worker import Worker
{source}
board = Scoreboard(1, 2, int(sys.argv[1]))
listeners = open_listeners(["127.0.0.1:0"], 128)
worker = Worker(application, listeners, Config(threads=2, **{settings!r}), slot=board.slot(0))
print(listeners[0].address.port, flush=True)
worker.run()
"""

    def __init__(self, source: str, **settings: Any) -> None:
        self.board = Scoreboard(1, 2)
        self.slot = self.board.slot(0)
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM.format(source=source, settings=settings), str(self.board.fd)],
            pass_fds=[self.board.fd],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.address: wire.Address = ("127.0.0.1", int(self.process.stdout.readline()))

    def connect(self) -> wire.Client:
        return wire.Client(self.address, watched=False)

    def kill(self, number: int) -> str:
        """Send the signal; what the process has written to stderr when it is no more."""
        self.process.send_signal(number)
        return self.process.communicate(timeout=4 * wire.PATIENCE_S)[1]

    def __enter__(self) -> Apart:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
        self.board.close()
