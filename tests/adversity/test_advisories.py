"""Advisories of other servers and parsers about request heads and framing: each mechanism, and that it does not work
here.  The identifier of a test is that of the advisory."""

from __future__ import annotations

import time

import pytest
import verdict
import wire

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def head(*lines: bytes, body: bytes = b"") -> bytes:
    return HEAD + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def lengths(*values: bytes) -> list[tuple[bytes, str]]:
    return [(head(b"Content-Length: " + value, body=SMUGGLED), "REQUEST_CONTENT_LENGTH_INVALID") for value in values]


def sizes(*values: bytes) -> list[tuple[bytes, str]]:
    return [(CHUNKED + value + b"\r\nabc\r\n0\r\n\r\n", "REQUEST_CHUNK_SIZE_INVALID") for value in values]


def values_refused(*values: bytes) -> list[tuple[bytes, str]]:
    return [(head(b"X: " + value), "REQUEST_FIELD_VALUE_INVALID") for value in values]


REFUSED: dict[str, list[tuple[bytes, str]]] = {
    # gunicorn
    "CVE-2024-1135": [
        (head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"), "REQUEST_TRANSFER_CODING_INVALID"),
        (head(b"Transfer-Encoding: chunked, identity"), "REQUEST_TRANSFER_CODING_INVALID"),
        (head(b"Transfer-Encoding: chunked, gzip"), "REQUEST_TRANSFER_CODING_INVALID"),
    ],
    "CVE-2024-6827": [
        (head(b"Transfer-Encoding: x", b"Content-Length: 35", body=SMUGGLED), "REQUEST_FRAMING_CONFLICT"),
        (head(b"Transfer-Encoding: x", body=SMUGGLED), "REQUEST_TRANSFER_CODING_UNSUPPORTED"),
    ],
    "gunicorn-22.0.0": [
        *lengths(b"0x23", b"3_5", b"+35", b"-35"),
        *sizes(b"0x3", b"3_0", b"+3", b"-3"),
        (head(b": x"), "REQUEST_FIELD_NAME_INVALID"),
        (head(b"\x85X: y"), "REQUEST_FIELD_NAME_INVALID"),
        (head(b"X\xa0: y"), "REQUEST_FIELD_NAME_INVALID"),
        (head(b"Transfer-Encoding: ,chunked"), "REQUEST_TRANSFER_CODING_INVALID"),
    ],
    "gunicorn-23.0.0": [
        *values_refused(b"a\0b", b"a\rb", b"a\nb"),
        (head(b"X: a", b" b"), "REQUEST_FIELD_FOLDED"),
    ],
    "gunicorn-25": [
        (head(b"Host: a"), "REQUEST_HOST_REPEATED"),
        (head(b"Content-Type: a/b", b"Content-Type: a/b"), "REQUEST_CONTENT_TYPE_REPEATED"),
        *values_refused(b"\x01", b"\x08", b"\x7f"),
        (b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", "REQUEST_TARGET_INVALID"),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", "REQUEST_TARGET_INVALID"),
        (b"GET a/b HTTP/1.1\r\nHost: a\r\n\r\n", "REQUEST_TARGET_INVALID"),
    ],
    # waitress
    "CVE-2019-16785": [
        (b"GET / HTTP/1.1\nHost: a\n\n", "REQUEST_LINE_MALFORMED"),
        (head(b"X: y\nTransfer-Encoding: chunked"), "REQUEST_FIELD_VALUE_INVALID"),
    ],
    "CVE-2019-16786": [
        (head(b"Transfer-Encoding: gzip, chunked", b"Content-Length: 35", body=SMUGGLED), "REQUEST_FRAMING_CONFLICT"),
        (head(b"Transfer-Encoding: gzip, chunked", body=SMUGGLED), "REQUEST_TRANSFER_CODING_UNSUPPORTED"),
    ],
    "CVE-2019-16789": [
        (head(b"Transfer-Encoding: \x0bchunked"), "REQUEST_FIELD_VALUE_INVALID"),
        (head(b"Transfer-Encoding: \x0cchunked"), "REQUEST_FIELD_VALUE_INVALID"),
        (head(b"Content-Length: 5\x0b"), "REQUEST_FIELD_VALUE_INVALID"),
    ],
    "CVE-2019-16792": [
        (head(b"Content-Length: 35", b"Content-Length: 35", body=SMUGGLED), "REQUEST_CONTENT_LENGTH_REPEATED"),
        *lengths(b"35, 35"),
    ],
    "CVE-2022-24761": [
        *lengths(b"+10", b"0x01"),
        *sizes(b"+3", b"0x3"),
        (CHUNKED + b"3;\x01\r\nabc\r\n0\r\n\r\n", "REQUEST_CHUNK_EXTENSION_INVALID"),
    ],
    "CVE-2024-49768": [(b"BAD\r\n\r\n", "REQUEST_LINE_MALFORMED")],
    # cheroot
    "cheroot-714": [
        (head(b"Content-Length : 35", body=SMUGGLED), "REQUEST_FIELD_NAME_INVALID"),
        *lengths(b"+35", b"3_5"),
        *values_refused(b"a\x01b", b"a\rb"),
    ],
    # h11
    "CVE-2025-43859": [(CHUNKED + b"3\r\nabcXX0\r\n\r\n" + SMUGGLED, "REQUEST_CHUNK_DATA_UNTERMINATED")],
    # gevent
    "CVE-2023-41419": [
        (CHUNKED + b"3\r\nabc\r\nx" + SMUGGLED, "REQUEST_CHUNK_SIZE_INVALID"),
        (CHUNKED + b"0\r\n" + SMUGGLED, "REQUEST_TRAILER_INVALID"),
    ],
    # meinheld
    "CVE-2020-7658": [
        (
            head(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + SMUGGLED),
            "REQUEST_FRAMING_CONFLICT",
        )
    ],
    # Twisted
    "CVE-2020-10108": [
        (head(b"Content-Length: 0", b"Content-Length: 35", body=SMUGGLED), "REQUEST_CONTENT_LENGTH_REPEATED")
    ],
    "CVE-2020-10109": [
        (head(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), "REQUEST_FRAMING_CONFLICT")
    ],
    "CVE-2022-24801": [
        *lengths(b"+35", b"0x23", b"3_5"),
        *sizes(b"0x3", b"3 "),
        (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "REQUEST_LINE_MALFORMED"),
    ],
    # Tornado
    "GHSA-qppv-j76h-2rpx": [*lengths(b"-1", b"+1", b"1_0"), *sizes(b"-3", b"+3", b"3_0")],
    "GHSA-753j-mpmx-qq6g": [
        (head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), "REQUEST_TRANSFER_CODING_INVALID")
    ],
    # aiohttp and llhttp
    "CVE-2023-37276": [(head(b"X: y\rTransfer-Encoding: chunked"), "REQUEST_FIELD_VALUE_INVALID")],
    "CVE-2023-30589": [(head(b"X:\rTransfer-Encoding: chunked"), "REQUEST_FIELD_VALUE_INVALID")],
    "CVE-2023-47627": [
        *lengths(b"+35", b"3_5", b"\xd9\xa3"),
        *sizes(b"\xd9\xa3"),
        (head(b"X(: y"), "REQUEST_FIELD_NAME_INVALID"),
    ],
    "CVE-2024-23829": [
        (b"GET / HTTP/1a1\r\nHost: a\r\n\r\n", "REQUEST_VERSION_INVALID"),
        (b"GET / HTTP/\xd9\xa1.1\r\nHost: a\r\n\r\n", "REQUEST_VERSION_INVALID"),
        (head(b"X\x0b: y"), "REQUEST_FIELD_NAME_INVALID"),
    ],
    "CVE-2023-47641": [
        (head(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), "REQUEST_FRAMING_CONFLICT")
    ],
    "CVE-2025-53643": [(CHUNKED + b"0\r\nX y\r\n\r\n", "REQUEST_TRAILER_INVALID")],
    "CVE-2025-69223 to 69230": [
        *lengths(b"\xb2", b"\xef\xbc\x93"),
        *sizes(b"\xb3"),
        (head(b"X\xc5\xbf: y"), "REQUEST_FIELD_NAME_INVALID"),
    ],
    "CVE-2026-22815": [(CHUNKED + b"0\r\n" + b"X: y\r\n" * 101, "REQUEST_TRAILERS_TOO_LONG")],
    "CVE-2026-34520": [*values_refused(b"\0", b"a\x1fb"), (head(b"X\0: y"), "REQUEST_FIELD_NAME_INVALID")],
    "CVE-2021-22959": [(head(b"Transfer-Encoding : chunked"), "REQUEST_FIELD_NAME_INVALID")],
    "CVE-2022-32213": [(head(b"Transfer-Encoding: chunkedchunked"), "REQUEST_TRANSFER_CODING_UNSUPPORTED")],
    "CVE-2022-32214": [(head(b"X: y\nContent-Length: 5"), "REQUEST_FIELD_VALUE_INVALID")],
    "CVE-2022-32215": [
        (head(b"Transfer-Encoding: chunked,", b" identity"), "REQUEST_FIELD_FOLDED"),
        (head(b"Transfer-Encoding:", b" chunked"), "REQUEST_FIELD_FOLDED"),
    ],
    "CVE-2022-35256": [(head(b"X: y\rZ: w"), "REQUEST_FIELD_VALUE_INVALID")],
    "CVE-2024-27982": [
        (b"GET / HTTP/1.1\r\nHost: a\r\n Content-Length: 35\r\n\r\n" + SMUGGLED, "REQUEST_FIELD_FOLDED"),
        (b"GET / HTTP/1.1\r\n Content-Length: 35\r\nHost: a\r\n\r\n" + SMUGGLED, "REQUEST_FIELD_FOLDED"),
    ],
    "CVE-2024-22019": [(CHUNKED + b"3;" + b"a" * 5000, "REQUEST_CHUNK_OVERHEAD_TOO_LONG")],
    # Kestrel, Netty and others
    "CVE-2025-55315": [(CHUNKED + b"3;\nxx\r\nabc\r\n0\r\n\r\n", "REQUEST_CHUNK_EXTENSION_INVALID")],
    "CVE-2025-58056": [
        (CHUNKED + b"3;a\nabc\r\n0\r\n\r\n", "REQUEST_CHUNK_EXTENSION_INVALID"),
        (CHUNKED + b"3;a\rabc\r\n0\r\n\r\n", "REQUEST_CHUNK_SIZE_INVALID"),
    ],
    # Mongoose
    "CVE-2023-34188": lengths(b"-1", b"-9223372036854775808"),
}


