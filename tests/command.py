"""Real server processes, started by the command line as a user would: the `command` fixture of conftest.py.

    process = command("module:app", "-b", "127.0.0.1:0")   # once it says that it listens
    process.get("/path"); process.client(); process.connect()
    process.output.text, process.errors.wait_for(pattern)  # what it writes to stdout and stderr
    assert process.end() == 0                              # SIGTERM, or another signal; the exit code

Everything that waits has a limit, `WAIT_S`.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import IO

import wire

#: Starting a process takes longer than an answer.
WAIT_S = 4 * wire.PATIENCE_S


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
        if not self._thread.is_alive():  # else a process that nobody has ended still holds the other end
            self._stream.close()


class Command:
    """One `headrace` process.  ``urls``: what it says that it listens at; ``output`` and ``errors``: its streams.

    binds: how many addresses it is to listen at; 0: it does not say so on stderr.  program: what Python runs, with the
    arguments behind it.  pass_fds: descriptors that it inherits.  env: variables beside those that there are."""

    def __init__(
        self,
        *arguments: object,
        binds: int = 1,
        cwd: Path | None = None,
        program: Sequence[str] = ("-m", "headrace"),
        start_new_session: bool = False,
        pass_fds: Sequence[int] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *program, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            cwd=cwd,
            start_new_session=start_new_session,
            pass_fds=pass_fds,
            env=None if env is None else {**os.environ, **env},
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.output = Lines(self.process.stdout)
        self.errors = Lines(self.process.stderr)
        try:
            self.urls = self.errors.wait_for(r"Listening at: ([^\s\"]+)", binds)
        except AssertionError:
            self.end(signal.SIGKILL)
            raise
        self.url = self.urls[0] if self.urls else ""

    def connect(self, url: str | None = None) -> socket.socket:
        """A socket to the first address, or the one given."""
        url = self.url if url is None else url
        if url.startswith("unix:"):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(WAIT_S)
            path = url.removeprefix("unix:")
            try:
                sock.connect("\0" + path[1:] if path.startswith("@") else path)
            except OSError:
                sock.close()
                raise
            return sock
        host, _, port = url.removeprefix("http://").rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)), WAIT_S)

    def client(self, url: str | None = None) -> HTTPConnection:
        """http.client on such a socket."""
        connection = HTTPConnection("localhost", timeout=WAIT_S)
        connection.sock = self.connect(url)
        return connection

    def get(self, path: str = "/", url: str | None = None) -> str:
        """The body of the answer to a GET on a connection of its own."""
        connection = self.client(url)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send the signal, wait; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        try:
            return self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            left = descendants(self.process.pid)
            self.process.kill()  # first, or it starts others
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            raise
        finally:
            self.process.kill()
            self.process.wait(WAIT_S)
            self.output.close()
            self.errors.close()


def children(pid):
    """The ids of its child processes."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(word) for word in file.read().split()]


def descendants(pid):
    """The ids of its child processes, and of theirs."""
    try:
        found = children(pid)
    except OSError:  # it has ended, or there is no procfs
        return []
    return found + [grandchild for child in found for grandchild in descendants(child)]


def state_of(pid):
    """One letter, that of its first thread; "": it has been waited for."""
    return _state_in(f"/proc/{pid}/stat")


def stands_still(pid):
    """Has SIGSTOP reached every one of its threads?  They stop one after the other."""
    return all(_state_in(f"/proc/{pid}/task/{thread}/stat") == "T" for thread in os.listdir(f"/proc/{pid}/task"))


def _state_in(path):
    try:
        with open(path) as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return ""
