"""--reload in the process that loads the application (headrace.process.development)."""

from __future__ import annotations

import queue
import sys

import pytest
import wire

from headrace.config import Config, ConfigError
from headrace.process import development, reloader
from headrace.process.broken import BrokenApplication
from headrace.process.development import check_reload_engine, load_or_explain, reloader_for

GOOD = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'{}']\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(reloader, "POLL_S", 0.02)
    yield tmp_path
    sys.modules.pop("hr_dev", None)


class TestLoading:
    def test_code_that_loads_is_what_is_served(self, folder):
        (folder / "hr_dev.py").write_text(GOOD)
        application, is_good = load_or_explain("hr_dev", Config())
        assert (application.__name__, is_good) == ("application", True)

    def test_code_that_does_not_is_explained_to_the_client_and_in_the_log(self, folder, serve, caplog):
        (folder / "hr_dev.py").write_text("import hr_no_such_module\n")
        application, is_good = load_or_explain("hr_dev", Config())
        assert not is_good
        assert isinstance(application, BrokenApplication)
        told = "ModuleNotFoundError: No module named 'hr_no_such_module'"
        assert told in serve(application).exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").body.decode()
        assert told in caplog.text


class TestWatching:
    def test_tells_of_changes_in_the_working_directory_and_logs_the_first(self, folder, caplog):
        (folder / "hr_dev.py").write_text(GOOD)
        told = queue.Queue()
        watching = reloader_for(Config(reload=True, reload_engine="poll"), lambda: told.put(True))
        caplog.set_level("INFO", "headrace")
        watching.start()
        try:
            (folder / "hr_dev.py").write_text(GOOD + "# changed\n")
            told.get(timeout=wire.PATIENCE_S)
        finally:
            watching.stop()
        assert f"Reloading: {(folder / 'hr_dev.py').resolve()} has changed" in caplog.text

    def test_has_the_files_of_the_settings(self, folder):
        (folder / "a.html").touch()
        (folder / "b.env").touch()
        (folder / "c.py").touch()
        config = Config(reload_extra_file="b.env", reload_include="*.html", reload_exclude="c.py")
        seen = reloader_for(config, lambda: None)._list.snapshot().files
        assert {str(folder.resolve() / name) for name in ("a.html", "b.env")} <= set(seen)
        assert str(folder.resolve() / "c.py") not in seen


def test_an_engine_that_is_not_installed_is_a_wrong_setting(monkeypatch):
    def refuse(_):
        raise ValueError("it needs a library")

    monkeypatch.setattr(development, "engine_for", refuse)
    check_reload_engine(Config(reload_engine="inotify"))
    with pytest.raises(ConfigError, match="--reload-engine: it needs a library"):
        check_reload_engine(Config(reload=True, reload_engine="inotify"))
