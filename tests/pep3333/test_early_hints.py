"""wsgi.early_hints: 103 responses (RFC 8297) from a WSGI application; not in PEP 3333, spelled as others spell it."""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import suppress

import pytest
from wire import PATIENCE_S, request, wait_until

LINK = ("Link", "</style.css>; rel=preload; as=style")


def hinting(*hints, late=()):
    def application(environ, start_response):
        for headers in hints:
            environ["wsgi.early_hints"](headers)
        start_response("200 OK", [("X-Answer", "1")])
        for headers in late:
            environ["wsgi.early_hints"](headers)
        return [b"body"]

    return application


def test_hints_leave_before_the_answer_is_made(serve):
    arrived = threading.Event()

    def application(environ, start_response):
        environ["wsgi.early_hints"]([LINK])
        assert arrived.wait(PATIENCE_S), "the client has not got the hints"
        start_response("200 OK", [])
        return [b"body"]

    client = serve(application).connect()
    client.send(request())
    hints = client.read_response()
    arrived.set()
    assert (hints.status, hints.reason, hints.fields) == (103, "Early Hints", [LINK])
    assert client.read_response().body == b"body"


def test_hints_may_be_given_several_times_and_with_several_fields(serve):
    client = serve(hinting([LINK], [LINK, ("Link", "</b>")], [])).connect()
    client.send(request() + request())
    for _ in range(2):
        assert [client.read_response().fields for _ in range(3)] == [[LINK], [LINK, ("Link", "</b>")], []]
        answer = client.read_response()
        assert (answer.status, answer.get("X-Answer"), answer.body) == (200, "1", b"body")


def test_hints_after_start_response_come_before_its_head(serve):
    client = serve(hinting([LINK], late=[[("Link", "</late>")]])).connect()
    client.send(request("/0") + request("/1") + request("/2"))
    for _ in range(3):
        assert [client.read_response().fields for _ in range(2)] == [[LINK], [("Link", "</late>")]]
        answer = client.read_response()
        assert (answer.status, answer.get("X-Answer"), answer.body) == (200, "1", b"body")


def test_a_great_many_hints_do_no_harm(serve):
    hints = [("Link", "<" + "l" * 4000 + ">")]
    client = serve(hinting(*[hints] * 100, late=[hints] * 100)).connect()
    client.send(request())
    assert [client.read_response().fields for _ in range(200)] == [hints] * 200
    assert client.read_response().get("X-Answer") == "1"


def test_hints_come_in_their_place_among_pipelined_answers(serve):
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/hints":
            environ["wsgi.early_hints"]([LINK])
        start_response("200 OK", [("X-Path", environ["PATH_INFO"])])
        if environ["PATH_INFO"] == "/hints":
            environ["wsgi.early_hints"]([LINK])
        return [environ["PATH_INFO"].encode()]

    client = serve(application).connect()
    client.send(request("/a") + request("/hints") + request("/b"))
    assert [client.read_response().status for _ in range(5)] == [200, 103, 103, 200, 200]


def test_hints_are_not_for_old_clients(serve):
    """RFC 8297 §3, RFC 9110 §15.2: a server MUST NOT send a 1xx response to an HTTP/1.0 client."""
    answer = serve(hinting([LINK])).exchange(request(version="1.0"))
    assert (answer.status, answer.body) == (200, b"body")


def test_hints_after_the_head_has_left_are_ignored(serve):
    def application(environ, start_response):
        start_response("200 OK", [])
        yield b"first"
        environ["wsgi.early_hints"]([LINK])
        yield b"second"

    client = serve(application).connect()
    assert client.exchange(request()).body == b"firstsecond"
    assert client.assert_open().body == b"firstsecond"


