"""An application called COUNT times with no server at all: `python -m harness.bare MODULE:ATTRIBUTE COUNT`.

Under callgrind this counts the loop here too: a copy of environ, two calls and the loop.
"""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Callable
from typing import Any

from harness.workloads import WORKLOADS


def environ_of(request: bytes) -> dict[str, Any]:
    lines, _, body = request.partition(b"\r\n\r\n")
    request_line, *fields = lines.decode("latin-1").split("\r\n")
    method, target, _ = request_line.split(" ")
    path, _, query = target.partition("?")
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query}
    for line in fields:
        name, _, value = line.partition(": ")
        environ["HTTP_" + name.upper().replace("-", "_")] = value
    environ["CONTENT_TYPE"] = environ.get("HTTP_CONTENT_TYPE", "")
    environ["CONTENT_LENGTH"] = str(len(body))
    environ["wsgi.input"] = io.BytesIO(body)
    return environ


def call(app: Callable[..., Any], environ: dict[str, Any], count: int) -> None:
    def start_response(status: str, fields: list[tuple[str, str]]) -> None:
        return None

    for _ in range(count):
        app(environ.copy(), start_response)


def main() -> None:
    spec, count = sys.argv[1], int(sys.argv[2])
    module, _, attribute = spec.partition(":")
    app = getattr(importlib.import_module(module), attribute)
    workload = next(one for one in WORKLOADS.values() if one.app == spec)
    call(app, environ_of(workload.request), count)


if __name__ == "__main__":
    main()
