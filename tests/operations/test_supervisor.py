"""Worker processes and who looks after them: starting, dying, being more or fewer, ending."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest
from command import WAIT_S, Command, children, stands_still, state_of
from load import Load
from wire import wait_until

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are looked at by way of /proc")


class TestStarting:
    def test_as_many_workers_as_asked_for_serve(self, server):
        running = server(workers=3)
        workers = set(running.ready_workers())
        assert len(workers) == 3
        assert int(running.get()) in workers

    def test_the_log_says_how_many_requests_may_be_inside_the_application(self, server):
        running = server("--threads", 5, workers=2)
        running.errors.wait_for("2 workers x 5 threads: at most 10 requests inside the application")

    def test_web_concurrency_is_the_number_of_workers(self, server, monkeypatch):
        monkeypatch.setenv("WEB_CONCURRENCY", "3")
        running = server(workers=0)
        assert len(running.ready_workers()) == 3

    def test_the_supervisor_does_not_import_the_application_and_workers_share_one_import(self, server):
        running = server(application=SAYS_WHO_IMPORTS + APP)
        assert len(re.findall("imported by", running.output.text)) == 1
        (importer,) = running.output.wait_for(r"imported by (\d+)")
        assert int(importer) not in (running.process.pid, *running.ready_workers())

    def test_without_preload_each_worker_imports_for_itself(self, server):
        running = server("--no-preload", application=SAYS_WHO_IMPORTS + APP)
        importers = running.output.wait_for(r"imported by (\d+)", 2)
        assert {int(pid) for pid in importers} == set(running.ready_workers())

    @pytest.mark.parametrize(
        ("source", "named"),
        [
            ("import threading, time\n"
             "threading.Thread(target=time.sleep, args=(99,), daemon=True, name='mine').start()",
             "the thread 'mine'"),
            ("import socket\nSERVER = socket.create_server(('127.0.0.1', 0))\n"
             "CLIENT = socket.create_connection(SERVER.getsockname())",
             r"the connection to 127\.0\.0\.1:\d+"),
        ],
        ids=["thread", "connection"],
    )  # fmt: skip
    def test_what_makes_forking_unsafe_is_named_and_each_worker_imports(self, server, source, named):
        running = server(application=f"{source}\n{SAYS_WHO_IMPORTS}{APP}")
        running.errors.wait_for(f"cannot be forked safely, for it has .*{named}")
        importers = {int(pid) for pid in running.output.wait_for(r"imported by (\d+)", 3)}
        assert set(running.ready_workers()) <= importers

    def test_is_not_kept_from_it_by_a_thread_that_goes_on_in_the_first_template(self, server):
        running = server(workers=1, application=ONCE_A_THREAD_THAT_GOES_ON + APP)
        running.errors.wait_for("HR835 The template of generation 1 has not ended")
        running.errors.wait_for("HR810 .*the thread 'mine'")

    def test_the_application_learns_that_there_are_other_processes(self, server):
        source = "def app(e, s):\n s('200 OK', [])\n return [str(e['wsgi.multiprocess']).encode()]\n"
        assert server(application=source, workers=1).get() == "True"


# with one write(2), so that lines of several processes stay whole
SAYS_WHO_IMPORTS = "import os\nos.write(1, b'imported by %d\\n' % os.getpid())\n"

THREAD_THAT_GOES_ON = "import threading, time\nthreading.Thread(target=time.sleep, args=(9999,), name='mine').start()\n"

ONCE_A_THREAD_THAT_GOES_ON = f"""
import os
if not os.path.exists("first"):
    open("first", "w").close()
    exec({THREAD_THAT_GOES_ON!r})
"""

APP = """
import os, time

def app(environ, start_response):
    if environ["PATH_INFO"].startswith("/sleep/"):
        time.sleep(float(environ["PATH_INFO"].removeprefix("/sleep/")))
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


