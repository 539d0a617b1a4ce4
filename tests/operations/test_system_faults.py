"""The wall clock jumps, or fork(2) fails: what is served goes on, and all is well when the fault is over.

system_faults.c is preloaded into the server, so that the system itself has no fault.
"""

from __future__ import annotations

import email.utils
import mmap
import os
import re
import resource
import shlex
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import wire
from command import WAIT_S, children

DAY_S = 86400
FOREVER = 1 << 40

#: /wait answers when there is a file `go`; the rest says at once who answers, or what was posted.
WAITING = """
import os, time

def app(environ, start_response):
    if environ["PATH_INFO"] == "/wait":
        print("inside", flush=True)
        while not os.path.exists("go"):
            time.sleep(0.01)
    body = environ["wsgi.input"].read() or str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


class Faults:
    """What the servers of a test suffer; env is for their start."""

    def __init__(self, library: Path, path: Path) -> None:
        path.write_bytes(bytes(16))
        self.env = {"LD_PRELOAD": str(library), "HEADRACE_TEST_FAULTS": str(path)}
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 16)

    def clock_is_ahead_by(self, seconds: int) -> None:
        struct.pack_into("q", self._map, 0, seconds)

    def forks_fail(self, number: int) -> None:
        struct.pack_into("q", self._map, 8, number)

    def forks_left_to_fail(self) -> int:
        return int(struct.unpack_from("q", self._map, 8)[0])


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if sys.platform != "linux":
        pytest.skip("the clocks' names are Linux's")
    if os.environ.get("LD_PRELOAD"):
        pytest.skip("a sanitizer, or whatever it is, is preloaded")
    if shutil.which(compiler[0]) is None:
        pytest.skip("no C compiler here")
    made = tmp_path_factory.mktemp("faults") / "system_faults.so"
    source = Path(__file__).with_name("system_faults.c")
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-O1"]
    subprocess.run([*compiler, *flags, str(source), "-o", str(made), "-ldl"], check=True)
    return made


@pytest.fixture
def faults(library, tmp_path):
    return Faults(library, tmp_path / "faults")


def ahead_s(response):
    """How far the Date of an answer is from our own clock."""
    return email.utils.parsedate_to_datetime(response.get("Date")).timestamp() - time.time()


@pytest.mark.parametrize("workers, days", [(0, 1), (0, -40 * 365), (2, -1), (2, 40 * 365)])
class TestAClockThatJumps:
    def test_moves_the_date_and_ends_nothing(self, server, faults, workers, days):
        """None of what waits for a deadline is at its deadline, and no worker has served long enough."""
        deadlines = ["--head-timeout", 300, "--body-timeout", 300, "--keep-alive", 300, "--timeout", 300]
        if workers:
            deadlines += ["--max-age", 3600]
        running = server(
            "--access-logfile", "log", *deadlines, workers=workers, application=WAITING, env=faults.env
        )
        other, idle, head, body, inside = clients = [
            wire.Client(running.address, watched=False, timeout=WAIT_S) for _ in range(5)
        ]
        who = idle.exchange(wire.request()).body
        head.send(b"GET / HTTP/1.1\r\nHos")
        body.send(wire.request(method="POST", fields=[("Content-Length", "6")]) + b"abc")
        inside.send(wire.request("/wait"))
        running.output.wait_for("inside")

        for offset_s in (days * DAY_S, 0):
            faults.clock_is_ahead_by(offset_s)
            while abs(ahead_s(other.exchange(wire.request("/mark"))) - offset_s) > DAY_S / 2:
                time.sleep(0.01)  # until pytest's own timeout
            assert idle.exchange(wire.request()).body == who
            if offset_s:
                head.send(b"t: a\r\n\r\n")
                assert head.read_response().status == 200
                body.send(b"def")
                assert body.read_response().body == b"abcdef"
        (running.folder / "go").touch()
        assert inside.read_response().status == 200
        for client in clients:
            client.close()
        assert running.end() == 0
        assert not re.search("HR[45]|HR80[578]", running.errors.text)
        dates = set(re.findall(r"\[(\d\d/\w{3}/\d{4}):.* /mark ", (running.folder / "log").read_text()))
        assert len(dates) >= 2, "the access log's date moves as well"

    def test_holds_up_no_deadline(self, server, faults, workers, days):
        deadlines = ["--head-timeout", 1, "--body-timeout", 1, "--keep-alive", 1, "--timeout", 1]
        running = server(*deadlines, workers=workers, application=WAITING, env=faults.env)
        idle, head, body, inside = clients = [
            wire.Client(running.address, watched=False, timeout=WAIT_S) for _ in range(4)
        ]
        faults.clock_is_ahead_by(days * DAY_S)
        assert idle.exchange(wire.request()).status == 200
        head.send(b"GET / HTTP/1.1\r\nHos")
        body.send(wire.request(method="POST", fields=[("Content-Length", "6")]) + b"abc")
        inside.send(wire.request("/wait"))
        idle.assert_gone()
        assert (head.read_response().status, body.read_response().status) == (408, 408)
        assert inside.read_response().status == 500
        running.errors.wait_for("HR408")
        for client in clients:
            client.close()


class TestAForkThatFails:
    def test_is_tried_again_with_pauses_until_it_succeeds_while_others_serve(self, server, faults, waits):
        running = server(workers=2, env=faults.env)
        victim, other = running.workers()
        faults.forks_fail(FOREVER)
        running.signal("SIGKILL", victim)
        running.errors.wait_for("HR833 A worker could not be forked: .*Resource temporarily unavailable", 4)
        failed = FOREVER - faults.forks_left_to_fail()
        assert failed < 40, "there are pauses between the attempts"
        for _ in range(20):
            assert int(running.get()) == other
        faults.forks_fail(0)
        waits(lambda: len(running.workers()) == 2, "the replacement")
        assert running.end() == 0
        assert "Worker 0" not in running.errors.text

    def test_does_not_end_a_server_whose_only_worker_has_gone(self, server, faults, waits):
        """... as an application that does not start any more would, after five attempts."""
        running = server(workers=1, env=faults.env)
        faults.forks_fail(5)
        running.signal("SIGKILL", running.workers()[0])
        running.errors.wait_for("HR833", 5)
        waits(lambda: len(running.workers()) == 1, "the replacement")
        assert int(running.get()) in running.workers()

    def test_does_not_keep_the_server_from_ending(self, server, faults):
        running = server(workers=1, env=faults.env)
        faults.forks_fail(FOREVER)
        running.signal("SIGKILL", running.workers()[0])
        running.errors.wait_for("HR833", 2)
        assert running.end() == 0

    def test_at_the_start_ends_it_with_1_and_the_reason(self, tmp_path, faults):
        (tmp_path / "app.py").write_text(WAITING)
        faults.forks_fail(FOREVER)
        command = [sys.executable, "-m", "headrace", "app:app", "-b", "127.0.0.1:0", "--workers", "2"]
        ended = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, **faults.env}, capture_output=True, text=True, timeout=2 * WAIT_S
        )
        assert ended.returncode == 1
        assert "error: The process that forks workers could not be started: [Errno 11]" in ended.stderr
        assert "hint: look at the limits of processes, descriptors and memory" in ended.stderr
        assert "Traceback" not in ended.stderr

    def test_at_a_reload_leaves_the_present_workers(self, server, faults, waits):
        running = server(workers=1, env=faults.env)
        (before,) = running.workers()
        faults.forks_fail(FOREVER)
        running.signal("SIGHUP")
        running.errors.wait_for("HR829 The process that forks workers could not be started")
        running.errors.wait_for("HR816 ")
        assert int(running.get()) == before
        faults.forks_fail(0)
        running.signal("SIGHUP")
        running.errors.wait_for("takes over")
        waits(lambda: running.workers() not in ([], [before]), "another worker")
        assert int(running.get()) in running.workers()

    def test_of_the_template_is_tried_again_as_well(self, server, faults, waits):
        """Its workers serve meanwhile."""
        running = server(workers=1, env=faults.env)
        (template,) = children(running.process.pid)
        (worker,) = running.workers()
        faults.forks_fail(FOREVER)
        running.signal("SIGKILL", template)
        running.errors.wait_for("The template of generation 1 was killed by SIGKILL")
        assert int(running.get()) == worker
        running.errors.wait_for("HR833 The process that forks workers could not be started", 4)
        faults.forks_fail(0)
        waits(lambda: children(running.process.pid) not in ([], [template]), "another template")
        running.signal("SIGKILL", worker)
        waits(lambda: len(running.ready_workers()) == 2, "its worker")
        assert int(running.get()) == running.ready_workers()[1]

    def test_for_want_of_descriptors_is_tried_again_as_well(self, server, waits):
        """The supervisor needs two for each worker, its channel's."""
        running = server(workers=2)
        victim, other = running.workers()
        limits = resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE)
        in_use = max(int(name) for name in os.listdir(f"/proc/{running.process.pid}/fd"))
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (in_use - 1, limits[1]))
        running.signal("SIGKILL", victim)
        running.errors.wait_for("HR833 A worker could not be forked: .*Too many open files")
        assert int(running.get()) == other
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, limits)
        waits(lambda: len(running.workers()) == 2, "the replacement")
        assert running.end() == 0

    def test_in_the_application_is_its_own_affair(self, server, faults):
        source = "import os\ndef app(environ, start_response):\n    os.fork()\n"
        running = server(workers=0, application=source, env=faults.env)
        faults.forks_fail(1)
        assert running.get().startswith("Internal Server Error")
        running.errors.wait_for("HR301 .*BlockingIOError")
