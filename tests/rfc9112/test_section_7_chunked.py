"""RFC 9112 §7: transfer codings; chunks, chunk extensions and trailers of requests."""

from __future__ import annotations

import pytest
import verdict
import wire

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


class TestChunks:
    """§7.1"""

    @pytest.mark.parametrize(
        ("chunks", "body"),
        [
            (b"", b""),
            (b"5\r\nhello\r\n", b"hello"),
            (b"1\r\nh\r\n4\r\nello\r\n", b"hello"),
            (b"2\r\n\r\n\r\n", b"\r\n"),
            (b"7\r\n0\r\n\r\nab\r\n", b"0\r\n\r\nab"),
            (b"a\r\n0123456789\r\n", b"0123456789"),
            (b"A\r\n0123456789\r\n", b"0123456789"),
            (b"0005\r\nhello\r\n", b"hello"),
            (b"1F\r\n" + b"x" * 31 + b"\r\n", b"x" * 31),
            (b"1\r\n\x00\r\n1\r\n\xff\r\n", b"\x00\xff"),
        ],
        ids=repr,
    )
    def test_are_joined(self, accepts, chunks, body):
        accepted = accepts(HEAD + chunks + END)
        assert accepted.body == body
        assert accepted.environ["CONTENT_LENGTH"] == str(len(body))
        assert "HTTP_TRANSFER_ENCODING" not in accepted.environ

    @pytest.mark.parametrize("last", [b"0\r\n\r\n", b"000\r\n\r\n", b"0;a=b\r\n\r\n"], ids=repr)
    def test_end_with_one_of_size_zero(self, accepts, last):
        assert accepts(HEAD + b"5\r\nhello\r\n" + last).body == b"hello"

    def test_are_followed_by_the_next_request(self, serve):
        def application(environ, start_response):
            start_response("200 OK", [])
            return [environ["PATH_INFO"].encode() + environ["wsgi.input"].read()]

        second = b"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        for cut in wire.CUTS:
            with serve(application, unix=True).connect() as client:
                client.send(HEAD + b"3\r\nabc\r\n" + END + second + b"3\r\ndef\r\n" + END, cut)
                assert client.read_response().body == b"/abc"
                assert client.read_response().body == b"/2def"
                client.assert_open()

    @pytest.mark.parametrize(
        "line",
        [
            b"",
            b"g",
            b"-5",
            b"+5",
            b"0x5",
            b"0X5",
            b"5h",
            b"5_0",
            b"5.",
            b" 5",
            b"\t5",
            b"5 ",
            b"5\t",
            b"5\x0b",
            b"5\x00",
            b"\xb5",
            b"\xef\xbc\x95",
            b"5,",
            b"5:",
            b'"5"',
            b"8000000000000000",
            b"ffffffffffffffff",
            b"10000000000000005",
            b"f" * 40,
        ],
        ids=repr,
    )
    def test_are_refused_when_the_size_is_not_hex_digits_that_fit_63_bits(self, refuses, line):
        refuses(HEAD + line + b"\r\nhello\r\n" + END, "REQUEST_CHUNK_SIZE_INVALID")

    @pytest.mark.parametrize("line", [b"5\n", b"5\r", b"5\r\r\n", b"5\rx", b"5\n\r\n"], ids=repr)
    def test_are_refused_when_the_size_line_does_not_end_in_crlf(self, refuses, line):
        refuses(HEAD + line + b"hello\r\n" + END, "REQUEST_CHUNK_SIZE_INVALID")

    @pytest.mark.parametrize(
        "behind",
        [b"", b"\n", b"\r", b"\rx", b"x\n", b"\n\n", b"\0\n", b"x\r\n", b"xx", b" \r\n", b"\n\r\n", b"\r\r\n"],
        ids=repr,
    )
    def test_are_refused_when_their_data_is_not_followed_by_crlf(self, refuses, behind):
        refuses(HEAD + b"5\r\nhello" + behind + END, "REQUEST_CHUNK_DATA_UNTERMINATED")

    def test_are_refused_when_the_data_is_longer_than_the_size(self, refuses):
        refuses(HEAD + b"4\r\nhello\r\n" + END, "REQUEST_CHUNK_DATA_UNTERMINATED")

    def test_are_refused_behind_good_ones(self, refuses):
        refuses(HEAD + b"5\r\nhello\r\nx\r\n", "REQUEST_CHUNK_SIZE_INVALID")