class TestFailingAtTheStart:
    @pytest.mark.parametrize("options", [[], ["--no-preload"]], ids=["preload", "no-preload"])
    def test_an_application_that_does_not_import_is_exit_code_3_with_its_traceback(self, tmp_path, options):
        ended = start_in_vain(tmp_path, "import missing_module_of_mine", *options)
        assert ended.returncode == 3
        assert "Traceback" in ended.stderr
        assert "line 1, in <module>\n    import missing_module_of_mine" in ended.stderr
        assert "error: importing app:app failed: ModuleNotFoundError" in ended.stderr

    @pytest.mark.parametrize("options", [[], ["--no-preload"]], ids=["preload", "no-preload"])
    def test_a_process_that_is_killed_while_it_imports_is_exit_code_3(self, tmp_path, options):
        ended = start_in_vain(tmp_path, "import os\nos.kill(os.getpid(), 9)", *options)
        assert ended.returncode == 3
        assert "was killed by SIGKILL" in ended.stderr

    def test_a_thread_of_it_that_goes_on_does_not_hold_up_the_end(self, tmp_path):
        ended = start_in_vain(tmp_path, THREAD_THAT_GOES_ON + "import missing_module_of_mine")
        assert ended.returncode == 3
        assert "error: importing app:app failed: ModuleNotFoundError" in ended.stderr

    def test_an_address_in_use_is_exit_code_1(self, tmp_path):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ended = start_in_vain(tmp_path, APP, "-b", f"127.0.0.1:{listener.getsockname()[1]}")
        assert ended.returncode == 1
        assert "address already in use" in ended.stderr

    def test_a_term_while_the_application_is_imported_ends_at_once_with_0(self, tmp_path):
        (tmp_path / "app.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(999)")
        process = subprocess.Popen(
            [sys.executable, "-m", "headrace", "app:app", "-b", "127.0.0.1:0", "-w", "2"],
            cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        with process:
            assert process.stdout.readline() == "importing\n"
            process.terminate()
            assert process.wait(WAIT_S) == 0

    @pytest.mark.parametrize(("name", "value"), [("--max-requests", 5), ("--max-rss", "1g"), ("--max-age", 9)])
    def test_what_needs_somebody_to_replace_the_worker_is_refused_without_workers(self, tmp_path, name, value):
        ended = start_in_vain(tmp_path, APP, name, str(value), workers=())
        assert ended.returncode == 2
        assert f"{name}: needs --workers" in ended.stderr


def start_in_vain(folder, source, *options, workers=("-w", "2")):
    (folder / "app.py").write_text(source)
    command = [sys.executable, "-m", "headrace", "app:app", "-b", "127.0.0.1:0", *workers, *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=2 * WAIT_S)


class TestDying:
    def test_a_worker_that_is_killed_is_named_and_replaced(self, server, waits):
        running = server(workers=2)
        victim = running.ready_workers()[0]
        running.signal("SIGKILL", victim)
        running.errors.wait_for(f"Worker {victim} was killed by SIGKILL")
        waits(lambda: len(running.workers()) == 2, "the replacement")
        assert victim not in running.workers()

    def test_only_what_the_killed_worker_was_serving_fails(self, server, waits):
        running = server(workers=4)
        with Load(running.address, connections=32, path="/sleep/0.002") as load:
            load.wait_for(200)
            victim = int(next(iter(load.bodies)))
            running.signal("SIGSTOP", victim)
            waits(lambda: stands_still(victim), "the worker to stand still")
            served = connections_to(running.address[1], sockets_of(victim))
            running.signal("SIGKILL", victim)
            running.errors.wait_for("is ready", 5)
            wanted = load.answers + 300
            waits(lambda: load.answers >= wanted, "the clients to have noticed")
            before = len(load.failures)
            wanted = load.answers + 1000
            waits(lambda: load.answers >= wanted, "answers after the replacement")
        assert 0 < before <= served
        assert len(load.failures) == before

    def test_what_the_killed_worker_was_serving_is_in_the_log_without_the_query(self, server):
        running = server("--threads", 2, workers=1)
        victim = int(running.get())
        clients = [running.client() for _ in range(2)]
        clients[0].request("GET", "/sleep/60?password=secret")
        clients[1].request("DELETE", "/sleep/61")
        running.output.wait_for("inside", 2)
        running.signal("SIGKILL", victim)
        lines = running.errors.wait_for(rf"HR806 Worker {victim} was serving (.*) for [0-9.]+ s on thread \d+", 2)
        assert sorted(lines) == ["DELETE /sleep/61", "GET /sleep/60"]
        assert "secret" not in running.errors.text
        for client in clients:
            client.close()

    @pytest.mark.parametrize("first", [0, 3], ids=["all of them", "all but the standard ones"])
    @pytest.mark.parametrize("threads", [1, 2])
    def test_one_whose_descriptors_the_application_has_closed_is_replaced(self, server, waits, threads, first):
        running = server("--threads", threads, "--graceful-timeout", 1, workers=1, application=CLOSES_DESCRIPTORS)
        victim = int(running.get())
        client = running.client()
        client.request("GET", f"/close/{first}")
        with suppress(ConnectionError):
            client.getresponse()
        client.close()
        waits(lambda: victim not in running.workers(), "the worker to end")
        waits(lambda: running.workers(), "the replacement")
        assert int(running.get()) != victim

    def test_one_whose_interpreter_lock_is_held_is_aborted_with_its_stacks_and_replaced(self, server, waits):
        running = server("--timeout", 1, workers=1, application=HOLDS_THE_LOCK)
        victim = int(running.get())
        client = running.client()
        client.request("GET", "/hold")
        running.errors.wait_for(f"HR809 Worker {victim} is stuck: its interpreter lock is held")
        running.errors.wait_for(f"HR805 Worker {victim} was killed by SIGABRT")
        running.errors.wait_for(f"HR806 Worker {victim} was serving GET /hold for")
        waits(lambda: len(running.ready_workers()) == 2, "the replacement")
        assert int(running.get()) == running.ready_workers()[1]
        assert re.search(r"Fatal Python error: Aborted[^$]+in hold_the_lock\n", running.errors.text)
        client.close()

    def test_workers_outlive_their_template_which_is_started_anew(self, server, waits):
        running = server(workers=2)
        before = running.workers()
        (template,) = children(running.process.pid)
        running.signal("SIGKILL", template)
        running.errors.wait_for("The template of generation 1 was killed by SIGKILL")
        assert int(running.get()) in before
        waits(lambda: children(running.process.pid) not in ([], [template]), "another template")
        for pid in before:
            running.signal("SIGKILL", pid)
        running.errors.wait_for("is ready", 4)
        waits(lambda: len(running.workers()) == 2)
        assert int(running.get()) in running.workers()

    def test_a_worker_whose_end_the_template_could_not_report_is_missed_all_the_same(self, server, waits):
        running = server(workers=2)
        (template,) = children(running.process.pid)
        victim, other = running.workers()
        running.signal("SIGSTOP", template)
        running.signal("SIGKILL", victim)
        waits(lambda: state_of(victim) == "Z", "the end of the worker")
        running.signal("SIGUSR1")
        running.errors.wait_for("Received SIGUSR1")  # by now its channel's end has been seen
        running.signal("SIGKILL", template)
        waits(lambda: len(running.ready_workers()) == 3, "the replacement")
        assert other in running.workers()
        assert running.end() == 0
        assert f"Worker {victim} has ended" in running.errors.text

    def test_when_all_but_the_supervisor_are_killed_at_once_all_come_back(self, server, waits):
        running = server(workers=2)
        (template,) = children(running.process.pid)
        for pid in [*running.workers(), template]:
            running.signal("SIGKILL", pid)
        waits(lambda: len(running.ready_workers()) == 4, "two other workers")
        assert int(running.get()) in running.ready_workers()[2:]
        assert running.end() == 0

    def test_a_process_that_is_not_the_templates_own_gets_no_signal(self, server, waits):
        with subprocess.Popen(["sleep", "99"]) as victim:
            running = server(workers=1, application=FORGES + APP, env={"VICTIM": str(victim.pid)})
            running.errors.wait_for(f"names a process that is not its own.*process {victim.pid} is no child of process")
            waits(lambda: running.workers(), "a true worker")
            assert running.end() == 0
            assert victim.poll() is None
            victim.kill()

    def test_workers_end_when_their_supervisor_has(self, server, waits):
        running = server(workers=2)
        workers = running.workers()
        sleeper = running.client()
        sleeper.request("GET", "/sleep/0.5")
        running.signal("SIGKILL")
        assert running.process.wait(WAIT_S) == -signal.SIGKILL
        assert sleeper.getresponse().status == 200
        sleeper.close()
        waits(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers), "the workers' end")
        running.wait()

    def test_one_that_dies_at_its_start_again_and_again_is_replaced_with_pauses(self, server, waits):
        """... while others serve."""
        running = server("--no-preload", workers=1)
        running.write("import os\nos.kill(os.getpid(), 9)")
        running.signal("SIGTTIN")
        running.errors.wait_for("before it was ready", 5)
        assert int(running.get()) in running.workers()
        running.write(APP)
        waits(lambda: len(running.workers()) == 2, "the second worker")


