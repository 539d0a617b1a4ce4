"""From a configuration to a server: who it is, where it logs, what it binds, what it loads, in the order that is safe.

The order: the background, the umask, logs, listeners, pid file, privileges dropped, environment, spool folder,
application.  With workers the last four are for their template; see process/supervisor.py.  What goes wrong ends the
command with a message and an exit code.
"""

from __future__ import annotations

import gc
import os
import pickle
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from headrace.config import Config, ConfigError, check_referee, with_usable_spool_dir
from headrace.config.gunicorn_file import MODULE_NAME
from headrace.config.resolve import Resolved, Sources
from headrace.observe.log_setup import LogConfigError, logger
from headrace.process.application import ApplicationError, load_application
from headrace.process.daemon import daemonize
from headrace.process.folders import start_folder
from headrace.process.identity import (
    Identity,
    PrivilegeError,
    drop_privileges,
    give_away_files,
    identity_of,
    set_environment,
    set_title,
    set_umask,
    title_of,
)
from headrace.process.listeners import (
    Listener,
    ListenError,
    close_listeners,
    default_binds,
    open_listeners,
    options_of,
)
from headrace.process.logs import is_captured, reopen_on_usr1, start_logs, with_absolute_logs
from headrace.process.pid_file import PidFile, PidFileError
from headrace.process.plan import EXIT_APPLICATION, EXIT_RUNTIME, EXIT_USAGE
from headrace.process.signals import refuse_signals_of_a_supervisor
from headrace.process.systemd import Notifier
from headrace.wsgi import Application


def fail(exit_code: int, message: str, hint: str = "", details: str = "") -> NoReturn:
    """Tell of it on stderr, with what to do and a traceback (each "" for none), and end by click's Exit."""
    if details:
        click.echo(details, err=True, nl=False)
    click.echo(f"error: {message}", err=True)
    if hint:
        click.echo(f"hint: {hint}", err=True)
    raise click.exceptions.Exit(exit_code)


def fail_for(error: ConfigError) -> NoReturn:
    """All problems, and the traceback of a configuration that is a program and failed."""
    details = getattr(error, "details", "")
    if details:
        click.echo(details, err=True, nl=False)
    *first, last = error.problems
    for problem in first:
        click.echo(f"error: {problem}", err=True)
    fail(EXIT_USAGE, last)


def enter_folder(config: Config) -> None:
    """--chdir and --pythonpath; the working directory comes first on the search path, as with `python FILE`."""
    if config.chdir is not None:
        try:
            os.chdir(config.chdir)
        except OSError as error:
            fail(EXIT_USAGE, f"--chdir: cannot change to {config.chdir!r}: {reason(error)}")
    folders = [folder for folder in (config.pythonpath or "").split(",") if folder]
    for folder in map(str, [Path.cwd(), *(Path(folder).absolute() for folder in folders)]):
        if folder not in sys.path[:1]:
            sys.path.insert(0, folder)


def check_handed_over(config: Config) -> None:
    """Workers get the configuration from another process.  Raises ConfigError."""
    try:
        text = pickle.dumps(config.logconfig_dict)
    except Exception as error:  # of whatever kind: it comes from classes of the user's
        raise ConfigError([f"logconfig_dict: cannot be handed to workers: {error}"]) from None
    if MODULE_NAME.encode() in text:
        raise ConfigError([
            "logconfig_dict: cannot be handed to workers: it has classes or functions of the configuration file; put "
            "them into a module, and name them by text ('module.Class')"
        ])


def reason(error: OSError) -> str:
    """The system's words for it, as the part behind a colon."""
    return (error.strerror or str(error)).lower()


