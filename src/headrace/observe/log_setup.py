"""The error log: where the loggers "headrace" and "headrace.access" write, for programs that set up no logging."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from headrace.observe.error_stream import ERROR_STREAM

LINE = "%(asctime)s [%(process)d] %(levelname)s %(message)s"
TIME = "%Y-%m-%d %H:%M:%S %z"

logger = logging.getLogger("headrace")


class StderrHandler(logging.StreamHandler):  # type: ignore[type-arg]  # generic only for type checkers
    """Writes to the present sys.stderr, as wsgi.errors does."""

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stderr is not None:
            self.stream = sys.stderr
            super().emit(record)


def set_up_logging(error_logfile: str, log_level: str) -> None:
    """Send Headrace's messages to a file, or to stderr for "-".  An application that has configured logging itself
    (a handler on the root logger or on "headrace") is left as it is.  Raises OSError when the file cannot be opened.
    """
    if logger.hasHandlers():
        return
    handler: logging.Handler
    if error_logfile == "-":
        handler = StderrHandler()
    else:
        handler = logging.FileHandler(Path(error_logfile), encoding="utf-8", errors="backslashreplace")
        ERROR_STREAM.follow(handler)
    handler.setFormatter(logging.Formatter(LINE, TIME))
    logger.addHandler(handler)
    logger.setLevel(log_level.upper())
    logger.propagate = False
