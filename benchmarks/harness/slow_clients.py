"""Clients that send or read slowly, or not at all: what a fresh request, or hello, pays for them."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from statistics import median

from harness.client import CheckFailed, Client, check_answer
from harness.closed_loop import SWEEP_CONNECTIONS, started
from harness.idle import still_open
from harness.load import LoadFailed, measure
from harness.process import HOST
from harness.turn import FAST, Column, Conditions, Entry, Figures, Scenario
from harness.workloads import HOST as HOST_FIELD
from harness.workloads import head

SLOW_THREADS = 4
SLOW_CLIENTS = 12
SETTLE_S = 0.3
FRESH_REQUESTS = 30
FRESH_PATIENCE_S = 2.0
BODY_BYTES = 4096
HALF_HEAD = FAST.request[:-4]
HALF_BODY = head("POST /post HTTP/1.1", HOST_FIELD, f"Content-Length: {BODY_BYTES}") + bytes(BODY_BYTES // 2)
LARGE = head("GET /large HTTP/1.1", HOST_FIELD)
SMALL_BUFFER_BYTES = 4096

LORIS_CLIENTS = 1000
LORIS_PERIOD_S = 2.0  # in which each of them sends one byte
LORIS_HEAD = b"GET / HTTP/1.1\r\n" + HOST_FIELD.encode() + b"\r\nX-Slow: "


def connected(port: int, sends: bytes) -> socket.socket:
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
    slow.settimeout(FRESH_PATIENCE_S)
    slow.connect((HOST, port))
    slow.sendall(sends)
    return slow


def fresh_latencies_ms(port: int) -> list[float]:
    """Of requests on new connections, one after the other; the patience where no answer came, and no more then."""
    found: list[float] = []
    for _ in range(FRESH_REQUESTS):
        began = time.monotonic()
        try:
            with Client(port, FRESH_PATIENCE_S) as client:
                client.send(FAST.request)
                check_answer(client.answer(), FAST)
        except (CheckFailed, OSError):
            if time.monotonic() - began < FRESH_PATIENCE_S:
                raise  # answered, but wrongly
            return [*found, FRESH_PATIENCE_S * 1e3]
        found.append((time.monotonic() - began) * 1e3)
    return found


def fresh_beside(entry: Entry, where: Conditions, sends: bytes, answered: bool) -> float:
    """The greatest latency of a fresh request beside SLOW_CLIENTS that have sent this and do no more."""
    with started(entry, where, FAST) as running, ExitStack() as stack:
        slow = [stack.enter_context(connected(running.port, sends)) for _ in range(SLOW_CLIENTS)]
        if answered:  # as far as the buffers go; a server whose threads are all held answers only some
            select.select(slow, [], [], FRESH_PATIENCE_S)
        time.sleep(SETTLE_S)
        return max(fresh_latencies_ms(running.port))


def slow_clients(entry: Entry, where: Conditions) -> Figures:
    return {
        "half_head_ms": fresh_beside(entry, where, HALF_HEAD, answered=False),
        "half_body_ms": fresh_beside(entry, where, HALF_BODY, answered=False),
        "not_reading_ms": fresh_beside(entry, where, LARGE, answered=True),
    }


def drip(clients: list[Client], stop: threading.Event) -> None:
    """One byte from each client in LORIS_PERIOD_S, evenly; those that the server has closed stay closed."""
    while True:
        for client in clients:
            if stop.wait(LORIS_PERIOD_S / len(clients)):
                return
            try:
                client.send(b"x")
            except OSError:
                pass


@contextmanager
def lorises(port: int) -> Iterator[Callable[[], int]]:
    """LORIS_CLIENTS at work; yields what counts those that the server has kept."""
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(port)) for _ in range(LORIS_CLIENTS)]
        for client in clients:
            client.send(LORIS_HEAD)
        stop = threading.Event()
        dripping = threading.Thread(target=drip, args=(clients, stop))
        dripping.start()
        try:
            yield lambda: still_open(clients)
        finally:
            stop.set()
            dripping.join()


def slowloris(entry: Entry, where: Conditions) -> Figures:
    """One instance of the server, without the slow clients, with them, and without them again."""
    bench = where.bench
    with started(entry, where, FAST) as running:
        before = measure(running, FAST, bench, SWEEP_CONNECTIONS, where.seconds)
        with lorises(running.port) as kept:
            beside = measure(running, FAST, bench, SWEEP_CONNECTIONS, where.seconds)
            count = kept()
        after = measure(running, FAST, bench, SWEEP_CONNECTIONS, where.seconds)
    if not count:
        raise LoadFailed("no slow client was left at the end")
    alone = [before, after]
    return {
        "per_s": beside.requests_per_s,
        "ratio": beside.requests_per_s / median(one.requests_per_s for one in alone),
        "cpu_ratio": beside.cpu_us / median(one.cpu_us for one in alone),
        "kept": count,
    }


SCENARIOS = (
    Scenario(
        "slow-clients",
        f"The greatest latency (ms) of {FRESH_REQUESTS} fresh requests beside {SLOW_CLIENTS} clients that have sent"
        f" half a head, half a body, or do not read 8 MiB. {FRESH_PATIENCE_S * 1e3:,.0f}: one was not answered.",
        (SLOW_THREADS,),
        slow_clients,
        (
            Column("half_head_ms", "half a head"),
            Column("half_body_ms", "half a body"),
            Column("not_reading_ms", "not reading"),
        ),
    ),
    Scenario(
        "slowloris",
        f"hello on {SWEEP_CONNECTIONS} connections beside {LORIS_CLIENTS:,} clients that send a byte of their head"
        f" every {LORIS_PERIOD_S:.0f} s.",
        (SLOW_THREADS,),
        slowloris,
        (
            Column("per_s", "requests/s"),
            Column("ratio", "with / without"),
            Column("cpu_ratio", "CPU us, with / without"),
            Column("kept", "slow ones left"),
        ),
    ),
)
