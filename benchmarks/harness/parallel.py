"""What several threads bring on a CPython without interpreter lock: run threads.py with one, on two cores."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from harness.closed_loop import CPU, CPU_CONNECTIONS, SWEEP_CONNECTIONS, timed
from harness.turn import Column, Conditions, Entry, Figures, Scenario
from harness.workloads import BENCHMARKS, WORKLOADS

BARE_CALLS = Path(__file__).with_name("bare_calls.py")


def bare_calls_per_s(threads: int, where: Conditions) -> float:
    command = ["taskset", "-c", where.bench.both_cores.server_cores, sys.executable, str(BARE_CALLS)]
    command += [str(threads), str(where.seconds)]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=where.seconds + 60, cwd=BENCHMARKS / "apps"
    )
    return float(done.stdout)


def parallel(entry: Entry, where: Conditions) -> Figures:
    """Each turn has both numbers of threads, so that a speed-up compares two neighbours."""
    spread = replace(where, bench=where.bench.both_cores)
    if entry.server is None:
        one, many = bare_calls_per_s(1, where), bare_calls_per_s(entry.threads, where)
        return {"per_s_1": one, "per_s": many, "speed_up": many / one}
    single = Entry(entry.server, 1)
    one = timed(single, spread, CPU, CPU_CONNECTIONS).requests_per_s
    many = timed(entry, spread, CPU, CPU_CONNECTIONS).requests_per_s
    hello_one = timed(single, spread, WORKLOADS["hello"], SWEEP_CONNECTIONS).cpu_us
    hello_many = timed(entry, spread, WORKLOADS["hello"], SWEEP_CONNECTIONS).cpu_us
    return {
        "per_s_1": one,
        "per_s": many,
        "speed_up": many / one,
        "hello_1_us": hello_one,
        "hello_us": hello_many,
        "hello_ratio": hello_many / hello_one,
    }


SCENARIO = Scenario(
    "parallel",
    "Without an interpreter lock, on both cores, which the client shares: about 1 ms of pure Python for each request,"
    " 32 connections; then hello, 64 connections. Bare threads call the same function.",
    (2,),
    parallel,
    (
        Column("per_s_1", "requests/s x1"),
        Column("per_s", "requests/s"),
        Column("speed_up", "speed-up"),
        Column("hello_1_us", "hello us x1"),
        Column("hello_us", "hello us"),
        Column("hello_ratio", "hello us, to x1"),
    ),
    (Column("speed_up", "speed-up, to bare"),),
    floor=True,
)
