"""System calls for one request on a busy server: strace is attached while wrk keeps every connection busy.

The server is slower under strace, so it always finds all connections ready: these are the counts of a server
that has no time to wait.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from harness import environments
from harness.client import CheckFailed, check
from harness.load import LoadFailed, run_wrk
from harness.options import bench_of, shared_options
from harness.process import Bench, Running, StartFailed, serving
from harness.servers import SERVERS, Missing
from harness.workloads import WORKLOADS, Workload

ATTACH_S = 10.0
SHOWN_FROM = 0.005  # calls per request; rarer ones are left out of the row, not of its total


def arguments() -> argparse.Namespace:
    parser = shared_options(__doc__, ("hello", "close"), ("headrace",))
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--connections", type=int, default=64)
    return parser.parse_args()


def wait_until_traced(pids: list[int]) -> None:
    deadline = time.monotonic() + ATTACH_S
    while time.monotonic() < deadline:
        if all("TracerPid:\t0\n" not in Path("/proc", str(pid), "status").read_text() for pid in pids):
            return
        time.sleep(0.02)
    raise StartFailed(f"strace did not attach within {ATTACH_S:.0f} s")


def traced_load(
    running: Running, workload: Workload, options: argparse.Namespace, bench: Bench
) -> tuple[int, str]:
    """Requests that wrk completed, and strace's table."""
    pids = running.tree()
    table = bench.folder / "strace.txt"
    command = ["strace", "-c", "-f", "-U", "calls,name", "-o", str(table)]
    strace = subprocess.Popen([*command, *(f"--attach={pid}" for pid in pids)], stderr=subprocess.DEVNULL)
    try:
        wait_until_traced(pids)
        load = run_wrk(running.port, workload, bench, options.connections, options.seconds)
    finally:
        strace.send_signal(signal.SIGINT)  # detaches and writes the table
        strace.wait(ATTACH_S)
    if not load.requests:
        raise LoadFailed("no request was answered")
    return load.requests, table.read_text()


def row(name: str, workload: Workload, requests: int, table: str) -> str:
    counts = {call: int(number) for number, call in re.findall(r"^\s*(\d+) +(\w+)$", table, re.MULTILINE)}
    counts.pop("total", None)
    often = sorted(counts.items(), key=lambda item: -item[1])
    shown = [f"{call} {number / requests:.2f}" for call, number in often if number / requests >= SHOWN_FROM]
    return f"| {name} | {workload.name} | {sum(counts.values()) / requests:.2f} | {', '.join(shown)} |"


def measure(name: str, workload: Workload, options: argparse.Namespace, bench: Bench) -> str:
    with serving(SERVERS[name], workload.app, bench) as running:
        check(running.port, workload)
        requests, table = traced_load(running, workload, options, bench)
    return row(name, workload, requests, table)


def main() -> int:
    options = arguments()
    if not shutil.which("strace"):
        print("strace is needed (Debian: strace)", file=sys.stderr)
        return 2
    os.sched_setaffinity(0, {options.client_core})
    good = True
    print("| server | workload | system calls per request | which |\n| --- | --- | ---: | --- |")
    with environments.workspace() as folder:
        bench = bench_of(options, folder)
        for name in options.servers:
            for workload in (WORKLOADS[one] for one in options.workloads):
                try:
                    print(measure(name, workload, options, bench), flush=True)
                except (Missing, StartFailed, CheckFailed, LoadFailed) as error:
                    print(f"| {name} | {workload.name} |  | {error} |", flush=True)
                    good = False
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
