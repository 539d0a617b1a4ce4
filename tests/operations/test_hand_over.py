"""Nothing is lost when workers take over from one another: at a reload, when they are worn, when one is told to go.

Behind nginx and HAProxy, and with direct clients, under full load on keep-alive connections.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import time

import pytest
import wire
from command import Command
from load import Load
from proxies import PROXIES

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are looked at by way of /proc")


@contextlib.contextmanager
def direct(folder, upstream):
    host, _, port = upstream.rpartition(":")
    yield host, int(port)


@pytest.fixture(params=["direct", "nginx", "haproxy"])
def front(request):
    """front(running): a context manager that gives the address to which clients connect."""
    kind = PROXIES.get(request.param, direct)
    return lambda running: kind(running.folder, running.upstream)


class TestReload:
    def test_no_request_fails_however_often_it_is_reloaded(self, server, front):
        running = server(workers=2)
        with front(running) as address, Load(address) as load:
            load.wait_for(500)
            for number in range(2, 12):
                running.signal("SIGHUP")
                running.wait_for_takeover(number)
                load.wait_for(300)
        assert load.failures == []
        assert len({int(body) for body in load.bodies}) > 4

    def test_new_code_is_served_by_every_worker(self, server, who):
        running = server(workers=2)
        running.write(who.replace('VERSION = ""', 'VERSION = "new "'))
        running.signal("SIGHUP")
        running.wait_for_takeover(2)
        running.errors.wait_for("has left", 2)
        assert all(running.get().startswith("new ") for _ in range(20))

    @pytest.mark.parametrize("options", [[], ["--no-preload"]], ids=["preload", "no-preload"])
    def test_code_that_does_not_import_leaves_the_old_serving_and_shows_its_traceback(self, server, options):
        running = server(*options, workers=2)
        before = set(running.workers())
        running.write("import missing_module_of_mine")
        running.signal("SIGHUP")
        running.errors.wait_for("The new code does not start: the present generation goes on")
        assert "line 1, in <module>\n    import missing_module_of_mine" in running.errors.text
        assert {int(running.get()) for _ in range(20)} <= before

    def test_a_later_reload_with_mended_code_takes_over(self, server, who):
        running = server(workers=1)
        running.write("raise SystemExit(1)")
        running.signal("SIGHUP")
        running.errors.wait_for("The new code does not start")
        running.write(who)
        running.signal("SIGHUP")
        running.wait_for_takeover(3)
        running.errors.wait_for("has left")
        assert int(running.get()) == running.ready_workers()[-1]

    @pytest.mark.parametrize("chdir", [False, True], ids=["started-there", "chdir"])
    def test_a_release_that_is_a_symbolic_link_is_followed(self, server, tmp_path, monkeypatch, who, chdir):
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "release.py").write_text(who.replace('VERSION = ""', f'VERSION = "{name} "'))
        current = tmp_path / "current"
        current.symlink_to("one")
        monkeypatch.setenv("PWD", str(tmp_path if chdir else current))
        options = ["--chdir", "current"] if chdir else []
        running = Command(
            "release:app", "-b", "127.0.0.1:0", "-w", 1, *options, cwd=tmp_path if chdir else current,
            program=("-B", "-m", "headrace"),
        )  # fmt: skip
        assert running.get().startswith("one ")
        current.unlink()
        current.symlink_to("two")
        running.process.send_signal(signal.SIGHUP)
        running.errors.wait_for("Generation 2 takes over")
        running.errors.wait_for("has left")
        assert running.get().startswith("two ")
        running.process.send_signal(signal.SIGUSR2)
        running.errors.wait_for("The new program is ready")
        os.kill(younger_of(running), signal.SIGTERM)
        running.errors.wait_for("The new program has ended with exit code 0")
        assert running.end() == 0

    def test_hups_that_come_during_a_reload_are_one_more_reload(self, server, waits):
        running = server(application=SLOW_IMPORT, workers=1)
        for _ in range(3):
            running.signal("SIGHUP")
            waits(lambda: running.output.text.count("importing") >= 2, "the first reload to have begun")
        running.wait_for_takeover(3)
        running.get()
        assert "Generation 4" not in running.errors.text

    def test_the_old_worker_finishes_what_it_has_accepted(self, server, waits):
        running = server(workers=1)
        slow = running.client()
        slow.request("GET", "/sleep/4")
        running.output.wait_for("inside")
        (old,) = running.workers()
        running.signal("SIGHUP")
        running.wait_for_takeover(2)
        waits(lambda: int(running.get()) != old, "the new worker")
        answer = slow.getresponse()
        assert int(answer.read()) == old
        assert answer.getheader("Connection") == "close"
        slow.close()

    def test_an_idle_connection_lives_on_until_its_next_request(self, server, waits):
        running = server(workers=1)
        (old,) = running.workers()
        idle = running.client()
        idle.request("GET", "/")
        idle.getresponse().read()
        running.signal("SIGHUP")
        running.wait_for_takeover(2)
        waits(lambda: int(running.get()) != old, "the new worker")

        def answer():
            idle.request("GET", "/")
            response = idle.getresponse()
            return int(response.read()), response.getheader("Connection")

        assert answer()[0] == old
        # It is told to leave a moment after the others have taken over; the next answer says so.
        waits(lambda: idle.sock is None or answer() == (old, "close"), "the end of the connection")
        idle.close()
        running.errors.wait_for(f"Worker {old} has left")

    def test_an_idle_connection_outlives_the_graceful_timeout(self, server):
        running = server("--graceful-timeout", 0.3, workers=1)
        (old,) = running.workers()
        with wire.Client(running.address, watched=False) as idle:
            idle.exchange(wire.request())
            running.signal("SIGHUP")
            running.wait_for_takeover(2)
            assert not idle.has_input(1.5)
            answer = idle.exchange(wire.request())
            assert (int(answer.body), answer.says_close) == (old, True)
        running.errors.wait_for(f"Worker {old} has left")

    @pytest.mark.parametrize("threads", [1, 2])
    def test_a_call_that_goes_on_is_cut_after_the_graceful_timeout(self, server, threads):
        """With one thread by the supervisor, who allows three seconds more: the call keeps the loop from it."""
        running = server("--graceful-timeout", 0.3, "--threads", threads, workers=1)
        (old,) = running.workers()
        with wire.Client(running.address, watched=False) as idle, wire.Client(running.address, watched=False) as held:
            idle.exchange(wire.request())
            held.send(wire.request("/sleep/60"))
            running.output.wait_for("inside")
            running.signal("SIGHUP")
            held.assert_gone(timeout=10)
            if threads > 1:
                running.errors.wait_for("HR106 1 request was cut, .* leave to another worker: GET /sleep/60")
                assert idle.exchange(wire.request()).says_close
        running.errors.wait_for(f"Worker {old} (has left|was killed by SIGKILL)")

    def test_idle_connections_go_when_a_reload_waits_for_them(self, server):
        """Four generations leave, and their connections have had the graceful timeout."""
        running = server("--graceful-timeout", 1, workers=1)
        with contextlib.ExitStack() as stack:
            clients = []
            for number in range(2, 7):
                clients.append(stack.enter_context(idle_at_the_newest(running)))
                running.signal("SIGHUP")
                running.wait_for_takeover(number)
            clients[0].assert_gone()
            assert clients[-1].exchange(wire.request()).status == 200

    def test_idle_connections_go_when_worn_workers_wait_for_them(self, server):
        running = server("--graceful-timeout", 0.5, "--max-requests", 1, workers=1)
        with contextlib.ExitStack() as stack:
            for count in range(2, 6):
                stack.enter_context(idle_at_the_newest(running))
                running.errors.wait_for("is ready", count)

    @pytest.mark.parametrize("idle", [False, True], ids=["alone", "beside an idle connection"])
    def test_a_stop_that_comes_when_a_call_has_been_cut_waits_for_it_no_longer(self, server, idle):
        running = server("--graceful-timeout", 3, "--threads", 2, workers=1)
        client = running.client()
        client.request("GET", "/sleep/60")
        running.output.wait_for("inside")
        with idle_at_the_newest(running) if idle else contextlib.nullcontext():
            running.signal("SIGHUP")
            with pytest.raises(ConnectionError):
                client.getresponse()
            client.close()
            began_s = time.monotonic()
            assert running.end() == 0
            assert time.monotonic() - began_s < 2.5  # not another graceful timeout

    def test_a_stop_that_comes_when_a_call_has_been_cut_waits_for_those_that_have_time(self, server):
        running = server("--graceful-timeout", 3, "--threads", 3, workers=1)
        first, later = running.client(), running.client()
        first.request("GET", "/sleep/60")
        later.request("GET", "/")
        later.getresponse().read()
        running.output.wait_for("inside")
        running.signal("SIGHUP")
        running.wait_for_takeover(2)
        time.sleep(2)  # of its graceful timeout: what begins now has more than the other
        later.request("GET", "/sleep/2.5")
        with pytest.raises(ConnectionError):
            first.getresponse()
        first.close()
        running.signal("SIGTERM")
        assert later.getresponse().read()
        later.close()
        assert running.wait() == 0

    def test_a_connection_that_has_sent_nothing_yet_is_served(self, server):
        """It waits in the kernel's queue, or has been accepted: either way somebody has it."""
        running = server(workers=1)
        quiet = [running.connect() for _ in range(20)]
        running.signal("SIGHUP")
        running.wait_for_takeover(2)
        for client in quiet:
            client.sendall(wire.request())
            assert client.recv(4096).startswith(b"HTTP/1.1 200")
            client.close()


