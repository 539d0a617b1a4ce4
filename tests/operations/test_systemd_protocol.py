"""A service under systemd's protocols: real passed sockets, a real notify socket, a watchdog that watches the loop."""

from __future__ import annotations

import configparser
import contextlib
import fcntl
import os
import re
import shlex
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest
from command import WAIT_S, Command

from headrace.config import Config
from headrace.process.process_table import KILL_MARGIN_S

#: Does what systemd does between fork and exec: descriptors from 3 on, and LISTEN_PID.
LAUNCHER = """
import os, sys
count, names, *arguments = sys.argv[1:]
fds = [int(arguments.pop(0)) for _ in range(int(count))]
for number, fd in enumerate(fds):
    os.dup2(fd, 3 + number)
    os.close(fd)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=count, LISTEN_FDNAMES=names)
os.execv(sys.executable, [sys.executable, "-m", "headrace", *arguments])
"""

APPLICATION = """
import os, threading, time
def app(environ, start_response):
    if environ["PATH_INFO"] == "/hang":
        time.sleep(60)
    text = repr(sorted(key for key in os.environ if key.startswith("LISTEN_")))
    start_response("200 OK", [("Content-Length", str(len(text)))])
    return [text.encode()]
"""


@pytest.fixture
def application(tmp_path):
    path = tmp_path / "service.py"
    path.write_text(APPLICATION)
    return path


@pytest.fixture
def activated(command, application):
    """activated({name: socket}, *arguments, binds=1): the server, started as systemd starts one for these sockets."""

    def activated(sockets, *arguments, binds=1, **options) -> Command:
        # high enough that the launcher has 3, 4, ... free
        fds = [fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD, 50) for sock in sockets.values()]
        try:
            return command(
                len(fds),
                ":".join(sockets),
                *fds,
                f"{application}:app",
                *arguments,
                binds=binds,
                program=("-c", LAUNCHER),
                pass_fds=fds,
                **options,
            )
        finally:
            for fd in fds:
                os.close(fd)

    return activated


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.create_server(("127.0.0.1", 0)) as other:
        yield {"web": tcp, "admin": other}


