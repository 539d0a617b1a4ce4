"""Does a server stay whole under mixed adversity and load?  Linux only.

    python benchmarks/endurance.py --single                  # one process: an hour, its memory must stay flat
    python benchmarks/endurance.py --workers 2               # workers that are killed, stopped and reloaded
    python benchmarks/endurance.py --single --seconds 180 --warm-up 60 -- --referee

Behind -- stand further options of the server.  Both run with this Python, which has headrace and pytest.

Clients that behave ask at a bounded rate, over TCP and a UNIX socket, on kept connections and on one for each request;
each request carries a number, and its answer is checked octet by octet (harness/endurance_clients.py).  Beside them
others reset, cut, stall, flood, do not read, send what is malformed, and call an application that misbehaves
(harness/endurance_adversaries.py); and the processes are signalled (--acts).  The run holds if

- no answer was wrong or another's, and none failed that is not explained by a worker that this program has killed, or
  by half a second and more in which the machine did not let this program run (counted);
- no process has ended by itself, the log has no message that this does not explain, and the server ends with 0;
- resident memory of the process that lives throughout (the only one, or the supervisor) grew by no more than
  --growth-max per cent from the median of the first tenth after the warm-up to the median of the last tenth;
- after the load, each process has as few descriptors open as before it, and no file of a body is left.

Memory is that of a server whose malloc keeps little to itself (--arenas 0 is without that).  glibc gives each thread an
arena of its own, and a cache of freed pieces of each size; both fill for an hour and more, by some per cent in all,
without any leak: a thousand times most of these acts leave not one octet in use that was not before.

The exit code is 0 then, and 1 otherwise.  On a busy machine there is less load, not more failures.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

BENCHMARKS = Path(__file__).parent
sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS.parent / "tests")]

import wire  # type: ignore[import-not-found]  # noqa: E402
from harness.endurance_adversaries import ACTS, Adversary  # noqa: E402
from harness.endurance_clients import GoodClient, Tally, Visitor  # noqa: E402
from harness.endurance_server import EXPECTED_CODES, FATAL, OF_A_KILL, Acts, Sample, Server, growth_percent  # noqa: E402

#: After the load: the longest deadline that a connection may still have, and something for a busy machine.
REST_S = 60.0
SHOWN = 20


class Verdict:
    """What was found, line by line."""

    def __init__(self) -> None:
        self.holds = True

    def say(self, holds: bool, what: str, details: Sequence[str] = ()) -> None:
        self.holds &= holds
        print(f"{'ok    ' if holds else 'FAILED'} {what}")
        for line in details[:SHOWN]:
            print(f"           {line}")
        if len(details) > SHOWN:
            print(f"           and {len(details) - SHOWN} more")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--warm-up", type=float, help="seconds; default: a tenth of --seconds, 300 at most")
    parser.add_argument("--single", action="store_true", help="one process; neither killed nor reloaded")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--clients", type=int, default=12, help="that behave")
    parser.add_argument("--adversaries", type=int, default=24)
    parser.add_argument("--rate", type=float, default=300, help="requests each second of all that behave")
    parser.add_argument("--act-rate", type=float, default=30, help="acts each second of all that do not")
    parser.add_argument("--without", default="", help="acts of adversaries, to find out what a finding comes from")
    parser.add_argument("--acts", help="of KILL, HUP, STOP and USR1; default: all, with --single STOP and USR1")
    parser.add_argument("--arenas", type=int, default=1, help="of the server's malloc, without caches; 0: as it comes")
    parser.add_argument("--growth-max", type=float, default=3.0, metavar="PER CENT")
    parser.add_argument("--sample", type=float, default=5.0, metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, help="write samples and counts there, as JSON")
    parser.add_argument("--keep", type=Path, help="a new folder for logs; otherwise they go, unless the run fails")
    parser.add_argument("options", nargs="*", help="of the server, behind --")
    arguments = parser.parse_args()
    if arguments.warm_up is None:
        arguments.warm_up = min(300.0, arguments.seconds / 10)
    if arguments.single:
        arguments.workers = 0
    arguments.acts = (arguments.acts or ("STOP,USR1" if arguments.single else "KILL,HUP,STOP,USR1")).split(",")
    return arguments


def at_rest(server: Server, began_s: float, as_before: list[Sample] | None = None) -> list[Sample]:
    """Samples once the descriptors have not changed for 3 s; or once they are as before, or REST_S have passed."""
    until = time.monotonic() + REST_S
    last, since = server.sample(began_s), time.monotonic()
    while time.monotonic() < until:
        time.sleep(0.5)
        samples = server.sample(began_s)
        if as_before is not None:
            if descriptors(samples) <= descriptors(as_before):
                return samples
        elif descriptors(samples) != descriptors(last):
            since = time.monotonic()
        elif time.monotonic() - since > 3:
            return samples
        last = samples
    return last


def descriptors(samples: list[Sample]) -> tuple[int, int]:
    """Of the process that lives throughout, and the most of a worker."""
    throughout = max(sample.descriptors for sample in samples if sample.role in ("server", "supervisor"))
    return throughout, max((sample.descriptors for sample in samples if sample.role == "worker"), default=0)


def touch_all_threads(server: Server, threads: int) -> None:
    """So that what is opened at first use is open."""
    for address in server.addresses * 2:
        clients = [wire.Client(address, watched=False, timeout=60) for _ in range(2 * threads)]
        for client in clients:
            client.send(wire.request("/sleep/0/10"))
        for client in clients:
            client.read_response()
            client.close()


def load(arguments: argparse.Namespace, server: Server, tally: Tally, began_s: float) -> tuple[list[Sample], list[str]]:
    """Runs it; samples, and who did not end."""
    good = [
        GoodClient(server.addresses, number, arguments.seed, arguments.rate / arguments.clients, tally)
        for number in range(arguments.clients)
    ]
    bad = [
        Adversary(server.addresses, number, arguments.seed, arguments.act_rate / arguments.adversaries, tally)
        for number in range(1000, 1000 + arguments.adversaries)
    ]
    visitors: list[Visitor] = [*good, *bad]
    for act in [act for act in ACTS if act.__name__ in arguments.without.split(",")]:
        del ACTS[act]
    acts = Acts(server, tally, arguments.acts, arguments.seed)
    samples: list[Sample] = []
    for visitor in visitors:
        visitor.start()
    acts.thread.start()
    threading.Thread(target=tally.watch_the_clock, daemon=True).start()
    told_s = time.monotonic()
    try:
        while time.monotonic() - began_s < arguments.seconds and server.process.poll() is None:
            time.sleep(arguments.sample)
            samples += server.sample(began_s)
            if time.monotonic() - told_s >= 60:
                told_s = time.monotonic()
                tell(tally, samples, began_s)
    except KeyboardInterrupt:
        print("ended early", file=sys.stderr)
    acts.done.set()
    acts.thread.join(30)
    for visitor in visitors:
        visitor.done.set()
    hung = [f"client {visitor.number}: {visitor.doing}" for visitor in visitors if not visitor.join()]
    return samples, hung


def tell(tally: Tally, samples: list[Sample], began_s: float) -> None:
    throughout = [sample for sample in samples if sample.role in ("server", "supervisor")][-1]
    print(
        f"{(time.monotonic() - began_s) / 60:5.1f} min  {tally.counts['checked answers']} answers, "
        f"{tally.counts['acts of adversaries']} acts, {len(tally.wrong)} wrong, {len(tally.failures)} failures, "
        f"{throughout.resident / (1 << 20):.2f} MiB",
        file=sys.stderr,
        flush=True,
    )


def judge_answers(verdict: Verdict, tally: Tally, hung: list[str], cpu: str) -> None:
    counts = tally.counts
    verdict.say(counts["checked answers"] > 0, f"{counts['checked answers']} answers checked, {cpu}")
    for word in ("checked: ", "act: ", "done to it: "):
        of_kind = {name.removeprefix(word): number for name, number in counts.items() if name.startswith(word)}
        print(f"       {word}{', '.join(f'{name} {number}' for name, number in sorted(of_kind.items()))}")
    others = {name: number for name, number in counts.items() if ": " not in name and name != "checked answers"}
    print(f"       {', '.join(f'{name} {number}' for name, number in sorted(others.items()))}")
    verdict.say(not tally.wrong, f"{len(tally.wrong)} answers wrong or another's", tally.wrong)
    verdict.say(not tally.failures, f"{len(tally.failures)} failures that nothing explains", tally.failures)
    verdict.say(not hung, f"{len(hung)} clients did not end", hung)


def judge_log(verdict: Verdict, server: Server, tally: Tally, exit_code: int | None) -> None:
    codes = server.codes()
    kills = tally.counts["done to it: KILL"]
    print(f"       log: {', '.join(f'{code} {number}' for code, number in sorted(codes.items()))}")
    text = server.text()
    unexpected = [line for line in text.splitlines() if unexplained(line)]
    verdict.say(not unexpected, f"{len(unexpected)} lines of the log that nothing explains", unexpected)
    verdict.say(codes["HR805"] == kills, f"{codes['HR805']} workers have ended, {kills} were killed")
    verdict.say(exit_code == 0, f"exit code {exit_code}")
    left = [path.name for path in server.spool.iterdir()]
    verdict.say(not left, f"{len(left)} files of bodies left", left)


def unexplained(line: str) -> bool:
    code = next((word for word in line.split()[:8] if word.startswith("HR") and word[2:].isdigit()), "")
    return bool(FATAL.search(line)) or (code != "" and code not in EXPECTED_CODES | OF_A_KILL)


def judge_resources(
    verdict: Verdict, arguments: argparse.Namespace, samples: list[Sample], before: list[Sample], after: list[Sample]
) -> None:
    judged = [sample for sample in samples if sample.role in ("server", "supervisor")]
    warm = [sample for sample in judged if sample.seconds >= arguments.warm_up] or judged
    growth = growth_percent([sample.resident for sample in warm])
    proportional = growth_percent([sample.proportional for sample in warm])
    verdict.say(
        growth <= arguments.growth_max,
        f"resident memory of the {judged[0].role}: {growth:+.2f} % after {arguments.warm_up:g} s of warm-up "
        f"({arguments.growth_max:g} % allowed; PSS {proportional:+.2f} %)",
    )
    for sample in warm[:: max(1, len(warm) // 12)]:
        print(
            f"       {sample.seconds:6.0f} s  RSS {sample.resident / (1 << 20):7.2f} MiB  PSS "
            f"{sample.proportional / (1 << 20):7.2f} MiB  {sample.descriptors} descriptors  {sample.threads} threads"
        )
    workers = [sample.resident / (1 << 20) for sample in samples if sample.role == "worker"]
    if workers:
        print(f"       workers: {min(workers):.1f} to {max(workers):.1f} MiB")
    verdict.say(
        descriptors(after) <= descriptors(before),
        f"descriptors at rest: {descriptors(before)} before, {descriptors(after)} after (throughout, most of a worker)",
    )
    threads = [[sample.threads for sample in some] for some in (before, after)]
    print(f"       threads at rest: {threads[0]} before, {threads[1]} after")


def run(arguments: argparse.Namespace, folder: Path) -> bool:
    options = ["--threads", str(arguments.threads), *arguments.options]
    server = Server(folder, arguments.workers, options, arguments.arenas)
    tally, verdict = Tally(), Verdict()
    exit_code = None
    try:
        touch_all_threads(server, arguments.threads)
        began_s = time.monotonic()
        before = at_rest(server, began_s)
        began_s = time.monotonic()
        samples, hung = load(arguments, server, tally, began_s)
        seconds, cpu_s = time.monotonic() - began_s, server.cpu_s()
        after = at_rest(server, began_s, before) if server.process.poll() is None else before
    finally:
        exit_code = server.stop()
    judge_answers(verdict, tally, hung, f"{seconds:.0f} s, CPU {cpu_s / seconds * 100:.0f} % of a core")
    judge_log(verdict, server, tally, exit_code)
    judge_resources(verdict, arguments, samples, before, after)
    print(f"{'It holds' if verdict.holds else 'It does not hold'}")
    if arguments.output:
        rows = [dataclasses.asdict(sample) for sample in samples]
        counted = {"holds": verdict.holds, "seconds": seconds, "counts": dict(tally.counts), "samples": rows}
        arguments.output.write_text(json.dumps(counted))
    return verdict.holds


def main() -> None:
    arguments = options()
    threading.stack_size(256 << 10)
    if arguments.keep:
        arguments.keep.mkdir(parents=True)
        raise SystemExit(0 if run(arguments, arguments.keep) else 1)
    folder = Path(tempfile.mkdtemp(prefix="hr-"))
    if run(arguments, folder):
        shutil.rmtree(folder)
        raise SystemExit(0)
    print(f"Logs: {folder}")
    raise SystemExit(1)


if __name__ == "__main__":
    main()
