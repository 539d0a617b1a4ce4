"""The long-call workload: one request computes for seconds in pure Python, and hello is asked beside it."""

from __future__ import annotations

import select
import time
from contextlib import ExitStack
from statistics import median

from harness.client import Client, check_answer
from harness.closed_loop import started
from harness.load import LoadFailed
from harness.turn import FAST, Column, Conditions, Entry, Figures, Scenario, asking

LONG = asking("/long", "long")
PATIENCE_S = 30.0
BEGIN_S = 0.1  # the long call is under way by then
CONNECTIONS = 4


def latencies_ms(clients: list[Client], until: Client) -> list[float]:
    """Of rounds in which each client asks once, until `until` has something to read."""
    found = []
    while not select.select([until.socket], [], [], 0)[0]:
        sent = []
        for client in clients:
            sent.append(time.monotonic())
            client.send(FAST.request)
        for client, at in zip(clients, sent):
            check_answer(client.answer(), FAST)
            found.append((time.monotonic() - at) * 1e3)
    return found


def long_call(entry: Entry, where: Conditions) -> Figures:
    """The check has opened and closed a connection; these are new ones, the long call's first."""
    with started(entry, where, FAST) as running, ExitStack() as stack:
        busy = stack.enter_context(Client(running.port, PATIENCE_S))
        clients = [stack.enter_context(Client(running.port, PATIENCE_S)) for _ in range(CONNECTIONS)]
        began = time.monotonic()
        busy.send(LONG.request)
        time.sleep(BEGIN_S)
        found = latencies_ms(clients, busy)
        check_answer(busy.answer(), LONG)
        long_s = time.monotonic() - began
    if not found:
        raise LoadFailed(f"the long call ended after {long_s:.2f} s, before anything was asked beside it")
    return {"max_ms": max(found), "p50_ms": median(found), "answers": len(found), "long_s": long_s}


SCENARIO = Scenario(
    "long-call",
    "One request takes 2 s of CPU time in pure Python; beside it 4 connections ask for hello.",
    (8,),
    long_call,
    (
        Column("max_ms", "hello max ms"),
        Column("p50_ms", "p50 ms"),
        Column("answers", "answers"),
        Column("long_s", "long call s"),
    ),
)
