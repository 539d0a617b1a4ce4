"""The smallest WSGI application.

headrace examples/hello.py
curl http://127.0.0.1:8000/
"""

from __future__ import annotations

from typing import Any


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    body = b"Hello from Headrace\n"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
