"""The same requests to wsgiref's server and to the engine: every octet but the date, environ, stderr."""

from __future__ import annotations

import re
import socket
from wsgiref.util import FileWrapper

import pytest

GET = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"


def plain():
    """A list of its own for each answer: wsgiref adds to it."""
    return [("Content-Type", "text/plain")]


def hello(environ, start_response):
    start_response("200 OK", plain())
    return [b"hello\n"]


def same(answers):
    theirs, ours = answers
    assert ours.octets == theirs.octets
    assert ours.environ == theirs.environ
    assert list(ours.environ or ()) == list(theirs.environ or ())
    assert ours.log == theirs.log
    return ours


class TestRequests:
    @pytest.mark.parametrize(
        "request_octets",
        [
            GET,
            b"GET / HTTP/1.0\r\n\r\n",
            b"GET /?a=b?c&d HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET /a%20b/%C3%A9%2f?x=%20 HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET //evil.example/%2e HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET http://other.example/path?q HTTP/1.1\r\nHost: h\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
            b"FROB / HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nCookie: a=1\r\nCookie: b=2\r\nX-Y: 1\r\nx-y: 2\r\nX-Y:\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nX-Latin: \xe9\xa0\r\nX-Pad: \t a b \t \r\nX-Empty:\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nRemote-Addr: 6.6.6.6\r\nServer-Name: evil\r\nPath-Info: /p\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\nKeep-Alive: 300\r\n\r\n",
            b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Type: text/x;charset=y\r\nContent-Length: 3\r\n\r\nabc",
            b"POST /p HTTP/1.0\r\nContent-Length: 0\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nContent-Type:\r\n\r\n",
        ],
        ids=lambda octets: re.sub(r"[^\w/*?.]+", "_", octets.decode("latin-1"))[:40],
    )
    def test_are_told_to_the_application_alike(self, both, request_octets):
        same(both(hello, request_octets))

    def test_from_a_client_that_shuts_its_side_down_are_answered(self, start):
        with start(hello).connect() as client:
            client.sendall(GET)
            client.shutdown(socket.SHUT_WR)
            assert client.makefile("rb").read().endswith(b"hello\n")

    def test_of_the_process_environment_are_alike(self, both):
        assert "PATH" in same(both(hello, GET)).environ

    def test_have_their_body_in_wsgi_input(self, both):
        def echo(environ, start_response):
            start_response("200 OK", plain())
            return [environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))]

        head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n"
        assert same(both(echo, head, b"x" * 100_000)).octets.endswith(b"x" * 100_000)


def two_blocks(environ, start_response):
    start_response("200 OK", plain())
    return [b"one", b"two"]


def generator(environ, start_response):
    start_response("200 OK", plain())
    yield b""
    yield b"one"
    yield b"two"


def no_blocks(environ, start_response):
    start_response("200 OK", plain())
    return []


def empty_block(environ, start_response):
    start_response("200 OK", plain())
    return [b""]


def own_length(environ, start_response):
    start_response("404 Not There", [("Content-Length", "3"), ("X-A", "1"), ("X-A", "2")])
    return iter([b"a", b"bc"])


def own_date_and_server(environ, start_response):
    start_response("200 OK", [("Server", "mine"), ("Date", "today")])
    return [b"x"]


def writes(environ, start_response):
    write = start_response("200 OK", plain())
    write(b"written ")
    write(b"twice ")
    return [b"returned"]


def replaces_its_head(environ, start_response):
    start_response("200 OK", plain())
    try:
        raise KeyError("x")
    except KeyError:
        import sys

        start_response("503 Later", [("X-Why", "x")], sys.exc_info())
    return [b"later"]


def big(environ, start_response):
    start_response("200 OK", plain())
    return [b"x" * 3_000_000]


def big_head(environ, start_response):
    start_response("200 OK", [("X-Big", "y" * 30_000)])
    return [b"x" * 30_000]


def wraps_a_file(environ, start_response):
    import io

    assert environ["wsgi.file_wrapper"] is FileWrapper
    start_response("200 OK", plain())
    return environ["wsgi.file_wrapper"](io.BytesIO(b"f" * 20_000))


APPLICATIONS = [
    hello, two_blocks, generator, no_blocks, empty_block, own_length, own_date_and_server, writes, replaces_its_head,
    big, big_head, wraps_a_file,
]  # fmt: skip


class TestAnswers:
    @pytest.mark.parametrize("application", APPLICATIONS, ids=lambda application: application.__name__)
    def test_are_alike_and_so_are_the_access_lines(self, both, application):
        ours = same(both(application, GET))
        assert '"GET / HTTP/1.1"' in ours.log

    @pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
    def test_without_a_body_are_alike(self, both, status):
        def bodiless(environ, start_response):
            start_response(status.decode(), [("X-A", "b")])
            return [b""]

        same(both(bodiless, GET))


