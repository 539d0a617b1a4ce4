"""The referee: llhttp (the parser of Node.js, through httptools) as a second reading of a request head.

Rule: a head that the server has accepted, llhttp must accept as well, be done with at its last octet and not before,
and read the same out of it: method, target, version, each name and value in their order, and whether the connection
persists.  The other way round nothing follows: we refuse more.  Two that read one message in two ways are what request
smuggling needs (RFC 9112 §11.2).

How: a fresh parser for each head, strict, without any of llhttp's leniencies.  What it reads is compared as it is.
Only if that fails, and one of DIFFERENCES applies, is the head judged once more with those allowed for.
docs/referee.md has the same list in words.

Used by ``--referee`` in production, behind the quick yes of engine/referee.pyx, and by the tests' witness of all that
they send.

Raises ImportError, with the way out, where httptools is missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

try:
    import httptools
    from httptools import HttpRequestParser
except ImportError as missing:
    raise ImportError("the referee needs httptools 0.8 or newer: pip install 'headrace[referee]'") from missing

#: What llhttp takes for HTTP/1.x.
METHODS_OF_LLHTTP = frozenset(
    b"DELETE GET HEAD POST PUT CONNECT OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK BIND REBIND "
    b"UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PATCH PURGE MKCALENDAR LINK "
    b"UNLINK SOURCE QUERY".split()
)


class Head(NamedTuple):
    """A request head as a parser has read it, in octets.

    ``version`` is "1.0" or "1.1".  ``fields`` has names and values in turn, in the order of the lines; the values are
    without the optional white space around them (RFC 9112 §5).
    """

    method: bytes
    target: bytes
    version: str
    fields: list[bytes]
    keep_alive: bool


class Refused(Exception):
    """llhttp does not accept the head; the text says why."""


class _Events:
    """What httptools calls.  No reference leads from here to the parser, so that both go at once, without the
    collector."""

    __slots__ = ("on_header", "on_headers_complete", "on_url")

    # httptools looks for all of them; to say that there is none is quicker than to let it miss them
    on_body = on_chunk_complete = on_chunk_header = on_message_begin = on_message_complete = None

    on_header: Callable[[bytes, bytes], None]
    on_headers_complete: Callable[[], None]
    on_url: Callable[[bytes], None]


def read(octets: bytes) -> Head:
    """The head by llhttp.  octets: all of it, from its first to the LF of its empty line.

    Raises Refused where llhttp does not accept it, or is not done with it exactly then.
    """
    events = _Events()
    target: list[bytes] = []
    fields: list[bytes] = []
    unfinished = [True]
    events.on_url = target.append
    add = fields.append

    def on_header(name: bytes, value: bytes) -> None:
        add(name)
        add(value)

    events.on_header = on_header
    events.on_headers_complete = unfinished.clear
    parser = HttpRequestParser(events)
    try:
        parser.feed_data(octets[:-1])
        if not unfinished:
            raise Refused("llhttp is done with it before its end")
        keep_alive = parser.should_keep_alive()  # it forgets with the end of a message
        parser.feed_data(octets[-1:])
    except httptools.HttpParserCallbackError as error:
        raise error.__context__ or error from None  # of a signal handler that ran in on_header
    except httptools.HttpParserUpgrade:
        raise Refused("llhttp takes what follows for another protocol") from None
    except httptools.HttpParserError as error:
        raise Refused(f"llhttp refuses it: {error}") from None
    if unfinished:
        raise Refused("llhttp waits for more of it")
    return Head(parser.get_method(), b"".join(target), parser.get_http_version(), fields, keep_alive)


# -- where the two differ on purpose ----------------------------------------------------------------------------------


class Difference(NamedTuple):
    """Something in which we and llhttp differ, and should.

    ``name`` is its heading in docs/referee.md, ``section`` where the rule stands that we keep to.  ``allow_for`` takes
    the octets of a head and our reading of it, and gives both as they are to be compared: the same two where the
    difference does not apply.
    """

    name: str
    section: str
    allow_for: Callable[[bytes, Head], tuple[bytes, Head]]


def _any_method(octets: bytes, ours: Head) -> tuple[bytes, Head]:
    """Judged with POST in its place."""
    if ours.method in METHODS_OF_LLHTTP:
        return octets, ours
    at = octets.find(ours.method)
    return octets[:at] + b"POST" + octets[at + len(ours.method) :], ours._replace(method=b"POST")


def _blanks_behind_value(octets: bytes, ours: Head) -> tuple[bytes, Head]:
    """Judged with it in our values, too."""
    lines = octets.lstrip(b"\r\n").split(b"\r\n")[1:-2]
    if 2 * len(lines) != len(ours.fields):
        return octets, ours
    fields = list(ours.fields)
    for at, line in zip(range(1, len(fields), 2), lines, strict=True):
        whole = line.partition(b":")[2].lstrip(b" \t")
        if whole.rstrip(b" \t") == fields[at]:
            fields[at] = whole
    return octets, ours._replace(fields=fields)


_LIST = re.compile(rb"(?<=\r\n)(?:Transfer-Encoding|Connection):[^\r\n]*", re.IGNORECASE)
#: Begun only where a run begins: tried at each of its octets, a long one would keep us for hours.
_BLANKS_BEHIND = re.compile(rb"(?<![ \t])[ \t]+(?=,|$)")


def _without_tabs_behind(members: bytes) -> bytes:
    return _BLANKS_BEHIND.sub(lambda blanks: b"" if b"\t" in blanks[0] else blanks[0], members)


def _tab_behind_member(octets: bytes, ours: Head) -> tuple[bytes, Head]:
    """Judged without it.  Up to 9.4.1 llhttp takes no tab behind a connection option, either."""
    amended = _LIST.sub(lambda line: _without_tabs_behind(line[0]), octets)
    if amended == octets:
        return octets, ours
    fields = list(ours.fields)
    for at in range(0, len(fields), 2):
        if fields[at].lower() in (b"transfer-encoding", b"connection"):
            fields[at + 1] = _without_tabs_behind(fields[at + 1])
    return amended, ours._replace(fields=fields)


def _as_another_field(name: bytes, octets: bytes, ours: Head) -> tuple[bytes, Head]:
    """Judged with another name in its place."""
    other = b"X-" + name
    octets, count = re.subn(rb"(?<=\r\n)" + name + rb"(?=:)", other, octets, flags=re.IGNORECASE)
    if not count:
        return octets, ours
    fields = list(ours.fields)
    fields[::2] = [other if mine.lower() == name else mine for mine in fields[::2]]
    return octets, ours._replace(fields=fields)


def _close_on_1_0(octets: bytes, ours: Head) -> tuple[bytes, Head]:
    """Judged as if close did not go before keep-alive."""
    if ours.version != "1.0" or ours.keep_alive:
        return octets, ours
    lists = [value for name, value in zip(*[iter(ours.fields)] * 2, strict=True) if name.lower() == b"connection"]
    options = {option.strip(b" \t").lower() for value in lists for option in value.split(b",")}
    return octets, ours._replace(keep_alive={b"close", b"keep-alive"} <= options)


DIFFERENCES = (
    Difference("Methods", "RFC 9110 §9.1", _any_method),
    Difference("White space behind a value", "RFC 9112 §5", _blanks_behind_value),
    Difference("Tab behind a transfer coding or connection option", "RFC 9110 §5.6.1", _tab_behind_member),
    Difference("Upgrade", "RFC 9110 §7.8", partial(_as_another_field, b"upgrade")),
    Difference("Proxy-Connection", "RFC 9112 §C.2.2", partial(_as_another_field, b"proxy-connection")),
    Difference("Close with keep-alive on HTTP/1.0", "RFC 9112 §9.3", _close_on_1_0),
)


def allow_for_differences(octets: bytes, ours: Head) -> tuple[bytes, Head]:
    """Both with all of DIFFERENCES allowed for."""
    for difference in DIFFERENCES:
        octets, ours = difference.allow_for(octets, ours)
    return octets, ours


# -- the judgement ----------------------------------------------------------------------------------------------------


def judge(octets: bytes, ours: tuple[bytes, bytes, str, list[bytes], bool]) -> str:
    """Why llhttp does not stand behind our reading of a head, in one line; "" when it does.

    octets: those of the head, from its first to the LF of its empty line.  ours: a Head, or what makes one.
    """
    why = _objection(octets, ours)
    if why:
        amended = allow_for_differences(octets, Head(*ours))
        if amended != (octets, ours):
            why = _objection(*amended)
    return why


def _objection(octets: bytes, ours: tuple[bytes, bytes, str, list[bytes], bool]) -> str:
    try:
        theirs = read(octets)
    except Refused as refused:
        return str(refused)
    if theirs == ours:
        return ""
    ours = Head(*ours)
    if ours.fields != theirs.fields:
        return _field_difference(ours.fields, theirs.fields)
    for name, mine, its in zip(Head._fields, ours, theirs, strict=True):
        if mine != its:
            return f"{name} is {mine!r}, llhttp read {its!r}"
    return ""


def _field_difference(mine: Sequence[bytes], its: Sequence[bytes]) -> str:
    if len(mine) != len(its):
        return f"it has {len(mine) // 2} fields, llhttp read {len(its) // 2}"
    number = next(number for number in range(len(mine)) if mine[number] != its[number])
    return f"field {number // 2 + 1} has {mine[number]!r}, llhttp read {its[number]!r}"
