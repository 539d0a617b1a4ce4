"""The server of endurance.py: its processes and what they hold, what is done to them, and what its log says.  Linux."""

from __future__ import annotations

import os
import random
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.endurance_clients import Address, Tally

WAIT_S = 60.0
BENCHMARKS = Path(__file__).parents[1]
#: Short, so that many of them pass; --keep-alive beyond IDLE_S_MAX of the clients.
OPTIONS = (
    "--head-timeout=10", "--body-timeout=10", "--write-timeout=10", "--keep-alive=20", "--timeout=15",
    "--limit-request-body=2m", "--request-body-memory=64k", "--total-body-memory=4m",
)  # fmt: skip
#: What the log may say without anything being wrong; HR805 and HR806 only as often as a worker was killed.
EXPECTED_CODES = {
    *("HR101", "HR102", "HR103", "HR104", "HR106", "HR109", "HR207", "HR208", "HR210", "HR212"),
    *("HR301", "HR303", "HR304", "HR305", "HR408"),
    *("HR801", "HR803", "HR804", "HR807", "HR813", "HR814"),
}
OF_A_KILL = {"HR805", "HR806"}
FATAL = re.compile(r"Fatal Python error|Segmentation fault|Sanitizer|Assertion .* failed|malloc\(\)|free\(\)")


@dataclass
class Sample:
    """Of one process.  resident, proportional: bytes (RSS and PSS)."""

    seconds: float
    pid: int
    role: str
    resident: int
    proportional: int
    descriptors: int
    threads: int


