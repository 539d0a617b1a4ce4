"""A process that a child of ours has forked: is it what it is said to be, and how is it signalled?

A template may run as another user than its supervisor, which may be root and could signal anybody.  So the supervisor
asks the kernel whose child that process is, and keeps hold of the process itself (pidfd_open(2)): by the time that it
is to be signalled its number may belong to somebody else.
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path


class ForeignProcessError(Exception):
    """There is such a process, but it is not the child of the one who says so."""


class Descendant:
    """Process ``pid``, forked by ``parent``, which is a child of ours that has not been waited for.

    Raises ForeignProcessError, or ProcessLookupError when that process has gone already."""

    def __init__(self, pid: int, parent: int) -> None:
        self._pid = pid
        self._parent = parent
        self._fd = _open(pid)
        try:
            if not _is_child(pid, parent):
                raise ForeignProcessError(f"process {pid} is no child of process {parent}")
            self.send(0)  # still there: what has been asked was asked of the process that we hold
        except BaseException:
            self.close()
            raise

    def send(self, number: int) -> None:
        """The signal, and to nobody else.  Raises ProcessLookupError when it has gone.

        Without pidfd_open(2) (macOS, BSD, older kernels) its parent, which waits for it, has to be there still."""
        if self._fd is not None:
            signal.pidfd_send_signal(self._fd, number)
        elif _is_child(self._pid, self._parent):
            os.kill(self._pid, number)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _open(pid: int) -> int | None:
    if pid <= 0:
        raise ProcessLookupError  # kill(2) and its kin mean groups by these
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except (ProcessLookupError, OverflowError):
        raise ProcessLookupError from None
    except OSError:  # an older kernel; a container that does not allow it; too many files
        return None


def _is_child(pid: int, parent: int) -> bool:
    """Raises ProcessLookupError.  Where nobody can tell, only who may not signal everybody takes it for true."""
    found = _parent_in_proc(pid) if Path("/proc/self").is_dir() else _parent_by_ps(pid)
    return found == parent if found is not None else os.geteuid() != 0


def _parent_in_proc(pid: int) -> int:
    try:
        # proc_pid_stat(5): pid (name) state ppid, and a name may be anything
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except OSError:
        raise ProcessLookupError from None


def _parent_by_ps(pid: int) -> int | None:
    with suppress(OSError, subprocess.SubprocessError, ValueError):
        said = subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, timeout=5)  # noqa: S607
        if said.returncode == 1:
            raise ProcessLookupError
        return int(said.stdout)
    return None
