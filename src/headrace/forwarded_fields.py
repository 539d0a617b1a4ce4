"""What proxies say of the client, X-Forwarded-* and Forwarded (RFC 7239): the grammar, and what becomes of environ.

Pure functions, used by the server itself (engine/forwarded_rules.py) and by middleware.ForwardedHeaders.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from headrace.networks import Address, Networks, plain

FORWARDED = "Forwarded"
X_FORWARDED = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix")

#: What every proxy that adds anything adds.  The others pass through many proxies as the client sent them.
DEFAULT_FIELDS = ("X-Forwarded-For", "X-Forwarded-Proto")

#: Loopback and UNIX sockets: a proxy on the same machine.
DEFAULT_TRUSTED = ("127.0.0.0/8", "::1/128", "unix")

#: Statements of proxies that are looked at, from the last one on.  Real chains have fewer than ten; a head has room for
#: 14,000, and to look at each took 100 ms.
HOPS_MAX = 100

#: Parameters of Forwarded that are read, empty ones among them: the four of RFC 7239 §5, for so many proxies.
PARAMETERS_MAX = 4 * HOPS_MAX

#: environ's key for what was there before a proxy was believed.
BEFORE = "headrace.forwarded"

#: Other spellings of the same statements, which some frameworks believe.  Never read here.
LOOKALIKES = frozenset(
    "HTTP_" + name
    for name in (
        "FRONT_END_HTTPS",
        "X_FORWARDED_BY",
        "X_FORWARDED_PROTOCOL",
        "X_FORWARDED_SCHEME",
        "X_FORWARDED_SERVER",
        "X_FORWARDED_SSL",
        "X_REAL_IP",
        "X_URL_SCHEME",
    )
)

#: What networks in front of many sites call the client's address, and frameworks look for.  Left to the application
#: where the peer is trusted (mod_wsgi: CVE-2022-2255 was X-Client-IP of one that was not).
CLIENT_ADDRESSES = frozenset(
    "HTTP_" + name
    for name in ("CF_CONNECTING_IP", "FASTLY_CLIENT_IP", "TRUE_CLIENT_IP", "X_CLIENT_IP", "X_CLUSTER_CLIENT_IP")
)


class Malformed(ValueError):
    """A field from a trusted proxy does not follow its grammar.  The text names the field and the value."""


class Told(NamedTuple):
    """What the proxies say; None where they say nothing.

    address: of the client, "" when a proxy said that it does not know it.  port: of the client, or "".
    scheme: "http" or "https".  host: with its port, if it has one.  host_port: the port that the client asked for.
    prefix: what stands in front of the path, percent-decoded.
    """

    address: str | None = None
    port: str = ""
    scheme: str | None = None
    host: str | None = None
    host_port: str | None = None
    prefix: str | None = None


# -- what a request says ----------------------------------------------------------------------------------------------


def key_of(name: str) -> str:
    """The field's name in environ."""
    return "HTTP_" + name.upper().replace("-", "_")


def known_fields(fields: Iterable[str]) -> tuple[str, ...]:
    """As they are spelled here.  Raises ValueError."""
    spelled = {name.lower(): name for name in (FORWARDED, *X_FORWARDED)}
    names = tuple(fields)
    for name in names:
        if name.lower() not in spelled:
            raise ValueError(f"{name!r} is none of the fields {', '.join(spelled.values())}")
    known = tuple(dict.fromkeys(spelled[name.lower()] for name in names))
    if FORWARDED in known and len(known) > 1:
        raise ValueError(f"a proxy is believed either in {FORWARDED} or in X-Forwarded-*, not in both: {known}")
    return known


def hops_believed(networks: Networks, hops: int | None) -> int | None:
    """Of everybody who may connect, any number of hops would lead to what the client has made up: one then."""
    return 1 if hops is None and networks.trusts_everybody else hops


