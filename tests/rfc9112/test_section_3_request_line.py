"""RFC 9112 §3: request line, method, request target; Host."""

from __future__ import annotations

import re

import pytest
import verdict


def line(text: bytes) -> bytes:
    return text + b"\r\nHost: a\r\n\r\n"


def target(octets: bytes, method: bytes = b"GET") -> bytes:
    return line(method + b" " + octets + b" HTTP/1.1")


class TestRequestLine:
    """§3"""

    @pytest.mark.parametrize(
        "text",
        [
            pytest.param(b"GET", id="method only"),
            pytest.param(b"GET ", id="method and space"),
            pytest.param(b"GET /", id="HTTP/0.9"),
            pytest.param(b"GET / ", id="HTTP/0.9 with a space"),
            pytest.param(b"GET  / HTTP/1.1", id="two spaces before the target"),
            pytest.param(b"GET /  HTTP/1.1", id="two spaces before the version"),
            pytest.param(b" GET / HTTP/1.1", id="space in front"),
            pytest.param(b"GET / HTTP/1.1 ", id="space behind"),
            pytest.param(b"GET  HTTP/1.1", id="no target"),
            pytest.param(b"HTTP/1.1", id="version only"),
            pytest.param(b"/ HTTP/1.1", id="no method"),
            pytest.param(b" / HTTP/1.1", id="empty method"),
        ],
    )
    def test_refuses_what_is_not_three_words_with_one_space_between(self, refuses, text):
        # "HTTP" is a token, and "/" is not: that is how far the first word of these two gets
        error = "REQUEST_METHOD_INVALID" if text[:1] in b"H/" else "REQUEST_LINE_MALFORMED"
        refuses(line(text), error)

    @pytest.mark.parametrize("blank", [b"\t", b"\x0b", b"\x0c", b"\xa0"], ids=repr)
    def test_takes_no_other_white_space_for_the_space(self, refuses, blank):
        refuses(line(b"GET" + blank + b"/ HTTP/1.1"), "REQUEST_METHOD_INVALID")
        refuses(line(b"GET /" + blank + b"HTTP/1.1"), "REQUEST_TARGET_INVALID")
        refuses(line(b"GET / " + blank + b"HTTP/1.1"), "REQUEST_VERSION_INVALID")

    def test_refuses_a_space_within_the_target(self, refuses):
        refuses(line(b"GET /a b HTTP/1.1"), "REQUEST_VERSION_INVALID")


