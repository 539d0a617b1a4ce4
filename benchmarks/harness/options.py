"""Command-line options that the programs of this folder share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from harness.process import Bench
from harness.servers import SERVERS, Venvs
from harness.workloads import BENCHMARKS, WORKLOADS


def listed(known: Iterable[str]) -> Callable[[str], list[str]]:
    """An argparse type: a comma-separated list of names that are all in `known`."""
    names = list(known)

    def parse(text: str) -> list[str]:
        chosen = [name.strip() for name in text.split(",") if name.strip()]
        unknown = [name for name in chosen if name not in names]
        if unknown or not chosen:
            wrong = ", ".join(unknown) or "nothing"
            raise argparse.ArgumentTypeError(f"{wrong}: there are {', '.join(names)}")
        return chosen

    return parse


def shared_options(
    description: str | None,
    workloads: Collection[str],
    servers: Iterable[str],
    more_servers: Iterable[str] = (),
) -> argparse.ArgumentParser:
    """A parser with what the programs share; the lists are the defaults, no workloads: no choice of them."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=formatter)
    known = [*SERVERS, *more_servers]
    add = parser.add_argument
    if workloads:
        every = ", ".join(WORKLOADS)
        add("--workloads", type=listed(WORKLOADS), default=list(workloads), metavar="LIST", help=every)
    add("--servers", type=listed(known), default=list(servers), metavar="LIST", help=", ".join(known))
    add("--venvs", type=Path, default=BENCHMARKS / ".venvs", metavar="DIR", help="what run.py --setup made")
    add("--server-core", type=int, default=0)
    add("--client-core", type=int, default=1)
    return parser


def bench_of(options: argparse.Namespace, folder: Path) -> Bench:
    return Bench(Venvs(options.venvs), folder, options.server_core, options.client_core)
