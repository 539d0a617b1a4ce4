"""A worker as its supervisor's child: what it is told over its channel, and what it says there.

One thread of it sleeps at the channel for as long as it lives.  When that ends, the supervisor has gone, and the worker
finishes what it has accepted and ends, too.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from headrace.engine.signal_handler import SignalHandler
from headrace.observe.log_setup import logger
from headrace.process.application import ApplicationError, load_application
from headrace.process.daemon import leave_terminal
from headrace.process.development import load_or_explain, reloader_for
from headrace.process.hooks import ChildRecord, Hooks, ServerRecord, call_hook
from headrace.process.listeners import Listener
from headrace.process.logs import reopen, reopen_soon
from headrace.process.messages import Channel, Message, failure
from headrace.process.plan import EXIT_APPLICATION, EXIT_RUNTIME, Plan
from headrace.process.signals import ignore, unblock
from headrace.process.slots import slot_of_worker
from headrace.process.wear import with_wear
from headrace.process.worker import Worker, handlers_before, raise_descriptor_limit
from headrace.wsgi import Application

#: Of a worker, beside those of the engine.
NOT_FOR_WORKERS = ("SIGHUP", "SIGUSR2", "SIGWINCH", "SIGTTIN", "SIGTTOU")

#: For worker_int; the supervisor kills who takes longer.
HOOK_PATIENCE_S = 2.0


class SupervisedWorker:
    """Made in the forked child."""

    def __init__(
        self,
        plan: Plan,
        listeners: Sequence[Listener],
        hooks: Hooks,
        server: ServerRecord,
        record: ChildRecord,
        channel: Channel,
        slot: int | None,
    ) -> None:
        self._plan = plan
        self._listeners = listeners
        self._hooks = hooks
        self._server = server
        self._record = record
        self._channel = channel
        self._slot = slot
        self._worker: Worker | None = None
        self._terms = 0
        self._quits = False
        self._quit_told = threading.Event()

    def run(self, application: Application | None) -> int:
        """The whole life; the exit code.  Without an application it is imported first."""
        self._take_signals()
        close_in_children(self._channel)
        try:
            self._hooks.post_fork(self._server, self._record)
            if application is None:
                application = self._load()
                self._take_signals()  # the import may have changed that
            application = self._hooks.wrap(application, self._record)
            self._hooks.post_worker_init(self._record)
            self._worker = self._make_worker(application)
        except ApplicationError as error:
            self._channel.send_all(failure(error))
            return EXIT_APPLICATION
        except Exception as error:
            logger.exception("HR825 The worker could not start")
            self._channel.send_all({"event": "failed", "message": f"the worker could not start: {error}"})
            return EXIT_RUNTIME
        return self._serve(self._worker)

    def _load(self) -> Application:
        """Raises ApplicationError.  With --reload one that does not load is shown, unless an older one serves."""
        plan = self._plan
        if not plan.config.reload:
            return load_application(plan.target, plan.config.factory)
        application, is_good = load_or_explain(plan.target, plan.config)
        if not is_good and plan.generation > 1:
            raise ApplicationError(f"loading {plan.target} failed; the code of before goes on")
        reloader_for(plan.config, lambda: os.kill(plan.supervisor_pid, signal.SIGHUP)).start()
        return application

    def _make_worker(self, application: Application) -> Worker:
        config = self._plan.config
        raise_descriptor_limit(config.worker_connections)
        counted = with_wear(application, config, self.ask_for_successor)
        slot = slot_of_worker(self._plan.scoreboard, self._slot)
        worker = Worker(counted, self._listeners, config, supervised=True, slot=slot)
        worker.on_timeout = self._on_timeout
        if self._plan.turns_every_s is not None:
            worker.call_every(self._plan.turns_every_s, self._say_turning)
        return worker

    def _serve(self, worker: Worker) -> int:
        threading.Thread(target=self._listen, name="headrace-supervisor", daemon=True).start()
        try:
            worker.run(when_ready=self._say_ready)
        except Exception:
            logger.exception("HR826 The worker has failed")
            return EXIT_RUNTIME
        finally:
            if self._quits:
                self._quit_told.wait(HOOK_PATIENCE_S)  # another thread may be inside the hook
            self._record.alive = False
            call_hook(self._hooks.worker_exit, self._server, self._record)
        return 0

    def _say_ready(self) -> None:
        self._channel.send({"event": "ready"})

    def _say_turning(self) -> None:
        self._channel.send({"event": "turning"})

    def ask_for_successor(self, reason: str) -> None:
        """From any thread: go on serving until another worker is ready, then leave in order."""
        if not self._channel.send({"event": "leave", "reason": reason}) and self._worker is not None:
            self._worker.stop()

    def _on_timeout(self) -> None:
        """On the thread that noticed: this worker has to go.  gunicorn's hook hears of it once, as of SIGABRT there."""
        if not self._record.aborted:
            self._record.aborted = True
            call_hook(self._hooks.worker_abort, self._record)
        self.ask_for_successor("a request has taken too long (--timeout)")

    # ---- what the supervisor says ----

    def _listen(self) -> None:
        while not self._channel.at_end:
            for message in self._channel.receive(wait=True):
                try:
                    self._obey(message)
                except Exception:
                    logger.exception("HR836 What the supervisor has asked for has failed: %s", message.get("do"))
        self._stop(graceful=True)

    def _obey(self, message: Message) -> None:
        what = message.get("do")
        if what == "retire" and self._worker is not None:
            self._worker.retire()
        elif what == "stop":
            if not message["graceful"]:
                self._tell_of_quick_end()
            self._stop(bool(message["graceful"]), drain=True)
        elif what == "reopen":
            reopen(self._plan.config)
        elif what == "leave-terminal":
            leave_terminal()

    def _stop(self, graceful: bool, drain: bool = False) -> None:
        """drain: the whole server ends; balancers are to notice it first (--drain-delay)."""
        if self._worker is not None:
            self._worker.stop(graceful=graceful, drain=drain)

    # ---- signals ----

    def _take_signals(self) -> None:
        """Before the loop runs, a stop ends the process: nothing has been accepted."""
        handlers: dict[str, Callable[[int, FrameType | None], Any]] = {
            "SIGTERM": self._on_term,
            "SIGINT": self._on_quit,
            "SIGQUIT": self._on_quit,
            "SIGUSR1": self._on_usr1,
            **dict.fromkeys(NOT_FOR_WORKERS, ignore),
        }
        unblock(handlers)
        for name, handler in handlers.items():
            number = getattr(signal, name)
            signal.signal(number, SignalHandler(handler))
            # of a child that the application forks
            handlers_before[number] = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL

    def _on_term(self, _number: int, _frame: FrameType | None) -> None:
        """Somebody means this worker alone, or all processes at once: the supervisor knows which, if it is there."""
        self._terms += 1
        if self._worker is None:
            raise SystemExit(0)
        if self._terms > 1 or not self._channel.send({"event": "leave", "reason": "SIGTERM"}):
            self._worker.stop()

    def _on_quit(self, _number: int, _frame: FrameType | None) -> None:
        if self._worker is None:
            raise SystemExit(0)
        self._tell_of_quick_end()
        self._worker.stop(graceful=False)

    def _tell_of_quick_end(self) -> None:
        """gunicorn's hook hears of it once, whoever has got the signal: a terminal sends it to all processes."""
        if not self._quits:
            self._quits = True
            try:
                call_hook(self._hooks.worker_int, self._record)
            finally:
                self._quit_told.set()

    def _on_usr1(self, _number: int, _frame: FrameType | None) -> None:
        reopen_soon(self._plan.config)


def close_in_children(channel: Channel) -> None:
    """Children that the application forks do not keep the channel open: its end is how others see ours."""
    parent = os.getpid()

    def close() -> None:
        if os.getppid() == parent:
            channel.close()

    os.register_at_fork(after_in_child=close)
