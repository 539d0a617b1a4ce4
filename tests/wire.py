"""A client over a real socket that says exactly what it is told to say and reads strictly what comes back.

    client = running.connect()                     # `running` comes from the `serve` fixture, see conftest.py
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    client.send(message, cut="octets")             # or "lines", "whole", or a number: random cuts with this seed
    response = client.read_response()              # one response, by the letter of RFC 9112, or a WireError
    response.status, response.reason, response.fields, response.body
    client.exchange(message, method="HEAD")        # send and read_response; the method says how to read it
    client.read_until_close()                      # all octets until the server closes
    client.assert_closed()                         # the server closes in time, and has nothing more to say
    client.assert_reset()                          # ... with a reset (TCP only)
    client.assert_open()                           # a further request is answered on this connection
    client.half_close(); client.reset(); client.close()

Everything that waits has a limit, `PATIENCE_S` unless told otherwise, after which it raises WireError.

Cutting: over TCP each piece is a segment of its own (TCP_NODELAY), but the server may receive several at once.  Over a
UNIX socket the client waits until the server has read a piece before it sends the next, so there every cut is real.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import re
import select
import socket
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TypeVar

from referee import Witness

#: Seconds that anything may take before a test gives up.  Slow machines set HEADRACE_TEST_PATIENCE.
PATIENCE_S = float(os.environ.get("HEADRACE_TEST_PATIENCE", "5"))

#: How one message can be sent; the numbers are seeds of random cuts.
CUTS: tuple[str | int, ...] = ("whole", "lines", "octets", 1, 2)

Address = tuple[str, int] | str
T = TypeVar("T")


class WireError(AssertionError):
    """The server sent something that a strict client cannot accept, or nothing in time."""


def wait_until(condition: Callable[[], T], what: str = "the condition", seconds: float = PATIENCE_S) -> T:
    """Wait until condition() is true, and return what it gave; AssertionError after `seconds`."""
    until = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > until:
            raise AssertionError(f"{what} did not come true within {seconds:g} s")
        time.sleep(0.001)
    return result


def wait_until_still(value: Callable[[], T], what: str = "the value", still_s: float = 0.1) -> T:
    """Wait until value() has stayed the same for this long, and return it.

    For what ends without a word, such as an iteration that waits for its client: that another client has been answered
    says nothing of what the threads beside it are doing.
    """
    until = time.monotonic() + PATIENCE_S
    last, since = value(), time.monotonic()
    while time.monotonic() - since < still_s:
        time.sleep(0.005)
        if (present := value()) != last:
            last, since = present, time.monotonic()
        if time.monotonic() > until:
            raise AssertionError(f"{what} still changed after {PATIENCE_S:g} s")
    return last


def cut_up(message: bytes, cut: str | int) -> list[bytes]:
    """The message in pieces: "whole", "lines" (each with its end), "octets", or a number as seed for random cuts."""
    if cut == "whole":
        return [message]
    if cut == "lines":
        return message.splitlines(keepends=True)
    if cut == "octets":
        return [message[at : at + 1] for at in range(len(message))]
    if isinstance(cut, str):
        raise ValueError(f"no such cut: {cut!r}")
    chance = random.Random(cut)
    places = sorted(chance.sample(range(len(message) + 1), min(len(message), chance.randint(2, 8))))
    ends = [*places, len(message)]
    return [message[start:end] for start, end in zip([0, *places], ends, strict=True) if start < end]


# -- responses --------------------------------------------------------------------------------------------------------

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-9][0-9][0-9]) ([\t \x21-\x7e\x80-\xff]*)\r\n")
_FIELD_LINE = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ((?:[\x21-\x7e\x80-\xff](?:[\t -\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)\r\n"
)
_CHUNK_LINE = re.compile(rb"(0|[1-9A-Fa-f][0-9A-Fa-f]{0,15})\r\n")  # ours sends neither extensions nor leading zeros
_DATE = re.compile(
    r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-3][0-9] (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [0-9]{4} "
    r"[0-2][0-9]:[0-5][0-9]:[0-6][0-9] GMT"
)


@dataclass
class Response:
    """One response.  framing: "none", "length", "chunked" or "close" (to the end of the connection).

    fields: (name, value) as sent, in order.  chunk_sizes: octets of data of each chunk, without the last, empty one.
    """

    status: int
    reason: str
    fields: list[tuple[str, str]]
    body: bytes = b""
    framing: str = "none"
    chunk_sizes: list[int] = field(default_factory=list)

    def get_all(self, name: str) -> list[str]:
        return [value for known, value in self.fields if known.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        """The value of a field that may come once at most."""
        values = self.get_all(name)
        if len(values) > 1:
            raise WireError(f"{name} came {len(values)} times: {values}")
        return values[0] if values else None

    @property
    def says_close(self) -> bool:
        return "close" in re.split(r"[ \t]*,[ \t]*", ",".join(self.get_all("Connection")).lower())


class Client:
    """One connection to the server.  Usually made by `running.connect()`."""

    def __init__(
        self,
        address: Address,
        *,
        timeout: float = PATIENCE_S,
        receive_buffer_bytes: int | None = None,
        watched: bool = True,
        on_connect: Callable[[Client], None] | None = None,
    ) -> None:
        """address: (host, port) or the path of a UNIX socket.  receive_buffer_bytes: SO_RCVBUF, small for a client
        that is to be slow.  watched: llhttp reads along; False for floods whose calls of the application nobody
        records."""
        self.is_unix = isinstance(address, str)
        self.timeout = timeout
        if isinstance(address, str):
            family = socket.AF_UNIX
        else:
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.sock = socket.socket(family)
        if receive_buffer_bytes is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.sock.settimeout(timeout)
        try:
            self.sock.connect(address)
        except OSError:
            self.sock.close()
            raise
        self.witness = Witness()
        self._watched = watched
        if not self.is_unix:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.witness.port = self.sock.getsockname()[1]
        self._received = bytearray()
        self._at_end = False
        if on_connect is not None:
            on_connect(self)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # -- sending --

    def send(self, message: bytes, cut: str | int = "whole", *, may_break: bool = False) -> None:
        """Send all of it.  may_break: the server may close before it has read everything; the rest is then dropped."""
        for piece in cut_up(message, cut):
            try:
                self._send_piece(piece)
            except (BrokenPipeError, ConnectionResetError):
                if not may_break:
                    raise
                return
            except TimeoutError:
                raise WireError(f"the server did not read within {self.timeout:g} s") from None
            if self.is_unix and cut != "whole":
                self._wait_until_read()

    def send_what_fits(self, message: bytes) -> int:
        """Send as much as the sockets take without anybody reading; how many octets that was."""
        self.sock.setblocking(False)
        sent = 0
        try:
            while sent < len(message):
                sent += self.sock.send(message[sent : sent + 65536])
        except BlockingIOError:
            pass
        finally:
            self.sock.settimeout(self.timeout)
        if self._watched:
            self.witness.take(message[:sent])
        return sent

    def _send_piece(self, piece: bytes) -> None:
        if self._watched:
            self.witness.take(piece)
        self.sock.sendall(piece)

    def _wait_until_read(self) -> None:
        """Until the peer has received all that was sent, or has better things to do for a while."""
        if sys.platform != "linux":
            return
        until = time.monotonic() + 0.5
        while self.unread_bytes() and time.monotonic() < until:
            os.sched_yield()

    def unread_bytes(self) -> int:
        """Of a UNIX socket: octets (and the kernel's own) that the server has not received yet.  Linux."""
        answer = fcntl.ioctl(self.sock, termios.TIOCOUTQ, b"\0" * 4)
        return int(struct.unpack("i", answer)[0])

    def half_close(self) -> None:
        """FIN: nothing more will be sent, but everything will be read."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with a reset (TCP; a UNIX socket just closes)."""
        if not self.is_unix:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()

    # -- receiving --

    def exchange(self, message: bytes, cut: str | int = "whole", *, method: str = "GET") -> Response:
        """Send one request and read its response; method: of the request."""
        self.send(message, cut)
        return self.read_response(method)

    def read_response(self, method: str = "GET") -> Response:
        """The next response, an interim one (1xx) as well, to a request with this method."""
        response = self.read_head()
        self._read_body(response, method)
        return response

    def read_final_response(self, method: str = "GET") -> Response:
        """The next response that is not an interim one."""
        while (response := self.read_response(method)).status < 200:
            pass
        return response

    def read_head(self) -> Response:
        """Status line and fields of the next response; its body is left where it is."""
        line = self._read_line()
        match = _STATUS_LINE.fullmatch(line)
        if match is None:
            raise WireError(f"this is no status line: {line!r}")
        response = Response(int(match[1]), match[2].decode("latin-1"), [])
        while (line := self._read_line()) != b"\r\n":
            match = _FIELD_LINE.fullmatch(line)
            if match is None:
                raise WireError(f"this is no field line: {line!r}")
            response.fields.append((match[1].decode("latin-1"), match[2].decode("latin-1")))
        check_head(response)
        return response

    def _read_body(self, response: Response, method: str) -> None:
        """RFC 9112 §6.3, from the client's side."""
        length = response.get("Content-Length")
        if method == "HEAD" or response.status < 200 or response.status in (204, 304):
            return
        if response.get("Transfer-Encoding") is not None:
            response.framing = "chunked"
            self._read_chunks(response)
        elif length is not None:
            response.framing = "length"
            response.body = self.read_exactly(int(length))
        else:
            response.framing = "close"
            response.body = self.read_until_close()

    def _read_chunks(self, response: Response) -> None:
        while True:
            line = self._read_line()
            match = _CHUNK_LINE.fullmatch(line)
            if match is None:
                raise WireError(f"this is no chunk-size line: {line!r}")
            size = int(match[1], 16)
            if size:
                response.chunk_sizes.append(size)
                response.body += self.read_exactly(size)
            if (end := self.read_exactly(2)) != b"\r\n":
                raise WireError(f"behind the chunk data stands {end!r}")
            if not size:
                return

    def _read_line(self) -> bytes:
        while (end := self._received.find(b"\n")) < 0:
            if len(self._received) > 1 << 20:
                raise WireError("a line of more than 1 MiB")
            if not self._receive():
                raise WireError(f"the connection was closed within a head: {bytes(self._received)!r}")
        return self._take(end + 1)

    def read_exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            if not self._receive():
                raise WireError(f"the connection was closed after {len(self._received)} of {size} octets")
        return self._take(size)

    def read_until_close(self) -> bytes:
        """Everything until the server closes; WireError when it does not, or resets."""
        while self._receive():
            pass
        return self._take(len(self._received))

    def assert_closed(self, timeout: float | None = None) -> None:
        """The server closes within this time, without a further octet and without a reset."""
        rest = self._with_timeout(timeout, self.read_until_close)
        if rest:
            raise WireError(f"before the server closed it still sent {rest!r}")

    def assert_gone(self, timeout: float | None = None) -> None:
        """The server closes or resets within this time, without a further octet."""
        with contextlib.suppress(ConnectionResetError):
            self.assert_closed(timeout)

    def assert_reset(self, timeout: float | None = None) -> None:
        """The server resets the connection, whatever came before."""
        try:
            rest = self._with_timeout(timeout, self.read_until_close)
        except ConnectionResetError:
            return
        raise WireError(f"the connection was closed in order, after {rest!r}")

    def assert_open(self, message: bytes = b"GET /still-open HTTP/1.1\r\nHost: a\r\n\r\n") -> Response:
        """The connection is open and quiet: a further request gets the next response."""
        if self._received:
            raise WireError(f"the server sent what nobody asked for: {bytes(self._received)!r}")
        return self.exchange(message)

    def has_input(self, seconds: float = 0) -> bool:
        """Is there something to read (or the end of the connection), now or within these seconds?"""
        if self._received:
            return True
        return bool(select.select([self.sock], [], [], seconds)[0])

    def _with_timeout(self, timeout: float | None, action: Callable[[], T]) -> T:
        self.sock.settimeout(self.timeout if timeout is None else timeout)
        try:
            return action()
        finally:
            self.sock.settimeout(self.timeout)

    def _receive(self) -> bool:
        """False at the end of the connection."""
        if self._at_end:
            return False
        try:
            octets = self.sock.recv(65536)
        except TimeoutError:
            raise WireError(
                f"nothing came for {self.sock.gettimeout():g} s; so far {bytes(self._received[:200])!r}"
            ) from None
        self._received += octets
        self._at_end = not octets
        return not self._at_end

    def _take(self, size: int) -> bytes:
        octets = bytes(self._received[:size])
        del self._received[:size]
        return octets


def check_head(response: Response) -> None:
    """What holds of every response head, whatever was asked (RFC 9110 §5, §6.6.1, §8.6, RFC 9112 §6)."""
    length, coding = response.get("Content-Length"), response.get("Transfer-Encoding")
    if length is not None and not re.fullmatch(r"0|[1-9][0-9]{0,18}", length):
        raise WireError(f"Content-Length is {length!r}")
    if coding is not None and coding != "chunked":
        raise WireError(f"Transfer-Encoding is {coding!r}")
    if length is not None and coding is not None:
        raise WireError("Content-Length came together with Transfer-Encoding")
    if (response.status < 200 or response.status == 204) and (length or coding):
        raise WireError(f"a {response.status} response came with Content-Length or Transfer-Encoding")
    date = response.get("Date")
    if date is not None and not _DATE.fullmatch(date):
        raise WireError(f"Date is {date!r}")


def request(
    target: str = "/",
    *,
    method: str = "GET",
    version: str = "1.1",
    host: str | None = "example.com",
    fields: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
) -> bytes:
    """A well-formed request; Content-Length is added when there is a body and no field says how long it is."""
    lines = [f"{method} {target} HTTP/{version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    fields = list(fields)
    lines += [f"{name}: {value}" for name, value in fields]
    if body and not any(name.lower() in ("content-length", "transfer-encoding") for name, _ in fields):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def chunked(*blocks: bytes, trailer: bytes = b"") -> bytes:
    """A chunked body, a chunk for each block.  trailer: whole field lines."""
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(block), block) for block in blocks if block)
    return chunks + b"0\r\n" + trailer + b"\r\n"
