"""RFC 9112 §2: message format, parsing, version."""

from __future__ import annotations

import pytest

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class TestMessageFormat:
    """§2.1"""

    def test_accepts_a_request_line_a_field_line_and_an_empty_line(self, accepts):
        accepted = accepts(HEAD)
        assert accepted.environ["REQUEST_METHOD"] == "GET"
        assert accepted.environ["HTTP_HOST"] == "a"
        assert accepted.body == b""

    def test_accepts_a_request_without_any_field_where_host_is_optional(self, accepts):
        assert accepts(b"GET / HTTP/1.0\r\n\r\n").environ["SERVER_PROTOCOL"] == "HTTP/1.0"

    @pytest.mark.parametrize(
        "octets",
        [
            pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS ClientHello"),
            pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="SSH"),
            pytest.param(b"\x00\x01\x02\x03\r\n\r\n", id="octets"),
            pytest.param(b"\xff\xfe\r\n\r\n", id="high octets"),
        ],
    )
    def test_refuses_what_is_not_http(self, refuses, octets):
        error = "REQUEST_LINE_MALFORMED" if octets.startswith(b"SSH") else "REQUEST_METHOD_INVALID"
        refuses(octets, error)


class TestMessageParsing:
    """§2.2"""

    def test_skips_an_empty_line_in_front_of_the_request_line(self, accepts):
        assert accepts(b"\r\n" + HEAD).environ["REQUEST_METHOD"] == "GET"

    def test_refuses_a_second_empty_line_in_front_of_the_request_line(self, refuses):
        refuses(b"\r\n\r\n" + HEAD, "REQUEST_LINE_MALFORMED")

    @pytest.mark.parametrize("before", [b"\n", b"\r", b"\r\r\n", b" \r\n"], ids=repr)
    def test_refuses_anything_else_in_front_of_the_request_line(self, refuses, before):
        refuses(before + HEAD, "REQUEST_LINE_MALFORMED")

    def test_refuses_a_bare_lf_behind_the_request_line(self, refuses):
        refuses(b"GET / HTTP/1.1\nHost: a\r\n\r\n", "REQUEST_LINE_MALFORMED")

    def test_refuses_a_bare_lf_behind_a_field_line(self, refuses):
        refuses(b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", "REQUEST_FIELD_VALUE_INVALID")

    def test_refuses_a_bare_lf_as_the_empty_line(self, refuses):
        refuses(b"GET / HTTP/1.1\r\nHost: a\r\n\n", "REQUEST_FIELD_NAME_INVALID")

    def test_refuses_a_head_that_uses_lf_only(self, refuses):
        refuses(b"GET / HTTP/1.1\nHost: a\n\n", "REQUEST_LINE_MALFORMED")

    def test_refuses_a_bare_cr_behind_the_request_line(self, refuses):
        refuses(b"GET / HTTP/1.1\rHost: a\r\n\r\n", "REQUEST_LINE_MALFORMED")

    @pytest.mark.parametrize("value", [b"a\rb", b"a\r\rb", b"\ra", b"a\r"], ids=repr)
    def test_refuses_a_bare_cr_in_a_field_value(self, refuses, value):
        refuses(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + value + b"\r\n\r\n", "REQUEST_FIELD_VALUE_INVALID")

    def test_refuses_a_bare_cr_where_the_empty_line_belongs(self, refuses):
        refuses(b"GET / HTTP/1.1\r\nHost: a\r\n\rX", "REQUEST_FIELD_NAME_INVALID")

    @pytest.mark.parametrize("blank", [b" ", b"\t", b"  \t"], ids=repr)
    def test_refuses_white_space_between_the_request_line_and_the_first_field(self, refuses, blank):
        refuses(b"GET / HTTP/1.1\r\n" + blank + b"Host: a\r\n\r\n", "REQUEST_FIELD_FOLDED")


class TestVersion:
    """§2.3"""

    @pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
    def test_accepts_and_reports_the_version(self, accepts, version):
        assert accepts(f"GET / {version}\r\nHost: a\r\n\r\n".encode()).environ["SERVER_PROTOCOL"] == version

    @pytest.mark.parametrize(
        "version", ["HTTP/0.0", "HTTP/0.9", "HTTP/1.2", "HTTP/1.9", "HTTP/2.0", "HTTP/3.0", "HTTP/9.9"]
    )
    def test_refuses_every_other_version(self, refuses, version):
        refuses(f"GET / {version}\r\nHost: a\r\n\r\n".encode(), "REQUEST_VERSION_UNSUPPORTED")

    def test_refuses_the_preface_of_http_2(self, refuses):
        refuses(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "REQUEST_VERSION_UNSUPPORTED")

    @pytest.mark.parametrize(
        "version",
        [
            b"http/1.1",
            b"Http/1.1",
            b"HTTPS/1.1",
            b"HTTP",
            b"HTTP/",
            b"HTTP/1",
            b"HTTP/1.",
            b"HTTP/.1",
            b"HTTP/11",
            b"HTTP/1,1",
            b"HTTP/1x1",
            b"HTTP/1.11",
            b"HTTP/01.1",
            b"HTTP/1.1.1",
            b"HTTP/+1.1",
            b"HTTP/1.-1",
            b"HTTP/ 1.1",
            b"HTTP /1.1",
            b"HTTP/1.1\t",
            b"HTTP/1.1\x00",
            b"HTTP/\xd9\xa1.\xd9\xa1",
            b"XTTP/1.1",
            b"1.1",
        ],
        ids=repr,
    )
    def test_refuses_what_is_not_http_slash_digit_dot_digit(self, refuses, version):
        refuses(b"GET / " + version + b"\r\nHost: a\r\n\r\n", "REQUEST_VERSION_INVALID")
