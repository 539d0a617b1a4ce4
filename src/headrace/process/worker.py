"""Worker: one process around one loop.  Signals, access log and listeners are its business; bytes are the loop's."""

from __future__ import annotations

import faulthandler
import logging
import os
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from types import FrameType
from typing import Any, TextIO, cast

from headrace.config import Config, behind
from headrace.engine.gateway import DEFAULT_GATEWAY
from headrace.engine.loop import Loop
from headrace.engine.signal_handler import SignalHandler
from headrace.engine.slot import Slot
from headrace.observe.access_log import open_access_log
from headrace.observe.error_stream import ERROR_STREAM
from headrace.observe.log_setup import model_line
from headrace.process.listeners import Listener, close_listeners
from headrace.process.signals import let_signals_cut_exit, unblock
from headrace.process.systemd import Notifier
from headrace.wsgi import Application

logger = logging.getLogger("headrace")

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
QUICK_STOP_SIGNALS = (signal.SIGQUIT,)


class Worker:
    """Owns the listeners from here on: they are closed when run() ends, or by close() if it never ran.

    notifier: hears of the stop, and, where systemd has a watchdog, of each turn of the loop.

    Raises OSError when the access log cannot be opened or the poller is not to be had."""

    def __init__(
        self,
        application: Application,
        listeners: Sequence[Listener],
        config: Config,
        notifier: Notifier | None = None,
        *,
        supervised: bool = False,
        slot: Slot | None = None,
    ) -> None:
        """slot: where on the scoreboard the worker's threads show what they serve.  supervised: one of several
        processes; signals are its supervisor's business, and so are the log's last words.  notifier: without one."""
        self._listeners = listeners
        self._supervised = supervised
        self._has_slot = slot is not None
        self._drain_delay_s = config.drain_delay
        self._graceful_timeout_s = config.graceful_timeout
        self._single_thread = config.threads == 1
        self._access_log = open_access_log(config)
        sockets = [listener.socket for listener in listeners]
        self._loop = Loop(
            application,
            sockets,
            config,
            None if self._access_log is None else self._access_log.lines,
            cast(TextIO, ERROR_STREAM),
            # no method of ours, which would be a cycle
            partial(close_sockets, sockets, None if supervised else config.graceful_timeout, notifier),
            DEFAULT_GATEWAY._replace(environ={"wsgi.multiprocess": True}) if supervised else None,
            slot=slot,
        )
        if notifier is not None and notifier.watchdog_interval_s is not None:
            self.call_every(notifier.watchdog_interval_s, notifier.alive)

    @property
    def on_timeout(self) -> Callable[[], object] | None:
        """Called on the thread that watches calls when one has taken longer than ``timeout``: replace this worker."""
        return self._loop.on_timeout

    @on_timeout.setter
    def on_timeout(self, called: Callable[[], object] | None) -> None:
        self._loop.on_timeout = called

    def call_every(self, interval_s: float, function: Callable[[], object]) -> None:
        """Before run(): in a turn of the loop, so not while it hangs.  See Loop.call_every()."""
        self._loop.call_every(interval_s, function)

    def run(self, when_ready: Callable[[], None] | None = None, *, process_ends: bool = False) -> None:
        """Serve until stop().  In the main thread SIGTERM and SIGINT stop it, too: the first finishes what is in
        flight, a second one does not wait for it.  ``when_ready`` is called when a signal or a connection that comes
        now will be heard.  With one thread a second signal, or the graceful timeout, also ends an application call:
        KeyboardInterrupt is raised in it.  Several threads are left behind inside theirs.  process_ends: signals that
        come once run() is over are not what they were before: see let_signals_cut_exit()."""
        if self._has_slot:
            show_stacks_on_abort()
        try:
            with nullcontext() if self._supervised else self._signals(process_ends):
                if when_ready is not None:
                    when_ready()
                self._loop.run()
        finally:
            self.close()

    def stop(self, graceful: bool = True, *, drain: bool = False) -> None:
        """From any thread, any number of times; before run() it makes run() return at once.  drain: begin by going on
        for ``drain_delay`` seconds with failing health checks."""
        self._loop.stop(graceful=graceful, drain=drain)

    def retire(self) -> None:
        """Leave the listeners to other workers, and end when the last connection has gone: see Loop.retire()."""
        self._loop.retire()

    def runs_here(self) -> bool:
        """Is the calling thread one of the server's own?  It must not wait for the server's end."""
        return self._loop.runs_here()

    def close(self) -> None:
        close_listeners(self._listeners)
        if self._access_log is not None:
            self._access_log.close()

    @contextmanager
    def _signals(self, process_ends: bool) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        received: list[int] = []
        timers: list[threading.Timer] = []
        may_interrupt = False
        has_failed = True

        def on_signal(number: int, _frame: FrameType | None) -> None:
            nonlocal may_interrupt
            received.append(number)
            if len(received) > 2 and not may_interrupt:
                return  # nothing is left to be said
            is_first = len(received) == 1 and number not in QUICK_STOP_SIGNALS
            self.stop(graceful=is_first, drain=number == signal.SIGTERM)
            drain_s = self._drain_delay_s if number == signal.SIGTERM else 0.0
            if not self._single_thread:
                return  # this thread never runs the application
            if is_first:
                # The loop keeps its own time; this is for an application call that does not come back to it.
                time_s = drain_s + self._graceful_timeout_s + 1
                timers.append(threading.Timer(time_s, os.kill, (os.getpid(), number)))
                timers[0].daemon = True
                timers[0].start()
            may_interrupt = may_interrupt or len(received) == 1
            if not is_first and may_interrupt:  # a second one may have come during the lines above
                # The application may be what holds this thread: let it end there, as it would without us.
                may_interrupt = False
                raise KeyboardInterrupt

        handler = SignalHandler(on_signal)
        numbers = STOP_SIGNALS + QUICK_STOP_SIGNALS if process_ends else STOP_SIGNALS
        before: dict[int, Any] = {number: signal.signal(number, handler) for number in numbers}
        if process_ends:
            unblock(number.name for number in numbers)
        handlers_before.update(before)
        try:
            yield
            has_failed = False
        except KeyboardInterrupt:
            if not received:
                raise
            has_failed = False
        finally:
            may_interrupt = False
            for started in timers:
                started.cancel()
            if process_ends and received:
                let_signals_cut_exit(numbers, 1 if has_failed else 0)
            else:
                handlers_before.clear()
                for number, former in before.items():
                    signal.signal(number, former)
            if received:
                # Not in the handler, which may have interrupted a write to the very same log.
                logger.info("HR104 Stopped by %s", signal.Signals(received[0]).name)


