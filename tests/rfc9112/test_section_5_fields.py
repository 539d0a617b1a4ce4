"""RFC 9112 §5 and RFC 9110 §5: field lines; what of them reaches environ (RFC 3875 §4.1.18, PEP 3333)."""

from __future__ import annotations

import pytest

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n"
TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def with_lines(*lines: bytes) -> bytes:
    return HEAD + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def http_fields(accepted) -> dict[str, str]:
    return {key: value for key, value in accepted.environ.items() if key.startswith(("HTTP_", "CONTENT_"))}


class TestFieldName:
    """§5.1, RFC 9110 §5.1"""

    @pytest.mark.parametrize("name", [b"x-one", b"X-One", b"X-ONE"])
    def test_is_case_insensitive(self, accepts, name):
        assert http_fields(accepts(with_lines(name + b": 1"))) == {"HTTP_HOST": "a", "HTTP_X_ONE": "1"}

    def test_may_have_every_octet_of_a_token(self, accepts):
        name = TOKEN.replace(b"_", b"")
        key = "HTTP_" + name.decode().upper().replace("-", "_")
        assert http_fields(accepts(with_lines(name + b": 1"))) == {"HTTP_HOST": "a", key: "1"}

    @pytest.mark.parametrize("octet", [bytes([c]) for c in range(256) if c not in TOKEN + b":"], ids=repr)
    def test_is_refused_with_any_other_octet(self, refuses, octet):
        refuses(with_lines(b"X" + octet + b"Y: 1"), "REQUEST_FIELD_NAME_INVALID")

    @pytest.mark.parametrize("line", [b": 1", b":", b":a: b"], ids=repr)
    def test_is_refused_when_empty(self, refuses, line):
        refuses(with_lines(line), "REQUEST_FIELD_NAME_INVALID")

    @pytest.mark.parametrize("line", [b"X", b"GET / HTTP/1.1", b"X y"], ids=repr)
    def test_is_refused_without_a_colon(self, refuses, line):
        refuses(with_lines(line), "REQUEST_FIELD_NAME_INVALID")

    @pytest.mark.parametrize("name", [b"X", b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"X_y"])
    @pytest.mark.parametrize("blank", [b" ", b"\t", b"\x0b", b"\x00", b"\xa0"], ids=repr)
    def test_is_refused_with_white_space_before_the_colon(self, refuses, name, blank):
        refuses(with_lines(name + blank + b": 1"), "REQUEST_FIELD_NAME_INVALID")

    @pytest.mark.parametrize(
        "name",
        [b"X_Forwarded_For", b"X-Forwarded_For", b"_", b"a_", b"_a", b"Content_Length", b"Content_Type", b"Host_"],
    )
    def test_is_dropped_with_an_underscore_which_could_forge_a_dash(self, accepts, name):
        accepted = accepts(with_lines(b"X-Forwarded-For: 192.0.2.1", name + b": 2"))
        assert http_fields(accepted) == {"HTTP_HOST": "a", "HTTP_X_FORWARDED_FOR": "192.0.2.1"}

    @pytest.mark.parametrize(
        "name", [b"Host_", b"Content_Length", b"Transfer_Encoding", b"Transfer-Encodin", b"Content"]
    )
    def test_does_not_count_as_a_field_that_it_resembles(self, accepts, name):
        assert accepts(with_lines(name + b": 5")).body == b""

    @pytest.mark.parametrize("name", [b"Proxy", b"proxy", b"PROXY"])
    def test_is_dropped_when_it_would_become_http_proxy(self, accepts, name):
        accepted = accepts(with_lines(name + b": http://evil/", b"X-Proxy: 1", b"Proxy-X: 2"))
        assert http_fields(accepted) == {"HTTP_HOST": "a", "HTTP_X_PROXY": "1", "HTTP_PROXY_X": "2"}

    def test_may_be_long(self, accepts):
        name = b"x" * 4000
        assert accepts(with_lines(name + b": 1")).environ["HTTP_" + "X" * 4000] == "1"


