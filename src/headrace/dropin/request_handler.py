"""The request as wsgiref sees it: its environ, and the request handler that hooks see, made without a socket."""

from __future__ import annotations

import socket
import socketserver
from collections.abc import Callable
from http.client import HTTPMessage
from io import BytesIO
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler

if TYPE_CHECKING:
    from headrace.engine.response import Response

#: Fields that no application gets to see: see headrace.simple_server.
_DROPPED = frozenset(("PROXY", "TRANSFER_ENCODING"))


def _reduces_slashes() -> bool:
    """Does this Python's http.server take "//x" for "/x"?  (gh-87389: else it could be taken for a host.)"""
    probe: Any = WSGIRequestHandler.__new__(WSGIRequestHandler)
    probe.raw_requestline = b"GET //x HTTP/1.0\r\n"
    probe.rfile = BytesIO(b"\r\n")
    return bool(probe.parse_request()) and probe.path == "/x"


REDUCES_SLASHES = _reduces_slashes()


#: Does this Python's get_environ() ask address_string() for REMOTE_HOST?  CPython 3.13 does not any more.
NAMES_HOSTS = "address_string" in WSGIRequestHandler.get_environ.__code__.co_names


def client_address(environ: dict[str, Any]) -> tuple[Any, ...]:
    """As accept() would have given it: (host, port), and with flow and scope for IPv6."""
    host = environ["REMOTE_ADDR"]
    port = int(environ["REMOTE_PORT"] or 0)
    return (host, port, 0, 0) if ":" in host else (host, port)


class PeerSocket(socket.socket):
    """The client's socket, for hooks to ask (getpeername() and the like): a duplicate, whose mode is the engine's."""

    def setblocking(self, _flag: bool, /) -> None:
        """Nothing: the engine's connection must not block."""

    def settimeout(self, _value: float | None, /) -> None:
        """Nothing, likewise."""

    def __del__(self) -> None:
        self.close()  # in silence: no hook knows that it should


def peer_socket(request: Request, _handler: Any) -> socket.socket:
    """The ``connection`` of a handler."""
    try:
        return PeerSocket(fileno=request.response.duplicate())
    except OSError:  # the request is over, and a socket object of that time is a closed one
        closed = PeerSocket()
        closed.close()
        return closed


def headers(request: Request, _handler: Any) -> HTTPMessage:
    """The ``headers`` of a handler: what was sent, in its order."""
    fields = HTTPMessage()
    for line in request.lines:
        name, _, value = line.partition(":")
        fields.set_raw(name, value.lstrip(" \t"))  # as the parser of http.client.parse_headers() does
    return fields


#: What a handler has, and an access line has no need of.
ON_DEMAND: dict[str, Callable[[Request, Any], Any]] = {
    "headers": headers,
    "connection": peer_socket,
    "request": lambda _request, handler: handler.connection,
    "wfile": lambda _request, handler: socketserver._SocketWriter(handler.connection),  # type: ignore[attr-defined]
}


def made_on_demand(handler: Any, name: str) -> Any:
    """``__getattr__`` of headrace.simple_server.WSGIRequestHandler: only handlers that were made here lack anything."""
    request = vars(handler).get("_headrace_request")
    if request is None or name not in ON_DEMAND:
        raise AttributeError(f"{type(handler).__name__!r} object has no attribute {name!r}", name=name, obj=handler)
    made = ON_DEMAND[name](request, handler)
    setattr(handler, name, made)
    return made


def key_of(name: str) -> str | None:
    """What wsgiref makes of a field name, without HTTP_; None: the field is left out."""
    key = name.replace("-", "_").upper()
    return None if "_" in name or key in _DROPPED else key


class Request:
    """One head that the engine has accepted, as http.server would have parsed it.

    response: the engine's.  It is held, so that it serves no other request as long as a hook may ask for its socket.
    """

    __slots__ = (
        "address", "command", "input", "lines", "path", "persists", "request_version", "requestline", "response",
    )  # fmt: skip

    def __init__(
        self, head: bytes, address: tuple[Any, ...], body: Any, response: Response, persists: bool = False
    ) -> None:
        """address: as accept() would have given it.  body: wsgi.input.  persists: the connection does, by default."""
        lines = head.decode("latin-1").split("\r\n")
        self.address = address
        self.input = body
        self.response = response
        self.persists = persists
        self.requestline: str = lines[0]
        self.lines: list[str] = lines[1:-2]
        self.command, path, self.request_version = self.requestline.split(" ")
        self.path: str = "/" + path.lstrip("/") if REDUCES_SLASHES and path.startswith("//") else path

    def new_handler(self, server: Any, handler_class: type[Any]) -> Any:
        """A request handler as it is while wsgiref's handle() runs."""
        handler: Any = object.__new__(handler_class)  # no __new__ of its own: see the rule
        handler.server = server
        handler.client_address = self.address
        handler.rfile = self.input
        handler.requestline = self.requestline
        handler.raw_requestline = self.requestline.encode("latin-1") + b"\r\n"
        handler.command = self.command
        handler.path = self.path
        handler.request_version = self.request_version
        handler.close_connection = not self.persists
        handler._headrace_request = self
        if getattr(handler_class, "__getattr__", None) is not made_on_demand:
            for name, make in ON_DEMAND.items():
                setattr(handler, name, make(self, handler))
        return handler


class Exchange:
    """A request and the one handler on which all its hooks are called: most requests have none, so it is made late."""

    __slots__ = ("_handler",)

    def __init__(self) -> None:
        self._handler: Any = None

    def parsed(self) -> Request:
        """The request, for the handler to be made of."""
        raise NotImplementedError

    def handler(self, server: Any, handler_class: type[Any]) -> Any:
        """The same one each time."""
        if self._handler is None:
            self._handler = self.parsed().new_handler(server, handler_class)
        return self._handler
