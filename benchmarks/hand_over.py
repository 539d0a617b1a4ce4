"""What fails while workers are reloaded, worn out, upgraded or killed under full load.  Linux only.

    python3 benchmarks/hand_over.py [--fronts direct,nginx,haproxy] [--cases HUP,worn,...] [--workers 2]

wrk keeps 64 connections busy, directly or by way of a proxy that tries nothing again (tests/proxies.py), until the case
is over.  A failed request is any that wrk counts: an answer other than 2xx or 3xx (the application has 200 alone, so
that behind a proxy it is the proxy's 502, 503 or 504), a failed connect, send or receive, or 10 s without an answer.
For nginx the lines of its error log are shown, too.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

BENCHMARKS = Path(__file__).parent
sys.path.insert(0, str(BENCHMARKS.parent / "tests"))

from proxies import PROXIES  # type: ignore[import-not-found]  # noqa: E402

WAIT_S = 60.0
REPORT = """
done = function(summary)
    local e = summary.errors
    io.write(string.format('{"answers": %d, "seconds": %f, "status": %d, "connect": %d, "read": %d, "write": %d, '
        .. '"timeout": %d}\\n',
        summary.requests, summary.duration / 1e6, e.status, e.connect, e.read, e.write, e.timeout))
end
"""
SOCKET_ERRORS = ("connect", "read", "write", "timeout")


class Server:
    def __init__(self, folder: Path, application: str, *options: str) -> None:
        self.path = folder / "server.log"
        file = str(BENCHMARKS / "apps" / application)
        command = [sys.executable, "-m", "headrace", file, "-b", "127.0.0.1:0", *options]
        with self.path.open("w") as log:
            self.process = subprocess.Popen(command, stderr=log)
        self.upstream = self.wait_for(r"Listening at: http://([\d.:]+)")[0]

    def find(self, pattern: str) -> list[str]:
        return re.findall(pattern, self.path.read_text())

    def wait_for(self, pattern: str, count: int = 1) -> list[str]:
        end = time.monotonic() + WAIT_S
        while len(found := self.find(pattern)) < count:
            assert time.monotonic() < end, f"{pattern!r} did not come {count} times in:\n{self.path.read_text()}"
            time.sleep(0.002)
        return found

    def younger(self) -> int:
        return int(self.wait_for(r"The new program is starting as process (\d+)")[-1])


def reload_often(server: Server) -> str:
    for number in range(2, 22):
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(f"Generation {number} takes over")
        time.sleep(0.1)
    return f"{len(server.find('takes over'))} reloads"


def wear_out(server: Server) -> str:
    time.sleep(8)
    return f"{len(server.find('is to be replaced: .*--max-requests'))} replaced"


def there_and_back(server: Server) -> str:
    for number in range(1, 4):
        server.process.send_signal(signal.SIGUSR2)
        server.wait_for("The new program is ready", number)
        time.sleep(0.5)
        os.kill(server.younger(), signal.SIGTERM)
        server.wait_for("The new program has ended with exit code 0; this one goes on", number)
        time.sleep(0.5)
    return "3 times"


def there(server: Server) -> str:
    server.process.send_signal(signal.SIGUSR2)
    server.wait_for("The new program is ready")
    time.sleep(0.5)
    server.process.send_signal(signal.SIGTERM)
    server.wait_for("The program before this one has ended")
    time.sleep(1)
    return f"old one: exit code {server.process.wait(WAIT_S)}"


def kill_often(server: Server) -> str:
    """The worker with the most connections each time, after a pause so that none counts as short-lived.

    Timed from the signal until the log says that another is ready.
    """
    times = []
    for _ in range(10):
        time.sleep(3)
        started, gone = (server.find(rf"Worker (\d+) {what}") for what in ("is ready", "was killed"))
        victim = max((int(pid) for pid in started if pid not in gone), key=descriptors)
        since = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        server.wait_for("is ready", len(started) + 1)
        times.append((time.monotonic() - since) * 1000)
    named = server.find(r"HR806 Worker (\d+) was serving GET /")
    replaced = f"replaced in {statistics.median(times):.0f} ms (median), {max(times):.0f} (worst)"
    return f"{replaced}; the log names {len(named)} requests of {len(set(named))} workers"


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


CASES: dict[str, tuple[Callable[[Server], str], tuple[str, ...]]] = {
    "HUP": (reload_often, ()),
    "worn": (wear_out, ("--max-requests", "1000", "--max-requests-jitter", "200")),
    "USR2-back": (there_and_back, ()),
    "USR2": (there, ()),
    "KILL": (kill_often, ()),
}


@contextmanager
def direct(folder: Path, upstream: str) -> Iterator[tuple[str, int]]:
    host, _, port = upstream.rpartition(":")
    yield host, int(port)


def measure(arguments: argparse.Namespace, front: str, case: str, folder: Path) -> dict[str, object]:
    act, options = CASES[case]
    # To be killed inside a call: with hello its threads are mostly idle when the signal comes.
    application, path = ("waits.py", "/sleep-10-ms") if case == "KILL" else ("hello.py", "/")
    (folder / "report.lua").write_text(REPORT)
    server = Server(folder, application, "--workers", str(arguments.workers), *options)
    try:
        with PROXIES.get(front, direct)(folder, server.upstream) as (host, port):
            command = ["wrk", "-t1", f"-c{arguments.connections}", "-d120s", "--timeout", "10s"]
            command += ["-s", str(folder / "report.lua"), f"http://{host}:{port}{path}"]
            load = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            try:
                time.sleep(1)
                said = act(server)
            finally:
                load.send_signal(signal.SIGINT)
                output, _ = load.communicate(timeout=WAIT_S)
    finally:
        for pid in [server.process.pid, *map(int, server.find(r"The new program is starting as process (\d+)"))]:
            end(pid)
        server.process.wait(WAIT_S)
    counted: dict[str, object] = json.loads(next(line for line in output.splitlines() if line.startswith("{")))
    return {**counted, "said": said}


def end(pid: int) -> None:
    """TERM to one of our servers, unless it has gone or its number is somebody else's."""
    try:
        if b"headrace" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGTERM)
    except (FileNotFoundError, ProcessLookupError):
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    fronts = ("direct", *PROXIES)
    parser.add_argument("--fronts", default=",".join(fronts), help=", ".join(fronts))
    parser.add_argument("--cases", default="HUP,worn,USR2-back,USR2", help=", ".join(CASES))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--keep", type=Path, help="leave the logs in folders here")
    arguments = parser.parse_args()
    print("| case | front | answers | answers/s | not 2xx | socket errors | what happened |")
    print("| --- | --- | ---: | ---: | ---: | ---: | --- |")
    for case in arguments.cases.split(","):
        for front in arguments.fronts.split(","):
            with tempfile.TemporaryDirectory() as temporary:
                folder = arguments.keep / f"{case}-{front}" if arguments.keep else Path(temporary)
                folder.mkdir(parents=True, exist_ok=True)
                tell(case, front, measure(arguments, front, case, folder), folder)


def tell(case: str, front: str, row: dict[str, object], folder: Path) -> None:
    socket_errors = ", ".join(f"{row[kind]} {kind}" for kind in SOCKET_ERRORS if row[kind]) or 0
    rate = int(row["answers"]) / float(row["seconds"])  # type: ignore[call-overload, arg-type]
    cells = [case, front, row["answers"], f"{rate:.0f}", row["status"], socket_errors, row["said"]]
    print(f"| {' | '.join(map(str, cells))} |", flush=True)
    errors = folder / "nginx.log"
    for line in errors.read_text().splitlines()[:5] if errors.exists() else ():
        print(f"    {line}", file=sys.stderr)


if __name__ == "__main__":
    main()
