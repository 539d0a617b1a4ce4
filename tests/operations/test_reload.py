"""--reload: what is served follows the files, and outlives mistakes in them."""

from __future__ import annotations

import os

import pytest
from command import WAIT_S
from wire import wait_until

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are looked at by way of /proc")

BROKEN = "import of_what_is_not_there\n"


@pytest.fixture
def version(who):
    """The source of an application whose answers begin with a name."""
    return lambda name: f"{who}\nVERSION = {name!r}\n"


@pytest.fixture(params=["inotify", "poll"])
def reloading(server, request):
    def start(application):
        if request.param == "inotify":
            pytest.importorskip("watchfiles")
        return server("--reload", "--reload-engine", request.param, application=application, workers=0)

    return start


def wait_for_version(running, name):
    wait_until(lambda: running.get().startswith(name), f"version {name}", WAIT_S)


class TestReload:
    def test_brings_new_code(self, reloading, version):
        running = reloading(version("old "))
        assert running.get().startswith("old ")
        running.write(version("new "))
        wait_for_version(running, "new ")
        running.errors.wait_for(r"HR914 Reloading: .*app\.py has changed")
        assert running.end() == 0

    def test_keeps_the_last_good_code_until_the_mistake_is_mended(self, reloading, version):
        running = reloading(version("good "))
        running.write(BROKEN)
        running.errors.wait_for("HR816 ")
        running.errors.wait_for("ModuleNotFoundError: No module named 'of_what_is_not_there'")
        assert running.get().startswith("good ")
        running.write(version("mended "))
        wait_for_version(running, "mended ")

    def test_shows_a_mistake_in_the_browser_where_no_good_code_has_been(self, reloading, version):
        running = reloading(BROKEN)
        client = running.client()
        client.request("GET", "/")
        shown = client.getresponse()
        assert shown.status == 500
        assert b"of_what_is_not_there" in shown.read()
        client.close()
        running.write(version("mended "))
        wait_for_version(running, "mended ")

    def test_is_what_shows_it_and_nothing_else_does(self, server, version):
        running = server(application=version("good "), workers=1)
        running.write(BROKEN)
        running.signal("SIGHUP")
        running.errors.wait_for("HR816 ")
        assert running.get().startswith("good ")
        assert "of_what_is_not_there" not in running.get()
