"""While one call blocks others are served: somebody always goes on, whatever came before the call."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest
import wire

UNEAGER_S = 0.15  # after a call has blocked, threads are woken at once for 100 ms


class Steps:
    """/spin-MS/block-MS/hold...: what a call does, in this order; hold ends with the test, but for its patience."""

    def __init__(self) -> None:
        self.inside = threading.Semaphore(0)
        self.opened = threading.Event()

    def __call__(self, environ, start_response):
        for step in environ["PATH_INFO"].strip("/").split("/"):
            what, _, milliseconds = step.partition("-")
            if what == "spin":
                until = time.perf_counter() + int(milliseconds) / 1000
                while time.perf_counter() < until:
                    pass
            elif what == "block":
                time.sleep(int(milliseconds) / 1000)
            elif what == "hold":
                self.inside.release()
                self.opened.wait(wire.PATIENCE_S / 2)
        start_response("200 OK", [])
        return [b"held" if self.opened.is_set() else b"free"]

    def wait_inside(self):
        assert self.inside.acquire(timeout=wire.PATIENCE_S / 2), "the call did not begin"


def is_answered_meanwhile(application, client):
    """Before the calls that hold have ended, which they do by themselves after a while."""
    before = time.monotonic()
    answer = client.exchange(wire.request("/"))
    took_s = time.monotonic() - before
    application.opened.set()
    assert answer.body == b"free" and took_s < wire.PATIENCE_S / 4, f"{took_s:.2f} s"


@pytest.fixture
def steps(serve):
    application = Steps()
    yield application
    application.opened.set()


def connect(running, count):
    clients = [running.connect() for _ in range(count)]
    for client in clients:
        client.exchange(wire.request("/"))
    return clients


def test_a_call_that_blocks_with_a_finished_answer_before_it(serve, steps, transport):
    first, second, third = connect(serve(steps, threads=8), 3)
    for _ in range(3):
        second.exchange(wire.request("/"))  # so that the sentinel is awake
        first.send(wire.request("/") + wire.request("/hold"))
        steps.wait_inside()
        is_answered_meanwhile(steps, third)
        assert [first.read_response().body, first.read_response().body] == [b"free", b"held"]
        steps.opened.clear()
        time.sleep(UNEAGER_S)


def test_a_full_house_refuses_although_a_finished_answer_is_before_one_of_its_calls(serve, steps):
    first, second, third = connect(serve(steps, threads=2), 3)
    second.send(wire.request("/hold"))
    steps.wait_inside()
    time.sleep(UNEAGER_S)
    third.exchange(wire.request("/"))
    first.send(wire.request("/") + wire.request("/hold"))
    steps.wait_inside()
    before = time.monotonic()
    third.send(b"no request\r\n\r\n")
    assert third.read_response().status == 400
    assert time.monotonic() - before < wire.PATIENCE_S / 4


def test_a_call_that_blocks_after_others_have_computed(serve, steps):
    first, second, third = connect(serve(steps, threads=8), 3)
    for _ in range(5):  # who is woken meanwhile learns that it is not worth it
        second.send(wire.request("/spin-40"))
        third.exchange(wire.request("/"))
        second.read_response()
    time.sleep(UNEAGER_S)
    first.send(wire.request("/") + wire.request("/hold"))
    steps.wait_inside()
    is_answered_meanwhile(steps, third)


def test_a_call_that_blocks_after_one_woken_for_it_found_that_the_others_were_doing_well(serve, steps):
    first, second, third = connect(serve(steps, threads=8), 3)
    for pause_s in (0.045, 0.06):  # long enough for the sentinel to sleep, and calls have lately blocked
        second.exchange(wire.request("/block-30"))
        time.sleep(pause_s)
        first.send(wire.request("/spin-4") + wire.request("/spin-4/hold"))
        steps.wait_inside()
        is_answered_meanwhile(steps, third)
        assert [first.read_response().body, first.read_response().body] == [b"free", b"held"]
        steps.opened.clear()


CONNECT_ANEW = """
import socket, threading
def run():
    while True:
        try:
            with socket.create_connection(("127.0.0.1", {port}), timeout=5) as client:
                client.sendall(b"GET /block-5 HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n")
                client.recv(999)
        except OSError:
            return
for _ in range(50):
    threading.Thread(target=run).start()
"""


@pytest.mark.parametrize("threads", [1, 8])
def test_a_stop_comes_to_an_end_while_clients_go_on_connecting(serve, steps, threads):
    running = serve(steps, referee=False, threads=threads, graceful_timeout=0.5)
    crowd = subprocess.Popen([sys.executable, "-c", CONNECT_ANEW.format(port=running.port)])
    try:
        wire.wait_until(lambda: running.calls > 100, "100 calls")
        running.stop(timeout=0.5 + wire.PATIENCE_S / 2)
    finally:
        crowd.kill()
        crowd.wait()
