"""An application is called without any server, and checked against PEP 3333 meanwhile: both sides of the interface.

The second line serves the same application:

    python examples/without_server.py
    headrace examples/without_server.py
"""

from __future__ import annotations

import io
import sys
from typing import Any

from headrace.handlers import SimpleHandler
from headrace.util import setup_testing_defaults
from headrace.validate import validator


def shout(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body.upper() + b"\n"]


application = validator(shout)  # raises AssertionError when the application or the server breaks a rule


def call(content: bytes) -> bytes:
    """The whole response to a POST request."""
    environ: dict[str, Any] = {"REQUEST_METHOD": "POST", "QUERY_STRING": "", "CONTENT_LENGTH": str(len(content))}
    setup_testing_defaults(environ)
    output = io.BytesIO()
    SimpleHandler(io.BytesIO(content), output, sys.stderr, environ).run(application)
    return output.getvalue()


if __name__ == "__main__":
    print(call(b"hello").decode("latin-1"), end="")
