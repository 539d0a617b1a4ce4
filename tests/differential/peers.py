"""What llhttp (through httptools) and h11 make of octets that we took for a request.

Each peer gets our reading and the octets, and says in one line what it reads otherwise, "" for nothing.  It is given
exactly the octets that we took, and must find the end of the message at the last one and not before.

Exceptions, where we accept on purpose what a peer does not, or read it otherwise.  Nothing else is excused, and
`excused` counts how often each was.

llhttp:

 1. Framing fields in a trailer section.
 2. What docs/referee.md lists.  It is taken out here once more, at the offsets of our reading where headrace.referee
    looks for it in the octets, so that a mistake of one shows beside the other; Referee asks headrace.referee itself.

h11:

 1. Framing fields in a trailer section, as above.
 2. An empty line before the request line, which RFC 9112 §2.2 wants ignored.
 3. Content-Length or a chunk size of more than 20 digits, the first of which are zeros: RFC 9110 §8.6 and RFC 9112 §7.1
    have no bound for digits, only for the number, which we check.
"""

from __future__ import annotations

import collections
import re

import h11
import httptools
from ours import COMPLETE, Request

from headrace import referee
from headrace.referee import METHODS_OF_LLHTTP

_FRAMING_TRAILER = re.compile(rb"(?im)^(content-length|transfer-encoding)(?=:)")
_LONG_CHUNK_SIZE = re.compile(rb"\r\n[0-9A-Fa-f]{21,}[;\r]")


class Listener:
    """What one llhttp parser says."""

    def __init__(self) -> None:
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.messages = 0
        self.complete = False
        self.head_complete = False
        self.keep_alive = True
        self.head_fields = 0
        self.method = b""
        self.version = ""
        self.upgrade = False
        self.parser = httptools.HttpRequestParser(self)

    def on_message_begin(self) -> None:
        self.messages += 1

    def on_url(self, part: bytes) -> None:
        self.target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.head_complete = True
        self.head_fields = len(self.fields)
        self.method = self.parser.get_method()
        self.version = self.parser.get_http_version()
        self.keep_alive = self.parser.should_keep_alive()

    def on_body(self, part: bytes) -> None:
        self.body += part

    def on_message_complete(self) -> None:
        self.complete = True

    def feed(self, octets: bytes) -> bool:
        """False: llhttp refuses them."""
        try:
            self.parser.feed_data(octets)
        except httptools.HttpParserUpgrade:
            self.upgrade = True
        except httptools.HttpParserError:
            return False
        return True


def says_close(fields: list[tuple[bytes, bytes]]) -> bool:
    """Is `close` among the options of Connection?"""
    return any(
        option.strip(b" \t").lower() == b"close"
        for name, value in fields
        if name.lower() == b"connection"
        for option in value.split(b",")
    )


class Llhttp:
    def __init__(self) -> None:
        self.excused: collections.Counter[str] = collections.Counter()

    def accepts(self, octets: bytes) -> bool:
        """A whole message and no error up to its end, for the figures."""
        listener = Listener()
        listener.feed(octets)
        return listener.complete or listener.upgrade

    def _prepared(self, request: Request, octets: bytes) -> bytes:
        """The octets of our request with the exceptions taken out, each as long as it was but for the method."""
        octets = octets[: request.used]
        if request.trailer_bytes:
            at = len(octets) - request.trailer_bytes
            trailer = _FRAMING_TRAILER.sub(lambda found: b"x" * len(found[0]), octets[at:])
            if trailer != octets[at:]:
                self.excused["a framing field in the trailer section"] += 1
                octets = octets[:at] + trailer
        for name_at, name_len, value_at, value_len, _ in request.fields:
            if name_len == 7 and octets[name_at : name_at + 7].lower() == b"upgrade":
                self.excused["Upgrade"] += 1
                octets = octets[:name_at] + b"Upgradx" + octets[name_at + 7 :]
            elif name_len == 16 and octets[name_at : name_at + 16].lower() == b"proxy-connection":
                self.excused["Proxy-Connection"] += 1
                octets = octets[:name_at] + b"Proxy-Connectiox" + octets[name_at + 16 :]
            elif name_len == 17 and octets[name_at : name_at + 17].lower() == b"transfer-encoding":
                behind = value_at + value_len
                end = octets.find(b"\r\n", behind)
                if b"\t" in octets[behind:end]:
                    self.excused["a tab behind the value of Transfer-Encoding"] += 1
                    octets = octets[:behind] + b" " * (end - behind) + octets[end:]
        if request.method not in METHODS_OF_LLHTTP:
            self.excused["a method that it does not know"] += 1
            octets = octets[: request.method_at] + b"POST" + octets[request.method_at + len(request.method) :]
        return octets

    def differs(self, request: Request, octets: bytes) -> str:
        octets = self._prepared(request, octets)
        listener = Listener()
        if request.stage == COMPLETE:
            if not listener.feed(octets[:-1]):
                return "llhttp refuses it"
            if listener.complete:
                return "llhttp finds its end before we do"
            if not listener.feed(octets[-1:]):
                return "llhttp refuses its last octet"
            if not listener.complete:
                return "llhttp does not find its end where we do"
        else:
            if not listener.feed(octets):
                return "llhttp refuses what we took as the beginning of one"
            if listener.complete or not listener.head_complete:
                return "llhttp does not find the end of the head where we do"
        if listener.messages != 1:
            return f"llhttp sees {listener.messages} messages"
        method = listener.method if request.method in METHODS_OF_LLHTTP else request.method
        if method != request.method or listener.target != request.target:
            return f"llhttp reads {method!r} {listener.target!r}, we {request.method!r} {request.target!r}"
        if listener.version != f"1.{request.minor_version}":
            return f"llhttp reads version {listener.version}"
        read = [(name, value.strip(b" \t")) for name, value in listener.fields[: listener.head_fields]]
        shift = len(octets) - request.used
        ours = [
            (octets[name_at + shift :][:name_len], octets[value_at + shift :][:value_len])
            for name_at, name_len, value_at, value_len, _ in request.fields
        ]
        if read != ours:
            return f"llhttp reads fields {read}, we {ours}"
        if listener.body != request.body:
            return f"llhttp reads body {listener.body!r}, we {request.body!r}"
        if request.stage == COMPLETE and len(listener.fields) - listener.head_fields != request.trailer_fields:
            return f"llhttp reads trailer fields {listener.fields[listener.head_fields :]}, we {request.trailer_fields}"
        if listener.keep_alive != request.keep_alive:
            if listener.keep_alive and request.minor_version == 0 and says_close(ours):
                self.excused["close and keep-alive on HTTP/1.0"] += 1
                return ""
            return f"llhttp says keep-alive {listener.keep_alive}"
        return ""


