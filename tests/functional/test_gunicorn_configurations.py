"""gunicorn.conf.py files as projects publish them, unmodified: each starts and serves, or says what it cannot have.

The files are written for these tests, in the style of what is public; only ports and paths are those of the test.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command import WAIT_S

from headrace.config import SETTINGS

APPLICATION = """
import os

def application(environ, start_response):
    body = os.environ.get("GREETING", "hello").encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]

class Several:
    def __iter__(self):
        yield b"one "
        yield b"two"

def several(environ, start_response):
    if environ["PATH_INFO"] == "/file":
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](open(__file__, "rb"))
    if environ["PATH_INFO"] == "/fail":
        raise RuntimeError("on purpose")
    start_response("201 Created", [("X-A", "b")])
    return Several()

def slow(environ, start_response):
    if environ["PATH_INFO"] == "/hang":
        hang_here()
    return application(environ, start_response)

def hang_here():
    import time
    until = time.monotonic() + 30
    while time.monotonic() < until:
        time.sleep(0.02)
"""

CPU_COUNT = """
# The deployment page of a framework
import multiprocessing

bind = "127.0.0.1:0"
workers = multiprocessing.cpu_count() * 2 + 1
worker_class = "sync"
threads = 2
timeout = 120
keepalive = 5
max_requests = 1000
max_requests_jitter = 50
"""

EXAMPLE = """
# In the manner of gunicorn's own example
bind = '127.0.0.1:0'
backlog = 2048
workers = 1
worker_class = 'sync'
worker_connections = 1000
timeout = 30
keepalive = 2
spew = False
daemon = False
raw_env = ['GREETING=spam']
pidfile = None
umask = 0
user = None
group = None
tmp_upload_dir = None
errorlog = '-'
loglevel = 'INFO'
accesslog = '-'
access_log_format = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'
proc_name = None

def post_fork(server, worker):
    server.log.info("Worker spawned (pid: %s)", worker.pid)

def pre_fork(server, worker):
    pass

def pre_exec(server):
    server.log.info("Forked child, re-executing.")

def when_ready(server):
    server.log.info("Server is ready. Spawning workers")

def worker_int(worker):
    worker.log.info("worker received INT or QUIT signal")
    import threading, sys, traceback
    id2name = {th.ident: th.name for th in threading.enumerate()}

def worker_abort(worker):
    worker.log.info("worker received SIGABRT signal")
"""

HOOKS = """
import os, time

bind = "127.0.0.1:0"
wsgi_app = "site_of_tests:several"

def note(*words):
    with open("hooks.log", "a") as log:
        print(*words, file=log)

def on_starting(server):
    server.log.info("starting %s", server.pid)
    note("on_starting", server.pid == os.getpid(), server.cfg.bind, server.cfg.keepalive, server.app.app_uri)

def nworkers_changed(server, new_value, old_value):
    note("nworkers_changed", new_value, old_value)

def when_ready(server):
    note("when_ready", server.num_workers, isinstance(server.WORKERS, dict), server.cfg.is_ssl)

def post_fork(server, worker):
    worker.started = time.time()
    note("post_fork", worker.pid == os.getpid(), worker.age, worker.ppid > 0, worker.alive)

def post_worker_init(worker):
    note("post_worker_init", callable(worker.wsgi), worker.started <= time.time(), str(worker)[:8])

def pre_request(worker, req):
    req.begun = time.time()
    worker.log.debug("%s %s", req.method, req.path)
    note("pre_request", req.method, req.uri, req.path, req.query, req.version, dict(req.headers).get("X-TEST"))

def post_request(worker, req, environ, resp):
    took = time.time() - req.begun
    note("post_request", worker.nr, environ["PATH_INFO"], resp.status, resp.status_code, resp.sent, took >= 0)

def worker_exit(server, worker):
    note("worker_exit", worker.pid == os.getpid(), worker.nr)

