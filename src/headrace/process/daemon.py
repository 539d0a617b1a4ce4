"""--daemon: into the background, with a parent whose exit code tells whether the server has started.

    daemon = daemonize()        # first of all: no thread, no listener, no log yet
    ...                         # what goes wrong is still told on the terminal
    daemon.started()            # in when_ready: the parent exits with 0
    daemon.failed(exit_code)    # or: the parent exits with this code

The parent waits at a pipe.  When the server dies without a word, that ends, too, and the parent exits with 1.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

from headrace.observe.log_file import open_for_appending

EXIT_DIED = 1


class ParentGone(RuntimeError):
    """Whoever started the server has been told, by the end of its command, that there is none."""


class Daemon:
    """The server's end of the pipe to the process that was started; ``keeps_output``: see started()."""

    def __init__(self, pipe: int) -> None:
        self._pipe: int | None = pipe

    def started(self, *, keeps_output: bool = False) -> None:
        """The server serves: let the parent go, and let go of the terminal.  Standard output and error go to
        /dev/null; not with keeps_output, when they go to a file already.  Only the first call counts.

        Raises ParentGone when the parent was ended in the meantime: then nobody expects the server to run."""
        if self._pipe is None:
            return
        flush_output()
        told = self._tell(0)
        if not keeps_output:
            leave_terminal()
        if not told:
            raise ParentGone("the process that started this one has gone")

    def failed(self, exit_code: int) -> None:
        """The server has not started, and ends.  No matter after started()."""
        flush_output()
        self._tell(exit_code or EXIT_DIED)

    def _tell(self, exit_code: int) -> bool:
        pipe, self._pipe = self._pipe, None
        if pipe is None:
            return True
        try:
            return os.write(pipe, bytes([exit_code & 0xFF])) == 1
        except OSError:  # EPIPE; Python ignores SIGPIPE
            return False
        finally:
            os.close(pipe)


def daemonize() -> Daemon:
    """Go on in a process of another session, without controlling terminal; returns in that one only.

    Two forks: who leads a session could come by a terminal again (setsid(2), credentials(7)).  The working directory
    and the umask stay.  Raises OSError when there are no processes left."""
    flush_output()
    reading, writing = os.pipe()
    first = os.fork()
    if first:
        os.close(writing)
        os._exit(_wait_for_word(reading, first))
    os.close(reading)
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
    except OSError:
        os._exit(EXIT_DIED)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup(1) would have it ignored; it has a meaning for a supervisor
    send_to_null(0)
    return Daemon(writing)


def _wait_for_word(reading: int, first: int) -> int:
    """In the parent: the exit code.  A signal that ends it (Ctrl-C) does so as always."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.waitpid(first, 0)
    word = os.read(reading, 1)
    return word[0] if word else EXIT_DIED


def capture_output(error_logfile: str) -> bool:
    """--capture-output: what the application prints goes to the error log's file, and so does what libraries in C and
    subprocesses write.  Again after the file was rotated.  False for "-": it goes there already.

    Raises OSError when the file cannot be opened."""
    if error_logfile == "-":
        return False
    descriptor = open_for_appending(error_logfile)
    flush_output()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)  # a file would get blocks of 8 KiB, late and torn
    return True


def leave_terminal() -> None:
    """Whoever has started the server may wait for the end of what it prints.  In each of its processes."""
    flush_output()
    send_to_null(1, 2)


def send_to_null(*descriptors: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in descriptors:
        os.dup2(null, descriptor)
    if null > 2:
        os.close(null)


def flush_output() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError, ValueError):  # ValueError: closed
                stream.flush()
