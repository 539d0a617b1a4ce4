"""Engine or standard path?  Decided from what a program has made of the server's and the handler's classes.

Whatever name resolves to another object than it did when headrace.simple_server was imported counts as overridden, be
it by a subclass, a mix-in, an instance attribute or by monkeypatching.  The engine honours some overrides by calling
them; others do not concern it; for all the rest the standard path serves.
"""

from __future__ import annotations

import socket
import socketserver
import types
from typing import Any, NamedTuple
from wsgiref import simple_server

NATIVE = "native"
STANDARD = "standard"


#: As they were at import: what a server listens with, and what its connections are made of.
SOCKET = socket.socket
SOCKET_METHODS = {name: getattr(SOCKET, name) for name in ("accept", "close", "makefile", "sendall", "shutdown")}


class Verdict(NamedTuple):
    """engine: NATIVE or STANDARD.  reason: one sentence.  threads: the application may run in several at once.
    persists: HTTP/1.1, and connections that stay.  overridden: names of the handler that have to be called."""

    engine: str
    reason: str
    threads: bool = False
    persists: bool = False
    overridden: frozenset[str] = frozenset()


STANDARD_PATH = Verdict(STANDARD, "")

#: Of the handler: the engine calls them, or what it calls reads them.
HONOURED = frozenset(
    ("log_message", "log_request", "log_error", "address_string", "get_stderr")
    + ("log_date_time_string", "weekdayname", "monthname", "_control_char_table", "server_version", "sys_version")
    + ("protocol_version",)
)

#: Of the server: called or read here, or over before anything is served.
HARMLESS = frozenset(
    ("server_bind", "server_activate", "setup_environ", "base_environ", "server_close", "get_app", "set_app")
    + ("application", "serve_forever", "shutdown", "handle_request", "handle_timeout", "timeout", "socket_type")
    + ("allow_reuse_address", "allow_reuse_port", "request_queue_size", "address_family", "daemon_threads")
    + ("block_on_close", "max_children", "engine", "engine_reason", "_headrace_forks", "_headrace_standard", "_threads")
    + ("_BaseServer__shutdown_request",)
)

#: What socketserver.ThreadingMixIn replaces; kept as it is, it asks for threads.
THREADING = ("process_request", "process_request_thread")

#: The special methods through which a class can change what its instances do here.
SPECIAL = frozenset(("__init__", "__new__", "__getattribute__", "__setattr__"))


def resolved(cls: type) -> dict[str, Any]:
    """What each name means to a class: the first of its bases that has it wins."""
    names = {name for base in cls.__mro__ for name in vars(base) if concerns(name)}
    return {name: getattr(cls, name) for name in names}


def concerns(name: str) -> bool:
    """Can a member of this name change what is served?"""
    return name in SPECIAL or not (name.startswith("__") and name.endswith("__"))


def changed(before: dict[str, Any], cls: type) -> frozenset[str]:
    """Names that meant something else at import.  (handle_request() asks each time, so this is to be quick.)"""
    return frozenset([name for name, meant in before.items() if getattr(cls, name, None) is not meant])


class Rule:
    """The classes as they were at import, and what has become of them."""

    def __init__(self, server_class: type, handler_class: type) -> None:
        self._server = resolved(server_class)
        self._handler = resolved(handler_class)
        self._server_handler_class = simple_server.ServerHandler
        self._server_handler = resolved(simple_server.ServerHandler)
        self._threading = dict(vars(socketserver.ThreadingMixIn))

    def decide(self, server: Any, one_request: bool) -> Verdict:
        """For a server that is about to serve; one_request: by handle_request()."""
        handler_class = server.RequestHandlerClass
        if not isinstance(handler_class, type) or not issubclass(handler_class, simple_server.WSGIRequestHandler):
            return Verdict(STANDARD, f"{handler_class!r} is no subclass of WSGIRequestHandler")
        threads, objection = self.objection_to_server(server)
        overridden = changed(self._handler, handler_class)
        objection = objection or objection_to(overridden - HONOURED, handler_class)
        objection = objection or self.objection_to_server_handler() or objection_to_socket(server.socket)
        if not objection and handler_class.protocol_version not in ("HTTP/1.0", "HTTP/1.1"):
            objection = f"the protocol_version is {handler_class.protocol_version!r}"
        if not objection and not isinstance(handler_class.server_version, str):
            objection = f"{handler_class.__name__}.server_version is no str"
        if not objection and threads and one_request:
            objection = "handle_request() with threads returns before the answer"
        if objection:
            return Verdict(STANDARD, objection)
        persists = handler_class.protocol_version == "HTTP/1.1"
        return Verdict(NATIVE, reason_for_engine(overridden, threads), threads, persists, overridden)

    def objection_to_server(self, server: Any) -> tuple[bool, str]:
        """Whether the server asks for threads, and why the engine cannot serve it; empty: it can."""
        cls = type(server)
        overridden = changed(self._server, cls) - HARMLESS - {"__init__"}
        threads = all(getattr(cls, name, None) is self._threading[name] for name in THREADING)
        if threads:
            overridden -= set(THREADING)
        of_instance = {name for name in list(vars(server)) if callable(getattr(cls, name, None))} - HARMLESS
        if of_instance:
            return threads, f"the server has a {min(of_instance)} of its own"
        return threads, objection_to(overridden, cls)

    def objection_to_server_handler(self) -> str:
        """What a program has made of wsgiref's ServerHandler for all; empty: nothing."""
        if simple_server.ServerHandler is not self._server_handler_class:
            return "wsgiref.simple_server.ServerHandler was replaced"
        functions = {
            name
            for name in changed(self._server_handler, self._server_handler_class)
            if isinstance(self._server_handler[name], types.FunctionType)
        }
        return objection_to(functions, self._server_handler_class)


def objection_to(names: frozenset[str] | set[str], cls: type) -> str:
    """To the first of the names that a class overrides; empty: there is none."""
    return f"{cls.__name__}.{min(names)} is overridden" if names else ""


def objection_to_socket(listener: Any) -> str:
    """Why the engine cannot accept on it; empty: it can."""
    if type(listener) is not SOCKET:
        return f"the server's socket is a {type(listener).__module__}.{type(listener).__qualname__}"
    patched = changed(SOCKET_METHODS, SOCKET)
    if patched:
        return f"socket.socket.{min(patched)} was replaced"
    if listener.fileno() < 0:
        return "the server's socket is closed"
    if listener.family not in (socket.AF_INET, socket.AF_INET6) or listener.type != socket.SOCK_STREAM:
        return "the server's socket is not of TCP"
    if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return "the server's socket does not listen"
    return ""


def reason_for_engine(overridden: frozenset[str], threads: bool) -> str:
    """Why the engine serves: one sentence."""
    called = f"the engine calls {', '.join(sorted(overridden))}" if overridden else "nothing is overridden"
    return f"{called}, and the socket is a plain one{'; with threads' if threads else ''}"
