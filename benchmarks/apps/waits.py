"""One application for the workloads with threads: paths that sleep, compute, take their time, or answer at once.

It uses nothing but PEP 3333, and answers every path with the same bytes as hello, so that only the wait differs;
/large and /post are for clients that are slow to read and to send.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

GREETING = b"Hello, World!\n"
CPU_STEPS = 20_000  # about 1 ms on the machine of the results
CPU_SUM = 38_958
LONG_CPU_S = 2.0
LARGE = b"%015d\n" % 0 * (8 << 16)  # 8 MiB


def open_call_log() -> int:
    """The file that /call adds a line to; one write each, so that threads and processes may share it."""
    path = os.environ.get("BENCHMARK_CALLS")
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600) if path else -1


CALL_LOG = open_call_log()


def compute(steps: int) -> int:
    total = 0
    for step in range(steps):
        total = (total * 31 + step) % 65_521
    return total


def sleep_10_ms(_: WSGIEnvironment) -> None:
    time.sleep(0.010)


def sleep_100_ms(_: WSGIEnvironment) -> None:
    time.sleep(0.100)


def cpu(_: WSGIEnvironment) -> None:
    if compute(CPU_STEPS) != CPU_SUM:
        raise ArithmeticError("the sum is wrong")


def long(_: WSGIEnvironment) -> None:
    """2 s of this thread's CPU time, however long that takes beside the others."""
    end = time.thread_time() + LONG_CPU_S
    while time.thread_time() < end:
        compute(1000)


def call(environ: WSGIEnvironment) -> None:
    """Notes the query, which names the client, and the time (CLOCK_MONOTONIC, ns); then sleeps 50 ms."""
    os.write(CALL_LOG, f"{environ['QUERY_STRING']} {time.monotonic_ns()}\n".encode())
    time.sleep(0.050)


def read(environ: WSGIEnvironment) -> None:
    environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))


BEFORE_ANSWER: dict[str, Callable[[WSGIEnvironment], None]] = {
    "/sleep-10-ms": sleep_10_ms,
    "/sleep-100-ms": sleep_100_ms,
    "/cpu": cpu,
    "/long": long,
    "/call": call,
    "/post": read,
}


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    body = GREETING
    if path == "/large":
        body = LARGE
    elif path != "/":
        BEFORE_ANSWER[path](environ)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
