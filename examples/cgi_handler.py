"""A CGI program that was written for wsgiref: only its imports say headrace now.

It shows a file of its folder, or where it is. Web servers start it as they start examples/cgi_gateway.py.

    REQUEST_METHOD=GET PATH_INFO=/file/cgi_handler.py SERVER_PROTOCOL=HTTP/1.1 python examples/cgi_handler.py
    headrace examples/cgi_handler.py
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from headrace.handlers import CGIHandler
from headrace.headers import Headers
from headrace.util import FileWrapper, request_uri, shift_path_info

FOLDER = Path(__file__).parent


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    headers = Headers([("Content-Type", "text/plain; charset=utf-8")])
    if shift_path_info(environ) == "file":  # SCRIPT_NAME has "/file" at its end now
        name = shift_path_info(environ)
        if name in (path.name for path in FOLDER.glob("*.py")):
            headers.add_header("Content-Disposition", "attachment", filename=name)
            start_response("200 OK", headers.items())
            return FileWrapper((FOLDER / name).open("rb"))
        start_response("404 Not Found", headers.items())
        return [b"no such file\n"]
    start_response("200 OK", headers.items())
    return [f"You are at {request_uri(environ)}\n".encode()]


if __name__ == "__main__":
    CGIHandler().run(application)