def child_exit(server, worker):
    note("child_exit", worker.pid)

def on_exit(server):
    note("on_exit", server.proc_name)
"""

ABORTED = """
import sys, threading, traceback

bind = "127.0.0.1:0"
wsgi_app = "site_of_tests:slow"
timeout = 1

def worker_abort(worker):
    # what projects do there: tell where it hangs
    frames = sys._current_frames()
    with open("aborted", "a") as log:
        for thread in threading.enumerate():
            frame = frames.get(thread.ident)
            log.write("".join(traceback.format_stack(frame)) if frame else "")
        log.write(f"{worker.pid} {worker.aborted}\\n")
"""

LOGGING = """
import sys

bind = ["127.0.0.1:0"]
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"format": '{"level": "%(levelname)s", "message": "%(message)s"}'}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}},
    "root": {"level": "INFO", "handlers": ["console"]},
    "loggers": {
        "gunicorn.error": {"level": "INFO", "handlers": ["console"], "propagate": False},
        "gunicorn.access": {"level": "INFO", "handlers": ["console"], "propagate": False},
    },
}
"""

BEHIND_A_PROXY = """
# On a platform with a router in front
import os
forwarded_allow_ips = "*"
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}
bind = f"127.0.0.1:{os.environ.get('TEST_PORT', '0')}"
workers = int(os.environ.get("WEB_CONCURRENCY", 1))
preload_app = True
worker_tmp_dir = "/dev/shm"
"""

UNIX = """
bind = ["unix:app.sock", "127.0.0.1:0"]
umask = 0o007
graceful_timeout = "20"
capture_output = False
"""

STATSD = """
bind = "127.0.0.1:0"
statsd_host = "localhost:8125"
statsd_prefix = "shop"
limit_request_line = 0
"""

CHDIR = """
from os import path
here = path.dirname(path.abspath(__file__))
chdir = here
pythonpath = path.join(here, "inner")
wsgi_app = "deep_site:application"
bind = "127.0.0.1:0"
errorlog = path.join(here, "error.log")
"""

GEVENT = """
bind = "127.0.0.1:0"
worker_class = "gevent"
worker_connections = 500

def child_exit(server, worker):
    # prometheus_client.multiprocess.mark_process_dead(worker.pid)
    open("child_exit", "w").write(str(worker.pid))
"""

ONE_FOLDER = """
import os, tempfile

bind = "127.0.0.1:0"
workers = 1
os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(dir=".")

def note(*words):
    with open("hooks.log", "a") as log:
        print(*words, os.environ["PROMETHEUS_MULTIPROC_DIR"], file=log)

def on_starting(server):
    note("on_starting")

def pre_fork(server, worker):
    note("pre_fork")

def post_fork(server, worker):
    note("post_fork")

def child_exit(server, worker):
    note("child_exit")
