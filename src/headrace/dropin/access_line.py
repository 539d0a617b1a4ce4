"""The access line on stderr, as BaseHTTPRequestHandler.log_request() writes it, and who has to be called for it."""

from __future__ import annotations

import sys
import time
from types import FunctionType
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler

#: What the standard line is made of.
_PARTS = frozenset(("log_message", "log_request", "log_date_time_string", "address_string", "weekdayname", "monthname"))


def _with_pass() -> None:
    pass


def _with_docstring() -> None:
    """Nothing."""


def does_nothing(function: Any) -> bool:
    """Is it a plain function whose body is `pass`, `return` or a docstring?  Nobody can tell that it is not called."""
    if type(function) is not FunctionType:
        return False
    code = function.__code__
    for empty in (_with_pass.__code__, _with_docstring.__code__):
        if code.co_code == empty.co_code and len(code.co_consts) == len(empty.co_consts) and code.co_consts[-1] is None:
            return code.co_flags & 0x20 == 0  # a generator's would look else, too
    return False


def is_silent(handler_class: type[Any], overridden: frozenset[str]) -> bool:
    """Can no access line be seen, whatever is asked?"""
    if "log_request" in overridden:
        return does_nothing(handler_class.log_request)
    return "log_message" in overridden and does_nothing(handler_class.log_message)


def is_standard(overridden: frozenset[str]) -> bool:
    """Is the line the one that http.server writes?  overridden: names of the handler class."""
    return not overridden & _PARTS


class StandardLine:
    """``HOST - - [DATE] "REQUEST LINE" STATUS SIZE``, without a handler; the date is made once a second."""

    def __init__(self) -> None:
        self.clock: Any = object.__new__(WSGIRequestHandler)
        self.escapes = getattr(WSGIRequestHandler, "_control_char_table", {})
        self.date = (0, "")

    def write(self, address: str, request_line: str, status: str, size: int | str) -> None:
        """To stderr, as it is at this moment; status and size as log_request() takes them."""
        second = int(time.time())
        made, date = self.date
        if made != second:
            date = self.clock.log_date_time_string()
            self.date = (second, date)
        line = f'"{request_line}" {status} {size}'.translate(self.escapes)
        sys.stderr.write(f"{address} - - [{date}] {line}\n")
