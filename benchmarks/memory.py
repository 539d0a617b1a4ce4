"""Memory: resident size with a trivial application, the cost of idle connections, what they do to hello.

Each idle connection has had one answer and is kept open.  Its cost is the growth of the server's resident
size, which is user memory; what the kernel keeps for a socket is not in it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import ExitStack
from statistics import median

from harness import environments
from harness.client import CheckFailed, Client, check, check_answer
from harness.load import LoadFailed, measure, run_wrk
from harness.options import bench_of, shared_options
from harness.process import Bench, Running, StartFailed, raise_file_limit, serving
from harness.servers import SERVERS, Missing
from harness.workloads import WORKLOADS

HELLO = WORKLOADS["hello"]
BATCH = 100  # connections opened at a time, far below the backlog
SETTLE_S = 0.5


def arguments() -> argparse.Namespace:
    parser = shared_options(__doc__, (), ("headrace",))
    add = parser.add_argument
    add("--idle", type=int, default=5000, help="idle connections (default %(default)s)")
    add("--rounds", type=int, default=5, help="of hello with and without them (default %(default)s)")
    add("--seconds", type=float, default=3)
    add("--connections", type=int, default=64)
    return parser.parse_args()


def open_idle(port: int, count: int) -> list[Client]:
    """`count` connections, each with one answer behind it."""
    clients: list[Client] = []
    while len(clients) < count:
        batch = [Client(port) for _ in range(min(BATCH, count - len(clients)))]
        for client in batch:
            client.send(HELLO.request)
        for client in batch:
            check_answer(client.answer(), HELLO)
        clients += batch
    return clients


def settled_bytes(running: Running) -> int:
    time.sleep(SETTLE_S)
    return running.resident_bytes()


def paired_cpu(
    without: Running, with_idle: Running, options: argparse.Namespace, bench: Bench
) -> tuple[float, float, float]:
    """Medians without and with idle connections, and the middle of the paired ratios."""
    turns = []
    for _ in range(options.rounds):
        pair = [
            measure(running, HELLO, bench, options.connections, options.seconds).cpu_us
            for running in (without, with_idle)
        ]
        turns.append((pair[0], pair[1], pair[1] / pair[0]))
    before, after, ratio = (median(column) for column in zip(*turns))
    return before, after, ratio


def still_open(clients: list[Client]) -> int:
    """How many idle connections the server has kept: those with nothing to read, not even an end."""
    kept = 0
    for client in clients:
        client.socket.setblocking(False)
        try:
            client.socket.recv(1)
        except BlockingIOError:
            kept += 1
        except OSError:
            pass
    return kept


def row(name: str, options: argparse.Namespace, bench: Bench) -> str:
    """Two instances of the server take turns at hello; one of them has the idle connections."""
    with ExitStack() as stack:
        without, with_idle = (stack.enter_context(serving(SERVERS[name], HELLO.app, bench)) for _ in range(2))
        check(with_idle.port, HELLO)
        fresh = settled_bytes(with_idle)
        # Some load comes first, so that what it makes the allocator keep is not taken for the connections'.
        run_wrk(with_idle.port, HELLO, bench, options.connections, 1)
        loaded = settled_bytes(with_idle)
        clients = open_idle(with_idle.port, options.idle)
        each = (settled_bytes(with_idle) - loaded) / options.idle
        times = paired_cpu(without, with_idle, options, bench)
        kept = still_open(clients)
        for client in clients:
            client.close()
    cells = [
        name,
        f"{fresh / 2**20:.1f}",
        f"{loaded / 2**20:.1f}",
        f"{each / 1024:.2f}",
        f"{kept}/{options.idle}",
    ]
    return "| " + " | ".join([*cells, *(f"{time_us:.2f}" for time_us in times)]) + " |"


def main() -> int:
    options = arguments()
    raise_file_limit()
    os.sched_setaffinity(0, {options.client_core})
    good = True
    print("| server | MiB at rest | after load | KiB per idle one | kept | hello us | with idle | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    with environments.workspace() as folder:
        bench = bench_of(options, folder)
        for name in options.servers:
            try:
                print(row(name, options, bench), flush=True)
            except (Missing, StartFailed, CheckFailed, LoadFailed, OSError) as error:
                print(f"| {name} | {type(error).__name__}: {error} |", flush=True)
                good = False
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
