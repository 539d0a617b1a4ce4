"""Something that holds the interpreter lock for long makes nobody late who was in time."""

from __future__ import annotations

import sys
import time

import pytest
import wire

HOLDING = """
import ctypes, time
hold = ctypes.PyDLL(None).usleep  # gives nobody the interpreter lock

def application(environ, start_response):
    if environ["PATH_INFO"] == "/hold":
        time.sleep(0.1)  # another thread waits in the poller by then
        print("holds", flush=True)
        hold(600000)
    start_response("200 OK", [("Content-Length", "6")])
    return [b"answer"]
"""

HEAD_TIMEOUT_S = 0.5

pytestmark = pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="there is no interpreter lock that could come late"
)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 4, 16])
def test_a_head_whose_rest_came_in_time_is_served_though_the_lock_came_late(apart, client_of, threads):
    process = apart(HOLDING, "--threads", threads, "--head-timeout", HEAD_TIMEOUT_S)
    holder, other, slow = (client_of(process) for _ in range(3))
    for client in (holder, other):
        client.exchange(wire.request())
    since = time.monotonic()
    slow.send(wire.request()[:20])
    holder.send(wire.request("/hold"))
    process.output.wait_for("holds")
    time.sleep(0.05)
    other.send(wire.request())  # of this the poller tells, and the lock does not come before the head's time is over
    time.sleep(0.05)
    slow.send(wire.request()[20:])
    if time.monotonic() - since > HEAD_TIMEOUT_S - 0.05:
        pytest.skip("this machine was too slow for the head to be in time")
    assert slow.read_response().status == 200
    assert time.monotonic() - since > HEAD_TIMEOUT_S
    assert other.read_response().status == 200
    assert holder.read_response().status == 200
    assert process.end() == 0
