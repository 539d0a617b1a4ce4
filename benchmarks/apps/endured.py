"""The application of endurance.py: answers that carry their request's number, and everything that it should not do.

    /echo/NUMBER/SIZE, /sleep/..., /compute/..., /stream/..., /chunks/..., /written/..., /file/..., /post/NUMBER
        X-Number is NUMBER, the body is made of NUMBER alone (`body_of`), or is digest and length of what was posted.
    /misuse/NAME
        An application that raises, ends its thread, closes its input and so on: `MISUSES`.

It uses nothing but PEP 3333.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

BLOCK = 16 << 10
MISUSES: dict[str, Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]] = {}


def block_of(number: str) -> bytes:
    """BLOCK octets that no other number has a line of."""
    line = f"{number}:{hashlib.sha256(number.encode()).hexdigest()}\n".encode()
    return (line * (BLOCK // len(line) + 1))[:BLOCK]


def body_of(number: str, size: int) -> bytes:
    """What the answer to this request has to be: its block, again and again."""
    return (block_of(number) * (size // BLOCK + 1))[:size]


def digest_of(body: bytes) -> bytes:
    return f"{len(body)} {hashlib.sha256(body).hexdigest()}".encode()


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    _, kind, name, *rest = environ["PATH_INFO"].split("/")
    if kind == "misuse":
        return MISUSES[name](environ, start_response)
    return ANSWERS[kind](environ, start_response, name, int(rest[0]) if rest else 0)


# -- what is right ----------------------------------------------------------------------------------------------------


def echo(_: WSGIEnvironment, start_response: StartResponse, number: str, size: int) -> Iterable[bytes]:
    start_response("200 OK", [("X-Number", number), ("Content-Length", str(size))])
    return [body_of(number, size)]


def sleep(environ: WSGIEnvironment, start_response: StartResponse, number: str, size: int) -> Iterable[bytes]:
    time.sleep(0.01)
    return echo(environ, start_response, number, size)


def compute(environ: WSGIEnvironment, start_response: StartResponse, number: str, size: int) -> Iterable[bytes]:
    total = 0
    for step in range(60_000):
        total = (total * 31 + step) % 65_521
    return echo(environ, start_response, number, size)


def blocks_of(number: str, size: int) -> Iterator[bytes]:
    block = block_of(number)  # one, so that slow clients hold little memory: its noise would hide growth
    for at in range(0, size, BLOCK):
        yield block[: size - at]


def stream(_: WSGIEnvironment, start_response: StartResponse, number: str, size: int) -> Iterable[bytes]:
    start_response("200 OK", [("X-Number", number), ("Content-Length", str(size))])
    return blocks_of(number, size)


def chunks(_: WSGIEnvironment, start_response: StartResponse, number: str, size: int) -> Iterable[bytes]:
    start_response("200 OK", [("X-Number", number)])
    return blocks_of(number, size)


def written(_: WSGIEnvironment, start_response: StartResponse, number: str, size: int) -> Iterable[bytes]:
    write = start_response("200 OK", [("X-Number", number)])
    for block in blocks_of(number, size):
        write(block)
    return []


def file(environ: WSGIEnvironment, start_response: StartResponse, number: str, size: int) -> Iterable[bytes]:
    made = tempfile.TemporaryFile()  # noqa: SIM115 - the server closes it
    made.writelines(blocks_of(number, size))
    made.seek(0)
    start_response("200 OK", [("X-Number", number), ("Content-Length", str(size))])
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](made)
    return wrapped


def post(environ: WSGIEnvironment, start_response: StartResponse, number: str, _: int) -> Iterable[bytes]:
    body = digest_of(environ["wsgi.input"].read())
    start_response("200 OK", [("X-Number", number), ("Content-Length", str(len(body)))])
    return [body]


ANSWERS = {
    function.__name__: function for function in (echo, sleep, compute, stream, chunks, written, file, post)
}

# -- what is wrong ----------------------------------------------------------------------------------------------------


class NoException(BaseException):
    """Not an Exception, as KeyboardInterrupt and SystemExit are not."""


def misuse(
    function: Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]],
) -> Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]:
    MISUSES[function.__name__] = function
    return function


@misuse
def raises(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    raise LookupError("on purpose")


@misuse
def exits(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    sys.exit(3)


@misuse
def raises_no_exception(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    raise NoException("on purpose")


@misuse
def interrupts(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    raise KeyboardInterrupt


@misuse
def recurses(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    return recurses(environ, start_response)


@misuse
def raises_midway(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [])
    yield b"some"
    raise LookupError("on purpose")


@misuse
def exits_midway(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "8")])
    yield b"some"
    sys.exit(3)


@misuse
def raises_in_close(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    class Blocks(list[bytes]):
        def close(self) -> None:
            raise LookupError("on purpose")

    start_response("200 OK", [])
    return Blocks([b"some", b"more"])


@misuse
def closes_its_input(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    environ["wsgi.input"].close()
    start_response("200 OK", [("Content-Length", "4")])
    return [b"done"]


@misuse
def empties_environ(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    environ.clear()
    start_response("200 OK", [("Content-Length", "4")])
    return [b"done"]


@misuse
def returns_environ(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [])
    return environ  # type: ignore[return-value]


@misuse
def returns_itself(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [])
    return app  # type: ignore[return-value]


@misuse
def returns_nothing(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [])
    return None  # type: ignore[return-value]


@misuse
def returns_a_closed_file(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    with tempfile.TemporaryFile() as made:
        pass
    start_response("200 OK", [])
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](made)
    return wrapped


@misuse
def starts_nothing(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    return [b"done"]


@misuse
def splits_its_head(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("X-A", "a\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")])
    return [b"done"]


@misuse
def sends_too_little(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "20")])
    return [b"done"]


@misuse
def sends_too_much(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "4")])
    return [b"done", b"and HTTP/1.1 200 OK\r\n\r\n"]


@misuse
def leaves_a_thread(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """It holds environ and start_response beyond the answer, and uses them then."""

    def later() -> None:
        time.sleep(0.5)
        for use in (lambda: environ["wsgi.input"].read(), lambda: start_response("200 OK", [])):
            try:
                use()
            except Exception:  # whatever it is, it is nobody else's
                continue

    threading.Thread(target=later, daemon=True).start()
    start_response("200 OK", [("Content-Length", "4")])
    return [b"done"]


@misuse
def takes_too_long(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Beyond --timeout; in short sleeps, so that it can be interrupted."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        time.sleep(0.05)
    return echo(environ, start_response, "0", 4)
