"""What may be called at the turning points of a server's life; the names are those of gunicorn's server hooks.

``server`` is the Supervisor, or in the template and the workers a ServerRecord; ``worker`` a WorkerRecord, or there a
ChildRecord.  Where they run:

    supervisor   on_starting on_reload when_ready pre_exec nworkers_changed child_exit on_exit
    template     pre_fork (so that what it makes is inherited)
    worker       post_fork post_worker_init worker_int worker_abort pre_request post_request worker_exit
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from headrace.config import Config
from headrace.observe.log_setup import logger
from headrace.wsgi import Application


@dataclass
class ServerRecord:
    """What workers know of their supervisor."""

    pid: int
    num_workers: int
    config: Config
    workers: dict[int, Any] = field(default_factory=dict)


@dataclass
class ChildRecord:
    """A worker, as its hooks see it.  age: its number since the start.  aborted: it was killed for taking too long."""

    pid: int
    ppid: int
    age: int
    generation: int
    alive: bool = True
    aborted: bool = False


class Hooks:
    """Does nothing.  An exception in a hook that runs before the first request ends the process it runs in."""

    def wrap(self, application: Application, worker: Any) -> Application:  # noqa: ARG002
        """In the worker, before post_worker_init: for hooks around each request."""
        return application

    def on_starting(self, server: Any) -> None: ...
    def on_reload(self, server: Any) -> None: ...
    def when_ready(self, server: Any) -> None: ...
    def pre_fork(self, server: Any, worker: Any) -> None: ...
    def post_fork(self, server: Any, worker: Any) -> None: ...
    def post_worker_init(self, worker: Any) -> None: ...
    def worker_int(self, worker: Any) -> None: ...
    def worker_abort(self, worker: Any) -> None: ...
    def pre_exec(self, server: Any) -> None: ...
    def pre_request(self, worker: Any, req: Any) -> None: ...
    def post_request(self, worker: Any, req: Any, environ: dict[str, Any], resp: Any) -> None: ...
    def child_exit(self, server: Any, worker: Any) -> None: ...
    def worker_exit(self, server: Any, worker: Any) -> None: ...
    def nworkers_changed(self, server: Any, new_value: int, old_value: int | None) -> None: ...
    def on_exit(self, server: Any) -> None: ...


def call_hook(hook: Callable[..., object], *arguments: Any) -> None:
    """For hooks that come while requests are served: an exception in one of them is no reason to stop."""
    try:
        hook(*arguments)
    except Exception:
        logger.exception("HR831 The hook %s failed", getattr(hook, "__name__", hook))


def no_hooks(_config: Config) -> Hooks:
    """Where there is no configuration of gunicorn's."""
    return Hooks()
