"""What each thread serves can be read by anybody at any time, also when the worker is no more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest
import wire
import workers
from applications import House

from headrace.engine.slot import Slot, slot_bytes
from headrace.process.listeners import open_listeners
from headrace.process.scoreboard import Scoreboard

HOLDS = """
import time
def application(environ, start_response):
    if environ["PATH_INFO"].startswith("/hold"):
        time.sleep(600)
    start_response("200 OK", [])
    return [b"done"]
"""

#: Holds the interpreter lock until the end of the world.
COMPUTES = """
import re
def application(environ, start_response):
    never_ends()
def never_ends():
    re.match("(a+)+$", "a" * 60 + "b")
"""


@pytest.fixture
def in_a_bytearray():
    """A worker whose scoreboard can be written to, with a call inside: worker, memory, house."""
    memory = bytearray(slot_bytes(2))
    house = House()
    (listener,) = open_listeners(["127.0.0.1:0"], 8)
    worker = workers.Running(house, Slot(memory, 1, 2, 0), listener)
    with worker.connect() as client:
        client.send(wire.request("/hold/abc"))
        house.wait_for_begun(1)
        yield worker, memory, house
        house.open()
        client.read_response()
    worker.stop()
    listener.close()


def paths(slot):
    return sorted(served.path for served in slot.in_flight())


class TestShows:
    def test_method_path_age_and_thread_of_each_call_that_goes_on(self):
        house = House()
        with workers.running(house) as (worker,):
            clients = [worker.connect() for _ in range(2)]
            for number, client in enumerate(clients):
                client.send(wire.request(f"/hold/{number}", method="PUT" if number else "GET"))
            house.wait_for_begun(2)
            served = sorted(worker.slot.in_flight(), key=lambda one: one.path)
            house.open()
            assert [one.method for one in served] == ["GET", "PUT"]
            assert [one.path for one in served] == ["/hold/0", "/hold/1"]
            assert served[0].thread_id != served[1].thread_id
            assert all(0 <= one.age_s < wire.PATIENCE_S and not one.waits_for_client for one in served)
            for client in clients:
                client.read_response()
                client.close()
            wire.wait_until(lambda: not worker.slot.in_flight(), "no call is shown")
            assert worker.slot.requests() == 2

    def test_a_path_without_its_query_and_cut_where_it_is_long(self):
        house = House()
        with workers.running(house) as (worker,), worker.connect() as client, worker.connect() as other:
            client.send(wire.request("/hold?password=secret"))
            other.send(wire.request("/hold/" + 1000 * "x"))
            house.wait_for_begun(2)
            short, long = sorted(worker.slot.in_flight(), key=lambda one: len(one.path))
            house.open()
            assert short.path == "/hold"
            assert long.path == "/hold/" + 106 * "x" + "..."

    def test_octets_that_are_not_printable_only_escaped(self, in_a_bytearray):
        worker, memory, house = in_a_bytearray
        at = memory.index(b"/hold/abc")
        memory[at + 6 : at + 9] = b"\x1b\\\xff"
        assert paths(worker.slot) == ["/hold/\\x1b\\x5c\\xff"]

    def test_no_row_that_does_not_hold_still(self, in_a_bytearray):
        worker, memory, house = in_a_bytearray
        sequences = (64, 64 + 192)  # csrc/scoreboard.h
        for at in sequences:
            memory[at] += 1
        assert paths(worker.slot) == []
        for at in sequences:
            memory[at] -= 1
        assert paths(worker.slot) == ["/hold/abc"]

    def test_who_waits_for_his_client(self):
        def application(environ, start_response):
            write = start_response("200 OK", [])
            for _ in range(200):
                write(b"x" * 65536)
            return []

        with workers.running(application) as (worker,), worker.connect() as client:
            client.send(wire.request("/slow"))
            wire.wait_until(
                lambda: any(one.waits_for_client for one in worker.slot.in_flight()), "it waits for its client"
            )
            client.reset()
            wire.wait_until(lambda: not worker.slot.in_flight(), "the call has ended")

    def test_nothing_of_a_slot_that_was_cleared(self):
        house = House()
        with workers.running(house) as (worker,), worker.connect() as client:
            client.send(wire.request("/hold"))
            house.wait_for_begun(1)
            worker.slot.clear()
            assert worker.slot.in_flight() == []
            assert worker.slot.requests() == 0
            assert not worker.slot.is_accepting()
            house.open()
            client.read_response()


def test_there_are_only_the_slots_that_there_are():
    board = Scoreboard(2, 1)
    with pytest.raises(ValueError, match="no slot 2 of 2"):
        board.slot(2)
    board.close()


class TestOfAnotherProcess:
    def test_tells_what_a_worker_was_serving_when_it_was_killed(self):
        with workers.Apart(HOLDS) as worker, worker.connect() as client:
            client.exchange(wire.request("/"))
            client.send(wire.request("/hold/this"))
            wire.wait_until(lambda: paths(worker.slot) == ["/hold/this"], "the call is shown")
            worker.kill(signal.SIGKILL)
            assert paths(worker.slot) == ["/hold/this"]
            assert worker.slot.requests() == 2
            assert worker.slot.is_accepting()
            worker.slot.clear()
            assert worker.slot.in_flight() == []

    def test_is_never_torn(self):
        """Each method goes with one target; a reader in another process must not see them mixed."""
        reader = """
