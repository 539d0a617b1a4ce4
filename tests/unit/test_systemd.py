"""headrace.process.systemd: the two protocols, with a real notify socket; a whole service is in operations/."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import sys
import time

import pytest

from headrace.process import systemd
from headrace.process.systemd import Notifier, PassedSocket, is_for_us, passed_sockets

US = str(os.getpid())


@pytest.fixture(
    params=["path", pytest.param("abstract", marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux"))]
)
def manager(request, tmp_path):
    """A service manager's socket, and what NOTIFY_SOCKET says of it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = str(tmp_path / "notify") if request.param == "path" else f"@headrace-notify-{os.getpid()}"
        sock.bind(name if request.param == "path" else "\0" + name[1:])
        sock.settimeout(5)
        yield sock, {"NOTIFY_SOCKET": name}


def said(sock):
    return dict(line.split("=", 1) for line in sock.recv(4096).decode().split("\n"))


class TestNotifier:
    def test_says_each_thing_in_the_protocols_words(self, manager):
        sock, environ = manager
        notifier = Notifier(environ)
        assert notifier.is_wanted
        for call, words in (
            (notifier.ready, {"READY": "1"}),
            (lambda: notifier.ready("serving"), {"READY": "1", "STATUS": "serving"}),
            (lambda: notifier.stopping("bye"), {"STOPPING": "1", "STATUS": "bye"}),
            (lambda: notifier.status("2 workers"), {"STATUS": "2 workers"}),
            (notifier.alive, {"WATCHDOG": "1"}),
            (lambda: notifier.give_way(4711), {"MAINPID": "4711"}),
        ):
            call()
            assert said(sock) == words

    def test_is_silent_while_another_process_is_the_service(self, manager):
        sock, environ = manager
        notifier = Notifier(environ)
        notifier.ready("serving")
        assert notifier.give_way(4711)
        assert not notifier.give_way(4712)
        notifier.stopping()
        notifier.alive()
        notifier.take_over()
        notifier.take_over()
        notifier.alive()
        words = [said(sock) for _ in range(4)]
        assert words == [
            {"READY": "1", "STATUS": "serving"}, {"MAINPID": "4711"},
            {"MAINPID": US, "READY": "1", "STATUS": "serving"}, {"WATCHDOG": "1"},
        ]  # fmt: skip

    def test_feeds_the_watchdog_of_the_process_whose_place_it_takes(self, manager):
        sock, environ = manager
        notifier = Notifier({**environ, "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "4711"}, elder=4711)
        assert notifier.watchdog_interval_s == 1
        notifier.ready()
        notifier.alive()
        notifier.take_over()
        assert [said(sock) for _ in range(2)] == [{"MAINPID": US, "READY": "1"}, {"WATCHDOG": "1"}]

    def test_says_when_a_reload_began(self, manager):
        sock, environ = manager
        before_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        Notifier(environ).reloading()
        words = said(sock)
        assert words["RELOADING"] == "1"
        assert before_us <= int(words["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000

    def test_does_not_let_a_status_become_an_assignment(self, manager):
        sock, environ = manager
        Notifier(environ).status("a\nMAINPID=1")
        assert said(sock) == {"STATUS": "a MAINPID=1"}

    def test_says_nothing_without_a_manager(self):
        notifier = Notifier({"WATCHDOG_USEC": "1000000"})
        assert not notifier.is_wanted
        assert notifier.watchdog_interval_s is None
        notifier.ready()

    def test_does_not_wait_for_a_manager_that_does_not_read(self, manager, caplog):
        _, environ = manager
        notifier = Notifier(environ)
        with caplog.at_level(logging.WARNING, "headrace"):
            for _ in range(2000):
                notifier.alive()
        assert len(caplog.records) == 1

    def test_tells_of_a_manager_that_has_gone_once(self, tmp_path, caplog):
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")})
        notifier.ready()
        notifier.alive()
        assert [record.getMessage() for record in caplog.records] == [
            "HR922 systemd could not be told READY=1: no such file or directory"
        ]

    @pytest.mark.parametrize("address", ["vsock:2:1234", "relative", "@"])
    def test_knows_no_other_addresses_and_says_so(self, address, caplog):
        assert not Notifier({"NOTIFY_SOCKET": address}).is_wanted
        assert "neither a path nor an abstract name" in caplog.text

    @pytest.mark.parametrize(
        ("variables", "interval_s"),
        [
            ({"WATCHDOG_USEC": "30000000"}, 15),
            ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": US}, 15),
            ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
            ({"WATCHDOG_USEC": "0"}, None),
            ({"WATCHDOG_USEC": "-5"}, None),
            ({"WATCHDOG_USEC": "x"}, None),
            ({"WATCHDOG_USEC": ""}, None),
            ({}, None),
        ],
    )
    def test_calls_the_watchdog_in_half_of_its_time(self, variables, interval_s):
        assert Notifier({"NOTIFY_SOCKET": "/run/notify", **variables}).watchdog_interval_s == interval_s


class TestPassedSockets:
    @pytest.fixture
    def two_from(self, monkeypatch):
        """Two descriptors in a row, as if they began at 3."""
        opened = os.open(os.devnull, os.O_RDONLY)
        first = fcntl.fcntl(opened, fcntl.F_DUPFD, 500)  # above what else may be open
        second = fcntl.fcntl(opened, fcntl.F_DUPFD, 500)
        os.close(opened)
        monkeypatch.setattr(systemd, "LISTEN_FDS_START", first)
        assert second == first + 1
        yield first
        os.close(first)
        os.close(second)

    def test_have_names_and_are_not_inherited_further(self, two_from):
        environ = {"LISTEN_PID": US, "LISTEN_FDS": "2", "LISTEN_FDNAMES": "web:admin", "LISTEN_PIDFDID": "7", "A": "b"}
        assert is_for_us(environ)
        assert passed_sockets(environ) == [PassedSocket(two_from, "web"), PassedSocket(two_from + 1, "admin")]
        assert environ == {"A": "b"}
        assert not is_for_us(environ)
        assert passed_sockets(environ) == []

    def test_need_no_names(self, two_from):
        environ = {"LISTEN_PID": US, "LISTEN_FDS": "1"}
        assert passed_sockets(environ) == [PassedSocket(two_from, "")]

    def test_of_another_process_are_left_alone(self):
        environ = {"LISTEN_PID": "1", "LISTEN_FDS": "1"}
        assert not is_for_us(environ)
        assert passed_sockets(environ) == []
        assert environ == {"LISTEN_PID": "1", "LISTEN_FDS": "1"}

    @pytest.mark.parametrize("number", ["", "0", "-1", "x", "1e3"])
    def test_are_none_where_the_number_is_none(self, number):
        assert passed_sockets({"LISTEN_PID": US, "LISTEN_FDS": number}) == []

    def test_that_are_not_open_are_told(self, monkeypatch, caplog):
        monkeypatch.setattr(systemd, "LISTEN_FDS_START", 100_000)
        assert passed_sockets({"LISTEN_PID": US, "LISTEN_FDS": "99999"}) == []
        assert "LISTEN_FDS is 99999, but descriptor 100000 is not open" in caplog.text
