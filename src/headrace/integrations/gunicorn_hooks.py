"""gunicorn's server hooks, called by the supervisor, its templates and its workers.

Where each runs, and when, is their business: see process/hooks.py.  Here a hook gets objects with the attributes that
it expects (gunicorn_objects.py), the same ones in one process each time, so that what it stores on them is found again
there: a worker's process begins with what its template's has.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from headrace.config import Config, ConfigError
from headrace.config.given import Hook
from headrace.config.gunicorn_file import read_gunicorn_config
from headrace.config.gunicorn_hook_names import arguments_taken
from headrace.config.gunicorn_names import names_layer
from headrace.config.resolve import Resolved
from headrace.integrations.gunicorn_cfg import GunicornConfig
from headrace.integrations.gunicorn_objects import (
    GunicornApp,
    GunicornArbiter,
    GunicornLog,
    GunicornRequest,
    GunicornResponse,
    GunicornWorker,
)
from headrace.integrations.request_hooks import with_request_hooks
from headrace.observe.log_setup import logger
from headrace.process.application import ApplicationError
from headrace.process.hooks import Hooks
from headrace.wsgi import Application

#: Workers that have gone are forgotten by worker_exit and child_exit; this is for those that nobody reports.
_WORKERS_KEPT = 4096


class GunicornHooks(Hooks):
    """Methods named as the hooks.  A hook that is not there costs nothing.

    hooks: by name.  names: all variables of the gunicorn.conf.py, for ``cfg``.  What runs at a start may raise, and
    ends that start; what runs later is logged, and supervising goes on."""

    def __init__(self, hooks: Mapping[str, Hook], names: Mapping[str, Any], config: Config, target: str) -> None:
        self._hooks = dict(hooks)
        self._log = GunicornLog()
        self._cfg = GunicornConfig(config, names)
        self._app = GunicornApp(target, self._cfg)
        self._arbiter: GunicornArbiter | None = None
        self._workers: dict[int, GunicornWorker] = {}

    # -- the views

    def _server(self, server: Any) -> GunicornArbiter:
        if self._arbiter is None or self._arbiter._server is not server:
            self._arbiter = GunicornArbiter(server, self._cfg, self._app, self._log)
            self._arbiter._workers = self._worker
        return self._arbiter

    def _worker(self, record: Any) -> GunicornWorker:
        age = int(getattr(record, "age", 1))
        view = self._workers.get(age)
        if view is None:
            if len(self._workers) >= _WORKERS_KEPT:
                del self._workers[min(self._workers)]
            view = self._workers[age] = GunicornWorker(record, self._cfg, self._app, self._log)
        view._record = record  # of the template's record the worker has a copy
        return view

    def _forget(self, record: Any) -> None:
        self._workers.pop(int(getattr(record, "age", 1)), None)

    # -- what runs at a start: it may fail

    def on_starting(self, server: Any) -> None:
        self._call("on_starting", lambda: (self._server(server),))

    def when_ready(self, server: Any) -> None:
        self._call("when_ready", lambda: (self._server(server),))

    def pre_fork(self, server: Any, worker: Any) -> None:
        self._call("pre_fork", lambda: (self._server(server), self._worker(worker)))

    def post_fork(self, server: Any, worker: Any) -> None:
        self._call("post_fork", lambda: (self._server(server), self._worker(worker)))

    def post_worker_init(self, worker: Any) -> None:
        self._worker(worker).booted = True
        self._call("post_worker_init", lambda: (self._worker(worker),))

    # -- what runs later: it is logged

    def on_reload(self, server: Any) -> None:
        self._try("on_reload", lambda: (self._server(server),))

    def worker_int(self, worker: Any) -> None:
        self._try("worker_int", lambda: (self._worker(worker),))

    def worker_abort(self, worker: Any) -> None:
        self._try("worker_abort", lambda: (self._worker(worker),))

    def pre_exec(self, server: Any) -> None:
        self._try("pre_exec", lambda: (self._server(server),))

    def child_exit(self, server: Any, worker: Any) -> None:
        self._try("child_exit", lambda: (self._server(server), self._worker(worker)))
        self._forget(worker)

    def worker_exit(self, server: Any, worker: Any) -> None:
        self._try("worker_exit", lambda: (self._server(server), self._worker(worker)))
        self._forget(worker)

    def nworkers_changed(self, server: Any, new_value: int, old_value: int | None) -> None:
        self._try("nworkers_changed", lambda: (self._server(server), new_value, old_value))

    def on_exit(self, server: Any) -> None:
        self._try("on_exit", lambda: (self._server(server),))

    # -- requests

    def wrap(self, application: Application, worker: Any) -> Application:
        """The application as the worker is to serve it: with pre_request and post_request around it, where they are.

        Call it before post_worker_init, for ``worker.wsgi`` is set here."""
        view = self._worker(worker)
        view.wsgi = self._app.callable = application
        if not {"pre_request", "post_request"} & set(self._hooks):
            return application
        pre_request, post_request = self._hooks.get("pre_request"), self._hooks.get("post_request")
        count = arguments_taken("post_request", post_request) or 4 if post_request is not None else 0

        def begin(req: GunicornRequest) -> None:
            view.nr += 1
            req.req_number = view.nr
            if pre_request is not None:
                pre_request(view, req)

        def end(req: GunicornRequest, environ: dict[str, Any], resp: GunicornResponse) -> None:
            if post_request is None:
                return
            try:
                post_request(*(view, req, environ, resp)[:count])
            except Exception:
                logger.exception("HR831 The hook post_request has failed")

        return with_request_hooks(application, begin, end)

    # -- calling

    def _call(self, name: str, arguments: Callable[[], tuple[Any, ...]]) -> None:
        hook = self._hooks.get(name)
        if hook is not None:
            hook(*arguments())

    def _try(self, name: str, arguments: Callable[[], tuple[Any, ...]]) -> None:
        try:
            self._call(name, arguments)
        except Exception:
            logger.exception("HR831 The hook %s has failed", name)


@dataclass(frozen=True)
class HooksOf:
    """Makes GunicornHooks in whatever process needs them.

    ``location``: of the configuration, as -c has it, absolute.  ``last_read``: what the process that has it read last;
    there the file does not run a second time.  It can be pickled: a template, which is a new program, gets no
    ``last_read`` and runs the configuration again, for functions cannot be handed over."""

    location: str
    target: str
    last_read: Callable[[], Resolved] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"location": self.location, "target": self.target, "last_read": None}

    def __call__(self, config: Config) -> GunicornHooks:
        """Raises ApplicationError when the configuration has begun to fail since."""
        if self.last_read is not None:
            resolved = self.last_read()
            return GunicornHooks(resolved.hooks, resolved.gunicorn_names, config, self.target)
        names = self._read_again()
        return GunicornHooks(names_layer(names, self.location).hooks, names, config, self.target)

    def _read_again(self) -> dict[str, Any]:
        """A variable of the environment that the supervisor's reading has set keeps that value: a folder that the file
        makes, for one, is the same for the hooks of all processes."""
        inherited = dict(os.environ)
        try:
            names = read_gunicorn_config(self.location)
        except ConfigError as error:
            raise ApplicationError(
                f"the configuration cannot be read again for its hooks: {error}",
                "it runs once in the supervisor, and once in each template, from which workers are forked",
                getattr(error, "details", ""),
                exit_code=2,
            ) from None
        os.environ.update(inherited)
        return names
