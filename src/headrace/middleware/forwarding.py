"""Fields and targets as a gateway hands them on: environ to a request for a backend, and an answer's fields back.

Pure functions; what they know of is RFC 9110 §7.6 (forwarding), RFC 9112 (framing) and RFC 7239 (Forwarded).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, unquote

from headrace.forwarded_fields import CLIENT_ADDRESSES, LOOKALIKES, Malformed, parse_forwarded
from headrace.middleware.grammar import has_control_character, is_token, list_members

#: RFC 9110 §7.6.1 and Appendix B.2 of its predecessor RFC 7230: these concern one connection only, whether Connection
#: names them or not.  Those of PEP 3333 are among them ("Other HTTP Features").
HOP_BY_HOP = frozenset(
    {
        "connection",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
    }
)

#: Made anew for each request: framing, expectations that were met before the application was called, and what says
#: who asked (a client's own words about that must not reach a backend that believes this gateway).
_MADE_ANEW = frozenset({"content-length", "expect", "forwarded", "host", "via"})

_NOT_IN_TARGET = re.compile(r"[^!\x24-\x7e]")  # also #, which would begin a fragment, and "


class BadRequest(ValueError):
    """The environ has something that no request can carry.  ``status`` is the answer's, str is its text."""

    def __init__(self, text: str, status: str = "400 Bad Request") -> None:
        super().__init__(text)
        self.status = status


def end_to_end_fields(environ: dict[str, Any]) -> dict[str, str]:
    """The request's fields without those that concern one connection, or that are made anew (RFC 9110 §7.6.1).

    Raises BadRequest for a value with a control character or one that is not latin-1: it could end its line.
    """
    named = named_by_connection(environ)
    fields = {}
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            name = key[5:].replace("_", "-").title()
        elif key == "CONTENT_TYPE" and value:
            name = "Content-Type"
        else:
            continue
        checked_value(name, value)
        lower = name.lower()
        if lower in HOP_BY_HOP or lower in _MADE_ANEW or lower in named or not is_token(name):
            continue
        if key in LOOKALIKES or key in CLIENT_ADDRESSES:
            continue
        if lower.startswith("x-forwarded-") and lower != "x-forwarded-for":
            continue
        fields[name] = value
    return fields


def named_by_connection(environ: dict[str, Any]) -> set[str]:
    """RFC 9110 §7.6.1: the names, in lower case, of what concerns the client's connection only."""
    return list_members([environ.get("HTTP_CONNECTION", "")])


def checked_value(name: str, value: str) -> str:
    """The value, if a field can have it (RFC 9110 §5.5).  Raises BadRequest."""
    if has_control_character(value):
        raise BadRequest(f"The field {name} has a control character")
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        raise BadRequest(f"The field {name} is not latin-1") from None
    return value


def host_of(environ: dict[str, Any]) -> str:
    """The host that the client asked for, or what PEP 3333 ("URL Reconstruction") has in its place."""
    host: str = environ.get("HTTP_HOST", "")
    if not host:
        host, port = environ["SERVER_NAME"], environ["SERVER_PORT"]
        if port != ("443" if environ["wsgi.url_scheme"] == "https" else "80"):
            host += f":{port}"
    return checked_value("Host", host)


def target_of(environ: dict[str, Any], strip_prefix: bool) -> str:
    """The request target in origin form (RFC 9112 §3.2.1), with strip_prefix without SCRIPT_NAME; or "*".

    A target that the server kept (RAW_URI, REQUEST_URI) is handed on as it came, as long as it still means what
    environ says: RFC 9110 §7.7 wants path and query untouched, and signatures of URLs need them so.
    """
    script, path = environ.get("SCRIPT_NAME", ""), environ.get("PATH_INFO", "")
    query = environ.get("QUERY_STRING", "")
    raw = environ.get("RAW_URI") or environ.get("REQUEST_URI") or ""
    if raw == "*" and environ["REQUEST_METHOD"] == "OPTIONS":
        return raw
    if not raw.startswith("/"):
        raw = re.sub(r"^[A-Za-z][A-Za-z0-9+.\-]*://[^/?#]*", "", raw)  # absolute form, RFC 9112 §3.2.2
    raw_path, mark, raw_query = raw.partition("?")
    if not raw_path or unquote(raw_path, "latin-1") != script + path:
        raw_path, mark, raw_query = quoted_path(script + path), "", ""
    if strip_prefix and script:
        rest = raw_path.removeprefix(quoted_path(script))
        # "/a%2Fb" under "/a" is none: environ says "/b", as the applications beside it are told.
        raw_path = rest if len(rest) < len(raw_path) and rest[:1] in ("", "/") else quoted_path(path)
    if raw_query != query:
        mark, raw_query = "?" if query else "", query
    target = (raw_path if raw_path.startswith("/") else f"/{raw_path}") + mark + raw_query
    return _NOT_IN_TARGET.sub(lambda odd: quote(odd[0], encoding="latin-1"), target)


