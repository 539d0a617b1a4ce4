"""A server in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wire

sys.path.insert(0, str(Path(__file__).parent))  # for misbehaving_proxy.py

#: With AddressSanitizer most of resident memory is its own quarantine, which says nothing of the server.
MEMORY_TELLS = "libasan" not in os.environ.get("LD_PRELOAD", "")


class Apart:
    """A server in a process of its own, where limits of the process can be set and its memory and time be read."""

    PROGRAM = """
import resource, sys, threading
import headrace
{before}
def application(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [body or b"hello"]
server = headrace.Server(application, port=0, **{settings!r})
print(server.port, flush=True)
server.run()
"""

    def __init__(self, before: str, settings: dict[str, object]) -> None:
        program = self.PROGRAM.format(before=before, settings=settings)
        self.process = subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the server did not start: {self.process.communicate(timeout=wire.PATIENCE_S)[1]}")
        self.address = ("127.0.0.1", int(line))
        self.errors = ""

    def connect(self, **options: Any) -> wire.Client:
        return wire.Client(self.address, watched=False, **options)

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def resident_bytes(self) -> int:
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * 4096

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def assert_grown_less(self, than_bytes: int, since_bytes: int) -> None:
        """since_bytes: of resident_bytes(), some time ago."""
        grown = self.resident_bytes() - since_bytes
        assert grown < than_bytes or not MEMORY_TELLS, f"{grown} octets more than before, and not at most {than_bytes}"

    def stop(self) -> None:
        """SIGTERM; the process must end by itself, and well."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            _, self.errors = self.process.communicate(timeout=wire.PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise AssertionError("the server did not end on SIGTERM") from None
        assert self.process.returncode == 0, self.errors


@pytest.fixture
def serve_apart(request: pytest.FixtureRequest) -> Iterator[Callable[..., Apart]]:
    """serve_apart(before="", **settings): `before` is Python that the process runs first."""
    if sys.platform != "linux":
        pytest.skip("reads /proc")
    started: list[Apart] = []

    def start(before: str = "", **settings: object) -> Apart:
        for name in ("poller", "threads"):
            if (value := request.config.getoption(name)) is not None:
                settings.setdefault(name, value)
        started.append(Apart(before, settings))
        return started[-1]

    yield start
    for apart in started:
        apart.stop()
