"""The access log: a line for each request, to a file, stdout, syslog or a logger, in the format that was asked for.

Lines are made in the compiled part (engine/access_lines.pyx) and written by a thread of their own, so that no request
waits for a disk, a pipe or a daemon.  Everything that a client chose is escaped, so that a line stays a line and a
field stays a field (CVE-2020-7694 is what happens otherwise).
"""

from __future__ import annotations

import errno
import logging
import os
import select
import stat
import sys
import threading
import time
from collections.abc import Callable

from headrace.config import Config
from headrace.config.access_format import parse_access_format
from headrace.engine.access_lines import AccessLines
from headrace.observe.log_file import open_for_appending
from headrace.observe.log_setup import access_logger, logger, open_logs
from headrace.observe.syslog import INFO, Syslog

#: How long close() waits for a disk, a pipe or a daemon before what is left counts as lost.
CLOSE_PATIENCE_S = 2.0
#: The log is told of the same trouble at most this often.
TOLD_EVERY_S = 60.0


def open_access_log(config: Config) -> AccessLog | None:
    """The log that a configuration asks for, or None.  Raises OSError when it cannot be opened.

    As in gunicorn, syslog and a logging configuration that names the logger headrace.access get the lines, too.
    """
    syslog = Syslog.of(config) if config.log_syslog and not config.disable_redirect_access_to_syslog else None
    has_logger = bool(access_logger.handlers)
    if config.access_logfile is None and syslog is None and not has_logger:
        return None
    return AccessLog(config.access_logformat, config.access_logfile, syslog, access_logger.info if has_logger else None)


def is_file(descriptor: int) -> bool:
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


class AccessLog:
    """``lines`` is what a Loop takes.

    A file is opened by its path and appended to; several processes may share it, for each write has whole lines.  A
    sys.stdout that a program has put in the place of the real one is written to line by line, in the thread of the
    request.  What cannot be written (a full disk, a pipe that nobody reads) is lost and counted, and the error log says
    so; serving goes on, and so does stopping.
    """

    def __init__(
        self,
        text: str = "combined",
        logfile: str | None = None,
        syslog: Syslog | None = None,
        sink: Callable[[str], object] | None = None,
    ) -> None:
        """text: of config.access_format.  logfile: a path, or "-" for stdout.  Raises OSError."""
        self._path = os.path.abspath(logfile) if logfile not in (None, "-") else None  # noqa: PTH100
        self._thread: threading.Thread | None = None
        self._process = os.getpid()
        self._told_at: dict[str, float] = {}
        self._told_lost = 0
        self._lock = threading.Lock()
        self._closed = False
        descriptor = self._descriptor(logfile)
        if logfile == "-" and descriptor is None and sys.stdout is not None:
            sink = joined(sink, self._to_stdout)
        writes = descriptor is not None or syslog is not None
        self.lines = AccessLines(parse_access_format(text), self._start_thread, self._tell, sink, writes)
        if descriptor is not None:
            self.lines.set_file(descriptor, 0 if is_file(descriptor) else select.PIPE_BUF)
        if syslog is not None:
            self._connect(syslog)
        open_logs.add(self)

    def _descriptor(self, logfile: str | None) -> int | None:
        """None: no file, or a stdout that has no descriptor of its own."""
        if self._path is not None:
            return open_for_appending(self._path)
        stdout = sys.__stdout__
        if logfile == "-" and stdout is not None and sys.stdout is stdout:
            stdout.flush()
            return os.dup(stdout.fileno())
        return None

    def _connect(self, syslog: Syslog) -> None:
        try:
            connected = syslog.connect()
        except OSError:
            self.lines.close_descriptors()
            raise
        self.lines.set_syslog(
            connected.detach(), syslog.address.path, syslog.priority(INFO), syslog.host, syslog.tag_of_process
        )

    def _to_stdout(self, line: str) -> None:
        if sys.stdout is None:
            return
        try:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        except OSError as error:
            self._tell("file", error.errno or errno.EIO)
        else:
            self._told_at.pop("file", None)

    # ---- the thread that writes ----

    def _start_thread(self) -> bool:
        with self._lock:
            if self._thread is not None or self._closed:
                return True
            thread = threading.Thread(target=self.lines.work, name="headrace-access-log", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                self._say("thread", logging.ERROR, "HR606 no thread for the access log: %s", error)
                return False
            self._thread = thread
            return True

    def _tell(self, what: str, number: int) -> None:
        if what == "full":
            self._say("full", logging.ERROR, "HR602 the access log takes no more lines for now; they are lost")
        elif number:
            where = "syslog" if what == "syslog" else "the access log"
            self._say(what, logging.ERROR, "HR601 cannot write %s: %s; its lines are lost", where, os.strerror(number))
        else:
            lost = self.lines.lost()
            logger.warning("HR603 the access log is written again; %d lines were lost", lost - self._told_lost)
            self._told_lost = lost
            self._told_at.pop(what, None)

    def _say(self, what: str, level: int, message: str, *arguments: object) -> None:
        now = time.monotonic()
        if now - self._told_at.get(what, -TOLD_EVERY_S) >= TOLD_EVERY_S:
            self._told_at[what] = now
            logger.log(level, message, *arguments)

    # ---- what the worker calls ----

    def reopen(self) -> None:
        """Open the file by its name again, as after a rotation: each line goes to one of the two, whole.  Any thread.

        Pipes, stdout and syslog stay.  The one before is kept where this fails."""
        if self._path is None or self._closed:
            return
        try:
            if not os.path.lexists(self._path) or stat.S_ISREG(os.stat(self._path).st_mode):  # noqa: PTH116
                self.lines.set_file(open_for_appending(self._path), 0)
        except OSError as error:
            logger.error("HR604 cannot reopen the access log %r: %s", self._path, (error.strerror or error))

    def flush(self, timeout_s: float = CLOSE_PATIENCE_S) -> bool:
        """Has every line until now been written, or lost, within that time?"""
        return self.lines.flush(int(timeout_s * 1000))

    def close(self) -> None:
        """Write what there is; wait for at most CLOSE_PATIENCE_S.  A child that was forked closes nothing."""
        with self._lock:
            if self._closed or os.getpid() != self._process:
                return
            self._closed = True
        open_logs.discard(self)
        self.lines.close()
        if self._thread is None:
            if self.lines.waiting():
                self.lines.work()  # there was no thread to be had
            self.lines.close_descriptors()
            return
        self._thread.join(CLOSE_PATIENCE_S)
        stuck = self._thread.is_alive()
        lost = self.lines.lost() - self._told_lost + (self.lines.waiting() if stuck else 0)
        if lost:
            logger.warning("HR605 %d lines of the access log were lost", lost)
        if not stuck:
            self.lines.close_descriptors()


def joined(first: Callable[[str], object] | None, second: Callable[[str], object]) -> Callable[[str], object]:
    if first is None:
        return second

    def both(line: str) -> None:
        first(line)
        second(line)

    return both
