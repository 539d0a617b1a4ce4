"""Clients that come whether or not others were answered: an open loop, in one thread over one selector.

Each has a connection of its own and asks once.  Its patience runs from the moment that it was to come, not from
when this program got round to it; how much later that was is kept, so that a late program shows.
"""

from __future__ import annotations

import errno
import random
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from harness.process import HOST

SEED = 3  # every server gets the same arrivals
RECEIVE_BYTES = 65_536
IN_TIME, REFUSED, FAILED, LEFT = "in time", "refused", "failed", "left"


@dataclass(eq=False)
class Arrival:
    """One client; times are of time.monotonic()."""

    number: int
    due: float
    socket: socket.socket | None = None
    came: float = 0.0
    ended: float = 0.0
    outcome: str = ""  # one of those above
    received: bytearray = field(default_factory=bytearray)


def poisson_times(per_s: float, duration_s: float) -> list[float]:
    """Moments, from 0 on, with exponential gaps: as independent clients come."""
    source, at, times = random.Random(SEED), 0.0, []
    while (at := at + source.expovariate(per_s)) < duration_s:
        times.append(at)
    return times


def status_of_whole_answer(received: bytearray, body: bytes) -> int | None:
    """The status once the answer is whole, else None; 0 for a 200 with another body.

    A body is as long as its Content-Length: without that field, it is taken for empty.
    """
    head, blank, rest = bytes(received).partition(b"\r\n\r\n")
    if not blank:
        return None
    status_line, *fields = head.lower().split(b"\r\n")
    named = dict(line.partition(b":")[::2] for line in fields)
    if len(rest) < int(named.get(b"content-length", b"0")):
        return None
    status = int(status_line.split()[1])
    return 0 if status == 200 and rest != body else status


class OpenLoop:
    """Runs the arrivals until the last of them has ended."""

    def __init__(
        self, port: int, request: Callable[[int], bytes], body: bytes, times: Sequence[float], patience_s: float
    ) -> None:
        self.address = (HOST, port)
        self.request = request
        self.body = body
        self.patience_s = patience_s
        self.began = time.monotonic()
        self.arrivals = [Arrival(number, self.began + at) for number, at in enumerate(times)]
        self.selector = selectors.DefaultSelector()

    def run(self) -> list[Arrival]:
        coming, present = deque(self.arrivals), deque[Arrival]()
        while coming or present:
            now = time.monotonic()
            while coming and coming[0].due <= now:
                present.append(coming.popleft())
                self.come(present[-1])
            # They all have the same patience, so who came first leaves first.
            while present and (present[0].outcome or present[0].due + self.patience_s <= now):
                if not present[0].outcome:
                    self.end(present[0], LEFT)
                present.popleft()
            moments = [coming[0].due] if coming else []
            moments += [present[0].due + self.patience_s] if present else []
            if moments:
                self.wait(min(moments))
        self.selector.close()
        return self.arrivals

    def wait(self, until: float) -> None:
        for key, _ in self.selector.select(max(0.0, until - time.monotonic())):
            arrival: Arrival = key.data
            try:
                self.go_on(arrival)
            except OSError:
                self.end(arrival, FAILED)

    def come(self, arrival: Arrival) -> None:
        arrival.socket = socket.socket()
        arrival.socket.setblocking(False)
        arrival.came = time.monotonic()
        if arrival.socket.connect_ex(self.address) not in (0, errno.EINPROGRESS):
            self.end(arrival, FAILED)
            return
        self.selector.register(arrival.socket, selectors.EVENT_WRITE, arrival)

    def go_on(self, arrival: Arrival) -> None:
        """Connected: ask.  Something has come: take it."""
        assert arrival.socket
        if self.selector.get_key(arrival.socket).events == selectors.EVENT_WRITE:
            arrival.socket.send(self.request(arrival.number))  # a new connection has room for it
            self.selector.modify(arrival.socket, selectors.EVENT_READ, arrival)
            return
        data = arrival.socket.recv(RECEIVE_BYTES)
        arrival.received += data
        status = status_of_whole_answer(arrival.received, self.body)
        if status is not None:
            self.end(arrival, {200: IN_TIME, 503: REFUSED}.get(status, FAILED))
        elif not data:
            self.end(arrival, FAILED)

    def end(self, arrival: Arrival, outcome: str) -> None:
        """Closes the connection and then notes the time: a call before that was not yet for nobody."""
        assert arrival.socket
        if arrival.socket in self.selector.get_map():
            self.selector.unregister(arrival.socket)
        arrival.socket.close()
        arrival.ended, arrival.outcome = time.monotonic(), outcome
