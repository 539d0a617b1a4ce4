"""wsgi.errors: a text stream that writes to the error log's file, or to whatever sys.stderr is at that moment.

PEP 3333, "environ Variables": write, writelines and flush.  A proxy and not sys.stderr itself, because tests, daemons
and notebooks put another stream there after the server has started.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Any


class ErrorStream:
    """One instance serves every request and every thread."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self) -> None:
        self._file_handler: logging.StreamHandler[Any] | None = None

    def follow(self, file_handler: logging.StreamHandler[Any] | None) -> None:
        """Write where this handler writes, also after it has reopened its file; None: to sys.stderr."""
        self._file_handler = file_handler

    def write(self, text: str, /) -> int:
        """sys.stderr is None when there is no console (a service started without descriptors)."""
        handler = self._file_handler
        if handler is None:
            return len(text) if sys.stderr is None else sys.stderr.write(text)
        handler.acquire()  # nobody reopens the file meanwhile
        try:
            if handler.stream is None:
                return len(text)
            written: int = handler.stream.write(text)
            if "\n" in text:
                handler.stream.flush()  # as stderr does, and as the log's own lines are
            return written
        finally:
            handler.release()

    def writelines(self, lines: Iterable[str], /) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        handler = self._file_handler
        if handler is not None:
            handler.flush()  # with its lock
        elif sys.stderr is not None:
            sys.stderr.flush()


ERROR_STREAM = ErrorStream()
