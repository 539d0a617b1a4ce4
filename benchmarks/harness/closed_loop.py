"""Workloads with threads that wrk drives: every connection waits for its answer and asks again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from harness.client import check
from harness.load import Round, answered, measure, run_wrk
from harness.process import Running, serving
from harness.turn import FAST, Column, Conditions, Entry, Figures, Scenario, asking
from harness.workloads import WORKLOADS, Workload

SLEEPERS = Path(__file__).with_name("sleepers.py")
BLOCKING_SLEEP_S = 0.010
BLOCKING = asking("/sleep-10-ms", "blocking")
CPU = asking("/cpu", "cpu")
SLOW = asking("/sleep-100-ms", "slow")
BLOCKING_CONNECTIONS = 64
CPU_CONNECTIONS = 32
SLOW_CONNECTIONS = 8
FAST_CONNECTIONS = 16
SWEEP_CONNECTIONS = 64


@contextmanager
def started(entry: Entry, where: Conditions, *workloads: Workload) -> Iterator[Running]:
    """The entry's server, its answers to the workloads checked; they share one application."""
    assert entry.server
    with serving(entry.server, workloads[0].app, where.bench, threads=entry.threads) as running:
        for workload in workloads:
            check(running.port, workload)
        yield running


def timed(entry: Entry, where: Conditions, workload: Workload, connections: int) -> Round:
    with started(entry, where, workload) as running:
        return measure(running, workload, where.bench, connections, where.seconds)


def bare_sleepers(threads: int, where: Conditions) -> Figures:
    command = [sys.executable, str(SLEEPERS), str(where.bench.server_core), str(threads)]
    command += [str(BLOCKING_SLEEP_S), str(where.seconds)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=where.seconds + 60)
    return {"per_s": float(done.stdout)}


def blocking(entry: Entry, where: Conditions) -> Figures:
    if entry.server is None:
        return bare_sleepers(entry.threads, where)
    seen = timed(entry, where, BLOCKING, BLOCKING_CONNECTIONS)
    return {"per_s": seen.requests_per_s, "p50_ms": seen.p50_ms, "p99_ms": seen.p99_ms, "cpu_us": seen.cpu_us}


def cpu(entry: Entry, where: Conditions) -> Figures:
    seen = timed(entry, where, CPU, CPU_CONNECTIONS)
    return {"per_s": seen.requests_per_s, "p50_ms": seen.p50_ms, "p99_ms": seen.p99_ms, "cpu_us": seen.cpu_us}


def mixed(entry: Entry, where: Conditions) -> Figures:
    """The slow requests begin before the fast ones are warmed up and go on until those are timed."""
    bench = where.bench
    with started(entry, where, FAST, SLOW) as running, ThreadPoolExecutor(1) as pool:
        beside = pool.submit(run_wrk, running.port, SLOW, bench, SLOW_CONNECTIONS, where.seconds + 2)
        fast = measure(running, FAST, bench, FAST_CONNECTIONS, where.seconds)
        slow = answered(beside.result())
    return {
        "fast_p50_ms": fast.p50_ms,
        "fast_p99_ms": fast.p99_ms,
        "fast_per_s": fast.requests_per_s,
        "slow_per_s": slow.requests / slow.duration_s,
        "slow_p99_ms": slow.p99_ms,
    }


def sweep(entry: Entry, where: Conditions) -> Figures:
    figures: Figures = {}
    for name in ("hello", "browser"):
        seen = timed(entry, where, WORKLOADS[name], SWEEP_CONNECTIONS)
        figures |= {f"{name}_us": seen.cpu_us, f"{name}_per_s": seen.requests_per_s, f"{name}_busy": seen.busy}
    return figures


def one_connection(entry: Entry, where: Conditions) -> Figures:
    seen = timed(entry, where, WORKLOADS["hello"], 1)
    return {"p50_us": seen.p50_ms * 1e3, "p99_us": seen.p99_ms * 1e3, "cpu_us": seen.cpu_us}


LATENCIES = (Column("p50_ms", "p50 ms"), Column("p99_ms", "p99 ms"))
CPU_US = Column("cpu_us", "CPU us")
SCENARIOS = (
    Scenario(
        "blocking",
        "The application sleeps 10 ms; 64 connections. Bare threads only sleep.",
        (16,),
        blocking,
        (Column("per_s", "requests/s"), *LATENCIES, CPU_US),
        (Column("per_s", "requests/s over bare sleeps/s"),),
        floor=True,
    ),
    Scenario(
        "cpu",
        "About 1 ms of pure Python for each request; 32 connections.",
        (1, 16),
        cpu,
        (Column("per_s", "requests/s"), *LATENCIES, CPU_US),
        (Column("per_s", "requests/s, to x1"), Column("p99_ms", "p99, to x1")),
    ),
    Scenario(
        "mixed",
        "8 connections on a path that sleeps 100 ms (ideal 80/s), and at the same time 16 on hello.",
        (16,),
        mixed,
        (
            Column("fast_p50_ms", "fast p50 ms"),
            Column("fast_p99_ms", "fast p99 ms"),
            Column("fast_per_s", "fast/s"),
            Column("slow_per_s", "slow/s"),
            Column("slow_p99_ms", "slow p99 ms"),
        ),
    ),
    Scenario(
        "threads-sweep",
        "CPU microseconds per request with more and more threads; 64 connections.",
        (1, 2, 4, 8, 16, 32),
        sweep,
        (
            Column("hello_us", "hello us"),
            Column("browser_us", "browser us"),
            Column("hello_per_s", "hello/s"),
            Column("browser_per_s", "browser/s"),
        ),
        (Column("hello_us", "hello us, to x1"), Column("browser_us", "browser us, to x1")),
    ),
    Scenario(
        "one-connection",
        "hello on a single connection.",
        (1, 16),
        one_connection,
        (Column("p50_us", "p50 us"), Column("p99_us", "p99 us"), CPU_US),
        (Column("p50_us", "p50, to x1"),),
    ),
)
