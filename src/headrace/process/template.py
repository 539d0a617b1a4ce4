"""The template of a generation: a process that has imported the application once, and is forked for each worker.

It is started afresh, so that it imports what is on the disk now.  It has one thread and waits for its supervisor's
messages, or for the end of a worker, which it reports.  When its supervisor has gone it asks its workers to stop, and
ends with the last of them.  See supervisor.py for the messages.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
from dataclasses import replace
from importlib import import_module
from typing import Any

from headrace.config import Config, ConfigError, with_usable_spool_dir
from headrace.observe.log_setup import LogConfigError, logger
from headrace.process.application import ApplicationError, load_application
from headrace.process.daemon import leave_terminal
from headrace.process.folders import enter
from headrace.process.hooks import ChildRecord, Hooks, ServerRecord
from headrace.process.identity import (
    PrivilegeError,
    drop_privileges,
    identity_of,
    prepare_title,
    set_environment,
    set_title,
    title_of,
)
from headrace.process.listeners import Listener, adopt_listener, close_listeners
from headrace.process.logs import reopen, start_logs, with_absolute_logs
from headrace.process.messages import Channel, Message, failure
from headrace.process.plan import EXIT_APPLICATION, EXIT_RUNTIME, EXIT_USAGE, Plan
from headrace.process.preload import open_descriptors, reasons_against_fork
from headrace.process.signals import drain, ended_children, ignore, unblock, wakeup_pair
from headrace.wsgi import Application

#: The supervisor decides when this process ends; a terminal or a service manager may signal all of them at once.
LEFT_TO_SUPERVISOR = ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGTTIN", "SIGTTOU")


def main() -> None:
    """``python -c 'from headrace.process.template import main; main()' DESCRIPTOR``"""
    prepare_title()
    channel = Channel(socket.socket(fileno=int(sys.argv[1])), takes_fds=True)
    os.set_inheritable(channel.fileno(), False)
    messages = channel.receive(wait=True)
    if not messages:
        return  # the supervisor has gone
    plan = Plan.from_text(messages[0]["plan"])
    sys.argv[:] = plan.arguments
    try:
        sys.path[:] = enter(plan.folder, plan.search_path, plan.folder_known_as)
    except OSError as error:
        message = f"cannot change to {plan.folder!r}: {(error.strerror or str(error)).lower()}"
        channel.send_all(failure(ApplicationError(message)))
        sys.exit(EXIT_APPLICATION)
    sys.exit(Template(plan, channel).run())


def become(config: Config) -> Config:
    """Who the workers are, before any code of the application runs.  Raises ApplicationError; without the right user
    nothing is served."""
    try:
        identity = identity_of(config)
        if identity is not None:
            import_module("headrace.process.supervised")  # the new user might not be able to read our own modules
            drop_privileges(identity)
        set_environment(config.env)
        return with_usable_spool_dir(config, "spool_dir")
    except (PrivilegeError, ConfigError) as error:
        raise ApplicationError(str(error), getattr(error, "hint", ""), exit_code=EXIT_RUNTIME) from None


def log_as(config: Config) -> Config:
    """From here on messages go where the configuration says.  Raises ApplicationError; at a reload it is the first that
    hears of a logging configuration that is wrong."""
    config = with_absolute_logs(config)
    try:
        start_logs(config)
    except LogConfigError as error:
        raise ApplicationError(str(error), exit_code=EXIT_USAGE) from None
    except OSError as error:
        raise ApplicationError(f"cannot open the logs: {error}", exit_code=EXIT_RUNTIME) from None
    return config


class Template:
    """Imports the application, forks workers when it is asked to, and tells its supervisor how they ended."""

    def __init__(self, plan: Plan, channel: Channel) -> None:
        self._plan = plan
        self._channel = channel
        self._application: Application | None = None
        self._hooks = Hooks()
        self._listeners: list[Listener] = []
        self._pids: set[int] = set()
        self._sigchld_before: Any = signal.SIG_DFL  # the import may have set one
        self._wakeup: tuple[socket.socket, socket.socket] | None = None

    def run(self) -> int:
        """The exit code; in a worker that of its whole life, by SystemExit."""
        plan = self._plan
        self._listeners = [adopt_listener(fd, bind) for fd, bind in plan.listeners]
        self._leave_signals_to_supervisor()
        try:
            plan = self._plan = replace(plan, config=log_as(plan.config))
            # With the supervisor's rights, in which it has read the configuration: the new user may not be able to.
            self._hooks = plan.make_hooks(plan.config)
            plan = self._plan = replace(plan, config=become(plan.config))
            set_title(title_of("template", plan.config, plan.target))
            if plan.preload:
                reasons = self._load()
                if reasons:
                    self._channel.send_all({"event": "unsafe", "reasons": reasons})
                    return 0
        except ApplicationError as error:
            self._channel.send_all(failure(error))
            return EXIT_APPLICATION
        import headrace.process.supervised  # noqa: F401  # here: forked with it, each worker shares it

        # What is there now lives as long as the workers.  The collector leaves it alone, so that it stays shared.
        gc.collect()
        gc.freeze()
        self._channel.send({"event": "loaded"})
        self._serve()
        return 0

    def _load(self) -> list[str]:
        """Import the application; what speaks against forking it."""
        known = open_descriptors()
        gc.disable()  # garbage between what lives on would leave holes, in which workers then write
        try:
            self._application = load_application(self._plan.target, self._plan.config.factory)
        finally:
            gc.enable()
        self._leave_signals_to_supervisor()  # the import may have changed that
        return reasons_against_fork(known)

    # ---- waiting ----

    def _leave_signals_to_supervisor(self) -> None:
        for name in LEFT_TO_SUPERVISOR:
            signal.signal(getattr(signal, name), ignore)
        unblock(("SIGCHLD", *LEFT_TO_SUPERVISOR))

    def _serve(self) -> None:
        self._sigchld_before = signal.signal(signal.SIGCHLD, ignore)
        reader, _ = self._wakeup = wakeup_pair()
        self._reap()  # what the import has started may have ended
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        poll.register(self._channel.fileno(), select.POLLIN)
        quits = False
        while not (quits and not self._pids):
            ready = [fd for fd, _ in poll.poll()]
            if reader.fileno() in ready:
                drain(reader)
                self._reap()
            if self._channel.fileno() in ready:
                for message in self._channel.receive():
                    quits = self._obey(message) or quits
                if self._channel.at_end:
                    poll.unregister(self._channel.fileno())
                    self._lose_supervisor()
                    quits = True

    def _obey(self, message: Message) -> bool:
        """True: end when no worker is left."""
        what = message["do"]
        if what == "fork":
            self._fork(message)
        elif what == "close":
            close_listeners(self._listeners)
            self._channel.send({"event": "closed"})
        elif what == "reopen":
            reopen(self._plan.config)
        elif what == "leave-terminal":
            leave_terminal()
        return bool(what == "quit")

    def _lose_supervisor(self) -> None:
        """Each worker notices it by itself, too; whoever was just being started does not yet."""
        logger.error("HR828 The supervisor has gone; workers finish what is in flight")
        close_listeners(self._listeners)  # the application may keep this process from ending
        for pid in self._pids:
            os.kill(pid, signal.SIGTERM)  # a child of ours that has not been waited for keeps its number

    def _reap(self) -> None:
        for pid, status in ended_children():
            if pid in self._pids:
                self._pids.discard(pid)
                self._channel.send({"event": "exited", "pid": pid, "status": status})

    # ---- forking ----

    def _fork(self, message: Message) -> None:
        age, fd = message["age"], self._channel.take_fd()
        plan = self._plan
        server = ServerRecord(plan.supervisor_pid, message["num_workers"], plan.config)
        worker = ChildRecord(0, os.getpid(), age, plan.generation)
        try:
            self._hooks.pre_fork(server, worker)
            sys.stdout.flush()
            sys.stderr.flush()
            pid = os.fork()
        except Exception as error:
            logger.exception("HR827 A worker could not be started")
            os.close(fd)
            self._channel.send({"event": "not-forked", "age": age, "why": str(error)})
            return
        if pid:
            os.close(fd)
            self._pids.add(pid)
            self._channel.send({"event": "forked", "age": age, "pid": pid})
            return
        self._become_worker(server, worker, Channel(socket.socket(fileno=fd)), message["slot"])

    def _become_worker(self, server: ServerRecord, record: ChildRecord, channel: Channel, slot: int | None) -> None:
        """In the child: what is the template's goes, and the process ends with SystemExit."""
        from headrace.process.supervised import SupervisedWorker

        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, self._sigchld_before)
        self._channel.close()
        for end in self._wakeup or ():
            end.close()
        self._pids.clear()
        record.pid = os.getpid()
        set_title(title_of("worker", self._plan.config, self._plan.target))
        worker = SupervisedWorker(self._plan, self._listeners, self._hooks, server, record, channel, slot)
        sys.exit(worker.run(self._application))
