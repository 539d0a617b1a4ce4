"""A proxy that misbehaves on purpose, at one octet of one direction of each connection.

    with MisbehavingProxy(running.address) as proxy:
        client = proxy.connect(Fault("reset", "request", at=17))      # a socket; what it sends goes to the server

Octets are passed on as they are until the one with the number `at`, counted from 0, is there to be passed on; so a
fault in the response always finds the server answering.  That octet stays where it is, in the kernel, and

    cut         the client's connection is closed; the server sees FIN, and nobody hears what it still says
    reset       the server sees RST (SO_LINGER 0).  UNIX sockets know none: there it is a close, which tells the server
                that something was left unread, if it was
    half-close  the server sees FIN and is listened to further (in the request only)
    pause       nothing passes in this direction for `PAUSE_S`; then all goes on
    leave       the same, and then both connections are closed: FIN, or RST where the server had sent what was not read
    hold        nothing more passes in this direction, until the server or the client ends the connection
    drip        from here on octets pass one by one, `DRIP_S` apart

Towards the server it speaks TCP or UNIX, whichever the address is; towards the client it is a socket pair.  One thread
relays all connections.  Nothing of it outlives its `with`.
"""

from __future__ import annotations

import heapq
import selectors
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass
from itertools import count
from types import TracebackType

import wire

#: Longer than anything that a healthy server waits for between two octets of its own.
PAUSE_S = 0.2
DRIP_S = 0.001
KINDS = ("cut", "reset", "half-close", "pause", "leave", "hold", "drip")


@dataclass(frozen=True)
class Fault:
    """kind: see the top of this file.  way: "request" or "response".  at: so many octets pass before."""

    kind: str
    way: str
    at: int

    def __post_init__(self) -> None:
        assert self.kind in KINDS and self.way in ("request", "response"), self
        assert self.kind != "half-close" or self.way == "request", self


class _Way:
    """One direction of one connection."""

    def __init__(self, source: socket.socket, sink: socket.socket, fault: Fault | None) -> None:
        self.source = source
        self.sink = sink
        self.fault = fault  # the one that is still to come
        self.passed = 0
        self.rest = b""  # received, and not yet taken by the sink; nothing more is received before it is
        self.is_held = False
        self.is_over = False
        self.has_misbehaved = False

    def wants_input(self) -> bool:
        return not (self.rest or self.is_held or self.is_over)

    def is_at_fault(self) -> bool:
        """Is the next octet the one, and is it there?  (The end of the connection is none.)"""
        return self.fault is not None and self.fault.at == self.passed and bool(self.source.recv(1, socket.MSG_PEEK))

    def receive(self) -> bytes:
        """Never more than may be passed on: what is not read is the server's to notice."""
        octets = self.source.recv(65536 if self.fault is None else min(65536, max(self.fault.at - self.passed, 1)))
        self.passed += len(octets)
        return octets

    def send(self) -> None:
        try:
            self.rest = self.rest[self.sink.send(self.rest) :]
        except BlockingIOError:
            pass


class _Relay:
    """One connection: near is the client's, far the server's."""

    def __init__(self, near: socket.socket, far: socket.socket, fault: Fault | None) -> None:
        self.near = near
        self.far = far
        is_of_request = fault is not None and fault.way == "request"
        self.request = _Way(near, far, fault if is_of_request else None)
        self.response = _Way(far, near, None if is_of_request else fault)
        self.is_cut = False  # near is closed
        self.is_closed = False

    def ways(self) -> tuple[_Way, _Way]:
        return self.request, self.response

    def wanted_events(self, sock: socket.socket) -> int:
        wanted = 0
        for way in self.ways():
            if way.source is sock and way.wants_input():
                wanted |= selectors.EVENT_READ
            if way.sink is sock and way.rest:
                wanted |= selectors.EVENT_WRITE
        return wanted


