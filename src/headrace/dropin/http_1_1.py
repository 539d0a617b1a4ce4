"""HTTP/1.1 with connections that persist: headrace's own answers and environ, with wsgiref's Server and access lines.

Of environ, what wsgiref's base_environ, the process and the hooks add to it; docs/from-wsgiref.md has what differs.
Where no hook has to be called for a request, nothing is added to what ``headrace app:app`` does for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from wsgiref.handlers import BaseHandler
from wsgiref.simple_server import ServerHandler, WSGIServer
from wsgiref.util import guess_scheme

from headrace import wsgi
from headrace.dropin import access_line
from headrace.dropin.request_handler import NAMES_HOSTS, Exchange, Request, client_address
from headrace.engine.gateway import REQUEST_HEAD, Gateway

if TYPE_CHECKING:
    from headrace.engine.response import Response
    from headrace.wsgi import Application

#: As it was at import.
GET_APP = WSGIServer.get_app


def gateway_of(server: Any, overridden: frozenset[str], stop: Callable[[BaseException], None]) -> Gateway:
    """For one run of a server; overridden: hooks that are to be called.  stop: as for Http10."""
    software = server.RequestHandlerClass.server_version
    environ = {**BaseHandler.os_environ, **server.base_environ}
    # REMOTE_HOST is "" as in base_environ, unless address_string() has another word for the client.
    environ.update(
        {"SERVER_SOFTWARE": software, "CONTENT_TYPE": "text/plain", "wsgi.url_scheme": guess_scheme(environ)}
    )
    line = f"Server: {server_line(server)}\r\n".encode("latin-1")
    silent = access_line.is_silent(server.RequestHandlerClass, overridden)
    hooks = overridden & ({"get_stderr", "address_string"} if NAMES_HOSTS else {"get_stderr"})
    if silent and not hooks and getattr(server.get_app, "__func__", None) is GET_APP:
        quiet = Quiet(server, stop)
        return Gateway(
            quiet.run, quiet.resume, quiet.abandon, environ, server_line=line, forwarded_fields=False
        )
    hooked = Hooked(server, overridden, silent, stop)
    needs_handler = bool(hooks) or not (silent or hooked.line)
    return Gateway(
        hooked.run, hooked.resume, hooked.abandon, environ, request_head=needs_handler, server_line=line,
        forwarded_fields=False,
    )  # fmt: skip


def server_line(server: Any) -> str:
    """What the Server field says: wsgiref's ServerHandler has the first word."""
    return ServerHandler.server_software or str(server.RequestHandlerClass.server_version)


def catch_up(environ: dict[str, Any], seen: dict[str, Any], base: dict[str, Any]) -> None:
    """base_environ has changed while its server serves: what a request has not replaced is as it is there now."""
    for key in seen.keys() | base.keys():
        if key not in seen:
            environ.setdefault(key, base[key])
        elif environ.get(key) != seen[key]:
            continue
        elif key in base:
            environ[key] = base[key]
        else:
            environ.pop(key, None)


class Quiet:
    """No hook is called for a request; set_app() may have another application answer the next one."""

    def __init__(self, server: Any, stop: Callable[[BaseException], None]) -> None:
        seen = dict(server.base_environ)

        def run(_application: Application, environ: dict[str, Any], response: Response) -> None:
            if server.base_environ != seen:
                catch_up(environ, seen, server.base_environ)
            try:
                result = server.application(environ, response.start_response)
                if type(result) is list and len(result) == 1:  # as in wsgi.run()
                    response.send_whole(result[0])
                else:
                    wsgi.send_result(response, result)
            except KeyboardInterrupt as error:
                stop(error)
                raise

        def resume(response: Response) -> None:
            try:
                wsgi.resume(response)
            except KeyboardInterrupt as error:
                stop(error)
                raise

        self.run = run
        self.resume = resume
        self.abandon = wsgi.abandon


