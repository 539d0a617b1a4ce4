"""The access log: one line for each response, in Apache's combined format.

    127.0.0.1 - - [22/Nov/2026:14:30:05 +0000] "GET /a?b=c HTTP/1.1" 200 5 "-" "curl/8.5"

Everything that a client chose is escaped, so that a line stays a line and a field stays a field: control octets,
quotes, backslashes and all that is not ASCII become \\xHH (CVE-2020-7694 is what happens otherwise).
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from headrace.engine.record import AccessRecord

logger = logging.getLogger("headrace")


_UNSAFE = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")
_UNSAFE_WORD = re.compile(r"[^\x21\x23-\x5b\x5d-\x7e]")  # outside quotes a space would begin the next field

# Not strftime's: the locale must not change the log's language.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _hex(match: re.Match[str]) -> str:
    return "".join(f"\\x{octet:02x}" for octet in _octets(match[0]))


def _octets(text: str) -> bytes:
    """Environ strings carry one octet in each character; text beyond that can only come from an application."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def escape(text: str) -> str:
    """For a place between double quotes."""
    return _UNSAFE.sub(_hex, text)


def escape_word(text: str | None) -> str:
    """For a place between spaces; "-" stands for nothing."""
    return _UNSAFE_WORD.sub(_hex, text) if text else "-"


class _Clock:
    """The bracketed time, made anew once a second.  Any thread: second and text change together."""

    def __init__(self) -> None:
        self._last = (-1, "")

    def text(self, time_s: float) -> str:
        second, text = self._last
        if second != int(time_s):
            second = int(time_s)
            local = time.localtime(second)
            text = f"{local.tm_mday:02}/{_MONTHS[local.tm_mon - 1]}/" + time.strftime("%Y:%H:%M:%S %z", local)
            self._last = (second, text)
        return text


_clock = _Clock()


def format_combined(record: AccessRecord) -> str:
    """The line without its end.  A request line that was not understood is logged as "-"."""
    request = escape(f"{record.method} {record.target} {record.protocol}") if record.method else "-"
    return (
        f"{escape_word(record.remote_addr)} - {escape_word(record.remote_user)} [{_clock.text(record.time_s)}] "
        f'"{request}" {record.status} {record.response_bytes or "-"} '
        f'"{escape(record.referer or "-")}" "{escape(record.user_agent or "-")}"'
    )


class AccessLog:
    """Callable with a record; writes its line at once.  Owns the file, not sys.stdout.

    A line that cannot be written (disk full, pipe closed) is lost and the error log says so once: serving goes on."""

    def __init__(self, logfile: str, formatter: Callable[[AccessRecord], str] = format_combined) -> None:
        """``logfile`` is a path, appended to, or "-" for stdout.  Raises OSError when it cannot be opened."""
        self._format = formatter
        self._file: TextIO | None = None
        self._failing = False
        if logfile != "-":
            # Line buffered: each line reaches the file whole, with one write(2), and is there when it is looked for.
            self._file = Path(logfile).open("a", buffering=1, encoding="ascii")  # noqa: SIM115

    def __call__(self, record: AccessRecord) -> None:
        stream = self._file or sys.stdout
        if stream is None:
            return
        try:
            stream.write(self._format(record) + "\n")
            if self._file is None:
                stream.flush()
        except OSError as error:
            if not self._failing:
                logger.error("cannot write the access log: %s", error)
            self._failing = True
        else:
            self._failing = False

    def close(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # lines that could not be written are still in its buffer
                self._file.close()
