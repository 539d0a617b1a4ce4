"""Memory: resident size with a trivial application, the cost of idle connections, what they do to hello.

Each idle connection has had one answer and is kept open.  Its cost is the growth of the server's resident
size, which is user memory; what the kernel keeps for a socket is not in it.
"""

from __future__ import annotations

import argparse
import os
import sys

from harness import environments
from harness.client import CheckFailed
from harness.idle import COLUMNS, measure_idle
from harness.load import LoadFailed
from harness.options import bench_of, shared_options
from harness.process import Bench, StartFailed, raise_file_limit
from harness.report import table
from harness.servers import SERVERS, Missing


def arguments() -> argparse.Namespace:
    parser = shared_options(__doc__, (), ("headrace",))
    add = parser.add_argument
    add("--idle", type=int, default=5000, help="idle connections (default %(default)s)")
    add("--threads", type=int, default=1, help="of the server (default %(default)s)")
    add("--rounds", type=int, default=5, help="of hello with and without them (default %(default)s)")
    add("--seconds", type=float, default=3)
    add("--connections", type=int, default=64)
    return parser.parse_args()


def row(name: str, options: argparse.Namespace, bench: Bench) -> str:
    seen = measure_idle(
        SERVERS[name],
        bench,
        idle=options.idle,
        seconds=options.seconds,
        threads=options.threads,
        rounds=options.rounds,
        connections=options.connections,
    )
    cells = [
        name,
        f"{seen['rest_mib']:.1f}",
        f"{seen['loaded_mib']:.1f}",
        f"{seen['each_kib']:.2f}",
        f"{seen['kept']:.0f}/{options.idle}",
        *(f"{seen[key]:.2f}" for key in ("without_us", "with_us", "ratio")),
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> int:
    options = arguments()
    raise_file_limit()
    os.sched_setaffinity(0, {options.client_core})
    good = True
    print("\n".join(table(("server", *(column.heading for column in COLUMNS)), ())))
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
