"""Memory: resident size with a trivial application, the cost of idle connections, and what they do to hello.

Each idle connection has had one answer and is kept open.  Its cost is the growth of the server's resident size,
which is user memory; what the kernel keeps for a socket is not in it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from harness import environments
from harness.client import CheckFailed, Client, check, check_answer
from harness.load import LoadFailed, measure
from harness.process import Running, StartFailed, raise_file_limit, serving
from harness.servers import SERVERS, Missing, Venvs
from harness.workloads import BENCHMARKS, WORKLOADS

HELLO = WORKLOADS["hello"]
BATCH = 100  # connections opened at a time, far below the backlog
SETTLE_S = 0.5


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--servers", type=lambda text: text.split(","), default=["headrace"], help=f"of {', '.join(SERVERS)}")
    add("--idle", type=int, default=5000, help="idle connections (default %(default)s)")
    add("--rounds", type=int, default=3, help="of hello with and without them")
    add("--seconds", type=float, default=3)
    add("--connections", type=int, default=64)
    add("--venvs", type=Path, default=BENCHMARKS / ".venvs")
    add("--server-core", type=int, default=0)
    add("--client-core", type=int, default=1)
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


def median_cpu(running: Running, options: argparse.Namespace, folder: Path) -> float:
    turns = [
        measure(running, HELLO, folder, options.client_core, options.connections, options.seconds).cpu_us
        for _ in range(options.rounds)
    ]
    return sorted(turns)[len(turns) // 2]


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


def row(name: str, options: argparse.Namespace, folder: Path) -> str:
    with serving(SERVERS[name], HELLO.app, Venvs(options.venvs), folder, options.server_core) as running:
        check(running.port, HELLO)
        fresh = settled_bytes(running)
        # The load comes first, so that what it makes the allocator keep is not taken for the connections'.
        without = median_cpu(running, options, folder)
        loaded = settled_bytes(running)
        clients = open_idle(running.port, options.idle)
        each = (settled_bytes(running) - loaded) / options.idle
        with_idle = median_cpu(running, options, folder)
        kept = still_open(clients)
        for client in clients:
            client.__exit__()
    cells = [name, f"{fresh / 2**20:.1f}", f"{loaded / 2**20:.1f}", f"{each / 1024:.2f}", f"{kept}/{options.idle}"]
    cells += [f"{without:.2f}", f"{with_idle:.2f}", f"{with_idle / without:.2f}"]
    return "| " + " | ".join(cells) + " |"


def main() -> int:
    options = arguments()
    raise_file_limit()
    os.sched_setaffinity(0, {options.client_core})
    good = True
    print("| server | MiB at rest | MiB after load | KiB per idle connection | kept | hello us | with idle us | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    with environments.workspace() as folder:
        for name in options.servers:
            try:
                print(row(name, options, folder), flush=True)
            except (Missing, StartFailed, CheckFailed, LoadFailed, OSError) as error:
                print(f"| {name} | {type(error).__name__}: {error} |", flush=True)
                good = False
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
