"""Requests whose client has gone while they waited for a thread are not run; those of all others are."""

from __future__ import annotations

import logging
import threading
import time

import pytest
import wire
from applications import House

BAD = b"BAD\r\n\r\n"
TLS_HELLO = b"\x16\x03\x01\x02\x00\x01"
HALF_CLOSED_S = 0.5

#: A client is looked at only when its request has waited for more than 1 ms.
LOOKED_AT_S = 0.01

#: The poller tells of 256 events at a time, and of fewer in debug builds.
MORE_THAN_AT_ONCE = 300

several_threads = pytest.mark.parametrize("threads", [2, 4])


def skipped(running):
    return running.server._worker._loop.counts()["skipped"]


def until_received(running):
    """What was sent before this has been received: events are served in the order in which they come."""
    assert running.exchange(BAD).status == 400


def wait_until_gone(running):
    wire.wait_until(lambda: running.connection_count() == 0, "all connections gone")


@several_threads
@pytest.mark.parametrize("body", [b"", b"x" * 100_000], ids=["no body", "body"])
def test_requests_of_clients_that_reset_are_not_run(serve, tmp_path, threads, body, transport):
    log = tmp_path / "access.log"
    house = House()
    running = serve(house, threads=threads, access_logfile=str(log))
    inside = house.fill(running, threads)
    leaving = [running.connect() for _ in range(10)]
    staying = running.connect()
    for client in leaving:
        client.send(wire.request("/gone", method="POST", body=body))
    staying.send(wire.request("/stays"))
    until_received(running)
    for client in leaving:
        client.reset()
    time.sleep(LOOKED_AT_S)
    house.open()
    assert staying.read_response().body == b"/stays"
    for client in [staying, *inside]:
        client.close()
    wait_until_gone(running)
    assert "/gone" not in running.targets
    assert skipped(running) == 10
    wire.wait_until(lambda: log.read_text().count('"POST /gone HTTP/1.1" 499 -') == 10, "the lines")
    assert log.read_text().count(" 499 ") == 10


@several_threads
def test_requests_that_come_together_with_the_reset_are_not_run(serve, threads):
    house = House()
    running = serve(house, threads=threads)
    house.fill(running, threads)
    for _ in range(10):
        with running.connect() as client:
            client.send(wire.request("/gone"))
            client.reset()
    until_received(running)
    time.sleep(LOOKED_AT_S)
    house.open()
    running.stop()
    assert "/gone" not in running.targets


@several_threads
def test_pipelined_requests_of_a_client_that_reset_are_not_run(serve, threads):
    house = House()
    running = serve(house, threads=threads)
    house.fill(running, threads)
    with running.connect() as client:
        client.send(wire.request("/gone") * 5)
        until_received(running)
        client.reset()
    time.sleep(LOOKED_AT_S)
    house.open()
    running.stop()
    assert "/gone" not in running.targets
    assert skipped(running) == 1  # the others behind it were not looked at


@pytest.mark.parametrize("threads", [1, 4])
def test_requests_pipelined_behind_a_call_during_which_the_client_reset_are_not_run(serve, threads):
    house = House()
    running = serve(house, threads=threads)
    with running.connect() as client:
        client.send(wire.request("/hold") + wire.request("/gone") * 5)
        house.wait_for_begun(1)
        client.reset()
    time.sleep(LOOKED_AT_S)
    house.open()
    wait_until_gone(running)
    assert running.targets == ["/hold"]


@pytest.mark.parametrize("count", [1, 5])
def test_a_single_thread_does_not_run_requests_that_came_and_went_during_a_call(serve, count):
    house = House()
    running = serve(house, threads=1)
    with running.connect() as holder:
        known = [running.connect() for _ in range(count)]
        for client in known:
            client.exchange(wire.request("/known"))
        holder.send(wire.request("/hold"))
        house.wait_for_begun(1)
        for client in known:
            client.send(wire.request("/gone"))
            client.reset()
        time.sleep(LOOKED_AT_S)
        house.open()
        assert holder.read_response().body == b"/hold"
        holder.assert_open()
    assert "/gone" not in running.targets


@pytest.mark.parametrize("threads", [1, 4, 16])
@pytest.mark.parametrize("settings", [{}, {"queue_deadline": 60}], ids=["", "queue deadline"])
def test_of_more_clients_than_the_poller_tells_of_at_once_none_is_run_after_its_reset(serve, threads, settings):
    house = House()
    running = serve(house, threads=threads, **settings)
    inside = [running.connect() for _ in range(threads)]
    leaving = [running.connect() for _ in range(MORE_THAN_AT_ONCE)]
    last = running.connect()  # the last one, too, for a poller that tells in the order of connecting
    for client in [*inside, *leaving, last]:
        client.exchange(wire.request("/known"))
    for number, client in enumerate(inside):
        client.send(wire.request("/hold"))
        house.wait_for_begun(number + 1)
    for client in leaving:
        client.send(wire.request("/gone"))
    if threads > 1:
        until_received(running)
    elif settings:
        last.send(wire.request("/hold"))  # the newest: it is run when all of them have been received
        house.let_out()
        house.wait_for_begun(2)
    before = running.targets.count("/gone")
    assert before < MORE_THAN_AT_ONCE
    for client in leaving:
        client.reset()
    time.sleep(LOOKED_AT_S)
    house.open()
    wire.wait_until(lambda: running.connection_count() == threads + 1, "those who reset are gone")
    assert running.targets.count("/gone") == before