def read_told(
    environ: Mapping[str, Any], fields: Iterable[str], trusts: Callable[[Address], bool], hops: int | None
) -> Told:
    """What the proxies say in these of their fields.  trusts: is this address a proxy's, which is believed as well?
    hops: how many statements are believed at most, up to HOPS_MAX; None: so many.  Raises Malformed."""
    values = {name: environ[key_of(name)] for name in fields if environ.get(key_of(name), "").strip(" \t")}
    if FORWARDED in values:
        return _read_forwarded(values[FORWARDED], trusts, hops)
    return _read_x_forwarded({name: _members(value) for name, value in values.items()}, trusts, hops)


def _walk(
    count: int, node_at: Callable[[int], Node], trusts: Callable[[Address], bool], hops: int | None
) -> tuple[int, Node]:
    """How many of the proxies' statements are believed, the last one first, and the node that the farthest of them
    names.  Those in front of it may be the client's invention, and are not looked at.

    node_at(1) is the last node, which the peer has told, of `count`.  After HOPS_MAX of them the last one that was
    looked at is the client's, even if it is a proxy's: nobody gets another address by what is in front of it.
    """
    hop, most = 1, min(count, HOPS_MAX if hops is None else hops)
    node = node_at(1)
    while hop < most and node.address is not None and trusts(node.address):
        hop += 1
        node = node_at(hop)
    return hop, node


def _read_forwarded(value: str, trusts: Callable[[Address], bool], hops: int | None) -> Told:
    elements = parse_forwarded(value)
    # An element without "for" does not say whom its proxy speaks for.
    hop, node = _walk(len(elements), lambda hop: forwarded_node(elements[-hop].get("for", "unknown")), trusts, hops)
    element = elements[-hop]
    return Told(
        address=node.text,
        port=node.port,
        scheme=_scheme(element["proto"], FORWARDED) if "proto" in element else None,
        host=_host(element["host"], FORWARDED) if "host" in element else None,
    )


def _read_x_forwarded(members: dict[str, list[str]], trusts: Callable[[Address], bool], hops: int | None) -> Told:
    nodes = members.get("X-Forwarded-For")
    hop, node = 1, None
    if nodes is not None:
        hop, node = _walk(len(nodes), lambda hop: x_forwarded_node(nodes[-hop]), trusts, hops)

    def read(name: str, check: Callable[[str, str], str]) -> str | None:
        found = members.get(name)
        if found is None:
            return None
        if 1 < len(found) < hop:
            raise Malformed(f"{name} has {len(found)} values, and X-Forwarded-For shows {hop} proxies")
        return check(found[0] if len(found) == 1 else found[-hop], name)

    return Told(
        address=None if node is None else node.text,
        port="" if node is None else node.port,
        scheme=read("X-Forwarded-Proto", _scheme),
        host=read("X-Forwarded-Host", _host),
        host_port=read("X-Forwarded-Port", _port),
        prefix=read("X-Forwarded-Prefix", _prefix),
    )


# -- the fields' grammar ----------------------------------------------------------------------------------------------


class Node(NamedTuple):
    """A client or proxy.  address: None when it is not known.  port: in digits, or ""."""

    address: Address | None
    port: str = ""

    @property
    def text(self) -> str:
        return "" if self.address is None else str(self.address)


_NAME = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = r'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
_PAIR = re.compile(rf"({_NAME})=(?:({_NAME})|({_QUOTED}))")
_SEPARATOR = re.compile(r"[ \t]*,[ \t]*|;|\Z")
_UNKNOWN = re.compile(r"unknown", re.IGNORECASE)
_OBFUSCATED = re.compile(r"_[A-Za-z0-9._\-]+")
_ADDRESS_AND_PORT = re.compile(
    r"(?:\[(?=[^:\]]*:)(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<v4>[0-9]+(?:\.[0-9]+){3}))(?::(?P<port>.+))?"
)
_HOST = re.compile(r"(?P<name>[A-Za-z0-9._\-]+|\[(?=[^:\]]*:)(?P<v6>[0-9A-Fa-f:.]+)\])(?::(?P<port>[0-9]{1,5}))?")
_PREFIX = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+;=:@\-]|%[0-9A-Fa-f]{2})*)+")


