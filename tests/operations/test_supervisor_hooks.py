"""What the supervisor calls of the hooks: which, when, in which process, and what a broken one stops (nothing)."""

from __future__ import annotations

import os
import re
import signal

import pytest
from command import Command, children

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are looked at by way of /proc")

APP = """
import os

def app(environ, start_response):
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
"""

HOOKS = """
import os
from headrace.process.hooks import Hooks

NAMES = [name for name in vars(Hooks) if not name.startswith("_") and name != "wrap"]

class Noisy(Hooks):
    def __getattribute__(self, name):
        if name not in NAMES:
            return super().__getattribute__(name)
        def hook(*arguments):
            os.write(1, f"hook {name} {os.getpid()}\\n".encode())  # lines of several processes stay whole
            if name in ("child_exit", "when_ready", "worker_exit"):
                raise RuntimeError(f"{name} is broken")
        return hook

def make(config):
    return Noisy()
"""

PROGRAM = """
import sys
from headrace.config import Config
from headrace.observe.log_setup import set_up_logging
from headrace.process.supervisor import Supervisor
import hooks_of_mine

config = Config(bind="127.0.0.1:0", workers=1)
set_up_logging(config)
sys.exit(Supervisor("app:app", config, make_hooks=hooks_of_mine.make).run())
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGQUIT"])
@pytest.mark.parametrize("to_all", [False, True], ids=["the supervisor", "all"])
def test_worker_int_is_called_once_in_each_worker_at_a_quick_stop(tmp_path, name, to_all):
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "hooks_of_mine.py").write_text(HOOKS)
    (tmp_path / "program.py").write_text(PROGRAM.replace("workers=1", "workers=2"))
    running = Command(cwd=tmp_path, program=("program.py",), start_new_session=True)
    workers = running.errors.wait_for(r"Worker (\d+) is ready", 2)
    if to_all:
        os.killpg(running.process.pid, getattr(signal, name))
    else:
        running.process.send_signal(getattr(signal, name))
    assert running.wait() == 0
    assert sorted(re.findall(r"hook worker_int (\d+)", running.output.text)) == sorted(workers)


def test_hooks_run_in_their_order_each_in_its_process_and_a_broken_one_stops_nothing(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "hooks_of_mine.py").write_text(HOOKS)
    (tmp_path / "program.py").write_text(PROGRAM)
    running = Command(cwd=tmp_path, program=("program.py",))
    worker = int(running.get())
    supervisor = running.process.pid
    (template,) = children(supervisor)
    running.process.send_signal(signal.SIGHUP)
    running.errors.wait_for("Generation 2 takes over")
    running.output.wait_for("hook child_exit")
    assert running.end() == 0
    said = [line.split()[1:] for line in running.output.text.splitlines() if line.startswith("hook ")]
    of_first = [words[0] for words in said if words[1] in map(str, (supervisor, template, worker))]
    assert of_first[:7] == [
        "on_starting", "nworkers_changed", "pre_fork", "post_fork", "post_worker_init", "when_ready", "on_reload",
    ]  # fmt: skip
    assert of_first[-1] == "on_exit"
    where = {words[0]: int(words[1]) for words in reversed(said)}
    assert where["pre_fork"] == template
    assert where["post_fork"] == where["post_worker_init"] == where["worker_exit"] == worker
    assert where["child_exit"] == where["on_starting"] == where["on_exit"] == supervisor
    assert "RuntimeError: child_exit is broken" in running.errors.text


def test_a_hook_that_keeps_the_template_from_forking_does_not_keep_the_server_from_ending(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "gunicorn.conf.py").write_text(
        "import time\npreload_app = True\ndef pre_fork(server, worker):\n"
        "    if worker.age > 1:\n        print('held', flush=True)\n        time.sleep(600)\n"
    )
    running = Command("app:app", "-b", "127.0.0.1:0", "--workers", 2, "-c", "gunicorn.conf.py", cwd=tmp_path, binds=0)
    running.errors.wait_for("is ready")
    running.output.wait_for("held")
    assert running.end(signal.SIGQUIT) == 0
    assert "Worker 0 " not in running.errors.text
    assert re.search(r"HR835 The template of generation 1 has not ended in \S+ s and is killed", running.errors.text)
