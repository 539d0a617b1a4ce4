"""The floor of the parallel workload: `bare_calls.py THREADS SECONDS`, in apps/, prints how many calls a second of what
its application computes that many bare Python threads reach."""

from __future__ import annotations

import sys
import threading
import time

sys.path.insert(0, "")

from waits import CPU_STEPS, compute


def call_until(end: float, counts: list[int]) -> None:
    count = 0
    while time.monotonic() < end:
        compute(CPU_STEPS)
        count += 1
    counts.append(count)


def calls_per_s(threads: int, seconds: float) -> float:
    counts: list[int] = []
    began = time.monotonic()
    running = [threading.Thread(target=call_until, args=(began + seconds, counts)) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(counts) / (time.monotonic() - began)


if __name__ == "__main__":
    print(calls_per_s(int(sys.argv[1]), float(sys.argv[2])))
