"""HTTP/1.0 as wsgiref speaks it: the engine receives and sends, wsgiref's own ServerHandler makes the answer."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from wsgiref.handlers import SimpleHandler, format_date_time
from wsgiref.simple_server import ServerHandler

from headrace.dropin import access_line
from headrace.dropin.environ import Environs
from headrace.dropin.request_handler import NAMES_HOSTS, Exchange, Request, client_address
from headrace.engine.gateway import REQUEST_HEAD
from headrace.errors import ClientDisconnected

if TYPE_CHECKING:
    from headrace.engine.response import Response

#: What BaseHandler.run() takes for a client that has gone.
_GONE = (ConnectionAbortedError, BrokenPipeError, ConnectionResetError)


#: What would end a field line, or hide in it (RFC 9110 §5.5).
_CONTROLS = re.compile(r"[\x00-\x08\n-\x1f\x7f]")


class DateLine:
    """The Date field line, made once a second."""

    def __init__(self) -> None:
        self.made = (0, "")

    def now(self) -> str:
        """With CRLF."""
        second = int(time.time())
        made, line = self.made
        if made != second:
            line = f"Date: {format_date_time(second)}\r\n"
            self.made = (second, line)
        return line


DATE_LINE = DateLine()


class EngineHandler(ServerHandler):
    """wsgiref's, but for where the octets go: into a Response, which does not block while it is iterated."""

    wsgi_multithread = False  # as WSGIRequestHandler.handle() has it
    wsgi_multiprocess = False

    result: Any  # as BaseHandler sets them
    status: Any
    headers: Any
    bytes_sent: int
    base_env: dict[str, Any]

    def __init__(
        self, exchange: Exchange10, response: Response, stdin: Any, stderr: Any, environ: dict[str, Any]
    ) -> None:
        self.stdin = stdin
        self.stderr = stderr
        self.base_env = environ
        self.exchange = exchange
        self.response = response
        self.blocks: Iterator[bytes] | None = None  # what is being iterated
        self.suspended = False
        self.complete = False  # the answer is: BaseHandler keeps to itself that an application has failed

    @property
    def request_handler(self) -> Any:
        """As ServerHandler's: the request handler, made when it is asked for."""
        return self.exchange.asked()

    def start_response(self, status: Any, headers: Any, exc_info: Any = None) -> Any:
        """As BaseHandler's, and "checks for errors in the headers" (PEP 3333): control octets raise ValueError."""
        write = super().start_response(status, headers, exc_info)
        refuse_controls(status, headers)
        return write

    def finish_response(self) -> None:
        """As BaseHandler's; the iteration is put down when the client does not keep up."""
        try:
            self.blocks = iter(self.result)
            self.send_blocks(self.blocks)
        except BaseException:
            self.close_result()
            raise
        if not self.suspended:
            self.close()

    def send_blocks(self, blocks: Iterator[bytes]) -> None:
        """As finish_response() of BaseHandler's, to the end or to where the client does not keep up."""
        for block in blocks:
            self.write(block)
            if self.suspended:
                self.response.suspend(self, blocks)  # type: ignore[arg-type]
                return
            if self.response.satisfied:
                break
        self.blocks = None
        self.finish_content()
        self.complete = True

    def go_on(self) -> None:
        """The client has read: as BaseHandler.run(), from where the iteration was put down."""
        self.suspended = False
        try:
            try:
                self.send_blocks(self.blocks)  # type: ignore[arg-type]
            except BaseException:
                self.close_result()
                raise
            if not self.suspended:
                self.close()
        except _GONE:
            return
        except BaseException:
            try:
                self.handle_error()
            except BaseException:
                self.close()
                raise

    def handle_error(self) -> None:
        """As BaseHandler's.  That keeps a Ctrl-C during a call to itself; here it ends the server as well."""
        error = sys.exc_info()[1]
        if isinstance(error, KeyboardInterrupt):
            self.exchange.http10.stop(error)
        super().handle_error()

    def finish(self) -> None:
        """The answer ends, or there is none.  One that was cut short is not finished, so that it ends in a reset."""
        if self.complete or not self.headers_sent:
            self.response.finish_raw()

    def close_result(self) -> None:
        """The application's close(), if it has one (PEP 3333)."""
        self.blocks = None
        if hasattr(self.result, "close"):
            self.result.close()

    def close(self) -> None:
        """As ServerHandler's: the access line, and the end of the answer."""
        try:
            self.exchange.log(self.status.split(" ", 1)[0], self.bytes_sent)
        finally:
            SimpleHandler.close(self)

    def send_headers(self) -> None:
        """As BaseHandler's with its send_preamble(), in one piece.

        Raises ValueError where the head is not latin-1, or too long for the engine, or where a field has CR, LF or NUL:
        then nothing has been sent.
        """
        self.cleanup_headers()
        date = DATE_LINE.now()
        server = f"Server: {self.server_software}\r\n" if self.server_software else ""
        fields = self.headers.items()
        lines = ""
        length = -1
        for name, value in fields:
            lines += f"{name}: {value}\r\n"
            lower = name.lower()
            if lower == "content-length":
                length = length_of(value)
            elif lower == "date":
                date = ""
            elif lower == "server":
                server = ""
        count = len(fields)
        if lines.count("\r") != count or lines.count("\n") != count or "\0" in lines:
            refuse_controls(self.status, fields)  # the application has changed its list since start_response()
        head = (
            f"HTTP/{self.http_version} {self.status}\r\n{date}{server}{lines}\r\n" if self.client_is_modern() else ""
        )
        self.response.start_raw(head.encode("iso-8859-1"), int(self.status[:3]), length)
        self.headers_sent = True

    def _write(self, data: bytes) -> None:
        try:
            if self.blocks is None:
                self.response(data)  # write(): nothing to go back to, so it waits
            elif not self.response.send(data) and not self.response.satisfied:
                self.suspended = True
        except ClientDisconnected:
            raise BrokenPipeError("the client has gone") from None

    def _flush(self) -> None:
        pass


