"""What the logs show of clients, listeners, and requests that were not understood."""

from __future__ import annotations

import os
import re

#: More of a line that nobody has understood tells nothing more, and takes four times as much once it is escaped.
REFUSED_LINE_BYTES_MAX = 256
_PARTS = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^ ]+) (HTTP/[0-9]\.[0-9])")


def refused_line(octets: bytes) -> dict[str, str]:
    """The first line of what a client sent instead of a request line, in environ's keys: in its three parts where it
    has them, and else as if it were the target.

    It may be anything, a TLS ClientHello for one: it is for logs that escape it."""
    line = octets.lstrip(b"\r\n").split(b"\n", 1)[0].rstrip(b"\r")  # RFC 9112 §2.2: empty lines may come before
    parts = _PARTS.fullmatch(line)
    if parts is not None and len(line) <= REFUSED_LINE_BYTES_MAX:
        method, target, protocol = (part.decode("latin-1") for part in parts.groups())
        return {"REQUEST_METHOD": method, "RAW_URI": target, "SERVER_PROTOCOL": protocol}
    cut = line[:REFUSED_LINE_BYTES_MAX].decode("latin-1")
    return {"RAW_URI": cut if len(line) <= REFUSED_LINE_BYTES_MAX else cut + "..."}


def peer_name(address: str, port: str) -> str:
    """A client as logs name it: "192.0.2.1:4711", "[::1]:4711"; "unix" for one of a UNIX socket, which has neither."""
    if not address:
        return "unix"
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def request_name(method: str | None, target: str | None) -> str:
    """A request as logs name it: "GET /shop", without the query, which may hold what does not belong there; "a request"
    where its request line was not understood (None).  What was understood is ASCII without control octets."""
    return "a request" if method is None or target is None else f"{method} {target.partition('?')[0]}"


def listener_name(address: tuple[str, int] | tuple[str, int, int, int] | str | bytes) -> str:
    """What getsockname() says of a listener, as HR101 has it: "http://127.0.0.1:8000", "unix:/run/app.sock"."""
    if isinstance(address, tuple):
        return f"http://{peer_name(address[0], str(address[1]))}"
    path = os.fsdecode(address)
    return f"unix:@{path[1:]}" if path.startswith("\0") else f"unix:{path}"


#: Most heads are shorter; the objection to one says where in it the two differ.
ESCAPED_BYTES_MAX = 8192


def escaped(octets: bytes) -> str:
    """Octets of a client's in one line of printable ASCII, as a literal of Python; no longer than is good for a log."""
    if len(octets) <= ESCAPED_BYTES_MAX:
        return repr(octets)
    return f"{octets[:ESCAPED_BYTES_MAX]!r}... ({len(octets)} octets)"
