"""Real server processes, started by the command line as a user would."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import IO, Any

import pytest
import wire

WAIT_S = 20
APPS = Path(__file__).parent / "apps"
EXAMPLES = Path(__file__).parents[2] / "examples"


class Lines:
    """What a process writes to one of its streams, read by a thread so that the process never waits for us."""

    def __init__(self, stream: IO[str]) -> None:
        self.text = ""
        self._stream = stream
        self._news = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._stream:
            with self._news:
                self.text += line
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def wait_for(self, pattern: str, count: int = 1) -> list[str]:
        """All matches, once there are so many; AssertionError when they do not come."""
        with self._news:
            self._news.wait_for(lambda: self._ended or len(re.findall(pattern, self.text)) >= count, WAIT_S)
            found = re.findall(pattern, self.text)
        assert len(found) >= count, f"{pattern!r} did not come {count} times in:\n{self.text}"
        return found

    def close(self) -> None:
        self._thread.join(WAIT_S)
        self._stream.close()


class Command:
    """One `headrace` process.  ``urls``: what it says that it listens at; ``output`` and ``errors``: its streams."""

    def __init__(self, *arguments: object, binds: int = 1, cwd: Path | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "headrace", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            cwd=cwd,
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.output = Lines(self.process.stdout)
        self.errors = Lines(self.process.stderr)
        try:
            self.urls = self.errors.wait_for(r"Listening at: (\S+)", binds)
        except AssertionError:
            self.end(signal.SIGKILL)
            raise
        self.url = self.urls[0]

    def connect(self, url: str | None = None) -> socket.socket:
        """A socket to the first address, or the one given."""
        url = self.url if url is None else url
        if url.startswith("unix:"):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(WAIT_S)
            sock.connect(url.removeprefix("unix:"))
            return sock
        host, _, port = url.removeprefix("http://").rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)), WAIT_S)

    def client(self, url: str | None = None) -> HTTPConnection:
        """http.client on such a socket."""
        connection = HTTPConnection("localhost", timeout=WAIT_S)
        connection.sock = self.connect(url)
        return connection

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send the signal, wait; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        try:
            return self.process.wait(WAIT_S)
        finally:
            self.process.kill()
            self.process.wait(WAIT_S)
            self.output.close()
            self.errors.close()


@pytest.fixture
def command() -> Iterator[Callable[..., Command]]:
    """Start a `headrace` process; those still running at the end are stopped, and must end with 0."""
    started: list[Command] = []

    def start(*arguments: object, **options: object) -> Command:
        started.append(Command(*arguments, **options))  # type: ignore[arg-type]
        return started[-1]

    yield start
    running = [process for process in started if process.process.poll() is None]
    assert [process.end() for process in running] == [0] * len(running)


@pytest.fixture(scope="module")
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """The application that the module names in APPLICATION, on a TCP and on a UNIX socket, by one process."""
    path = tmp_path_factory.mktemp("site") / "app.sock"
    site = Command(request.module.APPLICATION, "-b", "127.0.0.1:0", "-b", f"unix:{path}", binds=2)
    yield site
    assert site.end() == 0


@pytest.fixture(params=["tcp", "unix"])
def address(request: pytest.FixtureRequest, site: Command) -> str:
    """The URL of one of the two sockets of `site`."""
    return site.urls[0 if request.param == "tcp" else 1]


@pytest.fixture(scope="session")
def examples() -> Path:
    return EXAMPLES


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    """wait_until(condition, what)"""
    return wire.wait_until
