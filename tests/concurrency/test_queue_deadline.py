"""--queue-deadline: requests that have waited too long are answered 503, and the newest of the others goes first."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import wire
from applications import House

import headrace

BAD = b"BAD\r\n\r\n"

SHORT = """
import time

def app(environ, start_response):
    time.sleep(0.0001)
    start_response("200 OK", [("Content-Length", "0")])
    return []
"""

#: In each of two crowds: more than the poller tells of at once, in debug builds by far.
CROWD = 150
CROWDS_S = 2.0

any_threads = pytest.mark.parametrize("threads", [1, 4])


def counts(running):
    return running.server._worker._loop.counts()


def assert_too_late(client):
    response = client.read_response()
    assert response.status == 503
    assert int(response.get("Retry-After")) >= 0
    assert response.says_close
    client.assert_closed()


def queue(running, count, threads):
    """Clients whose requests wait in this order."""
    clients = [running.connect() for _ in range(count)]
    for number, client in enumerate(clients):
        client.send(wire.request(f"/hold/{number}"))
        if threads > 1:
            assert running.exchange(BAD).status == 400  # so it has been received
    return clients


def test_requests_are_refused_in_time_while_the_house_is_full(serve, transport):
    house = House()
    running = serve(house, threads=4, queue_deadline=0.3)
    inside = house.fill(running, 4)
    since = time.monotonic()
    clients = queue(running, 5, 4)
    for client in clients:
        assert_too_late(client)
    assert 0.25 < time.monotonic() - since < 1
    assert counts(running)["queued_too_long"] == 5
    house.open()
    for client in inside:
        assert client.read_response().status == 200
        client.assert_open()
    assert len(house.begun) == 4


@any_threads
def test_what_waited_too_long_is_not_run_when_a_thread_is_free(serve, threads):
    house = House()
    running = serve(house, threads=threads, queue_deadline=0.2)
    house.fill(running, threads)
    clients = [running.connect() for _ in range(5)]
    for client in clients:
        client.send(wire.request("/hold/late"))
    if threads == 1:  # nobody receives them before the call ends: then one is run, and they wait from then on
        house.let_out()
        house.wait_for_begun(2)
    time.sleep(0.3)
    house.open()
    statuses = sorted(client.read_response().status for client in clients)
    assert statuses == ([200] + [503] * 4 if threads == 1 else [503] * 5)


@any_threads
def test_the_newest_goes_first(serve, threads):
    house = House()
    running = serve(house, threads=threads, queue_deadline=60)
    house.fill(running, threads)
    clients = queue(running, 5, threads)
    for number in range(5):
        house.let_out()
        house.wait_for_begun(threads + number + 1)
    assert house.begun[threads:] == [f"/hold/{number}" for number in (4, 3, 2, 1, 0)]
    house.open()
    for number, client in enumerate(clients):
        assert client.read_response().body == b"/hold/%d" % number


@any_threads
def test_a_request_that_came_in_time_is_served(serve, threads, transport):
    running = serve(House(), threads=threads, queue_deadline=0.2)
    with running.connect() as client:
        for _ in range(3):
            client.send(wire.request() * 20)
            for _ in range(20):
                assert client.read_response().status == 200
        time.sleep(0.3)
        client.assert_open()  # the time between two requests does not count
        message = wire.request("/slow", method="POST", body=b"x" * 10)
        client.send(message[:-1])
        time.sleep(0.3)
        client.send(message[-1:])
        assert client.read_response().status == 200  # nor does that of a slow upload


@any_threads
def test_answers_before_a_refused_request_come_first(serve, threads):
    running = serve(House(), threads=threads, queue_deadline=5)
    with running.connect() as client:
        client.send(
            wire.request("/good") + wire.request("/late", fields=[started(-10, 1, "")]) + wire.request("/behind")
        )
        assert client.read_response().body == b"/good"
        assert_too_late(client)
    assert running.targets == ["/good"]


ANSWER = wire.request("/full")

#: An answer that fits has come by then.
FITS_S = 0.5


def fill_the_socket(running, answers=None):
    """A client of a UNIX socket that has read none of its answers, each of which fits into the socket; as many as
    `answers` says, or until one more does not fit.  (client, how many)"""
    client = running.connect()
    since = running.calls
    while running.calls - since != answers:
        before = running.calls
        client.send(ANSWER)
        until = time.monotonic() + (FITS_S if answers is None else wire.PATIENCE_S)
        while running.calls == before and time.monotonic() < until:
            time.sleep(0.001)
        if running.calls == before:
            assert answers is None
            break  # what the last one was answered did not fit
    return client, running.calls - since


@pytest.mark.parametrize("threads", [2, 4, 16])
def test_what_was_refused_while_its_socket_was_full_is_neither_run_nor_answered_twice(serve, threads):
    house = House()

    def application(environ, start_response):
        if environ["PATH_INFO"] != "/full":
            return house(environ, start_response)
        start_response("200 OK", [("Content-Length", "4000")])
        return [b"x" * 4000]

    running = serve(application, threads=threads, unix=True, queue_deadline=0.2)
    first, count = fill_the_socket(running)
    first.close()
    client, _ = fill_the_socket(running, count - 1)
    with client:
        house.fill(running, threads)
        client.send(wire.request("/late"))
        wire.wait_until(lambda: counts(running)["queued_too_long"] == 1, "the refusal")
        for _ in range(count - 1):
            assert client.read_response().status == 200
        assert_too_late(client)
        house.open()
    running.stop()
    assert "/late" not in running.targets
    assert counts(running)["queued_too_long"] == 1


# -- X-Request-Start --------------------------------------------------------------------------------------------------


def started(ago_s: float, unit: float, prefix: str) -> tuple[str, str]:
    """The field of a proxy that received the request at this time, relative to now."""
    text = f"{time.time() + ago_s:.3f}" if unit == 1 else str(int((time.time() + ago_s) * unit))
    return "X-Request-Start", prefix + text


@any_threads
@pytest.mark.parametrize("prefix", ["", "t="])
@pytest.mark.parametrize("unit", [1, 1e3, 1e6], ids=["s", "ms", "us"])
def test_the_time_since_a_proxy_received_it_counts(serve, transport, threads, unit, prefix):
    running = serve(House(), threads=threads, queue_deadline=5)
    with running.connect() as client:
        assert client.exchange(wire.request(fields=[started(-3, unit, prefix)])).status == 200
        client.send(wire.request(fields=[started(-6, unit, prefix)]))
        assert_too_late(client)
    assert counts(running)["queued_too_long"] == 1


def test_the_time_before_it_came_and_the_time_here_are_added(serve, transport):
    house = House()
    running = serve(house, threads=4, queue_deadline=5)
    house.fill(running, 4)
    with running.connect() as client:
        since = time.monotonic()
        client.send(wire.request(fields=[started(-4.5, 1e6, "t=")]))
        assert_too_late(client)
        assert 0.4 < time.monotonic() - since < 1
    house.open()


@any_threads
@pytest.mark.parametrize("value", ["", "t=", "now", "-5", "1e3", "t=12 34", "1,2", "1.", "12345678901234567890"])
def test_what_is_no_time_is_ignored(serve, threads, value):
    running = serve(House(), threads=threads, queue_deadline=5)
    assert running.exchange(wire.request(fields=[("X-Request-Start", value)])).status == 200


@any_threads
def test_a_field_that_came_twice_is_ignored(serve, threads):
    running = serve(House(), threads=threads, queue_deadline=5)
    assert running.exchange(wire.request(fields=[started(-60, 1, "t="), started(-60, 1, "t=")])).status == 200


@any_threads
@pytest.mark.parametrize("unit", [1, 1e3, 1e6], ids=["s", "ms", "us"])
def test_a_time_in_the_future_is_ignored(serve, threads, unit):
    house = House()
    running = serve(house, threads=threads, queue_deadline=0.2)
    assert running.exchange(wire.request(fields=[started(3600, unit, "t=")])).status == 200
    if threads > 1:  # it does not buy more time either
        house.fill(running, threads)
        with running.connect() as client:
            client.send(wire.request(fields=[started(3600, unit, "t=")]))
            assert_too_late(client)
        house.open()


def test_a_time_that_comes_from_elsewhere_is_ignored(serve):
    """From another address than loopback, this machine's own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("no network")
        address = probe.getsockname()[0]
    if address.startswith("127."):
        pytest.skip("no network")

    with (
        headrace.Server(House(), host=address, port=0, queue_deadline=5) as server,
        wire.Client((address, server.port), watched=False) as client,
    ):
        assert client.exchange(wire.request(fields=[started(-60, 1, "t=")])).status == 200


@any_threads
def test_it_is_off_by_default(serve, threads):
    running = serve(House(), threads=threads)
    assert running.exchange(wire.request(fields=[started(-3600, 1, "t=")])).status == 200


def test_no_thread_stands_in_the_way_of_the_others_when_crowds_come_and_go(apart):
    """A process of its own: one that stands still with the interpreter lock would take the tests with it."""
    process = apart(SHORT, "--threads", 4, "--queue-deadline", 60)
    host, _, port = process.url.removeprefix("http://").rpartition(":")
    until = time.monotonic() + CROWDS_S

    def crowds():
        answers = 0
        while time.monotonic() < until:
            clients = [wire.Client((host, int(port)), watched=False) for _ in range(CROWD)]
            for client in clients:
                client.send(wire.request())
            answers += sum(client.read_response().status == 200 for client in clients[: CROWD // 10])
            for client in clients:
                client.reset()
        return answers

    with ThreadPoolExecutor(2) as pool:
        answers = [crowd.result() for crowd in [pool.submit(crowds), pool.submit(crowds)]]
    assert min(answers) >= CROWD // 10
    assert process.end() == 0
