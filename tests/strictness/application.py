"""The application that is asked in each server: its answer says what it saw, between marks that no head contains.

It uses nothing but PEP 3333, and reads the whole body before it answers: a server that calls it before the body has
come may still say there that the body is wrong.  Then it does not answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

BEGIN, END = b"<<saw ", b" saw>>"
SHOWN = ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "SERVER_PROTOCOL", "HTTP_HOST", "HTTP_X_A", "HTTP_PROXY")


def read_body(environ: dict[str, Any]) -> bytes:
    """wsgi.input to its end where the server says that it has one, else as long as it says: as Flask and others do."""
    if environ.get("wsgi.input_terminated"):
        return bytes(environ["wsgi.input"].read())
    return bytes(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))


def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    body = read_body(environ)
    saw = {name: environ[name] for name in SHOWN if name in environ}
    saw |= {"body": body[:200].decode("latin-1"), "body_bytes": len(body)}
    answer = BEGIN + json.dumps(saw).encode() + END
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer]
