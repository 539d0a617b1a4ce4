"""environ["headrace.client_disconnected"]: what a call that goes on can learn of its client."""

from __future__ import annotations

import threading
import time

import pytest
import wire
from applications import House

any_threads = pytest.mark.parametrize("threads", [1, 4])


class Asking:
    """/ask stays inside and hands its callable out; others are answered at once."""

    def __init__(self) -> None:
        self.ask = None
        self.inside = threading.Event()
        self.leave = threading.Event()

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"] == "/ask":
            self.ask = environ["headrace.client_disconnected"]
            self.inside.set()
            self.leave.wait(3 * wire.PATIENCE_S)
        start_response("200 OK", [])
        return [b"answer"]

    def wait_inside(self):
        assert self.inside.wait(wire.PATIENCE_S)
        return self.ask


@any_threads
def test_it_is_false_while_the_client_is_there(serve, threads, transport):
    asking = Asking()
    running = serve(asking, threads=threads)
    with running.connect() as client:
        client.send(wire.request("/ask"))
        ask = asking.wait_inside()
        assert ask() is False
        client.send(wire.request("/next"))  # something to read is no end
        assert [ask() for _ in range(100)] == [False] * 100
        asking.leave.set()
        assert client.read_response().body == b"answer"
        assert client.read_response().body == b"answer"


@any_threads
@pytest.mark.parametrize("pipelined", [False, True])
def test_it_is_true_after_a_reset(serve, threads, pipelined):
    asking = Asking()
    running = serve(asking, threads=threads)
    with running.connect() as client:
        client.send(wire.request("/ask"))
        ask = asking.wait_inside()
        if pipelined:
            client.send(wire.request("/next"))
        client.reset()
        wire.wait_until(ask, "True", 1)
        assert ask() is True
    asking.leave.set()


@any_threads
def test_it_is_true_a_while_after_a_half_close(serve, threads, transport):
    asking = Asking()
    running = serve(asking, threads=threads)
    with running.connect() as client:
        since = time.monotonic()
        client.send(wire.request("/ask"))
        ask = asking.wait_inside()
        client.half_close()
        seen = ask()
        if time.monotonic() - since < 0.5:
            assert seen is False
        wire.wait_until(ask, "True", 2)
        assert time.monotonic() - since >= 0.45
        asking.leave.set()
        assert client.read_response().body == b"answer"  # it is there, in fact
        client.assert_closed()


@any_threads
def test_it_is_true_after_the_request(serve, threads, transport):
    asking = Asking()
    asking.leave.set()
    running = serve(asking, threads=threads)
    with running.connect() as client:
        client.exchange(wire.request("/ask"))
        ask = asking.ask
        for _ in range(5):  # also when others are served on this connection, and its parts serve them
            wire.wait_until(ask)
            client.exchange(wire.request("/other"))
            assert ask() is True
    running.stop()
    assert ask() is True


@pytest.mark.parametrize("threads", [2, 4, 16])
def test_it_stays_true_when_another_client_has_the_descriptor_of_one_that_reset(serve, threads):
    """While the thread that will close the suspended response is inside another call."""
    house = House()
    asks = []

    def application(environ, start_response):
        if environ["PATH_INFO"] != "/big":
            return house(environ, start_response)
        asks.append(environ["headrace.client_disconnected"])
        start_response("200 OK", [])
        return iter([b"x" * (8 << 20)] * 3)

    running = serve(application, threads=threads)
    with running.connect(receive_buffer_bytes=4096) as client:
        client.send(wire.request("/big"))
        client.read_head()
        house.fill(running, threads)
        assert asks[0]() is False
        client.reset()
        wire.wait_until(lambda: running.connection_count() == threads, "the connection gone")
    assert asks[0]() is True
    others = [running.connect() for _ in range(10)]  # the lowest number that is free is given first
    for other in others:
        other.send(wire.request()[:1])  # who has said nothing may not be accepted yet
    wire.wait_until(lambda: running.connection_count() == threads + len(others), "the others accepted")
    assert asks[0]() is True
    house.open()
    for other in others:
        other.exchange(wire.request()[1:])
        assert asks[0]() is True


@any_threads
def test_a_generator_may_ask_between_its_blocks(serve, threads):
    ended = threading.Event()
    seen = []

    def application(environ, start_response):
        ask = environ["headrace.client_disconnected"]
        start_response("200 OK", [])
        yield b"first"
        seen.append(ask())
        until = time.monotonic() + wire.PATIENCE_S
        while not ask() and time.monotonic() < until:
            time.sleep(0.001)
        seen.append(ask())
        ended.set()

    running = serve(application, threads=threads)
    with running.connect() as client:
        client.send(wire.request())
        client.read_head()
        wire.wait_until(lambda: seen)
        client.reset()
    assert ended.wait(wire.PATIENCE_S)
    assert seen == [False, True]


@any_threads
def test_it_never_raises_whoever_calls_it_whenever(serve, threads):
    asking = Asking()
    running = serve(asking, threads=threads)
    faults, answers, stop = [], set(), threading.Event()

    def keep_asking(ask):
        while not stop.is_set():
            try:
                answers.add(ask())
            except BaseException as fault:
                faults.append(fault)

    with running.connect() as client:
        client.send(wire.request("/ask"))
        asker = threading.Thread(target=keep_asking, args=(asking.wait_inside(),))
        asker.start()
        asking.leave.set()
        client.read_response()
        for _ in range(50):
            client.exchange(wire.request("/other"))
        wire.wait_until(lambda: True in answers)
    running.stop()
    stop.set()
    asker.join()
    assert faults == []
    assert answers == {False, True}