class TestFieldValue:
    """§5, RFC 9110 §5.5"""

    @pytest.mark.parametrize(
        ("sent", "value"),
        [
            (b"X:1", "1"),
            (b"X: 1", "1"),
            (b"X:\t1", "1"),
            (b"X: \t  1 \t ", "1"),
            (b"X:1 ", "1"),
            (b"X:", ""),
            (b"X: ", ""),
            (b"X:\t \t", ""),
            (b"X: a \t b", "a \t b"),
            (b"X: a:b", "a:b"),
            (b"X::", ":"),
            (b'X: "a, b"', '"a, b"'),
            (b"X: , ,", ", ,"),
        ],
        ids=repr,
    )
    def test_is_stripped_of_spaces_and_tabs_around_it(self, accepts, sent, value):
        assert accepts(with_lines(sent)).environ["HTTP_X"] == value

    @pytest.mark.parametrize("octet", [bytes([c]) for c in range(32) if c != 9] + [b"\x7f"], ids=repr)
    def test_is_refused_with_a_control_octet(self, refuses, octet):
        for value in (b"a" + octet + b"b", octet + b"a", b"a" + octet, octet):
            refuses(with_lines(b"X: " + value), "REQUEST_FIELD_VALUE_INVALID")

    def test_may_have_every_other_octet_and_reaches_the_application_as_latin_1(self, accepts):
        octets = bytes(c for c in range(33, 256) if c != 127)
        assert accepts(with_lines(b"X: " + octets)).environ["HTTP_X"] == octets.decode("latin-1")

    @pytest.mark.parametrize("octet", [b"\x85", b"\xa0", b"\xff"], ids=repr)
    def test_keeps_high_octets_at_its_ends_which_are_no_white_space(self, accepts, octet):
        assert accepts(with_lines(b"X: " + octet + b"a" + octet)).environ["HTTP_X"] == f"{octet.decode('latin-1')}a" + (
            octet.decode("latin-1")
        )


class TestObsoleteFolding:
    """§5.2"""

    @pytest.mark.parametrize("fold", [b"\r\n ", b"\r\n\t", b"\r\n \r\n ", b" \r\n "], ids=repr)
    def test_is_refused(self, refuses, fold):
        refuses(with_lines(b"X: a" + fold + b"b"), "REQUEST_FIELD_FOLDED")

    def test_is_refused_in_framing_fields(self, refuses):
        refuses(with_lines(b"Transfer-Encoding:\r\n chunked"), "REQUEST_FIELD_FOLDED")
        refuses(with_lines(b"Content-Length: 1\r\n 2"), "REQUEST_FIELD_FOLDED")

    def test_is_refused_when_a_line_of_blanks_stands_for_the_empty_line(self, refuses):
        refuses(HEAD + b" \r\n\r\n", "REQUEST_FIELD_FOLDED")


class TestRepeatedFields:
    """RFC 9110 §5.2, §5.3"""

    def test_are_joined_by_commas_in_their_order(self, accepts):
        accepted = accepts(with_lines(b"X: 1", b"Y: a", b"x: 2", b"X:", b"X: 3, 4"))
        assert accepted.environ["HTTP_X"] == "1,2,,3, 4"
        assert accepted.environ["HTTP_Y"] == "a"

    def test_are_joined_by_semicolons_when_they_are_cookies(self, accepts):
        accepted = accepts(with_lines(b"Cookie: a=1", b"cookie: b=2; c=3", b"COOKIE: d=4"))
        assert accepted.environ["HTTP_COOKIE"] == "a=1; b=2; c=3; d=4"

    def test_are_not_joined_with_a_dropped_one(self, accepts):
        assert accepts(with_lines(b"X-Y: 1", b"X_Y: 2")).environ["HTTP_X_Y"] == "1"

    def test_that_may_come_once_only_are_refused(self, refuses):
        refuses(with_lines(b"Content-Type: text/plain", b"content-type: text/html"), "REQUEST_CONTENT_TYPE_REPEATED")
        refuses(with_lines(b"Content-Type: text/plain", b"Content-Type: text/plain"), "REQUEST_CONTENT_TYPE_REPEATED")


class TestContentFields:
    """RFC 3875 §4.1.2, §4.1.3: without HTTP_"""

    def test_have_keys_of_their_own(self, accepts):
        accepted = accepts(b"POST / HTTP/1.1\r\nHost: a\r\ncontent-type: a/b\r\nCONTENT-LENGTH: 2\r\n\r\nhi")
        assert http_fields(accepted) == {"HTTP_HOST": "a", "CONTENT_TYPE": "a/b", "CONTENT_LENGTH": "2"}

    def test_are_not_there_when_they_were_not_sent(self, accepts):
        assert http_fields(accepts(with_lines())) == {"HTTP_HOST": "a"}

    def test_cannot_be_forged_by_other_names(self, accepts):
        accepted = accepts(with_lines(b"HTTP-HOST: evil", b"REMOTE-ADDR: 1.2.3.4", b"Content-Typ: x", b"wsgi.input: y"))
        assert http_fields(accepted) == {
            "HTTP_HOST": "a",
            "HTTP_HTTP_HOST": "evil",
            "HTTP_REMOTE_ADDR": "1.2.3.4",
            "HTTP_CONTENT_TYP": "x",
            "HTTP_WSGI.INPUT": "y",
        }