class Launch:
    """One start of the server.  ``sources`` are read again at a reload."""

    def __init__(self, target: str, sources: Sources, resolved: Resolved, config: Config) -> None:
        self.target = target
        self.sources = sources
        self.resolved = resolved
        self.folder = start_folder()
        self.identity: Identity | None = None
        self.started: Callable[[], None] = lambda: None
        self.config = self._supervised(config)

    def _supervised(self, config: Config) -> Config:
        """--reload and gunicorn's hooks are about processes that come and go: they bring a supervisor."""
        if config.reload:
            if config.workers > 1:
                click.echo("warning: --reload: one worker is enough, and all there is", err=True)
            return replace(config, workers=1, preload=False)
        if not config.workers and self.resolved.hooks:
            return replace(config, workers=1)
        wear = ("max_requests", "max_rss", "max_age")
        if config.workers:
            try:
                check_handed_over(config)
            except ConfigError as error:
                fail_for(error)
        problems = [f"{self.resolved.spelled(name)}: needs --workers" for name in wear if getattr(config, name)]
        if problems and not config.workers:
            fail_for(ConfigError(problems))
        return config

    # ---- the command ----

    def check(self) -> None:
        """--check-config: all but serving.  Nothing is left behind: a file that a start would make is not made."""
        from headrace.doctor.configuration import files, log_configuration
        from headrace.doctor.rehearsal import can_become, in_child

        self._look()
        config = self.config
        wrong = [one.text for one in (*files(config), *log_configuration(config)) if one.level == "error"]
        for text in wrong:
            click.echo(f"error: {text}", err=True)
        if wrong:
            raise click.exceptions.Exit(EXIT_RUNTIME)
        if self.identity is not None and can_become(self.identity):
            import_module("headrace.process.worker")  # as at a start
            code = in_child(self._check_as_user)
            if code:
                raise click.exceptions.Exit(code)
            return
        if self.identity is not None:
            click.echo("warning: --user, --group: looked at as who you are, for becoming another takes root", err=True)
        set_environment(config.env)
        self._load()

    def _check_as_user(self) -> None:
        """In a child process."""
        from headrace.doctor.rehearsal import told_of_user

        self._become_and_load()
        assert self.identity is not None  # noqa: S101
        reason = told_of_user(self.identity)
        if reason:
            click.echo(f"warning: {reason}", err=True)

    def run(self) -> None:
        self._look()
        if not self.config.daemon or self._is_in_background():
            self._launch()
            return
        if self.config.access_logfile == "-" and not is_captured(self.config):
            # Its descriptor would keep open what the caller reads, and he would wait for its end.
            spelled = self.resolved.spelled("access_logfile")
            click.echo(f"warning: {spelled} -: a daemon has no stdout; there is no access log: name a file", err=True)
            self.config = replace(self.config, access_logfile=None)
        try:
            daemon = daemonize()
        except OSError as error:
            fail(EXIT_RUNTIME, f"cannot go to the background: {reason(error)}")
        self.started = partial(daemon.started, keeps_output=is_captured(self.config))
        try:
            self._launch()
        except BaseException as error:
            daemon.failed(getattr(error, "exit_code", EXIT_RUNTIME))
            raise

    def _look(self) -> None:
        """What can be told before anything is changed, but for the working directory."""
        enter_folder(self.config)
        try:
            self.identity = identity_of(self.config)
            check_referee(self.config, self.resolved.spelled("referee"))
            if self.config.reload:
                from headrace.process.development import check_reload_engine

                check_reload_engine(self.config)
            if self.identity is None:
                self.config = self._with_spool_dir(self.config)
        except ConfigError as error:
            fail_for(error)

    def _with_spool_dir(self, config: Config) -> Config:
        return with_usable_spool_dir(config, self.resolved.spelled("spool_dir"))

    def _is_in_background(self) -> bool:
        """As the program of an upgrade, which is another one's child, and is to stay it."""
        from headrace.process.handover import elder_pid

        return elder_pid() is not None

    def _launch(self) -> None:
        config = self.config
        set_umask(config.umask)
        self._start_logs()
        role = "supervisor" if config.workers else "server"
        if not set_title(title_of(role, config, self.target)) and config.proc_name is not None:
            logger.warning("HR901 --name has no effect: it needs setproctitle (pip install 'headrace[title]')")
        try:
            # It says what to do where the compiled part is missing.  A supervisor does not turn the loop.
            import_module("headrace.engine.slot" if config.workers else "headrace.engine.loop")
        except ImportError as error:
            fail(EXIT_RUNTIME, str(error))
        if config.workers:
            self._supervise()
        else:
            self._serve()

    def _start_logs(self) -> None:
        config = self.config
        try:
            give_away_files(self.identity, [config.error_logfile])
            start_logs(config)
        except LogConfigError as error:
            fail(EXIT_USAGE, str(error))
        except OSError as error:
            name = error.filename or (config.log_syslog_to if config.log_syslog else config.error_logfile)
            what = "reach syslog at" if config.log_syslog and not error.filename else "open the error log"
            fail(EXIT_RUNTIME, f"cannot {what} {name!r}: {reason(error)}")
        self.config = with_absolute_logs(config)
        if not config.workers:
            reopen_on_usr1(self.config)
            refuse_signals_of_a_supervisor()

    # ---- one process ----

    def _serve(self) -> None:
        # Now: the new user might not be able to read our own modules.
        import_module("headrace.process.worker")
        application = None
        if self.identity is None:  # else its code is not to run with these privileges
            set_environment(self.config.env)
            application = self._load()
        listeners = self._listen()
        pid_file = self._pid_file()
        try:
            give_away_files(self.identity, [self.config.access_logfile])
            if pid_file is not None:
                pid_file.write()
            if application is None:
                application = self._become_and_load()
            self._serve_at(listeners, application)
        except PidFileError as error:
            fail(EXIT_RUNTIME, str(error), error.hint)
        except OSError as error:
            if error.filename is not None and error.filename == self.config.access_logfile:
                fail(EXIT_RUNTIME, f"cannot open the access log {error.filename!r}: {reason(error)}")
            name = f" {error.filename!r}" if error.filename else ""
            fail(EXIT_RUNTIME, f"cannot start{name}: {reason(error)}")
        finally:
            close_listeners(listeners)
            if pid_file is not None:
                pid_file.remove()

    def _load(self) -> Application:
        try:
            return load_application(self.target, self.config.factory)
        except ApplicationError as error:
            fail(EXIT_APPLICATION, str(error), error.hint, error.details)

    def _listen(self) -> list[Listener]:
        try:
            return open_listeners(default_binds(self.config), options_of(self.config))
        except ListenError as error:
            fail(EXIT_RUNTIME, str(error), error.hint)

    def _pid_file(self) -> PidFile | None:
        return PidFile(self.config.pid) if self.config.pid is not None else None

    def _become_and_load(self) -> Application:
        assert self.identity is not None  # noqa: S101
        try:
            drop_privileges(self.identity)
            set_environment(self.config.env)
            self.config = self._with_spool_dir(self.config)
        except PrivilegeError as error:
            fail(EXIT_RUNTIME, str(error), error.hint)
        except ConfigError as error:
            fail_for(error)
        return self._load()

    def _serve_at(self, listeners: list[Listener], application: Application) -> None:
        """Raises OSError when the server cannot start."""
        from headrace.process.worker import Worker, announce, raise_descriptor_limit

        # What is loaded now lives as long as the process; the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        raise_descriptor_limit(self.config.worker_connections)
        notifier = Notifier()
        worker = Worker(application, listeners, self.config, notifier)

        def when_ready() -> None:
            announce(listeners, self.config, notifier)
            self.started()

        try:
            worker.run(when_ready, process_ends=True)
        except Exception:
            logger.exception("HR107 The server has failed")
            raise click.exceptions.Exit(EXIT_RUNTIME) from None

    # ---- workers ----

    def _supervise(self) -> None:
        """This process never imports the application."""
        from headrace.process.hooks import no_hooks
        from headrace.process.supervisor import Supervisor

        try:
            give_away_files(self.identity, [self.config.access_logfile])
        except OSError as error:
            fail(EXIT_RUNTIME, f"cannot start {error.filename!r}: {reason(error)}")
        pid_file = self._pid_file()
        make_hooks: Any = no_hooks
        if self.resolved.hooks and self.resolved.gunicorn_location is not None:
            from headrace.integrations.gunicorn_hooks import HooksOf

            make_hooks = HooksOf(self.resolved.gunicorn_location, self.target, lambda: self.resolved)
        try:
            supervisor = Supervisor(
                self.target, self.config, self._read_again, make_hooks, folder=self.folder, started=self.started,
                pid_file=pid_file,
            )  # fmt: skip
            code = supervisor.run()
        except ConfigError as error:
            fail_for(error)
        except ApplicationError as error:
            fail(error.exit_code, str(error), error.hint, error.details)
        except (ListenError, PidFileError) as error:
            fail(EXIT_RUNTIME, str(error), error.hint)
        except Exception:
            logger.exception("HR824 The supervisor has failed; workers finish what they have accepted")
            code = EXIT_RUNTIME
        raise click.exceptions.Exit(code)

    def _read_again(self) -> Config:
        """For a reload.  Raises ConfigError."""
        resolved = self.sources.read()
        for notice in resolved.notices:
            logger.warning("HR905 %s%s", notice.text, f"; {notice.hint}" if notice.hint else "")
        config = resolved.config()
        check_referee(config, resolved.spelled("referee"))
        if not config.reload:
            check_handed_over(config)
        self.resolved = resolved  # whose hooks are this process's from here on
        if config.reload:
            return replace(config, workers=1, preload=False)
        return config if config.workers else replace(config, workers=1)
