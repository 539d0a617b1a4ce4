"""--health-path is answered by the server itself, and fails from SIGTERM on while --drain-delay lasts."""

from __future__ import annotations

import signal
import time

import pytest
import wire
from applications import House

from headrace.config import Config, ConfigError

PATH = "/healthz"
HEALTH = wire.request(PATH)
#: The referee compares what the application is given with what was sent, and these requests are not given to it.
SETTINGS = {"health_path": PATH, "referee": False}


def hello(environ, start_response):
    start_response("200 OK", [])
    return [environ["RAW_URI"].encode()]


class TestIsAnswered:
    @pytest.mark.parametrize("threads", [1, 8])
    def test_without_the_application(self, serve, transport, threads):
        running = serve(hello, **SETTINGS, threads=threads)
        with running.connect() as client:
            for _ in range(3):
                answer = client.exchange(HEALTH)
                assert (answer.status, answer.body) == (200, b"ok\n")
                assert answer.get("Cache-Control") == "no-store"
        assert running.calls == 0

    def test_to_head_and_with_a_query_and_on_http_1_0(self, serve):
        running = serve(hello, **SETTINGS)
        with running.connect() as client:
            answer = client.exchange(wire.request(PATH, method="HEAD"), method="HEAD")
            assert (answer.status, answer.get("Content-Length")) == (200, "3")
            assert client.exchange(wire.request(PATH + "?from=balancer")).body == b"ok\n"
            assert client.exchange(wire.request(PATH, version="1.0")).says_close
            client.assert_closed()
        assert running.calls == 0

    def test_in_its_turn_among_requests_that_were_sent_together(self, serve):
        running = serve(hello, **SETTINGS)
        with running.connect() as client:
            client.send((wire.request("/a") + HEALTH) * 50)
            for _ in range(50):
                assert client.read_response().body == b"/a"
                assert client.read_response().body == b"ok\n"

    def test_while_every_thread_is_inside_the_application(self, serve):
        house = House()
        running = serve(house, **SETTINGS, threads=2)
        clients = house.fill(running, 2)
        assert running.exchange(HEALTH).body == b"ok\n"
        house.open()
        for client in clients:
            client.read_response()

    def test_after_an_incomplete_head_and_with_the_head_cut_anywhere(self, serve):
        running = serve(hello, **SETTINGS)
        for cut in wire.CUTS:
            assert running.exchange(HEALTH, cut).body == b"ok\n"


class TestGoesToTheApplication:
    @pytest.mark.parametrize("target", ["/", "/healthz/", "/healthzz", "/health", "/HEALTHZ", "/%68ealthz"])
    def test_what_only_looks_like_it(self, serve, target):
        assert serve(hello, **SETTINGS).exchange(wire.request(target)).body == target.encode()

    @pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS"])
    def test_what_does_not_only_ask(self, serve, method):
        assert serve(hello, **SETTINGS).exchange(wire.request(PATH, method=method)).body == PATH.encode()

    def test_what_has_a_body(self, serve):
        running = serve(hello, **SETTINGS)
        with running.connect() as client:
            assert client.exchange(wire.request(PATH, body=b"body")).body == PATH.encode()
            assert client.exchange(HEALTH).body == b"ok\n"

    def test_all_of_it_without_the_option(self, serve):
        assert serve(hello).exchange(HEALTH).body == PATH.encode()


