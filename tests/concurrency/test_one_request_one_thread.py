"""A request runs from its call to close() on one thread and in one context, also when its client makes it wait."""

from __future__ import annotations

import contextvars
import fcntl
import struct
import termios
import threading

import pytest
import wire
from applications import House

#: Blocks of 64 KiB; a UNIX socket holds three or so, so an answer of that many is suspended until its client reads.
COUNT, SIZE = 40, 65536

VAR = contextvars.ContextVar("VAR", default="unset")
FROM_BEFORE = contextvars.ContextVar("FROM_BEFORE", default="unset")


class Trace:
    """What happened to one request: (what, thread, what VAR was there)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.events: list[tuple[str, int, str]] = []
        self.faults: list[BaseException] = []
        self.closed = threading.Event()

    def note(self, what: str) -> None:
        self.events.append((what, threading.get_ident(), VAR.get()))

    @property
    def whats(self) -> list[str]:
        return [what for what, _, _ in self.events]

    @property
    def threads(self) -> set[int]:
        return {thread for _, thread, _ in self.events}


class Traced:
    """/long...: an answer that is suspended, each on another thread when `abreast` ask at once; /meet: `abreast` calls
    that are inside at once, so each of the server's threads runs one."""

    def __init__(self, abreast: int) -> None:
        self.traces: dict[str, Trace] = {}
        self.barrier = threading.Barrier(abreast)

    def __call__(self, environ, start_response):
        name = environ["PATH_INFO"]
        trace = self.traces[name] = Trace(name)
        trace.note("call")
        token = VAR.set(name)
        if name.startswith("/meet"):
            self.barrier.wait(wire.PATIENCE_S)
            start_response("200 OK", [])
            return [trace.events[0][2].encode()]
        if name.startswith("/abreast"):
            self.barrier.wait(wire.PATIENCE_S)
        start_response("200 OK", [("Content-Length", str(COUNT * SIZE))])
        return Blocks(trace, token)


class Blocks:
    def __init__(self, trace: Trace, token) -> None:
        self.trace, self.token, self.left = trace, token, COUNT

    def __iter__(self):
        return self

    def __next__(self) -> bytes:
        self.trace.note("next")
        if not self.left:
            try:
                VAR.reset(self.token)
            except BaseException as fault:
                self.trace.faults.append(fault)
            raise StopIteration
        self.left -= 1
        return b"x" * SIZE

    def close(self) -> None:
        self.trace.note("close")
        self.trace.closed.set()


def ask(running, traced, name):
    """A client whose answer has begun and does not fit into its socket."""
    client = running.connect(receive_buffer_bytes=4096)
    client.send(wire.request(name))
    return client


def wait_until_suspended(running, traced, names, threads):
    """Each thread has been free for another call meanwhile: so it has put down what it had begun."""
    wire.wait_until(lambda: all(name in traced.traces and len(traced.traces[name].events) > 1 for name in names))
    meet(running, threads)


def meet(running, threads):
    clients = [running.connect() for _ in range(threads)]
    for number, client in enumerate(clients):
        client.send(wire.request(f"/meet/{number}"))
    return [client.read_response().body for client in clients]


@pytest.mark.parametrize("threads", [1, 4])
def test_an_iterable_that_was_suspended_goes_on_on_its_thread(serve, threads):
    traced = Traced(threads)
    running = serve(traced, threads=threads, unix=True)
    names = [f"/long/{number}" for number in range(12)]
    clients = [ask(running, traced, name) for name in names]
    wait_until_suspended(running, traced, names, threads)
    for client in reversed(clients):
        assert len(client.read_response().body) == COUNT * SIZE
    for name in names:
        trace = traced.traces[name]
        assert trace.closed.wait(wire.PATIENCE_S)
        assert trace.whats == ["call", *["next"] * (COUNT + 1), "close"]
        assert len(trace.threads) == 1


@pytest.mark.parametrize("threads", [2, 4, 16])
def test_iterables_suspended_on_several_threads_each_go_on_on_their_own(serve, threads):
    traced = Traced(threads)
    running = serve(traced, threads=threads, unix=True)
    names = [f"/abreast/{number}" for number in range(threads)]
    clients = [ask(running, traced, name) for name in names]
    wait_until_suspended(running, traced, names, threads)
    for client in clients:
        assert len(client.read_response().body) == COUNT * SIZE
    assert all(traced.traces[name].closed.wait(wire.PATIENCE_S) for name in names)
    assert all(len(traced.traces[name].threads) == 1 for name in names)
    assert len({ident for name in names for ident in traced.traces[name].threads}) == threads


