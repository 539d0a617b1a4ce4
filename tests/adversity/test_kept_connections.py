"""Idle connections: what clients are told of them, who has to make room for whom, and what a hand-over leaves them."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest
import wire
from applications import House


def hello(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"hi"]


class TestKeepAliveField:
    @pytest.mark.parametrize(("version", "fields"), [("1.1", []), ("1.0", [("Connection", "keep-alive")])])
    def test_says_how_long_an_idle_connection_is_kept(self, serve, version, fields):
        with serve(hello, keep_alive=42.9).connect() as client:
            answer = client.exchange(wire.request(version=version, fields=fields))
            assert (answer.get_all("Connection"), answer.get_all("Keep-Alive")) == (["keep-alive"], ["timeout=42"])

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({}, wire.request(fields=[("Connection", "close")])),
            ({}, wire.request(version="1.0")),
            ({"keep_alive": 0}, wire.request()),
            ({"keep_alive": 0.9}, wire.request()),
            ({"keep_alive_header": False}, wire.request()),
        ],
    )
    def test_is_left_out_where_there_is_nothing_to_say(self, serve, settings, message):
        with serve(hello, **settings).connect() as client:
            assert client.exchange(message).get("Keep-Alive") is None


class TestFullHouse:
    """worker_connections is reached: who has idled for two seconds, or half of keep_alive, makes room."""

    IDLE_S = 2.0

    def idle(self, running, count):
        clients = []
        for _ in range(count):
            clients.append(running.connect())
            clients[-1].exchange(wire.request())
            time.sleep(0.01)  # an order of age
        return clients

    def test_the_oldest_idle_connection_makes_room_for_a_new_one(self, serve):
        running = serve(hello, worker_connections=3, keep_alive=60)
        oldest, *others = self.idle(running, 3)
        time.sleep(self.IDLE_S)
        with running.connect() as new:
            assert new.exchange(wire.request()).body == b"hi"
        oldest.assert_closed()
        for client in others:
            client.assert_open()

    def test_a_busy_connection_does_not(self, serve):
        house = House()
        running = serve(house, threads=4, worker_connections=3, keep_alive=60)
        busy = house.fill(running, 2)
        (idle,) = self.idle(running, 1)
        time.sleep(self.IDLE_S)
        new = running.connect()
        new.send(wire.request("/new"))
        assert new.read_response().body == b"/new"
        idle.assert_closed()
        house.open()
        for client in busy:
            assert client.read_response().status == 200

    def test_one_that_idles_later_makes_room_then(self, serve):
        """The new client waits in the backlog until somebody has idled for long enough."""
        house = House()
        running = serve(house, threads=4, worker_connections=2, keep_alive=60)
        busy = house.fill(running, 2)
        new = running.connect()
        new.send(wire.request("/new"))
        house.open()
        for client in busy:
            client.read_response()
        assert new.read_response().body == b"/new"

    def test_crowds_of_new_clients_all_get_in(self, serve):
        running = serve(hello, worker_connections=16, keep_alive=0.5)
        idle = self.idle(running, 16)
        answered = []

        def ask():
            for _ in range(10):
                with running.connect() as client:
                    answered.append(client.exchange(wire.request(fields=[("Connection", "close")])).body)

        asking = [threading.Thread(target=ask) for _ in range(8)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        assert answered == [b"hi"] * 80
        for client in idle:
            client.close()


class TestHandOver:
    """Loop.retire(): a successor serves already."""

    @pytest.fixture(params=[1, 8])
    def threads(self, request):
        return request.param

    def retire(self, running):
        running.server._worker.retire()
        wire.wait_until(lambda: refused(running), "nobody new is accepted")

    def test_idle_connections_live_on_until_their_next_request(self, serve, threads):
        running = serve(hello, threads=threads)
        clients = [running.connect() for _ in range(3)]
        for client in clients:
            client.exchange(wire.request())
        self.retire(running)
        for client in clients:
            assert running.thread.is_alive()
            answer = client.exchange(wire.request())
            assert (answer.body, answer.says_close) == (b"hi", True)
            client.assert_closed()
        running.thread.join(wire.PATIENCE_S)
        assert not running.thread.is_alive()

    def test_calls_end_and_their_answers_say_close(self, serve, threads):
        house = House()
        running = serve(house, threads=threads)
        (client,) = house.fill(running, 1)
        running.server._worker.retire()
        house.open()
        answer = client.read_response()
        assert answer.status == 200
        running.thread.join(wire.PATIENCE_S)
        assert not running.thread.is_alive()

    def test_who_was_connected_but_had_not_asked_is_answered(self, serve, threads):
        running = serve(hello, threads=threads)
        with running.connect() as client:
            wire.wait_until(lambda: running.connection_count() == 1, "it is accepted")
            self.retire(running)
            assert client.exchange(wire.request()).says_close

    def test_idle_connections_end_with_their_deadline(self, serve, threads):
        running = serve(hello, threads=threads, keep_alive=0.4)
        with running.connect() as client:
            client.exchange(wire.request())
            running.server._worker.retire()
            client.assert_closed()
        running.thread.join(wire.PATIENCE_S)
        assert not running.thread.is_alive()

    def test_idle_connections_outlive_the_graceful_timeout(self, serve, threads):
        running = serve(hello, threads=threads, graceful_timeout=0.2)
        with running.connect() as client:
            client.exchange(wire.request())
            self.retire(running)
            assert not client.has_input(0.6)
            answer = client.exchange(wire.request())
            assert (answer.body, answer.says_close) == (b"hi", True)
        running.thread.join(wire.PATIENCE_S)
        assert not running.thread.is_alive()

    def test_calls_have_the_graceful_timeout_beside_idle_connections_that_live_on(self, serve, caplog):
        house = House()
        running = serve(house, threads=4, graceful_timeout=0.3)
        with running.connect() as idle, running.connect() as held:
            idle.exchange(wire.request("/idle"))
            held.send(wire.request("/hold?password=secret"))
            house.wait_for_begun(1)
            since = time.monotonic()
            running.server._worker.retire()
            held.assert_gone()
            assert time.monotonic() - since >= 0.29
            (told,) = wire.wait_until(lambda: [said for said in caplog.messages if said.startswith("HR106")], "HR106")
            assert told == (
                "HR106 1 request was cut, more than --graceful-timeout (0.3 s) after this process was told to leave to "
                "another worker: GET /hold"
            )
            answer = idle.exchange(wire.request("/idle"))
            assert (answer.body, answer.says_close) == (b"/idle", True)
        running.thread.join(wire.PATIENCE_S)  # the held call is left behind
        assert not running.thread.is_alive()
        house.open()
        assert sum(message.startswith("HR106") for message in caplog.messages) == 1

    def test_a_call_that_begins_later_has_the_graceful_timeout_from_then_on(self, serve):
        house = House()
        running = serve(house, threads=4, graceful_timeout=0.8)
        with running.connect() as client, running.connect() as other:
            for idle in (client, other):
                idle.exchange(wire.request("/idle"))
            self.retire(running)
            assert not client.has_input(0.6)
            client.send(wire.request("/hold"))
            assert not client.has_input(0.6)
            house.open()
            assert client.read_response().body == b"/hold"
            assert other.exchange(wire.request("/idle")).says_close

    def test_a_stream_that_does_not_end_is_cut_in_its_time(self, serve, threads):
        def application(environ, start_response):
            start_response("200 OK", [])
            if environ["PATH_INFO"] == "/endless":
                while True:
                    yield b"x"
                    time.sleep(0.001)

        running = serve(application, threads=threads, graceful_timeout=0.3)
        with running.connect() as idle, running.connect() as client:
            idle.exchange(wire.request())
            client.send(wire.request("/endless"))
            client.read_head()
            since = time.monotonic()
            running.server._worker.retire()
            with contextlib.suppress(ConnectionResetError):
                client.read_until_close()
            assert 0.29 <= time.monotonic() - since < 2
            assert idle.exchange(wire.request()).says_close

    def test_calls_that_hold_all_threads_do_not_keep_it(self, serve):
        house = House()
        running = serve(house, threads=2, graceful_timeout=0.3)
        with running.connect() as idle:
            idle.exchange(wire.request("/idle"))
            house.fill(running, 2)
            running.server._worker.retire()
            idle.assert_gone()
        running.thread.join(wire.PATIENCE_S)
        assert not running.thread.is_alive()
        house.open()

    def test_a_call_whose_client_has_left_is_waited_for_no_longer_than_others(self, serve):
        house = House()
        running = serve(house, threads=2, graceful_timeout=0.5)
        (held,) = house.fill(running, 1)
        held.reset()
        since = time.monotonic()
        running.server._worker.retire()
        running.thread.join(wire.PATIENCE_S)
        assert not running.thread.is_alive()
        assert time.monotonic() - since < 3
        house.open()

    def test_a_stop_may_follow(self, serve, threads):
        running = serve(hello, threads=threads)
        with running.connect() as client:
            client.exchange(wire.request())
            self.retire(running)
            client.assert_open()
            running.thread.join(wire.PATIENCE_S)
        running = serve(hello, threads=threads)
        with running.connect() as client:
            client.exchange(wire.request())
            self.retire(running)
            running.stop()
            client.assert_closed()

    def test_health_checks_do_not_fail(self, serve, threads):
        running = serve(hello, threads=threads, health_path="/health")
        with running.connect() as client:
            client.exchange(wire.request())
            self.retire(running)
            answer = client.exchange(wire.request("/health"))
            assert (answer.status, answer.says_close) == (200, True)


def refused(running):
    try:
        running.connect().close()
    except ConnectionError:
        return True
    return False
