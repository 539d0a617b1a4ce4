"""Applications side by side, by path and method: the Router of the WSGI introductions.

headrace examples/router.py
curl http://127.0.0.1:8000/hello
curl http://127.0.0.1:8000/files/a/b
curl -X DELETE http://127.0.0.1:8000/hello
"""

from __future__ import annotations

from typing import Any

from headrace.middleware import Router

application = Router()
TEXT = [("Content-Type", "text/plain; charset=utf-8")]


@application("/")
def index(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", TEXT)
    return [b"/hello and /files are here\n"]


@application("/hello", methods=["GET"])
def hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", TEXT)
    return [b"Hello\n"]


def files(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Below a mount, SCRIPT_NAME says where, and PATH_INFO is what is left."""
    start_response("200 OK", TEXT)
    return [f"under {environ['SCRIPT_NAME']}: {environ['PATH_INFO']}\n".encode("latin-1")]


application.mount("/files", files)
