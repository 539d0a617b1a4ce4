"""Answers leave at the latest some milliseconds after they are finished, whatever the call behind them does."""

from __future__ import annotations

import time

import pytest
import wire
from applications import House


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("count", [1, 16])
def test_answers_before_a_call_that_blocks_leave_at_once(serve, threads, count, transport):
    house = House()
    running = serve(house, threads=threads)
    with running.connect() as client:
        for turn in range(3):
            client.send(wire.request("/quick") * count + wire.request("/hold"))
            house.wait_for_begun(turn + 1)
            since = time.monotonic()
            for _ in range(count):
                assert client.read_response().body == b"/quick"
            assert time.monotonic() - since < 0.1
            assert house.inside == 1
            house.let_out()
            assert client.read_response().body == b"/hold"


@pytest.mark.parametrize("threads", [1, 8])
def test_answers_before_a_call_that_computes_leave_meanwhile(serve, threads):
    stop = []

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/compute":
            until = time.monotonic() + wire.PATIENCE_S
            while not stop and time.monotonic() < until:
                sum(range(1000))
        start_response("200 OK", [])
        return [b"late" if stop else b"early"]

    running = serve(application, threads=threads)
    with running.connect() as client:
        client.send(wire.request() + wire.request("/compute"))
        since = time.monotonic()
        assert client.read_response().body == b"early"
        assert time.monotonic() - since < 0.5
        stop.append(True)
        assert client.read_response().body == b"late"


@pytest.mark.parametrize("threads", [2, 4])
def test_answers_before_calls_that_fill_the_house_leave_at_once(serve, threads):
    house = House()
    running = serve(house, threads=threads)
    clients = [running.connect() for _ in range(threads)]
    for client in clients:
        client.send(wire.request("/quick") + wire.request("/hold"))
    house.wait_for_begun(threads)
    since = time.monotonic()
    for client in clients:
        assert client.read_response().body == b"/quick"
    assert time.monotonic() - since < 0.1
    assert house.inside == threads
    house.open()
    for client in clients:
        assert client.read_response().body == b"/hold"


@pytest.mark.parametrize("threads", [2, 4])
def test_calls_with_answers_before_them_that_come_after_calls_that_compute_all_get_in(serve, threads):
    """Calls that compute make the sentinel patient; the answers that it looks after must not make it wait for ever."""

    def application(environ, start_response):
        if environ["PATH_INFO"] != "/compute":
            return house(environ, start_response)
        until = time.thread_time() + 0.05
        while time.thread_time() < until:
            sum(range(1000))
        start_response("200 OK", [])
        return [b"computed"]

    house = House()
    running = serve(application, threads=threads)
    clients = [running.connect() for _ in range(threads)]
    for turn in range(1, 6):
        for client in clients:
            client.send(wire.request("/compute"))
        for client in clients:
            assert client.read_response().body == b"computed"
        for client in clients:
            client.send(wire.request("/quick") + wire.request("/hold"))
        house.wait_for_begun(turn * threads)
        house.let_out(threads)
        for client in clients:
            assert client.read_response().body == b"/quick"
            assert client.read_response().body == b"/hold"
