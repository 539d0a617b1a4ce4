"""Files that lines are appended to, opened so that nobody waits."""

from __future__ import annotations

import logging
import os
from io import TextIOWrapper


def open_for_appending(path: str, _flags: int = 0) -> int:
    """A descriptor; also an opener for open().  A named pipe that nobody reads is an error (ENXIO): to open it would be
    to wait for its reader, and who waits hears no signal.  Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
    os.set_blocking(descriptor, True)
    return descriptor


def open_again(handler: logging.FileHandler) -> TextIOWrapper:
    """The handler's file as it is now by its name.  Raises OSError."""
    return open(handler.baseFilename, "a", encoding=handler.encoding, errors=handler.errors, opener=open_for_appending)


class LogFile(logging.FileHandler):
    """Appends in UTF-8.  Raises OSError at once when the file cannot be opened."""

    def __init__(self, path: str) -> None:
        super().__init__(path, encoding="utf-8", errors="backslashreplace")

    def _open(self) -> TextIOWrapper:
        return open_again(self)