def fails(environ, start_response):
    raise LookupError("no such thing")


def fails_with_a_head(environ, start_response):
    start_response("200 OK", plain())
    raise LookupError("no such thing")


def body_of_str(environ, start_response):
    start_response("200 OK", plain())
    return ["text"]


def status_of_bytes(environ, start_response):
    start_response(b"200 OK", plain())
    return [b""]


def no_start_response(environ, start_response):
    return [b"x"]


def returns_nothing(environ, start_response):
    start_response("200 OK", plain())


def hop_by_hop(environ, start_response):
    start_response("200 OK", [("Connection", "close")])
    return [b""]


def starts_twice(environ, start_response):
    start_response("200 OK", plain())
    start_response("200 OK", plain())
    return [b""]


FAILING = [
    fails, fails_with_a_head, body_of_str, status_of_bytes, no_start_response, returns_nothing,
    hop_by_hop, starts_twice,
]  # fmt: skip


def last_lines(log):
    """Of each traceback what was raised; the frames are each server's own."""
    return [line for line in log.splitlines() if not line.startswith((" ", "Traceback"))]


class TestFailures:
    @pytest.mark.parametrize("application", FAILING, ids=lambda application: application.__name__)
    def test_are_answered_and_reported_alike(self, both, application):
        theirs, ours = both(application, GET)
        assert ours.octets == theirs.octets
        assert last_lines(ours.log) == last_lines(theirs.log)
        assert "Error" in ours.log

    @pytest.mark.parametrize("error", [LookupError, BrokenPipeError, SystemExit])
    @pytest.mark.parametrize("writes", ["yields", "calls write()", "large blocks"])
    def test_within_a_body_without_a_length_end_in_a_reset_and_not_as_a_whole_one(self, start, capsys, writes, error):
        """BrokenPipeError, of the application's own backend, is what wsgiref says nothing of."""
        block = b"x" * 3_000_000 if writes == "large blocks" else b"half"

        def application(environ, start_response):
            write = start_response("200 OK", plain())
            if writes == "calls write()":
                write(block)
                raise error("no such thing")
            return blocks()

        def blocks():
            yield block
            yield block
            raise error("no such thing")

        with pytest.raises(ConnectionResetError):
            start(application).ask(GET)
        assert "no such thing" in capsys.readouterr().err or error is BrokenPipeError

    def test_within_a_body_with_a_length_leave_it_too_short(self, both):
        def application(environ, start_response):
            start_response("200 OK", [*plain(), ("Content-Length", "8")])
            yield b"half"
            raise LookupError("no such thing")

        theirs, ours = both(application, GET)
        assert ours.octets == theirs.octets
        assert ours.octets.endswith(b"\r\n\r\nhalf")
        assert last_lines(ours.log) == last_lines(theirs.log)

    def test_behind_a_body_leave_it_whole(self, both):
        class Body(list):
            def close(self):
                raise LookupError("no such thing")

        def application(environ, start_response):
            start_response("200 OK", plain())
            return Body([b"a", b"b"])

        theirs, ours = both(application, GET)
        assert ours.octets == theirs.octets
        assert "LookupError: no such thing" in ours.log

    def test_of_a_body_of_str_show_the_rule(self, both):
        _, ours = both(body_of_str, GET)
        assert "AssertionError: write() argument must be a bytes instance" in ours.log
        assert ours.octets.endswith(b"A server error occurred.  Please contact the administrator.")

    def test_of_a_status_of_bytes_show_the_rule(self, both):
        _, ours = both(status_of_bytes, GET)
        assert "Status must be of type str (got b'200 OK')" in ours.log

    def test_keyboard_interrupt_in_an_application_is_answered_as_a_failure(self, both):
        """What it does to serve_forever() differs: test_serving.py."""

        def interrupts(environ, start_response):
            raise KeyboardInterrupt

        theirs, ours = both(interrupts, GET)
        assert ours.octets == theirs.octets


CONTROLS = ["\r\nX-Smuggled: 1", "\n", "\r", "\0", "\x1f", "\x7f"]