import sys
from headrace.engine.slot import Slot, slot_bytes
from headrace.process.listeners import open_listeners
from headrace.process.scoreboard import Scoreboard
slot = Scoreboard(1, 2, int(sys.argv[1])).slot(0)
seen = set()
while len(seen) < 2 or slot.requests() < int(sys.argv[2]):
    for one in slot.in_flight():
        seen.add(one.method)
        assert one.path == "/" + 20 * one.method, one
print("fine")
"""
        board = Scoreboard(1, 2)
        (listener,) = open_listeners(["127.0.0.1:0"], 8)

        def application(environ, start_response):
            start_response("200 OK", [])
            return [b""]

        worker = workers.Running(application, board.slot(0), listener)
        ended = threading.Event()

        def ask():
            with worker.connect() as client:
                while not ended.is_set():
                    for method in ("AAA", "BBBBB"):
                        client.exchange(wire.request("/" + 20 * method, method=method))

        asking = [threading.Thread(target=ask, daemon=True) for _ in range(2)]
        for thread in asking:
            thread.start()
        try:
            done = subprocess.run(
                [sys.executable, "-c", reader, str(board.fd), "500"],
                pass_fds=[board.fd],
                capture_output=True,
                text=True,
                timeout=12 * wire.PATIENCE_S,
            )
        finally:
            ended.set()
            for thread in asking:
                thread.join()
            worker.stop()
            listener.close()
            board.close()
        assert (done.stdout, done.stderr) == ("fine\n", "")

    def test_grows_stuck_while_the_interpreter_lock_is_held_and_abort_shows_the_stacks(self, has_interpreter_lock):
        if not has_interpreter_lock:
            pytest.skip("there is no lock to hold")
        with workers.Apart(COMPUTES, timeout=0.2) as worker, worker.connect() as client:
            client.send(wire.request("/computes"))
            wire.wait_until(lambda: worker.slot.stuck_s() > 0.5, "the worker is stuck", 4 * wire.PATIENCE_S)
            assert paths(worker.slot) == ["/computes"]
            assert "never_ends" in worker.kill(signal.SIGABRT)

    def test_is_not_stuck_while_calls_only_wait(self):
        with workers.Apart(HOLDS, timeout=0.2) as worker, worker.connect() as client:
            client.send(wire.request("/hold"))
            wire.wait_until(lambda: worker.slot.in_flight(), "the call is shown")
            begun = worker.slot.heartbeat()
            wire.wait_until(lambda: worker.slot.heartbeat() > begun + 0.3, "heartbeats go on")
            assert worker.slot.stuck_s() < 0.5


def test_a_child_of_the_application_does_not_touch_its_parents_row():
    left = threading.Event()

    def application(environ, start_response):
        pid = os.fork()
        if pid == 0:
            start_response("200 OK", [])
            return [b""]
        os.waitpid(pid, 0)
        shown.append(worker.slot.in_flight())
        left.set()
        start_response("200 OK", [])
        return [b"parent"]

    shown = []
    with workers.running(application) as (worker,), worker.connect() as client:
        assert client.exchange(wire.request("/forks")).body == b"parent"
        assert [one.path for one in shown[0]] == ["/forks"]
