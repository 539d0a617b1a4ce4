"""Second stops, bursts of signals, who comes during a stop, and what the log says of it."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
import wire
from applications import Blocks, House

pytestmark = pytest.mark.slow  # the waits add up

any_threads = pytest.mark.parametrize("threads", [1, 4, 16])
several_threads = pytest.mark.parametrize("threads", [2, 4, 16])

AT_ONCE_S = 1

SLEEPING = """
import time

def application(environ, start_response):
    if environ["PATH_INFO"] == "/brief":
        print("inside", flush=True)
        time.sleep(0.2)
    elif environ["PATH_INFO"] == "/long":
        print("inside", flush=True)
        time.sleep(60)
    start_response("200 OK", [])
    return (b"x" * 65536 for _ in range(100)) if environ["PATH_INFO"] == "/blocks" else [b"answer"]
"""


# -- requests that wait -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["a second signal", "the graceful timeout"])
def test_a_single_thread_begins_nothing_that_was_queued_when_its_call_has_been_cut(apart, client_of, how):
    process = apart(SLEEPING, "--threads", 1, "--graceful-timeout", 0.1 if how == "the graceful timeout" else 30)
    client_of(process).send(wire.request("/brief"))
    process.output.wait_for("inside")
    for _ in range(5):
        client_of(process).send(wire.request("/long"))
    process.output.wait_for("inside", 2)  # the others have been received
    since = time.monotonic()
    process.process.send_signal(signal.SIGTERM)
    if how == "a second signal":
        time.sleep(0.1)  # nothing tells that the first has been heard
        process.process.send_signal(signal.SIGINT)
    assert process.wait() == 0
    assert time.monotonic() - since < 2  # the timeout cuts a call a second later
    assert process.output.text.count("inside") == 2


# -- a second stop ----------------------------------------------------------------------------------------------------


class BlocksInClose:
    """/ has a response that does not end, and whose close() waits."""

    def __init__(self):
        self.inside = threading.Event()
        self.leave = threading.Event()

    def __call__(self, environ, start_response):
        start_response("200 OK", [])
        return self

    def __iter__(self):
        return self

    def __next__(self):
        return b"x" * 65536

    def close(self):
        self.inside.set()
        self.leave.wait(3 * wire.PATIENCE_S)


@several_threads
def test_a_stop_that_is_not_graceful_is_heard_after_a_graceful_one_while_close_goes_on(serve, threads):
    application = BlocksInClose()
    running = serve(application, threads=threads, graceful_timeout=30)
    with running.connect(receive_buffer_bytes=4096) as client:
        client.send(wire.request())
        client.read_head()
        client.reset()
    assert application.inside.wait(wire.PATIENCE_S)
    running.ask_to_stop()
    wire.wait_until(lambda: refuses(running), "the listener closed")
    time.sleep(0.1)  # the server's threads are being waited for
    assert running.thread.is_alive()
    since = time.monotonic()
    running.stop(graceful=False)
    assert time.monotonic() - since < AT_ONCE_S
    application.leave.set()
    for thread in threading.enumerate():
        if thread.name.startswith("headrace-"):
            thread.join(wire.PATIENCE_S)


@any_threads
@pytest.mark.parametrize("graceful", [True, False])
def test_a_stop_before_the_server_runs_writes_nothing_to_a_descriptor_that_is_not_its_own(threads, graceful):
    program = f"""