class TestSocketActivation:
    def test_passed_sockets_are_served_without_a_bind(self, activated, listening):
        process = activated(listening, binds=2)
        for sock, url in zip(listening.values(), process.urls):
            assert url == f"http://127.0.0.1:{sock.getsockname()[1]}"
            assert process.get(url=url) == "[]"  # and the variables are gone

    def test_they_go_before_the_bind_of_a_gunicorn_conf_py_also_after_a_reload(self, activated, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with socket.socket(socket.AF_UNIX) as passed:
            passed.bind("shop.sock")
            passed.listen()
            (tmp_path / "gunicorn.conf.py").write_text('bind = "unix:shop.sock"\n')
            process = activated({"shop": passed})
            assert "bind is not used: systemd has passed sockets" in process.errors.text
            assert process.get(url=f"unix:{tmp_path}/shop.sock") == "[]"
            process.process.send_signal(signal.SIGHUP)
            process.errors.wait_for(r"ready \(generation 2\)")
            assert process.get(url=f"unix:{tmp_path}/shop.sock") == "[]"
            assert process.end() == 0
            assert (tmp_path / "shop.sock").exists()

    def test_by_name_only_those_are(self, activated, listening):
        process = activated(listening, "-b", "systemd:admin")
        assert process.urls == [f"http://127.0.0.1:{listening['admin'].getsockname()[1]}"]

    def test_a_bind_of_ones_own_comes_beside_them(self, activated, listening):
        process = activated(listening, "-b", "127.0.0.1:0", "-b", "systemd:web", binds=2)
        assert all(process.get(url=url) == "[]" for url in process.urls)

    def test_a_bind_of_ones_own_takes_their_place(self, activated, listening):
        process = activated(listening, "-b", "127.0.0.1:0")
        assert process.url not in [f"http://127.0.0.1:{sock.getsockname()[1]}" for sock in listening.values()]

    def test_a_client_that_came_before_the_server_is_answered(self, activated, listening):
        with socket.create_connection(listening["web"].getsockname()) as early:
            early.settimeout(WAIT_S)
            early.sendall(b"GET / HTTP/1.0\r\n\r\n")
            activated(listening, binds=2)
            assert early.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")

    def test_a_unix_socket_keeps_its_file_at_the_end(self, activated, tmp_path):
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(str(tmp_path / "s"))
            unix.listen()
            process = activated({"web": unix})
            assert process.get() == "[]"
            assert process.end() == 0
        assert (tmp_path / "s").exists()

    def test_variables_for_another_process_change_nothing(self, command, application):
        process = command(f"{application}:app", "-b", "127.0.0.1:0", env={"LISTEN_PID": "1", "LISTEN_FDS": "1"})
        assert process.get() == "['LISTEN_FDS', 'LISTEN_PID']"


class TestSocketActivationAndUpgrade:
    """USR2: systemd passes its sockets once, and the new program has them from the old one."""

    @pytest.fixture
    def passed(self, tmp_path):
        """A TCP and a UNIX socket by name, and where they are."""
        path = tmp_path / "s"
        with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
            unix.bind(str(path))
            unix.listen()
            yield {"web": tcp, "files": unix}, [f"http://127.0.0.1:{tcp.getsockname()[1]}", f"unix:{path}"]

    @pytest.mark.parametrize(
        "binds",
        [
            [], ["-b", "systemd"], ["-b", "systemd:web", "-b", "systemd:files"], ["-b", "fd://3", "-b", "fd://4"],
            ["-c", "gunicorn.conf.py"],
        ],
        ids=["none", "all", "names", "numbers", "gunicorn's"],
    )
    def test_the_new_program_serves_them_when_the_old_one_has_ended(
        self, activated, passed, tmp_path, monkeypatch, binds
    ):
        sockets, urls = passed
        monkeypatch.chdir(tmp_path)
        if "gunicorn.conf.py" in binds:
            (tmp_path / "gunicorn.conf.py").write_text("bind = 'unix:s'\n")
        process = activated(sockets, "-w", 1, *binds, binds=2)
        process.process.send_signal(signal.SIGUSR2)
        process.errors.wait_for("The new program is ready")
        assert process.errors.wait_for(r"Listening at: (\S+)", 4) == urls * 2
        younger = int(process.errors.wait_for(r"is starting as process (\d+)")[0])
        try:
            process.process.send_signal(signal.SIGTERM)
            process.errors.wait_for("The program before this one has ended")
            for sock in sockets.values():
                sock.close()
            assert [process.get(url=url).startswith("[") for url in urls] == [True, True]
        finally:
            os.kill(younger, signal.SIGTERM)
        process.wait()
        assert (tmp_path / "s").exists()  # systemd's own


@pytest.fixture
def manager(tmp_path):
    """The service manager's end; .said(word): wait for a message with this word; all of it."""

    class Manager:
        def __init__(self):
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.sock.bind(str(tmp_path / "notify"))
            self.sock.settimeout(WAIT_S)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self.variables = {"NOTIFY_SOCKET": str(tmp_path / "notify")}

        def said(self, word):
            while True:
                lines = self.heard()[1]
                if word in lines:
                    return lines

        def heard(self):
            """Who says something, by process number, and what."""
            text, control, _, _ = self.sock.recvmsg(4096, socket.CMSG_SPACE(12))
            return struct.unpack("iii", control[0][2])[0], text.decode().split("\n")

        def is_silent_for(self, seconds):
            self.sock.settimeout(seconds)
            try:
                self.sock.recv(4096)
            except (TimeoutError, BlockingIOError):
                return True
            finally:
                self.sock.settimeout(WAIT_S)
            return False

    made = Manager()
    yield made
    made.sock.close()


class TestNotification:
    def test_says_ready_when_it_answers_and_stopping_when_it_stops(self, command, application, manager):
        process = command(f"{application}:app", "-b", "127.0.0.1:0", env=manager.variables)
        assert manager.said("READY=1")[1:] == [f"STATUS={process.url}"]
        assert process.get() == "[]"
        process.process.send_signal(signal.SIGTERM)
        assert manager.said("STOPPING=1")
        assert process.wait() == 0

    def test_says_nothing_of_an_application_that_does_not_load(self, application, manager):
        application.write_text("1/0")
        with pytest.raises(AssertionError):
            Command(f"{application}:app", "-b", "127.0.0.1:0", env=manager.variables)
        assert manager.is_silent_for(0)


PAGE = Path(__file__).parents[2] / "docs" / "behind-a-proxy.md"


@pytest.mark.skipif(not PAGE.is_file(), reason="no pages beside the tests")
class TestUnitOfThePage:
    @pytest.fixture
    def unit(self):
        """The service's sections."""
        (text,) = re.findall(r"```ini\n# \S+\.service\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        parser = configparser.ConfigParser(interpolation=None, strict=True)
        parser.optionxform = str
        parser.read_string(text)
        return parser

    def test_starts_a_server_whose_reload_is_told_to_systemd(self, unit, command, application, manager):
        service = unit["Service"]
        assert service["Type"] == "notify"
        arguments = shlex.split(service["ExecStart"])[1:]
        arguments[arguments.index("shop.wsgi")] = f"{application}:app"
        watchdog = {"WATCHDOG_USEC": str(int(service["WatchdogSec"]) * 1_000_000)}
        process = command(*arguments, "-b", "127.0.0.1:0", env={**manager.variables, **watchdog})
        assert manager.heard()[0] == process.process.pid  # NotifyAccess=main
        reload = service["ExecReload"].replace("$MAINPID", str(process.process.pid))
        subprocess.run(shlex.split(reload), check=True)
        manager.said("RELOADING=1")
        manager.said("READY=1")
        process.errors.wait_for("Generation 2 takes over")
        assert process.get() == "[]"

    def test_gives_an_orderly_end_the_time_that_it_may_take(self, unit):
        service = unit["Service"]
        assert service["KillMode"] == "mixed"
        assert int(service["TimeoutStopSec"]) > Config().graceful_timeout + Config().drain_delay + KILL_MARGIN_S

    def test_can_be_enabled_and_says_where_it_runs_and_who_may_speak_for_it(self, unit):
        assert unit["Install"]["WantedBy"] == "multi-user.target"
        assert unit["Service"]["WorkingDirectory"].startswith("/")
        assert unit["Service"]["NotifyAccess"] == "main"


@pytest.mark.skipif(not hasattr(socket, "SO_PASSCRED"), reason="Linux tells who has sent a message")
class TestUpgrade:
    """USR2 under NotifyAccess=main: systemd believes the main process alone, which has to name the next one."""

    @pytest.fixture
    def upgraded(self, command, application, manager):
        """Two programs, of which the new one is the service; .younger: its process."""
        variables = {**manager.variables, "WATCHDOG_USEC": "400000"}
        process = command(f"{application}:app", "-b", "127.0.0.1:0", "-w", 1, env=variables)
        manager.main = process.process.pid
        process.process.send_signal(signal.SIGUSR2)
        process.younger = int(process.errors.wait_for(r"is starting as process (\d+)")[0])
        self.hear(manager, f"MAINPID={process.younger}", process.process.pid)
        yield process
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.younger, signal.SIGKILL)

    def hear(self, manager, word, sender):
        """All up to this word of this sender's; what is said is said by who is the main process at that time."""
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            pid, lines = manager.heard()
            assert pid == manager.main, lines
            assert "STOPPING=1" not in lines
            for line in lines:
                if line.startswith("MAINPID="):
                    manager.main = int(line.removeprefix("MAINPID="))
            if word in lines and pid == sender:
                return
        raise AssertionError(f"{word} did not come from {sender}")

    def test_the_new_program_feeds_the_watchdog_once_it_is_the_service(self, upgraded, manager):
        self.hear(manager, "READY=1", upgraded.younger)
        for _ in range(3):
            self.hear(manager, "WATCHDOG=1", upgraded.younger)

    def test_the_old_one_ends_without_a_word_to_systemd(self, upgraded, manager):
        upgraded.process.send_signal(signal.SIGTERM)
        upgraded.errors.wait_for("The program before this one has ended")
        for _ in range(3):
            self.hear(manager, "WATCHDOG=1", upgraded.younger)
        os.kill(upgraded.younger, signal.SIGTERM)
        assert manager.said("STOPPING=1")
        upgraded.wait()

    def test_a_third_program_is_fed_for_too(self, upgraded, manager):
        self.hear(manager, "READY=1", upgraded.younger)
        upgraded.process.send_signal(signal.SIGTERM)
        upgraded.errors.wait_for("The program before this one has ended")
        second = upgraded.younger
        os.kill(second, signal.SIGUSR2)
        upgraded.younger = int(upgraded.errors.wait_for(r"is starting as process (\d+)", 2)[1])
        self.hear(manager, f"MAINPID={upgraded.younger}", second)
        for _ in range(3):
            self.hear(manager, "WATCHDOG=1", upgraded.younger)
        for pid in (second, upgraded.younger):
            os.kill(pid, signal.SIGTERM)
        upgraded.wait()

    def test_the_old_one_is_the_service_again_when_the_new_one_is_told_to_end(self, upgraded, manager):
        self.hear(manager, "READY=1", upgraded.younger)
        os.kill(upgraded.younger, signal.SIGTERM)
        self.hear(manager, f"MAINPID={upgraded.process.pid}", upgraded.younger)
        for _ in range(3):
            self.hear(manager, "WATCHDOG=1", upgraded.process.pid)

    def test_and_when_it_has_crashed(self, upgraded, manager):
        """systemd believes it with NotifyAccess=all, if it has not ended the service by then."""
        self.hear(manager, "READY=1", upgraded.younger)
        os.kill(upgraded.younger, signal.SIGKILL)
        manager.said(f"MAINPID={upgraded.process.pid}")
        manager.main = upgraded.process.pid
        for _ in range(3):
            self.hear(manager, "WATCHDOG=1", upgraded.process.pid)


@pytest.mark.parametrize("threads", [1, 4])
class TestWatchdog:
    INTERVAL_S = 0.2

    def variables(self, manager):
        return {**manager.variables, "WATCHDOG_USEC": str(int(2 * self.INTERVAL_S * 1e6))}

    def test_hears_of_an_idle_loop(self, command, application, manager, threads):
        command(f"{application}:app", "-b", "127.0.0.1:0", "--threads", threads, env=self.variables(manager))
        began = time.monotonic()
        for _ in range(5):
            manager.said("WATCHDOG=1")
        assert time.monotonic() - began >= 3 * self.INTERVAL_S  # and not more often than it has to

    def test_hears_nothing_of_a_process_that_has_stopped(self, command, application, manager, threads):
        process = command(f"{application}:app", "-b", "127.0.0.1:0", "--threads", threads, env=self.variables(manager))
        manager.said("WATCHDOG=1")
        process.process.send_signal(signal.SIGSTOP)
        while not manager.is_silent_for(4 * self.INTERVAL_S):
            pass
        process.process.send_signal(signal.SIGCONT)
        assert manager.said("WATCHDOG=1")


class TestWatchdogOfABusyServer:
    def start(self, command, application, manager, threads):
        variables = {**manager.variables, "WATCHDOG_USEC": "400000"}
        process = command(f"{application}:app", "-b", "127.0.0.1:0", "--threads", threads, env=variables)
        manager.said("WATCHDOG=1")
        return process, process.connect()

    def test_goes_on_while_all_threads_are_inside_the_application(self, command, application, manager):
        process, client = self.start(command, application, manager, 2)
        with client, process.connect() as other:
            client.sendall(b"GET /hang HTTP/1.0\r\n\r\n")
            other.sendall(b"GET /hang HTTP/1.0\r\n\r\n")
            for _ in range(6):
                manager.said("WATCHDOG=1")
        process.process.kill()
        process.wait()

    def test_ends_with_a_loop_that_hangs(self, command, application, manager):
        """With one thread the application's call is the loop's turn.  A timer of its own would still say it lives."""
        process, client = self.start(command, application, manager, 1)
        with client:
            client.sendall(b"GET /hang HTTP/1.0\r\n\r\n")
            until = time.monotonic() + WAIT_S
            while not manager.is_silent_for(1.2):
                assert time.monotonic() < until
        process.process.kill()
        process.wait()
