"""The servers, each by its own fast settings: one process, one thread, no access log, keep-alive on."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from harness.workloads import APPS

LAUNCH = Path(__file__).with_name("launch.py")


@dataclass(frozen=True)
class Server:
    name: str
    package: str  # on PyPI, for its version; "" for the standard library
    arguments: str  # {host} {port} {app} are filled in; the first word is a program of the venv
    venv: str = "peers"
    note: str = ""


def launched(name: str, note: str = "") -> Server:
    """A server started by launch.py, through its Python interface."""
    package = "" if name == "wsgiref" else name
    return Server(name, package, f"python {LAUNCH} {name} {{host}} {{port}} {{app}}", note=note)


LISTED = (
    Server("headrace", "headrace", "headrace {app} --bind {host}:{port} --backlog 4096", venv="headrace"),
    Server(
        "peregrine",
        "peregrine-server",
        "peregrine --host {host} --port {port} --workers 1 --wsgi-threads 1 --protocol wsgi"
        " --keep-alive 75000 --max-connections 16000 --backlog 4096 --log-level error {app}",
    ),
    launched("freastal", "does not decode PATH_INFO; never calls close()"),
    launched("fastpysgi", "collects a stream before it sends; never calls close() on what Django returns"),
    launched("bjoern", "no pipelining"),
    Server(
        "weft",
        "weft-server",
        "weft --host {host} --port {port} --workers 1 --protocol wsgi --max-connections 16000"
        " --keep-alive 75 --backlog 4096 --log-level error {app}",
        venv="weft",
        note="its wheel loads on CPython 3.12 and newer only; the application runs on the worker's thread",
    ),
    Server(
        "granian",
        "granian",
        "granian --interface wsgi --host {host} --port {port} --workers 1 --blocking-threads 1"
        " --runtime-mode mt --http 1 --no-ws --backlog 16384 --backpressure 16384 --log-level error {app}",
    ),
    Server(
        "gunicorn",
        "gunicorn",
        "gunicorn -b {host}:{port} -k gthread -w 1 --threads 1 --keep-alive 75 --backlog 4096"
        " --worker-connections 20000 --log-level error --no-control-socket --worker-tmp-dir /dev/shm {app}",
        note="gthread, with gunicorn_h1c",
    ),
    Server(
        "uwsgi",
        "uWSGI",
        "uwsgi --http11-socket {host}:{port} --module {app} --processes 1 --threads 1 --disable-logging"
        " --listen 4096 --need-app --die-on-term --virtualenv {venv}",
        note="one worker without event loop: it serves one connection at a time",
    ),
    launched("waitress"),
    launched("wsgiref", "HTTP/1.0: one request for each connection"),
)
SERVERS = {server.name: server for server in LISTED}


class Missing(Exception):
    """A server's venv or program is not there."""


@dataclass(frozen=True)
class Venvs:
    """The folder of --setup, which has one venv for each Server.venv."""

    folder: Path

    def of(self, server: Server) -> Path:
        if server.venv == "headrace" and not (self.folder / "headrace").exists():
            return Path(sys.prefix)  # the environment that runs this, as after `pip install .`
        return self.folder / server.venv

    def program(self, server: Server, name: str) -> Path:
        program = self.of(server) / "bin" / name
        if not program.exists():
            raise Missing(f"{server.name}: no {name} in the venv {self.of(server).name!r}; see --setup")
        return program

    def command(self, server: Server, app: str, host: str, port: int) -> list[str]:
        """The argument list; console scripts get their interpreter written out, for valgrind."""
        filled = server.arguments.format(host=host, port=port, app=app, venv=self.of(server))
        name, *rest = filled.split(" ")
        program = self.program(server, name)
        if is_python_script(program):
            return [str(self.program(server, "python")), str(program), *rest]
        return [str(program), *rest]


def is_python_script(program: Path) -> bool:
    with program.open("rb") as file:
        start = file.read(256)
    return start.startswith(b"#!") and b"python" in start


def environment(workspace: Path) -> dict[str, str]:
    """What a server is started with: the applications importable, and no settings of the caller's Python."""
    foreign = ("PYTHON", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    # No byte code is written: the second run of two would start by other instructions than the first.
    ours = {"PYTHONPATH": str(APPS), "PYTHONDONTWRITEBYTECODE": "1"}
    return kept | ours | {"BENCHMARK_FILE": str(workspace / "file.bin")}