class Referee:
    """headrace.referee of the head alone, as --referee asks it."""

    def differs(self, request: Request, octets: bytes) -> str:
        fields = []
        for name_at, name_len, value_at, value_len, _ in request.fields:
            fields += [octets[name_at : name_at + name_len], octets[value_at : value_at + value_len]]
        version = f"1.{request.minor_version}"
        ours = referee.Head(request.method, request.target, version, fields, request.keep_alive)
        return referee.judge(octets[: request.head_bytes], ours)


class H11:
    """h11's server side, a new one for each message."""

    def __init__(self) -> None:
        self.excused: collections.Counter[str] = collections.Counter()

    def read(self, octets: bytes) -> tuple[h11.Request | None, bytes, list[tuple[bytes, bytes]], bool, bytes] | str:
        """(request, body, trailer fields, complete, what is behind it), or why it is refused."""
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        request, body, trailer, complete = None, b"", [], False
        try:
            connection.receive_data(octets)
            while not complete:
                event = connection.next_event()
                if isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    complete, trailer = True, list(event.headers)
                else:  # NEED_DATA, PAUSED, or ConnectionClosed for no octets at all
                    break
        except h11.RemoteProtocolError as error:
            return str(error)
        return request, body, trailer, complete, connection.trailing_data[0]

    def _has_a_long_length(self, request: Request, octets: bytes) -> bool:
        return any(
            value_len > 20 and octets[name_at : name_at + name_len].lower() == b"content-length"
            for name_at, name_len, _, value_len, _ in request.fields
        )

    def differs(self, request: Request, octets: bytes) -> str:
        octets = octets[: request.used]
        if request.trailer_bytes:
            at = len(octets) - request.trailer_bytes
            trailer_octets = _FRAMING_TRAILER.sub(lambda found: b"x" * len(found[0]), octets[at:])
            if trailer_octets != octets[at:]:
                self.excused["a framing field in the trailer section"] += 1
                octets = octets[:at] + trailer_octets
        if request.method_at:
            self.excused["an empty line before the request line"] += 1
        result = self.read(octets[request.method_at :])
        if result == "bad Content-Length" and self._has_a_long_length(request, octets):
            self.excused["Content-Length of more than 20 digits"] += 1
            return ""
        if isinstance(result, str):
            if result.startswith("illegal chunk header") and _LONG_CHUNK_SIZE.search(octets, request.head_bytes - 2):
                self.excused["a chunk size of more than 20 digits"] += 1
                return ""
            return f"h11 refuses it: {result}"
        event, body, trailer, complete, behind = result
        if event is None:
            return "h11 does not find the end of the head"
        if complete != (request.stage == COMPLETE):
            return f"h11 says complete: {complete}"
        if behind and complete:
            return f"h11 finds its end before we do, and {behind!r} behind it"
        if event.method != request.method or event.target != request.target:
            return f"h11 reads {event.method!r} {event.target!r}, we {request.method!r} {request.target!r}"
        if event.http_version != b"1.%d" % request.minor_version:
            return f"h11 reads version {event.http_version!r}"
        ours = [
            (octets[name_at : name_at + name_len].lower(), octets[value_at : value_at + value_len])
            for name_at, name_len, value_at, value_len, _ in request.fields
        ]
        ours = [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in ours]
        if list(event.headers) != ours:
            return f"h11 reads fields {list(event.headers)}, we {ours}"
        if body != request.body:
            return f"h11 reads body {body!r}, we {request.body!r}"
        if complete and len(trailer) != request.trailer_fields:
            return f"h11 reads trailer fields {trailer}, we {request.trailer_fields}"
        return ""
