"""gunicorn's server hooks (headrace.integrations): the objects that they get, and requests between two hooks."""

from __future__ import annotations

import http.client as http_client
import os
import pickle
import sys
from types import SimpleNamespace

import pytest

import headrace
from headrace.cli import main
from headrace.config import Config
from headrace.config.command_line import sources_of
from headrace.config.gunicorn_file import read_gunicorn_config
from headrace.config.gunicorn_hook_names import HOOKS, arguments_of, hook_problem
from headrace.config.gunicorn_names import NAMES
from headrace.integrations.gunicorn_cfg import GunicornConfig
from headrace.integrations.gunicorn_hooks import GunicornHooks, HooksOf
from headrace.process.application import ApplicationError
from headrace.process.listeners import close_listeners, open_listeners


def record(**more):
    return SimpleNamespace(**{"pid": os.getpid(), "ppid": 1, "age": 3, "alive": True, "aborted": False} | more)


def supervisor(**more):
    return SimpleNamespace(**{"pid": 77, "num_workers": 2, "workers": {}} | more)


def hooks_of(names=None, **hooks):
    return GunicornHooks(hooks, names or {}, Config(keep_alive=9, bind=["127.0.0.1:1", "unix:/x"]), "shop:app")


class TestObjects:
    def test_there_is_a_method_for_every_hook(self):
        for name in HOOKS:
            assert callable(getattr(GunicornHooks, name, None)) or name in ("pre_request", "post_request")

    def test_a_hook_that_is_not_there_is_not_missed(self):
        hooks = hooks_of()
        hooks.on_starting(supervisor())
        hooks.post_fork(supervisor(), record())

    def test_cfg_has_gunicorns_names_and_the_files_own(self):
        seen = []
        hooks_of({"statsd_host": "h:1"}, on_starting=lambda server: seen.append(server.cfg)).on_starting(supervisor())
        (cfg,) = seen
        assert (cfg.keepalive, cfg.loglevel, cfg.statsd_host) == (9, "info", "h:1")
        assert cfg.address == [("127.0.0.1", 1), "/x"]
        with pytest.raises(AttributeError, match="there is no setting 'nonsense' here"):
            _ = cfg.nonsense

    def test_cfg_has_gunicorns_defaults_of_what_has_no_counterpart_here(self):
        cfg = GunicornConfig(Config(), {})
        for name in NAMES:
            getattr(cfg, name)
        assert (cfg.worker_class, cfg.certfile, cfg.statsd_host) == ("gthread", None, None)
        assert (cfg.uid, cfg.gid) == (os.geteuid(), os.getegid())
        assert cfg.settings["keepalive"].get() == cfg.settings["keepalive"].value == 75
        assert cfg.proc_name == "headrace"
        names = {"worker_class": "gevent", "post_fork": print}
        cfg = GunicornConfig(Config(proc_name="shop", user="0", group="0"), names)
        assert (cfg.proc_name, cfg.worker_class, cfg.uid) == ("shop", "gevent", 0)
        assert cfg.settings["post_fork"].value is print

    def test_a_server_has_its_listeners_with_what_their_sockets_have(self):
        found = []
        hooks = hooks_of(when_ready=lambda server: found.extend(server.LISTENERS))
        listeners = open_listeners(["127.0.0.1:0"], 8)
        try:
            hooks.when_ready(supervisor(_listeners={"127.0.0.1:0": listeners[0]}))
            (one,) = found
            assert str(one) == f"http://127.0.0.1:{one.getsockname()[1]}"
            assert (one.fileno(), one.cfg_addr) == (listeners[0].socket.fileno(), one.sock.getsockname())
        finally:
            close_listeners(listeners)

    def test_a_worker_has_what_hooks_ask_for_though_it_tells_nothing(self):
        found = []
        hooks_of(post_worker_init=found.append).post_worker_init(record())
        assert (found[0].sockets, list(found[0].PIPE), found[0].reloader) == ([], [], None)

    def test_what_a_hook_stores_on_a_worker_is_found_by_the_next_one_in_the_same_process(self):
        found = []
        hooks = hooks_of(
            pre_fork=lambda server, worker: setattr(worker, "mark", server.pid),
            child_exit=lambda server, worker: found.append((worker.mark, worker.age)),
        )
        hooks.pre_fork(supervisor(), record())
        hooks.child_exit(supervisor(), record(pid=5, alive=False))
        assert found == [(77, 3)]

    def test_the_workers_of_a_server_are_there_by_pid(self):
        found = []
        hooks = hooks_of(when_ready=lambda server: found.append({p: w.age for p, w in server.WORKERS.items()}))
        hooks.when_ready(supervisor(workers={5: record(pid=5, age=1), 6: record(pid=6, age=2)}))
        assert found == [{5: 1, 6: 2}]

    def test_a_worker_that_has_gone_is_signalled_in_vain_and_one_without_a_process_never(self, monkeypatch):
        hooks = hooks_of(pre_fork=lambda server, worker: server.kill_worker(worker.pid, 15))
        with pytest.raises(ValueError, match="0 is no worker's process id"):
            hooks.pre_fork(supervisor(), record(pid=0))
        sent = []

        def kill(*arguments):
            sent.append(arguments)
            raise ProcessLookupError

        monkeypatch.setattr(os, "kill", kill)
        hooks = hooks_of(on_reload=lambda server: server.kill_workers(15))
        hooks.on_reload(supervisor(workers={5: record(pid=5, age=1), 6: record(pid=6, age=2)}))
        assert sent == [(5, 15), (6, 15)]

    def test_what_fails_at_the_start_ends_it_and_what_fails_later_is_logged(self, caplog):
        def fail(*_arguments):
            raise RuntimeError("on purpose")

        hooks = hooks_of(on_starting=fail, on_exit=fail)
        with pytest.raises(RuntimeError):
            hooks.on_starting(supervisor())
        hooks.on_exit(supervisor())
        assert "The hook on_exit has failed" in caplog.text

    def test_can_be_made_again_in_another_process(self, tmp_path):
        path = tmp_path / "gunicorn.conf.py"
        path.write_text("seen = []\ndef on_starting(server):\n    seen.append(server.pid)\n")
        make = pickle.loads(pickle.dumps(HooksOf(str(path), "shop:app")))
        hooks = make(Config())
        hooks.on_starting(supervisor())
        assert hooks._cfg.seen == [77]


