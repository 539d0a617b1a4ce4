"""What an application keeps of a request that is over does no harm, and says so when it is used (PEP 3333 says that
start_response and write() belong to one invocation)."""

from __future__ import annotations

import random
import sys
import threading

import pytest
from wire import PATIENCE_S, request, wait_until

from headrace.errors import ClientDisconnected


class Keeper:
    """An application that keeps everything of "/keep", and uses it in "/use" as it is told to."""

    def __init__(self, use):
        self.use = use
        self.kept = []
        self.raised = None

    def __call__(self, environ, start_response):
        write = start_response("200 OK", [("X-Path", environ["PATH_INFO"])])
        if environ["PATH_INFO"] == "/use":
            try:
                self.use(*self.kept[0])
            except Exception as error:
                self.raised = error
        else:
            self.kept.append((environ, start_response, write))
        return [environ["PATH_INFO"].encode()]


def start_again(environ, start_response, write):
    start_response("500 Late", [])


def start_with_exc_info(environ, start_response, write):
    try:
        raise LookupError
    except LookupError:
        start_response("500 Late", [], sys.exc_info())


def write_late(environ, start_response, write):
    write(b"INJECTED")


def write_much_late(environ, start_response, write):
    write(b"INJECTED" * 10_000)


USES = [start_again, start_with_exc_info, write_late, write_much_late]


@pytest.mark.parametrize("same_connection", [True, False])
@pytest.mark.parametrize("use", USES)
def test_late_calls_raise_and_send_nothing(serve, use, same_connection):
    application = Keeper(use)
    running = serve(application)
    first = running.connect()
    assert first.exchange(request("/keep")).body == b"/keep"
    client = first if same_connection else running.connect()
    answer = client.exchange(request("/use"))
    assert (answer.body, answer.get("X-Path")) == (b"/use", "/use")
    assert isinstance(application.raised, (RuntimeError, AssertionError, LookupError))
    client.assert_open()
    first.assert_open()


@pytest.mark.parametrize("use", USES)
def test_late_calls_from_outside_of_any_request_raise(serve, use):
    application = Keeper(use)
    running = serve(application)
    client = running.connect()
    client.exchange(request("/keep"))
    with pytest.raises((RuntimeError, AssertionError, LookupError)):
        use(*application.kept[0])
    client.assert_open()
    running.stop()
    with pytest.raises((RuntimeError, AssertionError, LookupError)):
        use(*application.kept[0])


def test_a_late_write_after_the_connection_has_gone_does_not_reach_another_client(serve):
    """The next connection gets the same descriptor: what is kept must not write there."""
    entered, gone, kept, raised = threading.Event(), threading.Event(), [], []

    def application(environ, start_response):
        write = start_response("200 OK", [])
        if environ["PATH_INFO"] == "/keep":
            kept.append(write)
            entered.set()
            assert gone.wait(PATIENCE_S)
            while True:
                write(b"x" * 10_000)
        try:
            kept[0](b"INJECTED")
        except Exception as error:
            raised.append(error)
        return [b"clean"]

    running = serve(application)
    client = running.connect()
    client.send(request("/keep"))
    assert entered.wait(PATIENCE_S)
    client.reset()
    gone.set()
    wait_until(lambda: running.connection_count() == 0, "the end of the connection")
    assert running.exchange(request("/use")).body == b"clean"
    assert isinstance(raised[0], (RuntimeError, ClientDisconnected))


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_late_write_after_an_error_does_not_reach_another_client(serve, version):
    kept, raised = [], []

    def application(environ, start_response):
        write = start_response("200 OK", [])
        if environ["PATH_INFO"] == "/keep":
            kept.append(write)
            write(b"part")
            raise ValueError
        try:
            kept[0](b"INJECTED")
        except Exception as error:
            raised.append(error)
        return [b"clean"]

    running = serve(application)
    client = running.connect()
    client.send(request("/keep", version=version))
    try:
        client.read_until_close()
    except ConnectionResetError:
        assert version == "1.0"
    client.close()
    wait_until(lambda: running.connection_count() == 0, "the end of the connection")
    assert running.exchange(request("/use")).body == b"clean"
    assert isinstance(raised[0], RuntimeError)