def parse_forwarded(value: str) -> list[dict[str, str]]:
    """The elements of a Forwarded field, each with its parameters by lower-case name (RFC 7239 §4).

    Raises Malformed if any of it breaks the grammar: an open quotation mark in front would swallow what is behind.  For
    the same reason it cannot be read from its end, and more than PARAMETERS_MAX parameters are Malformed, too.
    """
    elements: list[dict[str, str]] = []
    element: dict[str, str] = {}
    value = value.strip(" \t")
    at = 0
    for _ in range(PARAMETERS_MAX):
        pair = _PAIR.match(value, at)
        if pair is not None:
            name, token, quoted = pair.groups()
            if name.lower() in element:
                raise Malformed(f"{FORWARDED} has {name!r} twice in one element (RFC 7239 section 4): {value!r}")
            element[name.lower()] = token if token is not None else re.sub(r"\\(.)", r"\1", quoted[1:-1])
            at = pair.end()
        separator = _SEPARATOR.match(value, at)
        if separator is None:
            break
        if separator[0] != ";" and element:
            elements.append(element)
            element = {}
        if not separator[0]:
            break
        at = separator.end()
    else:
        raise Malformed(f"{FORWARDED} has more than {PARAMETERS_MAX} parameters")
    if separator is None or not elements:
        raise Malformed(f"{FORWARDED} is not a list of parameters (RFC 7239 section 4): {value!r}")
    return elements


def forwarded_node(text: str) -> Node:
    """The value of "for" (RFC 7239 §6): an address, IPv6 in brackets, with a port or without; unknown; or a made-up
    name with "_" in front.  Raises Malformed."""
    name, _, port = text.partition(":")
    if (_UNKNOWN.fullmatch(name) or _OBFUSCATED.fullmatch(name)) and (not port or _is_node_port(port)):
        return Node(None)
    match = _ADDRESS_AND_PORT.fullmatch(text)
    if match is None or not (match["port"] is None or _is_node_port(match["port"])):
        raise Malformed(f'{FORWARDED} has a "for" that names no node (RFC 7239 section 6): {text!r}')
    port = match["port"] or ""
    return Node(_address(match["v6"] or match["v4"], FORWARDED, text), port if port.isdigit() else "")


def x_forwarded_node(text: str) -> Node:
    """A member of X-Forwarded-For: an address, with a port (then IPv6 is in brackets) or without, or "unknown".
    Raises Malformed."""
    if _UNKNOWN.fullmatch(text):
        return Node(None)
    match = _ADDRESS_AND_PORT.fullmatch(text)
    if match is None:
        return Node(_address(text, "X-Forwarded-For", text))
    if match["port"] is not None and not _is_port(match["port"]):
        raise Malformed(f"X-Forwarded-For has a port that is none: {text!r}")
    return Node(_address(match["v6"] or match["v4"], "X-Forwarded-For", text), match["port"] or "")


def _address(text: str, name: str, shown: str) -> Address:
    try:
        if "%" in text:  # a zone means something on one machine only
            raise ValueError
        return plain(ipaddress.ip_address(text))
    except ValueError:
        raise Malformed(f"{name} has an address that is none: {shown!r}") from None


def _is_port(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,5}", text) is not None and 0 < int(text) < 65536


def _is_node_port(text: str) -> bool:
    return _is_port(text) or _OBFUSCATED.fullmatch(text) is not None


def _scheme(text: str, name: str) -> str:
    if text.lower() not in ("http", "https"):
        raise Malformed(f"{name} has a scheme that is neither http nor https: {text!r}")
    return text.lower()