class TestReadingAgain:
    """The supervisor has read the file; a template, which is a new program, runs it again."""

    @pytest.fixture
    def path(self, tmp_path, monkeypatch):
        monkeypatch.delenv("HR_FOLDER", raising=False)
        monkeypatch.setattr(sys, "path", sys.path[:])
        path = tmp_path / "gunicorn.conf.py"
        path.write_text(
            "import os, tempfile\nfolder = os.environ['HR_FOLDER'] = tempfile.mkdtemp(dir=os.path.dirname(__file__))\n"
            "def on_exit(server): pass\n"
        )
        yield path
        os.environ.pop("HR_FOLDER", None)

    def made(self, path):
        return [folder for folder in path.parent.iterdir() if folder.is_dir()]

    def test_the_process_that_has_read_it_does_not_run_it_again(self, path):
        context = main.make_context("headrace", ["-c", str(path)])
        last = [sources_of(main, context.params, [], {}, path.parent).read()]
        make = HooksOf(str(path), "shop:app", lambda: last[0])
        assert make(Config())._cfg.folder == last[0].gunicorn_names["folder"]
        assert len(self.made(path)) == 1
        assert make(Config())._hooks == dict(last[0].hooks)

    def test_a_variable_that_the_first_reading_has_set_keeps_its_value(self, path):
        read_gunicorn_config(str(path))
        before = os.environ["HR_FOLDER"]
        make = pickle.loads(pickle.dumps(HooksOf(str(path), "shop:app", lambda: None)))
        assert make(Config())._cfg.folder != before
        assert os.environ["HR_FOLDER"] == before

    def test_a_failure_is_told_in_a_sentence_and_with_the_files_own_traceback(self, path):
        path.write_text("def on_exit(server): pass\nopen('/nowhere/at/all')\n")
        with pytest.raises(ApplicationError) as caught:
            HooksOf(str(path), "shop:app")(Config())
        assert str(caught.value).startswith("the configuration cannot be read again for its hooks: /")
        assert "once in each template" in caught.value.hint
        assert f'File "{path}", line 2' in caught.value.details


class Closing:
    closed = 0

    def __iter__(self):
        yield b"ab"
        yield b"c"

    def close(self):
        type(self).closed += 1


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/fail":
        raise RuntimeError("on purpose")
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/write":
        write(b"written ")
    return Closing() if path == "/iterable" else [b"hello"]


def answers(hooks, *paths):
    """Status, Content-Length and body of each answer."""
    with headrace.Server(hooks.wrap(application, record()), port=0, threads=1) as server:
        found = []
        for path in paths:
            connection = http_client.HTTPConnection("127.0.0.1", server.port, timeout=10)
            connection.request("GET", path)
            answer = connection.getresponse()
            found.append((answer.status, answer.getheader("Content-Length"), answer.read()))
            connection.close()
    return found


class TestRequests:
    def test_without_their_hooks_the_application_is_itself(self):
        assert hooks_of(on_starting=print).wrap(application, record()) is application

    def test_answers_are_what_they_are_without_hooks(self):
        seen = []
        hooks = hooks_of(post_request=lambda worker, req, environ, resp: seen.append((req.path, resp.sent)))
        (plain, stream, written, failed) = answers(hooks, "/", "/iterable", "/write", "/fail")
        assert plain == (200, "5", b"hello"), "Content-Length of one block"
        assert stream == (200, None, b"abc")
        assert Closing.closed == 1
        assert written[2] == b"written hello"
        assert failed[0] == 500
        assert seen == [("/", 5), ("/iterable", 3), ("/write", 13), ("/fail", 0)]

    def test_a_pre_request_that_fails_is_a_500(self):
        def pre_request(worker, req):
            raise ValueError(req.path)

        assert answers(hooks_of(pre_request=pre_request), "/")[0][0] == 500

    def test_a_post_request_with_fewer_arguments_is_called_with_as_many(self):
        seen = []
        assert answers(hooks_of(post_request=lambda worker, req: seen.append(worker.nr)), "/", "/")[1][0] == 200
        assert seen == [1, 2]

    def test_a_post_request_that_fails_changes_nothing(self, caplog):
        def post_request(worker, req):
            raise ValueError("on purpose")

        assert answers(hooks_of(post_request=post_request), "/")[0] == (200, "5", b"hello")
        assert "The hook post_request has failed" in caplog.text


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("when_ready", "(server)"),
        ("worker_int", "(worker)"),
        ("post_fork", "(server, worker)"),
        ("nworkers_changed", "(server, new_value, old_value)"),
        ("post_request", "(worker, req, environ, resp), or the first 3 or 2 of these"),
    ],
)
def test_a_hook_of_other_arguments_is_told_which_it_has_to_take(name, arguments):
    assert hook_problem(name, lambda: None).endswith(f" has to take the arguments {arguments}")


def test_all_hooks_have_as_many_arguments_as_gunicorn_gives():
    assert {name: len(arguments_of(name)) for name in HOOKS} == {name: counts[0] for name, counts in HOOKS.items()}
