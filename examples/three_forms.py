"""One application in the three forms that PEP 3333 knows: a function, a class, an instance.

headrace examples/three_forms.py:function
headrace examples/three_forms.py:Class
headrace examples/three_forms.py:instance
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

HEADERS = [("Content-Type", "text/plain")]


def function(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Called for each request; what it returns is iterated."""
    start_response("200 OK", HEADERS)
    return [b"a function\n"]


class Class:
    """Calling it makes an object for each request, and that object is the iterable."""

    def __init__(self, environ: dict[str, Any], start_response: Any) -> None:
        self.start_response = start_response

    def __iter__(self) -> Iterator[bytes]:
        self.start_response("200 OK", HEADERS)
        yield b"a class\n"


class Greeter:
    """An object with settings of its own, called for each request."""

    def __init__(self, greeting: str) -> None:
        self.body = f"{greeting}\n".encode()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", HEADERS)
        return [self.body]


instance = Greeter("an instance")
application = function