@pytest.mark.parametrize("when", ["closed by the client", "waiting"])
def test_a_late_write_beside_an_iteration_that_waits_raises(slow, when):
    kept = []

    def application(environ, start_response):
        kept.append(start_response("200 OK", []))
        return iter([b"x" * (16 << 20), b"end"])

    waiting = slow(application)
    if when == "waiting":
        with pytest.raises(RuntimeError, match="waiting for the client"):
            kept[0](b"INJECTED")
        assert waiting.client.read_response().body == b"x" * (16 << 20) + b"end"
    else:
        waiting.client.reset()
        wait_until(lambda: waiting.running.connection_count() == 1, "the end of the connection")
    waiting.let_the_server_work()
    with pytest.raises(RuntimeError, match="after the request had ended"):
        kept[0](b"INJECTED")


def test_a_kept_environ_is_not_used_again(serve):
    application = Keeper(
        lambda environ, start_response, write: environ.update(PATH_INFO="changed", HTTP_HOST="changed")
    )
    client = serve(application).connect()
    for path in ("/keep", "/use", "/keep", "/keep"):
        assert client.exchange(request(path)).body == path.encode()
    assert [environ["PATH_INFO"] for environ, _, _ in application.kept] == ["changed", "/keep", "/keep"]


def test_each_answer_is_its_own_however_much_of_those_before_is_kept(serve):
    """A response object may be used again when nobody else holds it: nothing of its last request may be seen."""
    keepers = [lambda e, s, w: None, lambda e, s, w: e, lambda e, s, w: s, lambda e, s, w: w,
               lambda e, s, w: e["wsgi.early_hints"], lambda e, s, w: e["wsgi.input"]]  # fmt: skip
    kept = []
    chance = random.Random(7)

    def application(environ, start_response):
        kind = environ["PATH_INFO"]
        number = environ["QUERY_STRING"]
        if kind == "/fails":
            raise ValueError
        headers = [("X-Number", number)]
        if kind == "/length":
            headers.append(("Content-Length", "3"))
        if kind == "/own":
            headers += [("Date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("Server", "mine")]
        write = start_response("404 Not Found" if kind == "/none" else "200 OK", headers)
        kept.append(chance.choice(keepers)(environ, start_response, write))
        if chance.random() < 0.3:
            del kept[: chance.randint(0, len(kept))]
        return {"/length": [b"abc"], "/none": [], "/two": [b"ab", b"c"], "/generator": (b for b in (b"", b"abc"))}.get(
            kind, [b"abc"]
        )

    running = serve(application)
    clients = [running.connect() for _ in range(3)]
    kinds = ["/length", "/none", "/two", "/generator", "/own", "/list", "/list", "/list"]
    for number in range(600):
        kind = chance.choice(kinds)
        if number % 50 == 49:
            assert running.exchange(request("/fails")).status == 500
        method = chance.choice(["GET", "GET", "HEAD"])
        answer = chance.choice(clients).exchange(request(f"{kind}?{number}", method=method), method=method)
        assert answer.get("X-Number") == str(number)
        assert answer.status == (404 if kind == "/none" else 200)
        assert answer.body == (b"" if kind == "/none" or method == "HEAD" else b"abc")
        assert answer.get("Server") == ("mine" if kind == "/own" else "headrace")
        if kind == "/length" or (kind == "/list" and method == "GET"):
            assert (answer.get("Content-Length"), answer.get("Transfer-Encoding")) == ("3", None)


def test_kept_things_keep_no_connection_open(serve):
    application = Keeper(write_late)
    running = serve(application)
    for _ in range(20):
        running.exchange(request("/keep"))
    wait_until(lambda: running.connection_count() == 0, "the end of the connections")
    assert len(application.kept) == 20
