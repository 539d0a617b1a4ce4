"""The referee: llhttp (the parser of Node.js, through httptools) as a second witness of every request head that the
tests send.

Rule: where our server hands a request to the application, llhttp must have accepted the head as well, and both must
have read the same method, target, version and fields out of it.  The other way round nothing follows: we refuse more.

How: `tests/wire.py` gives every octet that it sends to a `Witness`, which cuts the stream into requests by llhttp's own
reading of the framing, with a fresh parser for each head.  The `serve` fixture records the environ of each call of the
application, and `disagreements()` compares the two when the server has stopped.

Exceptions: those of headrace.referee.DIFFERENCES (docs/referee.md has them in words), and in bodies

    Framing fields in a trailer section.  llhttp applies them to the message; RFC 9110 §6.5.1 lets nothing come of them,
    and we drop every trailer field.  Their names are changed before llhttp sees them.

Nothing else is excused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import httptools

from headrace import referee

#: Nothing that a test sends as one head is longer; a longer one is not kept, and judged as refused.
HEAD_BYTES_MAX = 1 << 20
CHUNK_LINE_BYTES_MAX = 1 << 16  # data may come in longer "lines", and is handed on in pieces


@dataclass(frozen=True)
class Head:
    """A request head as llhttp has read it: every part as octets, fields in their order without white space around."""

    method: bytes
    target: bytes
    version: str
    fields: tuple[tuple[bytes, bytes], ...]

    def first(self, name: bytes) -> bytes | None:
        return next((value for known, value in self.fields if known.lower() == name), None)


class _Parser:
    """One head, and its chunked body, through llhttp."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._at_size_line = False
        self._in_trailer = False
        self.complete = False

    def on_message_complete(self) -> None:
        self.complete = True

    def on_chunk_header(self) -> None:
        self._at_size_line = True

    def feed_line(self, line: bytes) -> bool:
        """A line of a chunked body.  False: llhttp refuses it."""
        if self._in_trailer and line.lower().startswith((b"content-length:", b"transfer-encoding:")):
            line = b"x-" + line
        self._at_size_line = False
        accepted = self.feed(line)
        if accepted and self._at_size_line:
            self._in_trailer = int(line.split(b";")[0], 16) == 0
        return accepted

    def feed(self, octets: bytes) -> bool:
        """False: llhttp refuses them."""
        try:
            self._parser.feed_data(octets)
        except httptools.HttpParserError:
            return False
        return True


#: What stands in the place of a field that llhttp would make more of than a field: see referee.DIFFERENCES.
_STAND_INS = {b"X-upgrade": b"upgrade", b"X-proxy-connection": b"proxy-connection"}


def as_llhttp_wants_it(octets: bytes) -> bytes:
    """A head with all of referee.DIFFERENCES allowed for."""
    method = octets.lstrip(b"\r\n").split(b" ", 1)[0]
    return referee.allow_for_differences(octets, referee.Head(method, b"", "", [], False))[0]


def read_head(octets: bytes) -> Head | None:
    """One whole head, to its empty line.  None: llhttp refuses it."""
    try:
        head = referee.read(octets)
    except referee.Refused:
        try:
            head = referee.read(as_llhttp_wants_it(octets))
        except referee.Refused:
            return None
    method = octets.lstrip(b"\r\n").split(b" ", 1)[0]
    names = [_STAND_INS.get(name, name) for name in head.fields[::2]]
    values = [value.strip(b" \t") for value in head.fields[1::2]]
    return Head(method, head.target, "HTTP/" + head.version, tuple(zip(names, values)))


def chunks_behind(octets: bytes) -> _Parser:
    """A parser that has taken this head, and waits for its first chunk."""
    parser = _Parser()
    parser.feed(as_llhttp_wants_it(octets))
    return parser


