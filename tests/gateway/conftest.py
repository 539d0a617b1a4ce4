"""CGI programs: started by the test itself, or by real web servers.

Fixtures

    cgi(program, body=b"", **variables) -> Output
        Runs a Python program as a web server would: the request's variables are its whole environment, the body is its
        standard input.  `program` is source; it finds run_with_cgi imported.
    site(program) -> Site
        A Python program behind a real web server, which starts it as CGI: see web_servers.py.  A test that takes it
        runs once for each web server, and skips itself by name where that is missing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for web_servers.py and cgi_programs.py; importlib mode adds nothing

from cgi_programs import REQUEST
from web_servers import WEB_SERVERS, Site


class Output(NamedTuple):
    """What a CGI program wrote.  lines: of the head; errors: on standard error; code: its exit status."""

    lines: list[str]
    body: bytes
    errors: str
    code: int

    @property
    def status(self) -> str:
        """Without "Status: "."""
        assert self.lines[0].startswith("Status: "), self
        return self.lines[0][8:]

    def get(self, name: str) -> list[str]:
        """The values of a field."""
        pairs = (line.partition(": ") for line in self.lines[1:])
        return [value for key, _, value in pairs if key.lower() == name.lower()]


def output_of(stdout: bytes, stderr: bytes, code: int) -> Output:
    head, end, body = stdout.partition(b"\r\n\r\n")
    assert end or not stdout, stdout
    return Output(head.decode("latin-1").split("\r\n") if head else [], body, stderr.decode(), code)


@pytest.fixture
def start_cgi() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """start_cgi(program, **variables): the process, with pipes; ended with the test."""
    started = []

    def start(program: str, **variables: str | bytes) -> subprocess.Popen[bytes]:
        lines = ["from headrace.gateway import run_with_cgi", textwrap.dedent(program)]
        environ = {**REQUEST, **variables}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen([sys.executable, "-c", "\n".join(lines)], env=environ, **pipes))  # type: ignore[call-overload]
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def cgi(start_cgi: Callable[..., Any]) -> Callable[..., Output]:
    """See the top of this file."""

    def run(program: str, body: bytes = b"", **variables: str) -> Output:
        if body:
            variables.setdefault("CONTENT_LENGTH", str(len(body)))
        process = start_cgi(program, **variables)
        stdout, stderr = process.communicate(body, timeout=20)
        return output_of(stdout, stderr, process.returncode)

    return run


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a short path, for UNIX sockets."""
    path = Path(tempfile.mkdtemp(prefix="hr-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(params=WEB_SERVERS)
def site(request: pytest.FixtureRequest, folder: Path) -> Iterator[Callable[[str], Site]]:
    """See the top of this file."""
    web_server = WEB_SERVERS[request.param]
    missing = [program for program in web_server.programs if shutil.which(program, path=web_server.path) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    started: list[Site] = []

    def start(program: str) -> Site:
        started.append(web_server(folder, program))
        return started[-1]

    yield start
    for running in started:
        running.stop()
