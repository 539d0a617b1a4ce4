"""What worker processes cost: memory that they share, and how soon a killed one is replaced.  Linux only.

    python3 benchmarks/workers.py [--application benchmarks/apps/django_app.py] [--workers 4] [--requests 1000]

Memory is the proportional set size (PSS, /proc/PID/smaps_rollup): a page that n processes share counts 1/n for each.
Compared: N workers forked from one template, with the template and the supervisor counted in; the same without
preloading; N single processes.  Each worker answers about so many requests first, on connections of their own.

A replacement is counted from the SIGKILL until the supervisor's log says that another worker is ready.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

TRIES = 8


def pss_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)[1])  # type: ignore[index]


def family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in family(int(child)))]


@contextmanager
def server(*options: str) -> Iterator[tuple[int, int, Callable[[], str]]]:
    """Process, port and what it has logged."""
    with tempfile.TemporaryFile("w+") as log:
        command = [sys.executable, "-m", "headrace", *options, "-b", "127.0.0.1:0"]
        process = subprocess.Popen(command, stderr=log)

        def text() -> str:
            return os.pread(log.fileno(), 1 << 20, 0).decode()

        try:
            while not (found := re.search(r"Listening at: http://127.0.0.1:(\d+)", text())):
                assert process.poll() is None, text()
                time.sleep(0.02)
            yield process.pid, int(found[1]), text
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def ask(port: int, path: str) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: mill.example\r\nConnection: close\r\n\r\n".encode())
        assert client.recv(65536).startswith(b"HTTP/1.1 200"), path
        while client.recv(65536):
            pass


def warm_up(port: int, path: str, requests: int) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: ask(port, path), range(requests)))


def memory(arguments: argparse.Namespace, *options: str) -> int:
    """KiB of all processes of one server."""
    workers = 1 if not options else arguments.workers
    with server(arguments.application, *options) as (pid, port, _):
        warm_up(port, arguments.path, arguments.requests * workers)
        parts = [pss_kib(one) for one in family(pid)]
    print(f"  {' '.join(options) or 'one process':28} {sum(parts):8} KiB  {parts}")
    return sum(parts)


def separate_loads(arguments: argparse.Namespace) -> int:
    """Side by side, for they share the interpreter's and the libraries' pages."""
    started = []
    try:
        for _ in range(arguments.workers):
            one = server(arguments.application)
            started.append((one, one.__enter__()))
        for _, (_, port, _) in started:
            warm_up(port, arguments.path, arguments.requests)
        parts = [pss_kib(pid) for _, (pid, _, _) in started]
    finally:
        for one, _ in started:
            one.__exit__(None, None, None)
    print(f"  {arguments.workers} single processes{'':10} {sum(parts):8} KiB  {parts}")
    return sum(parts)


def replacement_ms(arguments: argparse.Namespace) -> list[float]:
    times = []
    with server(arguments.application, "--workers", str(arguments.workers)) as (_, port, log):
        for _ in range(TRIES):
            time.sleep(2.5)  # a worker that lives shorter is replaced after a pause
            workers = re.findall(r"Worker (\d+) is ready", log())
            since = time.monotonic()
            os.kill(int(workers[-1]), signal.SIGKILL)
            while log().count("is ready") == len(workers):
                time.sleep(0.001)
            times.append((time.monotonic() - since) * 1000)
            ask(port, arguments.path)
    return sorted(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--application", default=str(Path(__file__).parent / "apps" / "django_app.py"))
    parser.add_argument("--path", default="/wheels/7?sort=price")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--no-replacement", action="store_true", help="memory only")
    parser.add_argument("--requests", type=int, default=1000)
    arguments = parser.parse_args()
    count = str(arguments.workers)
    print("PSS of all processes (supervisor, template, workers)")
    shared = memory(arguments, "--workers", count)
    memory(arguments, "--workers", count, "--no-preload")
    apart = separate_loads(arguments)
    print(f"  preloaded / separate: {shared / apart:.2f}")
    if arguments.no_replacement:
        return
    times = replacement_ms(arguments)
    print(f"replacement after SIGKILL: median {times[len(times) // 2]:.0f} ms, worst of {TRIES} {times[-1]:.0f} ms")


if __name__ == "__main__":
    main()
