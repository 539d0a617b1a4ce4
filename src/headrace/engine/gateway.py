"""What a Loop does with complete requests, for those who embed one: which functions answer, and how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from headrace import wsgi

#: environ's key for the octets of the head, up to and with the empty line, where a Gateway asks for them.
REQUEST_HEAD = "headrace.request_head"


class Gateway(NamedTuple):
    """The default is headrace.wsgi, with nothing added.

    run(application, environ, response), resume(response), abandon(response): see :mod:`headrace.wsgi`.
    environ: keys that take the place of the listener's, or come to them; fields of a request replace them.
    request_head: environ has the octets of the head as well.
    server_line: the whole Server field line.
    forwarded_fields: --forwarded-allow-ips and what belongs to it have a say; else such fields are as any others.
    threads_at_start: the crew begins with so many, and grows when all of them are inside the application; None: all.
    handlers_leave: what the handler of a signal raises leaves run(), as it leaves wsgiref's serve_forever(); else it is
        logged, unless it is KeyboardInterrupt or SystemExit.
    shared_listeners: others may make the listeners blocking meanwhile (the program, or a process that it has forked).
    """

    run: Callable[..., None] = wsgi.run
    resume: Callable[..., None] = wsgi.resume
    abandon: Callable[..., None] = wsgi.abandon
    environ: dict[str, Any] | None = None
    request_head: bool = False
    server_line: bytes = b"Server: headrace\r\n"
    forwarded_fields: bool = True
    threads_at_start: int | None = None
    handlers_leave: bool = False
    shared_listeners: bool = False


DEFAULT_GATEWAY = Gateway()
