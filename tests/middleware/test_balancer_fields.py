"""What a gateway hands on and what it makes anew: headrace.middleware.forwarding, a module of functions."""

from __future__ import annotations

from urllib.parse import unquote

import pytest

from headrace.middleware import Router, forwarded, forwarding


def environ_of(**more):
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_NAME": "front",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.7",
        "HTTP_HOST": "shop.example",
        "wsgi.url_scheme": "http",
    }
    return environ | {key.replace("__", "."): value for key, value in more.items()}


class TestTarget:
    @pytest.mark.parametrize(
        ("raw", "path", "query", "target"),
        [
            ("/a%2fb%7E?x=%2f", "/a/b~", "x=%2f", "/a%2fb%7E?x=%2f"),
            ("/a?", "/a", "", "/a?"),
            ("//evil.example/x", "//evil.example/x", "", "//evil.example/x"),
            ("http://shop.example/a%2f?q", "/a/", "q", "/a%2f?q"),
            ("http://shop.example", "/", "", "/"),
            ("/a|b", "/a|b", "", "/a|b"),
            ("/before", "/after \xe9", "x=1", "/after%20%E9?x=1"),
            (None, "/p q#?/\xc3\xa9", "x", "/p%20q%23%3F/%C3%A9?x"),
            (None, "", "", "/"),
            ("/a", "/a", "x=#\xe9 ", "/a?x=%23%E9%20"),
        ],
    )
    def test_is_as_it_came_as_long_as_it_means_what_environ_says(self, raw, path, query, target):
        environ = environ_of(PATH_INFO=path, QUERY_STRING=query)
        if raw is not None:
            environ["RAW_URI"] = raw
        assert forwarding.target_of(environ, strip_prefix=False) == target

    @pytest.mark.parametrize(("raw", "stripped"), [("/api/x%2fy", "/x%2fy"), ("/%61pi/x%2fy", "/x/y"), (None, "/x/y")])
    def test_without_the_prefix(self, raw, stripped):
        environ = environ_of(SCRIPT_NAME="/api", PATH_INFO="/x/y", RAW_URI=raw)
        assert forwarding.target_of(environ, strip_prefix=True) == stripped
        assert forwarding.target_of(environ, strip_prefix=False) == (raw or "/api/x/y")

    @pytest.mark.parametrize("raw", ["/a%2Fb", "/a%2fb", "/%61%2Fb", "/a%2Fb?x"])
    def test_under_a_router_is_the_path_that_the_application_is_told(self, raw):
        targets = []
        router = Router()
        router.mount("/a", lambda environ, _: targets.append(forwarding.target_of(environ, strip_prefix=True)) or [])
        path, _, query = raw.partition("?")
        router(environ_of(PATH_INFO=unquote(path), QUERY_STRING=query, RAW_URI=raw), print)
        assert targets == ["/b" + raw.partition("b")[2]]

    def test_may_have_anything_in_the_prefix(self):
        environ = environ_of(SCRIPT_NAME="/a\r\n b", PATH_INFO="/c", RAW_URI="/a%0D%0A%20b/%63")
        assert forwarding.target_of(environ, strip_prefix=True) == "/%63"
        assert forwarding.quoted_path(environ["SCRIPT_NAME"]) == "/a%0D%0A%20b"

    def test_of_the_prefix_alone_is_the_root(self):
        environ = environ_of(SCRIPT_NAME="/api", PATH_INFO="", QUERY_STRING="a", RAW_URI="/api?a")
        assert forwarding.target_of(environ, strip_prefix=True) == "/?a"

    def test_asterisk_is_kept_for_options(self):
        assert forwarding.target_of(environ_of(REQUEST_METHOD="OPTIONS", RAW_URI="*"), False) == "*"