def idle_at_the_newest(running):
    """A connection that idles at the worker that has come last; one that leaves may accept for a moment longer."""
    while True:
        client = wire.Client(running.address, watched=False)
        if int(client.exchange(wire.request()).body) == running.ready_workers()[-1]:
            return client
        client.close()


SLOW_IMPORT = """
import time
print("importing", flush=True)
time.sleep(1)

def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


class TestWorn:
    def test_no_request_fails_when_workers_are_replaced_after_max_requests(self, server, front):
        running = server("--max-requests", 300, "--max-requests-jitter", 100, workers=2)
        with front(running) as address, Load(address) as load:
            load.wait_for(500)
            running.errors.wait_for(r"is to be replaced: \d+ requests \(--max-requests\)", 6)
            running.errors.wait_for("is ready", 7)
        assert load.failures == []

    def test_the_successor_is_ready_before_the_worn_one_leaves(self, server):
        running = server("--max-requests", 5, workers=1)
        for _ in range(12):
            running.get()
        first = str(running.ready_workers()[0])
        running.errors.wait_for(f"Worker {first} has left")
        said = re.findall(r"Worker (\d+) (is to be replaced|is ready|has left)", running.errors.text)
        assert said.index((first, "is to be replaced")) < said.index((first, "has left"))
        assert any(what == "is ready" for pid, what in said[2 : said.index((first, "has left"))])

    def test_a_worker_whose_memory_has_grown_is_replaced(self, server, who):
        growing = "KEPT = []\ndef app(e, s, inner=app):\n    KEPT.append(b'x' * (1 << 20))\n    return inner(e, s)\n"
        source = f"{who}\n{growing}"
        running = server("--max-rss", "200m", application=source, workers=1)
        first = int(running.get())
        while int(running.get()) == first:
            pass
        running.errors.wait_for(rf"Worker {first} is to be replaced: \d+ bytes of memory \(--max-rss is {200 << 20}\)")

    def test_a_worker_that_is_old_is_replaced_without_any_request(self, server):
        running = server("--max-age", 0.5, workers=1)
        running.errors.wait_for(r"is to be replaced: 0.5 s \(--max-age\)", 2)
        running.errors.wait_for("has left")

    def test_a_worker_that_gets_term_is_replaced_in_order(self, server, front):
        running = server(workers=2)
        with front(running) as address, Load(address) as load:
            load.wait_for(300)
            for _ in range(5):
                count = len(running.ready_workers())
                running.signal("SIGTERM", running.ready_workers()[-1])
                running.errors.wait_for("is ready", count + 1)
                load.wait_for(200)
        assert load.failures == []


class TestAnotherProgram:
    def test_there_and_back_no_request_fails(self, server, front, waits):
        running = server(workers=2)
        with front(running) as address, Load(address) as load:
            load.wait_for(300)
            running.signal("SIGUSR2")
            running.errors.wait_for("The new program is ready")
            younger = younger_of(running)
            load.wait_for(500)
            os.kill(younger, 15)
            running.errors.wait_for("The new program has ended with exit code 0; this one goes on")
            load.wait_for(500)
        assert load.failures == []

    def test_the_new_program_goes_on_alone_when_the_old_one_ends(self, server, front, waits):
        running = server(workers=2)
        with front(running) as address, Load(address) as load:
            load.wait_for(300)
            running.signal("SIGUSR2")
            running.errors.wait_for("The new program is ready")
            younger = younger_of(running)
            try:
                running.signal("SIGTERM")
                running.errors.wait_for("The program before this one has ended")
                load.wait_for(500)
            finally:
                load_failures = list(load.failures)
        os.kill(younger, 15)
        assert running.wait() == 0
        assert load_failures == []

    def test_the_file_of_a_unix_socket_stays_while_one_of_the_two_is_there(self, server, tmp_path, waits):
        path = tmp_path / "s.sock"
        running = server("-b", f"unix:{path}", binds=2, workers=1)
        running.signal("SIGUSR2")
        running.errors.wait_for("The new program is ready")
        younger = younger_of(running)
        running.signal("SIGTERM")
        running.errors.wait_for("The program before this one has ended")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(wire.request())
            assert client.recv(4096).startswith(b"HTTP/1.1 200")
        os.kill(younger, 15)
        waits(lambda: not path.exists(), "the file's end")
        running.wait()

    def test_one_that_fails_leaves_the_old_serving(self, server, who):
        running = server(workers=1)
        running.write("import missing_module_of_mine")
        running.signal("SIGUSR2")
        running.errors.wait_for("The new program has ended with exit code 3; this one goes on")
        assert int(running.get()) in running.workers()
        running.write(who)
        running.signal("SIGUSR2")
        running.errors.wait_for("The new program is ready")
        os.kill(younger_of(running), 15)
        running.errors.wait_for("The new program has ended with exit code 0")

    def test_winch_and_hup_pause_and_resume_the_old_one(self, server, tmp_path, waits):
        """With --daemon alone; the command that the fixture watches has ended by then."""
        daemon = ["-D", "--pid", "pid", "--error-logfile", "log", "-b", f"unix:{tmp_path}/s"]
        running = server(*daemon, workers=2, binds=0)
        assert running.wait() == 0
        log, pid = tmp_path / "log", int((tmp_path / "pid").read_text())

        def logged(pattern, count=1):
            def found():
                matches = re.findall(pattern, log.read_text())
                return len(matches) >= count and matches

            return waits(found, pattern)

        try:
            running.signal("SIGUSR2", pid)
            logged("The new program is ready")
            ready = re.findall(r"Worker (\d+) is ready", log.read_text())
            running.signal("SIGWINCH", pid)
            assert set(logged(r"Worker (\d+) has left", 2)) == set(ready[:2])
            assert running.get(url=f"unix:{tmp_path}/s") in ready[2:]
            running.signal("SIGHUP", pid)
            logged("Generation 2 takes over")
            running.signal("SIGTERM", int((tmp_path / "pid.2").read_text()))
            logged("HR834 The new program has ended with exit code 0")
            again = re.findall(r"Worker (\d+) is ready", log.read_text())[4:]
            assert running.get(url=f"unix:{tmp_path}/s") in again
        finally:
            running.signal("SIGTERM", pid)
        waits(lambda: not (tmp_path / "pid").exists(), "the end")

    @pytest.mark.parametrize("session", [False, True], ids=["as-it-is", "no-terminal"])
    def test_winch_is_ignored_without_daemon(self, server, session):
        running = server(workers=1, start_new_session=session)
        running.signal("SIGWINCH")
        running.errors.wait_for("HR818 SIGWINCH is ignored")
        assert int(running.get()) in running.workers()


def younger_of(running):
    return int(running.errors.wait_for(r"The new program is starting as process (\d+)")[-1])
