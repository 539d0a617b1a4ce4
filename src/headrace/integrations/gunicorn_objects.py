"""The objects that gunicorn's server hooks are given, with the attributes that hooks use.

Each stands in front of something of ours: an arbiter before the supervisor, a worker before its record, the request and
the response before environ and what start_response was called with.  What hooks store on them stays on them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headrace.integrations.gunicorn_cfg import GunicornConfig
from headrace.observe.log_setup import logger
from headrace.process.listeners import Listener
from headrace.wsgi import Application


class GunicornLog:
    """``server.log`` and ``worker.log``: the logger `headrace`, under the methods of gunicorn's Logger."""

    def __init__(self) -> None:
        self.error_log = self.access_log = logger
        self.debug, self.info, self.warning = logger.debug, logger.info, logger.warning
        self.error, self.critical, self.exception = logger.error, logger.critical, logger.exception
        self.log, self.warn = logger.log, logger.warning

    @property
    def loglevel(self) -> int:
        return logger.level

    def reopen_files(self) -> None:
        """USR1 does that for all processes."""


class GunicornApp:
    """``server.app`` and ``worker.app``: ``app_uri`` is the APPLICATION, ``callable`` what was loaded from it."""

    def __init__(self, target: str, cfg: GunicornConfig) -> None:
        self.app_uri = target
        self.cfg = cfg
        self.callable: Application | None = None

    def wsgi(self) -> Application | None:
        return self.callable


class GunicornSocket:
    """One of ``server.LISTENERS``: gunicorn's attributes, and beneath them those of the socket, which stays ours."""

    def __init__(self, listener: Listener) -> None:
        self.sock = listener.socket
        address = listener.address
        self.cfg_addr: Any = address.path if address.is_unix else (address.host, address.port)
        self._url = address.url

    def __str__(self) -> str:
        """http://127.0.0.1:8000, unix:/run/shop.sock"""
        return self._url

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.sock, name)


class GunicornArbiter:
    """``server``, before the supervisor or its record."""

    master_name = "Master"

    def __init__(self, server: Any, cfg: GunicornConfig, app: GunicornApp, log: GunicornLog) -> None:
        self._server = server
        self._workers: Callable[[Any], GunicornWorker] | None = None
        self.cfg, self.app, self.log = cfg, app, log

    @property
    def pid(self) -> int:
        return int(getattr(self._server, "pid", 0) or os.getpid())

    @property
    def num_workers(self) -> int:
        return int(getattr(self._server, "num_workers", 1))

    @property
    def WORKERS(self) -> dict[int, GunicornWorker]:  # noqa: N802  # gunicorn's name
        view = self._workers
        records = getattr(self._server, "workers", None) or {}
        return {pid: view(record) for pid, record in dict(records).items()} if view is not None else {}

    @property
    def worker_age(self) -> int:
        return max((worker.age for worker in self.WORKERS.values()), default=0)

    @property
    def proc_name(self) -> str:
        return self.cfg.proc_name

    @property
    def timeout(self) -> Any:
        return getattr(self.cfg, "timeout", 30)

    @property
    def address(self) -> list[Any]:
        return self.cfg.address

    @property
    def LISTENERS(self) -> list[GunicornSocket]:  # noqa: N802  # gunicorn's name
        """In the supervisor; the record of it that templates and workers have knows of none."""
        listeners: Mapping[str, Listener] = getattr(self._server, "_listeners", None) or {}
        return [GunicornSocket(listener) for listener in listeners.values()]

    def kill_worker(self, pid: int, number: int) -> None:
        """Send a signal to one worker; to nobody when it has gone.  Raises ValueError for what is no process id."""
        if pid <= 0:
            raise ValueError(f"{pid} is no worker's process id")  # kill(2) means groups by these
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def kill_workers(self, number: int) -> None:
        for pid in self.WORKERS:
            self.kill_worker(pid, number)

    def stop(self, graceful: bool = True) -> None:
        """As a signal would: the hook goes on, and the server ends."""
        os.kill(self.pid, signal.SIGTERM if graceful else signal.SIGINT)

    def reload(self) -> None:
        os.kill(self.pid, signal.SIGHUP)


class WorkerTmp:
    """``worker.tmp``: no file is written to tell that a worker lives, so this only remembers the time."""

    def __init__(self) -> None:
        self._last = time.time()

    def notify(self) -> None:
        self._last = time.time()

    def last_update(self) -> float:
        return self._last

    @property
    def name(self) -> str:
        return tempfile.gettempdir()

    def close(self) -> None:
        pass


