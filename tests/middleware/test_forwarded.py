"""ForwardedHeaders: whom is it to believe, and what?  Over sockets, with wsgiref's validator above and below."""

from __future__ import annotations

import json
from wsgiref.validate import validator

import pytest
from wire import request

from headrace.forwarded_fields import (
    HOPS_MAX,
    PARAMETERS_MAX,
    Malformed,
    forwarded_node,
    parse_forwarded,
    read_told,
    x_forwarded_node,
)
from headrace.middleware import ForwardedHeaders

ALL = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix")


@pytest.fixture
def default_settings():
    """The server itself believes nothing, so that the middleware has it all to do; TestOnOurServer is about both."""
    return {"forwarded_fields": ()}


@validator
def echo(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    shown = {key: value for key, value in environ.items() if isinstance(value, str)}
    shown["before"] = environ.get("headrace.forwarded")
    return [json.dumps(shown).encode()]


@pytest.fixture
def environ_for(serve, transport):
    """environ_for(sent, **settings): the environ that the application gets, over TCP from 127.0.0.1 and over UNIX."""

    def environ_for(sent, **settings):
        response = serve(validator(ForwardedHeaders(echo, **settings))).exchange(request(fields=sent))
        assert response.status == 200, response.body
        return json.loads(response.body)

    return environ_for


def apply(peer, sent, **settings):
    """The same for any peer, without a socket; None when the request was refused, with its text."""
    environ = {
        "REQUEST_METHOD": "GET",
        "REMOTE_ADDR": peer,
        "SERVER_NAME": "server",
        "SERVER_PORT": "8000",
        "HTTP_HOST": "inside:8000",
        "wsgi.url_scheme": "http",
        "SCRIPT_NAME": "",
    }
    environ |= {"HTTP_" + name.upper().replace("-", "_"): value for name, value in sent.items()}
    seen = []
    status = []
    body = ForwardedHeaders(lambda inner, start_response: seen.append(inner) or [], **settings)(
        environ, lambda *head: status.append(head[0])
    )
    if seen:
        return seen[0]
    assert status == ["400 Bad Request"]
    return body[0].decode()


class TestWhoIsBelieved:
    def test_a_trusted_peer(self, environ_for):
        environ = environ_for([("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-Proto", "https")])
        assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == ("192.0.2.7", "https")
        assert "REMOTE_PORT" not in environ
        assert environ["before"]["wsgi.url_scheme"] == "http"

    def test_nobody_else(self, environ_for, transport):
        fields = [(name, "192.0.2.7") for name in (*ALL, "Forwarded", "X-Real-IP", "X-Forwarded-User", "X-Other")]
        environ = environ_for(fields, trusted=["192.0.2.0/24", "2001:db8::/32"])
        assert environ["REMOTE_ADDR"] == ("127.0.0.1" if transport == "tcp" else "")
        assert environ["before"] is None
        assert [key for key in environ if "FORWARDED" in key or "REAL" in key] == []
        assert environ["HTTP_X_OTHER"] == "192.0.2.7"

    def test_unix_peers_only_where_they_are_trusted(self, environ_for, transport):
        fields = [("X-Forwarded-For", "192.0.2.7")]
        believed = environ_for(fields, trusted=["unix"])["REMOTE_ADDR"] == "192.0.2.7"
        assert believed == (transport == "unix")

    @pytest.mark.parametrize(
        ("peer", "trusted", "believed"),
        [
            ("10.1.2.3", "10.0.0.0/8", True),
            ("11.1.2.3", "10.0.0.0/8", False),
            ("::ffff:10.1.2.3", "10.0.0.0/8", True),
            ("2001:db8::1", "2001:db8::/32", True),
            ("fe80::1%eth0", "fe80::/10", True),
            ("10.1.2.3", "10.1.2.3", True),
            ("", "0.0.0.0/0", False),
            ("unix:", "unix", True),
            ("localhost", "unix", False),
        ],
    )
    def test_peers_in_the_networks(self, peer, trusted, believed):
        found = apply(peer, {"X-Forwarded-For": "192.0.2.7"}, trusted=[trusted])
        assert found["REMOTE_ADDR"] == ("192.0.2.7" if believed else peer)

    def test_a_peer_without_address_is_not(self):
        assert apply(None, {"X-Forwarded-For": "192.0.2.7"})["REMOTE_ADDR"] is None


class TestFieldsThatAreNotBelieved:
    def test_only_named_fields_are_and_the_others_go(self, environ_for):
        environ = environ_for(
            [
                ("X-Forwarded-For", "192.0.2.7"),
                ("X-Forwarded-Host", "evil.example"),
                ("X-Forwarded-Prefix", "/evil"),
                ("X-Forwarded-Port", "1"),
                ("Forwarded", "for=6.6.6.6;host=evil.example"),
                ("X-Real-IP", "6.6.6.6"),
                ("X-Forwarded-Ssl", "on"),
                ("X-Forwarded-User", "me"),
            ]
        )
        assert "evil" not in json.dumps(environ)
        assert "6.6.6.6" not in json.dumps(environ)
        assert [key for key in environ if "FORWARDED" in key] == ["HTTP_X_FORWARDED_USER"], "the proxy's own agreement"

    def test_nothing_said_changes_nothing(self, environ_for, transport):
        environ = environ_for([("X-Forwarded-For", ""), ("X-Forwarded-Proto", " ")], fields=ALL)
        assert environ["REMOTE_ADDR"] == ("127.0.0.1" if transport == "tcp" else "")
        assert (environ["wsgi.url_scheme"], environ["HTTP_HOST"], environ["before"]) == ("http", "example.com", None)


class TestChains:
    @pytest.mark.parametrize(
        ("chain", "hops", "client"),
        [
            ("192.0.2.7", None, "192.0.2.7"),
            ("6.6.6.6, 192.0.2.7", None, "192.0.2.7"),
            ("6.6.6.6, 192.0.2.7, 10.0.0.2", None, "192.0.2.7"),
            ("6.6.6.6,192.0.2.7 ,\t10.0.0.2,10.0.0.3", None, "192.0.2.7"),
            ("10.0.0.2, 10.0.0.3", None, "10.0.0.2"),
            ("6.6.6.6, 192.0.2.7, 10.0.0.2", 1, "10.0.0.2"),
            ("6.6.6.6, 192.0.2.7, 10.0.0.2", 2, "192.0.2.7"),
            ("6.6.6.6, 192.0.2.7, 10.0.0.2", 3, "192.0.2.7"),
            ("10.0.0.2", 3, "10.0.0.2"),
            ("rubbish, 192.0.2.7", None, "192.0.2.7"),
            ("10.0.0.9, unknown, 10.0.0.2", None, ""),
        ],
    )
    def test_end_at_the_first_address_that_no_trusted_proxy_has(self, chain, hops, client):
        settings = {"trusted": ["10.0.0.0/8"], "hops": hops}
        assert apply("10.0.0.1", {"X-Forwarded-For": chain}, **settings)["REMOTE_ADDR"] == client
        if "rubbish" not in chain:
            elements = ", ".join(f"for={node.strip()}" for node in chain.split(","))
            assert apply("10.0.0.1", {"Forwarded": elements}, fields=["Forwarded"], **settings)["REMOTE_ADDR"] == client

    def test_of_unknown_proxies_are_counted(self):
        fields = {"X-Forwarded-For": "6.6.6.6, 192.0.2.7, 198.51.100.1"}
        assert apply("203.0.113.9", fields, trusted=["0.0.0.0/0"], hops=2)["REMOTE_ADDR"] == "192.0.2.7"

    def test_of_two_field_lines_are_one(self, environ_for):
        fields = [("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "192.0.2.7")]
        assert environ_for(fields)["REMOTE_ADDR"] == "192.0.2.7"

    @pytest.mark.parametrize(
        ("protos", "scheme"),
        [("https", "https"), ("https, http", "https"), ("http, https, http", "https"), ("HTTPS", "https")],
    )
    def test_the_scheme_is_from_the_proxy_that_named_the_client(self, protos, scheme):
        fields = {"X-Forwarded-For": "192.0.2.7, 10.0.0.2", "X-Forwarded-Proto": protos}
        assert apply("10.0.0.1", fields, trusted=["10.0.0.0/8"])["wsgi.url_scheme"] == scheme

    def test_values_of_fewer_proxies_than_there_are_are_refused(self):
        fields = {"X-Forwarded-For": "192.0.2.7, 10.0.0.2, 10.0.0.3", "X-Forwarded-Proto": "https, http"}
        text = apply("10.0.0.1", fields, trusted=["10.0.0.0/8"])
        assert text == "Bad Request: X-Forwarded-Proto has 2 values, and X-Forwarded-For shows 3 proxies\n"

    def test_the_nearest_proxys_scheme_is_taken_where_no_address_is_told(self):
        assert apply("127.0.0.1", {"X-Forwarded-Proto": "https, http"})["wsgi.url_scheme"] == "http"


class TestLongChains:
    """A head has room for 14,000 addresses, each of which costs some microseconds."""

    SPELLED = pytest.mark.parametrize(
        ("name", "node"), [("X-Forwarded-For", "{}"), ("Forwarded", "for={}")], ids=["X-Forwarded-For", "Forwarded"]
    )

    @SPELLED
    @pytest.mark.parametrize(("proxies", "client"), [(99, "192.0.2.7"), (100, "10.0.0.1"), (300, "10.0.0.1")])
    @pytest.mark.parametrize("hops", [None, 100])
    def test_are_looked_at_up_to_the_hundredth_address_which_is_the_clients_then(
        self, name, node, proxies, client, hops
    ):
        chain = ["6.6.6.6", "192.0.2.7", *["10.0.0.3"] * proxies]
        if proxies >= 100:
            chain[-100] = "10.0.0.1"
        value = ", ".join(map(node.format, chain))
        environ = apply("10.0.0.1", {name: value}, fields=[name], trusted=["10.0.0.0/8"], hops=hops)
        assert environ["REMOTE_ADDR"] == client

    def test_are_not_looked_at_beyond_that(self):
        asked = []
        told = read_told(
            {"HTTP_X_FORWARDED_FOR": "192.0.2.7," + "::1," * 14_000 + "::1"},
            ["X-Forwarded-For"],
            lambda address: asked.append(address) or True,
            None,
        )
        assert told.address == "::1"
        assert len(asked) == HOPS_MAX - 1

    def test_have_the_scheme_of_the_same_proxy(self):
        protos = ["http"] * 200 + ["https"] + ["http"] * 99
        fields = {"X-Forwarded-For": ", ".join(["10.0.0.2"] * 300), "X-Forwarded-Proto": ",".join(protos)}
        assert apply("10.0.0.1", fields, trusted=["10.0.0.0/8"])["wsgi.url_scheme"] == "https"

    @pytest.mark.parametrize("parameter", ["for=10.0.0.2,", ",", ";", "for=10.0.0.2;a=b,"])
    def test_of_forwarded_are_refused_when_they_have_too_many_parameters(self, parameter):
        """It cannot be read from its end: an open quotation mark in front would swallow what is there."""
        most = parameter * ((PARAMETERS_MAX - 1) // (parameter.count(";") + parameter.count(",")))
        trusted = {"fields": ["Forwarded"], "trusted": ["10.0.0.0/8"]}
        assert apply("10.0.0.1", {"Forwarded": most + "for=10.0.0.2"}, **trusted)["REMOTE_ADDR"] == "10.0.0.2"
        text = apply("10.0.0.1", {"Forwarded": most + parameter * 2 + "for=10.0.0.2"}, **trusted)
        assert text == "Bad Request: Forwarded has more than 400 parameters\n"


class TestXForwarded:
    @pytest.mark.parametrize(
        ("text", "address", "port"),
        [
            ("192.0.2.7:4711", "192.0.2.7", "4711"),
            ("2001:DB8::0007", "2001:db8::7", None),
            ("[2001:db8::7]", "2001:db8::7", None),
            ("[2001:db8::7]:4711", "2001:db8::7", "4711"),
            ("::ffff:192.0.2.7", "192.0.2.7", None),
            ("Unknown", "", None),
        ],
    )
    def test_addresses_and_ports(self, environ_for, text, address, port):
        environ = environ_for([("X-Forwarded-For", text)])
        assert (environ["REMOTE_ADDR"], environ.get("REMOTE_PORT")) == (address, port)

    @pytest.mark.parametrize(
        ("scheme", "host", "port", "expected"),
        [
            ("https", "shop.example", None, ("shop.example", "shop.example", "443")),
            ("http", "shop.example", None, ("shop.example", "shop.example", "80")),
            ("https", "shop.example:8443", None, ("shop.example:8443", "shop.example", "8443")),
            ("https", "shop.example:443", None, ("shop.example:443", "shop.example", "443")),
            ("https", "shop.example", "443", ("shop.example", "shop.example", "443")),
            ("https", "shop.example", "8443", ("shop.example:8443", "shop.example", "8443")),
            ("http", "[2001:db8::1]:81", None, ("[2001:db8::1]:81", "[2001:db8::1]", "81")),
            (None, None, "8443", ("inside:8443", "inside", "8443")),
        ],
    )
    def test_host_and_port(self, scheme, host, port, expected):
        told = {"X-Forwarded-Proto": scheme, "X-Forwarded-Host": host, "X-Forwarded-Port": port}
        environ = apply("127.0.0.1", {name: value for name, value in told.items() if value}, fields=ALL)
        assert (environ["HTTP_HOST"], environ["SERVER_NAME"], environ["SERVER_PORT"]) == expected

    @pytest.mark.parametrize(
        ("prefix", "script_name"), [("/shop", "/shop"), ("/a/b/", "/a/b"), ("/", ""), ("/gr%C3%BC", "/gr\xc3\xbc")]
    )
    def test_prefix(self, environ_for, prefix, script_name):
        environ = environ_for([("X-Forwarded-Prefix", prefix)], fields=ALL)
        assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (script_name, "/")

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("X-Forwarded-For", "192.0.2"),
            ("X-Forwarded-For", "192.0.2.256"),
            ("X-Forwarded-For", "192.0.2.7,"),
            ("X-Forwarded-For", "192.0.2.7:0"),
            ("X-Forwarded-For", "192.0.2.7:65536"),
            ("X-Forwarded-For", "192.0.2.7:x"),
            ("X-Forwarded-For", "[192.0.2.7]x"),
            ("X-Forwarded-For", "[2001:db8::7"),
            ("X-Forwarded-For", "fe80::1%eth0"),
            ("X-Forwarded-For", "client.example"),
            ("X-Forwarded-For", "<script>"),
            ("X-Forwarded-Proto", "ftp"),
            ("X-Forwarded-Proto", "https;"),
            ("X-Forwarded-Host", "a b"),
            ("X-Forwarded-Host", "a/b"),
            ("X-Forwarded-Host", "user@a"),
            ("X-Forwarded-Host", "a:70000"),
            ("X-Forwarded-Host", "[::x]"),
            ("X-Forwarded-Port", "-1"),
            ("X-Forwarded-Port", "\xb2"),
            ("X-Forwarded-Prefix", "shop"),
            ("X-Forwarded-Prefix", "//evil.example"),
            ("X-Forwarded-Prefix", "/a/../b"),
            ("X-Forwarded-Prefix", "/a%2f%2e%2E"),
            ("X-Forwarded-Prefix", "/a%00"),
            ("X-Forwarded-Prefix", "/a?b"),
            ("X-Forwarded-Prefix", "/%zz"),
        ],
    )
    def test_a_fault_gets_the_whole_request_refused(self, name, value):
        fields = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https", name: value}
        text = apply("127.0.0.1", fields, fields=ALL)
        assert isinstance(text, str)
        assert text.startswith(f"Bad Request: {name} has a")

    def test_a_refusal_says_what_is_wrong(self, serve):
        running = serve(validator(ForwardedHeaders(echo)))
        response = running.exchange(request(fields=[("X-Forwarded-For", "nobody")]))
        assert (response.status, response.body) == (
            400,
            b"Bad Request: X-Forwarded-For has an address that is none: 'nobody'\n",
        )


class TestForwarded:
    """RFC 7239."""

    def test_all_of_it(self, environ_for):
        value = 'for="[2001:db8:cafe::17]:4711";proto=https;host="shop.example:8443";by=203.0.113.43'
        environ = environ_for([("Forwarded", value)], fields=["forwarded"])
        assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("2001:db8:cafe::17", "4711")
        assert (environ["wsgi.url_scheme"], environ["HTTP_HOST"]) == ("https", "shop.example:8443")
        assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("shop.example", "8443")

    def test_scheme_and_host_are_from_the_proxy_that_named_the_client(self):
        value = "for=6.6.6.6;proto=http, for=192.0.2.7;proto=https;host=outside, for=10.0.0.2;proto=http;host=inside"
        environ = apply("10.0.0.1", {"Forwarded": value}, fields=["Forwarded"], trusted=["10.0.0.0/8"])
        assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"], environ["HTTP_HOST"]) == (
            "192.0.2.7",
            "https",
            "outside",
        )

    @pytest.mark.parametrize("node", ["unknown", "_hidden", '"_hidden:_port"', '"unknown:4711"', None])
    def test_who_is_not_told_is_nobody(self, node):
        value = "proto=https" if node is None else f"for={node};proto=https"
        environ = apply("127.0.0.1", {"Forwarded": value}, fields=["Forwarded"])
        assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == ("", "https")

    @pytest.mark.parametrize(
        ("value", "elements"),
        [
            ("for=a", [{"for": "a"}]),
            ("For=a;PROTO=http", [{"for": "a", "proto": "http"}]),
            ("for=a, for=b,for=c", [{"for": "a"}, {"for": "b"}, {"for": "c"}]),
            (", for=a ,, for=b;", [{"for": "a"}, {"for": "b"}]),
            ('for="a,b;c\\"d\\\\"', [{"for": 'a,b;c"d\\'}]),
            ("for=a;;by=b", [{"for": "a", "by": "b"}]),
            ('for=""', [{"for": ""}]),
        ],
    )
    def test_its_grammar(self, value, elements):
        assert parse_forwarded(value) == elements

    @pytest.mark.parametrize(
        "value",
        [",", "for", "for=", "=a", "for =a", "for= a", "for=a by=b", 'for="a', 'for="a"b', "for=a;for=b", "for=[::1]"],
    )
    def test_a_fault_anywhere_gets_the_whole_request_refused(self, value):
        for whole in (value, f"{value}, for=192.0.2.7", f"for=192.0.2.7, {value}"):
            if value == "," and whole != value:
                continue  # empty elements are allowed beside others
            with pytest.raises(Malformed):
                parse_forwarded(whole)
            text = apply("127.0.0.1", {"Forwarded": whole}, fields=["Forwarded"])
            assert isinstance(text, str)
            assert text.startswith("Bad Request: Forwarded ")

    def test_an_open_quotation_mark_of_the_clients_does_not_hide_what_the_proxy_says(self):
        value = 'for="6.6.6.6, for="[2001:db8::1]"'
        assert "Bad Request" in apply("127.0.0.1", {"Forwarded": value}, fields=["Forwarded"])

    @pytest.mark.parametrize(
        "node", ["", "a", "1.2.3", "::1", "[::1", "[1.2.3.4]", "1.2.3.4:", "1.2.3.4:0", "_", "_a b"]
    )
    def test_nodes_that_are_none(self, node):
        with pytest.raises(Malformed):
            forwarded_node(node)

    def test_brackets_hold_ipv6_only(self):
        with pytest.raises(Malformed):
            x_forwarded_node("[192.0.2.7]")


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "error", "message"),
        [
            ({"trusted": "10.0.0.0/8"}, TypeError, r"trusted must be a list, such as \['10.0.0.0/8'\]"),
            ({"trusted": ["10.0.0.1/8"]}, ValueError, "'10.0.0.1/8' is no network"),
            ({"trusted": ["proxy.example"]}, ValueError, "'proxy.example'"),
            ({"fields": "Forwarded"}, TypeError, "fields must be a list"),
            ({"fields": ["X-Real-IP"]}, ValueError, "'X-Real-IP' is none of the fields Forwarded, X-Forwarded-For"),
            ({"fields": ["Forwarded", "X-Forwarded-For"]}, ValueError, "not in both"),
            ({"hops": 0}, ValueError, "hops must be 1 to 100, or None; this is 0"),
            ({"hops": 101}, ValueError, "hops must be 1 to 100, or None; this is 101"),
        ],
    )
    def test_wrong_ones_are_refused(self, settings, error, message):
        with pytest.raises(error, match=message):
            ForwardedHeaders(echo, **settings)

    def test_what_cannot_be_called_is_refused(self):
        with pytest.raises(TypeError, match="this is None"):
            ForwardedHeaders(None)


