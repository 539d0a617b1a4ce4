"""Connections: too many, too few descriptors, and clients that vanish."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator

import pytest
import verdict
import wire
from applications import Blocks, Gate


def test_accepting_stops_at_the_limit_and_goes_on_when_one_closes(serve, transport):
    running = serve(verdict.echo, worker_connections=3)
    for _ in range(3):
        first = [running.connect() for _ in range(3)]
        for client in first:
            assert client.exchange(verdict.GOOD).status == 200
        waiting = [running.connect() for _ in range(2)]
        for client in waiting:
            client.send(verdict.GOOD)
        assert first[0].exchange(verdict.GOOD).status == 200  # turns of the loop
        assert not waiting[0].has_input(0.05)
        assert running.connection_count() == 3
        for gone, next_one in zip(first, waiting, strict=False):
            gone.close()
            assert next_one.read_response().status == 200
        assert running.connection_count() == 3
        for client in [*first, *waiting]:
            client.close()
        wire.wait_until(lambda: running.connection_count() == 0, "all gone")


def test_accepting_goes_on_when_refused_connections_close(serve):
    running = serve(verdict.echo, worker_connections=1)
    for _ in range(10):
        with running.connect() as client:
            assert client.exchange(b"BAD\r\n").status == 400
            client.assert_closed()
    assert running.exchange(verdict.GOOD).status == 200


def test_running_out_of_descriptors_is_a_pause_and_not_a_busy_loop(serve_apart):
    apart = serve_apart("resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))")
    clients = [apart.connect() for _ in range(60)]
    for client in clients:
        client.send(verdict.GOOD)
    wire.wait_until(lambda: sum(client.has_input() for client in clients) > 5, "the first answers")
    clients[0].has_input(0.3)
    served = [client for client in clients if client.has_input()]
    assert 5 < len(served) < 40
    for client in served:
        assert client.read_response().status == 200
    busy_since, since = apart.cpu_s(), time.monotonic()
    while time.monotonic() - since < 0.5:
        assert served[0].exchange(verdict.GOOD).status == 200
        time.sleep(0.02)
    assert apart.cpu_s() - busy_since < 0.2
    rest = [client for client in clients if client not in served]
    for client in served:
        client.close()
    for client in rest:
        assert client.read_response().status == 200
        client.close()
    apart.stop()
    assert "descriptors" in apart.errors


def test_a_body_for_whose_file_no_descriptor_is_left_gets_503(serve_apart):
    apart = serve_apart("resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))")
    upload = wire.request(method="POST", body=b"x" * 700_000)
    with apart.connect() as client:
        assert client.exchange(upload).body == b"x" * 700_000
        others = []
        while apart.descriptors() < 40:
            others.append(apart.connect())
            others[-1].send(verdict.GOOD)
            if others[-1].has_input(0.1):
                assert others[-1].read_response().status == 200
        files = apart.descriptors()
        client.send(upload, may_break=True)
        assert client.read_response().status == 503
        client.assert_closed()
        wire.wait_until(lambda: apart.descriptors() <= files, "its descriptor to come back")
    for other in others:
        other.close()
    with apart.connect() as client:
        assert client.exchange(upload).body == b"x" * 700_000


class TestResets:
    """RST at bad moments: the client is gone, everybody else is served, close() is called, nothing is left."""

    @staticmethod
    def assert_well(running) -> None:
        with running.connect() as client:
            assert client.exchange(verdict.GOOD).status == 200
        wire.wait_until(lambda: running.connection_count() == 0, "every connection gone")

    def test_before_a_word(self, serve, transport):
        running = serve(verdict.echo)
        for _ in range(50):
            running.connect().reset()
        self.assert_well(running)

    @pytest.mark.parametrize("message", [b"GET / HT", verdict.GOOD, b"BAD\r\n", verdict.GOOD * 50], ids=repr)
    def test_right_behind_the_message(self, serve, transport, message):
        running = serve(verdict.echo)
        for _ in range(50):
            client = running.connect()
            client.send(message)
            client.reset()
        self.assert_well(running)

    def test_while_it_waits_to_be_accepted(self, serve, transport):
        gate = Gate()
        running = serve(gate)
        with running.connect() as holder:
            holder.send(wire.request("/gate"))
            gate.wait_inside()
            for number in range(30):
                client = running.connect()
                if number % 3:
                    client.send(verdict.GOOD[: number * 2])
                client.reset()
            gate.open()
            assert holder.read_response().body == b"done"
        self.assert_well(running)

    @pytest.mark.parametrize("behind", [b"", verdict.GOOD * 3, b"BAD\r\n", b"GET"], ids=repr)
    def test_while_the_application_runs(self, serve, transport, behind):
        gate = Gate(b"x" * 1_000_000)
        running = serve(gate)
        client = running.connect()
        client.send(wire.request("/gate") + behind)
        gate.wait_inside()
        client.reset()
        gate.open()
        wire.wait_until(lambda: running.connection_count() == 0, "the connection gone")
        self.assert_well(running)

    def test_while_the_response_waits(self, serve, transport):
        blocks = Blocks(1000)
        running = serve(blocks)
        for number in range(1, 6):
            client = running.connect(receive_buffer_bytes=4096)
            client.send(wire.request("/blocks") + verdict.GOOD)
            client.read_head()
            client.read_exactly(10)
            client.reset()
            wire.wait_until(lambda expected=number: blocks.closed == expected, "close()")
        self.assert_well(running)

    def test_while_a_file_is_sent(self, serve, transport, tmp_path):
        (tmp_path / "large").write_bytes(b"x" * 20_000_000)
        files = []

        def application(environ, start_response):
            start_response("200 OK", [])
            if environ["PATH_INFO"] == "/good":
                return [b"ok"]
            files.append((tmp_path / "large").open("rb"))
            return environ["wsgi.file_wrapper"](files[-1])

        running = serve(application)
        for _ in range(3):
            client = running.connect(receive_buffer_bytes=4096)
            client.send(wire.request())
            client.read_head()
            client.reset()
            wire.wait_until(lambda: files[-1].closed, "close()")
        self.assert_well(running)

    @pytest.mark.parametrize("size", [10, 700_000])
    def test_while_the_body_arrives(self, serve, transport, size):
        running = serve(verdict.echo)
        for framing in (b"Content-Length: 1000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n"):
            client = running.connect()
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"x" * size)
            client.reset()
        self.assert_well(running)
        assert running.targets == ["/good"]

    def test_while_the_connection_lingers(self, serve, transport):
        running = serve(verdict.echo, linger_timeout=30)
        for _ in range(10):
            client = running.connect()
            client.send(b"BAD\r\n")
            assert client.read_response().status == 400
            client.reset()
        self.assert_well(running)

    def test_while_the_connection_is_idle(self, serve, transport):
        running = serve(verdict.echo)
        for _ in range(10):
            client = running.connect()
            client.exchange(verdict.GOOD)
            client.reset()
        self.assert_well(running)


def test_two_thousand_connections_one_after_the_other(serve, transport):
    running = serve(verdict.echo)
    for _ in range(1000):
        with running.connect() as client:
            client.send(wire.request(fields=[("Connection", "close")]))
            assert client.read_response().says_close
    wire.wait_until(lambda: running.connection_count() == 0, "all gone")


def test_five_hundred_connections_at_once(serve, transport):
    running = serve(verdict.echo)
    clients = [running.connect() for _ in range(400)]
    for _ in range(2):
        for client in clients:
            client.send(verdict.GOOD)
        for client in clients:
            assert client.read_response().status == 200
    assert running.connection_count() == 400


CROWD = 10_000


@pytest.fixture
def room_for_a_crowd() -> Iterator[None]:
    """Descriptors for the clients, here; the server sees to its own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CROWD + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"{CROWD} connections need {wanted} descriptors in each of two processes; the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_ten_thousand_connections_cost_what_is_documented_and_keep_nobody_waiting(serve_apart, room_for_a_crowd):
    """Idle ones, silent ones, and unfinished heads and bodies; see "Memory" in SECURITY.md."""
    apart = serve_apart(
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({CROWD + 500}, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))",
        worker_connections=CROWD + 1, keep_alive=600, head_timeout=600, body_timeout=600,
    )  # fmt: skip
    upload = wire.request(method="POST", body=b"x" * 1000)
    with apart.connect() as first:
        assert first.exchange(verdict.GOOD).status == 200
    files, memory = apart.descriptors(), apart.resident_bytes()
    clients = []
    for number in range(CROWD):
        client = apart.connect()
        clients.append(client)
        client.send((verdict.GOOD, b"", verdict.GOOD[:-2], upload[:-500])[number % 4])
        if number % 4 == 0:
            assert client.read_response().body == b"hello"
    with apart.connect() as fresh:
        assert fresh.exchange(verdict.GOOD).body == b"hello"
        wire.wait_until(lambda: apart.descriptors() >= files + CROWD, "so many connections")
        apart.assert_grown_less(CROWD * 5 * 1024, memory)
        for number, client in list(enumerate(clients))[:: CROWD // 100 + 1]:  # of each kind some
            client.send((verdict.GOOD, verdict.GOOD, b"\r\n", upload[-500:])[number % 4])
            assert client.read_response().body == (b"x" * 1000 if number % 4 == 3 else b"hello")
        assert fresh.exchange(verdict.GOOD).body == b"hello"
    for client in clients:
        client.reset()
    wire.wait_until(lambda: apart.descriptors() <= files, f"{files} descriptors", 4 * wire.PATIENCE_S)
    with apart.connect() as fresh:
        assert fresh.exchange(verdict.GOOD).body == b"hello"
