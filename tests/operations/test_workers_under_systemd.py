"""What a supervisor tells systemd of its workers: a real notify socket, a watchdog that hears of loops that turn."""

from __future__ import annotations

import socket
import time

import pytest
from command import WAIT_S

INTERVAL_S = 0.2


@pytest.fixture
def notify(tmp_path_factory):
    """The service manager's end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path_factory.mktemp("notify") / "s"))
        sock.settimeout(WAIT_S)
        yield sock


def variables(notify):
    return {"NOTIFY_SOCKET": notify.getsockname()}


def said(notify, *words):
    """Wait for a message with one of these words; which one, and all of its lines."""
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        lines = notify.recv(4096).decode().split("\n")
        for word in words:
            if word in lines:
                return word, lines
    raise AssertionError(f"none of {words} was said")


class TestNotification:
    def test_ready_is_said_once_all_workers_are_and_around_a_reload(self, server, notify):
        running = server(workers=2, env=variables(notify))
        assert said(notify, "READY=1")[1] == ["READY=1", "STATUS=2 workers, generation 1"]
        assert len(running.ready_workers()) == 2
        running.signal("SIGHUP")
        word, lines = said(notify, "RELOADING=1", "READY=1")
        assert word == "RELOADING=1"
        (told,) = [int(line.removeprefix("MONOTONIC_USEC=")) for line in lines if line.startswith("MONOTONIC_USEC=")]
        assert 0 <= time.monotonic() - told / 1e6 < WAIT_S
        assert said(notify, "READY=1")[1] == ["READY=1", "STATUS=2 workers, generation 2"]
        running.signal("SIGTERM")
        said(notify, "STOPPING=1")

    def test_a_reload_that_fails_ends_with_ready_too(self, server, notify):
        running = server(workers=1, env=variables(notify))
        said(notify, "READY=1")
        running.write("1/0")
        running.signal("SIGHUP")
        assert said(notify, "RELOADING=1", "READY=1")[0] == "RELOADING=1"
        assert said(notify, "READY=1")[1][1] == "STATUS=1 workers, generation 1"


class TestWatchdog:
    @pytest.fixture
    def watched(self, server, notify):
        def start(*options, **more):
            watchdog = {"WATCHDOG_USEC": str(int(2 * INTERVAL_S * 1e6))}
            return server(*options, env=variables(notify) | watchdog, **more)

        return start

    def becomes_silent(self, notify):
        """For longer than systemd would wait."""
        until = time.monotonic() + WAIT_S
        notify.settimeout(4 * INTERVAL_S)
        try:
            while time.monotonic() < until:
                notify.recv(4096)
        except TimeoutError:
            return True
        finally:
            notify.settimeout(WAIT_S)
        return False

    @pytest.mark.parametrize("threads", [1, 4])
    def test_hears_of_idle_workers_twice_in_its_time(self, watched, notify, threads):
        watched("--threads", threads)
        said(notify, "WATCHDOG=1")
        began = time.monotonic()
        for _ in range(5):
            said(notify, "WATCHDOG=1")
        assert time.monotonic() - began >= 4 * INTERVAL_S

    @pytest.mark.parametrize("threads", [1, 4])
    def test_hears_nothing_once_the_only_worker_has_stopped(self, watched, notify, threads):
        running = watched("--threads", threads, workers=1)
        (worker,) = running.ready_workers()
        running.signal("SIGSTOP", worker)
        try:
            assert self.becomes_silent(notify)
        finally:
            running.signal("SIGCONT", worker)
        said(notify, "WATCHDOG=1")

    def test_hears_of_those_that_turn_while_another_one_does_not(self, watched, notify):
        running = watched(workers=2)
        stopped = running.ready_workers()[0]
        running.signal("SIGSTOP", stopped)
        try:
            assert not self.becomes_silent_within(notify, 8 * INTERVAL_S)
        finally:
            running.signal("SIGCONT", stopped)

    def becomes_silent_within(self, notify, seconds):
        until = time.monotonic() + seconds
        heard = time.monotonic()
        while time.monotonic() < until:
            said(notify, "WATCHDOG=1")
            if time.monotonic() - heard > 4 * INTERVAL_S:
                return True
            heard = time.monotonic()
        return False

    def test_hears_of_a_loop_whose_threads_are_all_inside_the_application(self, watched, notify):
        running = watched("--threads", 2, workers=1)
        clients = [running.client() for _ in range(2)]
        for client in clients:
            client.request("GET", "/sleep/2")
        running.output.wait_for("inside", 2)
        assert not self.becomes_silent_within(notify, 5 * INTERVAL_S)
        for client in clients:
            client.close()
