"""--reload's watch (headrace.process.watch_list and .reloader), on real files and with both engines."""

from __future__ import annotations

import importlib
import os
import queue
import sys
import threading
import types

import pytest
import wire

from headrace.process import reloader as reloader_module
from headrace.process import watch_list as watch_list_module
from headrace.process.reloader import Reloader, engine_for
from headrace.process.watch_list import Snapshot, WatchList, changed


@pytest.fixture
def project(tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "wsgi.py").write_text("1")
    (tmp_path / "page.html").write_text("1")
    return tmp_path


def in_project(project, paths):
    return sorted(os.path.relpath(path, project) for path in paths if path.startswith(str(project)))


def files(project, **options):
    return in_project(project, WatchList(project, **options).snapshot().files)


class TestWhatCounts:
    def test_sources_below_the_project(self, project):
        assert files(project) == ["shop/__init__.py", "shop/wsgi.py"]

    def test_not_what_is_hidden_installed_or_a_cache(self, project):
        for folder in (".git", "__pycache__", "node_modules", "venv", "lib/site-packages"):
            (project / folder).mkdir(parents=True)
            (project / folder / "a.py").touch()
        (project / "venv" / "pyvenv.cfg").touch()
        assert files(project) == ["shop/__init__.py", "shop/wsgi.py"]

    def test_extra_files_by_name(self, project):
        assert "page.html" in files(project, extra_files=["page.html", "missing.html"])

    @pytest.mark.parametrize("pattern", ["*.html", "**/*.html", "page.*", "pag[e].html"])
    def test_files_that_a_pattern_names(self, project, pattern):
        assert "page.html" in files(project, include=[pattern])

    def test_all_files_of_a_folder_that_a_pattern_names(self, project):
        (project / "templates" / "deep").mkdir(parents=True)
        (project / "templates" / "deep" / "a.txt").touch()
        assert "templates/deep/a.txt" in files(project, include=["templates"])

    @pytest.mark.parametrize("pattern", ["wsgi.py", "shop/*.py", "shop", "*/wsgi.py", "sho[p]"])
    def test_not_what_a_pattern_excludes(self, project, pattern):
        assert "shop/wsgi.py" not in files(project, exclude=[pattern])

    def test_loaded_modules_wherever_they_are_but_for_the_standard_library(self, project):
        seen = WatchList(project).snapshot().files
        assert wire.__file__ in seen
        assert pytest.__file__ in seen, "installed ones as well"
        assert queue.__file__ not in seen

    def test_unloaded_sources_beside_loaded_packages_elsewhere(self, project, tmp_path_factory, monkeypatch):
        elsewhere = tmp_path_factory.mktemp("elsewhere")
        (elsewhere / "hr_pkg").mkdir()
        (elsewhere / "hr_pkg" / "__init__.py").touch()
        (elsewhere / "hr_pkg" / "other.py").touch()
        monkeypatch.syspath_prepend(elsewhere)
        importlib.import_module("hr_pkg")
        try:
            assert str(elsewhere / "hr_pkg" / "other.py") in WatchList(project).snapshot().files
        finally:
            sys.modules.pop("hr_pkg")

    def test_modules_that_are_odd_do_no_harm(self, project, monkeypatch):
        class Lazy(types.ModuleType):
            def __getattribute__(self, name):
                raise AssertionError("it was looked at")

        monkeypatch.setitem(sys.modules, "hr_lazy", Lazy("hr_lazy"))
        monkeypatch.setitem(sys.modules, "hr_object", object())
        monkeypatch.setitem(sys.modules, "hr_none", None)
        WatchList(project).snapshot()

    def test_nothing_below_the_root_of_the_file_system(self):
        assert WatchList("/").snapshot().roots.count("/") == 0

    def test_no_more_than_the_limit_and_says_so_once(self, project, monkeypatch, caplog):
        monkeypatch.setattr(watch_list_module, "FILES_MAX", 2)
        watched = WatchList(project)
        assert [len(watched.snapshot().files) for _ in range(2)] == [2, 2]
        assert len([record for record in caplog.records if "more than 2 files" in record.getMessage()]) == 1


class TestChanged:
    LOOK = (1, 1, 1)

    def test_tells_what_is_other_gone_and_new(self):
        before = Snapshot({"/a": self.LOOK, "/hr-gone": self.LOOK, "/same": self.LOOK})
        after = Snapshot({"/a": (2, 1, 1), "/new": self.LOOK, "/same": self.LOOK})
        assert changed(before, after) == ["/a", "/hr-gone", "/new"]

    def test_does_not_take_an_import_for_a_change(self):
        after = Snapshot({"/a": self.LOOK, "/pkg/b": self.LOOK}, frozenset({"/a"}), ("/pkg",))
        assert changed(Snapshot(), after) == []


@pytest.fixture(params=["poll", "inotify"])
def engine(request, monkeypatch):
    if request.param == "inotify":
        pytest.importorskip("watchfiles")
    monkeypatch.setattr(reloader_module, "POLL_S", 0.02)
    monkeypatch.setattr(reloader_module, "REFRESH_MS", 50)
    return request.param


