"""--access-logformat, taken apart: gunicorn's atoms in a text, or the name of a format.

A text is literal but for atoms, %(NAME)s, and %% for a per cent sign.  Where an atom stands decides how its value is
escaped: between double quotes, between spaces, or, in a text that is JSON, as a JSON value or inside a JSON string.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal

Encoding = Literal["word", "quoted", "json string", "json value"]

#: gunicorn's atoms (its settings' page, access_log_format), and behind them ours -> kind, or what is a text: "text" and
#: where it comes from.  "begin:KEY" is taken from environ before the application may change it.
ATOMS: dict[str, tuple[str, str]] = {
    "h": ("text", "begin:REMOTE_ADDR"),
    "l": ("literal", "-"),
    "u": ("text", "user"),
    "t": ("local time", ""),
    "r": ("request line", ""),
    "m": ("text", "method"),
    "U": ("text", "begin:PATH_INFO"),
    "q": ("text", "begin:QUERY_STRING"),
    "H": ("text", "protocol"),
    "s": ("status", ""),
    "B": ("body bytes", ""),
    "b": ("body bytes or dash", ""),
    "f": ("text", "begin:HTTP_REFERER"),
    "a": ("text", "begin:HTTP_USER_AGENT"),
    "T": ("seconds", ""),
    "M": ("milliseconds", ""),
    "D": ("microseconds", ""),
    "L": ("decimal seconds", ""),
    "p": ("text", "pid"),
    "target": ("text", "target"),
    "version": ("version", ""),
    "time": ("utc time", ""),
    "N": ("nanoseconds", ""),
}

#: Names that stand for a format.  Values that are not there are null in JSON, and "-" elsewhere.
PRESETS = {
    "common": '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s',
    "combined": '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"',
    "json": (
        '{"time":%(time)s,"remote_addr":%(h)s,"user":%(u)s,"method":%(m)s,"target":%(target)s,"protocol":%(H)s,'
        '"status":%(s)s,"body_bytes":%(B)s,"duration_us":%(D)s,"referer":%(f)s,"user_agent":%(a)s}'
    ),
    # Elastic Common Schema 8: its field names, with dots, which Elasticsearch takes for nested objects.
    "json-ecs": (
        '{"@timestamp":%(time)s,"ecs.version":"8.11.0","event.kind":"event","event.category":["web"],'
        '"event.dataset":"headrace.access","event.duration":%(N)s,"source.address":%(h)s,"user.name":%(u)s,'
        '"http.request.method":%(m)s,"url.original":%(target)s,"url.path":%(U)s,"url.query":%(q)s,'
        '"http.version":%(version)s,"http.response.status_code":%(s)s,"http.response.body.bytes":%(B)s,'
        '"http.request.referrer":%(f)s,"user_agent.original":%(a)s}'
    ),
    # OpenTelemetry's semantic conventions for HTTP server spans, 1.x; a header's attribute is a list of its values.
    "json-otel": (
        '{"timestamp":%(time)s,"severity_text":"INFO","event.name":"http.server.request",'
        '"http.server.request.duration":%(L)s,"client.address":%(h)s,"user.name":%(u)s,"http.request.method":%(m)s,'
        '"url.path":%(U)s,"url.query":%(q)s,"network.protocol.name":"http","network.protocol.version":%(version)s,'
        '"http.response.status_code":%(s)s,"http.response.body.size":%(B)s,'
        '"http.request.header.referer":[%(f)s],"user_agent.original":%(a)s}'
    ),
}

_ATOM = re.compile(r"%(?:%|\(([^()]*)\)(.?))?", re.DOTALL)
_FIELD = re.compile(r"\{([^{}]+)\}([ioe])")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2


@dataclass(frozen=True, slots=True)
class Part:
    """kind: "literal" with its text, or one of ATOMS' kinds; a "text" has its source: "begin:KEY" and "end:KEY" of
    environ, "header:NAME" (lower case) of the response, "user", "pid", "method", "target" or "protocol"."""

    kind: str
    text: str = ""
    encoding: Encoding = "word"


def parse_access_format(text: str) -> tuple[Part, ...]:
    """The parts of a format.  Raises ValueError whose message tells what is wrong."""
    template = PRESETS.get(text, text)
    if re.search(r"[\x00-\x1f\x7f]", template):
        raise ValueError(f"{text!r} contains a control character")
    if "%" not in template:
        raise ValueError(f"{text!r} is none of {', '.join(PRESETS)}, and has no atoms like %(h)s")
    pieces = _split(template)
    return _merged(_encoded(pieces, _is_json(pieces)))


def _split(template: str) -> list[str | tuple[str, str]]:
    """Literals, and atoms as (kind, text)."""
    pieces: list[str | tuple[str, str]] = []
    at = 0
    for match in _ATOM.finditer(template):
        pieces.append(template[at : match.start()])
        at = match.end()
        if match[0] == "%%":
            pieces.append("%")
        elif match[1] is None:
            raise ValueError(f"{template[match.start() : match.start() + 2]!r} is no atom; they are written %(h)s")
        elif match[2] != "s":
            raise ValueError(f"%({match[1]}){match[2]} is no atom; it is written %({match[1]})s")
        else:
            pieces.append(_atom(match[1]))
    return [*pieces, template[at:]]


def _atom(name: str) -> tuple[str, str]:
    if name in ATOMS:
        return ATOMS[name]
    field = _FIELD.fullmatch(name)
    if not field:
        raise ValueError(f"there is no atom %({name})s; there are {' '.join(ATOMS)} {{NAME}}i {{NAME}}o {{NAME}}e")
    if field[2] == "e":
        return "text", f"end:{field[1]}"
    if not _TOKEN.fullmatch(field[1]):
        raise ValueError(f"%({name})s: {field[1]!r} is not the name of a header field")
    if field[2] == "o":
        return "text", f"header:{field[1].lower()}"
    key = field[1].upper().replace("-", "_")
    return "text", f"begin:{key if key in ('CONTENT_TYPE', 'CONTENT_LENGTH') else f'HTTP_{key}'}"


def _is_json(pieces: list[str | tuple[str, str]]) -> bool:
    """Is it JSON with a number in place of each atom?"""
    text = "".join(piece if isinstance(piece, str) else "1" for piece in pieces).strip()
    if not text.startswith("{"):
        return False
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _encoded(pieces: list[str | tuple[str, str]], is_json: bool) -> list[Part]:
    parts = []
    inside = False  # double quotes
    for piece in pieces:
        if isinstance(piece, str):
            parts.append(Part("literal", piece))
            inside ^= len(re.findall(r'(?:[^\\"]|\\.)*?"' if is_json else '"', piece, re.DOTALL)) % 2 == 1
            continue
        kind, text = piece
        encoding: Encoding = "quoted" if inside else "word"
        if is_json:
            encoding = "json string" if inside else "json value"
        if kind == "literal" and encoding == "json value":
            text = "null"  # what "-" stands for
        parts.append(Part(kind, text, encoding))
    return parts


def _merged(parts: list[Part]) -> tuple[Part, ...]:
    """Neighbouring literals become one."""
    merged: list[Part] = []
    for part in parts:
        if part.kind == "literal" and merged and merged[-1].kind == "literal":
            merged[-1] = Part("literal", merged[-1].text + part.text)
        elif part.kind != "literal" or part.text:
            merged.append(part)
    return tuple(merged)
