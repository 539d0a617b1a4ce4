"""What environ says of the server (PEP 3333, "environ Variables"): the same for every request of a listener."""

from __future__ import annotations

import socket
from typing import Any, TextIO

from headrace.wsgi import FileWrapper


def server_environ(
    listener: socket.socket,
    error_stream: TextIO,
    *,
    multithread: bool = False,
    multiprocess: bool = False,
    root_path: str = "",
) -> dict[str, Any]:
    """All keys of an environ, in their order; those that are the request's own are empty.  root_path: SCRIPT_NAME."""
    name, port = "localhost", "80"  # PEP 3333 wants both, never empty; a UNIX socket has neither
    if listener.family != getattr(socket, "AF_UNIX", None):
        host, number = listener.getsockname()[:2]
        name = socket.gethostname() if host in ("0.0.0.0", "::") else host
        if ":" in name:
            name = f"[{name}]"  # RFC 3875 §4.1.14: as in a URL
        port = str(number)
    return {
        "REQUEST_METHOD": "",
        "PATH_INFO": "",
        "QUERY_STRING": "",
        "RAW_URI": "",
        "REQUEST_URI": "",
        "SERVER_PROTOCOL": "",
        "REMOTE_ADDR": "",
        "REMOTE_PORT": "",
        "wsgi.input": None,
        "wsgi.early_hints": None,
        "headrace.client_disconnected": None,
        "SCRIPT_NAME": root_path.encode("utf-8", "surrogateescape").decode("latin-1"),  # PEP 3333, "Unicode Issues"
        "SERVER_NAME": name,
        "SERVER_PORT": port,
        "SERVER_SOFTWARE": "headrace",
        "GATEWAY_INTERFACE": "CGI/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": error_stream,
        "wsgi.multithread": multithread,
        "wsgi.multiprocess": multiprocess,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.input_terminated": True,
    }
