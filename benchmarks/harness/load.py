"""Load from wrk, on a core of its own."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness.process import HOST, Bench, Running
from harness.workloads import NUMBER, Workload

REPLAY = Path(__file__).with_name("replay.lua")


class LoadFailed(Exception):
    """wrk gave no result, or counted errors."""


@dataclass(frozen=True)
class Load:
    """What wrk counted."""

    requests: int
    duration_s: float
    p50_ms: float
    p99_ms: float
    errors: dict[str, int]


@dataclass(frozen=True)
class Round:
    """One server, one workload, one turn; microseconds are per request."""

    user_us: float
    system_us: float
    requests_per_s: float
    p99_ms: float
    busy: float  # share of the server's core that its tree used
    p50_ms: float

    @property
    def cpu_us(self) -> float:
        return self.user_us + self.system_us


def run_wrk(port: int, workload: Workload, bench: Bench, connections: int, seconds: float) -> Load:
    request = bench.folder / f"{workload.name}.request"
    request.write_bytes(workload.request)
    command = [
        "taskset",
        "-c",
        str(bench.client_core),
        "wrk",
        "-t1",
        f"-c{min(connections, workload.connections_max)}",
        f"-d{max(1, round(seconds))}s",
    ]
    command += ["--timeout", "10s", "-s", str(REPLAY), f"http://{HOST}:{port}/", str(request)]
    if workload.varies:
        command.append(NUMBER.decode())
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds + 60)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise LoadFailed((done.stderr or done.stdout)[-400:])
    counted = json.loads(lines[-1])
    return Load(
        counted["requests"],
        counted["duration_us"] / 1e6,
        counted["p50_us"] / 1e3,
        counted["p99_us"] / 1e3,
        counted["errors"],
    )


def answered(load: Load) -> Load:
    """The same load; raises LoadFailed when an answer failed, or none came."""
    failed = {name: count for name, count in load.errors.items() if count}
    if failed or not load.requests:
        raise LoadFailed(f"{load.requests} requests, errors {failed}")
    return load


def measure(running: Running, workload: Workload, bench: Bench, connections: int, seconds: float) -> Round:
    """A second of warming up, then one timed run; raises LoadFailed when an answer failed."""
    run_wrk(running.port, workload, bench, connections, 1)
    before = running.cpu()
    load = run_wrk(running.port, workload, bench, connections, seconds)
    used = running.cpu() - before
    answered(load)
    return Round(
        used.user_s / load.requests * 1e6,
        used.system_s / load.requests * 1e6,
        load.requests / load.duration_s,
        load.p99_ms,
        (used.user_s + used.system_s) / load.duration_s,
        load.p50_ms,
    )
