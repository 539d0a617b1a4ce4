"""Keeps a core from going to sleep: `python -m harness.awake CORE` spins on it at the lowest priority there is.

A processor that halts between two answers has to be woken for the next one, which the sender pays for: about
10 us on a virtual machine.  SCHED_IDLE gives way to everything else on the core at once.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from harness.workloads import BENCHMARKS

STEPS = 100_000  # between two looks at who our parent is; some milliseconds


def spin(core: int) -> None:
    """Until whoever started this has gone."""
    os.sched_setaffinity(0, {core})
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    parent = os.getppid()
    while os.getppid() == parent:
        for _ in range(STEPS):
            pass


@contextmanager
def awake(core: int, wanted: bool = True) -> Iterator[None]:
    """Keeps `core` awake inside the block, if that is wanted."""
    if not wanted:
        yield
        return
    spinner = subprocess.Popen([sys.executable, "-m", "harness.awake", str(core)], cwd=BENCHMARKS)
    try:
        yield
    finally:
        spinner.kill()
        spinner.wait()


if __name__ == "__main__":
    spin(int(sys.argv[1]))
