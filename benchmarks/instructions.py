"""User-space instructions for one request, by callgrind: a figure without noise, so that a regression shows.

The server runs under valgrind twice, for two numbers of requests; the difference of the two totals, over the
difference of the numbers, is free of start-up and shutdown.  The requests go out on kept connections, one on
each at a time, and every answer is read whole and checked once.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from harness import environments
from harness.client import CheckFailed, Client, check_answer
from harness.options import bench_of, shared_options
from harness.process import Bench, StartFailed, serving
from harness.servers import SERVERS, Missing, Server, environment, log_arguments
from harness.workloads import APPS, BENCHMARKS, WORKLOADS, Workload

PATIENCE_S = 180.0
BARE = "bare"  # the application alone, called in a loop
VALGRIND = ("valgrind", "--tool=callgrind", "--instr-atstart=yes", "--trace-children=no")
# The order of str hashes decides what collides in a dict: fixed, so that two runs count the same.
SETTINGS = {"PYTHONHASHSEED": "0"}


def arguments() -> argparse.Namespace:
    parser = shared_options(__doc__, ("hello", "browser"), ("headrace",), (BARE,))
    add = parser.add_argument
    add("--requests", type=int, default=10_000, help="of the shorter run; the longer has twice as many")
    add("--connections", type=int, default=1, help="each has one request in flight (default %(default)s)")
    add("--threads", type=int, default=1, help="of the server (default %(default)s)")
    add("--access-log", choices=("combined", "json"), help="with an access log, to a file")
    add("--limit", type=int, help="exit 1 when a figure is above it")
    add("--top", type=int, default=0, metavar="N", help="also print the N functions that cost most")
    return parser.parse_args()


def send_requests(port: int, workload: Workload, count: int, connections: int) -> None:
    """`count` requests in all; the first answer is checked, the others must have its length."""
    clients = [Client(port, PATIENCE_S) for _ in range(connections)]
    clients[0].send(workload.request)
    first = clients[0].answer()
    check_answer(first, workload)
    for turn in range(count // connections):
        for place, client in enumerate(clients):
            client.send(workload.numbered(turn * connections + place))
        for client in clients:
            answer = client.answer()
            if answer.status != 200 or len(answer.body) != len(first.body):
                raise CheckFailed(f"status {answer.status}, {len(answer.body)} bytes")
    for client in clients:
        client.close()


def profiles(folder: Path) -> list[Path]:
    return sorted(folder.glob("callgrind.out.*"))


def total(folder: Path) -> int:
    """Instructions over all profiles: a server may have forked."""
    counted = 0
    for profile in profiles(folder):
        found = re.findall(r"^(?:totals|summary): (\d+)", profile.read_text(errors="replace"), re.MULTILINE)
        counted += int(found[-1]) if found else 0
    if not counted:
        raise StartFailed("callgrind left no profile")
    return counted


def profile_served(
    server: Server, workload: Workload, count: int, bench: Bench, options: argparse.Namespace
) -> None:
    with serving(
        server,
        workload.app,
        bench,
        threads=options.threads,
        more=log_arguments(server, options.access_log, bench.folder),
        under=(*VALGRIND, f"--callgrind-out-file={bench.folder}/callgrind.out.%p"),
        patience_s=PATIENCE_S,
        settings=SETTINGS,
    ) as running:
        send_requests(running.port, workload, count, options.connections)


def profile_bare(workload: Workload, count: int, bench: Bench) -> None:
    python = bench.venvs.program(SERVERS["headrace"], "python")
    command = [*VALGRIND, f"--callgrind-out-file={bench.folder}/callgrind.out.%p", str(python)]
    command += ["-m", "harness.bare", workload.app, str(count)]
    path = {"PYTHONPATH": f"{BENCHMARKS}:{APPS}"}
    subprocess.run(command, env=environment(bench.folder) | SETTINGS | path, check=True, capture_output=True)


def profile(name: str, workload: Workload, count: int, options: argparse.Namespace, folder: Path) -> Path:
    """Runs `count` requests under callgrind and returns the folder with the profiles."""
    folder.mkdir()
    bench = bench_of(options, folder)
    if name == BARE:
        profile_bare(workload, count, bench)
    else:
        profile_served(SERVERS[name], workload, count, bench, options)
    return folder


def functions(folder: Path) -> Counter[str]:
    """Instructions by "file:function [object]", without the folders in those names."""
    found: Counter[str] = Counter()
    for one in profiles(folder):
        command = ["callgrind_annotate", "--threshold=100", "--auto=no", str(one)]
        text = subprocess.run(command, check=False, capture_output=True, text=True).stdout
        for number, place in re.findall(r"^\s*([\d,]+) \([ \d.]+%\)\s+(\S.*:.*)$", text, re.MULTILINE):
            source, _, binary = place.partition(" [")
            shown = f"{source.rpartition('/')[2]} [{binary.rstrip(']').rpartition('/')[2]}]"
            found[shown] += int(number.replace(",", ""))
    return found


def costly_functions(fewer: Path, more: Path, options: argparse.Namespace) -> list[str]:
    """The functions that cost most per request, by the difference of the two runs."""
    difference = functions(more)
    difference.subtract(functions(fewer))
    return [
        f"  {cost / options.requests:9,.1f}  {place}" for place, cost in difference.most_common(options.top)
    ]


def measure(name: str, workload: Workload, options: argparse.Namespace, folder: Path) -> float:
    """Prints the row, and the functions with --top; returns the instructions per request."""
    fewer = profile(name, workload, options.requests, options, folder / "fewer")
    more = profile(name, workload, 2 * options.requests, options, folder / "more")
    figure: float = (total(more) - total(fewer)) / options.requests
    print(f"| {name} | {workload.name} | {figure:,.0f} |", flush=True)
    if options.top:
        print("\n".join(costly_functions(fewer, more, options)), flush=True)
    return figure


def main() -> int:
    options = arguments()
    if not shutil.which("valgrind"):
        print("valgrind is needed (Debian: valgrind)", file=sys.stderr)
        return 2
    os.sched_setaffinity(0, {options.client_core})
    good = True
    print("| server | workload | instructions per request |\n| --- | --- | ---: |")
    for name in options.servers:
        for workload in (WORKLOADS[one] for one in options.workloads):
            try:
                with environments.workspace() as folder:
                    figure = measure(name, workload, options, folder)
                good = good and not (options.limit and figure > options.limit)
            except (Missing, StartFailed, CheckFailed) as error:
                print(f"| {name} | {workload.name} | {error} |", flush=True)
                good = False
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
