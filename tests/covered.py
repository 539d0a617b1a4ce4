"""How much of the compiled code the tests run: csrc by lines and branches, the Cython code by lines.

    python tests/covered.py                        the C tests, the corpus of the fuzz targets, then the whole suite;
                                                   the exit code is 1, too, when less is covered than must be
    python tests/covered.py --missing              ... and which lines nothing has run
    python tests/covered.py --keep FOLDER          build there and leave it; the counters add up from run to run
    python tests/covered.py tests/rfc9112 -x       other arguments are pytest's
    python tests/covered.py --report-only --keep FOLDER

Needs gcc, gcov, and what the suite needs.  A copy of the tree is built with HEADRACE_COVERAGE=1 (gcov's counters, no
optimisation).  A line of a .pyx or .pxd counts as run when any of the C that Cython made of it has; what Cython adds
behind a function to clean up belongs to no line.  A branch is one way out of a condition, as gcc sees it.

What the figures leave out: code of another system (poller_kqueue.c) or processor, which is not compiled here; methods
whose body is `raise NotImplementedError`, which are declarations; and what runs only in child processes that end by
os._exit() or a signal, whose counters are lost: it counts as not run.
"""

from __future__ import annotations

import argparse
import collections
import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: As in setup.py.  A branch counts once, wherever it is inlined.
FLAGS = ["--coverage", "-O0", "-fprofile-update=atomic", "-Dalways_inline=unused"]

#: Per cent that must have run: lines of csrc, branches of csrc, lines of Cython.
LEAST = {"csrc lines": 97.0, "csrc branches": 90.0, "Cython lines": 95.0}

_MARK = re.compile(r'^\s*/\* "(headrace/engine/\w+\.p[yx][xd])":(\d+)$')
_EXIT = "/* function exit code */"


