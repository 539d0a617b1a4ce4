"""The logs of a process: set up at its start, and opened anew by USR1, after a rotation."""

from __future__ import annotations

import _thread
import os
import signal
from dataclasses import replace
from pathlib import Path
from types import FrameType

from headrace.config import Config
from headrace.observe.log_setup import logger, reopen_logs, set_up_logging
from headrace.process.daemon import capture_output
from headrace.process.identity import Identity, give_away_files
from headrace.process.signals import ShutAtExit


def with_absolute_logs(config: Config) -> Config:
    """The names of the log files as they are now: an application may change the working directory."""

    def absolute(name: str) -> str:
        return name if name == "-" else str(Path(name).absolute())

    access = config.access_logfile
    return replace(
        config,
        error_logfile=absolute(config.error_logfile),
        access_logfile=None if access is None else absolute(access),
    )


def start_logs(config: Config) -> None:
    """The error log, and --capture-output.  Raises OSError and LogConfigError."""
    set_up_logging(config)
    if config.capture_output:
        capture_output(config.error_logfile)


def is_captured(config: Config) -> bool:
    """Does what is printed go to a file?"""
    return config.capture_output and config.error_logfile != "-"


def reopen(config: Config, identity: Identity | None = None) -> None:
    """All log files of this process by their names.  identity: who else is to open them, without our privileges."""
    with _reopening:
        try:
            give_away_files(identity, [config.error_logfile, config.access_logfile])
        except OSError as error:
            logger.error("HR111 cannot make a log file for the workers: %s", error)
        failure = None
        if config.capture_output:
            try:
                capture_output(config.error_logfile)
            except OSError as error:
                failure = error
        reopen_logs()  # last, for HR109 says that all has been done
        if failure is not None:
            logger.error("HR112 --capture-output goes on to the file of before: %s", failure)


_reopening = ShutAtExit()


def reopen_soon(config: Config) -> None:
    """For a signal handler, which may have interrupted a write to the very same log: in a thread.

    Without the locks of threading, which may be held by what was interrupted."""
    try:
        _thread.start_new_thread(reopen, (config,))
    except RuntimeError as error:
        os.write(2, f"HR113 the logs cannot be reopened: {error}\n".encode())


def reopen_on_usr1(config: Config) -> None:
    """In the main thread of a server that is one process.  A child that the application forks is no server."""
    from headrace.engine.signal_handler import SignalHandler  # a supervisor has no use for the compiled part

    def reopen_logs_soon(_number: int, _frame: FrameType | None) -> None:
        reopen_soon(config)

    on_usr1 = SignalHandler(reopen_logs_soon)

    def give_back() -> None:
        if signal.getsignal(signal.SIGUSR1) is on_usr1:
            signal.signal(signal.SIGUSR1, signal.SIG_DFL)

    signal.signal(signal.SIGUSR1, on_usr1)
    os.register_at_fork(after_in_child=give_back)