import headrace
server = headrace.Server(lambda environ, start_response: [], host="127.0.0.1", port=0, threads={threads})
server._worker.stop(graceful={graceful})
server.run()
server._worker.stop(graceful={graceful})
"""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = subprocess.Popen([sys.executable, "-c", program], stdin=theirs)
        assert process.wait(4 * wire.PATIENCE_S) == 0
        ours.settimeout(wire.PATIENCE_S)
        assert ours.recv(100) == b""


# -- bursts of signals ------------------------------------------------------------------------------------------------


@several_threads
@pytest.mark.parametrize("going_on", ["nothing", "calls", "more calls than threads", "blocks"])
def test_signals_that_do_not_stop_coming_end_the_command_with_0(apart, client_of, threads, going_on):
    process = apart(SLEEPING, "--threads", threads, "--graceful-timeout", 20)
    if going_on == "blocks":
        for _ in range(3):
            client = client_of(process, receive_buffer_bytes=4096)
            client.send(wire.request("/blocks"))
            client.read_head()
    elif going_on != "nothing":
        for _ in range(threads if going_on == "calls" else 2 * threads + 2):
            client_of(process).send(wire.request("/long"))
        process.output.wait_for("inside", threads)
    since = time.monotonic()
    while process.process.poll() is None and time.monotonic() - since < 2 * wire.PATIENCE_S:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            process.process.send_signal(number)
        time.sleep(0.0005)
    assert process.wait() == 0
    assert time.monotonic() - since < 2
    assert "Traceback" not in process.errors.text


# -- who comes during a stop ------------------------------------------------------------------------------------------


def refuses(running):
    try:
        with running.connect():
            return False
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        return False  # the listener closed just then


@several_threads
@pytest.mark.parametrize("full", [False, True], ids=["one call", "full house"])
def test_who_connects_while_a_call_goes_on_at_a_stop_is_refused(serve, threads, full, transport):
    house = House()
    running = serve(house, threads=threads)
    inside = house.fill(running, threads if full else 1)
    running.ask_to_stop()
    wire.wait_until(lambda: refuses(running), "new connections refused", AT_ONCE_S)
    assert house.inside == len(inside)
    house.open()
    for number, client in enumerate(inside):
        assert client.read_response().body == b"/hold/in-%d" % number
    running.stop()


@any_threads
def test_who_connects_while_a_response_is_sent_at_a_stop_is_refused(serve, threads, transport):
    running = serve(Blocks(100), threads=threads)
    with running.connect(receive_buffer_bytes=4096) as client:
        client.send(wire.request("/blocks"))
        wire.wait_until(lambda: running.calls == 1)
        running.ask_to_stop()
        wire.wait_until(lambda: refuses(running), "new connections refused", AT_ONCE_S)
        assert len(client.read_response().body) == 100 * 65536
    running.stop()


# -- what the log says ------------------------------------------------------------------------------------------------


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("threads", [4, 16])
@pytest.mark.parametrize("calls", [1, 3, 4])
def test_requests_that_are_cut_are_named_in_a_warning(serve, caplog, threads, calls):
    house = House()
    running = serve(house, threads=threads)
    with running.connect() as idle:
        idle.exchange(wire.request("/idle"))
        house.fill(running, calls)
        running.stop(graceful=False)
    (warning,) = warnings(caplog)
    assert warning.startswith("HR106 1 request was cut, " if calls == 1 else f"HR106 {calls} requests were cut, ")
    named = re.findall(r"GET /hold/in-\d", warning)
    assert len(named) == len(set(named)) == min(calls, 3)
    assert warning.endswith("...") == (calls > 3)
    assert "/idle" not in warning
    house.open()
    for thread in threading.enumerate():
        if thread.name.startswith("headrace-"):
            thread.join(wire.PATIENCE_S)


@any_threads
def test_a_response_that_is_cut_is_named_in_a_warning(serve, caplog, threads):
    running = serve(Blocks(100), threads=threads)
    with running.connect(receive_buffer_bytes=4096) as client:
        client.send(wire.request("/blocks?which"))
        client.read_head()
        running.stop(graceful=False)
    (warning,) = warnings(caplog)
    assert warning.endswith(": GET /blocks")  # without the query, which may hold a password


@several_threads
def test_the_command_names_the_requests_that_a_second_signal_cuts(apart, client_of, threads):
    process = apart(SLEEPING, "--threads", threads)
    client_of(process).send(wire.request("/long?which"))
    process.output.wait_for("inside")
    process.process.send_signal(signal.SIGTERM)
    process.process.send_signal(signal.SIGINT)
    assert process.wait() == 0
    assert re.search(r"WARNING HR106 .*: GET /long\n", process.errors.text)


@any_threads
def test_a_stop_that_cuts_nothing_warns_of_nothing(serve, caplog, threads):
    running = serve(House(), threads=threads)
    with running.connect() as client:
        client.exchange(wire.request())
        running.stop(graceful=False)
    assert warnings(caplog) == []


@any_threads
def test_that_all_connections_are_open_is_a_warning_that_comes_once(serve, caplog, threads):
    running = serve(House(), threads=threads, worker_connections=3)
    upload = wire.request(method="POST", body=b"12345")
    clients = [running.connect() for _ in range(3)]
    for client in clients:  # one that was idle would make room
        client.send(upload[:-1])
    wire.wait_until(lambda: running.connection_count() == 3, "all of them")
    assert warnings(caplog) == []
    for _ in range(2):
        waiting = running.connect()
        waiting.send(wire.request())
        wire.wait_until(lambda: warnings(caplog), "the warning")
        client = clients.pop(0)
        client.send(upload[-1:])
        assert client.read_response().status == 200
        client.close()
        assert waiting.read_response().status == 200
        waiting.send(upload[:-1])
        clients.append(waiting)
    (warning,) = warnings(caplog)
    assert "3" in warning
    assert "--worker-connections" in warning
