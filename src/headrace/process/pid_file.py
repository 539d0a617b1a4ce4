"""The pid file: one line with the number of the process, there whole or not at all, and only while it runs."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
import time
from contextlib import suppress
from pathlib import Path

from headrace.errors import HeadraceError

logger = logging.getLogger("headrace")

#: A pid has at most seven digits on Linux (proc(5), pid_max).
CONTENT_BYTES_MAX = 64
#: Between two looks at a name that others write at the same time.
ATTEMPTS_MAX = 10
ATTEMPT_PAUSE_S = 0.02
#: proc(5) gives the start of a process in ticks, and the boot time in whole seconds.
START_TIME_SLACK_S = 2


class PidFileError(HeadraceError):
    """The pid file cannot be written; ``hint`` says what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class PidFile:
    """Owns the file at ``path`` from write() to remove(), in the process that has written it: a forked child removes
    nothing."""

    def __init__(self, path: str) -> None:
        self.path = Path(os.path.abspath(path))  # noqa: PTH100  # after a chdir it is still this one; links stay
        self._name = self.path
        self._pid: int | None = None

    def write(self, suffix: str = "") -> None:
        """Raises PidFileError: another process lives whose pid is in the file, or it cannot be written.

        suffix: behind the name, until take_name(), while another process of ours has the name.  A file that a server
        left behind is replaced.  A file that holds no pid is somebody else's and stays."""
        self.path = self._name.with_name(self._name.name + suffix)
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            _make(temporary)
            try:
                self._put_in_place(temporary)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise PidFileError(f"cannot write the pid file {str(self.path)!r}: {reason}") from None
        self._pid = os.getpid()

    def _put_in_place(self, temporary: Path) -> None:
        for attempt in range(ATTEMPTS_MAX):
            try:
                os.link(temporary, self.path)  # fails when the name is taken, as rename(2) would not
                return
            except FileExistsError:
                _remove_stale(self.path)
                time.sleep(attempt * ATTEMPT_PAUSE_S)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS) or self.path.exists():
                    raise
                temporary.rename(self.path)  # a file system without hard links
                return
        raise PidFileError(f"cannot write the pid file {str(self.path)!r}: others write it all the time")

    def take_name(self) -> None:
        """Who had the name has gone, as at an upgrade of the whole server: what is there is replaced."""
        if self._is_ours():
            try:
                self.path.rename(self._name)
            except OSError as error:
                logger.warning("HR902 The pid file stays %s: %s", self.path, error.strerror)
                return
        self.path = self._name

    def remove(self) -> None:
        """At the end, and only if it is still ours.  More than once is fine.

        It cannot be removed where privileges were dropped and the folder is root's.  The file is not given away for
        that: who may write it tells root's scripts what to kill.  The next start sees that nobody has this pid."""
        if self._is_ours():
            try:
                self.path.unlink()
            except OSError as error:
                logger.info("HR903 The pid file %s stays behind: %s", self.path, error.strerror)
        self._pid = None

    def _is_ours(self) -> bool:
        if self._pid is None or self._pid != os.getpid():
            return False
        try:
            return _read(self.path) == self._pid
        except (OSError, PidFileError):
            return False


def _make(path: Path) -> None:
    """Whole, with one write, readable for all; a leftover of a process with our number goes."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, b"%d\n" % os.getpid())
        os.fchmod(descriptor, 0o644)
    finally:
        os.close(descriptor)


def _remove_stale(path: Path) -> None:
    """Raises PidFileError unless the file is one that was left behind; then it is gone.

    Of two processes that find the same stale file one removes it: under a lock, and only if the name still means the
    file that was read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise PidFileError(f"{str(path)!r} is a symbolic link and no pid file", "it is left as it is") from None
        raise
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # another process is at it: look again
        status = os.fstat(descriptor)
        pid = _pid_in(descriptor, path)
        if pid is not None and _is_alive(pid, status.st_mtime):
            raise PidFileError(
                f"a server is running already: the pid file {str(path)!r} has its pid {pid}",
                "stop it, or give this one another --pid",
            )
        with suppress(FileNotFoundError):
            if os.path.samestat(os.lstat(path), status):
                path.unlink()
    finally:
        os.close(descriptor)


def _read(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return _pid_in(descriptor, path)
    finally:
        os.close(descriptor)


def _pid_in(descriptor: int, path: Path) -> int | None:
    """None for an empty file, which says nothing.  Raises PidFileError for what is no pid file."""
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        content = os.read(descriptor, CONTENT_BYTES_MAX + 1).strip()
        if not content:
            return None
        if content.isdigit() and len(content) <= 10 and int(content) > 0:
            return int(content)
    raise PidFileError(f"{str(path)!r} holds no pid", "it is left as it is; remove it, or give another --pid")


def _is_alive(pid: int, written_s: float) -> bool:
    """Is there a process with this number that can have written the file?

    Not our own, which is new: in a container the numbers are the same after each start.  Nor one that began after the
    file was written, where the system tells: its number was given out again."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # EPERM: somebody else's
    state, began_s = _state_and_start_time_s(pid)
    return state not in ("Z", "X") and (began_s is None or began_s <= written_s + START_TIME_SLACK_S)


def _state_and_start_time_s(pid: int) -> tuple[str, float | None]:
    """From proc(5): "Z" is a zombie, which nobody has waited for; the time counts from 1970.  ("", None) where they
    are not to be had."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("latin-1").rpartition(")")[2].split()  # from the third on
        lines = Path("/proc/stat").read_text("latin-1").splitlines()
        boot_s = next(int(line.split()[1]) for line in lines if line.startswith("btime "))
        return fields[0], boot_s + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, StopIteration):
        return "", None