def close_sockets(
    sockets: Sequence[socket.socket], graceful_timeout_s: float | None, notifier: Notifier | None
) -> None:
    """Who connects from now on is refused at once, and can go elsewhere; names of UNIX sockets go in the end."""
    if notifier is not None:
        notifier.stopping("answering what is in flight")
    for listening in sockets:
        listening.close()
    if graceful_timeout_s is not None:
        logger.info("HR103 Stopping: what is in flight has %g s; a second signal cuts it", graceful_timeout_s)


def show_stacks_on_abort() -> None:
    """A supervisor ends a worker that is stuck with SIGABRT: the stacks of all threads go to stderr, which needs no
    interpreter lock, for some thread may be holding that."""
    try:
        if not faulthandler.is_enabled():
            faulthandler.enable()
    except (OSError, RuntimeError, ValueError) as error:  # stderr is closed, or no file
        logger.warning("HR830 No stacks will be shown should the worker get stuck: %s", error)


handlers_before: dict[int, Any] = {}
"""Of the stop signals, while a worker has them, or has had them last."""


def give_signals_back() -> None:
    """A child that the application has forked is no server: a signal that would end it must do so."""
    if handlers_before:
        signal.set_wakeup_fd(-1)
        for number, handler in handlers_before.items():
            signal.signal(number, handler)
        handlers_before.clear()


os.register_at_fork(after_in_child=give_signals_back)

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
        logger.warning("HR105 The limit of %d open files stays as it is: %s", soft, error)


def announce(listeners: Sequence[Listener], config: Config, notifier: Notifier | None = None) -> None:
    """In the log, and to systemd: connections are accepted."""
    for listener in listeners:
        logger.info("HR101 Listening at: %s", listener.address.url)
    logger.info("HR102 %s", model_line(config.threads))
    line = behind.told(config)
    if line is not None:
        logger.info("HR114 %s", line)
    if notifier is not None:
        notifier.ready(", ".join(listener.address.url for listener in listeners))
