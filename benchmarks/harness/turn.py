"""What a workload with threads is made of: who takes a turn, under which conditions, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.process import Bench
from harness.servers import Server
from harness.workloads import HELLO_WORLD, HOST, PLAIN, Workload, head

Figures = dict[str, float]
BARE_THREADS = "bare threads"


@dataclass(frozen=True)
class Entry:
    """A server with a number of threads; or, without a server, that many bare Python threads."""

    server: Server | None
    threads: int

    @property
    def label(self) -> str:
        return f"{self.server.name if self.server else BARE_THREADS} x{self.threads}"


@dataclass(frozen=True)
class Conditions:
    """The same for every turn of a run."""

    bench: Bench
    seconds: float  # of each timed run
    queue_deadline_s: float  # Headrace's in the overload workload; 0 for none
    idle: int  # connections of the idle workload


@dataclass(frozen=True)
class Column:
    key: str
    heading: str


@dataclass(frozen=True)
class Scenario:
    """A workload, and how its table looks.  Each ratio is taken within a round, to `base`'s turn of that round."""

    name: str
    about: str
    threads: tuple[int, ...]
    turn: Callable[[Entry, Conditions], Figures]
    columns: tuple[Column, ...]
    ratios: tuple[Column, ...] = ()
    floor: bool = False  # bare threads take turns too, and are the base; else it is the same server with one thread


def asking(path: str, name: str) -> Workload:
    """A GET of one of apps/waits.py's paths that answer as hello does."""
    return Workload(name, "waits:app", head(f"GET {path} HTTP/1.1", HOST), HELLO_WORLD, PLAIN)


FAST = asking("/", "fast")
