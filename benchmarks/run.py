"""Measures WSGI servers side by side; README.md here has the method."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from pathlib import Path

from harness import environments
from harness.client import CheckFailed, check
from harness.load import LoadFailed, Round, measure
from harness.options import bench_of, shared_options
from harness.process import StartFailed, serving
from harness.report import Results, markdown, save
from harness.servers import SERVERS, Missing, Server
from harness.workloads import WORKLOADS, Workload


def arguments() -> argparse.Namespace:
    parser = shared_options(__doc__, WORKLOADS, SERVERS)
    add = parser.add_argument
    add("--against", default="headrace", choices=SERVERS, help="the server whose ratios are given")
    add("--rounds", type=int, default=5, help="turns of each server (default %(default)s)")
    add("--seconds", type=float, default=3, help="of each timed run (default %(default)s)")
    add("--connections", type=int, default=64, help="kept open by wrk (default %(default)s)")
    add("--output", type=Path, help="write FILE.md and FILE.json, else markdown to stdout")
    add("--setup", type=Path, metavar="DIR", help="make the venvs in DIR and stop")
    add("--newer-python", metavar="PROGRAM", help="with --setup: CPython 3.12 or newer, for weft-server")
    return parser.parse_args()


class Contest:
    """One run: the servers take turns at each workload."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.bench = bench_of(options, folder)
        kept = ("rounds", "seconds", "connections", "against")
        settings = {name: getattr(options, name) for name in kept}
        settings["date"] = datetime.date.today().isoformat()
        self.results = Results(settings, environments.machine())

    def present(self) -> list[Server]:
        """The chosen servers that are installed; the others are named on stderr and skipped."""
        found = []
        for name in self.options.servers:
            server = SERVERS[name]
            try:
                self.bench.venvs.command(server, "", "", 0)
                installed = environments.versions(self.bench.venvs, server)
            except Missing as error:
                print(f"skipped: {error}", file=sys.stderr)
                continue
            if server.package and server.package not in installed:
                print(f"skipped: {name}: {server.package} is not installed", file=sys.stderr)
                continue
            self.results.versions[name] = installed
            found.append(server)
        return found

    def turn(self, workload: Workload, server: Server) -> Round:
        """Start, check, measure, stop."""
        options = self.options
        with serving(server, workload.app, self.bench) as running:
            check(running.port, workload)
            return measure(running, workload, self.bench, options.connections, options.seconds)

    def compete(self, workload: Workload, servers: list[Server]) -> None:
        """Every round begins with another server, so that none is always behind the same one."""
        wrong: set[str] = set()  # these have failed the check, and will again
        for number in range(self.options.rounds):
            shift = number % len(servers)
            for server in servers[shift:] + servers[:shift]:
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
        servers = contest.present()
        if not servers:
            print("no server to measure; see --setup", file=sys.stderr)
            return 1
        for name in options.workloads:
            contest.compete(WORKLOADS[name], servers)
            if options.output:  # after each workload: a run that is broken off leaves what it has
                save(contest.results, options.against, options.output)
    if not options.output:
        print(markdown(contest.results, options.against))
    return 0


if __name__ == "__main__":
    sys.exit(main())