def refuse_controls(status: str, fields: list[tuple[str, str]]) -> None:
    """Raises ValueError, which shows it, where the status or a field has CR, LF, NUL or another control octet."""
    text = status + "".join(map("".join, fields))
    if text.isprintable() or not _CONTROLS.search(text):
        return
    if _CONTROLS.search(status):
        raise ValueError(f"the status has a control character: {status!r}")
    for name, value in fields:
        if _CONTROLS.search(name + value):
            raise ValueError(f"the header field has a control character: {name!r}: {value!r}")


def length_of(text: str) -> int:
    """Content-Length as the application has declared it, in octets; -1: not, or no number."""
    text = text.strip()
    return int(text) if text.isdecimal() and len(text) < 19 else -1


class Exchange10(Exchange):
    """A request that is parsed at once, for its environ."""

    __slots__ = ("http10", "request")

    def __init__(self, http10: Http10, environ: dict[str, Any], response: Response) -> None:
        super().__init__()
        self.http10 = http10
        self.request = Request(environ[REQUEST_HEAD], client_address(environ), environ["wsgi.input"], response)

    def parsed(self) -> Request:
        """As Exchange has it."""
        return self.request

    def asked(self) -> Any:
        """The handler that hooks are called on."""
        return self.handler(self.http10.server, self.http10.handler_class)

    def log(self, status: str, size: int) -> None:
        """The access line; status: its three digits."""
        line = self.http10.line
        if line is not None:
            line.write(self.request.address[0], self.request.requestline, status, size)
        elif not self.http10.silent:
            self.asked().log_request(status, size)


class Http10:
    """The Gateway's three functions for one server (headrace.engine.gateway)."""

    def __init__(self, server: Any, overridden: frozenset[str], stop: Callable[[BaseException], None]) -> None:
        """overridden: hooks that are to be called.  stop: called with what is to leave serve_forever()."""
        self.server = server
        self.handler_class = server.RequestHandlerClass
        self.stop = stop
        self.environs = Environs(server)
        self.asks_for_host = NAMES_HOSTS and "address_string" in overridden
        self.asks_for_stderr = "get_stderr" in overridden
        self.silent = access_line.is_silent(self.handler_class, overridden)
        standard = not self.silent and access_line.is_standard(overridden)
        self.line = access_line.StandardLine() if standard else None

    def run(self, _application: Any, engine_environ: dict[str, Any], response: Response) -> None:
        """Answer a request; what leaves the application's handler is reported or ends serving."""
        try:
            handler = self.handler_for(engine_environ, response)
        except BaseException as error:
            self.failed(error, client_address(engine_environ))
            response.finish_raw()
            return
        try:
            handler.run(self.server.get_app())
            if handler.suspended:
                return
        except BaseException as error:
            self.failed(error, client_address(engine_environ))
        handler.finish()

    def handler_for(self, engine_environ: dict[str, Any], response: Response) -> EngineHandler:
        """A handler of wsgiref's kind with the environ of a request."""
        exchange = Exchange10(self, engine_environ, response)
        address = exchange.request.address[0]
        stderr = exchange.asked().get_stderr() if self.asks_for_stderr else sys.stderr
        host = exchange.asked().address_string() if self.asks_for_host else address
        environ = self.environs.make(exchange.request, host)
        if not environ.get("CONTENT_LENGTH") and "CONTENT_LENGTH" in engine_environ:
            environ["CONTENT_LENGTH"] = engine_environ["CONTENT_LENGTH"]  # of a body that came in chunks
        return EngineHandler(exchange, response, engine_environ["wsgi.input"], stderr, environ)

    def resume(self, response: Response) -> None:
        """The client has read what was sent: the iteration goes on."""
        handler: Any = response.take_suspended()[0]
        try:
            handler.go_on()
            if handler.suspended:
                return
        except BaseException as error:
            self.failed(error, handler.exchange.request.address)
        handler.finish()

    def abandon(self, response: Response) -> None:
        """The client has gone: nothing more is sent, and what was iterated is closed."""
        handler: Any = response.take_suspended()[0]
        handler.close_result()

    def failed(self, error: BaseException, address: Any) -> None:
        """As BaseServer._handle_request_noblock() does it: Exceptions are reported, others leave serve_forever()."""
        if isinstance(error, Exception):
            self.server.handle_error(None, address)
        else:
            self.stop(error)
