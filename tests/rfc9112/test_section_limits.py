"""The limits of this server (RFC 9112 §3 and §5 ask for some): each at its border, and one octet beyond."""

from __future__ import annotations

import pytest
import verdict
import wire

from headrace.config import SETTINGS
from headrace.errors import REFUSALS

HOST = b"Host: a\r\n"


def line_of(size: int) -> bytes:
    """A GET whose request line has `size` octets."""
    return b"GET /" + b"a" * (size - 14) + b" HTTP/1.1\r\n" + HOST + b"\r\n"


def field_of(size: int) -> bytes:
    return b"GET / HTTP/1.1\r\n" + HOST + b"X:" + b"y" * (size - 2) + b"\r\n\r\n"


def fields(count: int) -> bytes:
    return b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * (count - 1) + b"\r\n"


def head_of(size: int) -> bytes:
    """A head of `size` octets in lines of at most 8190."""
    head = b"GET / HTTP/1.1\r\n" + HOST
    left = size - len(head) - 2
    while left:
        line = left if left <= 8000 else 8000 if left - 8000 > 10 else 7000
        head += b"X:" + b"y" * (line - 4) + b"\r\n"
        left -= line
    assert len(head) + 2 == size
    return head + b"\r\n"


class TestRequestLine:
    """RFC 9112 §3: at least 8000 octets; 414 beyond."""

    def test_may_have_8190_octets(self, accepts):
        assert len(accepts(line_of(8190)).environ["RAW_URI"]) == 8177

    @pytest.mark.parametrize("size", [8191, 20_000, 100_000])
    def test_is_refused_beyond(self, refuses, size):
        refuses(line_of(size), "REQUEST_LINE_TOO_LONG")

    def test_is_refused_without_waiting_for_its_end(self, refuses):
        refuses(b"GET /" + b"a" * 8190, "REQUEST_LINE_TOO_LONG")
        refuses(b"G" * 8191, "REQUEST_LINE_TOO_LONG")

    def test_follows_its_setting(self, serve):
        running = serve(verdict.echo, limit_request_line=64)
        with running.connect() as client:
            assert client.exchange(line_of(64)).status == 200
            assert client.exchange(line_of(65)).status == 414
            client.assert_closed()


class TestFields:
    """RFC 6585 §5: 431"""

    def test_may_be_100(self, accepts):
        assert accepts(fields(100)).environ["HTTP_X"] == ",".join("y" * 99)

    @pytest.mark.parametrize("count", [101, 1000])
    def test_are_refused_beyond(self, refuses, count):
        refuses(fields(count), "REQUEST_FIELDS_TOO_MANY")

    def test_follow_their_setting(self, serve):
        running = serve(verdict.echo, limit_request_fields=3)
        with running.connect() as client:
            assert client.exchange(fields(3)).status == 200
            assert client.exchange(fields(4)).status == 431
            client.assert_closed()


class TestFieldLine:
    def test_may_have_8190_octets(self, accepts):
        assert accepts(field_of(8190)).environ["HTTP_X"] == "y" * 8188

    @pytest.mark.parametrize("size", [8191, 20_000])
    def test_is_refused_beyond(self, refuses, size):
        refuses(field_of(size), "REQUEST_FIELD_TOO_LONG")

    def test_is_refused_without_waiting_for_its_end(self, refuses):
        refuses(b"GET / HTTP/1.1\r\n" + HOST + b"X" * 8191, "REQUEST_FIELD_TOO_LONG")
        refuses(b"GET / HTTP/1.1\r\n" + HOST + b"X:" + b" " * 8189, "REQUEST_FIELD_TOO_LONG")

    def test_follows_its_setting(self, serve):
        running = serve(verdict.echo, limit_request_field_size=64)
        with running.connect() as client:
            assert client.exchange(field_of(64)).status == 200
            assert client.exchange(field_of(65)).status == 431
            client.assert_closed()


