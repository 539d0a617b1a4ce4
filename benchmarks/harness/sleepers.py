"""The floor of the blocking workload: `sleepers.py CORE THREADS SLEEP_S SECONDS` prints how many sleeps a second
that many bare Python threads reach that do nothing else."""

from __future__ import annotations

import os
import sys
import threading
import time


def sleep_until(end: float, sleep_s: float, counts: list[int]) -> None:
    count = 0
    while time.monotonic() < end:
        time.sleep(sleep_s)
        count += 1
    counts.append(count)


def sleeps_per_s(threads: int, sleep_s: float, seconds: float) -> float:
    counts: list[int] = []
    began = time.monotonic()
    arguments = (began + seconds, sleep_s, counts)
    running = [threading.Thread(target=sleep_until, args=arguments) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(counts) / (time.monotonic() - began)


def main() -> None:
    core, threads, sleep_s, seconds = sys.argv[1:]
    os.sched_setaffinity(0, {int(core)})
    print(sleeps_per_s(int(threads), float(sleep_s), float(seconds)))


if __name__ == "__main__":
    main()
