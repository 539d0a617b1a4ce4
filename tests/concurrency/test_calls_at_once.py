"""How many calls of the application go on at once, and what a call that computes does to its neighbours."""

from __future__ import annotations

import signal
import threading
import time

import pytest
import wire
from applications import House


@pytest.mark.parametrize("threads", [2, 4, 16])
def test_as_many_calls_as_there_are_threads_go_on_at_once(serve, threads, transport):
    barrier = threading.Barrier(threads)

    def application(environ, start_response):
        barrier.wait(wire.PATIENCE_S)
        start_response("200 OK", [])
        return [b"together"]

    running = serve(application, threads=threads)
    for _ in range(3):
        clients = [running.connect() for _ in range(threads)]
        for client in clients:
            client.send(wire.request())
        assert [client.read_response().body for client in clients] == [b"together"] * threads


@pytest.mark.parametrize("threads", [1, 2, 4, 16])
def test_one_call_more_than_threads_waits_until_one_leaves(serve, threads):
    house = House()
    running = serve(house, threads=threads)
    house.fill(running, threads)
    with running.connect() as late:
        late.send(wire.request("/hold/late"))
        if threads > 1:
            assert running.exchange(b"BAD\r\n\r\n").status == 400  # so what came before has been received
        assert not late.has_input(0.05)
        assert "/hold/late" not in house.begun
        house.let_out()
        house.wait_for_begun(threads + 1)
        assert house.begun[-1] == "/hold/late"
        house.open()
        assert late.read_response().body == b"/hold/late"
    assert house.most == threads


@pytest.mark.parametrize("threads", [1, 4])
def test_no_more_calls_than_threads_even_when_many_ask(serve, threads):
    house = House()
    running = serve(house, threads=threads)
    clients = [running.connect() for _ in range(5 * threads)]
    for number, client in enumerate(clients):
        client.send(wire.request(f"/hold/{number}"))
    for left in range(5 * threads, 0, -1):
        house.wait_for_begun(5 * threads - left + min(left, threads))
        house.let_out()
    for number, client in enumerate(clients):
        assert client.read_response().body == b"/hold/%d" % number
    assert house.most == threads


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_wsgi_multithread_says_whether_there_are_several_threads(serve, threads):
    def application(environ, start_response):
        start_response("200 OK", [])
        return [repr((environ["wsgi.multithread"], environ["wsgi.multiprocess"])).encode()]

    assert serve(application, threads=threads).exchange(wire.request()).body == b"(%r, False)" % (threads > 1)


def test_quick_requests_are_answered_beside_a_call_that_computes(serve):
    ended = threading.Event()
    inside = threading.Event()

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/compute":
            inside.set()
            until = time.thread_time() + 1
            while time.thread_time() < until:
                sum(range(1000))
            ended.set()
        start_response("200 OK", [])
        return [b"quick"]

    running = serve(application, threads=4)
    with running.connect() as busy, running.connect() as quick:
        busy.send(wire.request("/compute"))
        assert inside.wait(wire.PATIENCE_S)
        longest = answered = 0
        while not ended.is_set():
            since = time.monotonic()
            quick.exchange(wire.request())
            if not ended.is_set():
                longest = max(longest, time.monotonic() - since)
                answered += 1
        busy.read_response()
    assert answered > 2
    assert longest < 0.5


HOLD = """
import time
def application(environ, start_response):
    if environ["PATH_INFO"] == "/hold":
        time.sleep(2)
    start_response("200 OK", [])
    return [b"answer"]
"""


@pytest.mark.parametrize("threads", [2, 4])
@pytest.mark.parametrize("blocks", ["new connection", "old connection"])
def test_a_call_that_blocks_holds_up_nothing_that_was_reported_together_with_it(apart, client_of, threads, blocks):
    """The process is stopped while both come, so the poller reports them at once, the one that blocks first."""
    process = apart(HOLD, "--threads", threads)
    old, quick = client_of(process), client_of(process)
    old.exchange(wire.request())
    quick.exchange(wire.request())
    process.process.send_signal(signal.SIGSTOP)
    holder = client_of(process) if blocks == "new connection" else old
    holder.send(wire.request("/hold"))
    quick.send(wire.request())
    process.process.send_signal(signal.SIGCONT)
    since = time.monotonic()
    assert quick.read_response().body == b"answer"
    assert time.monotonic() - since < 1
    assert holder.read_response().body == b"answer"