class TestHead:
    def test_may_have_64_kib(self, accepts):
        assert len(accepts(head_of(65536)).environ["HTTP_X"]) > 64_000

    def test_is_refused_beyond(self, refuses):
        refuses(head_of(65537), "REQUEST_HEAD_TOO_LONG")

    def test_follows_its_setting(self, serve):
        running = serve(verdict.echo, limit_request_head=256)
        with running.connect() as client:
            assert client.exchange(head_of(256)).status == 200
            assert client.exchange(head_of(256)).status == 200
            assert client.exchange(b"\r\n" + head_of(256)).status == 200
            assert client.exchange(head_of(257)).status == 431
            client.assert_closed()

    @pytest.mark.parametrize("limit", [128, 200_000])
    def test_counts_pipelined_heads_one_by_one(self, serve, limit):
        running = serve(verdict.echo, unix=True, limit_request_head=limit)
        with running.connect() as client:
            client.send(verdict.GOOD * 1000, 1)
            for _ in range(1000):
                assert client.read_response().status == 200


class TestBody:
    """RFC 9110 §15.5.14: 413"""

    @pytest.mark.parametrize("cut", wire.CUTS)
    def test_may_have_as_many_octets_as_the_limit_says(self, serve, cut):
        running = serve(verdict.echo, unix=True, limit_request_body=10)
        with running.connect() as client:
            assert client.exchange(wire.request(method="POST", body=b"0123456789"), cut).body == b"0123456789"
            head = wire.request(method="POST", fields=[("Transfer-Encoding", "chunked")])
            assert client.exchange(head + wire.chunked(b"01234", b"56789"), cut).body == b"0123456789"
            client.assert_open()

    @pytest.mark.parametrize("cut", wire.CUTS)
    def test_is_refused_beyond_by_its_content_length(self, serve, cut):
        running = serve(verdict.echo, unix=True, limit_request_body=10)
        message = wire.request(method="POST", body=b"0123456789a")
        verdict.assert_refused(running, message, "REQUEST_BODY_TOO_LONG", cut)
        verdict.assert_refused(running, message, "REQUEST_BODY_TOO_LONG", cut, "before")

    @pytest.mark.parametrize("cut", wire.CUTS)
    def test_is_refused_beyond_by_its_chunks(self, serve, cut):
        running = serve(verdict.echo, unix=True, limit_request_body=10)
        head = wire.request(method="POST", fields=[("Transfer-Encoding", "chunked")])
        for body in (
            wire.chunked(b"01234", b"56789", b"a"),
            wire.chunked(b"0123456789a"),
            b"7fffffffffffffff\r\n" + b"x" * 11,
        ):
            verdict.assert_refused(running, head + body, "REQUEST_BODY_TOO_LONG", cut)
            verdict.assert_refused(running, head + body, "REQUEST_BODY_TOO_LONG", cut, "before")

    def test_may_be_forbidden_altogether(self, serve):
        running = serve(verdict.echo, limit_request_body=0)
        with running.connect() as client:
            assert client.exchange(wire.request(method="POST", fields=[("Content-Length", "0")])).status == 200
            assert client.exchange(wire.request(method="POST", body=b"x")).status == 413
            client.assert_closed()


CHUNKED_1235 = wire.request(method="PUT", fields=[("Transfer-Encoding", "chunked")]) + b"4d3\r\n" + b"x" * 1235


def refusals(caplog):
    """The lines of HR208, once there is one."""
    wire.wait_until(lambda: "HR208" in caplog.text, "the line")
    return [message for message in caplog.messages if message.startswith("HR208 ")]