class TestOnOurServer:
    """--forwarded-allow-ips has evaluated the fields before."""

    @pytest.fixture
    def default_settings(self):
        return {}

    def test_its_own_rules_take_the_place_of_the_servers(self, environ_for):
        sent = [("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-Host", "shop.example"), ("X-Forwarded-Proto", "https")]
        environ = environ_for(sent, fields=["X-Forwarded-For", "X-Forwarded-Host"])
        assert (environ["REMOTE_ADDR"], environ["HTTP_HOST"]) == ("192.0.2.7", "shop.example")
        assert environ["wsgi.url_scheme"] == "http"
        assert [key for key in environ if "FORWARDED" in key] == []

    def test_whom_it_does_not_trust_is_not_believed(self, environ_for, transport):
        environ = environ_for([("X-Forwarded-For", "192.0.2.7")], trusted=["192.0.2.0/24"])
        assert environ["REMOTE_ADDR"] == ("127.0.0.1" if transport == "tcp" else "")

    def test_one_in_the_other_leaves_what_the_outer_one_said(self, serve):
        application = ForwardedHeaders(ForwardedHeaders(echo), hops=1)
        response = serve(application).exchange(request(fields=[("X-Forwarded-For", "192.0.2.7")]))
        assert json.loads(response.body)["REMOTE_ADDR"] == "192.0.2.7"


def test_everybody_is_one_hop():
    assert apply("203.0.113.5", {"X-Forwarded-For": "10.0.0.1, 192.0.2.7"}, trusted=["*"])["REMOTE_ADDR"] == "192.0.2.7"