class Source:
    """What ran of one file.  lines: by number.  branches: by line and place; counts of several objects are added."""

    def __init__(self) -> None:
        self.lines: collections.Counter[int] = collections.Counter()
        self.branches: dict[int, list[int]] = {}

    def add_line(self, number: int, count: int) -> None:
        self.lines[number] += count

    def add_branches(self, number: int, counts: list[int]) -> None:
        """Where an inlined or repeated piece has other branches than before, the one with more of them stays."""
        known = self.branches.setdefault(number, counts)
        if known is counts:
            return
        if len(known) == len(counts):
            self.branches[number] = [one + other for one, other in zip(known, counts)]
        elif len(known) < len(counts):
            self.branches[number] = counts

    def line_figures(self) -> tuple[int, int]:
        return sum(count > 0 for count in self.lines.values()), len(self.lines)

    def branch_figures(self) -> tuple[int, int]:
        every = [count for counts in self.branches.values() for count in counts]
        return sum(count > 0 for count in every), len(every)

    def missing(self) -> str:
        """Line numbers, runs of them as 3-7."""
        numbers = sorted(number for number, count in self.lines.items() if count == 0)
        runs: list[list[int]] = []
        for number in numbers:
            if runs and number - runs[-1][1] <= 1:
                runs[-1][1] = number
            else:
                runs.append([number, number])
        return " ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def gcov(counters: list[Path], folder: Path) -> Iterator[dict]:
    """The JSON of each, as gcov writes it."""
    for counter in counters:
        subprocess.run(["gcov", "--json-format", "--branch-probabilities", str(counter)], cwd=folder, check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        for made in folder.glob("*.gcov.json.gz"):
            with gzip.open(made) as file:
                yield json.load(file)
            made.unlink()


def marked_lines(c_source: Path) -> dict[int, tuple[str, int]]:
    """Line of C -> the line of Cython that it was made of."""
    lines: dict[int, tuple[str, int]] = {}
    present = None
    for number, line in enumerate(c_source.read_text(encoding="utf-8").splitlines(), 1):
        if mark := _MARK.match(line):
            present = ("src/" + mark[1], int(mark[2]))
        elif _EXIT in line:
            present = None
        elif present is not None:
            lines[number] = present
    return lines


def read_counters(tree: Path, c_build: Path) -> dict[str, Source]:
    """By file name, csrc/... and src/headrace/engine/..."""
    sources: dict[str, Source] = collections.defaultdict(Source)
    counters = [path for folder in (tree / "build", c_build) for path in sorted(folder.rglob("*.gcda"))]
    notes = [path for folder in (tree / "build", c_build) for path in sorted(folder.rglob("*.gcno"))]
    counters += [path for path in notes if path.with_suffix(".gcda") not in counters]
    with tempfile.TemporaryDirectory() as scratch:
        for made in gcov(counters, Path(scratch)):
            for file in made["files"]:
                path = Path(made["current_working_directory"], file["file"])
                if path.parent.name == "csrc":
                    add_c(sources["csrc/" + path.name], file["lines"])
                elif path.suffix == ".c" and "cython" in path.parts:
                    add_cython(sources, path, file["lines"])
    drop_declarations(sources, tree)
    return sources


def drop_declarations(sources: dict[str, Source], tree: Path) -> None:
    """Abstract methods: Cython has no others, and wants a body."""
    for name, source in sources.items():
        if not name.endswith(".pyx"):
            continue
        lines = (tree / name).read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            if line.strip() == "raise NotImplementedError":
                first = number
                while not lines[first - 1].lstrip().startswith(("cdef", "cpdef", "def")):
                    first -= 1
                for dropped in range(first, number + 1):
                    source.lines.pop(dropped, None)


def add_c(source: Source, lines: list[dict]) -> None:
    for line in lines:
        source.add_line(line["line_number"], line["count"])
        if line["branches"]:
            source.add_branches(line["line_number"], [branch["count"] for branch in line["branches"]])


def add_cython(sources: dict[str, Source], c_source: Path, lines: list[dict]) -> None:
    marked = marked_lines(c_source)
    for line in lines:
        if mark := marked.get(line["line_number"]):
            sources[mark[0]].add_line(mark[1], line["count"])


def report(sources: dict[str, Source], missing: bool, judged: bool) -> bool:
    """Prints it all; False when it is to be judged, and less is covered than must be."""
    totals: dict[str, list[int]] = {"csrc": [0, 0, 0, 0], "cython": [0, 0, 0, 0]}
    print(f"{'':40}{'lines':>16}{'branches':>20}")
    for name in sorted(sources):
        source = sources[name]
        figures = [*source.line_figures(), *source.branch_figures()]
        kind = "csrc" if name.startswith("csrc") else "cython"
        totals[kind] = [one + other for one, other in zip(totals[kind], figures)]
        print_figures(name, figures)
        if missing and (numbers := source.missing()):
            print(f"    not run: {numbers}")
    print_figures("csrc", totals["csrc"])
    print_figures("Cython", totals["cython"])
    (lines_run, lines, taken, branches), (cython_run, cython_lines, *_) = totals["csrc"], totals["cython"]
    figures = ((lines_run, lines), (taken, branches), (cython_run, cython_lines))
    covered = [100 * run / max(every, 1) for run, every in figures]
    short = [what for what, percent in zip(LEAST, covered) if judged and percent < LEAST[what]]
    for what in short:
        print(f"too little: {what}, {LEAST[what]:g} % must be covered")
    return not short


def print_figures(name: str, figures: list[int]) -> None:
    run, lines, taken, branches = figures
    line = f"{name:40}{run:6}/{lines:<6}{100 * run / max(lines, 1):5.1f} %"
    print(line + (f"{taken:6}/{branches:<6}{100 * taken / branches:5.1f} %" if branches else ""))


# -- the runs ---------------------------------------------------------------------------------------------------------


def copy_tree(tree: Path) -> None:
    """What git tracks or would track."""
    list_names = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(list_names, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    tree.mkdir(parents=True)
    pack = ["tar", "--null", "--files-from=-", "--ignore-failed-read", "-cf", "-"]
    packed = subprocess.run(pack, cwd=ROOT, input=names, stdout=subprocess.PIPE, check=True).stdout
    subprocess.run(["tar", "-xf", "-"], cwd=tree, input=packed, check=True)


def run_c_tests(tree: Path, c_build: Path) -> bool:
    environ = {**os.environ, "CC": "gcc", "CFLAGS_EXTRA": " ".join(FLAGS), "HEADRACE_SANITIZE": ""}
    environ["HEADRACE_C_BUILD"] = str(c_build)
    passed = subprocess.run([str(tree / "tests/c/run")], env=environ).returncode == 0
    for target in sorted((tree / "tests/c").glob("fuzz_*.c")):
        program = c_build / target.stem
        objects = [str(path) for path in (c_build / "gcc").glob("*.o")]
        command = ["gcc", "-std=c11", *FLAGS, "-DHEADRACE_DEBUG=1", f"-I{tree / 'csrc'}", f"-I{target.parent}"]
        command += [str(target), str(target.with_name("replay.c")), *objects, "-lpthread", "-o", str(program)]
        subprocess.run(command, check=True)
        corpus = sorted((tree / "tests/corpus/fuzz" / target.stem.removeprefix("fuzz_")).glob("*"))
        passed = subprocess.run([str(program), *map(str, corpus)]).returncode == 0 and passed
    return passed


def run_suite(tree: Path, arguments: list[str]) -> bool:
    if not list((tree / "src/headrace/engine").glob("loop.*.so")):
        switches = {**os.environ, "HEADRACE_COVERAGE": "1"}
        subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=tree, env=switches, check=True)
    environ = {**os.environ, "PYTHONPATH": str(tree / "src")}
    command = [sys.executable, "-m", "pytest", "-q", *(arguments or ["tests"])]
    return subprocess.run(command, cwd=tree, env=environ).returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--missing", action="store_true", help="print the lines that nothing has run")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="build there, and leave it")
    parser.add_argument("--report-only", action="store_true", help="run nothing; with --keep")
    parser.add_argument("--no-c-tests", action="store_true", help="run only the suite")
    options, arguments = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="headrace-covered-") as folder:
        place = options.keep.resolve() if options.keep else Path(folder)
        tree, c_build = place / "tree", place / "c"
        passed = True
        if not options.report_only:
            if not tree.exists():
                copy_tree(tree)
            if not options.no_c_tests:
                passed = run_c_tests(tree, c_build)
            passed = run_suite(tree, arguments) and passed
        judged = not (arguments or options.no_c_tests)
        enough = report(read_counters(tree, c_build), options.missing, judged)
    return 0 if passed and enough else 1


if __name__ == "__main__":
    sys.exit(main())