class TestLog:
    """The limit that was met is told to the operator, by its setting; the client learns that there is one."""

    @pytest.mark.parametrize(
        ("settings", "message", "told"),
        [
            ({"limit_request_line": 64}, line_of(65), "414 request line too long (RFC 9112 §3): "
             "limit_request_line is 64 bytes"),
            ({"limit_request_fields": 2}, fields(3), "431 too many fields (RFC 6585 §5): "
             "limit_request_fields is 2 fields"),
            ({"limit_request_field_size": 64}, field_of(65), "431 a field line is too long (RFC 6585 §5): "
             "limit_request_field_size is 64 bytes"),
            ({"limit_request_head": 128}, head_of(129), "431 request head too long (RFC 6585 §5): "
             "limit_request_head is 128 bytes"),
            ({"limit_request_body": 1234}, wire.request(method="PUT", body=b"x" * 1235),
             "413 the body is too long (RFC 9110 §15.5.14): limit_request_body is 1234 bytes"),
            ({"limit_request_body": 1234}, CHUNKED_1235,
             "413 the body is too long (RFC 9110 §15.5.14): limit_request_body is 1234 bytes"),
            ({"limit_request_body": 1234, "stream_request_body": True}, CHUNKED_1235,
             "413 the body is too long (RFC 9110 §15.5.14): limit_request_body is 1234 bytes"),
            ({"head_timeout": 0.1}, b"GET", "408 the request head took too long (RFC 9110 §15.5.9): "
             "head_timeout is 0.1 seconds"),
            ({}, b"GET / HTTP/1.1\r\n\r\n", "400 Host is missing (RFC 9112 §3.2)"),
        ],
        ids=["line", "fields", "field", "head", "body", "chunked body", "streamed body", "head timeout", "no limit"],
    )  # fmt: skip
    def test_names_the_limit_that_was_met_and_the_answer_does_not(self, serve, caplog, settings, message, told):
        caplog.set_level("DEBUG", "headrace")
        running = serve(verdict.echo, **settings)
        with running.connect() as client:
            client.send(message, may_break=True)
            answer = client.read_response()
        [line] = refusals(caplog)
        assert line.endswith(f": {told}")
        assert not any(f"{value}".encode() in answer.body for value in settings.values())

    @pytest.mark.parametrize(
        ("settings", "message", "request_named"),
        [
            ({}, b"GET /a/b?secret HTTP/1.1\r\nHost : a\r\n\r\n", "GET /a/b"),
            ({}, b"GET http://a/b?secret HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "GET http://a/b"),
            ({}, b"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nsecret", "PUT /a"),
            ({"stream_request_body": True},
             b"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nsecret", "PUT /a"),
            ({"head_timeout": 0.1}, b"GET /late?secret HTTP/1.1\r\nHos", "GET /late"),
            ({"head_timeout": 0.1}, b"GET /late?secret", "a request"),
            ({"body_timeout": 0.1}, wire.request("/late?secret", method="PUT", body=b"xy")[:-1], "PUT /late"),
            ({}, b"GET /\x1b[31m\xe4?secret HTTP/1.1\r\n\r\n", "a request"),
            ({}, b"\x16\x03\x01secret\r\n", "a request"),
            ({"limit_request_line": 64}, b"GET /" + b"x" * 90 + b"?secret HTTP/1.1\r\n\r\n", "a request"),
        ],
        ids=["field", "absolute", "chunk", "streamed", "late", "late line", "late body", "octets", "TLS", "long line"],
    )  # fmt: skip
    @pytest.mark.parametrize("before", [False, True], ids=["first", "second"])
    def test_names_the_client_and_the_request_as_far_as_it_was_understood_without_its_query(
        self, serve, caplog, transport, settings, message, request_named, before
    ):
        """Of a connection's second request, too, where the first was another one."""
        caplog.set_level("DEBUG", "headrace")
        running = serve(verdict.echo, **settings)
        with running.connect() as client:
            peer = "unix" if transport == "unix" else f"127.0.0.1:{client.sock.getsockname()[1]}"
            if before:
                client.exchange(verdict.GOOD)
            client.send(message, may_break=True)
            assert client.read_response(message.split(b" ")[0].decode("latin-1")).status >= 400
        [line] = refusals(caplog)
        assert line.startswith(f"HR208 refused {request_named} of {peer}: 4")
        assert "secret" not in line

    def test_has_no_line_for_what_the_application_failed_on(self, serve, caplog):
        """It was not refused, and HR301 tells of it."""
        caplog.set_level("DEBUG", "headrace")

        def application(environ, start_response):
            raise ValueError

        assert serve(application).exchange(wire.request()).status == 500
        assert "HR301" in caplog.text
        assert "HR208" not in caplog.text

    def test_has_no_line_but_that_of_the_access_log_at_the_usual_level(self, serve, caplog):
        """Whoever sends nonsense must not fill it."""
        caplog.set_level("INFO", "headrace")
        assert serve(verdict.echo).exchange(b"nonsense\r\n\r\n").status == 400
        assert "HR208" not in caplog.text

    def test_every_limit_in_the_table_of_refusals_is_a_setting(self):
        named = {name for refusal in REFUSALS.values() for name in refusal.limits}
        assert named <= set(SETTINGS)
        assert {name for name in SETTINGS if name.startswith("limit_")} <= named