class MisbehavingProxy:
    """address: the server's, (host, port) or the path of a UNIX socket.  faults: how many have come true."""

    def __init__(self, address: wire.Address) -> None:
        self.address = address
        self.faults = 0
        self._selector = selectors.DefaultSelector()
        self._relays: set[_Relay] = set()
        self._new: deque[_Relay] = deque()
        self._timers: list[tuple[float, int, _Relay, _Way]] = []
        self._number_of_timer = count()
        self._bell, self._rope = socket.socketpair()
        self._bell.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ, None)
        self._ends = False
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="misbehaving proxy", daemon=True)

    def __enter__(self) -> MisbehavingProxy:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ends = True
        self._rope.send(b"x")
        self._thread.join(4 * wire.PATIENCE_S)
        assert not self._thread.is_alive()
        for relay in (*self._relays, *self._new):
            relay.near.close()
            relay.far.close()
        self._selector.close()
        self._bell.close()
        self._rope.close()
        if self.failure is not None:
            raise AssertionError("the proxy has failed") from self.failure

    def connect(self, fault: Fault | None = None, receive_buffer_bytes: int | None = None) -> socket.socket:
        """The client's end of a new connection.  receive_buffer_bytes: SO_RCVBUF towards the server, before it
        connects; small for one that is to take little of an answer."""
        far = socket.socket(socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET)
        try:
            if receive_buffer_bytes is not None:
                far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
            far.connect(self.address)  # without a timeout: a UNIX socket's backlog may be full for a moment
            if far.family == socket.AF_INET:
                far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            far.close()
            raise
        client, near = socket.socketpair()
        client.settimeout(4 * wire.PATIENCE_S)
        near.setblocking(False)
        far.setblocking(False)
        self._new.append(_Relay(near, far, fault))
        self._rope.send(b"x")
        return client

    # -- of the thread --

    def _run(self) -> None:
        try:
            while not self._ends:
                wait_s = max(self._timers[0][0] - time.monotonic(), 0) if self._timers else None
                for key, events in self._selector.select(wait_s):
                    if key.data is None:
                        self._take_new()
                    else:
                        self._serve(key.data, key.fileobj, events)
                self._end_pauses()
        except BaseException as failure:
            self.failure = failure

    def _take_new(self) -> None:
        self._bell.recv(4096)
        while self._new:
            relay = self._new.popleft()
            self._relays.add(relay)
            self._watch(relay)

    def _serve(self, relay: _Relay, sock: object, events: int) -> None:
        try:
            for way in relay.ways():
                if events & selectors.EVENT_WRITE and way.sink is sock and way.rest:
                    way.send()
                if events & selectors.EVENT_READ and way.source is sock and way.wants_input():
                    self._pass_on(relay, way)
                if relay.is_closed:
                    return
        except BlockingIOError:
            pass
        except OSError:  # one of the two has gone: so does the other
            self._close(relay)
        if not relay.is_closed:
            self._watch(relay)

    def _pass_on(self, relay: _Relay, way: _Way) -> None:
        if way.is_at_fault():
            self.faults += not way.has_misbehaved
            way.has_misbehaved = True
            self._misbehave(relay, way)
            return
        way.rest = way.receive()
        if way.rest and relay.is_cut:
            way.rest = b""
        elif way.rest:
            way.send()
        elif way is relay.response or relay.response.is_held:
            self._close(relay)
        else:
            way.is_over = True
            relay.far.shutdown(socket.SHUT_WR)

    def _misbehave(self, relay: _Relay, way: _Way) -> None:
        assert way.fault is not None
        kind = way.fault.kind
        if kind == "cut":
            self._cut(relay)
        elif kind == "reset":
            if relay.far.family == socket.AF_INET:
                relay.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._close(relay)
        elif kind == "half-close":
            way.is_over = True
            relay.far.shutdown(socket.SHUT_WR)
        else:
            way.is_held = True
            if kind != "hold":
                until = time.monotonic() + (DRIP_S if kind == "drip" else PAUSE_S)
                heapq.heappush(self._timers, (until, next(self._number_of_timer), relay, way))

    def _cut(self, relay: _Relay) -> None:
        relay.is_cut = relay.request.is_over = True
        relay.response.fault = None
        relay.response.rest = b""
        self._drop(relay.near)
        relay.far.shutdown(socket.SHUT_WR)

    def _end_pauses(self) -> None:
        while self._timers and self._timers[0][0] <= time.monotonic():
            _, _, relay, way = heapq.heappop(self._timers)
            if relay.is_closed:
                continue
            assert way.fault is not None
            if way.fault.kind == "leave":
                self._close(relay)
                continue
            way.is_held = False
            try:
                if way.fault.kind == "drip":  # this octet, and then the same again
                    way.rest = way.receive()
                    way.send()
                    way.fault = Fault("drip", way.fault.way, way.passed)
                else:
                    way.fault = None
            except OSError:
                self._close(relay)
                continue
            self._watch(relay)

    def _watch(self, relay: _Relay) -> None:
        for sock in (relay.far,) if relay.is_cut else (relay.near, relay.far):
            wanted = relay.wanted_events(sock)
            known = self._selector.get_map().get(sock)
            if known is None and wanted:
                self._selector.register(sock, wanted, relay)
            elif known is not None and not wanted:
                self._selector.unregister(sock)
            elif known is not None and known.events != wanted:
                self._selector.modify(sock, wanted, relay)

    def _close(self, relay: _Relay) -> None:
        relay.is_closed = True
        self._relays.discard(relay)
        self._drop(relay.far)
        if not relay.is_cut:
            self._drop(relay.near)

    def _drop(self, sock: socket.socket) -> None:
        if sock in self._selector.get_map():
            self._selector.unregister(sock)
        sock.close()
