"""The system gives no more threads: the server says so once, and goes on with what it has."""

from __future__ import annotations

import threading

import pytest
from wire import PATIENCE_S, request, wait_until


@pytest.fixture
def refuse_threads(monkeypatch):
    """refuse_threads("headrace-2"): threads of these names do not start from now on."""
    refused = set()
    start = threading.Thread.start

    def perhaps_start(self):
        if self.name in refused:
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", perhaps_start)
    return refused.update


def hello(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]


def test_one_thread_of_four_serves_all_there_are(serve, caplog, refuse_threads):
    refuse_threads(["headrace-2", "headrace-3", "headrace-4"])
    running = serve(hello, threads=4)
    clients = [running.connect() for _ in range(8)]
    for _ in range(3):
        for client in clients:
            client.send(request() * 2)
        for client in clients:
            assert [client.read_response().body for _ in range(2)] == [b"hello"] * 2
    told = [message for message in caplog.messages if message.startswith("HR401 ")]
    assert len(told) <= 1, "once is enough"
    assert all("instead of 4: can't start new thread" in message for message in told)


def test_calls_that_block_wait_for_each_other_where_no_thread_can_be_had(serve, caplog, refuse_threads):
    refuse_threads([f"headrace-{number}" for number in range(2, 9)])
    inside, go_on = threading.Semaphore(0), threading.Event()

    def application(environ, start_response):
        inside.release()
        assert go_on.wait(PATIENCE_S)
        return hello(environ, start_response)

    running = serve(application, threads=8)
    clients = [running.connect() for _ in range(4)]
    for client in clients:
        client.send(request())
    assert inside.acquire(timeout=PATIENCE_S)
    wait_until(lambda: any(message.startswith("HR401 ") for message in caplog.messages), "it is logged")
    go_on.set()
    assert [client.read_response().body for client in clients] == [b"hello"] * 4
    assert sum(message.startswith("HR401 ") for message in caplog.messages) == 1


def test_answers_wait_for_the_call_behind_them_where_nobody_can_look_after_them(serve, caplog, refuse_threads):
    refuse_threads(["headrace-sentinel"])
    running = serve(hello, threads=1)
    for _ in range(3):
        client = running.connect()
        client.send(request() * 3)
        assert [client.read_response().body for _ in range(3)] == [b"hello"] * 3
    assert sum(message.startswith("HR402 ") for message in caplog.messages) <= 1


def test_without_a_watchdog_requests_are_served_and_the_log_says_that_nobody_watches(serve, caplog, refuse_threads):
    refuse_threads(["headrace-watchdog"])
    running = serve(hello, timeout=1)
    assert running.exchange(request()).body == b"hello"
    assert [message for message in caplog.messages if message.startswith("HR407 ")] == [
        "HR407 no thread to watch over requests: --timeout has no effect: can't start new thread"
    ]


def test_a_server_none_of_whose_threads_starts_says_why_and_ends(serve, refuse_threads):
    refuse_threads([f"headrace-{number}" for number in range(1, 9)])
    running = serve(hello, threads=4)
    running.thread.join(PATIENCE_S)
    assert not running.thread.is_alive()
    failure, running.failure = running.failure, None
    assert str(failure) == "can't start new thread"
