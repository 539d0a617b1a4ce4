"""Stopping with any number of threads: what was accepted is answered, and what does not end is cut."""

from __future__ import annotations

import threading
import time

import pytest
import wire
from applications import House

import headrace

pytestmark = pytest.mark.slow  # the waits add up

any_threads = pytest.mark.parametrize("threads", [1, 4, 16])
several_threads = pytest.mark.parametrize("threads", [4, 16])


@any_threads
def test_everything_that_came_before_the_stop_is_answered(serve, threads, transport):
    house = House()
    running = serve(house, threads=threads, linger_timeout=0.2)
    with running.connect() as idle:
        idle.exchange(wire.request())
        inside = house.fill(running, threads)
        waiting = [running.connect() for _ in range(30)]
        for client in waiting:
            client.send(wire.request("/waiting"))
        pipelined = [running.connect() for _ in range(10)]
        for client in pipelined:
            client.send(wire.request("/a") + wire.request("/b") + wire.request("/c"))
        backlog = [running.connect() for _ in range(30)]
        for client in backlog:
            client.send(wire.request("/backlog"))
        running.ask_to_stop()
        if threads > 1:
            idle.assert_closed()
        house.open()
        idle.assert_closed()
        for number, client in enumerate(inside):
            assert client.read_response().body == b"/hold/in-%d" % number
            client.assert_closed()
        for client in waiting:
            assert_last(client, b"/waiting")
        for client in pipelined:
            answers = [client.read_response() for _ in range(3)]
            assert [answer.body for answer in answers] == [b"/a", b"/b", b"/c"]
            assert [answer.says_close for answer in answers] == [False, False, True]
            client.assert_closed()
        for client in backlog:
            assert_last(client, b"/backlog")
    running.stop()


@any_threads
def test_calls_that_are_inside_when_the_stop_comes_answer_with_close(serve, threads, transport):
    house = House()
    running = serve(house, threads=threads)
    inside = house.fill(running, threads)
    running.ask_to_stop()
    house.open()
    for number, client in enumerate(inside):
        assert_last(client, b"/hold/in-%d" % number)
    running.stop()


@any_threads
def test_a_request_sent_behind_a_call_that_is_inside_is_answered_too(serve, threads, transport):
    house = House()
    running = serve(house, threads=threads)
    inside = house.fill(running, threads)
    for client in inside:
        client.send(wire.request("/behind"))
    running.ask_to_stop()
    house.open()
    for number, client in enumerate(inside):
        assert client.read_response().body == b"/hold/in-%d" % number
        assert client.read_response().body == b"/behind"
        client.assert_closed()
    running.stop()


def assert_last(client, target):
    answer = client.read_response()
    assert answer.body == target
    assert answer.says_close
    client.assert_closed()


@any_threads
def test_an_idle_server_stops_at_once(serve, threads, transport):
    running = serve(House(), threads=threads)
    clients = [running.connect() for _ in range(20)]
    for client in clients:
        client.exchange(wire.request())
    since = time.monotonic()
    running.stop()
    assert time.monotonic() - since < 0.5
    for client in clients:
        client.assert_closed()


def wait_for_threads_left_behind():
    """Those that were inside a call when the server was cut; they end with it, and leave nothing."""
    for thread in threading.enumerate():
        if thread.name.startswith("headrace"):
            thread.join(wire.PATIENCE_S)
            assert not thread.is_alive()


@several_threads
@pytest.mark.parametrize("graceful_first", [True, False])
def test_a_stop_that_is_not_graceful_cuts_though_calls_go_on(serve, caplog, threads, graceful_first):
    house = House()
    running = serve(house, threads=threads, graceful_timeout=60)
    inside = house.fill(running, threads)
    with running.connect() as waiting:
        waiting.send(wire.request("/waiting"))
        if graceful_first:
            running.ask_to_stop()
        since = time.monotonic()
        running.stop(graceful=False)
        assert time.monotonic() - since < 1
        for client in [*inside, waiting]:
            client.assert_gone(1)
        assert house.inside == threads
    house.open()
    wait_for_threads_left_behind()
    assert "/waiting" not in running.targets
    assert "accept failed" not in caplog.text  # the listener has been closed; its number may be another's