class TestChunkExtensions:
    """§7.1.1"""

    @pytest.mark.parametrize(
        "extension",
        [
            b";a",
            b";a=b",
            b";a=b;c;d=e",
            b';a="b"',
            b';a=""',
            b';a="b;c=d, e"',
            b';a="\\"\\\\"',
            b';a="\t \xff"',
            b";!#$%&'*+-.^_`|~=1",
        ],
        ids=repr,
    )
    def test_are_read_over(self, accepts, extension):
        assert accepts(HEAD + b"5" + extension + b"\r\nhello\r\n0" + extension + b"\r\n\r\n").body == b"hello"

    @pytest.mark.parametrize(
        "extension",
        [
            b";",
            b";;a",
            b";=",
            b";=b",
            b";a=",
            b";a==b",
            b";a b",
            b"; a",
            b";a =b",
            b";a= b",
            b";a=b ",
            b";a\x00",
            b";a\xff",
            b';a="b',
            b';a="b"c',
            b';a="\x00"',
            b';a="\\\x01"',
            b';a="\x7f"',
            b";a,b",
            b";a=b=c",
            b";(a)",
            b";a\n",
            b';a="\n"',
            b';a="\r"',
            b";a=\n",
        ],
        ids=repr,
    )
    def test_are_refused_unless_they_follow_the_grammar(self, refuses, extension):
        refuses(HEAD + b"5" + extension + b"\r\nhello\r\n" + END, "REQUEST_CHUNK_EXTENSION_INVALID")

    @pytest.mark.parametrize("blank", [b" ", b"\t"], ids=repr)
    def test_are_refused_behind_white_space(self, refuses, blank):
        """BWS: refused on purpose, csrc/chunked.c says why."""
        refuses(HEAD + b"5" + blank + b";a\r\nhello\r\n" + END, "REQUEST_CHUNK_SIZE_INVALID")

    @pytest.mark.parametrize("end", [b"\rX", b"\r\r\n", b"\r\x00"], ids=repr)
    def test_are_refused_with_a_bare_cr_at_their_end(self, refuses, end):
        refuses(HEAD + b"5;a" + end + b"hello\r\n" + END, "REQUEST_CHUNK_SIZE_INVALID")

    def test_may_fill_a_line_of_4096_octets(self, accepts):
        assert accepts(HEAD + b"5;" + b"a" * 4094 + b"\r\nhello\r\n" + END).body == b"hello"

    def test_are_refused_beyond_4096_octets(self, refuses):
        refuses(HEAD + b"5;" + b"a" * 4095 + b"\r\nhello\r\n" + END, "REQUEST_CHUNK_OVERHEAD_TOO_LONG")
        refuses(HEAD + b"0" * 4097, "REQUEST_CHUNK_OVERHEAD_TOO_LONG")


class TestTrailerSection:
    """§7.1.2"""

    @pytest.mark.parametrize(
        "trailer",
        [
            b"X: y\r\n",
            b"X:\r\n",
            b"X: y\r\nZ: \t a\xffb \r\n",
            b"X_Y: z\r\n",
            b"Content-Length: 99\r\n",
            b"Transfer-Encoding: gzip\r\n",
            b"Host: evil\r\nProxy: evil\r\nAuthorization: evil\r\nX-Forwarded-For: evil\r\n",
        ],
        ids=repr,
    )
    def test_is_checked_and_never_reaches_environ(self, accepts, trailer):
        with_trailer = accepts(HEAD + b"5\r\nhello\r\n0\r\n" + trailer + b"\r\n")
        without = accepts(HEAD + b"5\r\nhello\r\n" + END)
        assert with_trailer == without
        assert with_trailer.body == b"hello"

    @pytest.mark.parametrize(
        "trailer",
        [
            b"X\r\n",
            b": y\r\n",
            b"X : y\r\n",
            b" X: y\r\n",
            b"X: y\r\n z\r\n",
            b"X: y\n",
            b"X: y\r",
            b"X: \x00\r\n",
            b"X: a\rb\r\n",
            b"X\xff: y\r\n",
            b"\n",
            b"\rX: y\r\n",
            b"GET / HTTP/1.1\r\n",
        ],
        ids=repr,
    )
    def test_is_refused_unless_it_is_field_lines(self, refuses, trailer):
        refuses(HEAD + b"5\r\nhello\r\n0\r\n" + trailer + b"\r\n", "REQUEST_TRAILER_INVALID")

    def test_is_refused_with_more_than_100_fields(self, accepts, refuses):
        assert accepts(HEAD + b"0\r\n" + b"X: y\r\n" * 100 + b"\r\n").body == b""
        refuses(HEAD + b"0\r\n" + b"X: y\r\n" * 101 + b"\r\n", "REQUEST_TRAILERS_TOO_LONG")

    def test_is_refused_with_a_field_line_beyond_the_limit(self, accepts, refuses):
        assert accepts(HEAD + b"0\r\nX:" + b"y" * 8188 + b"\r\n\r\n").body == b""
        refuses(HEAD + b"0\r\nX:" + b"y" * 8189 + b"\r\n\r\n", "REQUEST_TRAILERS_TOO_LONG")

    def test_is_refused_when_it_is_longer_than_a_head_may_be(self, serve):
        running = serve(verdict.echo, unix=True, limit_request_head=256)
        for cut in wire.CUTS:
            verdict.assert_refused(running, HEAD + b"0\r\n" + b"X: y\r\n" * 43, "REQUEST_TRAILERS_TOO_LONG", cut)

    def test_is_waited_for(self, serve):
        """The body ends with the empty line behind the trailer section, and not before."""
        running = serve(lambda environ, start_response: [start_response("200 OK", []), b"ok"][1:])
        with running.connect() as client:
            for part in (HEAD + b"5\r\nhello\r\n0\r\n", b"X: y\r\n", b"\r"):
                client.send(part)
                assert not client.has_input(0.02)
            assert running.calls == 0
            client.send(b"\n")
            assert client.read_response().body == b"ok"


class TestChunkedResponses:
    """§6.1, §7.1: what we send"""

    @staticmethod
    def application(environ, start_response):
        start_response("200 OK", [])
        return iter([b"a", b"", b"b" * 100_000, b"c"])

    def test_carry_one_chunk_for_each_block_of_unknown_length(self, serve, transport):
        with serve(self.application).connect() as client:
            response = client.exchange(wire.request())
            assert response.framing == "chunked"
            assert response.chunk_sizes == [1, 100_000, 1]
            assert response.body == b"a" + b"b" * 100_000 + b"c"
            client.assert_open()

    def test_are_never_sent_to_http_1_0(self, serve, transport):
        with serve(self.application).connect() as client:
            response = client.exchange(wire.request(version="1.0", fields=[("Connection", "keep-alive")]))
            assert response.framing == "close"
            assert response.says_close
            assert response.body == b"a" + b"b" * 100_000 + b"c"

    def test_have_no_chunks_when_they_answer_head(self, serve):
        with serve(self.application).connect() as client:
            response = client.exchange(wire.request(method="HEAD"), method="HEAD")
            assert response.status == 200
            client.assert_open()