def test_hints_after_the_request_are_ignored(serve):
    kept = []

    def application(environ, start_response):
        kept.append(environ["wsgi.early_hints"])
        if len(kept) > 1:
            kept[0]([LINK])
        start_response("200 OK", [])
        return [b"body"]

    client = serve(application).connect()
    for _ in range(2):
        assert client.exchange(request()).status == 200
    kept[0]([LINK])


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ([("Link", "a\r\nX: y")], "control character"),
        ([("Li nk", "a")], "not a token"),
        ([("Link", b"a")], "must be a str, not bytes"),
        ([("Link", "€")], "latin-1"),
        ([("Link", "v" * 9000)], "longer than"),
        (None, "TypeError"),
        ([5], "TypeError"),
        ([("Content-Length", "5")], "'Content-Length' has no place in a 103 response"),
        ([("Transfer-Encoding", "chunked")], "'Transfer-Encoding' has no place in a 103 response"),
        ([("Connection", "close")], "'Connection' has no place in a 103 response"),
    ],
)
def test_wrong_hints_are_refused_before_anything_is_sent(error_of, headers, words):
    assert words in error_of(hinting(headers))


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        (5, "'int' object is not iterable"),
        ("Link", "each header must be a tuple (name, value), not str: 'L'"),
        (b"Link", "each header must be a tuple (name, value), not int: 76"),
        ({"Link": "a"}, "each header must be a tuple (name, value), not str: 'Link'"),
        (LINK, "each header must be a tuple (name, value), not str: 'Link'"),
        ([None], "each header must be a tuple (name, value), not NoneType: None"),
        ([["Link", "a"]], "each header must be a tuple (name, value), not list: ['Link', 'a']"),
        ([()], "each header must be a tuple (name, value), not tuple of 0: ()"),
        ([("Link",)], "each header must be a tuple (name, value), not tuple of 1: ('Link',)"),
        ([("Link", "a", "b")], "each header must be a tuple (name, value), not tuple of 3: ('Link', 'a', 'b')"),
        ([LINK, "Link: a"], "each header must be a tuple (name, value), not str: 'Link: a'"),
        ([(b"Link", "a")], "must be a str, not bytes: b'Link'"),
        ([("Link", None)], "must be a str, not NoneType: None"),
        ([("Link", 5)], "must be a str, not int: 5"),
        ([(None, None)], "must be a str, not NoneType: None"),
        ([("", "a")], "the header name '' is not a token"),
        ([("Link", "a\0")], "control character"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("when", ["before start_response", "behind it"])
def test_what_is_no_list_of_pairs_of_text_is_refused(error_of, headers, words, when):
    application = hinting(headers) if when == "before start_response" else hinting(late=[headers])
    assert words in error_of(application)


@pytest.mark.parametrize("kind", [list, tuple, iter], ids=["list", "tuple", "iterator"])
def test_any_iterable_of_pairs_will_do(serve, kind):
    def application(environ, start_response):
        environ["wsgi.early_hints"](kind([LINK, LINK]))
        start_response("200 OK", [])
        return [b"body"]

    client = serve(application).connect()
    assert client.exchange(request()).fields == [LINK, LINK]
    assert client.read_response().body == b"body"


HINT_BYTES_MAX = 8192
LONGEST = HINT_BYTES_MAX - len("HTTP/1.1 103 Early Hints\r\nLink: \r\n\r\n")


def test_the_longest_hints_arrive(serve):
    hints = [("Link", "v" * LONGEST)]
    client = serve(hinting(hints, hints, late=[hints])).connect()
    client.send(request())
    assert [client.read_response().fields for _ in range(3)] == [hints] * 3
    assert client.read_response().get("X-Answer") == "1"


@pytest.mark.parametrize(
    "make",
    [
        lambda: [("Link", "v" * (LONGEST + 1))],
        lambda: [("Link", "v" * (LONGEST - 1)), ("a", "")],
        lambda: [("l" * HINT_BYTES_MAX, "")],
        lambda: [("a", "b")] * 1_000_000,
        lambda: itertools.repeat(LINK),
    ],
    ids=["an octet", "a field", "a name", "a million", "no end"],
)
def test_hints_beyond_the_longest_are_refused(error_of, make):
    def application(environ, start_response):
        environ["wsgi.early_hints"](make())
        start_response("200 OK", [])
        return [b"body"]

    assert "ValueError: early hints: the response head is longer than 8192 bytes" in error_of(application)


@pytest.mark.parametrize("caught", [[5], [("Li nk", "a")], [("Link", "v" * 9000)]], ids=["type", "name", "length"])
def test_an_application_that_catches_the_error_goes_on(serve, caught):
    """The head under construction, and hints that follow, are none the worse for it."""

    def application(environ, start_response):
        early_hints = environ["wsgi.early_hints"]
        start_response("200 OK", [("X-Answer", "1")])
        with pytest.raises((TypeError, ValueError)):
            early_hints([LINK, *caught])
        early_hints([LINK])
        return [b"body"]

    client = serve(application).connect()
    for _ in range(2):
        assert client.exchange(request()).fields == [LINK]
        answer = client.read_response()
        assert (answer.status, answer.get("X-Answer"), answer.body) == (200, "1", b"body")


def test_hints_to_a_client_that_has_gone_raise_a_connection_error(serve):
    entered, gone, errors = threading.Event(), threading.Event(), []

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/other":
            start_response("200 OK", [])
            return [b"other"]
        entered.set()
        assert gone.wait(PATIENCE_S)
        try:
            for _ in range(100):
                environ["wsgi.early_hints"]([LINK])
        except ConnectionError as error:
            errors.append(error)
        start_response("200 OK", [])
        return [b"nobody reads this"]

    running = serve(application)
    client = running.connect()
    client.send(request())
    assert entered.wait(PATIENCE_S)
    client.reset()
    gone.set()
    assert running.exchange(request("/other")).body == b"other"
    wait_until(lambda: errors, "the error")
    assert len(errors) == 1


def test_hints_that_wait_for_the_client_in_another_thread_do_not_disturb_the_answer(serve):
    """The answer is begun, and suspended, while they wait."""
    body = b"".join(b"%07d\n" % number for number in range(250_000))
    sent = []
    begun, done = threading.Event(), threading.Event()

    def application(environ, start_response):
        def hint():
            with suppress(ConnectionError, RuntimeError):
                while not done.is_set():
                    environ["wsgi.early_hints"]([("Link", "x" * 7000)])
                    sent.append(1)

        if environ["SERVER_PROTOCOL"] == "HTTP/1.1":
            threading.Thread(target=hint).start()
        before = -1
        while before != len(sent):
            before = len(sent)
            time.sleep(0.1)
        start_response("200 OK", [])
        begun.set()
        return [body[at : at + 100_000] for at in range(0, len(body), 100_000)]

    client = serve(application).connect(receive_buffer_bytes=1 << 16)
    client.send(request())
    try:
        assert begun.wait(2 * PATIENCE_S)
        time.sleep(0.1)  # nobody reads, so the iteration is suspended
        assert client.read_final_response().body == body
    finally:
        done.set()
    client.send(request(version="1.0"))
    assert client.read_response().body == body