@several_threads
def test_the_graceful_timeout_cuts_though_calls_go_on(serve, caplog, threads):
    house = House()
    running = serve(house, threads=threads, graceful_timeout=0.3)
    inside = house.fill(running, threads)
    since = time.monotonic()
    running.stop()
    assert 0.2 < time.monotonic() - since < 1.5
    for client in inside:
        client.assert_gone(1)
    house.open()
    wait_for_threads_left_behind()
    assert "accept failed" not in caplog.text


@any_threads
@pytest.mark.parametrize("graceful", [True, False])
def test_the_application_may_stop_the_server(threads, graceful):
    barrier = threading.Barrier(threads)

    def application(environ, start_response):
        barrier.wait(wire.PATIENCE_S)
        server.stop(graceful=graceful)
        start_response("200 OK", [])
        return [b"stopped"]

    server = headrace.Server(application, port=0, threads=threads)
    server.start()
    clients = [wire.Client((server.host, server.port), watched=False) for _ in range(threads)]
    for client in clients:
        client.send(wire.request())
    server._thread.join(wire.PATIENCE_S)
    assert not server._thread.is_alive()
    for client in clients:
        if graceful:
            assert client.read_response().body == b"stopped"
            client.assert_closed()
        client.close()
    server.stop()


@any_threads
def test_many_may_stop_the_server_at_once(serve, threads):
    house = House()
    running = serve(house, threads=threads)
    inside = house.fill(running, threads)
    stoppers = [threading.Thread(target=running.server.stop) for _ in range(10)]
    for stopper in stoppers:
        stopper.start()
    house.open()
    for stopper in stoppers:
        stopper.join(wire.PATIENCE_S)
    for client in inside:
        assert client.read_response().status == 200
    running.stop()


HOLD = """
import time
def application(environ, start_response):
    if environ["PATH_INFO"] == "/hold":
        print("inside", flush=True)
        time.sleep(1 if environ["QUERY_STRING"] == "1" else 60)
    start_response("200 OK", [])
    return [b"answer"]
"""


@any_threads
def test_the_command_answers_what_is_inside_and_exits_with_0(apart, client_of, threads):
    process = apart(HOLD, "--threads", threads)
    clients = [client_of(process) for _ in range(threads)]
    for client in clients:
        client.send(wire.request("/hold?1"))
    process.output.wait_for("inside", threads)
    late = client_of(process)
    late.send(wire.request("/late"))
    process.process.terminate()
    for client in [*clients, late]:
        assert client.read_response().body == b"answer"
        client.assert_closed()
    assert process.wait() == 0


@any_threads
def test_a_second_signal_ends_the_command_at_once_with_0(apart, client_of, threads):
    process = apart(HOLD, "--threads", threads)
    idle = client_of(process)
    idle.exchange(wire.request())
    for _ in range(threads):
        client_of(process).send(wire.request("/hold"))
    process.output.wait_for("inside", threads)
    process.process.terminate()
    if threads > 1:
        idle.assert_closed()  # so the first has been heard
    else:
        time.sleep(0.1)  # signals of a kind do not add up
    since = time.monotonic()
    assert process.end() == 0
    assert time.monotonic() - since < 2


@any_threads
def test_the_graceful_timeout_ends_the_command_with_0(apart, client_of, threads):
    process = apart(HOLD, "--threads", threads, "--graceful-timeout", 0.3)
    for _ in range(threads):
        client_of(process).send(wire.request("/hold"))
    process.output.wait_for("inside", threads)
    since = time.monotonic()
    assert process.end() == 0
    assert time.monotonic() - since < 3


@pytest.mark.parametrize("threads", [1, 4])
def test_the_watch_over_the_time_of_calls_does_not_keep_an_idle_server_from_ending(serve, threads):
    running = serve(House(), threads=threads, timeout=30)
    time.sleep(0.3)  # it has looked, and sleeps until there is a call
    since = time.monotonic()
    running.stop()
    assert time.monotonic() - since < 0.8  # it looks once a second


def test_what_a_thread_comes_back_with_that_was_left_inside_a_call_is_closed(serve):
    inside, may_end = threading.Event(), threading.Event()

    class Answer(list):
        def close(self):
            inside.set()
            may_end.wait(wire.PATIENCE_S)

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "4")])
        return Answer([b"done"])

    running = serve(application, threads=4)
    with running.connect() as client:
        assert client.exchange(wire.request()).body == b"done"  # before close() is called
        assert inside.wait(wire.PATIENCE_S)
        running.stop(graceful=False)
        assert running.connection_count() == 1
        may_end.set()
        wire.wait_until(lambda: running.connection_count() == 0, "the connection is closed")
