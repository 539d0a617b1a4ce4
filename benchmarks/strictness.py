"""Asks WSGI servers every message of tests/strictness/cases.py and writes docs/strictness.md, which says more.

With fewer servers than the page has it is left alone; --output writes another.  Exit code 1: Headrace's answers are not
those of cases.py, or nobody could be asked.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import resource
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness import environments
from harness.contest import present
from harness.options import bench_of, listed
from harness.process import HOST, Bench, Running, serving
from harness.servers import MORE_SERVERS, SERVERS, Server
from harness.workloads import BENCHMARKS

TESTS = BENCHMARKS.parent / "tests"
sys.path.insert(0, str(TESTS))

from strictness.asking import Answer, ask  # noqa: E402
from strictness.case import Case, Kind, get  # noqa: E402
from strictness.cases import CASES  # noqa: E402
from strictness.page import OURS, Asked, page  # noqa: E402
from strictness.verdicts import verdict_of  # noqa: E402

APP = "strictness.application:app"
ASKED = "headrace,gunicorn,waitress,granian,cheroot,gevent,bjoern,fastpysgi,werkzeug"
PAGE = BENCHMARKS.parent / "docs" / "strictness.md"
PATIENCE_S = 2.0
#: Of each server: some believe a length of a TiB, and make room for it.
MEMORY_BYTES_MAX = 4 << 30
THREADS = 4  # where a server has threads: one that waits for a message must not keep the next case waiting
GOOD = Case("", "", get(b"/good"), "", Kind.VALID, "")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    known = [*SERVERS, *MORE_SERVERS]
    add("--servers", type=listed(known), default=ASKED.split(","), help=f"a list of {', '.join(known)}")
    add("--venvs", type=Path, default=BENCHMARKS / ".venvs", help="made by run.py --setup (default %(default)s)")
    add("--output", type=Path, help=f"(default {PAGE}, where all of {ASKED} are asked; else nothing is written)")
    options = parser.parse_args()
    options.server_core = options.client_core = 0
    return options


def ask_one(running: Running, case: Case) -> Answer:
    """The server's answer; end is "dies" or "hangs" where it has none for anybody any more."""
    try:
        answer = ask((HOST, running.port), case, PATIENCE_S)
        if answer.end == "waits" and not ask((HOST, running.port), GOOD, PATIENCE_S).accepted:
            answer.end = "hangs"
    except OSError:  # it no longer listens
        return Answer(end="dies")
    if running.process.poll() is not None:
        answer.end = "dies"
    return answer


def ask_all(server: Server, bench: Bench) -> list[Answer]:
    """Of each case; a server that does not live on is started anew for the next."""
    answers: list[Answer] = []
    threads = THREADS if server.threads else 1
    while len(answers) < len(CASES):
        settings = {"PYTHONPATH": str(TESTS)}
        with serving(server, APP, bench, threads=threads, settings=settings) as running:
            for case in CASES[len(answers) :]:
                answers.append(ask_one(running, case))
                if answers[-1].end in ("dies", "hangs"):
                    break
    return answers


def ask_servers(servers: Sequence[Server], versions: dict[str, dict[str, str]], bench: Bench) -> list[Asked]:
    """All at the same time: what takes long is to wait for those that do not answer."""

    def asked(server: Server) -> Asked:
        result = Asked(server.name, versions[server.name].get(server.package, ""), ask_all(server, bench))
        print(f"{server.name:12} {result.faults(Kind.MALFORMED)} malformed accepted", file=sys.stderr, flush=True)
        return result

    with ThreadPoolExecutor(len(servers)) as threads:
        return list(threads.map(asked, servers))


def differences(asked: Sequence[Asked]) -> list[str]:
    """Rows in which our server answers otherwise than cases.py, and so the page, says."""
    found = [
        (case, verdict_of(case, answer))
        for server in asked
        if server.name == OURS
        for case, answer in zip(CASES, server.answers, strict=True)
    ]
    return [f"{case.name}: {verdict}, and not {case.ours}" for case, verdict in found if verdict != case.ours]


def output_of(options: argparse.Namespace, servers: Sequence[Server]) -> Path | None:
    """The page itself is not made of fewer servers than it has."""
    if options.output is None and {server.name for server in servers} >= set(ASKED.split(",")):
        return PAGE
    output: Path | None = options.output
    return output


def main() -> int:
    options = arguments()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))  # inherited by the servers
    with environments.workspace() as folder:
        bench = bench_of(options, folder).both_cores
        servers, versions = present(options.servers, bench.venvs)
        if not servers:
            print("no server to ask; see run.py --setup", file=sys.stderr)
            return 1
        asked = ask_servers(servers, versions, bench)
    date = datetime.date.today()
    python = next(iter(versions.values())).get("python", platform.python_version())
    output = output_of(options, servers)
    if output is not None:
        output.write_text(page(asked, f"{date:%B} {date.day}, {date.year}", python, PATIENCE_S), encoding="utf-8")
        print(f"written: {output}", file=sys.stderr)
    differing = differences(asked)
    for text in differing:
        print(text)
    print(f"{OURS}: {len(differing)} of {len(CASES)} answers differ from the table", file=sys.stderr)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
