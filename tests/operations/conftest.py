"""A server with workers: its processes, and an application whose answers say which of them has answered.

server(*options, workers=2, application=WHO) -> Server
    `headrace app:app --workers N` in a folder of its own, with the application's source in app.py there.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wire
from command import WAIT_S, Command

#: Answers with the number of its process; /sleep/0.5 says so on stdout and takes that long.
WHO = """
import os, time

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/sleep/"):
        print("inside", flush=True)
        time.sleep(float(path.removeprefix("/sleep/")))
    body = (VERSION + str(os.getpid())).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

VERSION = ""
"""


class Server(Command):
    folder: Path

    def write(self, application: str) -> None:
        """Another version of the code.  Its time differs, so that Python does not take the compiled one."""
        write_application(self.folder, application)

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return host, int(port)

    @property
    def upstream(self) -> str:
        return self.url.removeprefix("http://")

    def signal(self, name: str, pid: int | None = None) -> None:
        pid = self.process.pid if pid is None else pid
        assert pid > 0, "kill(2) means groups by these, and this process is in one of them"
        os.kill(pid, getattr(signal, name))

    def ready_workers(self) -> list[int]:
        """All that have ever been ready, by what the log says."""
        return [int(pid) for pid in re.findall(r"Worker (\d+) is ready", self.errors.text)]

    def workers(self) -> list[int]:
        """Those that are there, by what the log says: a process number may belong to somebody else by now."""
        gone = re.findall(r"Worker (\d+) (?:has left|has ended|was killed)", self.errors.text)
        return [pid for pid in self.ready_workers() if str(pid) not in gone]

    def wait_for_takeover(self, number: int) -> None:
        self.errors.wait_for(rf"Generation {number} takes over")


def write_application(folder: Path, source: str) -> None:
    path = folder / "app.py"
    path.write_text(source)
    later = time.time() + len(list(folder.iterdir()))
    os.utime(path, (later, later))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def start(*options: object, workers: int = 2, application: str = WHO, **more: Any) -> Server:
        write_application(tmp_path, application)
        arguments = ["app:app", "-b", "127.0.0.1:0", *(["--workers", workers] if workers else []), *options]
        one = Server(*arguments, cwd=tmp_path, program=("-B", "-m", "headrace"), **more)
        one.folder = tmp_path
        started.append(one)
        return one

    yield start
    codes = [one.end() for one in started if one.process.poll() is None]
    assert codes == [0] * len(codes)


@pytest.fixture
def waits() -> Callable[..., Any]:
    """wire.wait_until with the patience that processes need."""

    def wait(condition: Callable[[], Any], what: str = "the condition") -> Any:
        return wire.wait_until(condition, what, WAIT_S)

    return wait


@pytest.fixture
def who() -> str:
    """The source of the application that `server` runs."""
    return WHO
