"""The cost of idle connections: each has had one answer and is kept open."""

from __future__ import annotations

import time
from contextlib import ExitStack
from statistics import median

from harness.client import Client, check, check_answer
from harness.load import measure, run_wrk
from harness.process import Bench, Running, serving
from harness.servers import Server
from harness.turn import Column, Conditions, Entry, Figures, Scenario
from harness.workloads import WORKLOADS

HELLO = WORKLOADS["hello"]
CONNECTIONS = 64  # of hello, with and without the idle ones
BATCH = 100  # connections opened at a time, far below the backlog
SETTLE_S = 0.5


def open_idle(port: int, count: int) -> list[Client]:
    """`count` connections, each with one answer behind it."""
    clients: list[Client] = []
    while len(clients) < count:
        batch = [Client(port) for _ in range(min(BATCH, count - len(clients)))]
        for client in batch:
            client.send(HELLO.request)
        for client in batch:
            check_answer(client.answer(), HELLO)
        clients += batch
    return clients


def settled_bytes(running: Running) -> int:
    time.sleep(SETTLE_S)
    return running.resident_bytes()


def still_open(clients: list[Client]) -> int:
    """How many connections the server has kept: those with nothing to read, not even an end."""
    kept = 0
    for client in clients:
        client.socket.setblocking(False)
        try:
            client.socket.recv(1)
        except BlockingIOError:
            kept += 1
        except OSError:
            pass
    return kept


def paired_cpu(
    without: Running, with_idle: Running, bench: Bench, connections: int, seconds: float, rounds: int
) -> Figures:
    """Medians without and with idle connections, and the middle of the paired ratios."""
    turns = []
    for _ in range(rounds):
        pair = [measure(running, HELLO, bench, connections, seconds).cpu_us for running in (without, with_idle)]
        turns.append((pair[0], pair[1], pair[1] / pair[0]))
    return dict(zip(("without_us", "with_us", "ratio"), (median(column) for column in zip(*turns))))


def measure_idle(
    server: Server,
    bench: Bench,
    *,
    idle: int,
    seconds: float,
    threads: int = 1,
    rounds: int = 1,
    connections: int = CONNECTIONS,
) -> Figures:
    """Two instances of the server take turns at hello; one of them has the idle connections."""
    with ExitStack() as stack:
        without, with_idle = (stack.enter_context(serving(server, HELLO.app, bench, threads=threads)) for _ in range(2))
        check(with_idle.port, HELLO)
        fresh = settled_bytes(with_idle)
        # Some load comes first, so that what it makes the allocator keep is not taken for the connections'.
        run_wrk(with_idle.port, HELLO, bench, connections, 1)
        loaded = settled_bytes(with_idle)
        clients = open_idle(with_idle.port, idle)
        each = (settled_bytes(with_idle) - loaded) / idle
        times = paired_cpu(without, with_idle, bench, connections, seconds, rounds)
        kept = still_open(clients)
        for client in clients:
            client.close()
    sizes = {"rest_mib": fresh / 2**20, "loaded_mib": loaded / 2**20, "each_kib": each / 1024}
    return sizes | {"kept": kept} | times


def idle(entry: Entry, where: Conditions) -> Figures:
    assert entry.server
    return measure_idle(entry.server, where.bench, idle=where.idle, seconds=where.seconds, threads=entry.threads)


COLUMNS = (
    Column("rest_mib", "MiB at rest"),
    Column("loaded_mib", "after load"),
    Column("each_kib", "KiB per idle one"),
    Column("kept", "kept"),
    Column("without_us", "hello us"),
    Column("with_us", "with idle"),
    Column("ratio", "ratio"),
)
SCENARIO = Scenario("idle", "Connections that have had an answer and stay, and hello beside them.", (8,), idle, COLUMNS)