class Exchange11(Exchange):
    """A request as it was before the application could change its environ; result: what is being iterated."""

    __slots__ = ("address", "command", "environ", "head", "path", "request_version", "response", "result")

    def __init__(self, environ: dict[str, Any], response: Response) -> None:
        super().__init__()
        self.environ = environ
        self.response = response
        self.head: bytes = environ.pop(REQUEST_HEAD, b"")
        self.command: str = environ["REQUEST_METHOD"]
        self.path: str = environ["RAW_URI"]
        self.request_version: str = environ["SERVER_PROTOCOL"]
        self.address = client_address(environ)
        self.result: Any = None

    @property
    def requestline(self) -> str:
        """Method, target and version, as they came."""
        return f"{self.command} {self.path} {self.request_version}"

    def parsed(self) -> Request:
        """As Exchange has it; its connection persists."""
        return Request(self.head, self.address, self.environ.get("wsgi.input"), self.response, persists=True)


class Hooked:
    """Access lines and other hooks, around what headrace.wsgi does."""

    def __init__(
        self, server: Any, overridden: frozenset[str], silent: bool, stop: Callable[[BaseException], None]
    ) -> None:
        self.server = server
        self.stop = stop
        self.seen = dict(server.base_environ)
        self.get_stderr = "get_stderr" in overridden
        self.address_string = NAMES_HOSTS and "address_string" in overridden
        self.silent = silent
        self.line = access_line.StandardLine() if access_line.is_standard(overridden) else None

    def run(self, _application: Application, environ: dict[str, Any], response: Response) -> None:
        """As headrace.wsgi.run(), for the application that get_app() gives."""
        if self.server.base_environ != self.seen:
            catch_up(environ, self.seen, self.server.base_environ)
        exchange = Exchange11(environ, response)
        try:
            self.ask(exchange)
            wsgi.run(self.server.get_app(), environ, response)
        except BaseException as error:
            self.failed(error, exchange, response)
            raise
        self.log_or_wait(exchange, response)

    def ask(self, exchange: Exchange11) -> None:
        """The hooks whose answers get into environ."""
        if not (self.get_stderr or self.address_string):
            return
        handler = exchange.handler(self.server, self.server.RequestHandlerClass)
        if self.get_stderr:
            exchange.environ["wsgi.errors"] = handler.get_stderr()
        host = handler.address_string() if self.address_string else exchange.address[0]
        if host != exchange.address[0]:
            exchange.environ["REMOTE_HOST"] = host

    def resume(self, response: Response) -> None:
        """As headrace.wsgi.resume()."""
        exchange: Any
        exchange, blocks = response.take_suspended()
        response.suspend(exchange.result, blocks)
        try:
            wsgi.resume(response)
        except BaseException as error:
            self.failed(error, exchange, response)
            raise
        self.log_or_wait(exchange, response)

    def abandon(self, response: Response) -> None:
        """As headrace.wsgi.abandon(); the access line tells what has been sent."""
        exchange: Any
        exchange, blocks = response.take_suspended()
        response.suspend(exchange.result, blocks)
        self.log(exchange, str(response.status_code), response.body_bytes)
        wsgi.abandon(response)

    def log_or_wait(self, exchange: Exchange11, response: Response) -> None:
        """The access line comes when the answer is whole, which may be after many resume()."""
        if response.finished:
            self.log(exchange, str(response.status_code), response.body_bytes)
        else:
            exchange.result, blocks = response.take_suspended()
            response.suspend(exchange, blocks)  # type: ignore[arg-type]

    def failed(self, error: BaseException, exchange: Exchange11, response: Response) -> None:
        """The engine answers 500, if nothing has left."""
        if isinstance(error, KeyboardInterrupt):
            self.stop(error)
        if response.body_bytes:
            self.log(exchange, str(response.status_code), response.body_bytes)
        else:
            self.log(exchange, "500", "-")

    def log(self, exchange: Exchange11, status: str, size: int | str) -> None:
        """What a hook raises comes too late for the answer: it is reported as BaseServer does, or ends serving."""
        try:
            if self.line is not None:
                self.line.write(exchange.address[0], exchange.requestline, status, size)
            elif not self.silent:
                exchange.handler(self.server, self.server.RequestHandlerClass).log_request(status, size)
        except Exception:
            self.server.handle_error(None, exchange.address)
        except BaseException as error:
            self.stop(error)