@pytest.mark.parametrize("threads", [1, 4, 16])
@pytest.mark.parametrize("end", ["the client closes", "the client resets", "the server stops", "the server is cut"])
def test_close_of_a_suspended_iterable_is_called_once_on_its_thread(serve, threads, end):
    traced = Traced(threads)
    running = serve(traced, threads=threads, unix=end != "the client resets", graceful_timeout=0.1)
    names = [f"/abreast/{number}" for number in range(threads)]
    clients = [ask(running, traced, name) for name in names]
    wait_until_suspended(running, traced, names, threads)
    for client in clients:
        if end == "the client closes":
            client.close()
        elif end == "the client resets":
            client.reset()
    if end.startswith("the server"):
        running.stop(graceful=end == "the server stops")
    for name in names:
        trace = traced.traces[name]
        assert trace.closed.wait(wire.PATIENCE_S)
        assert trace.whats.count("close") == 1
        assert trace.whats[-1] == "close"
        assert len(trace.threads) == 1


@pytest.mark.parametrize("threads", [1, 4])
def test_next_is_not_called_before_all_earlier_octets_have_left(serve, threads):
    """On a UNIX socket what has left is what the client has read, or can read (FIONREAD)."""
    lock = threading.Lock()  # the client does not read while next() looks
    seen: list[tuple[int, int]] = []
    clients: list[wire.Client] = []
    got = bytearray()

    def there() -> int:
        with lock:
            return len(got) + struct.unpack("i", fcntl.ioctl(clients[0].sock, termios.FIONREAD, b"\0" * 4))[0]

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", str(COUNT * SIZE))])
        for number in range(COUNT):
            seen.append((number * SIZE, there()))
            yield b"x" * SIZE

    running = serve(application, threads=threads, unix=True)
    with running.connect() as client:
        clients.append(client)
        client.send(wire.request(fields=[("Connection", "close")]))
        while True:
            client.has_input(wire.PATIENCE_S)
            with lock:
                piece = client.sock.recv(30_000)
                got += piece
            if not piece:
                break
    head = got.index(b"\r\n\r\n") + 4
    assert len(got) == head + COUNT * SIZE
    assert seen[0] == (0, 0)
    assert [visible - head for _, visible in seen[1:]] == [produced for produced, _ in seen[1:]]
    assert len(seen) == COUNT


@pytest.mark.parametrize("threads", [2, 4])
def test_a_close_that_blocks_holds_nobody_up(serve, threads):
    """That of an iterable whose client has gone: it is called by the server, outside of any other call."""
    house = House()

    class Closing(Blocks):
        def close(self) -> None:
            house.hold("close")

    def application(environ, start_response):
        start_response("200 OK", [])
        return Closing(Trace("/"), None) if environ["PATH_INFO"] == "/long" else [b"quick"]

    running = serve(application, threads=threads, unix=True)
    with running.connect() as client:
        client.send(wire.request("/long"))
        client.read_head()
    house.wait_for_begun(1)
    with running.connect() as other:
        assert other.exchange(wire.request()).body == b"quick"
    assert house.inside == 1
    house.open()


# -- contextvars ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 4])
def test_each_request_has_a_fresh_context(serve, threads):
    traced = Traced(threads)
    running = serve(traced, threads=threads)
    for _ in range(5):
        assert meet(running, threads) == [b"unset"] * threads


@pytest.mark.parametrize("threads", [1, 4])
def test_what_was_set_before_the_server_was_made_is_seen_by_every_request(serve, threads):
    barrier = threading.Barrier(threads)

    def application(environ, start_response):
        barrier.wait(wire.PATIENCE_S)
        start_response("200 OK", [])
        was = FROM_BEFORE.get()
        FROM_BEFORE.set("by a request")
        return [was.encode()]

    token = FROM_BEFORE.set("by the main program")
    try:
        running = serve(application, threads=threads)
    finally:
        FROM_BEFORE.reset(token)
    for _ in range(3):
        assert meet(running, threads) == [b"by the main program"] * threads
    assert FROM_BEFORE.get() == "unset"


@pytest.mark.parametrize("threads", [1, 4])
def test_a_suspended_iterable_finds_its_own_values_again_and_may_reset_them(serve, threads):
    traced = Traced(threads)
    running = serve(traced, threads=threads, unix=True)
    names = [f"/abreast/{number}" for number in range(threads)]
    clients = [ask(running, traced, name) for name in names]
    wait_until_suspended(running, traced, names, threads)  # other requests have run on each thread, and have set VAR
    for client in clients:
        assert len(client.read_response().body) == COUNT * SIZE
    for name in names:
        trace = traced.traces[name]
        assert trace.closed.wait(wire.PATIENCE_S)
        assert [value for _, _, value in trace.events] == ["unset", *[name] * (COUNT + 1), "unset"]
        assert trace.faults == []


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("end", ["the client closes", "the server is cut"])
def test_close_of_a_request_whose_client_has_gone_runs_in_its_context(serve, threads, end):
    traced = Traced(threads)
    running = serve(traced, threads=threads, unix=True)
    names = [f"/abreast/{number}" for number in range(threads)]
    clients = [ask(running, traced, name) for name in names]
    wait_until_suspended(running, traced, names, threads)
    if end == "the client closes":
        for client in clients:
            client.close()
    else:
        running.stop(graceful=False)
    for name in names:
        trace = traced.traces[name]
        assert trace.closed.wait(wire.PATIENCE_S)
        what, _, value = trace.events[-1]
        assert (what, value) == ("close", name)