def _host(text: str, name: str) -> str:
    match = _HOST.fullmatch(text)
    if match is None or (match["port"] is not None and not _is_port(match["port"])):
        raise Malformed(f"{name} has a host that is none: {text!r}")
    if match["v6"]:
        _address(match["v6"], name, text)
    return text


def _port(text: str, name: str) -> str:
    if not _is_port(text):
        raise Malformed(f"{name} has a port that is none: {text!r}")
    return str(int(text))


def _prefix(text: str, name: str) -> str:
    """Decoded as PATH_INFO is (PEP 3333, "Unicode Issues"), and without a slash at the end."""
    path = unquote(text, "latin-1").rstrip("/")
    if _PREFIX.fullmatch(text) is None or "\0" in path or "//" in path or {".", ".."} & set(path.split("/")):
        raise Malformed(f"{name} has a path that is none: {text!r}")
    return path


def _members(value: str) -> list[str]:
    """Of a list; in front of the last HOPS_MAX, which are all that is looked at, one for all of the rest."""
    return [member.strip(" \t") for member in value.rsplit(",", HOPS_MAX)]


# -- what becomes of environ ------------------------------------------------------------------------------------------

READ_HERE = frozenset(map(key_of, (FORWARDED, *X_FORWARDED)))


def is_statement(key: str) -> bool:
    """Is this key of environ something that only a proxy should say?"""
    return key.startswith("HTTP_") and (
        key in READ_HERE or key in LOOKALIKES or key in CLIENT_ADDRESSES or key.startswith("HTTP_X_FORWARDED_")
    )


def is_removed(key: str, peer_is_trusted: bool) -> bool:
    """Others of the kind, X-Forwarded-User say, are the application's own agreement with a proxy that is trusted."""
    return is_statement(key) and (not peer_is_trusted or key in READ_HERE or key in LOOKALIKES)


def as_it_was(environ: dict[str, Any]) -> dict[str, Any]:
    """The environ before the server itself evaluated the fields, where it did: it leaves them in place, as no other
    does."""
    before: dict[str, Any] | None = environ.get(BEFORE)
    if before is None or not any(key in environ for key in READ_HERE):
        return environ
    return {key: value for key, value in environ.items() if key != BEFORE} | before


def apply_told(told: Told, environ: dict[str, Any]) -> None:
    changes = changes_of(told, environ)
    if changes:
        environ[BEFORE] = {key: environ[key] for key in changes if key in environ}
    for key, value in changes.items():
        if value is None:
            environ.pop(key, None)
        else:
            environ[key] = value


def changes_of(told: Told, environ: Mapping[str, Any]) -> dict[str, str | None]:
    """New values by key; None for keys that go."""
    changes: dict[str, str | None] = {}
    if told.address is not None:
        # The port and the name that were there are the proxy's.
        changes.update(REMOTE_ADDR=told.address, REMOTE_PORT=told.port or None, REMOTE_HOST=None)
    if told.scheme is not None:
        changes["wsgi.url_scheme"] = told.scheme
    if told.host is not None or told.host_port is not None:
        changes.update(_authority(told, environ))
    if told.prefix:
        changes["SCRIPT_NAME"] = told.prefix + str(environ.get("SCRIPT_NAME", ""))
    return changes


def _authority(told: Told, environ: Mapping[str, Any]) -> dict[str, str | None]:
    """Host and port that the client asked for: told, or as they are."""
    match = _HOST.fullmatch(told.host if told.host is not None else environ.get("HTTP_HOST", ""))
    default = "443" if (told.scheme or environ["wsgi.url_scheme"]) == "https" else "80"
    if match is None:  # the Host field as the client sent it, and only the port is told
        return {"SERVER_PORT": told.host_port}
    port = told.host_port or match["port"] or default
    host = match["name"] if port == default else f"{match['name']}:{port}"
    if told.host_port is None:
        host = match[0]
    return {"HTTP_HOST": host, "SERVER_NAME": match["name"], "SERVER_PORT": port}
