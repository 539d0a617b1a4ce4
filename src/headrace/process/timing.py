"""Times that the supervisor waits for, and how long it waits before it tries again."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable

COMPACT_LEAST = 64


class Timer:
    """A call to be made once; cancel() at any time."""

    def __init__(self, at_s: float, call: Callable[[], object]) -> None:
        self.at_s = at_s
        self.call: Callable[[], object] | None = call

    def cancel(self) -> None:
        self.call = None


class Timers:
    """Calls to be made later, by one thread that asks how long it may sleep.  Nothing to wait for: no time-out."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._number = itertools.count()
        self._compact_at = COMPACT_LEAST

    def after(self, seconds: float, call: Callable[[], object]) -> Timer:
        if len(self._heap) >= self._compact_at:  # those that were cancelled may lie there for a year
            self._heap = [entry for entry in self._heap if entry[2].call is not None]
            heapq.heapify(self._heap)
            self._compact_at = max(COMPACT_LEAST, 2 * len(self._heap))
        timer = Timer(time.monotonic() + seconds, call)
        heapq.heappush(self._heap, (timer.at_s, next(self._number), timer))
        return timer

    def wait_s(self) -> float | None:
        while self._heap and self._heap[0][2].call is None:
            heapq.heappop(self._heap)
        return max(self._heap[0][0] - time.monotonic(), 0) if self._heap else None

    def run_due(self) -> None:
        while self.wait_s() == 0:
            timer = heapq.heappop(self._heap)[2]
            call, timer.call = timer.call, None
            if call is not None:
                call()


class BackOff:
    """How long to wait after one more failure in a row: not at all, then doubling up to ``most_s``."""

    def __init__(self, first_s: float = 0.1, most_s: float = 10.0) -> None:
        self.failures = 0
        self._first_s = first_s
        self._most_s = most_s

    def failed(self) -> float:
        self.failures += 1
        return 0.0 if self.failures == 1 else min(self._first_s * 2.0 ** min(self.failures - 2, 30), self._most_s)

    def succeeded(self) -> None:
        self.failures = 0
