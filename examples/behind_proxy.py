"""Behind a proxy on the same machine, the application is told who the client is and what it asked for.

    headrace examples/behind_proxy.py
    curl -H "X-Forwarded-For: 192.0.2.7" -H "X-Forwarded-Proto: https" http://127.0.0.1:8000/

The proxy has to set both fields, or to remove them.  For nginx:

    proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
"""

from __future__ import annotations

from typing import Any
from wsgiref.util import request_uri

from headrace.middleware import ForwardedHeaders


def who(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['REMOTE_ADDR']} asked for {request_uri(environ)}\n".encode()]


application = ForwardedHeaders(who, trusted=["127.0.0.0/8", "::1", "unix"])
