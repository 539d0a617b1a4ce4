"""--forwarded-allow-ips, --forwarded-fields, --forwarded-hops, --root-path: what the application learns of its client.

The grammar of the fields is tested with the middleware that shares it (middleware/test_forwarded.py)."""

from __future__ import annotations

import itertools
import logging
import random
from functools import partial

import pytest
from wire import request

from headrace.forwarded_fields import CLIENT_ADDRESSES, LOOKALIKES, READ_HERE

ALL = "X-Forwarded-For,X-Forwarded-Proto,X-Forwarded-Host,X-Forwarded-Port,X-Forwarded-Prefix"


@pytest.fixture
def serve(serve):
    """Without the referee: what llhttp reads is not what the application is to get."""
    return partial(serve, referee=False)


CHANGED = ("REMOTE_ADDR", "REMOTE_PORT", "HTTP_HOST", "SERVER_NAME", "SERVER_PORT", "SCRIPT_NAME", "wsgi.url_scheme")


def hello(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


@pytest.fixture
def environ_of():
    """environ_of(running, fields, client=None, target="/", host="example.com"): what is str in the environ of such a
    request, on the client's connection or one of its own."""

    def environ_of(running, fields=(), client=None, target="/", host="example.com"):
        message = request(target, fields=fields, host=host)
        response = running.exchange(message) if client is None else client.exchange(message)
        assert response.status == 200, response
        return dict(running.environs[-1])

    return environ_of


def field_name(key):
    return key.removeprefix("HTTP_").replace("_", "-").title()


class TestByDefault:
    def test_loopback_and_unix_peers_are_believed_in_address_and_scheme(self, serve, environ_of, transport):
        environ = environ_of(serve(hello), [("X-Forwarded-For", "192.0.2.7:4711"), ("X-Forwarded-Proto", "https")])
        assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("192.0.2.7", "4711")
        assert environ["wsgi.url_scheme"] == "https"
        assert environ["HTTP_X_FORWARDED_FOR"] == "192.0.2.7:4711"

    def test_fields_that_proxies_pass_on_are_not_read(self, serve, environ_of):
        sent = [
            ("Forwarded", "for=192.0.2.7;host=evil.example"),
            ("X-Forwarded-Host", "evil.example"),
            ("X-Forwarded-Port", "1"),
            ("X-Forwarded-Prefix", "/evil"),
            ("X-Real-IP", "192.0.2.7"),
        ]
        running = serve(hello)
        plain, environ = environ_of(running), environ_of(running, sent)
        assert environ["REMOTE_ADDR"] == "127.0.0.1"
        assert [environ.get(key) for key in CHANGED if key != "REMOTE_PORT"] == [
            plain.get(key) for key in CHANGED if key != "REMOTE_PORT"
        ]

    def test_the_last_address_that_is_no_proxy_counts(self, serve, environ_of):
        environ = environ_of(serve(hello), [("X-Forwarded-For", "10.0.0.1, 192.0.2.7, 127.0.0.1")])
        assert environ["REMOTE_ADDR"] == "192.0.2.7"

    def test_a_malformed_one_is_400_and_told_once(self, serve, caplog):
        running = serve(hello)
        with running.connect() as client:
            assert client.exchange(request()).status == 200
            assert client.exchange(request(fields=[("X-Forwarded-For", "evil")])).status == 400
        assert running.exchange(request(fields=[("X-Forwarded-For", "[::1")])).status == 400
        assert running.calls == 1
        assert len([record for record in caplog.records if "is refused" in record.getMessage()]) == 1  # in a minute

    def test_what_was_there_before_can_be_seen(self, serve):
        seen = []

        def application(environ, start_response):
            seen.append(environ["headrace.forwarded"])
            assert "mine" not in seen[-1]
            seen[-1]["mine"] = True
            return hello(environ, start_response)

        with serve(application).connect() as client:
            for _ in range(5):  # the third is remembered
                client.exchange(request(fields=[("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-Proto", "https")]))
        assert all((before["REMOTE_ADDR"], before["wsgi.url_scheme"]) == ("127.0.0.1", "http") for before in seen)
        assert len({id(before) for before in seen}) == 5  # nobody's changes reach another request


class TestWhoIsNotTrusted:
    """Nothing that passes for a proxy's word may reach the application."""

    KEYS = sorted(
        READ_HERE | LOOKALIKES | CLIENT_ADDRESSES | {"HTTP_X_FORWARDED_USER", "HTTP_X_FORWARDED_" + "LONG" * 12}
    )

    def test_has_every_such_field_removed(self, serve, environ_of, transport):
        running = serve(hello, forwarded_allow_ips="192.0.2.0/24")
        sent = [(field_name(key), "192.0.2.7") for key in self.KEYS] + [("X-Other", "1"), ("X-Forward", "2")]
        with running.connect() as client:
            for sent_now in (sent, sent, [(name.lower(), "evil") for name, _ in sent[:-2]] + sent[-2:]):
                environ = environ_of(running, sent_now, client)
                assert [key for key in environ if key in self.KEYS] == []
                assert (environ["HTTP_X_OTHER"], environ["HTTP_X_FORWARD"]) == ("1", "2")
                assert environ["REMOTE_ADDR"] == ("127.0.0.1" if transport == "tcp" else "")

    def test_is_told_once_with_what_to_do(self, serve, environ_of, caplog):
        running = serve(hello, forwarded_allow_ips="")
        with caplog.at_level(logging.INFO, "headrace"):
            for _ in range(2):
                environ_of(running, [("X-Forwarded-For", "192.0.2.7")])
        told = [record.getMessage() for record in caplog.records if "--forwarded-allow-ips" in record.getMessage()]
        assert told == [
            "HR210 HTTP_X_FORWARDED_FOR from 127.0.0.1 was removed: it is not in --forwarded-allow-ips, as a proxy has "
            "to be (told once)"
        ]

    def test_is_everybody_on_a_unix_socket_without_the_word(self, serve, environ_of):
        running = serve(hello, unix=True, forwarded_allow_ips="127.0.0.0/8")
        assert environ_of(running, [("X-Forwarded-For", "192.0.2.7")])["REMOTE_ADDR"] == ""

    def test_fields_are_left_to_the_application_with_a_star(self, serve, environ_of):
        running = serve(hello, forwarded_allow_ips="*", forwarded_fields="")
        assert environ_of(running, [("X-Forwarded-For", "evil")])["HTTP_X_FORWARDED_FOR"] == "evil"


class TestHops:
    CHAIN = "192.0.2.1, 192.0.2.2, 192.0.2.3"

    @pytest.mark.parametrize(
        ("hops", "client"), [(1, "192.0.2.3"), (2, "192.0.2.2"), (3, "192.0.2.1"), (9, "192.0.2.1")]
    )
    def test_are_counted_from_the_end_whatever_the_networks(self, serve, environ_of, hops, client):
        running = serve(hello, forwarded_hops=hops)
        assert environ_of(running, [("X-Forwarded-For", self.CHAIN)])["REMOTE_ADDR"] == client

    def test_a_star_alone_is_one_hop_for_the_others_may_be_made_up(self, serve, environ_of):
        running = serve(hello, forwarded_allow_ips="*")
        assert environ_of(running, [("X-Forwarded-For", self.CHAIN)])["REMOTE_ADDR"] == "192.0.2.3"

    @pytest.mark.parametrize(("proxies", "client"), [(99, "192.0.2.7"), (100, "127.0.0.2"), (5000, "127.0.0.2")])
    def test_are_a_hundred_at_most_without_a_number(self, serve, environ_of, proxies, client):
        chain = ["192.0.2.7", *["127.0.0.2"] * proxies]
        lines = [",".join(chain[at : at + 500]) for at in range(0, len(chain), 500)]
        environ = environ_of(serve(hello), [("X-Forwarded-For", line) for line in lines])
        assert environ["REMOTE_ADDR"] == client

    def test_do_not_make_a_peer_trusted(self, serve, environ_of):
        running = serve(hello, forwarded_allow_ips="10.0.0.0/8", forwarded_hops=2)
        assert environ_of(running, [("X-Forwarded-For", self.CHAIN)])["REMOTE_ADDR"] == "127.0.0.1"


class TestEveryField:
    def test_sets_host_port_scheme_and_script_name(self, serve, environ_of):
        sent = [
            ("X-Forwarded-For", "2001:db8::7"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "shop.example"),
            ("X-Forwarded-Port", "8443"),
            ("X-Forwarded-Prefix", "/shop"),
        ]
        environ = environ_of(serve(hello, forwarded_fields=ALL, root_path="/v1"), sent, target="/v1/a")
        assert {key: environ[key] for key in CHANGED} == {
            "REMOTE_ADDR": "2001:db8::7",
            "REMOTE_PORT": "",
            "HTTP_HOST": "shop.example:8443",
            "SERVER_NAME": "shop.example",
            "SERVER_PORT": "8443",
            "SCRIPT_NAME": "/shop/v1",
            "wsgi.url_scheme": "https",
        }
        assert environ["PATH_INFO"] == "/a"

    def test_forwarded_is_read_where_it_is_named(self, serve, environ_of):
        running = serve(hello, forwarded_fields="forwarded")
        environ = environ_of(
            running, [("Forwarded", 'for="[2001:db8::7]:4711";proto=https;host=a.example'), ("X-Forwarded-For", "x")]
        )
        assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("2001:db8::7", "4711")
        assert (environ["HTTP_HOST"], environ["wsgi.url_scheme"]) == ("a.example", "https")


class TestOnOneConnection:
    """Behind a proxy one connection carries the requests of many clients; and the engine remembers the last head."""

    @staticmethod
    def without_ports(environ):
        return {key: value for key, value in environ.items() if key != "REMOTE_PORT"}

    def heads(self):
        random_one = random.Random(5)
        choices = [
            [[], [("X-Forwarded-For", "192.0.2.7")], [("X-Forwarded-For", "192.0.2.8, 127.0.0.1")]],
            [[], [("X-Forwarded-Proto", "https")], [("X-Forwarded-Proto", "http")]],
            [[], [("X-Forwarded-Host", "a.example")], [("X-Forwarded-Host", "b.example:81")]],
            [[], [("X-Forwarded-Prefix", "/p")], [("X-Forwarded-Port", "444")]],
            [[], [("Cookie", "a=1")], [("Cookie", "a=2")]],
        ]
        every = [list(itertools.chain(*fields)) for fields in itertools.product(*choices)]
        for _ in range(150):
            fields = random_one.choice(every)
            for _ in range(random_one.choice((1, 1, 2, 3))):
                target, host = (
                    random_one.choice(("/", "/", "/b", "/v1/c")),
                    random_one.choice(("h.example", "i.example")),
                )
                yield fields, target, host

    @pytest.mark.parametrize("allowed", ["127.0.0.0/8", "10.0.0.0/8"])
    def test_each_request_has_the_environ_that_it_would_have_alone(self, serve, environ_of, allowed):
        running = serve(hello, forwarded_allow_ips=allowed, forwarded_fields=ALL, root_path="/v1")
        with running.connect() as client:
            for fields, target, host in self.heads():
                alone = environ_of(running, fields, None, target, host)
                together = environ_of(running, fields, client, target, host)
                assert self.without_ports(together) == self.without_ports(alone)

    def test_what_is_remembered_of_one_field_is_not_taken_for_another(self, serve, environ_of):
        running = serve(hello, forwarded_fields=ALL)
        with running.connect() as client:
            for proto, port, host in itertools.product(("https", "http"), ("1", "2"), ("a.example", "b.example")):
                sent = [("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-Proto", proto), ("X-Forwarded-Port", port)]
                for _ in range(2):
                    environ = environ_of(running, sent, client, host=host)
                    assert (environ["wsgi.url_scheme"], environ["HTTP_HOST"]) == (proto, f"{host}:{port}")

    def test_a_malformed_one_among_equal_ones_does_not_pass(self, serve):
        running = serve(hello)
        good, bad = (request(fields=[("X-Forwarded-For", value)]) for value in ("192.0.2.7", "192.0.2.x"))
        for _ in range(2):
            with running.connect() as client:
                for message, status in ((good, 200), (good, 200), (good, 200), (bad, 400)):
                    assert client.exchange(message).status == status


class TestRootPath:
    @pytest.mark.parametrize(
        ("target", "path"),
        [
            ("/shop/a", "/a"),
            ("/shop/", "/"),
            ("/shop", ""),
            ("/shop?q=1", ""),
            ("/shopping", "/shopping"),
            ("/a", "/a"),
            ("/", "/"),
            ("/%73hop/a%2Fb", "/a/b"),
            ("/shop/shop", "/shop"),
            ("http://example.com/shop/a", "/a"),
        ],
    )
    def test_is_script_name_and_taken_off_the_path_where_that_begins_with_it(self, serve, environ_of, target, path):
        running = serve(hello, root_path="/shop")
        with running.connect() as client:
            for _ in range(3):
                environ = environ_of(running, (), client, target)
                assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/shop", path)
        assert environ["RAW_URI"] == target

    def test_is_latin_1_of_utf_8_as_all_native_strings(self, serve, environ_of):
        environ = environ_of(serve(hello, root_path="/käse"), target="/k%C3%A4se/a")
        assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/kÃ¤se", "/a")


def test_the_access_log_shows_the_client(serve, environ_of, tmp_path):
    running = serve(hello, access_logfile=str(tmp_path / "log"))
    environ_of(running, [("X-Forwarded-For", "192.0.2.7")])
    environ_of(running)
    running.stop()
    assert [line.split()[0] for line in (tmp_path / "log").read_text().splitlines()] == ["192.0.2.7", "127.0.0.1"]


@pytest.mark.parametrize(("allowed", "status"), [("127.0.0.0/8", 503), ("10.0.0.0/8", 200)])
def test_x_request_start_is_believed_by_the_same_rule(serve, allowed, status):
    running = serve(hello, forwarded_allow_ips=allowed, queue_deadline=30)
    assert running.exchange(request(fields=[("X-Request-Start", "t=1000000000")])).status == status
