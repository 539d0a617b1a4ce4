"""An upload: the body is read in pieces, whatever its size, and its digest is the answer.

    headrace examples/upload.py
    curl -T some.iso http://127.0.0.1:8000/
    curl -T - http://127.0.0.1:8000/ < some.iso        (chunked, no length known)

The body has been received when the application is called, small ones in memory, large ones in a temporary file, so a
slow client keeps nobody else waiting.  `--limit-request-body` bounds it.
"""

from __future__ import annotations

import hashlib
from typing import Any


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    if environ["REQUEST_METHOD"] not in ("PUT", "POST"):
        start_response("405 Method Not Allowed", [("Content-Type", "text/plain"), ("Allow", "PUT, POST")])
        return [b"send a body with PUT or POST\n"]
    digest = hashlib.sha256()
    size = 0
    # wsgi.input ends where the body ends (wsgi.input_terminated), with or without a Content-Length.
    while block := environ["wsgi.input"].read(64 * 1024):
        digest.update(block)
        size += len(block)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{size} bytes, sha256 {digest.hexdigest()}\n".encode()]