CLOSES_DESCRIPTORS = """
import os

def app(environ, start_response):
    if environ["PATH_INFO"].startswith("/close/"):
        os.closerange(int(environ["PATH_INFO"].removeprefix("/close/")), 64)
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
"""

HOLDS_THE_LOCK = """
import ctypes, os

def hold_the_lock():
    ctypes.PyDLL(None).sleep(60)

def app(environ, start_response):
    if environ["PATH_INFO"] == "/hold":
        hold_the_lock()
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
"""

#: The first template says that VICTIM is the worker that it is about to fork, and dies.
FORGES = """
import json, os, socket

def forge():
    if os.path.exists("forged"):
        return
    open("forged", "w").close()
    for fd in range(3, 64):
        try:
            with socket.socket(fileno=os.dup(fd)) as channel:
                said = {"event": "forked", "age": 1, "pid": int(os.environ["VICTIM"])}
                channel.send(json.dumps(said).encode() + b"\\n", socket.MSG_DONTWAIT)
        except OSError:
            pass
    os._exit(1)

os.register_at_fork(before=forge)
"""


class TestMoreAndFewer:
    def test_ttin_is_one_more_and_ttou_one_less_but_never_none(self, server, waits):
        running = server(workers=1)
        running.signal("SIGTTIN")
        waits(lambda: len(running.workers()) == 2, "two workers")
        for _ in range(2):
            running.signal("SIGTTOU")
            waits(lambda: len(running.workers()) == 1, "one worker")
        assert int(running.get()) in running.workers()

    def test_several_at_once_are_all_heard(self, server, waits):
        running = server(workers=1)
        for count in range(2, 5):
            running.signal("SIGTTIN")
            waits(lambda count=count: f"Workers: {count}" in running.errors.text)
        waits(lambda: len(running.workers()) == 4, "four workers")


