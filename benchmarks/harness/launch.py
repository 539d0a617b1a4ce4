"""Starts the servers that have no command line fit for this: `launch.py NAME HOST PORT MODULE:ATTRIBUTE [THREADS]`.

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


def freastal(app: App, host: str, port: int, threads: int) -> None:
    importlib.import_module("freastal").serve(app, host=host, port=port, workers=1)


def fastpysgi(app: App, host: str, port: int, threads: int) -> None:
    server = importlib.import_module("fastpysgi").server
    server.backlog = BACKLOG
    server.init(app, host, port)
    server.run()


def bjoern(app: App, host: str, port: int, threads: int) -> None:
    bjoern = importlib.import_module("bjoern")
    bjoern.listen(app, host, port, listen_backlog=BACKLOG)
    bjoern.run()


def waitress(app: App, host: str, port: int, threads: int) -> None:
    importlib.import_module("waitress").serve(
        app, host=host, port=port, threads=threads, backlog=BACKLOG, connection_limit=20000, asyncore_use_poll=True
    )


def cheroot(app: App, host: str, port: int, threads: int) -> None:
    wsgi = importlib.import_module("cheroot.wsgi")
    server = wsgi.Server((host, port), app, numthreads=threads, max=threads, request_queue_size=BACKLOG)
    try:
        server.start()
    finally:
        server.stop()


def gevent(app: App, host: str, port: int, threads: int) -> None:
    pywsgi = importlib.import_module("gevent.pywsgi")
    pywsgi.WSGIServer((host, port), app, log=None, backlog=BACKLOG).serve_forever()


def werkzeug(app: App, host: str, port: int, threads: int) -> None:
    """Its server for development, with threads, for it keeps no connection without."""
    serving = importlib.import_module("werkzeug.serving")

    class Quiet(serving.WSGIRequestHandler):  # type: ignore[name-defined, misc]
        def log(self, type: str, message: str, *args: Any) -> None:
            pass

    serving.make_server(host, port, app, threaded=True, request_handler=Quiet).serve_forever()


def wsgiref(app: App, host: str, port: int, threads: int) -> None:
    serve_like_wsgiref("wsgiref.simple_server", app, host, port)


def simple_server(app: App, host: str, port: int, threads: int) -> None:
    serve_like_wsgiref("headrace.simple_server", app, host, port)


def simple_server_keeping(app: App, host: str, port: int, threads: int) -> None:
    serve_like_wsgiref("headrace.simple_server", app, host, port, "HTTP/1.1")


def serve_like_wsgiref(name: str, app: App, host: str, port: int, version: str = "HTTP/1.0") -> None:
    module = importlib.import_module(name)

    class Quiet(module.WSGIRequestHandler):  # type: ignore[name-defined, misc]
        protocol_version = version

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(module.WSGIServer):  # type: ignore[name-defined, misc]
        request_queue_size = BACKLOG

        def server_bind(self) -> None:
            TCPServer.server_bind(self)  # HTTPServer's asks the resolver for our name
            self.server_name, self.server_port = host, port
            self.setup_environ()

    server = Server((host, port), Quiet)
    server.set_app(app)
    server.serve_forever()


PEERS = (freastal, fastpysgi, bjoern, waitress, cheroot, gevent, werkzeug, wsgiref)
LISTED = (*PEERS, simple_server, simple_server_keeping)
STARTERS = {starter.__name__: starter for starter in LISTED}


def main() -> None:
    name, host, port, spec, *threads = sys.argv[1:]
    sys.path.pop(0)  # this folder: a module of ours could hide one of the server's
    module, _, attribute = spec.partition(":")
    app = getattr(importlib.import_module(module), attribute)
    try:
        STARTERS[name](app, host, int(port), int(threads[0]) if threads else 1)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
