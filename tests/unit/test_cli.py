"""The command line (headrace.cli): in this process as far as that goes, and as a real server process."""

from __future__ import annotations

import http.client
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

import headrace
from headrace.cli import main
from headrace.config import SETTINGS
from headrace.config.settings import GROUPS

WAIT_S = 20

APPLICATION = """
import os, time

def application(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/slow":
        open("entered", "w").close()
        while not os.path.exists("leave"):
            time.sleep(0.01)
    if environ["PATH_INFO"] == "/write":
        open("entered", "w").close()
        write(b"x" * 100_000_000)  # the client does not read
    if environ["PATH_INFO"] == "/endless":
        return endless()
    if environ["PATH_INFO"] == "/cwd":
        return [os.getcwd().encode()]
    return [b"hello"]

def endless():
    open("entered", "w").close()
    while True:
        time.sleep(0.01)
        yield b"more "

def create_app(text="made"):
    def app(environ, start_response):
        start_response("200 OK", [])
        return [text.encode()]
    return app
"""


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with an application in it; sys.path is put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    (tmp_path / "hr_site.py").write_text(APPLICATION)
    yield tmp_path
    sys.modules.pop("hr_site", None)


class Served:
    """A headrace process of ours; `urls` are what it says that it listens at."""

    def __init__(self, arguments, binds=1, program=("-m", "headrace")):
        self.process = subprocess.Popen(
            [sys.executable, *program, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.errors = ""
        self.wait_for(lambda: self.errors.count("Listening at: ") == binds)
        self.urls = re.findall(r"Listening at: (\S+)", self.errors)

    def wait_for(self, condition):
        """Read stderr until the condition holds."""
        end = time.monotonic() + WAIT_S
        while not condition():
            readable, _, _ = select.select([self.process.stderr], [], [], max(0, end - time.monotonic()))
            text = os.read(self.process.stderr.fileno(), 65536).decode() if readable else ""
            if not text:
                self.process.kill()
                raise AssertionError(f"the condition did not come true; stderr:\n{self.errors}")
            self.errors += text

    def get(self, path="/", url=0):
        where = self.urls[url]
        is_unix = where.startswith("unix:")
        connection = http.client.HTTPConnection("unix" if is_unix else where[len("http://") :], timeout=WAIT_S)
        if is_unix:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(WAIT_S)
            connection.sock.connect(where.removeprefix("unix:"))
        try:
            connection.request("GET", path, headers={"Host": "test"})
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.end()

    def end(self):
        """The exit code; stdout and stderr are in `output` and `errors`."""
        output, errors = self.process.communicate(timeout=WAIT_S)
        self.output = output.decode()
        self.errors += errors.decode()
        return self.process.returncode


@pytest.fixture
def serve(folder):
    served = []

    def start(*arguments, **options):
        served.append(Served(arguments, **options))
        return served[-1]

    yield start
    for server in served:
        if server.process.poll() is None:
            server.process.kill()
            server.process.communicate(timeout=WAIT_S)


class TestHelp:
    def test_shows_the_version(self):
        assert run("--version").output.startswith(f"headrace {headrace.__version__} (")

    def test_shows_every_option_under_its_heading(self):
        text = run("--help").output
        headings = [text.index(f"\n{group}:\n") for group in GROUPS]
        assert headings == sorted(headings)
        for setting in SETTINGS.values():
            heading = text.index(f"\n{setting.group}:\n")
            assert heading < text.index(setting.flags[-1], heading), setting.name

    def test_shows_defaults_as_they_can_be_written(self):
        text = " ".join(run("--help").output.split())
        assert "[default: 1g]" in text
        assert "[default: 75]" in text
        assert "[default: 127.0.0.1:8000]" in text

    def test_documents_the_exit_codes(self):
        text = run("-h").output
        for code in ("0  stopped by SIGTERM", "1  a failure", "2  the command line", "3  the application"):
            assert code in text


class TestUsage:
    def test_no_application_is_a_usage_error(self):
        result = run()
        assert result.exit_code == 2
        assert "Missing argument 'APPLICATION'" in result.output

    def test_an_unknown_option_is_a_usage_error_with_a_suggestion(self):
        result = run("--keepalive", "5", "x")
        assert result.exit_code == 2
        assert "--keep-alive" in result.output

    def test_all_wrong_values_are_told_at_once_by_the_flags_that_were_used(self):
        result = run(
            "x", "--keep-alive", "soon", "--limit-request-field-size=1", "-b", "::1", "--log-file", "x", "--poller=x"
        )
        assert result.exit_code == 2
        assert sorted(result.output.splitlines()) == [
            "error: --keep-alive: 'soon' is not a number of seconds",
            "error: --limit-request-field-size: 1 is outside the range 64 to 1048576 bytes",
            "error: --poller: 'x' is not one of auto, epoll, kqueue, poll",
            "error: -b: '::1' needs brackets around the IPv6 address: [::1]:8000",
        ]

    def test_a_folder_to_change_to_that_is_not_there_is_a_usage_error(self, folder):
        result = run("hr_site", "--chdir", "missing")
        assert result.exit_code == 2
        assert result.output == "error: --chdir: cannot change to 'missing': no such file or directory\n"


class TestApplicationCannotBeLoaded:
    def test_no_such_module_is_exit_code_3_with_a_hint(self, folder):
        result = run("hr_missing")
        assert result.exit_code == 3
        error, hint = result.output.splitlines()
        assert error == "error: there is no module named 'hr_missing'"
        assert hint.startswith(f"hint: the working directory is {folder}")

    def test_a_module_that_fails_is_exit_code_3_with_its_traceback(self, folder):
        (folder / "hr_broken.py").write_text("1 / 0\n")
        result = run("hr_broken")
        assert result.exit_code == 3
        first, *_, last = result.output.splitlines()
        assert first == "Traceback (most recent call last):"
        assert last == "error: importing hr_broken failed: ZeroDivisionError: division by zero"


class TestRuntimeFailures:
    def test_an_address_in_use_is_exit_code_1(self, folder):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            bind = f"127.0.0.1:{taken.getsockname()[1]}"
            result = run("hr_site", "-b", bind)
        assert result.exit_code == 1
        assert f"error: cannot listen on {bind}: address already in use\nhint: another program" in result.output

    @pytest.mark.parametrize("flag", ["--access-logfile", "--error-logfile"])
    def test_a_log_that_cannot_be_opened_is_exit_code_1(self, folder, flag):
        process = subprocess.run(
            [sys.executable, "-m", "headrace", "hr_site", "-b", "unix:app.sock", flag, "missing/file.log"],
            capture_output=True,
            text=True,
            timeout=WAIT_S,
        )
        assert process.returncode == 1
        assert "missing/file.log': no such file or directory" in process.stderr
        assert not (folder / "app.sock").exists(), "what was opened has been taken away"

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kqueue is there")
    def test_a_poller_that_does_not_exist_here_is_exit_code_1(self, folder):
        result = run("hr_site", "-b", "127.0.0.1:0", "--poller", "kqueue")
        assert result.exit_code == 1
        assert "'kqueue'" in result.output


class TestServing:
    def test_says_where_it_listens_serves_and_ends_with_0_on_sigterm(self, serve):
        server = serve("hr_site", "-b", "127.0.0.1:0")
        assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*", server.urls[0])
        assert server.get() == "hello"
        assert server.stop(signal.SIGTERM) == 0
        assert server.errors.endswith("Stopped by SIGTERM\n")
        assert server.output == "", "stdout is for data"

    def test_ends_with_0_on_sigint(self, serve):
        server = serve("hr_site", "-b", "127.0.0.1:0")
        assert server.stop(signal.SIGINT) == 0
        assert "Traceback" not in server.errors

    def test_a_signal_that_comes_at_once_is_heard(self, serve):
        for _ in range(5):
            assert serve("hr_site", "-b", "127.0.0.1:0").stop() == 0

    def test_the_installed_script_is_the_same_program(self, serve):
        script = os.path.join(os.path.dirname(sys.executable), "headrace")
        if not os.path.exists(script):
            pytest.skip("installed without its script")
        assert serve("hr_site", "-b", "127.0.0.1:0", program=(script,)).get() == "hello"

    def test_several_addresses_are_served(self, serve, folder):
        server = serve("hr_site", "-b", "127.0.0.1:0", "--bind", "unix:app.sock", "-b127.0.0.1:0", binds=3)
        assert [server.get(url=number) for number in range(3)] == ["hello"] * 3
        assert server.urls[1] == f"unix:{folder}/app.sock"
        assert server.stop() == 0
        assert not (folder / "app.sock").exists()

    def test_changes_the_folder_before_it_loads(self, serve, folder, monkeypatch):
        monkeypatch.chdir("/")
        server = serve("hr_site", "-b", "127.0.0.1:0", "--chdir", folder)
        assert server.get("/cwd") == str(folder)

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
    def test_asks_for_the_descriptors_that_its_connections_need(self, serve, folder):
        (folder / "hr_low.py").write_text(
            "import resource\n"
            "resource.setrlimit(resource.RLIMIT_NOFILE, (512, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))\n"
            "from hr_site import *\n"
        )
        server = serve("hr_low", "-b", "127.0.0.1:0", "--worker-connections", "700")
        limits = Path(f"/proc/{server.process.pid}/limits").read_text()
        assert re.search(r"^Max open files +956 ", limits, re.MULTILINE)

    def test_searches_the_folders_of_pythonpath(self, serve, folder, monkeypatch):
        (folder / "other").mkdir()
        monkeypatch.chdir("other")
        server = serve("hr_site", "-b", "127.0.0.1:0", "--pythonpath", "missing,..")
        assert server.get() == "hello"

    def test_calls_factories(self, serve):
        assert serve("hr_site:create_app('here')", "-b", "127.0.0.1:0").get() == "here"
        assert serve("hr_site", "--factory", "-b", "127.0.0.1:0").get() == "made"

    def test_serves_a_file(self, serve, folder):
        assert serve(folder / "hr_site.py", "-b", "127.0.0.1:0").get() == "hello"

    def test_writes_the_access_log_to_stdout(self, serve):
        server = serve("hr_site", "-b", "127.0.0.1:0", "--access-logfile", "-")
        server.get("/a?b=%22")
        assert server.stop() == 0
        assert re.fullmatch(r'127\.0\.0\.1 - - \[.*\] "GET /a\?b=%22 HTTP/1\.1" 200 5 "-" "-"\n', server.output)

    def test_writes_logs_to_files(self, folder, serve):
        process = subprocess.Popen(
            [sys.executable, "-m", "headrace", "hr_site", "-b", "unix:a.sock", "--error-logfile", "error.log"]
        )
        try:
            end = time.monotonic() + WAIT_S
            while (
                not (folder / "error.log").exists() or "Listening at: unix:" not in (folder / "error.log").read_text()
            ):
                assert time.monotonic() < end
                time.sleep(0.01)
        finally:
            process.terminate()
            assert process.wait(WAIT_S) == 0
        assert "Stopped by SIGTERM" in (folder / "error.log").read_text()

    def test_finishes_what_is_in_flight_and_refuses_what_is_new(self, serve, folder):
        server = serve("hr_site", "-b", "127.0.0.1:0")
        host, port = server.urls[0].removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=WAIT_S) as client:
            client.sendall(b"GET /slow HTTP/1.1\r\nHost: test\r\n\r\n")
            wait_for_file(folder / "entered")
            server.process.send_signal(signal.SIGTERM)
            (folder / "leave").touch()
            received = b"".join(iter(lambda: client.recv(65536), b""))
        assert received.startswith(b"HTTP/1.1 200 OK\r\n")
        assert received.endswith(b"hello")
        assert server.end() == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)), timeout=WAIT_S)

    @pytest.mark.parametrize("path", ["/slow", "/endless", "/write"])
    @pytest.mark.parametrize("why", ["a second signal", "the graceful timeout"])
    def test_an_application_that_does_not_end_is_ended_by(self, serve, folder, path, why):
        server = serve("hr_site", "-b", "127.0.0.1:0", "--graceful-timeout", "0.2" if why.startswith("the") else "60")
        host, port = server.urls[0].removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=WAIT_S) as client:
            client.sendall(b"GET %s HTTP/1.1\r\nHost: test\r\n\r\n" % path.encode())
            wait_for_file(folder / "entered")
            server.process.send_signal(signal.SIGTERM)
            if why == "a second signal":
                server.process.send_signal(signal.SIGINT)  # another one: two of a kind may become one
            assert server.end() == 0
        assert not (folder / "leave").exists()


def wait_for_file(path):
    end = time.monotonic() + WAIT_S
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.01)