@dataclass
class Witness:
    """All that one client sends on one connection, cut into requests by llhttp.

    port: the client's, 0 for a UNIX socket.  heads: one for each request head that was sent completely, None for one
    that llhttp refused; what comes behind that is not looked at.
    """

    port: int = 0
    heads: list[Head | None] = field(default_factory=list)
    _octets: bytes = b""
    _at: int = 0  # of _octets: what is before it has been dealt with
    _skip_bytes: int = 0
    _chunks: _Parser | None = None
    _ended: bool = False
    _again: tuple[bytes, Head] | None = None  # the last head, because floods repeat it

    def take(self, octets: bytes) -> None:
        if self._ended:
            return
        self._octets = self._octets[self._at :] + octets
        self._at = 0
        while self._at < len(self._octets) and not self._ended and self._step():
            pass

    def _step(self) -> bool:
        """Take a part of what is here; False: more has to come first."""
        if self._skip_bytes:
            taken = min(self._skip_bytes, len(self._octets) - self._at)
            self._skip_bytes -= taken
            self._at += taken
            return True
        if self._chunks is not None:
            return self._take_chunks(self._chunks)
        return self._take_head()

    def _take_head(self) -> bool:
        end = self._octets.find(b"\r\n\r\n", self._at + 2)  # an empty line may come first
        if end < 0:
            self._ended = len(self._octets) - self._at > HEAD_BYTES_MAX
            return False
        octets = self._octets[self._at : end + 4]
        self._at = end + 4
        if self._again is not None and self._again[0] == octets:
            head: Head | None = self._again[1]
        else:
            head = read_head(octets)
        self.heads.append(head)
        if head is None:
            self._ended = True
            return False
        self._again = (octets, head)
        if head.first(b"transfer-encoding") is not None:
            self._chunks = chunks_behind(octets)
        elif (length := head.first(b"content-length")) is not None:
            self._skip_bytes = int(length)
        return True

    def _take_chunks(self, parser: _Parser) -> bool:
        """Line by line, because a chunked body ends with one, and where is all we need to know."""
        if not parser.complete:
            end = self._octets.find(b"\n", self._at) + 1
            if end == 0:
                end = len(self._octets)
                if end - self._at < CHUNK_LINE_BYTES_MAX:
                    return False
            if not parser.feed_line(self._octets[self._at : end]):
                self._ended = True
            self._at = end
        if parser.complete:
            self._chunks = None
        return True


# -- the comparison ---------------------------------------------------------------------------------------------------


def expected_environ(head: Head) -> dict[str, str]:
    """The part of environ that comes from the head, by the book (PEP 3333, RFC 3875 §4.1.18) and not by our code."""
    environ = {
        "REQUEST_METHOD": head.method.decode("latin-1"),
        "RAW_URI": head.target.decode("latin-1"),
        "SERVER_PROTOCOL": head.version,
    }
    for raw_name, raw_value in head.fields:
        name, value = raw_name.decode("latin-1").upper(), raw_value.decode("latin-1")
        if "_" in name or name in ("PROXY", "TRANSFER-ENCODING"):
            continue
        key = name.replace("-", "_")
        if name not in ("CONTENT-LENGTH", "CONTENT-TYPE"):
            key = "HTTP_" + key
        separator = "; " if name == "COOKIE" else ","
        environ[key] = environ[key] + separator + value if key in environ else value
    scheme, found, rest = environ["RAW_URI"].partition("://")
    if found and scheme.lower() in ("http", "https") and not environ["RAW_URI"].startswith("/"):
        environ["HTTP_HOST"] = rest.split("/", 1)[0].split("?", 1)[0]
    return environ


def seen_environ(environ: dict[str, str], chunked: bool) -> dict[str, str]:
    """The same part of what the application was given."""
    return {
        key: value
        for key, value in environ.items()
        if key in ("REQUEST_METHOD", "RAW_URI", "SERVER_PROTOCOL", "CONTENT_TYPE")
        or key.startswith("HTTP_")
        or (key == "CONTENT_LENGTH" and not chunked)  # for a chunked body it was counted, not sent
    }


def difference(environ: dict[str, str], head: Head | None) -> str:
    """In one line; "" when they agree."""
    if head is None:
        return "llhttp refuses the head"
    want = expected_environ(head)
    got = seen_environ(environ, head.first(b"transfer-encoding") is not None)
    keys = [key for key in sorted(want.keys() | got.keys()) if want.get(key) != got.get(key)]
    return "; ".join(f"{key} is {got.get(key)!r}, llhttp read {want.get(key)!r}" for key in keys)


def disagreements(environs: Iterable[dict[str, str]], witnesses: Iterable[Witness]) -> list[str]:
    """A sentence for each call of the application that llhttp does not stand behind.

    Over TCP the calls for one client port must be its heads, in their order.  Over a UNIX socket clients have no
    names, so there each call must have a head of its own, of any client.  Calls for a client that is not of
    tests/wire.py (its port is unknown) are left out.
    """
    heads_of: dict[str, list[Head | None]] = {}
    for witness in witnesses:
        heads_of.setdefault(str(witness.port or ""), []).extend(witness.heads)
    complaints = []
    for environ in environs:
        port = environ["REMOTE_PORT"]
        heads = heads_of.get(port)
        if heads is None:
            continue
        request = f"{environ['REQUEST_METHOD']} {environ['RAW_URI']}"
        if not port:
            match = next((head for head in heads if head is not None and not difference(environ, head)), None)
            if match is None:
                complaints.append(f"{request}: no head that was sent reads so to llhttp: {seen_environ(environ, True)}")
            else:
                heads.remove(match)
        elif not heads:
            complaints.append(f"{request}: llhttp sees no such request")
        elif why := difference(environ, heads.pop(0)):
            complaints.append(f"{request}: {why}")
    return complaints
