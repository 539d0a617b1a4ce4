"""A response that is made while it is sent: each block leaves before the next is asked for.

    headrace examples/streaming.py
    curl --no-buffer http://127.0.0.1:8000/            (a clock, for ten seconds)
    curl --no-buffer http://127.0.0.1:8000/primes | head

With one thread the clock holds the server while it sleeps; the primes do not: when the client does not keep up, the
generator waits and others are served.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any


def clock() -> Iterator[bytes]:
    for _ in range(10):
        yield time.strftime("%H:%M:%S\n").encode()
        time.sleep(1)


def primes() -> Iterator[bytes]:
    known: list[int] = []
    number = 2
    while True:
        if all(number % prime for prime in known if prime * prime <= number):
            known.append(number)
            yield b"%d\n" % number
        number += 1


def application(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return primes() if environ["PATH_INFO"] == "/primes" else clock()