class TestDraining:
    @pytest.mark.parametrize("threads", [1, 8])
    def test_goes_on_serving_and_accepting_while_health_fails(self, serve, threads):
        running = serve(hello, **SETTINGS, drain_delay=600, threads=threads)
        with running.connect() as old:
            assert old.exchange(HEALTH).status == 200
            running.server._worker.stop(drain=True)
            assert (old.exchange(HEALTH).status, old.exchange(wire.request("/a")).body) == (503, b"/a")
            with running.connect() as new:
                answer = new.exchange(HEALTH)
                assert (answer.status, answer.body) == (503, b"draining\n")
                answer = new.exchange(wire.request("/b"))
                assert (answer.body, answer.says_close) == (b"/b", False)
            running.stop()  # does not wait for the delay
            old.assert_closed()

    @pytest.mark.parametrize("threads", [1, 8])
    def test_ends_by_itself(self, serve, threads):
        running = serve(hello, **SETTINGS, drain_delay=0.3, threads=threads)
        since = time.monotonic()
        running.server._worker.stop(drain=True)
        running.thread.join(wire.PATIENCE_S)
        assert not running.thread.is_alive()
        assert time.monotonic() - since >= 0.299  # the engine's clock has milliseconds

    def test_keeps_the_answer_of_a_call_that_began_before(self, serve):
        house = House()
        running = serve(house, drain_delay=0.1, threads=2)
        (client,) = house.fill(running, 1)
        with running.connect() as idle:
            idle.exchange(HEALTH)
            running.server._worker.stop(drain=True)
            idle.assert_closed()  # the delay is over
        house.open()
        answer = client.read_response()
        assert (answer.body, answer.says_close) == (b"/hold/in-0", True)
        running.thread.join(wire.PATIENCE_S)
        assert not running.thread.is_alive()

    def test_of_a_process_begins_with_sigterm_and_not_with_sigint(self, command):
        options = ("tests/functional/apps/showing.py", "-b", "127.0.0.1:0", "--health-path", PATH, "--drain-delay")
        process = command(*options, "0.5")
        since = time.monotonic()
        process.process.send_signal(signal.SIGTERM)
        answers = []
        while not answers or answers[-1] == "ok\n":
            answers.append(process.get(PATH))
        assert answers[-1] == "draining\n"
        assert process.wait() == 0
        assert time.monotonic() - since >= 0.5
        process = command(*options, "600")
        assert process.end(signal.SIGINT) == 0

    def test_ends_with_the_second_signal(self, command):
        process = command(
            "tests/functional/apps/showing.py", "-b", "127.0.0.1:0", "--health-path", PATH, "--drain-delay", "600"
        )
        process.process.send_signal(signal.SIGTERM)
        wire.wait_until(lambda: process.get(PATH) == "draining\n", "health fails")
        assert process.end(signal.SIGTERM) == 0


def test_is_not_in_the_access_log(command, tmp_path):
    log = tmp_path / "access.log"
    process = command(
        "tests/functional/apps/showing.py", "-b", "127.0.0.1:0", "--health-path", PATH, "--access-logfile", log
    )
    process.get(PATH)
    process.get("/seen")
    assert process.end() == 0
    assert PATH not in log.read_text()
    assert "/seen" in log.read_text()


def test_does_not_change_what_the_log_says_of_the_requests_around_it(serve, tmp_path):
    """The server remembers the fields of a connection's last head, those of a health check as well."""
    path = tmp_path / "access.log"
    running = serve(hello, **SETTINGS, access_logfile=str(path), access_logformat="%(target)s %(a)s")
    with running.connect() as client:
        asked = [*4 * [("/a", "x")], (PATH, "y"), (PATH, "y"), ("/b", "y"), ("/b", "y"), ("/a", "x")]
        for target, agent in asked:
            client.exchange(wire.request(target, fields=[("User-Agent", agent)]))
    wire.wait_until(lambda: path.read_text().count("\n") == 7, "the lines")
    assert path.read_text().splitlines() == ["/a x"] * 4 + ["/b y", "/b y", "/a x"]


@pytest.mark.parametrize("path", ["healthz", "", "/healthz?full", "/a b", "http://a/healthz"])
def test_a_path_that_no_target_can_be_is_an_error_of_the_configuration(path):
    with pytest.raises(ConfigError, match="health_path: .* is no path that begins with a slash"):
        Config(health_path=path)


def test_a_drain_delay_that_no_health_check_sees_is_warned_of_at_the_start(command):
    options = ("tests/functional/apps/showing.py", "-b", "127.0.0.1:0", "--drain-delay", "0.1")
    alone = command(*options)
    assert alone.end() == 0
    assert "warning: --drain-delay without --health-path" in alone.errors.text
    both = command(*options, "--health-path", PATH)
    assert both.end() == 0
    assert "warning" not in both.errors.text
