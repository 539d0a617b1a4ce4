"""The error log: where the logger "headrace" writes, for programs that set up no logging themselves.

Every message of the logger begins with its code (docs/messages.md has a row for each).
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from headrace.config import Config
from headrace.observe.error_stream import ERROR_STREAM
from headrace.observe.log_file import LogFile, open_again
from headrace.observe.syslog import Syslog, SyslogHandler

LINE = "%(asctime)s [%(process)d] %(levelname)s %(message)s"
TIME = "%Y-%m-%d %H:%M:%S %z"
CODE = re.compile(r"(HR\d{3}) (.*)", re.DOTALL)

logger = logging.getLogger("headrace")
access_logger = logging.getLogger("headrace.access")

#: gunicorn's loggers -> ours: a logging configuration for gunicorn serves as it is.
GUNICORN_LOGGERS = {"gunicorn.error": "headrace", "gunicorn.access": "headrace.access"}


class Reopenable(Protocol):
    def reopen(self) -> None: ...


#: The access logs of this process.
open_logs: weakref.WeakSet[Reopenable] = weakref.WeakSet()


class LogConfigError(ValueError):
    """A logging configuration cannot be read or applied."""


class StderrHandler(logging.StreamHandler):  # type: ignore[type-arg]  # generic only for type checkers
    """Writes to the present sys.stderr, as wsgi.errors does."""

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stderr is not None:
            self.stream = sys.stderr
            super().emit(record)


class JsonFormatter(logging.Formatter):
    """One JSON object for each record, on one line: time (RFC 3339, UTC), level, code, message, logger, process,
    thread, and exception where there is one.  Usable in logging configurations, too."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        code = CODE.fullmatch(message)
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields = {
            "time": f"{seconds}.{int(record.msecs):03}Z",
            "level": record.levelname,
            "code": code[1] if code else None,
            "message": code[2] if code else message,
            "logger": record.name,
            "process": record.process,
            "thread": record.threadName,
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)  # ASCII: no text breaks the line, or is no Unicode


def set_up_logging(config: Config) -> None:
    """Do what the settings of the group Logging say, for the error log.

    A logging configuration (--log-config, --log-config-json, logconfig_dict) is applied first.  An application that has
    configured logging itself (a handler on the root logger or on "headrace") is left as it is.  Raises OSError when a
    file cannot be opened or syslog is not there, LogConfigError.
    """
    apply_log_config(config)
    if logger.hasHandlers():
        return
    for handler in make_handlers(config):
        logger.addHandler(handler)
    logger.setLevel(config.log_level.upper())
    logger.propagate = False


def make_handlers(config: Config) -> Iterator[logging.Handler]:
    handler: logging.Handler
    if config.error_logfile == "-":
        handler = StderrHandler()
    else:
        handler = LogFile(config.error_logfile)
        ERROR_STREAM.follow(handler)
    handler.setFormatter(JsonFormatter() if config.log_format == "json" else logging.Formatter(LINE, TIME))
    yield handler
    if config.log_syslog:
        to_syslog = SyslogHandler(Syslog.of(config))
        to_syslog.setFormatter(JsonFormatter() if config.log_format == "json" else logging.Formatter("%(message)s"))
        yield to_syslog


def apply_log_config(config: Config) -> None:
    """One of the three, as gunicorn has it: the dict goes before the JSON file, that before the ini file."""
    if not config.logconfig_dict and config.log_config_json is None and config.log_config is None:
        return
    from logging.config import dictConfig, fileConfig  # half a megabyte

    try:
        if config.logconfig_dict:
            dictConfig(for_headrace(config.logconfig_dict))
        elif config.log_config_json is not None:
            dictConfig(for_headrace(json.loads(octets_of(config.log_config_json))))
        else:
            assert config.log_config is not None  # noqa: S101
            octets_of(config.log_config)  # fileConfig() passes over what it cannot read
            fileConfig(config.log_config, disable_existing_loggers=False)
            take_over_gunicorn_loggers()
    except (OSError, LogConfigError):
        raise
    except Exception as error:  # of whatever kind: these come from classes that a configuration names
        cause = f": {error.__cause__}" if error.__cause__ else ""
        raise LogConfigError(f"the logging configuration cannot be used: {error}{cause}") from error


def octets_of(path: str) -> bytes:
    """Of a file with a logging configuration.  Raises LogConfigError."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise LogConfigError(f"cannot read the logging configuration {path!r}: {error.strerror}") from error


def for_headrace(given: Mapping[str, Any]) -> dict[str, Any]:
    """A dictConfig that leaves loggers alone that it does not name, and gives ours what it has for gunicorn's."""
    settings = {"version": 1, "disable_existing_loggers": False, **given}
    loggers = dict(settings.get("loggers", {}))
    for theirs, ours in GUNICORN_LOGGERS.items():
        if theirs in loggers:
            loggers.setdefault(ours, loggers[theirs])
    return {**settings, "loggers": loggers}


def take_over_gunicorn_loggers() -> None:
    for theirs, ours in GUNICORN_LOGGERS.items():
        former, mine = logging.getLogger(theirs), logging.getLogger(ours)
        if former.handlers and not mine.handlers:
            for handler in former.handlers:
                mine.addHandler(handler)
            mine.setLevel(former.level)
            mine.propagate = former.propagate


def reopen_logs() -> None:
    """Open the files of the error log and of the access logs by their names again (USR1, after a rotation).

    No line is lost or torn.  What cannot be opened stays as it is, and the log says so."""
    done: set[logging.Handler] = set()
    for owner in (logger, access_logger, logging.getLogger()):
        for handler in owner.handlers:
            if isinstance(handler, logging.FileHandler) and handler not in done:
                done.add(handler)
                try:
                    reopen_handler(handler)
                except Exception as error:  # an application's handler may be of any kind; the others are not to suffer
                    logger.error("HR110 cannot reopen the log %r: %s", handler.baseFilename, error)
    for log in list(open_logs):
        log.reopen()
    logger.info("HR109 The logs have been reopened")


def reopen_handler(handler: logging.FileHandler) -> None:
    if handler.stream is None:
        return  # opened with its first record, or closed
    try:
        opened = open_again(handler)
    except OSError as error:
        logger.error("HR110 cannot reopen the log %r: %s", handler.baseFilename, error.strerror or error)
        return
    handler.acquire()
    former, handler.stream = handler.stream, opened  # setStream() would flush first, which fails on a full disk
    handler.release()
    if former is not None:
        with suppress(OSError):
            former.close()


def model_line(threads: int, workers: int | None = None) -> str:
    """ "2 workers x 8 threads: at most 16 requests inside the application"; without workers it is "1 process"."""
    processes = "1 process" if workers is None else counted(workers, "worker")
    requests = counted(threads * (workers or 1), "request")
    return f"{processes} x {counted(threads, 'thread')}: at most {requests} inside the application"


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
