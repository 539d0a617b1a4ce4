"""Logs of several processes: one file for all of them, opened anew by USR1."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from command import WAIT_S
from load import Load
from wire import wait_until

#: Prints a line for each request, to stdout and to wsgi.errors.
TELLS = """
import os

def app(environ, start_response):
    print("printed " + environ["PATH_INFO"], flush=True)
    environ["wsgi.errors"].write("told " + environ["PATH_INFO"] + "\\n")
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def logged(folder, pattern):
    return [line for path in sorted(folder.glob(pattern)) for line in path.read_text().splitlines()]


class TestWorkersThatShareAnAccessLog:
    def test_lose_and_tear_no_line_under_load_while_it_is_rotated(self, server, waits):
        """Each request is one line, whole, in one of the files."""
        shared = ("--worker-connections", 6)  # of the twelve
        running = server("--access-logfile", "access.log", "--access-logformat", "json", *shared, workers=3)
        log = running.folder / "access.log"
        rotations = 6
        loads = [Load(running.address, 4, f"/{number}/" + 40 * f"{number}") for number in range(3)]
        for load in loads:
            load.__enter__()
        for number in range(rotations):
            for load in loads:
                load.wait_for(100)
            wait_until(log.exists, "the log")
            log.rename(running.folder / f"access.log.{number}")
            running.signal("SIGUSR1")
            waits(log.exists, "the next log")
        for load in loads:
            load.wait_for(100)
            load.__exit__(None, None, None)
        assert running.end() == 0
        assert [load.failures for load in loads] == [[], [], []]
        lines = [json.loads(line)["target"] for line in logged(running.folder, "access.log*")]
        for number, load in enumerate(loads):
            assert lines.count(f"/{number}/" + 40 * f"{number}") == load.answers
        assert len(lines) == sum(load.answers for load in loads)
        assert len({pid for load in loads for pid in load.bodies}) > 1

    def test_have_all_of_it_written_when_they_are_replaced(self, server):
        running = server("--access-logfile", "access.log", "--max-requests", 50, workers=2)
        with Load(running.address, 4) as load:
            load.wait_for(500)
        assert running.end() == 0
        assert len(logged(running.folder, "access.log")) == load.answers


def serves(running, url):
    try:
        return bool(running.get("/", url))
    except OSError:
        return False


