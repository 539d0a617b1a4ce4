"""RFC 9112 §6: message body; Transfer-Encoding, Content-Length, and which of them decides."""

from __future__ import annotations

import pytest
import wire


def post(*lines: bytes, body: bytes = b"", version: bytes = b"1.1", method: bytes = b"POST") -> bytes:
    head = method + b" / HTTP/" + version + b"\r\nHost: a\r\n" + b"".join(line + b"\r\n" for line in lines)
    return head + b"\r\n" + body


CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"


class TestTransferEncoding:
    """§6.1"""

    @pytest.mark.parametrize(
        "line",
        [
            b"Transfer-Encoding: chunked",
            b"transfer-encoding:chunked",
            b"TRANSFER-ENCODING: CHUNKED",
            b"Transfer-Encoding: \t Chunked \t",
        ],
        ids=repr,
    )
    def test_accepts_chunked_in_any_case(self, accepts, line):
        accepted = accepts(post(line, body=CHUNKS))
        assert accepted.body == b"hello"
        assert accepted.environ["CONTENT_LENGTH"] == "5"
        assert "HTTP_TRANSFER_ENCODING" not in accepted.environ

    @pytest.mark.parametrize("method", [b"GET", b"DELETE", b"OPTIONS", b"BREW"])
    def test_accepts_chunked_with_any_method(self, accepts, method):
        assert accepts(post(b"Transfer-Encoding: chunked", body=CHUNKS, method=method)).body == b"hello"

    @pytest.mark.parametrize(
        "lines",
        [
            [b"Transfer-Encoding: chunked, chunked"],
            [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
            [b"Transfer-Encoding: chunked", b"transfer-encoding: gzip"],
            [b"Transfer-Encoding: chunked, gzip"],
            [b"Transfer-Encoding: chunked, x"],
            [b"Transfer-Encoding: chunked", b"Transfer-Encoding: "],
            [b"Transfer-Encoding: chunked,"],
            [b"Transfer-Encoding: ,chunked"],
            [b"Transfer-Encoding: , chunked"],
            [b"Transfer-Encoding: chunked;q=1"],
            [b"Transfer-Encoding: chunked ;"],
            [b"Transfer-Encoding: chunked chunked"],
            [b"Transfer-Encoding: chunked x"],
            [b"Transfer-Encoding: x chunked"],
            [b'Transfer-Encoding: "chunked"'],
            [b"Transfer-Encoding: identity"],
            [b"Transfer-Encoding: identity, chunked"],
            [b"Transfer-Encoding: chunked, identity"],
            [b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"],
            [b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked"],
            [b"Transfer-Encoding:"],
            [b"Transfer-Encoding: ,"],
            [b"Transfer-Encoding: \xa0chunked"],
            [b"Transfer-Encoding: chunked\x85"],
            [b"Transfer-Encoding: chunk\xe9d"],
            [b"Transfer-Encoding: =chunked"],
            [b"Transfer-Encoding: gzip"],
            [b"Transfer-Encoding: gzip;q=1.0"],
            [b"Transfer-Encoding: xchunked"],
            [b"Transfer-Encoding: chunkedx"],
            [b"Transfer-Encoding: chunke"],
            [b"Transfer-Encoding: cow"],
            [b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip"],
        ],
        ids=repr,
    )
    def test_refuses_a_list_that_is_malformed_or_does_not_end_in_one_chunked(self, refuses, lines):
        refuses(post(*lines, body=CHUNKS), "REQUEST_TRANSFER_CODING_INVALID")

    @pytest.mark.parametrize(
        "lines",
        [
            [b"Transfer-Encoding: gzip, chunked"],
            [b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"],
            [b"Transfer-Encoding: xchunked, chunked"],
            [b'Transfer-Encoding: x;a="b, chunked", chunked'],
        ],
        ids=repr,
    )
    def test_answers_501_to_another_coding_before_chunked(self, refuses, lines):
        refuses(post(*lines, body=CHUNKS), "REQUEST_TRANSFER_CODING_UNSUPPORTED")

    @pytest.mark.parametrize("blank", [b"\x0b", b"\x0c", b"\x00", b"\x1c"], ids=repr)
    def test_takes_no_other_octet_for_white_space(self, refuses, blank):
        refuses(post(b"Transfer-Encoding: " + blank + b"chunked", body=CHUNKS), "REQUEST_FIELD_VALUE_INVALID")
        refuses(post(b"Transfer-Encoding: chunked" + blank, body=CHUNKS), "REQUEST_FIELD_VALUE_INVALID")

    def test_refuses_it_on_http_1_0(self, refuses):
        refuses(post(b"Transfer-Encoding: chunked", body=CHUNKS, version=b"1.0"), "REQUEST_TRANSFER_CODING_ON_1_0")
        refuses(
            post(b"Connection: keep-alive", b"Transfer-Encoding: x", body=CHUNKS, version=b"1.0"),
            "REQUEST_TRANSFER_CODING_ON_1_0",
        )


class TestContentLength:
    """§6.2, RFC 9110 §8.6"""

    @pytest.mark.parametrize(
        ("value", "body"), [(b"0", b""), (b"5", b"hello"), (b"005", b"hello"), (b" 5\t", b"hello")]
    )
    def test_accepts_decimal_digits(self, accepts, value, body):
        accepted = accepts(post(b"Content-Length: " + value, body=body))
        assert accepted.body == body
        assert accepted.environ["CONTENT_LENGTH"] == value.strip().decode()

    @pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"PUT", b"BREW"])
    def test_counts_with_any_method(self, accepts, method):
        accepts(post(b"Content-Length: 5", body=b"hello", method=method))

    @pytest.mark.parametrize(
        "value",
        [
            b"",
            b"+5",
            b"-5",
            b"-0",
            b"5.0",
            b"5e0",
            b"0x5",
            b"0b101",
            b"0o5",
            b"5_0",
            b"5 0",
            b"5,",
            b",5",
            b"5, 5",
            b"5,5",
            b"5;",
            b'"5"',
            b"five",
            b"5\xa0",
            b"\xb2",
            b"\xd9\xa5",
            b"5L",
            b"9223372036854775808",
            b"18446744073709551616",
            b"18446744073709551621",
            b"99999999999999999999999999999999999999",
            b"1" + b"0" * 5000,
        ],
        ids=lambda value: repr(value[:40]),
    )
    def test_refuses_anything_but_digits_that_fit_63_bits(self, refuses, value):
        refuses(post(b"Content-Length: " + value, body=b"hello"), "REQUEST_CONTENT_LENGTH_INVALID")

    @pytest.mark.parametrize("second", [b"5", b"6", b"0", b"", b"x"], ids=repr)
    def test_refuses_a_second_one_whatever_it_says(self, refuses, second):
        error = "REQUEST_CONTENT_LENGTH_REPEATED"
        refuses(post(b"Content-Length: 5", b"content-length: " + second, body=b"hello"), error)

    def test_refuses_a_length_beyond_the_limit_before_a_single_octet_of_the_body(self, refuses):
        refuses(post(b"Content-Length: 9223372036854775807"), "REQUEST_BODY_TOO_LONG")
        refuses(post(b"Content-Length: 1073741825"), "REQUEST_BODY_TOO_LONG")


class TestMessageBodyLength:
    """§6.3"""

    @pytest.mark.parametrize("coding", [b"chunked", b"gzip", b"identity", b"", b"x, chunked"], ids=repr)
    @pytest.mark.parametrize("length", [b"5", b"0", b"15", b"x"], ids=repr)
    def test_refuses_both_fields_together(self, refuses, coding, length):
        """Step 3: it might indicate an attempt to perform request smuggling."""
        lines = [b"Transfer-Encoding: " + coding, b"Content-Length: " + length]
        refuses(post(*lines, body=CHUNKS), "REQUEST_FRAMING_CONFLICT")
        refuses(post(*reversed(lines), body=CHUNKS), "REQUEST_FRAMING_CONFLICT")

    def test_refuses_both_fields_together_on_http_1_0(self, refuses):
        lines = [b"Transfer-Encoding: chunked", b"Content-Length: 5"]
        refuses(post(*lines, body=CHUNKS, version=b"1.0"), "REQUEST_FRAMING_CONFLICT")

    @pytest.mark.parametrize("method", [b"GET", b"POST", b"PUT"])
    def test_takes_no_body_without_either_field(self, serve, method):
        """Step 7: what follows is the next request."""
        seen = []

        def application(environ, start_response):
            seen.append((environ["REQUEST_METHOD"], environ["wsgi.input"].read(), environ.get("CONTENT_LENGTH")))
            start_response("200 OK", [])
            return [b"ok"]

        with serve(application).connect() as client:
            client.send(post(method=method) + b"HELLO / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.read_response().body == client.read_response().body == b"ok"
        assert seen == [(method.decode(), b"", None), ("HELLO", b"", None)]

    def test_reads_exactly_the_octets_of_the_length(self, serve):
        """Step 6."""
        seen = []

        def application(environ, start_response):
            seen.append(environ["wsgi.input"].read())
            start_response("200 OK", [])
            return [b"ok"]

        second = post(b"Content-Length: 3", body=b"abc")
        inner = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        for cut in wire.CUTS:
            seen.clear()
            with serve(application, unix=True).connect() as client:
                client.send(post(b"Content-Length: %d" % len(inner), body=inner) + second, cut)
                assert client.read_response().body == client.read_response().body == b"ok"
                client.assert_open()
            assert seen == [inner, b"abc", b""]

    @pytest.mark.parametrize("size", [1, 65535, 65536, 65537, 524287, 524288, 524289, 3_000_000])
    def test_hands_on_every_octet_of_a_body_of_any_size(self, serve, transport, size):
        """In memory, in a temporary file, and where one becomes the other."""
        body = bytes(i * i >> 7 & 0xFF for i in range(4096)) * (size // 4096 + 1)
        body = body[:size]

        def application(environ, start_response):
            assert environ["CONTENT_LENGTH"] == str(size)
            start_response("200 OK", [])
            return [environ["wsgi.input"].read()]

        with serve(application).connect() as client:
            client.send(wire.request(method="POST", body=body), 5)
            assert client.read_response().body == body
            client.send(post(b"Transfer-Encoding: chunked", body=wire.chunked(body[:1000], body[1000:])), 6)
            assert client.read_response().body == body
            client.assert_open(wire.request(method="POST", body=body))
