"""The scoreboard: memory in which every worker's threads show what they serve, for others to read at any time.

It is anonymous: nothing is written to disk, and it goes with the last process that has it.  The supervisor makes it,
workers inherit its descriptor, and each has a slot (csrc/scoreboard.h says what is in it).
"""

from __future__ import annotations

import importlib
import mmap
import os
from typing import Any

from headrace.engine.slot import InFlight, Slot, slot_bytes

__all__ = ["InFlight", "Scoreboard", "Slot"]


class Scoreboard:
    """``slots`` slots with rows for ``threads`` threads each.

    fd: of the memory, for processes that are started and not forked; not inheritable until somebody says so.  Given to
    another process's Scoreboard, it is the same memory there.  Raises OSError when there is no such memory.
    """

    def __init__(self, slots: int, threads: int, fd: int | None = None) -> None:
        self.slots = slots
        self.threads = threads
        size_bytes = slots * slot_bytes(threads)
        self.fd = anonymous_memory(size_bytes) if fd is None else fd
        self._memory = mmap.mmap(self.fd, size_bytes)

    def slot(self, number: int) -> Slot:
        """Slot ``number``, from 0.  Raises ValueError when there is none."""
        return Slot(self._memory, self.slots, self.threads, number)

    def close(self) -> None:
        """Close the descriptor; slots stay usable."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def anonymous_memory(size_bytes: int) -> int:
    """A descriptor of zeroed memory without a name: memfd_create(2), or shm_open(3) where there is none."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("headrace-scoreboard", os.MFD_CLOEXEC)
    else:
        shm: Any = importlib.import_module("_posixshmem")  # what multiprocessing.shared_memory uses
        name = f"/headrace-{os.urandom(8).hex()}"
        fd = int(shm.shm_open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        shm.shm_unlink(name)
    os.ftruncate(fd, size_bytes)
    return fd
