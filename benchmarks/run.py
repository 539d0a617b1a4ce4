"""Measures WSGI servers side by side; README.md here has the method."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from pathlib import Path

from harness import environments
from harness.awake import awake
from harness.client import CheckFailed, check
from harness.contest import in_turn, present
from harness.load import LoadFailed, Round, measure
from harness.options import bench_of, shared_options
from harness.process import StartFailed, serving
from harness.report import Results, markdown, save
from harness.servers import SERVERS, Server, with_log
from harness.workloads import WORKLOADS, Workload


def arguments() -> argparse.Namespace:
    parser = shared_options(__doc__, WORKLOADS, SERVERS)
    add = parser.add_argument
    add("--against", default="headrace", choices=SERVERS, help="the server whose ratios are given")
    add("--rounds", type=int, default=5, help="turns of each server (default %(default)s)")
    add("--seconds", type=float, default=3, help="of each timed run (default %(default)s)")
    add("--connections", type=int, default=64, help="kept open by wrk (default %(default)s)")
    add("--awake", action="store_true", help="keep wrk's core from going to sleep while timing")
    add("--access-log", action="store_true", help="also time each server with its access log, to a file, as NAME+log")
    add("--output", type=Path, help="write FILE.md and FILE.json, else markdown to stdout")
    add("--setup", type=Path, metavar="DIR", help="make the venvs in DIR and stop")
    add("--newer-python", metavar="PROGRAM", help="with --setup: CPython 3.12 or newer, for weft-server")
    return parser.parse_args()


class Contest:
    """One run: the servers take turns at each workload."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.bench = bench_of(options, folder)
        kept = ("rounds", "seconds", "connections", "against", "awake")
        settings = {name: getattr(options, name) for name in kept}
        settings["date"] = datetime.date.today().isoformat()
        self.servers, versions = present(options.servers, self.bench.venvs)
        if options.access_log:
            logged = [server for server in self.servers if server.access_log]
            self.servers += [with_log(server, "combined", folder) for server in logged]
        self.results = Results(settings, environments.machine(), versions)

    def turn(self, workload: Workload, server: Server) -> Round:
        """Start, check, measure, stop."""
        options = self.options
        with serving(server, workload.app, self.bench) as running:
            check(running.port, workload)
            with awake(options.client_core, options.awake):
                return measure(running, workload, self.bench, options.connections, options.seconds)

    def compete(self, workload: Workload) -> None:
        wrong: set[str] = set()  # these have failed the check, and will again
        for number in range(self.options.rounds):
            for server in in_turn(self.servers, number):
                if server.name in wrong:
                    continue
                measured: Round | None = None
                try:
                    measured = self.turn(workload, server)
                except (CheckFailed, LoadFailed, StartFailed) as error:
                    self.results.fail(workload.name, server.name, f"{type(error).__name__}: {error}")
                    if isinstance(error, CheckFailed):
                        wrong.add(server.name)
                self.results.add(workload.name, server.name, measured)
                self.tell(workload, server, number, measured)

    def tell(self, workload: Workload, server: Server, number: int, measured: Round | None) -> None:
        text = f"{measured.cpu_us:9.2f} us" if measured else self.results.failures[workload.name][server.name]
        print(f"{workload.name:9} round {number + 1} {server.name:10} {text}", file=sys.stderr, flush=True)


def main() -> int:
    options = arguments()
    if options.setup:
        environments.setup(options.setup, options.newer_python)
        return 0
    os.sched_setaffinity(0, {options.client_core})
    with environments.workspace() as folder:
        contest = Contest(options, folder)
        if not contest.servers:
            print("no server to measure; see --setup", file=sys.stderr)
            return 1
        for name in options.workloads:
            contest.compete(WORKLOADS[name])
            if options.output:  # after each workload: a run that is broken off leaves what it has
                save(contest.results, options.against, options.output)
    if not options.output:
        print(markdown(contest.results, options.against))
    return 0


if __name__ == "__main__":
    sys.exit(main())
