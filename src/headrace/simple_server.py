"""wsgiref.simple_server with another engine under it: ``sed s/wsgiref/headrace/g``.

Every name of wsgiref's module is here, and the classes are true subclasses of its classes (PEP 3333 names it as the
reference; the API is the standard library's, "wsgiref.simple_server").  ``serve_forever()`` and ``handle_request()``
look once at what was made of them: where nothing is overridden that the engine could not honour, and the socket is a
plain listening one, the compiled engine serves; else the inherited methods do, unchanged.  ``server.engine`` says
which ("native" or "standard"), ``server.engine_reason`` why, and so does a debug line of the logger ``headrace``.

The engine calls overridden ``log_message``, ``log_request``, ``log_error``, ``address_string`` and ``get_stderr`` of
the handler, and ``get_app`` of the server; ``socketserver.ThreadingMixIn`` gives it threads, up to 4,096.

To well-formed requests it answers what wsgiref answers, octet by octet, and environ is the same, but for these, of
which docs/from-wsgiref.md has the whole list:

- no body is sent to HEAD, nor with 204 and 304 (RFC 9110 §9.3.2, §15.3.5, §15.4.5), and none passes its
  Content-Length; control characters in a status or field of the application are refused (no response splitting);
- fields with an underscore in their names, and Proxy, are left out (they could pass for others; httpoxy);
- a body is received before the application is called, a chunked one is decoded (RFC 9112 §7.1) and its length is in
  CONTENT_LENGTH, and a client that asks for 100 Continue gets it (RFC 9110 §10.1.1);
- what is not well-formed is refused with headrace's own answers, which the access lines do not tell of;
- a KeyboardInterrupt in an application leaves ``serve_forever()``: Ctrl-C means stop;
- ``protocol_version = "HTTP/1.1"`` on the handler class gives HTTP/1.1 and connections that persist, with the answers
  and nearly the environ of ``headrace app:app``: that is the quickest way.

As wsgiref's, environ has the environment of the process.
"""

from __future__ import annotations

import logging
import sys
import urllib.parse  # noqa: F401  # wsgiref's module has the name "urllib", too
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from platform import python_implementation
from typing import TYPE_CHECKING, Any, TypeVar, overload
from wsgiref import simple_server as _wsgiref
from wsgiref.handlers import SimpleHandler
from wsgiref.simple_server import ServerHandler, demo_app, server_version, software_version, sys_version

from headrace.dropin import rule, serving
from headrace.dropin.request_handler import made_on_demand

if TYPE_CHECKING:
    from headrace.wsgi import Application

__version__: str = _wsgiref.__version__  # type: ignore[attr-defined]  # typeshed leaves it out
__all__ = ["WSGIRequestHandler", "WSGIServer", "demo_app", "make_server"]

# Not ours, but importable from wsgiref.simple_server, and imported from there.
_ALSO_HERE = (BaseHTTPRequestHandler, HTTPServer, SimpleHandler, ServerHandler, python_implementation)
_ALSO_HERE_TOO = (server_version, software_version, sys_version, sys)

_log = logging.getLogger("headrace")


class WSGIRequestHandler(_wsgiref.WSGIRequestHandler):
    """wsgiref's; one for each request, made without ``__init__`` where the engine serves."""

    if not TYPE_CHECKING:  # type checkers are to know wsgiref's names and no others
        __getattr__ = made_on_demand


class WSGIServer(_wsgiref.WSGIServer):
    """wsgiref's server; the engine serves where it can: see the module."""

    #: "native" or "standard", as of the last serve_forever() or handle_request(); None before the first.
    engine: str | None = None
    #: Why: one sentence without a full stop.
    engine_reason: str = "nothing has been served yet"

    def server_bind(self) -> None:
        """As inherited."""
        self._headrace_forks = serving.forks  # from now on a forked child has the same socket
        super().server_bind()

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Serve until shutdown(), or until KeyboardInterrupt, which leaves it.  May be called again.

        poll_interval: seconds between two looks for shutdown() on the standard path; the engine hears it at once.
        """
        verdict = self._headrace_decide(one_request=False)
        if verdict.engine == rule.STANDARD:
            self._headrace_standard = True
            try:
                super().serve_forever(poll_interval)
            finally:
                self._headrace_standard = False
            return
        is_shut_down = self._BaseServer__is_shut_down  # type: ignore[attr-defined]
        is_shut_down.clear()
        try:
            serving.serve_forever(self, verdict)
        finally:
            self._BaseServer__shutdown_request = False
            is_shut_down.set()

    def _handle_request_noblock(self) -> None:
        """One connection, which waits: what handle_request() calls, and the standard path's serve_forever()."""
        verdict = rule.STANDARD_PATH if self._headrace_standard else self._headrace_decide(one_request=True)
        if verdict.engine == rule.STANDARD:
            super()._handle_request_noblock()  # type: ignore[misc]
        else:
            serving.serve_one(self, verdict)

    def server_close(self) -> None:
        """Close the socket.  More than once is fine; a serve_forever() that goes on ends.

        With ThreadingMixIn it waits for requests in flight, but for ``daemon_threads`` or without ``block_on_close``.
        """
        joins = getattr(self, "block_on_close", False) and not getattr(self, "daemon_threads", False)
        for run in list(serving.runs_of(self)):
            run.close(joins)
        super().server_close()

    _headrace_standard = False  # serve_forever() is going on, and has decided

    def _headrace_decide(self, one_request: bool) -> rule.Verdict:
        verdict = _rule.decide(self, one_request)
        self.engine, self.engine_reason = verdict.engine, verdict.reason
        _log.debug("HR701 engine: %s; %s", verdict.engine, verdict.reason)
        return verdict

    # BaseServer.shutdown() sets this mark and waits; programs that would wait for themselves set it alone.
    @property
    def _BaseServer__shutdown_request(self) -> bool:  # noqa: N802  # the name that Python gives to __shutdown_request
        return bool(vars(self).get("_BaseServer__shutdown_request", False))

    @_BaseServer__shutdown_request.setter
    def _BaseServer__shutdown_request(self, asked: bool) -> None:  # noqa: N802
        vars(self)["_BaseServer__shutdown_request"] = asked
        if asked:
            for run in list(serving.runs_of(self)):
                run.stop()


_rule = rule.Rule(WSGIServer, WSGIRequestHandler)

_Server = TypeVar("_Server", bound=_wsgiref.WSGIServer)


@overload
def make_server(
    host: str, port: int, app: Application, *, handler_class: type[_wsgiref.WSGIRequestHandler] = WSGIRequestHandler
) -> WSGIServer: ...
@overload
def make_server(
    host: str,
    port: int,
    app: Application,
    server_class: Callable[..., _Server],
    handler_class: type[_wsgiref.WSGIRequestHandler] = WSGIRequestHandler,
) -> _Server: ...
def make_server(
    host: str,
    port: int,
    app: Application,
    server_class: Callable[..., Any] = WSGIServer,
    handler_class: Any = WSGIRequestHandler,
) -> Any:
    """A WSGI server that listens on host and port for app; port 0 takes a free one, ``server_port`` says which.

    Raises OSError where that is not possible.
    """
    server = server_class((host, port), handler_class)
    server.set_app(app)
    return server


if __name__ == "__main__":
    with make_server("", 8000, demo_app) as httpd:
        sa = httpd.socket.getsockname()
        print("Serving HTTP on", sa[0], "port", sa[1], "...")
        import webbrowser

        webbrowser.open("http://localhost:8000/xyz?abc")
        httpd.handle_request()  # serve one request, then exit