@pytest.fixture
def watch(project, engine):
    """watch(**options) -> a queue of what on_change was called with, as paths in the project."""
    started = []

    def start(on_change=None, **options):
        told = queue.Queue()

        def tell(paths):
            told.put(in_project(project, paths))
            if on_change is not None:
                on_change(paths)

        started.append(Reloader(tell, WatchList(project, **options), engine))
        assert started[-1].engine == engine
        started[-1].start()
        return told

    yield start
    for reloader in started:
        reloader.stop()


def all_told(told, expected):
    """All that was told until everything that is expected is there: a change may be told in two parts."""
    seen = set()
    while not expected <= seen:
        seen.update(told.get(timeout=wire.PATIENCE_S))
    return seen


class TestWatching:
    def test_tells_of_a_changed_file(self, project, watch):
        told = watch()
        (project / "shop" / "wsgi.py").write_text("changed")
        assert told.get(timeout=wire.PATIENCE_S) == ["shop/wsgi.py"]

    def test_tells_of_a_file_that_an_editor_has_put_in_its_place(self, project, watch):
        told = watch()
        (project / "shop" / "wsgi.py~").write_text("2")
        os.replace(project / "shop" / "wsgi.py~", project / "shop" / "wsgi.py")
        assert told.get(timeout=wire.PATIENCE_S) == ["shop/wsgi.py"]

    def test_tells_of_a_new_file_and_of_one_that_is_gone(self, project, watch):
        told = watch()
        (project / "shop" / "new.py").touch()
        (project / "shop" / "wsgi.py").unlink()
        assert all_told(told, {"shop/new.py", "shop/wsgi.py"}) == {"shop/new.py", "shop/wsgi.py"}

    def test_tells_of_a_file_in_a_new_folder(self, project, watch):
        told = watch()
        (project / "pages").mkdir()
        (project / "pages" / "views.py").touch()
        assert all_told(told, {"pages/views.py"}) == {"pages/views.py"}

    def test_goes_on_in_a_folder_that_is_new(self, project, watch):
        told = watch()
        (project / "pages").mkdir()
        (project / "pages" / "views.py").touch()
        all_told(told, {"pages/views.py"})
        (project / "pages" / "models.py").touch()
        assert all_told(told, {"pages/models.py"}) <= {"pages/models.py", "pages/views.py"}

    def test_tells_of_files_that_are_configured(self, project, watch):
        told = watch(extra_files=["settings.env"], include=["*.html"], exclude=["wsgi.py"])
        (project / "shop" / "wsgi.py").write_text("excluded")
        (project / "notes.txt").write_text("not included")
        (project / "settings.env").write_text("extra")
        (project / "page.html").write_text("included")
        assert all_told(told, {"settings.env", "page.html"}) == {"settings.env", "page.html"}

    def test_tells_of_one_change_after_the_other(self, project, watch):
        told = watch()
        for number in range(3):
            (project / "shop" / "wsgi.py").write_text("x" * (number + 2))
            assert told.get(timeout=wire.PATIENCE_S) == ["shop/wsgi.py"]

    def test_tells_of_the_next_change_when_a_call_has_failed(self, project, watch, caplog):
        def fail(_):
            raise OSError("no process")

        told = watch(on_change=fail)
        for text in ("22", "333"):
            (project / "shop" / "wsgi.py").write_text(text)
            assert told.get(timeout=wire.PATIENCE_S) == ["shop/wsgi.py"]
        assert "the change could not be told" in caplog.text

    def test_ends_when_it_is_stopped(self, project, engine):
        reloader = Reloader(lambda _: None, WatchList(project), engine)
        reloader.start()
        reloader.stop()
        assert "headrace-reload" not in {thread.name for thread in threading.enumerate()}

    def test_falls_back_to_polling_where_files_cannot_be_watched(self, project, watch, engine, monkeypatch, caplog):
        if engine == "poll":
            pytest.skip("it polls anyway")
        import watchfiles

        def refuse(*_, **__):
            raise OSError("OS file watch limit reached.")

        monkeypatch.setattr(watchfiles, "watch", refuse)
        told = watch()
        (project / "shop" / "wsgi.py").write_text("changed")
        assert told.get(timeout=wire.PATIENCE_S) == ["shop/wsgi.py"]
        assert "the files are polled, for they cannot be watched: OS file watch limit reached." in caplog.text


class TestEngines:
    def test_auto_takes_inotify_where_the_library_is_there(self, monkeypatch):
        monkeypatch.setattr(reloader_module, "find_spec", lambda _: object())
        assert [engine_for(name) for name in ("auto", "inotify", "poll")] == ["inotify", "inotify", "poll"]

    def test_auto_polls_without_the_library(self, monkeypatch):
        monkeypatch.setattr(reloader_module, "find_spec", lambda _: None)
        assert engine_for("auto") == "poll"
        with pytest.raises(ValueError, match=r"headrace\[reload\]"):
            engine_for("inotify")
