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
    """An application that keeps one thing of "/keep", and uses it in "/use"."""

    def __init__(self, keep, use):
        self.keep = keep
        self.use = use
        self.kept = []
        self.raised = []

    def __call__(self, environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/use":
            self.raised.append(raised_by(self.use, self.kept[0]))
        write = start_response("200 OK", [("X-Path", path)])
        if path == "/use":
            self.raised.append(raised_by(self.use, self.kept[0]))
        else:
            self.kept.append(self.keep(environ, start_response, write))
        return [path.encode()]


def raised_by(use, kept):
    try:
        use(kept)
    except Exception as error:
        return error
    return None


def start_with_exc_info(start_response):
    try:
        raise LookupError
    except LookupError:
        start_response("500 Late", [("X-Late", "1")], sys.exc_info())


#: What is kept, and how it is used too late.
LATE = {
    "start_response": (lambda e, s, w: s, lambda start_response: start_response("500 Late", [("X-Late", "1")])),
    "start_response with exc_info": (lambda e, s, w: s, start_with_exc_info),
    "write": (lambda e, s, w: w, lambda write: write(b"INJECTED")),
    "write of nothing": (lambda e, s, w: w, lambda write: write(b"")),
    "write of much": (lambda e, s, w: w, lambda write: write(b"INJECTED" * 10_000)),
}


@pytest.mark.parametrize("same_connection", [True, False], ids=["same connection", "another"])
@pytest.mark.parametrize("late", LATE)
def test_late_calls_raise_and_send_nothing(serve, late, same_connection):
    application = Keeper(*LATE[late])
    running = serve(application)
    first = running.connect()
    assert first.exchange(request("/keep")).body == b"/keep"
    client = first if same_connection else running.connect()
    for _ in range(3):
        answer = client.exchange(request("/use"))
        assert (answer.status, answer.body, answer.get("X-Path"), answer.get("X-Late")) == (200, b"/use", "/use", None)
    assert len(application.raised) == 6
    for error in application.raised:
        assert isinstance(error, (RuntimeError, AssertionError, LookupError))
    client.assert_open()
    first.assert_open()


@pytest.mark.parametrize("late", LATE)
def test_late_calls_from_outside_of_any_request_raise(serve, late):
    application = Keeper(*LATE[late])
    running = serve(application)
    client = running.connect()
    client.exchange(request("/keep"))
    assert isinstance(raised_by(application.use, application.kept[0]), (RuntimeError, AssertionError, LookupError))
    client.assert_open()
    running.stop()
    assert isinstance(raised_by(application.use, application.kept[0]), (RuntimeError, AssertionError, LookupError))


@pytest.mark.parametrize("same_connection", [True, False], ids=["same connection", "another"])
@pytest.mark.parametrize("by", ["itself", "environ"])
def test_late_hints_are_not_sent_to_the_client_of_another_request(serve, by, same_connection):
    if by == "itself":
        application = Keeper(lambda e, s, w: e["wsgi.early_hints"], lambda hints: hints([("Link", "</late>")]))
    else:
        application = Keeper(lambda e, s, w: e, lambda environ: environ["wsgi.early_hints"]([("Link", "</late>")]))
    running = serve(application)
    first = running.connect()
    first.exchange(request("/keep"))
    client = first if same_connection else running.connect()
    for _ in range(3):
        assert client.exchange(request("/use")).status == 200


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
def test_a_late_write_beside_an_iteration_that_waits_raises(slow, when, has_interpreter_lock):
    kept = []

    def application(environ, start_response):
        kept.append(start_response("200 OK", []))
        return iter([b"x" * (16 << 20), b"end"])

    waiting = slow(application)
    if when == "waiting":
        words = "waiting for the client"
        if not has_interpreter_lock:  # between two calls the response is its connection's alone; the call may just end
            words += "|after the request had ended"
        with pytest.raises(RuntimeError, match=words):
            kept[0](b"INJECTED")
        assert waiting.client.read_response().body == b"x" * (16 << 20) + b"end"
    else:
        waiting.client.reset()
        wait_until(lambda: waiting.running.connection_count() == 1, "the end of the connection")
    waiting.let_the_server_work()
    with pytest.raises(RuntimeError, match="after the request had ended"):
        kept[0](b"INJECTED")


def test_a_kept_environ_is_not_used_again(serve):
    application = Keeper(lambda e, s, w: e, lambda environ: environ.update(PATH_INFO="changed", HTTP_HOST="changed"))
    client = serve(application).connect()
    for path in ("/keep", "/use", "/keep", "/keep"):
        assert client.exchange(request(path)).body == path.encode()
    assert [environ["PATH_INFO"] for environ in application.kept] == ["changed", "/keep", "/keep"]


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
    application = Keeper(lambda *everything: everything, None)
    running = serve(application)
    for _ in range(20):
        running.exchange(request("/keep"))
    wait_until(lambda: running.connection_count() == 0, "the end of the connections")
    assert len(application.kept) == 20
