"""One message to one server over a real socket, and what came of it.

The reader is lenient: some servers answer with less than a whole response.  A call of the application is known by the
marks of application.py, wherever they stand in what was received.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from dataclasses import dataclass, field
from typing import Any

from strictness.application import BEGIN, END
from strictness.case import Case

Address = tuple[str, int]

#: Asked behind the message, on the same connection.
AFTER = b"GET /after HTTP/1.1\r\nHost: a\r\n\r\n"
AFTER_PATH = "/after"

SAID_CLOSE_S = 0.3

_STATUS = re.compile(rb"HTTP/[0-9]\.[0-9] ([1-5][0-9][0-9])")
_CALL = re.compile(re.escape(BEGIN) + rb"(.*?)" + re.escape(END), re.DOTALL)
_LENGTH = re.compile(rb"\r?\nContent-Length:[ \t]*([0-9]+)[ \t]*\r?\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r?\nTransfer-Encoding:[ \t]*chunked[ \t]*\r?\n", re.IGNORECASE)
_CLOSE = re.compile(rb"\r?\nConnection:[ \t]*close[ \t]*\r?\n", re.IGNORECASE)
_HEAD_END = re.compile(rb"\r?\n\r?\n")


@dataclass
class Answer:
    """status: of the first final response, None without one.  calls: what the application saw of the message, in order.

    end: "open" (a further request was answered), "closed", or "waits": nothing came, and the connection stayed open.
    after_refusal: a request that came in one piece with a refused message was run.
    """

    status: int | None = None
    calls: list[dict[str, Any]] = field(default_factory=list)
    end: str = "waits"
    after_refusal: bool = False

    @property
    def accepted(self) -> bool:
        return bool(self.calls)


class Exchange:
    """What was received on one connection."""

    def __init__(self, address: Address, patience_s: float) -> None:
        self.patience_s = patience_s
        self.received = b""
        self.at_end = False
        self._sock = socket.create_connection(address, patience_s)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Exchange:
        return self

    def __exit__(self, *exception: object) -> None:
        self._sock.close()

    def send(self, octets: bytes, half_close: bool = False) -> None:
        """Who refuses early may close before all of it is sent."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            self._sock.settimeout(self.patience_s)
            self._sock.sendall(octets)
            if half_close:
                self._sock.shutdown(socket.SHUT_WR)

    def read_until(self, enough: Any, patience_s: float | None = None) -> bool:
        """False: the connection ended, or nothing came, before enough() was true."""
        until = time.monotonic() + (self.patience_s if patience_s is None else patience_s)
        while not enough():
            left = until - time.monotonic()
            if self.at_end or left <= 0:
                return False
            self._sock.settimeout(left)
            try:
                octets = self._sock.recv(65536)
            except TimeoutError:
                return False
            except OSError:
                octets = b""
            self.received += octets
            self.at_end = not octets
        return True

    def calls(self) -> list[dict[str, Any]]:
        return [json.loads(call) for call in _CALL.findall(self.received)]

    def statuses(self) -> list[int]:
        """Of the final responses, in order."""
        found = [int(status) for status in _STATUS.findall(self.received)]
        return [status for status in found if status >= 200]

    def has_response(self) -> bool:
        """A final response is here, with its body as far as its head says how long that is."""
        at = 0
        while status := _STATUS.match(self.received, at):
            head_end = _HEAD_END.search(self.received, at)
            if head_end is None:
                return False
            if int(status[1]) < 200:
                at = head_end.end()
                continue
            head, body = self.received[at : head_end.end()], self.received[head_end.end() :]
            if length := _LENGTH.search(head):
                return len(body) >= int(length[1])
            return bool(_CHUNKED.search(head)) and b"0\r\n\r\n" in body
        return False


def after_was_run(exchange: Exchange) -> bool:
    return any(call.get("PATH_INFO") == AFTER_PATH for call in exchange.calls())


def ask(address: Address, case: Case, patience_s: float) -> Answer:
    """The message alone, then a further request; and, if it was refused, once more with one behind it in one piece."""
    answer = Answer()
    with Exchange(address, patience_s) as exchange:
        exchange.send(case.octets, case.half_close)
        came = exchange.read_until(exchange.has_response)
        answer.status = next(iter(exchange.statuses()), None)
        if exchange.at_end:
            answer.end = "closed"
        elif came:
            answer.end = ask_on(exchange, case)
        answer.calls = [call for call in exchange.calls() if call.get("PATH_INFO") != AFTER_PATH]
    if answer.status is not None and not answer.accepted and not case.half_close:
        answer.after_refusal = runs_what_is_behind(address, case)
    return answer


def ask_on(exchange: Exchange, case: Case) -> str:
    """`end` of an answer: does the connection go on?"""
    if case.half_close:
        return "closed" if not exchange.read_until(lambda: False) and exchange.at_end else "waits"
    before = len(exchange.calls())
    says_close = bool(_CLOSE.search(exchange.received))
    exchange.send(AFTER)
    enough = exchange.read_until(
        lambda: after_was_run(exchange) or len(exchange.calls()) > before + 1, SAID_CLOSE_S if says_close else None
    )
    if enough:
        return "open"
    # Who says so may read on until the client has closed, and throw away what comes.
    return "closed" if exchange.at_end or says_close else "waits"


def runs_what_is_behind(address: Address, case: Case) -> bool:
    """The refusal came at once the first time: what is run behind it comes soon, too."""
    with Exchange(address, 1.0) as exchange:
        exchange.send(case.octets + AFTER)
        return exchange.read_until(lambda: after_was_run(exchange))
