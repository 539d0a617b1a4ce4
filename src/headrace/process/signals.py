"""Signals that a process hears in its own loop: Python writes their numbers to a socket, which wakes a select."""

from __future__ import annotations

import _thread
import atexit
import logging
import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import suppress
from types import FrameType
from typing import Any

logger = logging.getLogger("headrace")

#: The exit waits so long for a thread that a signal handler has started.
LAST_THREADS_S = 1.0

#: Of the signals to a supervisor those that end or stop a process which does not expect them; and what a terminal sends
#: by itself, which is left to it where there is one: SIGTTIN and SIGTTOU are job control.
SUPERVISORS_SIGNALS = ("SIGHUP", "SIGUSR2")
SUPERVISORS_SIGNALS_OR_A_TERMINALS = ("SIGTTIN", "SIGTTOU", "SIGWINCH")

#: A signal that comes sooner after the end of the server was one more for the server, not for an exit that hangs.
EXIT_PATIENCE_S = 1.0
#: For the line in the log, which may be what hangs.
LAST_WORDS_S = 1.0


def wakeup_pair() -> tuple[socket.socket, socket.socket]:
    """The end to read the numbers from, and the one that Python writes them to from here on.  Neither blocks."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    return reader, writer


def unblock(names: Iterable[str]) -> None:
    """In this thread.  A process inherits the mask of whoever started it, and an application may change it while it is
    imported; who is deaf to these signals neither stops nor learns that a worker has died."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {getattr(signal, name) for name in names})


def drain(reader: socket.socket) -> bytes:
    """All that is there."""
    data = b""
    with suppress(BlockingIOError):
        while part := reader.recv(4096):
            data += part
    return data


def ended_children() -> Iterator[tuple[int, int]]:
    """Process and status of each child that has ended, as waitpid(2) gives them; does not wait."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, status


class ShutAtExit:
    """A lock for threads that nobody joins: the exit waits for the one that has it, and then no other gets it.

    Python stops such threads where they are.  One that was writing to stdout or stderr keeps it locked, and the last
    flush of that stream waits for it without end (CPython without interpreter lock), or is a fatal error (with it).
    The child of a fork has a lock that is free.
    """

    def __init__(self) -> None:
        self._renew()
        os.register_at_fork(after_in_child=self._renew)
        atexit.register(self._shut)

    def _renew(self) -> None:
        self._lock = _thread.allocate_lock()

    def _shut(self) -> None:
        self._lock.acquire(timeout=LAST_THREADS_S)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def ignore(_number: int, _frame: Any) -> None:
    """A handler that does nothing.  Unlike SIG_IGN, programs that are started from here do not inherit it."""


def has_terminal() -> bool:
    """A controlling terminal, which is still there."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def refuse_signals_of_a_supervisor() -> None:
    """In the main thread of a server that is one process: a deploy script's `kill -HUP` must not end it.

    The application may take these signals for itself.  What nohup(1) has set stays.  When the terminal closes, which is
    SIGHUP, too, the server stops as at SIGTERM."""
    from headrace.engine.signal_handler import SignalHandler  # a supervisor has no use for the compiled part

    had_terminal = has_terminal()

    def tell_or_stop(number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if name == "SIGHUP" and had_terminal and not has_terminal():
            signal.raise_signal(signal.SIGTERM)
            return
        with suppress(RuntimeError):  # no thread to be had.  Not here: this may have interrupted a write to the log
            _thread.start_new_thread(_tell_refused, (name,))

    refuse = SignalHandler(tell_or_stop)

    def give_back() -> None:
        """A child that the application forks is no server."""
        for number in numbers:
            if signal.getsignal(number) is refuse:
                signal.signal(number, signal.SIG_DFL)

    names = SUPERVISORS_SIGNALS + (() if had_terminal else SUPERVISORS_SIGNALS_OR_A_TERMINALS)
    numbers = [int(getattr(signal, name)) for name in names]
    numbers = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, refuse)
    os.register_at_fork(after_in_child=give_back)


def _tell_refused(name: str) -> None:
    with _telling:
        logger.warning("HR115 %s is ignored: there is no supervisor to hear it; --workers 1 brings one", name)


_telling = ShutAtExit()


def let_signals_cut_exit(numbers: Iterable[int], status: int) -> None:
    """In the main thread, once the server has ended.  A signal that comes right now is of no use any more; later on it
    ends a process whose exit hangs in code of the application's, with this status: in one of its threads, or in a
    function that it has given to atexit.

    Python runs handlers between its own steps only: what hangs in native code takes SIGKILL."""
    ended_s = time.monotonic()
    has_begun = False

    def cut(number: int, frame: FrameType | None) -> None:
        nonlocal has_begun
        if has_begun or time.monotonic() - ended_s < EXIT_PATIENCE_S:
            return
        has_begun = True
        unblock(["SIGALRM"])
        signal.signal(signal.SIGALRM, lambda *_: os._exit(status))
        signal.setitimer(signal.ITIMER_REAL, LAST_WORDS_S)
        try:
            logger.warning("HR116 The exit hung and is cut by %s: %s", signal.Signals(number).name, _what_hangs(frame))
        finally:
            os._exit(status)

    for number in numbers:
        signal.signal(number, cut)
        _cutting.add(number)


_cutting: set[int] = set()
"""The signals that cut the exit."""


@atexit.register
def _ignore_what_cuts() -> None:
    """The last of these functions, for those of the application have been registered later.  Behind it Python would
    make another signal fatal, and the exit code wrong."""
    for number in _cutting:
        signal.signal(number, signal.SIG_IGN)


def _what_hangs(frame: FrameType | None) -> str:
    """Python waits for threads first, and then calls what atexit has."""
    main = threading.main_thread()
    names = [repr(thread.name) for thread in threading.enumerate() if thread is not main and not thread.daemon]
    if names:
        return f"threads of the application go on: {', '.join(names)}"
    if frame is None:
        return "it was in native code that atexit had"
    return "it was here\n" + "".join(traceback.format_stack(frame)).rstrip()