class TestRequestFields:
    def test_of_one_connection_stay_here(self):
        environ = environ_of(
            HTTP_CONNECTION="close, X-Mine",
            HTTP_X_MINE="1",
            HTTP_KEEP_ALIVE="5",
            HTTP_TE="trailers",
            HTTP_TRAILER="X",
            HTTP_TRANSFER_ENCODING="chunked",
            HTTP_UPGRADE="h2c",
            HTTP_HTTP2_SETTINGS="x",
            HTTP_PROXY_AUTHORIZATION="Basic x",
            HTTP_PROXY_CONNECTION="close",
            HTTP_EXPECT="100-continue",
            HTTP_CONTENT_LENGTH="7",
            HTTP_AUTHORIZATION="Basic y",
            CONTENT_TYPE="text/plain",
        )
        fields = forwarding.end_to_end_fields(environ)
        assert fields == {"Authorization": "Basic y", "Content-Type": "text/plain"}

    def test_that_say_who_asked_are_not_the_clients(self):
        environ = environ_of(
            HTTP_X_FORWARDED_PROTO="https", HTTP_X_FORWARDED_PREFIX="/x", HTTP_X_FORWARDED_HOST="a", HTTP_VIA="1.0 a"
        )
        assert forwarding.end_to_end_fields(environ) == {}

    def test_that_say_so_in_other_words_are_not_the_clients_either(self):
        assert {"HTTP_X_REAL_IP", "HTTP_FRONT_END_HTTPS", "HTTP_X_URL_SCHEME"} <= forwarding.LOOKALIKES
        assert {"HTTP_X_CLIENT_IP", "HTTP_TRUE_CLIENT_IP", "HTTP_CF_CONNECTING_IP"} <= forwarding.CLIENT_ADDRESSES
        said = forwarding.LOOKALIKES | forwarding.CLIENT_ADDRESSES
        assert forwarding.end_to_end_fields(environ_of(**dict.fromkeys(said, "x"))) == {}

    @pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\0", "\u20ac"])
    def test_that_could_end_their_line_are_refused(self, value):
        for key, name in [("HTTP_X_ODD", "X-Odd"), ("HTTP_VIA", "Via"), ("HTTP_X_FORWARDED_FOR", "X-Forwarded-For")]:
            with pytest.raises(forwarding.BadRequest, match=name):
                forwarding.end_to_end_fields(environ_of(HTTP_CONNECTION=name, **{key: value}))

    def test_with_names_that_are_no_tokens_are_dropped(self):
        assert forwarding.end_to_end_fields(environ_of(**{"HTTP_X:Y": "1", "HTTP_A B": "2"})) == {}


