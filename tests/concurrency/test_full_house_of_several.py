"""A worker whose threads are all inside the application leaves new connections to others, as long as one can serve."""

from __future__ import annotations

import pytest
import wire
import workers
from applications import House


@pytest.fixture
def houses():
    made = [House(), House()]
    yield made
    for house in made:
        house.open()


def test_new_connections_go_to_the_worker_that_can_serve(houses):
    full, free = houses
    with workers.running(full, free) as (first, second):
        clients = []
        while len(full.begun) < 2 and len(free.begun) < 2:
            clients.append(first.connect())
            clients[-1].send(wire.request("/hold"))
            wire.wait_until(lambda: len(full.begun) + len(free.begun) == len(clients), "the call begins")
        busy, other = (first, second) if len(full.begun) == 2 else (second, first)
        wire.wait_until(lambda: not busy.slot.is_accepting(), "the full worker has turned away")
        assert other.slot.is_accepting()
        before = busy.worker._loop.open_connections()
        for _ in range(20):
            with first.connect() as client:
                assert client.exchange(wire.request("/quick")).body == b"/quick"
        assert busy.worker._loop.open_connections() == before
        for house in houses:
            house.open()
        for client in clients:
            assert client.read_response().status == 200
            client.close()
        wire.wait_until(lambda: busy.slot.is_accepting(), "the worker accepts again")


def test_the_last_one_goes_on_accepting_so_that_health_is_answered(houses):
    with workers.running(*houses, health_path="/health") as (first, second):
        clients = []
        while len(houses[0].begun) + len(houses[1].begun) < 4:
            clients.append(first.connect())
            clients[-1].send(wire.request("/hold"))
            wire.wait_until(lambda: sum(len(house.begun) for house in houses) == len(clients), "the call begins")
            if [len(house.begun) for house in houses] in ([2, 0], [2, 1], [0, 2], [1, 2]):
                full = first if len(houses[0].begun) == 2 else second
                wire.wait_until(lambda full=full: not full.slot.is_accepting(), "the full worker has turned away")
        for _ in range(20):
            with first.connect() as client:
                assert client.exchange(wire.request("/health")).body == b"ok\n"
        for house in houses:
            house.open()
        for client in clients:
            assert client.read_response().status == 200
            client.close()


def test_a_worker_alone_goes_on_accepting(houses):
    with workers.running(houses[0], health_path="/health") as (only,):
        clients = [only.connect() for _ in range(2)]
        for client in clients:
            client.send(wire.request("/hold"))
        houses[0].wait_for_begun(2)
        with only.connect() as client:
            assert client.exchange(wire.request("/health")).body == b"ok\n"
        assert only.slot.is_accepting()
        houses[0].open()
        for client in clients:
            client.read_response()
            client.close()


def test_a_worker_that_retires_does_not_count_as_one_that_accepts(houses):
    with workers.running(*houses) as (first, second):
        first.worker.retire()
        first.thread.join(wire.PATIENCE_S)
        assert not first.slot.is_accepting()
        assert second.slot.is_accepting()
        with second.connect() as client:
            assert client.exchange(wire.request("/quick")).body == b"/quick"