class TestUsr1:
    def rotate(self, running, waits, to=None, processes=1):
        for name in ("access.log", "error.log"):
            (running.folder / name).rename(running.folder / f"{name}.1")
        running.signal("SIGUSR1", to)
        log = running.folder / "error.log"
        waits(lambda: log.exists() and log.read_text().count("HR109 ") >= processes, "all have reopened")

    @pytest.mark.parametrize("workers", [0, 2])
    @pytest.mark.parametrize("threads", [1, 4])
    def test_opens_all_files_of_all_processes_anew(self, server, waits, workers, threads, tmp_path):
        running = start_with_logs(server, tmp_path, workers, threads)
        running.get("/before")
        waits(lambda: "GET /before " in (tmp_path / "access.log").read_text(), "the line")
        # the supervisor, its template, the workers; or the one process
        self.rotate(running, waits, processes=workers + 2 if workers else 1)
        for _ in range(8):
            running.get("/after")
        assert running.end() == 0
        assert "GET /before " in (tmp_path / "access.log.1").read_text()
        assert (tmp_path / "access.log").read_text().count("GET /after ") == 8
        error_log = (tmp_path / "error.log").read_text()
        assert re.findall(r"^(?:told|printed) /after$", error_log, re.MULTILINE).count("told /after") == 8
        assert error_log.count("printed /after\n") == 8
        assert "/before" not in error_log

    def test_in_a_worker_alone_opens_those_of_this_worker(self, server, waits, tmp_path):
        running = start_with_logs(server, tmp_path, 1, 1)
        pid = int(running.get("/before"))
        self.rotate(running, waits, pid)
        assert int(running.get("/after")) == pid
        assert running.end() == 0
        assert "GET /after " in (tmp_path / "access.log").read_text()

    def test_is_harmless_again_and_again_while_requests_write(self, server, tmp_path):
        running = start_with_logs(server, tmp_path, 0, 1)
        with Load(running.address, 2, "/x") as load:
            for _ in range(20):
                running.signal("SIGUSR1")
                load.wait_for(10)
        assert not load.failures
        assert running.end() == 0
        assert (tmp_path / "error.log").read_text().count("told /x\n") == load.answers
        assert len(logged(tmp_path, "access.log")) == load.answers

    @pytest.mark.parametrize("workers", [0, 1])
    def test_while_the_disk_of_the_old_file_is_full_ends_nobody(self, server, waits, tmp_path, workers):
        """A line that the old file did not take is still in its buffer."""
        (tmp_path / "error.log").symlink_to("/dev/full")
        socket_path = tmp_path / "s"
        options = ["-b", f"unix:{socket_path}", "--error-logfile", "error.log", "--access-logfile", "access.log"]
        running = server(*options, workers=workers, application=TELLS, binds=0)
        url = f"unix:{socket_path}"
        waits(socket_path.exists, "the socket")
        wait_until(lambda: serves(running, url), "an answer", WAIT_S)
        (tmp_path / "error.log").unlink()
        (tmp_path / "access.log").rename(tmp_path / "access.log.1")
        running.signal("SIGUSR1")
        waits(lambda: (tmp_path / "error.log").exists() and (tmp_path / "access.log").exists(), "both being reopened")
        assert serves(running, url)
        assert running.end() == 0
        assert "told /\n" in (tmp_path / "error.log").read_text()

    def test_after_the_application_has_changed_its_folder_finds_the_same_names(self, server, waits, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        running = start_with_logs(server, tmp_path, 1, 1, "import os\nos.chdir('elsewhere')\n" + TELLS)
        running.get("/before")
        self.rotate(running, waits, processes=3)
        running.get("/after")
        assert running.end() == 0
        assert not list((tmp_path / "elsewhere").iterdir())
        assert "GET /after " in (tmp_path / "access.log").read_text()

    def test_ends_a_child_that_the_application_has_forked_as_it_would_without_a_server(self, server):
        running = server(workers=0, application=FORKS)
        assert running.get("/") == "10"  # SIGUSR1
        assert running.end() == 0


FORKS = """
import os, signal

def app(environ, start_response):
    pid = os.fork()
    if not pid:
        os.kill(os.getpid(), signal.SIGUSR1)
        os._exit(0)
    body = str(os.waitpid(pid, 0)[1]).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def start_with_logs(server, folder, workers, threads, application=TELLS):
    """The error log is a file, and so it is there that the address stands."""
    options = ["--error-logfile", "error.log", "--access-logfile", "access.log", "--capture-output"]
    running = server(*options, "--threads", threads, workers=workers, application=application, binds=0)
    log = folder / "error.log"

    def address():
        text = log.read_text() if log.exists() else ""
        return re.search(r"Listening at: (\S+)\n", text) if "inside the application" in text else None

    wait_until(address, "the address", WAIT_S)
    running.url = address()[1]
    return running


class TestReloadWithALoggingConfigurationThatIsWrong:
    def test_leaves_all_as_it_is(self, server, tmp_path):
        path = tmp_path / "log.json"
        path.write_text('{"version": 1}')
        running = server("--log-config-json", path)
        before = running.ready_workers()
        path.write_text('{"version": 1, "handlers": {"file": {"class": "no.such.Handler"}}}')
        running.signal("SIGHUP")
        running.errors.wait_for("HR829 the logging configuration cannot be used: Unable to configure handler 'file'")
        running.errors.wait_for("HR816 ")
        assert int(running.get()) in before

    def test_at_the_start_is_exit_code_2(self, tmp_path):
        (tmp_path / "log.json").write_text('{"version": 1, "handlers": {"file": {"class": "no.such.Handler"}}}')
        command = [sys.executable, "-m", "headrace", "app:app", "--log-config-json", "log.json"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=WAIT_S, check=False)
        assert done.returncode == 2
        assert "error: the logging configuration cannot be used: Unable to configure handler 'file'" in done.stderr
