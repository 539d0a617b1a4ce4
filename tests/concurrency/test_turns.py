"""A client that sends many requests at once gets its turns like others; its pipeline keeps nobody waiting."""

from __future__ import annotations

import threading
import time

import pytest
import wire

SLOWER_THAN_A_TURN_S = 0.006
PIPELINED = 60


@pytest.mark.parametrize("threads", [1, 4])
def test_a_long_pipeline_does_not_keep_others_waiting(serve, threads):
    called = []
    other_has_asked = threading.Event()

    def application(environ, start_response):
        called.append(environ["PATH_INFO"])
        assert other_has_asked.wait(wire.PATIENCE_S)
        time.sleep(SLOWER_THAN_A_TURN_S)
        start_response("200 OK", [("Content-Length", "1")])
        return [b"x"]

    running = serve(application, threads=threads)
    floods = [running.connect() for _ in range(threads)]
    for flood in floods:
        flood.send(wire.request("/flood") * PIPELINED)
    wire.wait_until(lambda: len(called) == threads, "all threads inside the application")
    other = running.connect()
    other.send(wire.request("/other"))
    other_has_asked.set()
    assert other.read_response().status == 200
    assert called.index("/other") <= 10 * threads
    for flood in floods:
        assert [flood.read_response().body for _ in range(PIPELINED)] == [b"x"] * PIPELINED
    assert called.count("/flood") == PIPELINED * threads


def test_what_is_left_of_a_pipeline_is_served_at_a_stop(serve):
    inside = threading.Event()

    def application(environ, start_response):
        inside.set()
        time.sleep(SLOWER_THAN_A_TURN_S)
        start_response("200 OK", [("Content-Length", "1")])
        return [b"x"]

    running = serve(application, threads=1)
    with running.connect() as client:
        client.send(wire.request() * PIPELINED)
        assert inside.wait(wire.PATIENCE_S)
        running.stop()
        assert [client.read_response().status for _ in range(PIPELINED)] == [200] * PIPELINED
