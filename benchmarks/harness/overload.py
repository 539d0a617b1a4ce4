"""The overload workload: twice as many clients as the application can serve, none of whom waits for ever."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from harness.client import check
from harness.load import LoadFailed
from harness.open_loop import FAILED, IN_TIME, LEFT, REFUSED, Arrival, OpenLoop, poisson_times
from harness.process import serving
from harness.turn import Column, Conditions, Entry, Figures, Scenario, asking
from harness.workloads import HOST, head

THREADS = 8
CALL_S = 0.050  # apps/waits.py sleeps so long
LOAD = 2.0
PATIENCE_S = 1.0
WARM_S = 2.0  # until every queue is as long as patience lets it be
QUIET_S = 1.0  # no call for so long: the server has done what it was left with
QUIET_PATIENCE_S = 30.0
LATENESS_MAX_MS = 20.0  # at the 99th percentile; a load that comes later is not the one asked for
CHECK = asking("/call?check", "call")


def request(number: int) -> bytes:
    return head(f"GET /call?{number} HTTP/1.1", HOST)


def wait_until_quiet(log: Path) -> None:
    deadline = time.monotonic() + QUIET_PATIENCE_S
    size, since = -1, time.monotonic()
    while time.monotonic() < deadline and time.monotonic() - since < QUIET_S:
        time.sleep(0.1)
        if log.stat().st_size != size:
            size, since = log.stat().st_size, time.monotonic()


def calls(log: Path) -> list[tuple[int, float]]:
    """The client's number and the time of each application call; not those of the check."""
    lines = [line.split() for line in log.read_text().splitlines()]
    return [(int(query), int(at_ns) / 1e9) for query, at_ns in lines if query.isdigit()]


def percentile(values: list[float], share: float) -> float:
    """The least value that `share` of them do not exceed; 0 of none."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def figures(arrivals: list[Arrival], called: list[tuple[int, float]], began: float, seconds: float) -> Figures:
    """Rates are of what ended while the load lasted, WARM_S left out; calls are all of them, those after it too."""
    timed = [arrival for arrival in arrivals if WARM_S <= arrival.ended - began < WARM_S + seconds]
    per_s = {outcome: count / seconds for outcome, count in Counter(one.outcome for one in timed).items()}
    delivered_ms = [(one.ended - one.due) * 1e3 for one in timed if one.outcome == IN_TIME]
    for_nobody = sum(arrivals[number].outcome == LEFT and at > arrivals[number].ended for number, at in called)
    late_ms = [(one.came - one.due) * 1e3 for one in arrivals]
    return {
        "departed_share": for_nobody / len(called) if called else 0.0,
        "in_time_per_s": per_s.get(IN_TIME, 0.0),
        "refused_per_s": per_s.get(REFUSED, 0.0),
        "left_per_s": per_s.get(LEFT, 0.0),
        "failed_per_s": per_s.get(FAILED, 0.0),
        "p99_ms": percentile(delivered_ms, 0.99),
        "calls": len(called),
        "late_p99_ms": percentile(late_ms, 0.99),
        "late_max_ms": max(late_ms),
    }


def overload(entry: Entry, where: Conditions) -> Figures:
    assert entry.server
    log = where.bench.folder / "calls"
    log.write_bytes(b"")
    limit = entry.server.name == "headrace" and where.queue_deadline_s
    more = ("--queue-deadline", str(where.queue_deadline_s)) if limit else ()
    capacity_per_s = entry.threads / CALL_S
    times = poisson_times(LOAD * capacity_per_s, WARM_S + where.seconds)
    with serving(entry.server, CHECK.app, where.bench, threads=entry.threads, more=more) as running:
        check(running.port, CHECK)
        loop = OpenLoop(running.port, request, CHECK.body, times, PATIENCE_S)
        arrivals = loop.run()
        wait_until_quiet(log)
    seen = figures(arrivals, calls(log), loop.began, where.seconds)
    if seen["late_p99_ms"] > LATENESS_MAX_MS:
        raise LoadFailed(f"clients came {seen['late_p99_ms']:.0f} ms late at the 99th percentile")
    return {"share": seen["in_time_per_s"] / capacity_per_s} | seen


SCENARIO = Scenario(
    "overload",
    f"The application sleeps 50 ms, so {THREADS} threads can answer {THREADS / CALL_S:.0f}/s; twice as many clients"
    f" come, and each leaves after {PATIENCE_S:.0f} s. Rates are per second.",
    (THREADS,),
    overload,
    (
        Column("share", "in time / capacity"),
        Column("departed_share", "calls for departed / calls"),
        Column("in_time_per_s", "in time"),
        Column("refused_per_s", "503"),
        Column("left_per_s", "left"),
        Column("failed_per_s", "failed"),
        Column("p99_ms", "p99 ms"),
        Column("late_p99_ms", "load late p99 ms"),
        Column("late_max_ms", "at most"),
    ),
)
