"""What a message of the table is, and what the messages are made of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """MALFORMED: it breaks the grammar or a MUST; nobody may hand it on.  OPEN: the RFC lets the recipient choose.
    VALID: everybody has to answer it."""

    MALFORMED = "malformed"
    OPEN = "open"
    VALID = "valid"


@dataclass(frozen=True)
class Case:
    """subject, title: of the group and the row; together they are unique.  rule: where the standard speaks of it.

    shows: the key of what the application saw that tells readings apart.  harm: values of it that nobody may see;
    a call that saw another one was no fault.  harmless: values of `shows` that make a call of a malformed message
    right (a NUL replaced by a space).  expects: for valid ones, what the application must see.
    """

    subject: str
    title: str
    octets: bytes
    rule: str
    kind: Kind
    ours: str
    shows: str = ""
    harm: tuple[str, ...] = ()
    harmless: tuple[str, ...] = ()
    expects: tuple[tuple[str, str], ...] = ()
    half_close: bool = False

    @property
    def name(self) -> str:
        return f"{self.subject}: {self.title}"


START = b"POST / HTTP/1.1\r\n"
HOST = b"Host: a\r\n"
ZERO = b"0\r\n\r\n"
HELLO = b"5\r\nhello\r\n" + ZERO
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
REFUSED = "400"
SHOWN_CHARACTERS_MAX = 40
OVERFLOWN = ("hello", "")  # bodies of who reads 2^64 + 5 as 5, or hands on what there is


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return START + HOST + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def get(target: bytes = b"/", *lines: bytes, version: bytes = b"HTTP/1.1", method: bytes = b"GET") -> bytes:
    line = method + b" " + target + b" " + version + b"\r\n"
    return line + HOST + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def chunked(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", body=body)


def shown(value: str) -> str:
    """As Python writes it in ASCII, without quotes."""
    text = ascii(value)[1:-1]
    return text if len(text) <= SHOWN_CHARACTERS_MAX else text[:SHOWN_CHARACTERS_MAX] + "..."


def as_code(text: str) -> str:
    """For Markdown, where a backquote ends what one backquote has begun."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


class Group:
    """The rows of one subject, in their order."""

    def __init__(self, subject: str, rule: str) -> None:
        self.subject = subject
        self.rule = rule
        self.cases: list[Case] = []

    def malformed(self, title: str, octets: bytes, ours: str = REFUSED, rule: str = "", **more: object) -> None:
        self._add(title, octets, ours, rule, Kind.MALFORMED, more)

    def open(self, title: str, octets: bytes, ours: str = REFUSED, rule: str = "", **more: object) -> None:
        self._add(title, octets, ours, rule, Kind.OPEN, more)

    def valid(self, title: str, octets: bytes, rule: str, ours: str = "200, open", **expects: str) -> None:
        self._add(title, octets, ours, rule, Kind.VALID, {"expects": tuple(expects.items())})

    def _add(self, title: str, octets: bytes, ours: str, rule: str, kind: Kind, more: dict[str, object]) -> None:
        case = Case(self.subject, title, octets, rule or self.rule, kind, ours, **more)  # type: ignore[arg-type]
        self.cases.append(case)