@pytest.mark.parametrize("advisory", REFUSED)
def test_is_refused(refuses, advisory):
    for message, error in REFUSED[advisory]:
        refuses(message, error)


class TestAccepted:
    """Messages that are legal, and what must not come of them."""

    def test_gunicorn_23_0_0_names_with_an_underscore_are_not_merged(self, accepts):
        accepted = accepts(b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1\r\nX_Forwarded_For: 2\r\n\r\n")
        assert accepted.environ["HTTP_X_FORWARDED_FOR"] == "1"

    def test_gunicorn_25_forbidden_trailer_fields_come_to_nothing(self, accepts):
        trailer = b"Host: evil\r\nContent-Length: 9\r\nAuthorization: evil\r\n"
        accepted = accepts(CHUNKED + b"3\r\nabc\r\n0\r\n" + trailer + b"\r\n")
        assert accepted.environ["HTTP_HOST"] == "a"
        assert accepted.environ["CONTENT_LENGTH"] == "3"
        assert "HTTP_AUTHORIZATION" not in accepted.environ

    def test_CVE_2016_1000110_proxy_does_not_become_http_proxy(self, accepts):
        assert "HTTP_PROXY" not in accepts(b"GET / HTTP/1.1\r\nHost: a\r\nProxy: http://evil/\r\n\r\n").environ

    def test_CVE_2026_42544_octets_beyond_ascii_reach_the_application(self, accepts):
        accepted = accepts(b"GET / HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Protocol: \xff\xe9\r\n\r\n")
        assert accepted.environ["HTTP_SEC_WEBSOCKET_PROTOCOL"] == "\xff\xe9"

    def test_CVE_2025_58068_the_trailer_section_is_consumed(self, serve):
        running = serve(verdict.echo)
        with running.connect() as client:
            client.send(CHUNKED + b"3\r\nabc\r\n0\r\nX: y\r\nZ: " + b"w" * 100 + b"\r\n\r\n" + verdict.GOOD)
            assert client.read_response().body == b"abc"
            assert client.read_response().status == 200
        assert running.targets == ["/", "/good"]


def test_gunicorn_25_a_body_cut_behind_the_last_chunk_line_is_not_run(serve):
    running = serve(verdict.echo)
    with running.connect() as client:
        client.send(CHUNKED + b"3\r\nabc\r\n0\r\n")
        client.half_close()
        client.assert_closed()
    assert running.calls == 0


def test_gunicorn_25_the_body_of_a_finished_request_is_not_entered_again(serve):
    """An application that keeps wsgi.input and reads it during the next request."""
    kept = []

    def application(environ, start_response):
        seen = [input_.read() for input_ in kept]
        kept.append(environ["wsgi.input"])
        start_response("200 OK", [])
        return [b"|".join(seen)]

    running = serve(application)
    with running.connect() as client:
        assert client.exchange(head(b"Content-Length: 3", body=b"abc")).body == b""
        assert client.exchange(head(b"Content-Length: 3", body=b"def")).body == b"abc"
        assert client.exchange(verdict.GOOD).body == b"|def"
    kept.clear()


@pytest.mark.parametrize(
    "line", [b"X-" + b"a " * 4000 + b"\x10", b"X: " + b" \t" * 4000 + b"\x10", b"X: " + b"," * 8000 + b"\0"]
)
def test_CVE_2020_5236_a_bad_octet_behind_a_long_line_takes_no_time(serve, line):
    running = serve(verdict.echo)
    since = time.monotonic()
    for _ in range(20):
        assert running.exchange(head(line)).status == 400
    assert time.monotonic() - since < 1


def test_CVE_2022_31015_sockets_that_close_at_any_time_do_not_end_the_server(serve):
    running = serve(verdict.echo)
    for number in range(200):
        client = running.connect()
        client.send(verdict.GOOD[: number % len(verdict.GOOD)])
        client.reset() if number % 2 else client.close()
    assert running.exchange(verdict.GOOD).status == 200
    assert running.thread.is_alive()


def test_CVE_2024_49769_peers_that_are_gone_when_they_are_accepted_do_not_keep_the_loop_busy(serve_apart):
    apart = serve_apart()
    for number in range(50):
        client = apart.connect()
        if number % 2:
            client.send(b"GET")
        client.reset()
    with apart.connect() as client:
        assert client.exchange(verdict.GOOD).status == 200
        busy_since = apart.cpu_s()
        assert not client.has_input(0.3)
        assert apart.cpu_s() - busy_since < 0.1


def test_CVE_2022_29361_an_unread_body_is_not_the_next_request(serve):
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"ok"]

    running = serve(application)
    with running.connect() as client:
        client.send(head(b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED) + verdict.GOOD)
        assert [client.read_response().status for _ in range(2)] == [200, 200]
        client.assert_open()
    assert running.targets == ["/", "/good", "/still-open"]


