"""Starts the servers that have no command line fit for this: `launch.py NAME HOST PORT MODULE:ATTRIBUTE`.

Each import stands in its function, as only the server that is started must be there.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from socketserver import TCPServer
from typing import Any

App = Callable[..., Any]
BACKLOG = 4096


def freastal(app: App, host: str, port: int) -> None:
    importlib.import_module("freastal").serve(app, host=host, port=port, workers=1)


def fastpysgi(app: App, host: str, port: int) -> None:
    server = importlib.import_module("fastpysgi").server
    server.backlog = BACKLOG
    server.init(app, host, port)
    server.run()


def bjoern(app: App, host: str, port: int) -> None:
    bjoern = importlib.import_module("bjoern")
    bjoern.listen(app, host, port, listen_backlog=BACKLOG)
    bjoern.run()


def waitress(app: App, host: str, port: int) -> None:
    importlib.import_module("waitress").serve(
        app, host=host, port=port, threads=1, backlog=BACKLOG, connection_limit=20000, asyncore_use_poll=True
    )


def wsgiref(app: App, host: str, port: int) -> None:
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

    class Quiet(WSGIRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(WSGIServer):
        request_queue_size = BACKLOG

        def server_bind(self) -> None:
            TCPServer.server_bind(self)  # HTTPServer's asks the resolver for our name
            self.server_name, self.server_port = host, port
            self.setup_environ()

    server = Server((host, port), Quiet)
    server.set_app(app)
    server.serve_forever()


STARTERS = {starter.__name__: starter for starter in (freastal, fastpysgi, bjoern, waitress, wsgiref)}


def main() -> None:
    name, host, port, spec = sys.argv[1:]
    sys.path.pop(0)  # this folder: a module of ours could hide one of the server's
    module, _, attribute = spec.partition(":")
    app = getattr(importlib.import_module(module), attribute)
    try:
        STARTERS[name](app, host, int(port))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