def frugal_malloc(arenas: int) -> dict[str, str]:
    """Environment variables for glibc: so many arenas, and no thread keeps freed pieces for itself."""
    return {"MALLOC_ARENA_MAX": str(arenas), "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}


class Server:
    """`headrace` for apps/endured.py, on a TCP port and a UNIX socket, with an access log."""

    def __init__(self, folder: Path, workers: int, options: list[str], arenas: int = 0) -> None:
        environment = {**os.environ, **frugal_malloc(arenas)} if arenas else None
        self.folder = folder
        self.workers = workers
        self.log = folder / "server.log"
        self.spool = folder / "spool"
        self.spool.mkdir()
        path = folder / "s"
        command = [sys.executable, "-m", "headrace", str(BENCHMARKS / "apps" / "endured.py"), "-b", "127.0.0.1:0"]
        command += ["-b", f"unix:{path}", "--error-logfile", str(self.log), "--spool-dir", str(self.spool)]
        command += ["--access-logfile", str(folder / "access.log"), *OPTIONS, *options]
        command += ["--workers", str(workers)] if workers else []
        self.errors = folder / "stderr"
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(command, stderr=errors, cwd=folder, env=environment)
        self.wait_for("HR803 " if workers else "HR102 ", workers or 1)
        (port,) = re.findall(r"Listening at: http://127.0.0.1:(\d+)", self.text())
        self.addresses: list[Address] = [("127.0.0.1", int(port)), str(path)]

    def text(self) -> str:
        """All of the error log, the files before a rotation first, and of stderr."""
        files = [*sorted(self.folder.glob("server.log.*")), self.log, self.errors]
        return "".join(file.read_text(errors="replace") for file in files if file.exists())

    def wait_for(self, pattern: str, count: int = 1) -> None:
        until = time.monotonic() + WAIT_S
        while len(re.findall(pattern, self.text())) < count:
            if time.monotonic() > until or self.process.poll() is not None:
                raise SystemExit(f"{pattern!r} did not come {count} times in:\n{self.text()[-4000:]}")
            time.sleep(0.05)

    def codes(self) -> Counter[str]:
        return Counter(re.findall(r"\b(HR\d{3}) ", self.text()))

    def present_workers(self) -> list[int]:
        """Those that serve, by what the log says, and are there."""
        text = self.text()
        ready = re.findall(r"HR803 Worker (\d+)", text)
        gone = set(re.findall(r"Worker (\d+) (?:has left|has ended|was killed|is to be replaced)", text))
        below = set(self.pids())
        return [int(pid) for pid in ready if pid not in gone and int(pid) in below]

    def pids(self) -> list[int]:
        """The process and all below it."""
        found = [self.process.pid]
        for pid in found:
            try:
                found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
            except OSError:
                continue
        return found

    def sample(self, began_s: float) -> list[Sample]:
        workers = set(self.present_workers()) if self.workers else set()
        samples = []
        for pid in self.pids():
            role = "worker" if pid in workers else "other"
            if pid == self.process.pid:
                role = "supervisor" if self.workers else "server"
            try:
                samples.append(sample_of(pid, role, time.monotonic() - began_s))
            except (OSError, ValueError):  # it has just ended
                continue
        return samples

    def cpu_s(self) -> float:
        """Of all processes, those that have ended included as far as they have been waited for."""
        total = 0
        for pid in self.pids():
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            total += sum(map(int, fields[11:15]))
        return total / os.sysconf("SC_CLK_TCK")

    def stop(self) -> int | None:
        """The exit code; None: it did not end."""
        self.process.terminate()
        try:
            return self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            for pid in reversed(self.pids()):
                os.kill(pid, signal.SIGKILL)
            self.process.wait()
            return None


def sample_of(pid: int, role: str, seconds: float) -> Sample:
    sizes = dict(re.findall(r"^(Rss|Pss): +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE))
    if not sizes:
        raise ValueError(f"process {pid} has no memory any more")
    descriptors, threads = (len(os.listdir(f"/proc/{pid}/{what}")) for what in ("fd", "task"))
    return Sample(seconds, pid, role, int(sizes["Rss"]) * 1024, int(sizes["Pss"]) * 1024, descriptors, threads)


def growth_percent(sizes: list[int]) -> float:
    """From the median of the first tenth to the median of the last tenth."""
    tenth = max(1, len(sizes) // 10)
    return (statistics.median(sizes[-tenth:]) / statistics.median(sizes[:tenth]) - 1) * 100


# -- what is done to it -----------------------------------------------------------------------------------------------


class Acts:
    """One thread that does them, each at its own intervals."""

    def __init__(self, server: Server, tally: Tally, names: list[str], seed: int) -> None:
        self._server = server
        self._tally = tally
        self._chance = random.Random(seed)
        acts = {"KILL": (90, self.kill), "HUP": (120, self.reload), "STOP": (40, self.stop), "USR1": (60, self.rotate)}
        #: Mean interval in seconds, and what to do.
        self._acts: dict[str, tuple[int, Callable[[], None]]] = {name: acts[name] for name in names}
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        due = {name: time.monotonic() + every_s * self._chance.random() for name, (every_s, _) in self._acts.items()}
        while due and not self.done.is_set():
            name = min(due, key=lambda name: due[name])
            if self.done.wait(max(0.0, due[name] - time.monotonic())):
                return
            every_s, act = self._acts[name]
            due[name] = time.monotonic() + every_s * self._chance.uniform(0.5, 1.5)
            try:
                act()
            except ProcessLookupError:
                continue
            self._tally.count(f"done to it: {name}")

    def _victim(self) -> int:
        return self._chance.choice(self._server.present_workers() or [self._server.process.pid])

    def kill(self) -> None:
        workers = self._server.present_workers()
        if len(workers) < self._server.workers:  # not while another one is on its way
            raise ProcessLookupError
        self._tally.killed()  # before it, so that nobody sees a kill that nobody knows of
        os.kill(self._chance.choice(workers), signal.SIGKILL)
        self._tally.killed()

    def reload(self) -> None:
        self._server.process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """A worker, or the one process, for up to 2 s, which is shorter than any deadline."""
        pid = self._victim()
        os.kill(pid, signal.SIGSTOP)
        time.sleep(self._chance.uniform(0.1, 2))
        os.kill(pid, signal.SIGCONT)

    def rotate(self) -> None:
        """As logrotate does; the access log is not kept."""
        log = self._server.log
        number = len(list(log.parent.glob("server.log.*"))) + 1
        log.rename(log.with_name(f"server.log.{number:04d}"))
        (log.parent / "access.log").rename(log.parent / "access.log.old")
        self._server.process.send_signal(signal.SIGUSR1)

