"""The command line (headrace.cli): in this process as far as that goes, and as a real server process."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from command import WAIT_S
from wire import wait_until

import headrace
from headrace.cli import main
from headrace.config import SETTINGS
from headrace.config.gunicorn_options import HINTS as GUNICORN_HINTS
from headrace.config.gunicorn_options import REFUSED, SWITCHES
from headrace.config.reference import page
from headrace.config.settings import GROUPS

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


class TestHelp:
    def test_shows_the_version(self):
        assert run("--version").output.startswith(f"headrace {headrace.__version__} (")

    def test_shows_every_option_under_its_heading(self):
        text = run("--help").output
        headings = [text.index(f"\n{group}:\n") for group in GROUPS]
        assert headings == sorted(headings)
        for setting in SETTINGS.values():
            if not setting.flags:
                continue  # for configuration files
            heading = text.index(f"\n{setting.group}:\n")
            for flag in setting.flags:
                assert heading < text.index(flag, heading), setting.name

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

    @pytest.mark.parametrize(
        ("arguments", "flag", "hint"),
        [
            (["--statsd-host", "h:1", "x"], "--statsd-host", "no metrics are sent"),
            (["--statsd-host=h:1", "x"], "--statsd-host", "no metrics are sent"),
            (["x", "-b", ":80", "--spew"], "--spew", "run a tracer instead"),
        ],
    )
    def test_an_option_that_only_gunicorn_has_is_named_with_a_hint_and_the_start_goes_on(
        self, folder, arguments, flag, hint
    ):
        result = run(*arguments)
        assert result.exit_code == 3, "the application is missing, no more than that"
        warning, told, *_ = result.output.splitlines()
        assert warning == f"warning: {flag} has no counterpart here"
        assert told.startswith(f"hint: {hint}")

    def test_an_option_that_promises_security_is_an_error(self):
        result = run("x", "--certfile", "a.pem", "--keyfile=k.pem", "--backlog", "0")
        assert result.exit_code == 2
        assert sorted(line.partition(";")[0] for line in result.output.splitlines()) == [
            "error: --backlog: 0 is outside the range 1 to 65535 connections",
            "error: --certfile: not available here",
            "error: --keyfile: not available here",
        ]

    @pytest.mark.parametrize("flag", GUNICORN_HINTS)
    def test_every_option_with_a_hint_is_not_here_and_has_one_line(self, folder, flag):
        assert flag not in {flag for setting in SETTINGS.values() for flag in setting.flags}, "the row can go"
        result = run(*([flag] if flag in SWITCHES else [flag, "1"]), "x")
        hint = GUNICORN_HINTS[flag]
        if flag in REFUSED:
            assert result.output == f"error: {flag}: not available here; {hint}\n"
        else:
            assert result.output.startswith(f"warning: {flag} has no counterpart here\nhint: {hint}\nerror: ")
        assert not hint.endswith(".")

    def test_hints_name_options_that_are_here(self):
        words = set(re.findall(r"--[a-z][a-z-]+", " ".join(GUNICORN_HINTS.values()))) - {"--debug", "--trace"}
        assert words <= {flag for setting in SETTINGS.values() for flag in setting.flags}

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


    @pytest.mark.parametrize(
        ("spool_dir", "problem"),
        [
            ("missing", "there is no folder '{}/missing'"),
            ("hr_site.py", "'{}/hr_site.py' is not a folder"),
            pytest.param(
                "/proc",
                "no file can be made in '/proc': ",
                marks=pytest.mark.skipif(not os.path.exists("/proc"), reason="no /proc"),
            ),
        ],
    )
    def test_a_spool_dir_where_no_file_can_be_made_is_a_usage_error(self, folder, spool_dir, problem):
        result = run("hr_missing", "--spool-dir", spool_dir)
        assert result.exit_code == 2
        assert result.output.startswith(f"error: --spool-dir: {problem.format(folder)}")
        assert result.output.count("\n") == 1

    def test_a_spool_dir_is_looked_for_from_the_folder_that_chdir_names(self, folder):
        (folder / "there" / "spool").mkdir(parents=True)
        result = run("hr_missing", "--chdir", "there", "--spool-dir", "spool")
        assert result.exit_code == 3, "the settings are right, only the application is missing"
        assert list((folder / "there" / "spool").iterdir()) == []


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
    def test_says_where_it_listens_serves_and_ends_with_0_on_sigterm(self, command, folder):
        process = command("hr_site", "-b", "127.0.0.1:0")
        assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*", process.urls[0])
        assert process.get() == "hello"
        assert process.end(signal.SIGTERM) == 0
        assert process.errors.text.endswith("Stopped by SIGTERM\n")
        assert process.output.text == "", "stdout is for data"

    def test_ends_with_0_on_sigint(self, command, folder):
        process = command("hr_site", "-b", "127.0.0.1:0")
        assert process.end(signal.SIGINT) == 0
        assert "Traceback" not in process.errors.text

    def test_a_signal_that_comes_at_once_is_heard(self, command, folder):
        for _ in range(5):
            assert command("hr_site", "-b", "127.0.0.1:0").end() == 0

    def test_the_installed_script_is_the_same_program(self, command, folder):
        script = os.path.join(os.path.dirname(sys.executable), "headrace")
        if not os.path.exists(script):
            pytest.skip("installed without its script")
        assert command("hr_site", "-b", "127.0.0.1:0", program=(script,)).get() == "hello"

    def test_several_addresses_are_served(self, command, folder):
        process = command("hr_site", "-b", "127.0.0.1:0", "--bind", "unix:app.sock", "-b127.0.0.1:0", binds=3)
        assert [process.get(url=url) for url in process.urls] == ["hello"] * 3
        assert process.urls[1] == f"unix:{folder}/app.sock"
        assert process.end() == 0
        assert not (folder / "app.sock").exists()

    def test_changes_the_folder_before_it_loads(self, command, folder, monkeypatch):
        monkeypatch.chdir("/")
        process = command("hr_site", "-b", "127.0.0.1:0", "--chdir", folder)
        assert process.get("/cwd") == str(folder)

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
    def test_asks_for_the_descriptors_that_its_connections_need(self, command, folder):
        (folder / "hr_low.py").write_text(
            "import resource\n"
            "resource.setrlimit(resource.RLIMIT_NOFILE, (512, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))\n"
            "from hr_site import *\n"
        )
        process = command("hr_low", "-b", "127.0.0.1:0", "--worker-connections", "700")
        limits = Path(f"/proc/{process.process.pid}/limits").read_text()
        assert re.search(r"^Max open files +956 ", limits, re.MULTILINE)

    def test_searches_the_folders_of_pythonpath(self, command, folder, monkeypatch):
        (folder / "other").mkdir()
        monkeypatch.chdir("other")
        process = command("hr_site", "-b", "127.0.0.1:0", "--pythonpath", "missing,..")
        assert process.get() == "hello"

    def test_calls_factories(self, command, folder):
        assert command("hr_site:create_app('here')", "-b", "127.0.0.1:0").get() == "here"
        assert command("hr_site", "--factory", "-b", "127.0.0.1:0").get() == "made"

    def test_serves_a_file(self, command, folder):
        assert command(folder / "hr_site.py", "-b", "127.0.0.1:0").get() == "hello"

    def test_writes_the_access_log_to_stdout(self, command, folder):
        process = command("hr_site", "-b", "127.0.0.1:0", "--access-logfile", "-")
        process.get("/a?b=%22")
        assert process.end() == 0
        assert re.fullmatch(r'127\.0\.0\.1 - - \[.*\] "GET /a\?b=%22 HTTP/1\.1" 200 5 "-" "-"\n', process.output.text)

    def test_writes_logs_to_files(self, folder):
        process = subprocess.Popen(
            [sys.executable, "-m", "headrace", "hr_site", "-b", "unix:a.sock", "--error-logfile", "error.log"]
        )
        try:
            log = folder / "error.log"
            wait_until(lambda: log.exists() and "Listening at: unix:" in log.read_text(), "the log", WAIT_S)
        finally:
            process.terminate()
            assert process.wait(WAIT_S) == 0
        assert "Stopped by SIGTERM" in (folder / "error.log").read_text()

    def test_finishes_what_is_in_flight_and_refuses_what_is_new(self, command, folder):
        process = command("hr_site", "-b", "127.0.0.1:0")
        with process.connect() as client:
            client.sendall(b"GET /slow HTTP/1.1\r\nHost: test\r\n\r\n")
            wait_until((folder / "entered").exists, "the call", WAIT_S)
            process.process.send_signal(signal.SIGTERM)
            (folder / "leave").touch()
            received = b"".join(iter(lambda: client.recv(65536), b""))
        assert received.startswith(b"HTTP/1.1 200 OK\r\n")
        assert received.endswith(b"hello")
        assert process.wait() == 0
        with pytest.raises(ConnectionRefusedError):
            process.connect()

    @pytest.mark.parametrize("path", ["/slow", "/endless", "/write"])
    @pytest.mark.parametrize("why", ["a second signal", "the graceful timeout"])
    def test_an_application_that_does_not_end_is_ended_by(self, command, folder, path, why):
        timeout = "0.2" if why == "the graceful timeout" else "60"
        process = command("hr_site", "-b", "127.0.0.1:0", "--graceful-timeout", timeout)
        with process.connect() as client:
            client.sendall(b"GET %s HTTP/1.1\r\nHost: test\r\n\r\n" % path.encode())
            wait_until((folder / "entered").exists, "the call", WAIT_S)
            process.process.send_signal(signal.SIGTERM)
            if why == "a second signal":
                process.process.send_signal(signal.SIGINT)  # another one: two of a kind may become one
            assert process.wait() == 0
        assert not (folder / "leave").exists()


def test_a_flag_that_is_not_there_suggests_what_help_shows():
    """Not what is understood of other servers."""
    result = run("shop:app", "--workrs", "2")
    assert "No such option '--workrs'" in result.output
    assert "--workers" in result.output
    assert "--dirty-workers" not in result.output
    assert "--worker-class" not in result.output


@pytest.mark.parametrize(
    "shown",
    ["--user USER", "--group GROUP", "--name NAME", "--unix-socket-mode MODE", "--unix-socket-owner OWNER",
     "--umask MODE", "--pid PATH"],
)  # fmt: skip
def test_help_says_what_stands_for_a_value(shown):
    assert shown in run("--help").output


@pytest.mark.parametrize("name", [name for name, setting in SETTINGS.items() if setting.default is True])
def test_a_flag_that_turns_something_off_has_a_help_of_its_own(name):
    """The page and the files speak of the setting, --help of the flag."""
    setting = SETTINGS[name]
    text = re.sub(r"\s+", " ", run("--help").output)
    assert setting.off_help in text
    assert setting.help not in text
    assert f"\n{setting.help}\n\n- command line: `{setting.flags[0]}`: {setting.off_help}\n" in page()
