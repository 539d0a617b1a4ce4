"""Measures WSGI servers that have threads side by side: what threads cost, and what they are for.

README.md here has the method of each workload.
"""

from __future__ import annotations

import argparse
import datetime
import os
import subprocess
import sys
from pathlib import Path

from harness import closed_loop, environments, idle, long_call, overload, parallel, slow_clients
from harness.awake import awake
from harness.client import CheckFailed
from harness.contest import in_turn, present
from harness.load import LoadFailed
from harness.options import bench_of, listed, shared_options
from harness.process import StartFailed, raise_file_limit
from harness.servers import THREADED, Server
from harness.threads_report import ThreadResults, markdown, save
from harness.turn import Conditions, Entry, Figures, Scenario

LISTED = (
    *closed_loop.SCENARIOS,
    idle.SCENARIO,
    overload.SCENARIO,
    long_call.SCENARIO,
    parallel.SCENARIO,
    *slow_clients.SCENARIOS,
)
SCENARIOS = {scenario.name: scenario for scenario in LISTED}
FAILURES = (CheckFailed, LoadFailed, StartFailed, OSError, subprocess.SubprocessError)


def arguments() -> argparse.Namespace:
    parser = shared_options(__doc__, (), THREADED)
    add = parser.add_argument
    every = ", ".join(SCENARIOS)
    usual = [name for name in SCENARIOS if name != parallel.SCENARIO.name]  # which is for another interpreter
    add("--workloads", type=listed(SCENARIOS), default=usual, metavar="LIST", help=every)
    add("--threads", type=numbers, metavar="LIST", help="these numbers instead of each workload's own")
    add("--rounds", type=int, default=5, help="turns of each server (default %(default)s)")
    add("--seconds", type=float, default=3, help="of each timed run (default %(default)s)")
    add("--idle", type=int, default=5000, help="connections of the idle workload (default %(default)s)")
    help_text = "Headrace's in the overload workload, s; 0: none (default %(default)s)"
    add("--queue-deadline", type=float, default=0.5, help=help_text)
    add("--awake", action="store_true", help="keep the client's core from going to sleep")
    add("--output", type=Path, help="write FILE.md and FILE.json, else markdown to stdout")
    return parser.parse_args()


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


class ThreadContest:
    """One run: the servers, each with its numbers of threads, take turns at each workload."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.conditions = Conditions(bench_of(options, folder), options.seconds, options.queue_deadline, options.idle)
        kept = ("rounds", "seconds", "idle", "queue_deadline", "awake")
        settings = {name: getattr(options, name) for name in kept}
        settings["date"] = datetime.date.today().isoformat()
        self.servers, versions = present(options.servers, self.conditions.bench.venvs)
        self.results = ThreadResults(settings, environments.machine(), versions)

    def entries(self, scenario: Scenario) -> list[Entry]:
        """Each server with each number of threads that it can have; the floor first."""
        counts = self.options.threads or scenario.threads
        contestants: list[Server | None] = [*([None] if scenario.floor else []), *self.servers]
        return [
            Entry(server, count)
            for server in contestants
            for count in counts
            if server is None or count == 1 or server.threads
        ]

    def compete(self, scenario: Scenario) -> None:
        entries = self.entries(scenario)
        for number in range(self.options.rounds):
            for entry in in_turn(entries, number):
                figures: Figures | None = None
                try:
                    with awake(self.options.client_core, self.options.awake):
                        figures = scenario.turn(entry, self.conditions)
                except FAILURES as error:
                    self.results.fail(scenario, entry, f"{type(error).__name__}: {error}")
                self.results.add(scenario, entry, figures)
                self.tell(scenario, entry, number, figures)

    def tell(self, scenario: Scenario, entry: Entry, number: int, figures: Figures | None) -> None:
        text = self.results.failures[scenario.name][entry.label] if figures is None else ""
        text = text or "  ".join(f"{key} {value:,.2f}" for key, value in (figures or {}).items())
        print(f"{scenario.name} round {number + 1} {entry.label}: {text}", file=sys.stderr, flush=True)


def main() -> int:
    options = arguments()
    raise_file_limit()
    os.sched_setaffinity(0, {options.client_core})
    with environments.workspace() as folder:
        contest = ThreadContest(options, folder)
        if not contest.servers:
            print("no server to measure; see run.py --setup", file=sys.stderr)
            return 1
        for name in options.workloads:
            contest.compete(SCENARIOS[name])
            if options.output:  # after each workload: a run that is broken off leaves what it has
                save(contest.results, LISTED, options.output)
    if not options.output:
        print(markdown(contest.results, LISTED))
    return 0


if __name__ == "__main__":
    sys.exit(main())
