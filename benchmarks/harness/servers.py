"""The servers, each by its own fast settings: one process, no access log, keep-alive on."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from harness.workloads import APPS

LAUNCH = Path(__file__).with_name("launch.py")


@dataclass(frozen=True)
class Server:
    name: str
    package: str  # on PyPI, for its version; "" for the standard library
    arguments: str  # {host} {port} {app} {threads} are filled in; the first word is a program of the venv
    venv: str = "peers"
    note: str = ""
    threads: str = ""  # what sets their number, {count}; "" for a server that has one and no more
    one_thread: str | None = None  # the same for one, where that is another way to run
    access_log: tuple[str, ...] = ()  # what makes it write one in the combined format, or in its own; {file}
    json_log: tuple[str, ...] = ()  # the same as JSON

    def threads_argument(self, count: int) -> str:
        """Raises ValueError where the server cannot have so many."""
        if count == 1 and self.one_thread is not None:
            return self.one_thread
        if count > 1 and not self.threads:
            raise ValueError(f"{self.name} has one thread")
        return self.threads.format(count=count)


def launched(name: str, note: str = "", threads: str = "", venv: str = "peers") -> Server:
    """A server started by launch.py, through its Python interface."""
    package = "headrace" if venv == "headrace" else "" if name == "wsgiref" else name
    arguments = f"python {LAUNCH} {name} {{host}} {{port}} {{app}} {{threads}}"
    return Server(name, package, arguments, venv=venv, note=note, threads=threads)


LISTED = (
    Server(
        "headrace",
        "headrace",
        "headrace {app} --bind {host}:{port} {threads} --backlog 4096",
        venv="headrace",
        threads="--threads {count}",
        access_log=("--access-logfile", "{file}"),
        json_log=("--access-logfile", "{file}", "--access-logformat", "json"),
    ),
    Server(
        "peregrine",
        "peregrine-server",
        "peregrine --host {host} --port {port} --workers 1 {threads} --protocol wsgi"
        " --keep-alive 75000 --max-connections 16000 --backlog 4096 --log-level error {app}",
        threads="--wsgi-threads {count}",
    ),
    launched("freastal", "does not decode PATH_INFO; never calls close()"),
    launched("fastpysgi", "collects a stream before it sends; never calls close() on what Django returns"),
    launched("bjoern", "no pipelining"),
    Server(
        "weft",
        "weft-server",
        "weft --host {host} --port {port} --workers 1 {threads} --protocol wsgi --max-connections 16000"
        " --keep-alive 75 --backlog 4096 --log-level error {app}",
        venv="weft",
        note="its wheel loads on CPython 3.12 and newer only; with one thread the application runs on the worker's",
        threads="--wsgi-threads {count}",
        one_thread="",
    ),
    Server(
        "granian",
        "granian",
        "granian --interface wsgi --host {host} --port {port} --workers 1 {threads}"
        " --runtime-mode mt --http 1 --no-ws --backlog 16384 --backpressure 16384 --log-level error {app}",
        threads="--blocking-threads {count}",
        # to stdout, which is a file here; its messages have a level of their own, without which there are no lines
        access_log=("--access-log", "--log-level", "info"),
    ),
    Server(
        "gunicorn",
        "gunicorn",
        "gunicorn -b {host}:{port} -k gthread -w 1 {threads} --keep-alive 75 --backlog 4096"
        " --worker-connections 20000 --log-level error --no-control-socket --worker-tmp-dir /dev/shm {app}",
        note="gthread, with gunicorn_h1c",
        threads="--threads {count}",
        access_log=("--access-logfile", "{file}"),
    ),
    Server(
        "uwsgi",
        "uWSGI",
        "uwsgi --http11-socket {host}:{port} --module {app} --processes 1 {threads} --disable-logging"
        " --listen 4096 --need-app --die-on-term --virtualenv {venv}",
        note="one worker without event loop: a thread serves one connection at a time",
        threads="--threads {count}",
    ),
    launched("waitress", threads="{count}"),
    launched("cheroot", threads="{count}"),
    launched("wsgiref", "HTTP/1.0: one request for each connection"),
    launched("simple_server", "headrace in wsgiref's place", venv="headrace"),
    Server(
        "headrace_referee",
        "headrace",
        "headrace {app} --bind {host}:{port} {threads} --backlog 4096 --referee",
        venv="headrace",
        note="with --referee",
        threads="--threads {count}",
    ),
    launched("simple_server_keeping", 'the same with protocol_version = "HTTP/1.1"', venv="headrace"),
)
SERVERS = {server.name: server for server in LISTED}
#: Not measured by default: strictness.py asks them.
MORE_SERVERS = {server.name: server for server in (launched("gevent"), launched("werkzeug"))}
THREADED = tuple(server.name for server in LISTED if server.threads)


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

    def command(self, server: Server, app: str, host: str, port: int, threads: int = 1) -> list[str]:
        """The argument list; console scripts get their interpreter written out, for valgrind."""
        told = server.threads_argument(threads)
        filled = server.arguments.format(host=host, port=port, app=app, venv=self.of(server), threads=told)
        name, *rest = filled.split()
        program = self.program(server, name)
        if is_python_script(program):
            return [str(self.program(server, "python")), str(program), *rest]
        return [str(program), *rest]


def log_arguments(server: Server, kind: str | None, folder: Path) -> list[str]:
    """For an access log of this kind ("combined" or "json"; None: without) in a file of the folder.

    Raises Missing where the server has none."""
    if kind is None:
        return []
    words = server.access_log if kind == "combined" else server.json_log
    if not words:
        raise Missing(f"{server.name} has no access log of the kind {kind}")
    return [word.format(file=folder / f"access.{server.name}.log") for word in words]


def with_log(server: Server, kind: str, folder: Path) -> Server:
    """The same server with an access log, to take turns with the one that has none."""
    words = log_arguments(server, kind, folder)
    return replace(server, name=f"{server.name}+log", arguments=" ".join([server.arguments, *words]))


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
    return kept | ours | {"BENCHMARK_FILE": str(workspace / "file.bin"), "BENCHMARK_CALLS": str(workspace / "calls")}
