"""Mutated requests, read by us, by llhttp and by h11:

    python tests/differential/run.py --seed 1 --cases 10000000 --processes 2
    python tests/differential/run.py --seed 1 --case 123456          # one of them, with what each makes of it

Each case is read by us whole and cut at random places, by each scanner that this processor has (see ours.c).  What we
accept, whole or as far as it goes, llhttp must accept, and read the same out of it; --referee must have no objection to
its head; and h11, which is asked about one case in three (--h11-every), must read the same, too.  Prints the figures,
and each disagreement with its number and octets; 1 if there is any.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import itertools
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

import ours  # noqa: E402
import peers  # noqa: E402
from grammar import BLOCK_CASES, cases  # noqa: E402

DISAGREEMENTS_SHOWN_MAX = 20


@dataclass
class Figures:
    """counts: of cases, by what became of them.  excused: by exception.  disagreements: (number, octets, sentence)."""

    counts: collections.Counter[str] = field(default_factory=collections.Counter)
    excused: collections.Counter[str] = field(default_factory=collections.Counter)
    refusals: collections.Counter[str] = field(default_factory=collections.Counter)
    disagreements: list[tuple[int, bytes, str]] = field(default_factory=list)

    def add(self, other: Figures) -> None:
        self.counts += other.counts
        self.excused += other.excused
        self.refusals += other.refusals
        self.disagreements += other.disagreements

    def lines(self) -> list[str]:
        lines = [f"{number:>12,} {what}" for what, number in sorted(self.counts.items())]
        lines += [f"{number:>12,} excused: {what}" for what, number in self.excused.most_common()]
        lines += [f"{number:>12,} refused: {what}" for what, number in self.refusals.most_common()]
        return lines


class Court:
    """All of them.  One for each process."""

    def __init__(self, library: Path) -> None:
        self.reader = ours.Reader(library)
        self.llhttp = peers.Llhttp()
        self.referee = peers.Referee()
        self.h11 = peers.H11()

    def judge(self, octets: bytes, number: int, ask_h11: bool, figures: Figures) -> None:
        counts = figures.counts
        counts["cases read by us and llhttp"] += 1
        try:
            request = self.reader.read(octets, number, by_octet=number % 16 == 0)
        except AssertionError as differs:
            figures.disagreements.append((number, octets, str(differs)))
            return
        if ask_h11:
            counts["cases read by h11 as well"] += 1
        if request.stage in (ours.COMPLETE, ours.IN_BODY):
            accepted = "accepted" if request.stage == ours.COMPLETE else "accepted as far as it goes"
            counts[accepted] += 1
            if why := self.llhttp.differs(request, octets):
                figures.disagreements.append((number, octets, why))
            if why := self.referee.differs(request, octets):
                figures.disagreements.append((number, octets, f"the referee objects: {why}"))
            if ask_h11:
                counts[f"{accepted}, h11 asked"] += 1
                if why := self.h11.differs(request, octets):
                    figures.disagreements.append((number, octets, why))
            return
        if request.stage == ours.IN_HEAD:
            counts["no complete head"] += 1
        else:
            counts["refused"] += 1
            figures.refusals[request.error] += 1
            if self.llhttp.accepts(octets):
                counts["refused, llhttp accepts"] += 1
        if ask_h11 and not isinstance(result := self.h11.read(octets), str) and result[3]:
            counts["refused or no complete head, h11 accepts"] += 1


def judge_block(library: Path, seed: int, block: int, count: int, h11_every: int) -> Figures:
    """The first `count` cases of a block."""
    court, figures = Court(library), Figures()
    first = block * BLOCK_CASES
    for number, octets in enumerate(itertools.islice(cases(seed, block), count), first):
        court.judge(octets, number, h11_every > 0 and number % h11_every == 0, figures)
    for name, peer in (("llhttp", court.llhttp), ("h11", court.h11)):
        figures.excused.update({f"{what} ({name})": number for what, number in peer.excused.items()})
    return figures


def judge_cases(
    library: Path, seed: int, count: int, processes: int, h11_every: int = 3, progress: bool = False
) -> Figures:
    """Cases 0 to count - 1 of a seed; which process takes which makes no difference."""
    total, began = Figures(), time.monotonic()
    blocks = range((count + BLOCK_CASES - 1) // BLOCK_CASES)
    with concurrent.futures.ProcessPoolExecutor(processes) as pool:
        running = [
            pool.submit(judge_block, library, seed, block, min(BLOCK_CASES, count - block * BLOCK_CASES), h11_every)
            for block in blocks
        ]
        for done, future in enumerate(running, 1):
            total.add(future.result())
            if len(total.disagreements) > DISAGREEMENTS_SHOWN_MAX:
                pool.shutdown(cancel_futures=True)
                break
            if progress and done % 20 == 0:
                took = time.monotonic() - began
                print(f"{done * BLOCK_CASES:,} cases, {took:.0f} s, {len(total.disagreements)} disagree", flush=True)
    return total


def show_case(library: Path, seed: int, number: int) -> None:
    octets = next(itertools.islice(cases(seed, number // BLOCK_CASES), number % BLOCK_CASES, None))
    request = ours.Reader(library).read(octets, number)
    print(octets, request, sep="\n")
    print("h11:", peers.H11().read(octets))
    if request.stage in (ours.COMPLETE, ours.IN_BODY):
        print(peers.Llhttp().differs(request, octets) or "llhttp agrees")
        print(peers.Referee().differs(request, octets) or "the referee agrees")
        print(peers.H11().differs(request, octets) or "h11 agrees")
    else:
        print("llhttp accepts:", peers.Llhttp().accepts(octets))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=200_000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--h11-every", type=int, default=3, help="ask h11 about one case in so many (0: never)")
    parser.add_argument("--case", type=int, help="show this one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-differential-") as folder:
        library = ours.build(Path(folder))
        if options.case is not None:
            show_case(library, options.seed, options.case)
            return 0
        began = time.monotonic()
        figures = judge_cases(library, options.seed, options.cases, options.processes, options.h11_every, True)
    print(f"seed {options.seed}, {time.monotonic() - began:.0f} s")
    print("\n".join(figures.lines()))
    print(f"{len(figures.disagreements):>12,} disagreements")
    for number, octets, why in figures.disagreements[:DISAGREEMENTS_SHOWN_MAX]:
        print(f"--seed {options.seed} --case {number}: {why}\n    {octets!r}")
    return 1 if figures.disagreements else 0


if __name__ == "__main__":
    sys.exit(main())