def quoted_path(path: str) -> str:
    """A path as environ has it, percent-encoded again (RFC 3986 §3.3)."""
    return quote(path, "/!$&'()*+,;=:@", "latin-1")


def declared_length(environ: dict[str, Any]) -> int | None:
    """CONTENT_LENGTH in octets; None for a body of unknown length.

    Without wsgi.input_terminated nobody may read to an end that is not declared (PEP 3333, "Input and Error Streams"):
    then a missing length is 0, and a chunked body is a BadRequest (411, RFC 9110 §15.5.12).
    """
    text = environ.get("CONTENT_LENGTH") or ""
    if text:
        if not re.fullmatch("[0-9]{1,18}", text):
            raise BadRequest(f"The Content-Length {text!r:.40} is not a number of octets")
        return int(text)
    if environ.get("wsgi.input_terminated"):
        return None
    if environ.get("HTTP_TRANSFER_ENCODING"):
        raise BadRequest("A body needs a Content-Length here", "411 Length Required")
    return 0


def forwarding_fields(environ: dict[str, Any], host: str, pseudonym: str) -> dict[str, str]:
    """Via, X-Forwarded-For, -Proto and -Host, and Forwarded, each behind what was there before.  environ has been
    checked by end_to_end_fields().

    The client's own X-Forwarded-Proto and -Host are gone by now: what this server saw takes their place.
    """
    named = named_by_connection(environ)
    before = {
        name: "" if name.lower() in named else environ.get(key, "")
        for name, key in (
            ("X-Forwarded-For", "HTTP_X_FORWARDED_FOR"),
            ("Forwarded", "HTTP_FORWARDED"),
            ("Via", "HTTP_VIA"),
        )
    }
    address, scheme = checked_value("REMOTE_ADDR", environ.get("REMOTE_ADDR", "")), environ["wsgi.url_scheme"]
    fields = {"X-Forwarded-Proto": scheme, "X-Forwarded-Host": host}
    if before["X-Forwarded-For"] or address:
        fields["X-Forwarded-For"] = ", ".join(filter(None, [before["X-Forwarded-For"], address]))
    element = f"for={node_identifier(address)};host={quoted_if_needed(host)};proto={scheme}"
    fields["Forwarded"] = ", ".join(filter(None, [well_formed_forwarded(before["Forwarded"]), element]))
    fields["Via"] = via(before["Via"], environ.get("SERVER_PROTOCOL", "HTTP/1.1"), pseudonym)
    return fields


def well_formed_forwarded(value: str) -> str:
    """The client's Forwarded, or "" where ForwardedHeaders would refuse it: an open quote, say, would swallow what
    comes behind it, and blanks around a semicolon (RFC 7239 §4 has none) get a request refused."""
    try:
        parse_forwarded(value)
    except Malformed:
        return ""
    return value


def node_identifier(address: str) -> str:
    """RFC 7239 §6: IPv6 in brackets and quotes, and "unknown" for what is no address, such as a UNIX socket's peer."""
    address = address.partition("%")[0]  # a zone has no place there
    try:
        version = ipaddress.ip_address(address).version
    except ValueError:
        return "unknown"
    return f'"[{address}]"' if version == 6 else address


def quoted_if_needed(text: str) -> str:
    """A token as it is, anything else as a quoted-string (RFC 9110 §5.6.4)."""
    if is_token(text):
        return text
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def via(before: str, protocol: str, pseudonym: str) -> str:
    """RFC 9110 §7.6.3: the protocol as received, without its name where that is HTTP, and who received it."""
    return ", ".join(filter(None, [before, f"{protocol.removeprefix('HTTP/')} {pseudonym}"]))


def answer_fields(
    fields: Iterable[tuple[str, str]], status: int, protocol: str, pseudonym: str
) -> list[tuple[str, str]]:
    """An answer's end-to-end fields in their order, those of one name (Set-Cookie) as many as they were, and Via."""
    fields = list(fields)
    dropped = HOP_BY_HOP | list_members(value for name, value in fields if name.lower() == "connection") | {"via"}
    if status == 204:
        dropped |= {"content-length"}  # RFC 9110 §8.6
    if status in (204, 304):
        dropped |= {"content-type"}  # there is none to speak of; wsgiref.validate insists
    before = ", ".join(value for name, value in fields if name.lower() == "via")
    kept = [(name, value.strip(" \t")) for name, value in fields if name.lower() not in dropped]
    return [*kept, ("Via", via(before, protocol, pseudonym))]


def max_forwards(environ: dict[str, Any]) -> int | None:
    """How often OPTIONS or TRACE may still be forwarded (RFC 9110 §7.6.2); None for any number, and other methods."""
    text: str = environ.get("HTTP_MAX_FORWARDS", "")
    counts = environ["REQUEST_METHOD"] in ("OPTIONS", "TRACE") and re.fullmatch("[0-9]{1,9}", text)
    return int(text) if counts else None