HANGS_IN_THE_TEMPLATE = """
import atexit
IMPORTER = os.getpid()

@atexit.register
def hang():
    if os.getpid() == IMPORTER:
        print("hanging", flush=True)
        time.sleep(9999)
"""


class TestEnding:
    def test_ten_requests_on_four_threads_are_all_answered_and_the_exit_code_is_0(self, server, waits):
        running = server("--threads", 2, workers=2)
        answers = []

        def ask():
            answers.append(running.get("/sleep/0.3"))

        threads = [threading.Thread(target=ask) for _ in range(10)]
        for thread in threads:
            thread.start()
        waits(lambda: connections_to(running.address[1]) >= 10, "ten connections")
        assert running.end() == 0
        for thread in threads:
            thread.join(WAIT_S)
        assert len(answers) == 10

    def test_who_connects_a_moment_later_while_the_rest_is_answered_is_refused(self, server):
        running = server(workers=2)
        slow = running.client()
        slow.request("GET", "/sleep/1.5")
        running.output.wait_for("inside")
        running.signal("SIGTERM")
        time.sleep(0.3)
        assert refuses(running)
        assert slow.getresponse().status == 200
        slow.close()
        assert running.wait() == 0

    def test_idle_connections_do_not_hold_up_the_end(self, server):
        running = server(workers=2)
        idle = running.client()
        idle.request("GET", "/")
        idle.getresponse().read()
        assert running.end() == 0
        idle.close()

    @pytest.mark.parametrize("name", ["SIGINT", "SIGQUIT"])
    def test_a_quick_stop_does_not_wait_for_the_application(self, server, name):
        running = server(workers=2)
        slow = running.client()
        slow.request("GET", "/sleep/60")
        running.output.wait_for("inside")
        running.signal(name)
        assert running.wait() == 0
        slow.close()

    def test_a_second_term_does_not_wait_either(self, server, waits):
        running = server(workers=1)
        slow = running.client()
        slow.request("GET", "/sleep/60")
        running.output.wait_for("inside")
        running.signal("SIGTERM")
        waits(lambda: refuses(running), "the refusal")
        running.signal("SIGTERM")
        assert running.wait() == 0
        slow.close()

    def test_nor_for_a_template_whose_exit_hangs(self, server):
        running = server(workers=1, application=APP + HANGS_IN_THE_TEMPLATE)
        running.signal("SIGTERM")
        running.output.wait_for("hanging")
        running.signal("SIGTERM")
        running.errors.wait_for("HR835 The template of generation 1 has not ended")
        assert running.wait() == 0

    def test_a_template_that_a_reload_has_left_behind_does_not_stay_for_ever(self, server):
        running = server("--graceful-timeout", "0.1", workers=1, application=APP + HANGS_IN_THE_TEMPLATE)
        running.write(APP)
        running.signal("SIGHUP")
        running.wait_for_takeover(2)
        running.output.wait_for("hanging")
        running.errors.wait_for("HR835 The template of generation 1 has not ended")

    def test_a_signal_to_the_whole_process_group_is_an_orderly_end_too(self, server):
        running = server(workers=2, start_new_session=True)
        slow = running.client()
        slow.request("GET", "/sleep/0.5")
        running.output.wait_for("inside")
        os.killpg(running.process.pid, signal.SIGTERM)
        assert slow.getresponse().status == 200
        slow.close()
        assert running.wait() == 0

    def test_no_process_and_no_file_is_left(self, server, waits, tmp_path):
        running = server(workers=2)
        workers = [*running.workers(), *children(running.process.pid)]
        assert running.end() == 0
        assert not any(os.path.exists(f"/proc/{pid}") for pid in workers)
        assert [path.name for path in tmp_path.iterdir()] == ["app.py"]

    def test_one_that_dies_in_the_drain_delay_is_replaced_by_one_that_drains_too(self, server, waits):
        running = server("--drain-delay", 4, "--health-path", "/health", workers=1)
        assert health_of(running) == 200
        running.signal("SIGTERM")
        waits(lambda: health_of(running) == 503, "the drain")
        (victim,) = running.ready_workers()
        running.signal("SIGKILL", victim)
        running.errors.wait_for(f"Worker {victim} was killed")
        assert int(running.get()) != victim  # it waits until there is somebody
        waits(lambda: health_of(running) == 503, "the drain of the next one, which is told when it is ready")
        assert running.wait() == 0
        assert "HR808" not in running.errors.text

    @pytest.mark.parametrize("deaf", ["by whoever started it", "by the application"])
    def test_is_not_kept_from_it_nor_from_workers_deaths_by_signals_that_are_blocked(self, server, who, deaf):
        blocked = {signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP}
        at_import = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, {17, 15, 1})\n"
        before = signal.pthread_sigmask(signal.SIG_BLOCK, blocked if deaf == "by whoever started it" else ())
        try:
            running = server(workers=2, application=at_import + who if deaf == "by the application" else who)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        victim = running.ready_workers()[0]
        running.signal("SIGKILL", victim)
        running.errors.wait_for(f"Worker {victim} was killed")
        running.errors.wait_for("is ready", 3)
        assert running.end() == 0

    def test_ends_with_0_however_many_signals_come(self, server):
        running = server(workers=1)
        while running.process.poll() is None:
            running.process.send_signal(signal.SIGTERM)
            time.sleep(0.005)
        assert running.wait() == 0

    def test_a_second_signal_cuts_the_drain_delay(self, server, waits):
        running = server("--drain-delay", 600, "--health-path", "/health", workers=2)
        running.signal("SIGTERM")
        waits(lambda: health_of(running) == 503, "the drain")
        running.signal("SIGTERM")
        assert running.wait() == 0

    def test_what_a_reload_has_opened_so_far_is_closed_and_goes_as_well(self, who, waits, tmp_path):
        (tmp_path / "headrace.toml").write_text("bind = '127.0.0.1:0'\nworkers = 1\n")
        (tmp_path / "app.py").write_text(who)
        running = Command("app:app", cwd=tmp_path, program=("-B", "-m", "headrace"))
        added = f"unix:{tmp_path}/added.sock"
        (tmp_path / "headrace.toml").write_text(f"bind = ['127.0.0.1:0', '{added}']\n")
        (tmp_path / "app.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(99)")
        slow = running.client()
        slow.request("GET", "/sleep/1.5")
        running.output.wait_for("inside")
        running.process.send_signal(signal.SIGHUP)
        running.output.wait_for("importing")
        running.connect(added).close()
        running.process.send_signal(signal.SIGTERM)
        waits(lambda: refuses(running, added), "the refusal")
        assert slow.getresponse().status == 200
        slow.close()
        assert running.wait() == 0
        assert not (tmp_path / "added.sock").exists()

    def test_the_file_of_a_unix_socket_goes(self, server, tmp_path):
        running = server("-b", f"unix:{tmp_path}/s.sock", binds=2)
        assert int(running.get(url=running.urls[1])) in running.workers()
        assert running.end() == 0
        assert not (tmp_path / "s.sock").exists()


