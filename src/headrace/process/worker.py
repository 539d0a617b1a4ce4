"""Worker: one process around one loop.  Signals, access log and listeners are its business; bytes are the loop's."""

from __future__ import annotations

import logging
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TextIO, cast

from headrace.config import Config
from headrace.engine.loop import Loop
from headrace.observe.access_log import AccessLog
from headrace.observe.error_stream import ERROR_STREAM
from headrace.process.listeners import Listener, close_listeners
from headrace.wsgi import Application

logger = logging.getLogger("headrace")

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Worker:
    """Owns the listeners from here on: they are closed when run() ends, or by close() if it never ran.

    Raises OSError when the access log cannot be opened or the poller is not to be had."""

    def __init__(self, application: Application, listeners: Sequence[Listener], config: Config) -> None:
        self._listeners = listeners
        self._graceful_timeout_s = config.graceful_timeout
        self._access_log = AccessLog(config.access_logfile) if config.access_logfile is not None else None
        sockets = [listener.socket for listener in listeners]
        self._loop = Loop(application, sockets, config, self._access_log, cast(TextIO, ERROR_STREAM))

    def run(self, when_ready: Callable[[], None] | None = None) -> None:
        """Serve until stop().  In the main thread SIGTERM and SIGINT stop it, too: the first finishes what is in
        flight, a second one does not wait for it.  ``when_ready`` is called when a signal or a connection that comes
        now will be heard.  A second signal, or the graceful timeout, also ends an application call: KeyboardInterrupt
        is raised in it."""
        try:
            with self._signals():
                if when_ready is not None:
                    when_ready()
                self._loop.run()
        finally:
            self.close()

    def stop(self, graceful: bool = True) -> None:
        """From any thread, any number of times; before run() it makes run() return at once."""
        self._loop.stop(graceful=graceful)

    def close(self) -> None:
        close_listeners(self._listeners)
        if self._access_log is not None:
            self._access_log.close()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        received: list[int] = []
        timer: list[threading.Timer] = []

        def on_signal(number: int, _frame: FrameType | None) -> None:
            received.append(number)
            self.stop(graceful=len(received) == 1)
            if len(received) > 1:
                # The application may be what holds this thread: let it end there, as it would without us.
                raise KeyboardInterrupt
            # The loop keeps its own time; this is for an application call that does not come back to it.
            timer.append(threading.Timer(self._graceful_timeout_s + 1, os.kill, (os.getpid(), number)))
            timer[0].daemon = True
            timer[0].start()

        before = {number: signal.signal(number, on_signal) for number in STOP_SIGNALS}
        try:
            yield
        except KeyboardInterrupt:
            if not received:
                raise
        finally:
            for started in timer:
                started.cancel()
            for number, handler in before.items():
                signal.signal(number, handler)
            if received:
                # Not in the handler, which may have interrupted a write to the very same log.
                logger.info("Stopped by %s", signal.Signals(received[0]).name)


DESCRIPTORS_BESIDE_CONNECTIONS = 256
"""Listeners, logs, temporary files of bodies, and what the application opens."""


def raise_descriptor_limit(connections_max: int) -> None:
    """Many systems allow a process 1,024 descriptors and leave it to the process to ask for more, up to the hard
    limit (getrlimit(2)): ask for what the connection limit promises.

    For programs of our own only: a process that embeds a Server may rely on small descriptors, for select(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections_max + DESCRIPTORS_BESIDE_CONNECTIONS
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        logger.warning("The limit of %d open files stays as it is: %s", soft, error)


def announce(listeners: Sequence[Listener]) -> None:
    for listener in listeners:
        logger.info("Listening at: %s", listener.address.url)