#: Connections are accepted so many at a time: 64.
MORE_THAN_ACCEPTED_AT_ONCE = 200


@pytest.mark.parametrize("settings", [{}, {"worker_connections": 1}], ids=["", "one at a time"])
def test_nobody_who_left_while_the_kernel_held_the_connection_is_served(serve, settings):
    house = House()
    running = serve(house, threads=1, **settings)
    with running.connect() as inside:
        inside.send(wire.request("/hold"))
        house.wait_for_begun(1)
        for _ in range(MORE_THAN_ACCEPTED_AT_ONCE):
            with wire.Client(running.address, watched=False) as client:
                client.send(wire.request("/gone"))
                client.reset()
        time.sleep(LOOKED_AT_S)
        house.open()
        inside.read_response()
    assert running.exchange(wire.request("/later")).status == 200
    assert running.targets == ["/hold", "/later"]


def test_a_client_that_left_while_the_only_thread_wrote_to_a_slow_log_is_not_served(serve, caplog):
    caplog.set_level(logging.INFO, "headrace")
    log = logging.getLogger("headrace")
    slow = SlowHandler()
    running = serve(House(), threads=1)
    with running.connect() as leaving, running.connect() as bad:
        for client in (leaving, bad):
            client.exchange(wire.request("/known"))
        log.addHandler(slow)
        try:
            bad.send(TLS_HELLO)
            assert slow.began.wait(wire.PATIENCE_S)
            leaving.send(wire.request("/gone"))
            leaving.reset()
            time.sleep(LOOKED_AT_S)
            slow.may_end.set()
            bad.close()
            wait_until_gone(running)
        finally:
            log.removeHandler(slow)
    assert "/gone" not in running.targets


class SlowHandler(logging.Handler):
    def __init__(self):
        super().__init__()
        self.began, self.may_end = threading.Event(), threading.Event()

    def emit(self, record):
        self.began.set()
        self.may_end.wait(wire.PATIENCE_S)


@several_threads
def test_a_half_closed_client_that_waited_for_a_short_time_is_served(serve, threads, transport):
    house = House()
    running = serve(house, threads=threads)
    house.fill(running, threads)
    with running.connect() as client:
        client.send(wire.request("/half-closed"))
        client.half_close()
        until_received(running)
        house.open()
        assert client.read_response().body == b"/half-closed"
        client.assert_closed()
    assert skipped(running) == 0


@several_threads
@pytest.mark.parametrize("count", [1, 3])
def test_a_half_closed_client_that_waited_for_long_is_not(serve, tmp_path, threads, transport, count):
    log = tmp_path / "access.log"
    house = House()
    running = serve(house, threads=threads, access_logfile=str(log))
    inside = house.fill(running, threads)
    with running.connect() as client, running.connect() as other:
        client.send(wire.request("/half-closed") * count)
        other.send(wire.request("/stays"))
        client.half_close()
        until_received(running)
        time.sleep(HALF_CLOSED_S + 0.1)
        house.open()
        client.assert_closed()
        assert other.read_response().body == b"/stays"
    for client in inside:
        client.close()
    wait_until_gone(running)
    assert "/half-closed" not in running.targets
    assert skipped(running) == 1
    wire.wait_until(lambda: '"GET /half-closed HTTP/1.1" 499 -' in log.read_text(), "the line")


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_client_that_is_still_there_is_served_however_long_it_waited(serve, threads, transport):
    house = House()
    running = serve(house, threads=threads)
    house.fill(running, threads)
    clients = [running.connect() for _ in range(5)]
    for client in clients:
        client.send(wire.request("/patient") * 3)
    time.sleep(HALF_CLOSED_S + 0.1)
    house.open()
    for client in clients:
        for _ in range(3):
            assert client.read_response().body == b"/patient"
    assert skipped(running) == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_time_spent_behind_ones_own_earlier_request_does_not_count(serve, threads):
    """Who has shut its side down has not taken back what it pipelined (RFC 9112 §9.3.2)."""

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/long":
            time.sleep(HALF_CLOSED_S + 0.2)
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    running = serve(application, threads=threads)
    with running.connect() as client:
        client.send(wire.request("/long") + wire.request("/behind"))
        client.half_close()
        assert client.read_response().body == b"/long"
        assert client.read_response().body == b"/behind"
        client.assert_closed()
    assert skipped(running) == 0
