"""A plain WSGI application that shows what the server did: environ, echoed bodies, streams, files, failures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

StartResponse = Callable[..., Any]

LARGE = b"0123456789abcdef" * (1 << 20)


def show_environ(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    body = json.dumps({key: value for key, value in environ.items() if isinstance(value, (str, bool))}).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]


def echo(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [body]


def stream(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    for number in range(5000):
        yield b"line %d\n" % number


def large(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [LARGE]


def file(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/x-python")])
    return environ["wsgi.file_wrapper"](Path(__file__).open("rb"))


def redirect(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    start_response("302 Found", [("Location", "/environ")])
    return []


def cut(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"and then "
    raise RuntimeError("on purpose, in the middle of a response")


PAGES: dict[str, Callable[..., Iterable[bytes]]] = {
    "environ": show_environ,
    "echo": echo,
    "stream": stream,
    "large": large,
    "file": file,
    "redirect": redirect,
    "cut": cut,
}


def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    page = PAGES.get(environ["PATH_INFO"].split("/")[1])
    if page is None:
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"no such page\n"]
    return page(environ, start_response)
