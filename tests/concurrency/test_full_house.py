"""When all threads are inside the application, everything that is not the application's goes on."""

from __future__ import annotations

import time

import pytest
import wire
from applications import House

BAD = b"BAD\r\n\r\n"
BIG = 8 << 20

several_threads = pytest.mark.parametrize("threads", [2, 4])


def answered_by(house):
    """house, with /big (8 MB in one block) and /many (8 MB in many)."""

    def application(environ, start_response):
        if environ["PATH_INFO"] not in ("/big", "/many", "/upload"):
            return house(environ, start_response)
        start_response("200 OK", [("Content-Length", str(BIG))])
        if environ["PATH_INFO"] == "/many":
            return (b"x" * 65536 for _ in range(BIG // 65536))
        return [b"x" * BIG]

    return application


@several_threads
def test_a_bad_request_is_refused_at_once(serve, threads, transport):
    house = House()
    running = serve(house, threads=threads)
    house.fill(running, threads)
    since = time.monotonic()
    for _ in range(3):
        with running.connect() as client:
            assert client.exchange(BAD).status == 400
            client.assert_closed()
    assert time.monotonic() - since < 0.5
    assert house.inside == threads
    house.open()


@several_threads
def test_a_head_that_does_not_come_is_refused_in_time(serve, threads):
    house = House()
    running = serve(house, threads=threads, head_timeout=0.3)
    house.fill(running, threads)
    with running.connect() as client:
        since = time.monotonic()
        client.send(b"GET / HTTP")
        assert client.read_response().status == 408
        assert 0.2 < time.monotonic() - since < 1
        client.assert_closed()
    assert house.inside == threads
    house.open()


@several_threads
def test_an_upload_is_received(serve, threads):
    house = House()
    running = serve(house, threads=threads, unix=True)
    house.fill(running, threads)
    with running.connect() as client:
        client.send(wire.request("/upload", method="POST", body=b"x" * (4 << 20)))  # the socket alone takes far less
        wire.wait_until(lambda: client.unread_bytes() == 0, "the body received")
        assert house.inside == threads
        house.open()
        assert client.read_response().status == 200


@several_threads
@pytest.mark.parametrize("already", [False, True], ids=["whole", "partly read"])
def test_an_answer_that_is_finished_goes_on_being_sent(serve, threads, already):
    house = House()
    running = serve(answered_by(house), threads=threads)
    with running.connect(receive_buffer_bytes=4096) as reader:
        reader.send(wire.request("/big"))
        wire.wait_until(lambda: running.calls == 1)
        house.fill(running, threads)
        if already:
            assert running.exchange(BAD).status == 400
        assert len(reader.read_response().body) == BIG
    assert house.inside == threads
    house.open()


@several_threads
def test_new_connections_are_accepted(serve, threads):
    house = House()
    running = serve(house, threads=threads)
    house.fill(running, threads)
    clients = [running.connect() for _ in range(50)]
    wire.wait_until(lambda: running.connection_count() == threads + 50, "all accepted")
    house.open()
    for client in clients:
        client.exchange(wire.request())


@several_threads
def test_idle_connections_close_when_their_time_is_over(serve, threads):
    house = House()
    running = serve(house, threads=threads, keep_alive=0.3)
    with running.connect() as idle:
        idle.exchange(wire.request())
        house.fill(running, threads)
        idle.assert_closed(1)
    house.open()


@several_threads
def test_a_stop_is_heard(serve, threads):
    house = House()
    running = serve(house, threads=threads)
    with running.connect() as idle:
        idle.exchange(wire.request())
        inside = house.fill(running, threads)
        running.ask_to_stop()
        idle.assert_closed(1)
        assert running.thread.is_alive()
    house.open()
    for client in inside:
        assert client.read_response().says_close
    running.stop()


HOLD = """
import threading
leave = threading.Event()
def application(environ, start_response):
    if environ["PATH_INFO"] == "/leave":
        leave.set()
    elif environ["PATH_INFO"] == "/hold":
        print("inside", flush=True)
        leave.wait(20)
    start_response("200 OK", [])
    return [b"answer"]
"""


@several_threads
def test_sigterm_is_heard(apart, client_of, threads):
    process = apart(HOLD, "--threads", threads, "--graceful-timeout", 0.5)
    idle = client_of(process)
    idle.exchange(wire.request())
    for _ in range(threads):
        client_of(process).send(wire.request("/hold"))
    process.output.wait_for("inside", threads)
    process.process.terminate()
    idle.assert_closed(0.4)
    assert process.wait() == 0


@several_threads
def test_complete_requests_wait_and_are_run_in_their_order(serve, threads):
    house = House()
    running = serve(house, threads=threads)
    house.fill(running, threads)
    clients = [running.connect() for _ in range(6)]
    for number, client in enumerate(clients):
        client.send(wire.request(f"/hold/{number}"))
        assert running.exchange(BAD).status == 400  # so what came before has been received
    for number in range(6):
        assert len(house.begun) == threads + number
        house.let_out()
        house.wait_for_begun(threads + number + 1)
    assert house.begun[threads:] == [f"/hold/{number}" for number in range(6)]
    house.open()
    for number, client in enumerate(clients):
        assert client.read_response().body == b"/hold/%d" % number


# -- slow clients hold no thread --------------------------------------------------------------------------------------

SLOW = {
    "half a head": wire.request()[:20],
    "half a body": wire.request("/upload", method="POST", body=b"x" * 1000)[:-500],
    "not reading one block": wire.request("/big"),
    "not reading many blocks": wire.request("/many"),
}


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("kind", [*SLOW, "all of them"])
def test_twelve_slow_clients_of_a_kind_hold_nobody_up(serve, threads, kind):
    house = House()
    running = serve(answered_by(house), threads=threads)
    messages = list(SLOW.values()) if kind == "all of them" else [SLOW[kind]]
    slow = [running.connect(receive_buffer_bytes=4096) for _ in range(12 * len(messages))]
    for number, client in enumerate(slow):
        client.send(messages[number % len(messages)])
    running.exchange(wire.request())
    since = time.monotonic()
    assert running.exchange(wire.request("/fresh")).body == b"/fresh"
    assert time.monotonic() - since < 0.2
    house.fill(running, threads)  # all threads are there
    house.open()


def test_write_holds_its_thread_and_no_other(serve):
    house = House()
    writing = []

    def application(environ, start_response):
        if environ["PATH_INFO"] != "/write":
            return house(environ, start_response)
        writing.append(True)
        write = start_response("200 OK", [("Content-Length", str(BIG))])
        write(b"x" * BIG)
        return []

    running = serve(application, threads=4)
    writers = [running.connect(receive_buffer_bytes=4096) for _ in range(3)]
    for writer in writers:
        writer.send(wire.request("/write"))
    wire.wait_until(lambda: len(writing) == 3)
    assert running.exchange(wire.request()).body == b"/"
    house.fill(running, 1)
    assert running.exchange(BAD).status == 400
    for writer in writers:
        assert len(writer.read_response().body) == BIG
    house.open()