class TestControlCharacters:
    @pytest.mark.parametrize("control", CONTROLS)
    @pytest.mark.parametrize(
        ("status", "name", "value"), [("200 OK%s", "X-A", "b"), ("200 OK", "X-A%s", "b"), ("200 OK", "X-A", "b%sc")]
    )
    def test_of_an_application_are_refused_where_it_calls_start_response(
        self, start, capsys, control, status, name, value
    ):
        status, name, value = (part.replace("%s", control) for part in (status, name, value))
        seen = []

        def splits(environ, start_response):
            try:
                start_response(status, [(name, value)])
            except ValueError as error:
                seen.append(str(error))
                raise
            return [b"never sent"]

        octets = start(splits).ask(GET)
        assert octets.startswith(b"HTTP/1.0 500 Internal Server Error\r\n")
        assert b"Smuggled" not in octets
        # Newer Pythons' wsgiref.headers refuses fields itself, and does not show them.
        shown = [repr(control)[1:-1] in message or message.startswith("Control characters") for message in seen]
        assert shown == [True]
        assert f"ValueError: {seen[0]}" in capsys.readouterr().err

    def test_put_into_the_list_after_start_response_are_refused_as_well(self, start, capsys):
        def splits(environ, start_response):
            headers = plain()
            start_response("200 OK", headers)
            headers.append(("X-A", "b\r\nX-Smuggled: 1"))
            return [b"never sent"]

        octets = start(splits).ask(GET)
        assert octets.startswith(b"HTTP/1.0 500 ")
        assert b"Smuggled" not in octets
        message = "ValueError: the header field has a control character: 'X-A': 'b\\r\\nX-Smuggled: 1'"
        assert message in capsys.readouterr().err

    def test_that_are_none_are_sent_alike(self, both):
        def tabs(environ, start_response):
            start_response("200 O\tK \xe9", [("X-A", "b\tc \xa0\x85\xe9")])
            return [b"x"]

        same(both(tabs, GET))


class TestClose:
    @pytest.mark.parametrize("fails_in", ["nowhere", "iteration"])
    def test_is_called_once_alike(self, both, fails_in):
        length = [("Content-Length", "2")] if fails_in == "iteration" else []  # without one: a reset
        calls = []

        class Result:
            def __iter__(self):
                yield b"x"
                if fails_in == "iteration":
                    raise LookupError

            def close(self):
                calls.append("close")

        def application(environ, start_response):
            start_response("200 OK", [*plain(), *length])
            return Result()

        theirs, ours = both(application, GET)
        assert ours.octets == theirs.octets
        assert calls == ["close", "close"]


class TestDifferencesThatAreDocumented:
    def test_head_gets_no_body(self, both):
        theirs, ours = both(hello, b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert ours.octets + b"hello\n" == theirs.octets
        assert ours.log == theirs.log

    def test_no_body_passes_its_content_length(self, both):
        def too_long(environ, start_response):
            start_response("200 OK", [("Content-Length", "2")])
            return [b"abc"]

        theirs, ours = both(too_long, GET)
        assert ours.octets + b"c" == theirs.octets

    def test_underscored_and_proxy_fields_are_left_out(self, both):
        theirs, ours = both(hello, b"GET / HTTP/1.1\r\nHost: h\r\nX_A: 1\r\nProxy: evil\r\n\r\n")
        assert theirs.environ == {**ours.environ, "HTTP_X_A": "1", "HTTP_PROXY": "evil"}

    def test_write_past_the_content_length_raises_in_the_application(self, start):
        seen = []

        def writes_on(environ, start_response):
            write = start_response("200 OK", [("Content-Length", "2")])
            try:
                write(b"abc")
            except ValueError as error:
                seen.append(str(error))
            return []

        assert start(writes_on).ask(GET).endswith(b"\r\n\r\nab")
        assert seen == ["write() went past the Content-Length of 2 (PEP 3333, 'Handling the Content-Length Header')"]

    def test_head_ends_the_iteration_early_and_the_access_line_counts_what_was_iterated(self, both):
        theirs, ours = both(two_blocks, b"HEAD / HTTP/1.0\r\n\r\n")
        assert theirs.log == '127.0.0.1 - - [] "HEAD / HTTP/1.0" 200 6\n'
        assert ours.log == '127.0.0.1 - - [] "HEAD / HTTP/1.0" 200 3\n'

    def test_refusals_are_headraces_own_and_have_no_access_line(self, both):
        theirs, ours = both(hello, b"GET /\x7f HTTP/1.0\r\n\r\n")
        assert theirs.environ is not None
        assert ours.octets.startswith(b"HTTP/1.1 400 Bad Request\r\nServer: headrace\r\n")
        assert (ours.log, ours.environ) == ("", None)

    def test_chunked_bodies_are_decoded(self, start):
        def echo(environ, start_response):
            start_response("200 OK", plain())
            assert "HTTP_TRANSFER_ENCODING" not in environ
            return [environ["CONTENT_LENGTH"].encode() + b":" + environ["wsgi.input"].read()]

        octets = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        assert start(echo).ask(octets).endswith(b"\r\n\r\n3:abc")
