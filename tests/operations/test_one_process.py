"""A server that is one process and signals that are meant for a supervisor: it goes on, and tells of them."""

from __future__ import annotations

import os
import re

import pytest

#: An exit that never ends, and what the log then says of it.  It says nothing where the log itself is what hangs.
HANGING = {
    "atexit": (
        "import atexit\n"
        "@atexit.register\n"
        "def wait_for_ever():\n"
        "    print('hanging', flush=True)\n"
        "    time.sleep(9999)\n",
        r"HR116 The exit hung and is cut by SIGTERM: it was here\n.*app\.py\", line \d+, in wait_for_ever",
    ),
    "thread": (
        "import threading\n"
        "def wait_for_ever():\n"
        "    threading.main_thread().join()\n"
        "    print('hanging', flush=True)\n"
        "    time.sleep(9999)\n"
        "threading.Thread(target=wait_for_ever, name='mine').start()\n",
        "HR116 The exit hung and is cut by SIGTERM: threads of the application go on: 'mine'",
    ),
    "log": (
        "import atexit, logging, threading\n"
        "ends, held = threading.Event(), threading.Event()\n"
        "def hold():\n"
        "    ends.wait()\n"
        "    for handler in logging.getLogger('headrace').handlers + logging.getLogger().handlers:\n"
        "        handler.acquire()\n"
        "    held.set()\n"
        "    time.sleep(9999)\n"
        "threading.Thread(target=hold, daemon=True).start()\n"
        "@atexit.register\n"
        "def hold_the_log():\n"
        "    ends.set()\n"
        "    held.wait()\n"
        "    print('hanging', flush=True)\n"
        "    logging.getLogger('headrace').warning('never written')\n",
        "",
    ),
}

SUPERVISORS = ["SIGHUP", "SIGTTIN", "SIGTTOU", "SIGUSR2", "SIGWINCH"]

FORKING = """
import os, signal

def app(environ, start_response):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, b"x")
        signal.pause()
    os.read(reader, 1)
    os.kill(child, signal.SIGHUP)
    _, status = os.waitpid(child, 0)
    start_response("200 OK", [])
    return [str(os.waitstatus_to_exitcode(status)).encode()]
"""

#: The first terminal that the leader of a session opens is its own.
WITH_TERMINAL = """
import os, sys
os.setsid()
os.close(os.open(sys.argv.pop(1), os.O_RDWR))
from headrace.cli import main
main()
"""


@pytest.mark.parametrize("threads", [1, 4])
def test_ignores_what_a_supervisor_would_hear_and_names_it(server, threads):
    running = server("--threads", threads, workers=0, start_new_session=True)
    for name in SUPERVISORS:
        running.signal(name)
        running.errors.wait_for(f"HR115 {name} is ignored: .*--workers 1")
        assert running.get() == str(running.process.pid)


def test_ignores_them_in_the_background_too(server, tmp_path, waits):
    running = server("-D", "--pid", "pid", "--error-logfile", "log", "-b", f"unix:{tmp_path}/s", workers=0, binds=0)
    assert running.wait() == 0
    pid = int((tmp_path / "pid").read_text())
    for name in SUPERVISORS:
        running.signal(name, pid)
        waits(lambda name=name: f"HR115 {name}" in (tmp_path / "log").read_text(), name)
    assert running.get(url=f"unix:{tmp_path}/s") == str(pid)
    running.signal("SIGTERM", pid)
    waits(lambda: not (tmp_path / "pid").exists(), "the end")


def test_what_the_application_forks_is_ended_by_them(server):
    assert server(workers=0, application=FORKING, start_new_session=True).get() == "-1"


def test_an_application_may_take_them_for_itself(server, who):
    taking = "import signal\nsignal.signal(signal.SIGUSR2, lambda *_: print('taken', flush=True))\n"
    running = server(workers=0, application=who + taking, start_new_session=True)
    running.signal("SIGUSR2")
    running.output.wait_for("taken")
    assert "HR115" not in running.errors.text


@pytest.mark.parametrize("how", HANGING)
def test_an_exit_that_hangs_is_cut_by_a_later_signal(server, who, waits, how):
    source, told = HANGING[how]
    running = server(workers=0, application=who + source)
    running.signal("SIGTERM")
    running.output.wait_for("hanging")

    def has_ended():
        """One that comes right after the end has no effect, however late that is here."""
        running.process.terminate()
        return running.process.poll() is not None

    waits(has_ended, "the end")
    assert running.wait() == 0
    assert re.search(told, running.errors.text)
    assert running.errors.text.count("HR116") == bool(told)


class TestWithATerminal:
    @pytest.fixture
    def terminal(self, tmp_path):
        """Its two ends: ours, and the name of the server's."""
        ours, theirs = os.openpty()
        yield ours, os.ttyname(theirs)
        for end in (ours, theirs):
            try:
                os.close(end)
            except OSError:
                pass

    def test_hup_ends_it_only_when_the_terminal_closes(self, command, terminal, tmp_path, who):
        (tmp_path / "app.py").write_text(who)
        ours, name = terminal
        running = command(name, "app:app", "-b", "127.0.0.1:0", cwd=tmp_path, program=("-B", "-c", WITH_TERMINAL))
        os.kill(running.process.pid, 1)
        running.errors.wait_for("HR115 SIGHUP is ignored")
        assert running.get() == str(running.process.pid)
        os.close(ours)
        assert running.wait() == 0
