"""wsgi.errors: a text stream that writes to the error log's file, or to whatever sys.stderr is at that moment.

PEP 3333, "environ Variables": write, writelines and flush.  A proxy and not sys.stderr itself, because tests, daemons
and notebooks put another stream there after the server has started.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Any, TextIO


class ErrorStream:
    """One instance serves every request and every thread."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self) -> None:
        self._file_handler: logging.StreamHandler[Any] | None = None

    def follow(self, file_handler: logging.StreamHandler[Any] | None) -> None:
        """Write where this handler writes, also after it has reopened its file; None: to sys.stderr."""
        self._file_handler = file_handler

    def _stream(self) -> TextIO | None:
        """None when there is no console (a service started without descriptors)."""
        return sys.stderr if self._file_handler is None else self._file_handler.stream

    def write(self, text: str, /) -> int:
        stream = self._stream()
        if stream is None:
            return len(text)
        written = stream.write(text)
        if self._file_handler is not None and "\n" in text:
            stream.flush()  # as stderr does, and as the log's own lines are
        return written

    def writelines(self, lines: Iterable[str], /) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        stream = self._stream()
        if stream is not None:
            stream.flush()


ERROR_STREAM = ErrorStream()