class TestMethod:
    """§3.1, RFC 9110 §9"""

    @pytest.mark.parametrize(
        "method",
        ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "PROPFIND", "QUERY", "BREW", "X"],
    )
    def test_hands_on_a_method_known_or_not(self, accepts, method):
        assert accepts(target(b"/", method.encode())).environ["REQUEST_METHOD"] == method

    @pytest.mark.parametrize("method", ["get", "Get", "post", "head", "connect"])
    def test_keeps_the_case_which_makes_another_method(self, accepts, method):
        assert accepts(target(b"/", method.encode())).environ["REQUEST_METHOD"] == method

    def test_accepts_every_octet_of_a_token(self, accepts):
        method = "!#$%&'*+-.^_`|~09AZaz"
        assert accepts(target(b"/", method.encode())).environ["REQUEST_METHOD"] == method

    @pytest.mark.parametrize("octet", [bytes([c]) for c in b'"(),/:;<=>?@[\\]{}\x00\x01\x1f\x7f\x80\xe9\xff'], ids=repr)
    def test_refuses_every_octet_that_no_token_has(self, refuses, octet):
        refuses(target(b"/", b"GE" + octet + b"T"), "REQUEST_METHOD_INVALID")

    def test_refuses_connect_which_is_for_proxies(self, refuses):
        refuses(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", "REQUEST_METHOD_UNSUPPORTED")
        refuses(target(b"/", b"CONNECT"), "REQUEST_METHOD_UNSUPPORTED")


class TestRequestTarget:
    """§3.2"""

    @pytest.mark.parametrize("octet", [bytes([c]) for c in b'"#<>\\`{}\x00\x01\x08\x1f\x7f\x80\xa0\xc3\xff'], ids=repr)
    def test_refuses_an_octet_that_no_path_has(self, refuses, octet):
        refuses(target(b"/a" + octet + b"b"), "REQUEST_TARGET_INVALID")

    @pytest.mark.parametrize("octet", [bytes([c]) for c in b'"#<>\x00\x01\x1f\x7f\x80\xff'], ids=repr)
    def test_refuses_an_octet_that_no_query_has(self, refuses, octet):
        refuses(target(b"/?a" + octet + b"b"), "REQUEST_TARGET_INVALID")

    @pytest.mark.parametrize(
        "word", [b"a", b"index.html", b"?a=b", b"a/b", b".", b"%2F", b"example.com", b"a:80"], ids=repr
    )
    def test_refuses_a_target_that_has_none_of_the_forms(self, refuses, word):
        refuses(target(word), "REQUEST_TARGET_INVALID")


class TestOriginForm:
    """§3.2.1"""

    @pytest.mark.parametrize(
        ("sent", "path", "query"),
        [
            ("/", "/", ""),
            ("/where?q=now", "/where", "q=now"),
            ("/?", "/", ""),
            ("/a??b?c", "/a", "?b?c"),
            ("//host/path", "//host/path", ""),
            ("/../a/./b//c/", "/../a/./b//c/", ""),
            ("/a%20b", "/a b", ""),
            ("/%2e%2E%2f", "/../", ""),
            ("/%C3%A9", "/\xc3\xa9", ""),
            ("/%7f%01%ff", "/\x7f\x01\xff", ""),
            ("/%25%32%35", "/%25", ""),
            ("/a+b", "/a+b", ""),
            ("/a;b=c,d:e@f!g$h&i'j(k)l*m~n", "/a;b=c,d:e@f!g$h&i'j(k)l*m~n", ""),
            ("/a|b[c]d^e", "/a|b[c]d^e", ""),
            ("/?a=%zz&b=%&c=%00", "/", "a=%zz&b=%&c=%00"),
            ("/?{a}|b\\c^d`e[f]", "/", "{a}|b\\c^d`e[f]"),
            ("/*", "/*", ""),
            ("/http://a/b", "/http://a/b", ""),
            ("/a:80", "/a:80", ""),
        ],
    )
    def test_splits_path_and_query_and_decodes_the_path_once(self, accepts, sent, path, query):
        environ = accepts(target(sent.encode())).environ
        assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == (path, query)
        assert environ["RAW_URI"] == environ["REQUEST_URI"] == sent
        assert environ["SCRIPT_NAME"] == ""

    @pytest.mark.parametrize(
        "path", [b"/%", b"/%2", b"/%zz", b"/%2g", b"/%%20", b"/a%?b", b"/%+1", b"/%u0041"], ids=repr
    )
    def test_refuses_a_percent_sign_without_two_hex_digits_in_the_path(self, refuses, path):
        refuses(target(path), "REQUEST_TARGET_INVALID")

    def test_refuses_an_encoded_nul_in_the_path(self, refuses):
        refuses(target(b"/a%00b"), "REQUEST_TARGET_INVALID")  # RFC 3986 §7.3


class TestAbsoluteForm:
    """§3.2.2"""

    @pytest.mark.parametrize(
        ("sent", "host", "path", "query"),
        [
            ("http://example.com/a?b", "example.com", "/a", "b"),
            ("http://example.com", "example.com", "/", ""),
            ("http://example.com?b", "example.com", "/", "b"),
            ("http://example.com:8080/", "example.com:8080", "/", ""),
            ("http://example.com:/", "example.com:", "/", ""),
            ("HTTP://EXAMPLE.com/", "EXAMPLE.com", "/", ""),
            ("https://example.com/", "example.com", "/", ""),
            ("http://127.0.0.1:1/", "127.0.0.1:1", "/", ""),
            ("http://[::1]:80/x", "[::1]:80", "/x", ""),
            ("http://ex%61mple/%61", "ex%61mple", "/a", ""),
            ("http://example.com/http://b/", "example.com", "/http://b/", ""),
            ("http://example.com?a/b", "example.com", "/", "a/b"),
        ],
    )
    def test_takes_the_authority_in_place_of_host(self, accepts, sent, host, path, query):
        environ = accepts(f"GET {sent} HTTP/1.1\r\nHost: other.example\r\n\r\n".encode()).environ
        assert environ["HTTP_HOST"] == host
        assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == (path, query)
        assert environ["RAW_URI"] == sent

    def test_takes_it_from_http_1_0_without_host_as_well(self, accepts):
        assert accepts(b"GET http://b/ HTTP/1.0\r\n\r\n").environ["HTTP_HOST"] == "b"

    @pytest.mark.parametrize(
        "sent",
        [
            b"http://",
            b"http:///path",
            b"http://:80/",
            b"http://?q",
            b"http:/a",
            b"http:a",
            b"http//a",
            b"://a/",
            b"ftp://a/",
            b"file:///etc/passwd",
            b"ws://a/",
            b"httpx://a/",
            b"javascript:alert(1)",
            b"mailto:a@b",
            b"http://user@a/",
            b"http://user:word@a/",
            b"http://a:b/",
            b"http://a:65536/",
            b"http://a:-1/",
            b"http://a:80:80/",
            b"http://[::1/",
            b"http://::1/",
            b"http://[::1]x/",
            b"http://[a]/",
            b"http://a[b]/",
            b"http://a%zz/",
            b"http://a%/",
            b"http://a|b/",
            b"http://a^b/",
            b"http://a/%zz",
            b"http://a/%00",
            b"http://a/#b",
        ],
        ids=repr,
    )
    def test_refuses_another_scheme_or_an_authority_that_is_none(self, refuses, sent):
        refuses(target(sent), "REQUEST_TARGET_INVALID")

    def test_still_wants_host_on_http_1_1(self, refuses):
        refuses(b"GET http://a/ HTTP/1.1\r\n\r\n", "REQUEST_HOST_MISSING")

    def test_still_wants_host_to_be_valid(self, refuses):
        refuses(b"GET http://a/ HTTP/1.1\r\nHost: b@c\r\n\r\n", "REQUEST_HOST_INVALID")


class TestAuthorityForm:
    """§3.2.3"""

    @pytest.mark.parametrize("sent", [b"example.com:80", b"127.0.0.1:80", b"[::1]:80"], ids=repr)
    def test_is_for_connect_only(self, refuses, sent):
        refuses(target(sent), "REQUEST_TARGET_INVALID")


class TestAsteriskForm:
    """§3.2.4"""

    def test_accepts_it_from_options_with_a_path_for_the_application(self, accepts):
        environ = accepts(target(b"*", b"OPTIONS")).environ
        assert (environ["PATH_INFO"], environ["RAW_URI"], environ["QUERY_STRING"]) == ("/", "*", "")

    @pytest.mark.parametrize("method", [b"GET", b"POST", b"HEAD", b"options", b"OPTION"], ids=repr)
    def test_refuses_it_from_any_other_method(self, refuses, method):
        refuses(target(b"*", method), "REQUEST_TARGET_INVALID")

    @pytest.mark.parametrize("sent", [b"**", b"*?a", b"*/"], ids=repr)
    def test_refuses_more_than_the_asterisk(self, refuses, sent):
        refuses(target(sent, b"OPTIONS"), "REQUEST_TARGET_INVALID")


class TestHost:
    """§3.2, RFC 9110 §7.2"""

    @pytest.mark.parametrize(
        "value",
        [
            "example.com",
            "EXAMPLE.com",
            "example.com:80",
            "example.com:",
            "example.com.",
            "localhost",
            "a_b.example",
            "127.0.0.1",
            "127.0.0.1:8000",
            "999.999.999.999",
            "[::1]",
            "[::1]:8000",
            "[::]",
            "[1:2:3:4:5:6:7:8]",
            "[1:2:3:4:5:6:127.0.0.1]",
            "[::ffff:127.0.0.1]",
            "[fe80::1]:",
            "[v1.a:b]",
            "xn--bcher-kva.example",
            "a!$&'()*+,;=~b",
            "%41.example",
            "a:65535",
            "",
        ],
    )
    def test_accepts_a_host_and_perhaps_a_port(self, accepts, value):
        assert accepts(f"GET / HTTP/1.1\r\nHost: {value}\r\n\r\n".encode()).environ["HTTP_HOST"] == value

    @pytest.mark.parametrize(
        "value",
        [
            b"a b",
            b"a\tb",
            b"a/b",
            b"a?b",
            b"a#b",
            b"a\\b",
            b"a@b",
            b"user:word@a",
            b"http://a",
            b"a:b",
            b"a:80b",
            b"a: 80",
            b"a :80",
            b"a:80:80",
            b"a:65536",
            b"a:+80",
            b"a:0x50",
            b":80",
            b":",
            b"::1",
            b"[::1",
            b"::1]",
            b"[]",
            b"[::1]a",
            b"[::1]]",
            b"[1:2:3:4:5:6:7]",
            b"[1:2:3:4:5:6:7:8:9]",
            b"[1::2::3]",
            b"[:::1]",
            b"[::12345]",
            b"[::g]",
            b"[::1%eth0]",
            b"[::256.0.0.1]",
            b"[::1.2.3]",
            b"[v.a]",
            b"[v1.]",
            b"[127.0.0.1]",
            b"a%",
            b"a%4",
            b"a%zz",
            b'"a"',
            b"<a>",
            b"a\xe9",
            b"\xc3\xa9",
        ],
        ids=repr,
    )
    def test_refuses_what_is_no_host(self, refuses, value):
        refuses(b"GET / HTTP/1.1\r\nHost: " + value + b"\r\n\r\n", "REQUEST_HOST_INVALID")

    def test_refuses_http_1_1_without_it(self, refuses):
        refuses(b"GET / HTTP/1.1\r\n\r\n", "REQUEST_HOST_MISSING")
        refuses(b"GET / HTTP/1.1\r\nX-Host: a\r\nHosts: a\r\nHos: a\r\n\r\n", "REQUEST_HOST_MISSING")

    def test_does_not_need_it_on_http_1_0(self, accepts):
        assert "HTTP_HOST" not in accepts(b"GET / HTTP/1.0\r\nX: a\r\n\r\n").environ

    @pytest.mark.parametrize("version", [b"1.0", b"1.1"])
    @pytest.mark.parametrize("second", [b"Host: a", b"Host: b", b"host:a", b"HOST: ", b"Host:"], ids=repr)
    def test_refuses_a_second_one_whatever_it_says(self, refuses, version, second):
        refuses(b"GET / HTTP/" + version + b"\r\nHost: a\r\nX: y\r\n" + second + b"\r\n\r\n", "REQUEST_HOST_REPEATED")

    def test_refuses_an_invalid_one_on_http_1_0_too(self, refuses):
        refuses(b"GET / HTTP/1.0\r\nHost: a@b\r\n\r\n", "REQUEST_HOST_INVALID")

    def test_drops_the_white_space_around_it(self, accepts):
        assert accepts(b"GET / HTTP/1.1\r\nHost: \t a \t \r\n\r\n").environ["HTTP_HOST"] == "a"


class TestTls:
    """A client that takes us for https://: its first octet is no beginning of a method."""

    HELLO = bytes.fromhex("1603010200010001fc0303") + b"\x55" * 64

    def test_is_refused_and_the_log_says_what_it_was_once_a_minute(self, serve, caplog, transport):
        caplog.set_level("INFO", "headrace")
        running = serve(verdict.echo)
        for octets in (self.HELLO, self.HELLO[:1]):
            with running.connect(watched=False) as client:
                client.send(octets, may_break=True)
                assert client.read_response().status == 400
                client.assert_closed()
        told = [message for message in caplog.messages if message.startswith("HR212")]
        assert len(told) == 1
        peer = "unix" if transport == "unix" else r"127\.0\.0\.1:\d+"
        where = re.escape(running.server.url)
        assert re.fullmatch(
            rf"HR212 {peer} spoke TLS \(https://\) to {where}, a listener of plain HTTP; .* \(1 so far\)", told[0]
        )
        assert running.calls == 0

    def test_is_not_suspected_of_other_messages_that_are_refused(self, serve, caplog):
        caplog.set_level("INFO", "headrace")
        running = serve(verdict.echo)
        for octets in (b"\x17\r\n", b"GET\x16\r\n", b"PRI * HTTP/2.0\r\n\r\n"):
            assert running.exchange(octets).status in (400, 505)
        assert "HR212" not in caplog.text