def test_gevent_2075_a_body_behind_100_continue_that_nobody_reads_is_not_the_next_request(serve):
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"ok"]

    for streamed in (False, True):
        running = serve(application, stream_request_body=streamed)
        with running.connect() as client:
            client.send(head(b"Expect: 100-continue", b"Content-Length: %d" % len(SMUGGLED)))
            first = client.read_response()
            client.send(SMUGGLED, may_break=True)
            if first.status == 100:
                assert client.read_response().status == 200
                client.assert_open(verdict.GOOD)
            else:
                assert first.status == 200
                client.assert_gone()
        assert "/smuggled" not in running.targets


@pytest.mark.parametrize("advisory", ["CVE-2023-46137", "CVE-2024-41671"])
def test_pipelined_answers_stay_in_order(serve, advisory):
    """The first takes many blocks, the second none, the third is a refusal."""

    def application(environ, start_response):
        start_response("200 OK", [])
        return (b"x" * 10_000 for _ in range(100)) if environ["PATH_INFO"] == "/slow" else []

    running = serve(application)
    with running.connect(receive_buffer_bytes=4096) as client:
        client.send(wire.request("/slow") + verdict.GOOD + b"BAD\r\n")
        assert len(client.read_response().body) == 1_000_000
        assert client.read_response().body == b""
        assert client.read_response().status == 400
        client.assert_closed()


def test_CVE_2025_69223_to_69230_many_chunks_cost_little(serve):
    running = serve(verdict.echo)
    since = time.monotonic()
    body = wire.chunked(*[b"x" * 10] * 50_000)
    assert running.exchange(CHUNKED + body).body == b"x" * 500_000
    assert time.monotonic() - since < 3