"""

TLS = """
bind = "127.0.0.1:0"
certfile = "/etc/ssl/site.pem"
keyfile = "/etc/ssl/site.key"
ssl_version = "TLSv1_2"
keepalive = "soon"
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("PORT", "WEB_CONCURRENCY", "GUNICORN_CMD_ARGS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "site_of_tests.py").write_text(APPLICATION)
    return tmp_path


@pytest.fixture
def configured(command, folder):
    """A server with such a file in its working directory."""

    def start(text, *arguments, **more):
        (folder / "gunicorn.conf.py").write_text(text)
        return command(*arguments, **more)

    return start


def named(process):
    """The variables that the warnings name."""
    return {
        line.split()[2]
        for line in process.errors.text.splitlines()
        if line.startswith("warning: gunicorn.conf.py: ") and line.endswith("has no counterpart here")
    }


def not_here(*names):
    """Those that the table of settings lacks."""
    return {name for name in names if name not in SETTINGS}


class TestStyles:
    def test_workers_from_the_number_of_processors(self, configured):
        process = configured(CPU_COUNT, "site_of_tests")
        assert process.get() == "hello"
        assert named(process) == not_here("workers", "timeout", "max_requests", "max_requests_jitter")
        assert process.end() == 0

    def test_everything_spelled_out_with_hooks_that_log(self, configured):
        process = configured(EXAMPLE, "site_of_tests")
        assert process.get() == "spam"
        assert process.end() == 0
        assert "Server is ready. Spawning workers\n" in process.errors.text
        assert "Worker spawned (pid: " in process.errors.text
        assert '"GET / HTTP/1.1" 200 4' in process.output.text

    def test_hooks_find_what_they_look_for(self, configured, folder):
        process = configured(HOOKS)
        client = process.client()
        client.request("GET", "/a%20b?c=d", headers={"X-Test": "yes"})
        assert client.getresponse().read() == b"one two"
        client.request("GET", "/file")
        assert client.getresponse().read() == APPLICATION.encode()
        client.request("GET", "/fail")
        assert client.getresponse().status == 500
        client.close()
        assert process.end() == 0
        lines = (folder / "hooks.log").read_text().splitlines()
        pid = process.process.pid
        assert "on_starting True ['127.0.0.1:0'] 75.0 site_of_tests:several" in lines[0].replace("(", "[").replace(
            ",)", "]"
        )
        assert lines[1] == "nworkers_changed 1 None"
        assert {
            "when_ready 1 True False",
            "post_worker_init True True <Worker ",
            "pre_request GET /a%20b?c=d /a%20b c=d (1, 1) yes",
            "post_request 1 /a b 201 Created 201 7 True",
            "post_request 2 /file 200 OK 200 0 True",  # sent by the kernel
            "post_request 3 /fail None None 0 True",
            "on_exit headrace",
        } <= set(lines)
        assert any(line.startswith("post_fork True 1 True True") for line in lines)
        assert any(line.startswith("child_exit ") for line in lines)
        assert "worker_exit True 3" in lines
        assert lines[-1] == "on_exit headrace"
        assert f"starting {pid}" in process.errors.text

    def test_a_worker_with_a_request_that_takes_too_long_is_aborted_as_its_hook_is_told(self, configured, folder):
        process = configured(ABORTED)
        client = process.client()
        client.request("GET", "/hang")
        assert client.getresponse().status == 500
        client.close()
        process.errors.wait_for(r"HR408 .*/hang")
        assert process.get("/") == "hello"
        assert process.end() == 0
        told = (folder / "aborted").read_text()
        assert "hang_here()" in told
        assert told.count(" True\n") == 1
        assert f"\n{process.process.pid} " not in told

    def test_logconfig_dict(self, configured):
        process = configured(LOGGING, "site_of_tests")
        assert process.get() == "hello"
        assert named(process) == set()
        assert f'{{"level": "INFO", "message": "HR101 Listening at: {process.url}"}}\n' in process.errors.text

    def test_logconfig_dict_with_a_class_of_the_file_itself_cannot_be_handed_to_workers(self, folder):
        (folder / "gunicorn.conf.py").write_text(
            "import logging\nclass Mine(logging.Formatter): pass\n"
            "logconfig_dict = {'formatters': {'mine': {'()': Mine}}}\n"
        )
        done = subprocess.run([sys.executable, "-m", "headrace", "site_of_tests"], cwd=folder,
                              capture_output=True, text=True, timeout=WAIT_S, check=False)  # fmt: skip
        assert done.returncode == 2
        assert "error: logconfig_dict: cannot be handed to workers: it has classes or functions of" in done.stderr

    def test_forwarded_allow_ips_on_a_platform(self, configured):
        process = configured(BEHIND_A_PROXY, "site_of_tests")
        assert process.get() == "hello"
        expected = not_here("forwarded_allow_ips", "workers", "worker_tmp_dir")
        assert named(process) - {"secure_scheme_headers", "preload_app"} == expected

    def test_unix_binds(self, configured, folder):
        if "umask" not in SETTINGS:
            (folder / "gunicorn.conf.py").write_text(UNIX)
            assert "gunicorn.conf.py: umask: not available here" in refused("site_of_tests")
            text = UNIX.replace("umask", "my_umask")
        else:
            text = UNIX
        process = configured(text, "site_of_tests", binds=2)
        assert process.urls[0] == f"unix:{folder}/app.sock"
        assert [process.get(url=url) for url in process.urls] == ["hello", "hello"]

    def test_a_proxy_at_a_unix_socket_is_believed_though_forwarded_allow_ips_names_others(self, configured, folder):
        (folder / "who.py").write_text(
            "def application(environ, start_response):\n"
            "    start_response('200 OK', [])\n"
            "    return [f\"{environ['REMOTE_ADDR']} {environ['wsgi.url_scheme']}\".encode()]\n"
        )
        process = configured('bind = "unix:app.sock"\nforwarded_allow_ips = "127.0.0.1"\n', "who")
        client = process.client()
        client.request("GET", "/", headers={"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"})
        assert client.getresponse().read() == b"192.0.2.7 https"
        client.close()

    def test_a_timeout_with_threads_cuts_no_request_as_there(self, configured, folder):
        text = ABORTED.replace("timeout = 1", "timeout = 1\nthreads = 2").replace("slow", "brief")
        with (folder / "site_of_tests.py").open("a") as file:
            file.write("import time\ndef brief(environ, start_response):\n    until = time.monotonic() + 2.5\n"
                       "    while time.monotonic() < until: time.sleep(0.02)\n"
                       "    return application(environ, start_response)\n")  # fmt: skip
        process = configured(text)
        assert process.get() == "hello"
        assert "gunicorn.conf.py: timeout is off here" in process.errors.text

    def test_statsd(self, configured):
        process = configured(STATSD, "site_of_tests")
        assert process.get() == "hello"
        assert named(process) == not_here("statsd_host", "statsd_prefix")
        assert "hint: no metrics are sent" in process.errors.text

    def test_folders_are_worked_out_and_a_log_file(self, command, folder, monkeypatch):
        (folder / "inner").mkdir()
        (folder / "inner" / "deep_site.py").write_text(APPLICATION)
        (folder / "gunicorn.conf.py").write_text(CHDIR)
        monkeypatch.chdir("/")
        process = subprocess.Popen([sys.executable, "-m", "headrace", "-c", str(folder / "gunicorn.conf.py")])
        try:
            log = folder / "error.log"
            wait_for_text(log, "Listening at: ")
        finally:
            process.terminate()
            assert process.wait(WAIT_S) == 0

    def test_a_folder_that_the_file_makes_and_puts_into_the_environment_is_one_for_all_processes(
        self, configured, folder
    ):
        process = configured(ONE_FOLDER, "site_of_tests")
        process.process.send_signal(signal.SIGHUP)
        process.errors.wait_for(r"ready \(generation 2\)")
        process.errors.wait_for("HR804 ")
        assert process.end() == 0
        found = {}
        for line in (folder / "hooks.log").read_text().splitlines():
            name, place = line.split()
            found.setdefault(name, []).append(place)
        first, second = found["pre_fork"]
        assert first != second, "a reload reads the file anew"
        assert found["post_fork"] == [first, second]
        assert found["on_starting"] == [first]
        assert found["child_exit"] == [second, second], "in the supervisor, which has read it last at the reload"

    def test_greenlets_become_threads(self, configured, folder):
        process = configured(GEVENT, "site_of_tests")
        assert process.get() == "hello"
        assert process.end() == 0
        assert "worker_class 'gevent' means threads here: 64" in process.errors.text
        assert int((folder / "child_exit").read_text()) > 0

    def test_tls_is_an_error_that_names_it_together_with_all_else(self, folder):
        (folder / "gunicorn.conf.py").write_text(TLS)
        errors = refused("site_of_tests")
        assert "error: gunicorn.conf.py: certfile: not available here; TLS is not spoken here" in errors
        assert "error: gunicorn.conf.py: keyfile: not available here; TLS is not spoken here" in errors
        assert "error: gunicorn.conf.py: keepalive: 'soon' is not a number of seconds" in errors


def wait_for_text(path, text):
    from wire import wait_until

    wait_until(lambda: path.exists() and text in path.read_text(), f"{text!r} in {path}", WAIT_S)


def refused(*arguments):
    """stderr of a start that ends with exit code 2."""
    done = subprocess.run(
        [sys.executable, "-m", "headrace", *arguments], capture_output=True, text=True, timeout=WAIT_S
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    return done.stderr


class TestFailingFiles:
    def test_one_that_raises_shows_its_traceback_and_no_frame_of_ours(self, folder):
        (folder / "gunicorn.conf.py").write_text("def value():\n    return 1 / 0\n\nworkers = value()\n")
        lines = refused("site_of_tests").splitlines()
        assert lines[0] == "Traceback (most recent call last):"
        assert lines[1].strip().startswith(f'File "{folder}/gunicorn.conf.py", line 4')
        assert lines[-1].endswith("gunicorn.conf.py failed: ZeroDivisionError: division by zero")

    def test_one_that_is_no_python_and_one_that_exits(self, folder):
        (folder / "gunicorn.conf.py").write_text("workers = = 3\n")
        assert "SyntaxError" in refused("site_of_tests")
        (folder / "gunicorn.conf.py").write_text("raise SystemExit(0)\n")
        assert "failed: SystemExit: 0" in refused("site_of_tests")

    def test_one_that_is_not_there(self, folder):
        assert "cannot be read: no such file or directory" in refused("site_of_tests", "-c", "missing.py")
        assert "python:hr_missing failed: ModuleNotFoundError" in refused("x", "-c", "python:hr_missing")

    def test_a_hook_that_takes_other_arguments(self, folder):
        (folder / "gunicorn.conf.py").write_text("def post_fork(worker):\n    pass\npre_fork = 'nowhere.hook'\n")
        errors = refused("site_of_tests")
        assert "gunicorn.conf.py: post_fork: <function post_fork" in errors
        assert "has to take the arguments (server, worker)" in errors
        assert "gunicorn.conf.py: pre_fork: cannot be imported: ModuleNotFoundError" in errors


class TestWhereItIs:
    def test_a_module_is_read(self, command, folder):
        Path("conf").mkdir()
        Path("conf", "__init__.py").touch()
        Path("conf", "gunicorn.py").write_text('bind = "127.0.0.1:0"\nraw_env = ["GREETING=from a module"]\n')
        assert command("site_of_tests", "-c", "python:conf.gunicorn").get() == "from a module"

    def test_gunicorn_cmd_args_go_before_the_file_and_behind_the_command_line(self, configured, monkeypatch):
        monkeypatch.setenv("GUNICORN_CMD_ARGS", "-b 127.0.0.1:0 -e 'GREETING=from the environment' --access-logfile -")
        text = 'bind = "256.0.0.1:1"\nraw_env = ["GREETING=from the file"]\n'
        process = configured(text, "site_of_tests")
        assert process.get() == "from the environment"
        assert process.end() == 0
        assert "GET /" in process.output.text
        assert configured(text, "site_of_tests", "-e", "GREETING=given").get() == "given"

    def test_port_is_where_a_platform_wants_it(self, folder, monkeypatch):
        shown = subprocess.run(
            [sys.executable, "-m", "headrace", "--print-config"],
            capture_output=True,
            text=True,
            env={**os.environ, "PORT": "5001"},
            timeout=WAIT_S,
        )
        assert 'bind = ["0.0.0.0:5001"]' in shown.stdout
        assert "# PORT\n" in shown.stdout
