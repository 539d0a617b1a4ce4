"""One server process, pinned to a core: start, wait until ready, CPU and memory of its whole tree, stop."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from harness.servers import Server, Venvs, environment

HOST = "127.0.0.1"
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
READY_S = 30.0
STOP_S = 15.0


class StartFailed(Exception):
    """The server did not come to accept connections; the text ends with its last words."""


@dataclass(frozen=True)
class CpuTime:
    user_s: float
    system_s: float

    def __sub__(self, earlier: CpuTime) -> CpuTime:
        return CpuTime(self.user_s - earlier.user_s, self.system_s - earlier.system_s)


@dataclass
class Running:
    """A started server.  `process` leads a process group of its own: nothing that it starts outlives it."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def tree(self) -> list[int]:
        """The process and all its descendants."""
        children: dict[int, list[int]] = {}
        for pid, fields in all_processes():
            children.setdefault(int(fields[1]), []).append(pid)
        found = [self.process.pid]
        for pid in found:
            found.extend(children.get(pid, []))
        return found

    def cpu(self) -> CpuTime:
        """User and system time of the tree, that of children already waited for included (proc(5), stat)."""
        tree = set(self.tree())
        user = system = 0
        for pid, fields in all_processes():
            if pid in tree:
                user += int(fields[11]) + int(fields[13])
                system += int(fields[12]) + int(fields[14])
        return CpuTime(user * TICK_S, system * TICK_S)

    def resident_bytes(self) -> int:
        """VmRSS of the tree; pages that a parent and its children share count in each."""
        return sum(status_kib(pid, "VmRSS:") for pid in self.tree()) * 1024

    def last_words(self) -> str:
        """The end of the log, on one line."""
        return " ".join(self.log.read_text(errors="replace").split())[-400:]


def all_processes() -> Iterator[tuple[int, list[str]]]:
    """(pid, fields of /proc/PID/stat from the state on)."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path("/proc", entry, "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            yield int(entry), stat.rpartition(")")[2].split()


def status_kib(pid: int, name: str) -> int:
    for line in Path("/proc", str(pid), "status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def raise_file_limit() -> None:
    """As many descriptors as we may have; the server inherits it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def wait_until_ready(running: Running, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if running.process.poll() is not None:
            raise StartFailed(f"exited with {running.process.returncode}: {running.last_words()}")
        try:
            socket.create_connection((HOST, running.port), 1.0).close()
            return
        except OSError:
            time.sleep(0.02)
    raise StartFailed(f"does not accept after {patience_s:.0f} s: {running.last_words()}")


def stop(running: Running) -> None:
    process = running.process
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    try:
        os.killpg(process.pid, signal.SIGKILL)  # whoever is left of the group that we made
    except ProcessLookupError:
        pass


@dataclass(frozen=True)
class Bench:
    """Where things are and run."""

    venvs: Venvs
    folder: Path  # the servers' working directory and logs
    server_core: int
    client_core: int
    server_cores: str = ""  # as taskset takes them; "": the server's core

    @property
    def both_cores(self) -> Bench:
        """The same, with the server on the client's core as well: what several bring cannot be seen on one."""
        return replace(self, server_cores=f"{self.server_core},{self.client_core}")


@contextmanager
def serving(
    server: Server,
    app: str,
    bench: Bench,
    *,
    threads: int = 1,
    more: Sequence[str] = (),
    under: Sequence[str] = (),
    patience_s: float = READY_S,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """Runs `server` with `app` on the server's core, with `more` arguments, and perhaps `under` a program.

    Raises servers.Missing or StartFailed.
    """
    port = free_port()
    command = ["taskset", "-c", bench.server_cores or str(bench.server_core), *under]
    command += [*bench.venvs.command(server, app, HOST, port, threads), *more]
    log = bench.folder / f"{server.name}.{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=bench.folder,
            env=environment(bench.folder) | dict(settings or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    running = Running(process, port, log)
    try:
        wait_until_ready(running, patience_s)
        yield running
    finally:
        stop(running)