class TestForwarded:
    def added(self, **more):
        return forwarding.forwarding_fields(environ_of(**more), "shop.example:80", "edge")

    def test_says_who_asked_whom_and_how(self):
        assert self.added() == {
            "X-Forwarded-For": "192.0.2.7",
            "X-Forwarded-Proto": "http",
            "X-Forwarded-Host": "shop.example:80",
            "Forwarded": 'for=192.0.2.7;host="shop.example:80";proto=http',
            "Via": "1.1 edge",
        }

    def test_stands_behind_what_was_there(self):
        fields = self.added(
            HTTP_X_FORWARDED_FOR="203.0.113.1", HTTP_FORWARDED='for="[2001:db8::1]";proto=https', HTTP_VIA="1.0 far"
        )
        assert fields["X-Forwarded-For"] == "203.0.113.1, 192.0.2.7"
        assert fields["Forwarded"].startswith('for="[2001:db8::1]";proto=https, for=192.0.2.7;')
        assert fields["Via"] == "1.0 far, 1.1 edge"

    @pytest.mark.parametrize("broken", ['for="', "for", "for=a b", "for=1.2.3.4:80", ",", 'for="a\\"'])
    def test_does_not_stand_behind_what_would_swallow_it(self, broken):
        assert self.added(HTTP_FORWARDED=broken)["Forwarded"].startswith("for=192.0.2.7;")

    @pytest.mark.parametrize(
        "before",
        [
            "for=_a; proto=https",
            "for=_a ;proto=https",
            "for=_a;for=_b",
            "for=_a,",
            "for=_a;",
            "for=_a , for=_b",
            "",
            ";",
        ],
    )
    def test_is_one_that_forwarded_headers_understands(self, before):
        def application(environ, start_response):
            return [environ["REMOTE_ADDR"].encode()]

        asked = environ_of(HTTP_FORWARDED=self.added(HTTP_FORWARDED=before)["Forwarded"], REMOTE_ADDR="127.0.0.1")
        inner = forwarded.ForwardedHeaders(application, ["127.0.0.1"], fields=["Forwarded"])
        assert inner(asked, lambda status, fields: None) == [b"192.0.2.7"]

    def test_puts_ipv6_into_brackets_and_quotes(self):
        assert self.added(REMOTE_ADDR="2001:db8::7")["Forwarded"].startswith('for="[2001:db8::7]";')

    def test_leaves_out_the_zone(self):
        assert self.added(REMOTE_ADDR='fe80::1%a";x')["Forwarded"].startswith('for="[fe80::1]";')

    def test_does_not_stand_behind_what_concerned_one_connection(self):
        fields = self.added(
            HTTP_CONNECTION="via, X-Forwarded-For", HTTP_VIA="1.0 far", HTTP_X_FORWARDED_FOR="203.0.113.1"
        )
        assert (fields["Via"], fields["X-Forwarded-For"]) == ("1.1 edge", "192.0.2.7")

    def test_does_not_know_the_peer_of_a_unix_socket(self):
        fields = self.added(REMOTE_ADDR="")
        assert fields["Forwarded"].startswith("for=unknown;")
        assert "X-Forwarded-For" not in fields

    def test_escapes_quotes_of_a_host(self):
        assert forwarding.quoted_if_needed('a"b\\') == r'"a\"b\\"'


class TestLength:
    def test_is_unknown_only_where_reading_to_the_end_is_allowed(self):
        assert forwarding.declared_length(environ_of(CONTENT_LENGTH="12")) == 12
        assert forwarding.declared_length(environ_of(CONTENT_LENGTH="")) == 0
        assert forwarding.declared_length(environ_of(wsgi__input_terminated=True)) is None
        with pytest.raises(forwarding.BadRequest) as caught:
            forwarding.declared_length(environ_of(HTTP_TRANSFER_ENCODING="chunked"))
        assert caught.value.status == "411 Length Required"

    @pytest.mark.parametrize("text", ["-1", "+1", "1_0", "1, 1", "\u0661", "0x1", " 1", "1" * 5000])
    def test_is_a_number(self, text):
        with pytest.raises(forwarding.BadRequest, match="is not a number of octets"):
            forwarding.declared_length(environ_of(CONTENT_LENGTH=text))


class TestAnswerFields:
    def test_have_no_blanks_around_them(self):
        assert forwarding.answer_fields([("A", " b\t")], 200, "1.1", "edge")[0] == ("A", "b")

    def test_of_one_connection_stay_here_and_repeated_ones_apart(self):
        fields = [
            ("Set-Cookie", "a=1"),
            ("Connection", "X-Mine"),
            ("X-Mine", "1"),
            ("Set-Cookie", "b=2"),
            ("Transfer-Encoding", "chunked"),
            ("Via", "1.1 inner"),
            ("Content-Encoding", "gzip"),
        ]
        assert forwarding.answer_fields(fields, 200, "1.0", "edge") == [
            ("Set-Cookie", "a=1"),
            ("Set-Cookie", "b=2"),
            ("Content-Encoding", "gzip"),
            ("Via", "1.1 inner, 1.0 edge"),
        ]

    def test_of_an_answer_without_content_do_not_describe_it(self):
        fields = [("Content-Type", "text/plain"), ("Content-Length", "0"), ("ETag", '"x"')]
        assert forwarding.answer_fields(fields, 204, "1.1", "edge") == [("ETag", '"x"'), ("Via", "1.1 edge")]
        assert ("Content-Length", "0") in forwarding.answer_fields(fields, 304, "1.1", "edge")