def health_of(running):
    client = running.client()
    try:
        client.request("GET", "/health")
        return client.getresponse().status
    finally:
        client.close()


def refuses(running, url=None):
    try:
        running.connect(url).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    return False


def connections_to(port, sockets=None):
    """Established ones that a server on this port has, or has in its queue; or those that are among these sockets."""
    count = 0
    with open("/proc/net/tcp") as file:
        for line in file.readlines()[1:]:
            fields = line.split()
            is_one = int(fields[1].rpartition(":")[2], 16) == port and fields[3] == "01"
            count += is_one and (sockets is None or fields[9] in sockets)
    return count


def sockets_of(pid):
    """Their inodes, as /proc/net/tcp has them."""
    names = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    return {name.removeprefix("socket:[").removesuffix("]") for name in names if name.startswith("socket:[")}


def engine_of(pid):
    """The names of our compiled modules that a process has mapped."""
    with open(f"/proc/{pid}/maps") as maps:
        return set(re.findall(r"/headrace/engine/(\w+)\.[^/\n]*so$", maps.read(), re.MULTILINE))


class TestSurroundings:
    def test_works_as_pid_1_with_a_read_only_root_and_without_home(self, tmp_path):
        """... and waits for orphans: the application's import leaves one behind."""
        orphan = "if os.fork() == 0:\n    os.fork() or time.sleep(0.5)\n    os._exit(0)\nos.wait()\n"
        (tmp_path / "app.py").write_text(APP + orphan)
        port = free_port()
        inside = (
            "mount -o remount,ro,bind / 2>/dev/null || mount -o remount,ro / || exit 77;"
            "touch /x 2>/dev/null && exit 78;"
            f"cd {tmp_path}; exec env -i PATH=$PATH {sys.executable} -B -m headrace app:app -b 127.0.0.1:{port} -w 2"
        )
        unshare = ["unshare", "--fork", "--pid", "--mount", "--mount-proc", "--kill-child"]
        if subprocess.run([*unshare, "true"], capture_output=True).returncode != 0:
            pytest.skip("unshare is not allowed here")
        process = subprocess.Popen(
            [*unshare, "sh", "-c", f"mount --make-rprivate / ; mount --bind / / ; {inside}"],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        with process:
            lines = []
            for line in process.stderr:
                lines.append(line)
                if "Listening at" in line:
                    break
            if not lines and process.wait(WAIT_S) == 77:
                pytest.skip("the root cannot be made read-only here")
            assert lines and "Listening at" in lines[-1], lines
            assert "[1] INFO" in lines[-1]
            with socket.create_connection(("127.0.0.1", port), WAIT_S) as client:
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert client.recv(4096).startswith(b"HTTP/1.1 200")
            wait_until(lambda: len(descendants(process.pid)) == 4, "the orphan to be waited for", WAIT_S)
            stop_inner(process)
            assert process.wait(WAIT_S) == 0

    def test_the_supervisor_does_not_load_the_engine(self, server):
        """Of the compiled part it needs what reads the scoreboard."""
        running = server(workers=1)
        (worker,) = running.ready_workers()
        assert {"loop", "slot"} <= engine_of(worker)
        assert engine_of(running.process.pid) == {"slot"}

    def test_an_idle_server_sleeps(self, server):
        running = server(workers=2)
        running.get()
        processes = [running.process.pid, *children(running.process.pid), *running.workers()]
        time.sleep(3)  # idle connections have given back their memory by then
        before = [switches(pid) for pid in processes]
        time.sleep(5)
        after = [switches(pid) for pid in processes]
        woken = [late - early for early, late in zip(before, after, strict=True)]
        assert max(woken) <= 1, woken


def stop_inner(process):
    for pid in children(process.pid):
        os.kill(pid, signal.SIGTERM)


def descendants(pid):
    try:
        found = children(pid)
    except OSError:  # it has just ended
        return []
    return [*found, *(one for child in found for one in descendants(child))]


def switches(pid):
    """How often the threads of a process have been woken so far."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status") as file:
            total += int(re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)", file.read())[1])
    return total


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