class GunicornWorker:
    """``worker``, before a worker's record.  ``nr`` counts the requests that hooks have seen.

    ``sockets``, ``PIPE`` and ``reloader`` are there for who asks, and empty: what they would tell is the server's."""

    PIPE: Sequence[int] = ()

    def __init__(self, record: Any, cfg: GunicornConfig, app: GunicornApp, log: GunicornLog) -> None:
        self._record = record
        self.cfg, self.app, self.log = cfg, app, log
        self.nr = 0
        self.booted = False
        self.tmp = WorkerTmp()
        self.wsgi: Application | None = None
        self.sockets: list[Any] = []
        self.reloader: Any = None

    def __str__(self) -> str:
        return f"<Worker {self.pid}>"

    @property
    def pid(self) -> int:
        """gunicorn has "[booting]" here before the fork."""
        return int(getattr(self._record, "pid", 0) or 0)

    @property
    def ppid(self) -> int:
        return int(getattr(self._record, "ppid", 0) or os.getppid())

    @property
    def age(self) -> int:
        return int(getattr(self._record, "age", 1))

    @property
    def aborted(self) -> bool:
        return bool(getattr(self._record, "aborted", False))

    @property
    def alive(self) -> bool:
        return bool(getattr(self._record, "alive", True))

    @alive.setter
    def alive(self, alive: bool) -> None:
        """A hook that writes False wants this worker to finish what it has, and to end."""
        was, self._record.alive = self.alive, alive
        if was and not alive and self.pid == os.getpid():
            os.kill(self.pid, signal.SIGTERM)

    @property
    def timeout(self) -> Any:
        return getattr(self.cfg, "timeout", 30)

    @property
    def max_requests(self) -> Any:
        return getattr(self.cfg, "max_requests", 0)

    @property
    def worker_connections(self) -> Any:
        return self.cfg.worker_connections

    def notify(self) -> None:
        """Nothing has to be told that it lives."""


class GunicornRequest:
    """``req``: the request as gunicorn's parser has it.  Header names are in capitals, as there."""

    def __init__(self, environ: dict[str, Any]) -> None:
        target = environ.get("RAW_URI", "")
        self.method: str = environ["REQUEST_METHOD"]
        self.uri: str = target
        self.path: str = target.partition("?")[0] if target.startswith("/") else environ.get("PATH_INFO", "")
        self.query: str = environ.get("QUERY_STRING", "")
        self.fragment = ""
        self.scheme: str = environ.get("wsgi.url_scheme", "http")
        major, _, minor = environ.get("SERVER_PROTOCOL", "HTTP/1.1").partition("/")[2].partition(".")
        self.version = (int(major or 1), int(minor or 1))
        self.headers = header_fields(environ)
        self.trailers: list[tuple[str, str]] = []
        self.body = environ.get("wsgi.input")
        self.remote_addr = (environ.get("REMOTE_ADDR", ""), environ.get("REMOTE_PORT", ""))
        self.peer_addr = self.remote_addr
        self.proxy_protocol_info: Any = None
        self.req_number = 0


def header_fields(environ: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The fields as environ has them; repeated ones are one already."""
    fields = [
        (name.removeprefix("HTTP_").replace("_", "-"), value)
        for name, value in environ.items()
        if name.startswith("HTTP_") or (name in ("CONTENT_TYPE", "CONTENT_LENGTH") and value)
    ]
    return [(name, value) for name, value in fields if isinstance(value, str)]


class GunicornResponse:
    """``resp``: what start_response was called with last.  ``sent`` counts the octets of the blocks."""

    def __init__(self, req: GunicornRequest) -> None:
        self.req = req
        self.version = "Headrace"
        self.status: str | None = None
        self.status_code: int | None = None
        self.headers: list[tuple[str, str]] = []
        self.headers_sent = False
        self.response_length: int | None = None
        self.sent = 0
        self.chunked = False
        self.must_close = False
        self.upgrade = False

    def started(self, status: str, headers: Sequence[tuple[str, str]]) -> None:
        """After start_response has taken both, so that they are sound."""
        self.status = status
        self.status_code = int(status[:3])
        self.headers = list(headers)
        lengths = [value for name, value in headers if name.lower() == "content-length"]
        self.response_length = int(lengths[0]) if lengths else None
