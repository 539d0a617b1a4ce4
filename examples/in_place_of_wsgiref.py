"""A program that was written for wsgiref.simple_server: only its imports say headrace now.

    python examples/in_place_of_wsgiref.py
    headrace examples/in_place_of_wsgiref.py

The first prints where it serves and which engine does, and ends at Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from socketserver import ThreadingMixIn
from typing import Any

from headrace.simple_server import WSGIRequestHandler, WSGIServer, make_server
from headrace.util import application_uri


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{environ['SERVER_SOFTWARE']} serves {application_uri(environ)}\n".encode()]


class ThreadingServer(ThreadingMixIn, WSGIServer):
    """Several requests at a time, as with wsgiref."""

    daemon_threads = True


class QuietHandler(WSGIRequestHandler):
    """No line for each request."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


def main(port: int = 8000) -> None:
    with make_server("127.0.0.1", port, application, ThreadingServer, QuietHandler) as server:
        print(f"Serving on http://127.0.0.1:{server.server_port}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print(f"Ends; the engine was {server.engine}: {server.engine_reason}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
