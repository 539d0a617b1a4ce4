"""headrace.middleware.Balancer and answers that are cut short, out of RFC 9112's grammar, or without bounds."""

from __future__ import annotations

import errno
import io
import logging

import pytest
from scripted_backend import OK

from headrace.middleware import strict_response

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(autouse=True)
def quiet(caplog):
    """Each of many failures is a line and a traceback; the tests that look at them ask for them."""
    caplog.set_level(logging.CRITICAL, "headrace")


@pytest.fixture
def fetch(front):
    """fetch(backend): what one client gets of it, up to the end of the connection."""

    def fetch(*backends, message=GET):
        with front(*backends).connect() as client:
            client.send(message.replace(b"Host: a\r\n", b"Host: a\r\nConnection: close\r\n"))
            return client.read_until_close()

    return fetch


class TestHeads:
    @pytest.mark.parametrize(
        "head",
        [
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nSet-Cookie: id=123\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.0 200 OK\r\nSet-Cookie: id=123\r\n\r\n",
            b'HTTP/1.1 304 Not Modified\r\nETag: "abc"\r\n\r\n',
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        ],
    )
    def test_that_are_cut_at_any_octet_are_no_answer(self, front, script, head):
        backend = script(*(head[:end] for end in range(len(head))), close=True)
        running = front(backend)
        assert [running.exchange(POST).status for _ in range(len(head))] == [502] * len(head)
        assert len(backend.requests) == len(head)
        assert running.balancer.backends[0].failures == len(head)

    def test_that_are_cut_are_had_elsewhere(self, front, script):
        for cut in (b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nSet-Cookie: id=12", OK[:-3]):
            assert front(script(cut, close=True), script(OK)).exchange(GET).body == b"ok"
            assert front(script(cut, close=True), script(OK)).exchange(POST).status == 502

    def test_that_are_cut_on_a_kept_connection_count_against_the_backend(self, front, script):
        backend = script(OK, OK[:20])
        running = front(backend, keep_alive_s=60)
        assert running.exchange(GET).body == b"ok"
        backend.close_behind = True
        assert running.exchange(GET).status == 502
        assert (len(backend.requests), len(backend.sockets)) == (2, 1)
        assert running.balancer.backends[0].failures == 1

    def test_that_are_reset_are_no_connection_that_was_idle(self):
        """Over a socket a reset may overtake the octets in front of it."""

        blocks = [b"HTTP/1.1 200", b" OK\r\nX: a"]

        class Reset(io.RawIOBase):
            def readable(self):
                return True

            def readinto(self, buffer):
                if not blocks:
                    raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
                block = blocks.pop(0)
                buffer[: len(block)] = block
                return len(block)

        reader = io.BufferedReader(Reset())
        with pytest.raises(strict_response.BadAnswer, match="broke off within its head"):
            strict_response.read_head(reader)

    @pytest.mark.parametrize(
        "lines",
        [
            b"HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: evil=1",
            b"HTTP/1.1 200 OK\rX: a",
            b"HTTP/1.1 200 OK\r\nX: a\r",
            b"HTTP/1.1 200 OK\r\nFrom here: b",
            b"HTTP/1.1 200 OK\r\nFrom here",
            b"HTTP/1.1 200 OK\r\n X: a",
            b"HTTP/1.1 200 OK\r\n: a",
            b"HTTP/1.1 200 OK\r\nX\xe9: a",
            b"HTTP/1.1  200 OK",
            b"HTTP/1.1 200\tOK",
            b"HTTP/1.10 200 OK",
            b"HTTP/1.1 0200 OK",
            b"HTTP/1.1 \xb2\xb2\xb2 OK",
            b"\r\nHTTP/1.1 200 OK",
            b"HTTP/1.1 200 OK\r\nX: " + b"a" * 33_000,
            b"HTTP/1.1 200 OK" + b"\r\nX: a" * 101,
            b"HTTP/1.1 200 OK" + b"\r\nX: " + b"a" * 20_000 + b"\r\nY: " + b"a" * 20_000,
        ],
        ids=lambda lines: repr(lines[:50]),
    )
    def test_that_break_the_grammar_or_the_bounds_are_no_answer(self, front, script, lines):
        assert front(script(lines + b"\r\nContent-Length: 2\r\n\r\nok", close=True)).exchange(GET).status == 502

    @pytest.mark.parametrize("length", [b"2\xa0", b"\x852", b"2\x0b", b"0x2", b"2_0", b"2 2", b"9" * 19, b"\xb2"])
    def test_with_another_length_than_a_number_of_octets_are_no_answer(self, front, script, length):
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\nok" % length
        assert front(script(answer, close=True)).exchange(GET).status == 502

    def test_without_end_are_no_answer(self, front, script):
        assert front(script(b"HTTP/1.1 100 Continue\r\n\r\n" * 3000 + OK)).exchange(GET).status == 502

    def test_of_32_kib_are_handed_on(self, front, script):
        value = b"a" * 15_000
        answer = OK.replace(b"\r\n", b"\r\nX-A: %b\r\nX-B: %b\r\n" % (value, value), 1)
        got = dict(front(script(answer)).exchange(GET).fields)
        assert (got["X-A"], got["X-B"]) == (value.decode(), value.decode())

    def test_with_blanks_around_values_and_lone_line_feeds_are_understood(self, front, script):
        backend = script(
            b"HTTP/1.1 200 OK\nContent-Length:\t 2 \nX:a\n\nok", CHUNKED.replace(b"d\r", b"d \t\r") + b"0\r\n\r\n"
        )
        running = front(backend)
        assert running.exchange(GET).body == b"ok"
        assert running.exchange(GET).body == b""
        assert len(backend.sockets) == 1

    def test_of_many_parts_are_handed_on(self, front, script):
        parts = b"206 Partial Content\r\nContent-Type: multipart/byteranges; boundary=xx"
        answer = front(script(OK.replace(b"200 OK", parts))).exchange(GET)
        assert (answer.status, answer.body) == (206, b"ok")


class TestAnswersWithoutContent:
    @pytest.mark.parametrize(
        ("status", "method", "connections"),
        [(b"304 Not Modified", b"GET", 1), (b"200 OK", b"HEAD", 1), (b"204 No Content", b"GET", 2)],
    )
    def test_end_with_their_head_chunked_or_not(self, front, script, status, method, connections):
        backend = script(b'HTTP/1.1 %b\r\nTransfer-Encoding: chunked\r\nETag: "a"\r\n\r\n' % status)
        running = front(backend, keep_alive_s=60)
        for _ in range(2):
            with running.connect() as client:
                client.send(GET.replace(b"GET", method))
                answer = client.read_response(method.decode())
            running.rest()
            assert answer.status == int(status[:3])
            assert dict(answer.fields)["ETag"] == '"a"'
        # A 204 has no Transfer-Encoding (RFC 9112 §6.1): what such a backend sends next is anybody's guess.
        assert (len(backend.requests), len(backend.sockets)) == (2, connections)


class TestChunks:
    def test_are_handed_on_without_extensions_and_trailers(self, front, script):
        backend = script(CHUNKED + b'00002;a=b;c="d"\r\nok\r\nA \t;x\r\n0123456789\r\n000;e\r\nX-T: y\r\nZ:\r\n\r\n')
        running = front(backend)
        for _ in range(2):
            assert running.exchange(GET).body == b"ok0123456789"
        assert len(backend.sockets) == 1

    def test_of_one_octet_may_be_many(self, front, script):
        assert front(script(CHUNKED + b"1\r\nx\r\n" * 30_000 + b"0\r\n\r\n")).exchange(GET).body == b"x" * 30_000

    def test_that_are_cut_at_any_octet_are_not_the_whole(self, fetch, script):
        body = b"2\r\nok\r\n3;e\r\nyes\r\n0\r\nT: x\r\n\r\n"
        for end in range(len(body)):
            octets = fetch(script(CHUNKED + body[:end], close=True))
            if end < len(b"2\r\no"):
                assert octets.startswith(b"HTTP/1.1 502 ")
            else:
                assert octets.startswith(b"HTTP/1.1 200 ")
                assert not octets.endswith(b"0\r\n\r\n")
        assert fetch(script(CHUNKED + body, close=True)).endswith(b"0\r\n\r\n")

    @pytest.mark.parametrize(
        "size",
        [b"+2", b"0x2", b"1_0", b" 2", b"2 ", b"-2", b"", b"2 a", b"2;a\rb", b"2\xa0", b"f" * 16, b"2;" + b"e" * 5000],
    )
    def test_with_another_size_than_hexadecimal_digits_are_no_answer(self, front, script, size):
        backend = script(CHUNKED + size + b"\r\nokokokokokokokok\r\n0\r\n\r\n", close=True)
        assert front(backend).exchange(GET).status == 502

    @pytest.mark.parametrize(
        "rest",
        [
            b"2\r\nokXX0\r\n\r\n",
            b"2\r\nok\n0\r\n\r\n",
            b"2\r\nok\r\n0\n\r\n",
            b"2\r\nok\r\n0\r\n\n",
            b"2\r\nok\r\n0\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
            b"2\r\nok\r\n0\r\n" + b"T: x\r\n" * 6000 + b"\r\n",
            b"2\r\nok\r\n" + (b"1;" + b"e" * 4000 + b"\r\nx\r\n") * 20 + b"0\r\n\r\n",
        ],
        ids=lambda rest: repr(rest[:30]),
    )
    def test_that_break_the_grammar_or_the_bounds_break_the_answer_off(self, fetch, script, rest):
        octets = fetch(script(CHUNKED + rest + OK))
        assert octets.startswith(b"HTTP/1.1 200 ")
        assert b"ok\r\n" in octets
        assert not octets.endswith(b"0\r\n\r\n")
