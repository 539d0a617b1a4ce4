"""headrace.middleware.Balancer between real Headrace servers: what is handed on, to whom, and how it streams."""

from __future__ import annotations

import gzip
import json
import sys
import threading
from wsgiref.validate import validator

import pytest
import wire

pytest.importorskip("urllib3")

from headrace.middleware import Balancer


@pytest.fixture
def balancer():
    """balancer(*servers, **settings): a Balancer over servers of the `serve` fixture, or URLs; closed at the end."""
    made = []

    def make(*servers, **settings):
        urls = [server if isinstance(server, str) else f"http://127.0.0.1:{server.port}" for server in servers]
        made.append(Balancer(urls, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def backend(serve):
    """backend(application, **settings): a Headrace server whose clients are not those of wire.py.  It believes no
    forwarded field: REMOTE_PORT tells one of the balancer's connections from another."""
    return lambda application, **settings: serve(application, referee=False, forwarded_fields=(), **settings)


def show(environ, start_response):
    """All that a request said, as JSON."""
    said = {key: value for key, value in environ.items() if isinstance(value, str)}
    said["body"] = environ["wsgi.input"].read().decode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(said).encode()]


def answering(status="200 OK", fields=(), blocks=(b"body",)):
    def application(environ, start_response):
        start_response(status, [("Content-Type", "text/plain"), *fields])
        return list(blocks)

    return application


def request(method="GET", target="/", fields="", body=b"", version="1.1"):
    framing = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {target} HTTP/{version}\r\nHost: shop.example\r\n{framing}{fields}\r\n".encode() + body


class TestRequests:
    def test_arrive_as_they_were_sent_but_for_what_concerns_one_connection(self, serve, backend, balancer):
        front = serve(balancer(backend(show)))
        fields = "Connection: X-Mine\r\nX-Mine: 1\r\nX-Yours: 2\r\nCookie: a=1\r\nAccept: x\r\nTE: trailers\r\n"
        said = json.loads(front.exchange(request("PATCH", "/a%2fb?x=%2f", fields, b"some body")).body)
        kept = {key: value for key, value in said.items() if key.startswith("HTTP_")}
        assert kept == {
            "HTTP_HOST": "shop.example",
            "HTTP_X_YOURS": "2",
            "HTTP_COOKIE": "a=1",
            "HTTP_ACCEPT": "x",
            "HTTP_X_FORWARDED_FOR": "127.0.0.1",
            "HTTP_X_FORWARDED_PROTO": "http",
            "HTTP_X_FORWARDED_HOST": "shop.example",
            "HTTP_FORWARDED": "for=127.0.0.1;host=shop.example;proto=http",
            "HTTP_VIA": "1.1 headrace",
        }
        assert (said["REQUEST_METHOD"], said["RAW_URI"], said["body"]) == ("PATCH", "/a%2fb?x=%2f", "some body")

    def test_have_another_host_if_told_so(self, serve, backend, balancer):
        front = serve(balancer(backend(show), host="inner.example"))
        said = json.loads(front.exchange(request()).body)
        assert (said["HTTP_HOST"], said["HTTP_X_FORWARDED_HOST"]) == ("inner.example", "shop.example")

    def test_without_host_have_that_of_the_server(self, serve, backend, balancer):
        front = serve(balancer(backend(show)))
        said = json.loads(front.exchange(b"GET / HTTP/1.0\r\n\r\n").body)
        assert said["HTTP_HOST"] == f"127.0.0.1:{front.port}"
        assert said["HTTP_VIA"] == "1.0 headrace"

    def test_lose_the_prefix_if_told_so(self, serve, backend, balancer):
        inner = balancer(backend(show), strip_prefix=True)

        def mounted(environ, start_response):
            path = environ["PATH_INFO"].removeprefix("/api")
            return inner(environ | {"SCRIPT_NAME": "/api", "PATH_INFO": path}, start_response)

        front = serve(mounted)
        said = json.loads(front.exchange(request(target="/api/x%2f?y")).body)
        assert (said["RAW_URI"], said["HTTP_X_FORWARDED_PREFIX"]) == ("/x%2f?y", "/api")

    def test_cannot_put_a_field_into_the_prefix(self, serve, backend, balancer):
        inner = balancer(backend(show), strip_prefix=True)

        def mounted(environ, start_response):
            prefix = environ["PATH_INFO"].removesuffix("/x")
            return inner(environ | {"SCRIPT_NAME": prefix, "PATH_INFO": "/x"}, start_response)

        said = json.loads(serve(mounted).exchange(request(target="/a%0D%0A%20X-Odd:%20b/x")).body)
        assert (said["RAW_URI"], said["HTTP_X_FORWARDED_PREFIX"]) == ("/x", "/a%0D%0A%20X-Odd:%20b")

    @pytest.mark.parametrize("size", [1, 65536, 1_000_000])
    def test_have_their_bodies_with_the_length_that_was_declared(self, serve, backend, balancer, size):
        front = serve(balancer(backend(show)))
        said = json.loads(front.exchange(request("POST", body=b"x" * size)).body)
        assert (said["body"], said["CONTENT_LENGTH"]) == ("x" * size, str(size))

    def test_have_their_bodies_in_chunks_when_the_length_is_unknown(self, serve, backend, balancer):
        inner = backend(show, stream_request_body=True)
        front = serve(balancer(inner), stream_request_body=True)
        chunks = b"5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n"
        said = json.loads(front.exchange(request("POST", fields="Transfer-Encoding: chunked\r\n") + chunks).body)
        assert said["body"] == "firstsecond"
        assert "CONTENT_LENGTH" not in said
        said = json.loads(front.exchange(request()).body)
        assert said["body"] == ""

    def test_without_body_say_so_for_methods_that_usually_have_one(self, serve, backend, balancer):
        inner = backend(show)
        front = serve(balancer(inner))
        assert json.loads(front.exchange(request("POST")).body)["CONTENT_LENGTH"] == "0"
        assert "CONTENT_LENGTH" not in json.loads(front.exchange(request()).body)

    def test_cannot_smuggle_another_one_in(self, serve, backend, balancer):
        inner = backend(show)
        front = serve(balancer(inner))
        second = b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n"
        said = json.loads(front.exchange(request("POST", "/first", body=second)).body)
        assert said["body"] == second.decode()
        chunked = b"%x;ext=1\r\n%b\r\n0\r\nContent-Length: 5\r\n\r\n" % (len(second), second)
        message = request("GET", "/first", "Transfer-Encoding: chunked\r\n") + chunked
        assert json.loads(front.exchange(message).body)["body"] == second.decode()
        assert inner.targets == ["/first", "/first"]

    def test_find_nothing_of_the_library_in_their_way(self, serve, backend, balancer):
        front = serve(balancer(backend(show)))
        marks = "User-Agent: @@@SKIP_HEADER@@@\r\nX-Odd: @@@SKIP_HEADER@@@\r\n"
        said = json.loads(front.exchange(request(fields=marks)).body)
        assert {"HTTP_USER_AGENT", "HTTP_X_ODD", "HTTP_ACCEPT_ENCODING"} & set(said) == set()

    @pytest.mark.parametrize(
        ("sent", "arrived"), [("3", "2"), ("0", None), ("00", None), ("x", "x"), ("9" * 20, "9" * 20)]
    )
    def test_for_options_count_down_max_forwards(self, serve, backend, balancer, sent, arrived):
        inner = backend(show)
        front = serve(balancer(inner))
        answer = front.exchange(request("OPTIONS", "*", f"Max-Forwards: {sent}\r\n"))
        assert answer.status == 200
        assert [environ["HTTP_MAX_FORWARDS"] for environ in inner.environs] == ([arrived] if arrived else [])
        assert json.loads(front.exchange(request(fields="Max-Forwards: 0\r\n")).body)["HTTP_MAX_FORWARDS"] == "0"


class TestAnswers:
    def test_come_back_with_status_reason_and_fields(self, serve, backend, balancer):
        fields = [("Set-Cookie", "a=1, x"), ("Set-Cookie", "b=2"), ("ETag", '"1"'), ("Server", "inner")]
        front = serve(balancer(backend(answering("418 Short and stout", fields))))
        answer = front.exchange(request())
        assert (answer.status, answer.reason, answer.body) == (418, "Short and stout", b"body")
        kept = [field for field in answer.fields if field[0] in ("Set-Cookie", "ETag", "Server", "Via")]
        assert kept == [*fields, ("Via", "1.1 headrace")]

    def test_are_not_decoded(self, serve, backend, balancer):
        packed = gzip.compress(b"x" * 10_000)
        front = serve(balancer(backend(answering(fields=[("Content-Encoding", "gzip")], blocks=[packed]))))
        assert front.exchange(request()).body == packed

    @pytest.mark.parametrize("location", ["/elsewhere", "http://127.0.0.1:1/"])
    def test_redirects_are_handed_on(self, serve, backend, balancer, location):
        front = serve(balancer(backend(answering("303 See Other", [("Location", location)]))))
        answer = front.exchange(request())
        assert (answer.status, dict(answer.fields)["Location"]) == (303, location)

    @pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
    def test_without_body_end_at_once(self, serve, backend, balancer, status):
        def application(environ, start_response):
            start_response(status, [("ETag", '"1"')])
            return []

        inner = backend(application)
        front = serve(balancer(inner))
        client = front.connect()
        for _ in range(3):
            answer = client.exchange(request())
            assert (answer.status, answer.body, dict(answer.fields)["ETag"]) == (int(status[:3]), b"", '"1"')
        assert len({environ["REMOTE_PORT"] for environ in inner.environs}) == 1

    def test_to_head_keep_their_length(self, serve, backend, balancer):
        inner = backend(answering(fields=[("Content-Length", "4")]))
        front = serve(balancer(inner))
        client = front.connect()
        for _ in range(2):
            answer = client.exchange(request("HEAD"), method="HEAD")
            assert (answer.status, answer.body, dict(answer.fields)["Content-Length"]) == (200, b"", "4")
        assert len({environ["REMOTE_PORT"] for environ in inner.environs}) == 1

    def test_stream_each_block_when_it_comes(self, serve, backend, balancer):
        goes_on = threading.Event()

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "10")])
            yield b"first"
            assert goes_on.wait(wire.PATIENCE_S)
            yield b"after"

        front = serve(balancer(backend(application)))
        client = front.connect()
        client.send(request())
        received = b""
        while not received.endswith(b"first"):
            received += client.sock.recv(4096)
        goes_on.set()
        while not received.endswith(b"after"):
            received += client.sock.recv(4096)

    def test_of_any_size_come_whole(self, serve, backend, balancer):
        blocks = [bytes([number]) * 100_000 for number in range(50)]
        front = serve(balancer(backend(answering(blocks=blocks))))
        assert front.exchange(request()).body == b"".join(blocks)

    def test_that_nobody_reads_to_the_end_drop_their_connection(self, serve, backend, balancer):
        closed = threading.Event()

        class Endless:
            def __iter__(self):
                while True:
                    yield b"x" * 65536

            def close(self):
                closed.set()

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return Endless()

        one = balancer(backend(application))
        front = serve(one)
        client = front.connect()
        client.send(request())
        assert client.sock.recv(100)
        client.reset()
        assert closed.wait(wire.PATIENCE_S)
        wire.wait_until(lambda: one.backends[0].in_flight == 0, "no request in flight")


class TestConnections:
    def test_are_kept(self, serve, backend, balancer):
        inner = backend(answering())
        one = balancer(inner)
        front = serve(one)
        for _ in range(10):
            front.exchange(request())
            wire.wait_until(lambda: one.backends[0].in_flight == 0, "the connection's way back")
        front.exchange(request("POST", body=b"x"))
        assert len({environ["REMOTE_PORT"] for environ in inner.environs}) == 1

    def test_are_not_used_after_they_idled_for_long(self, serve, backend, balancer):
        inner = backend(answering())
        front = serve(balancer(inner, keep_alive_s=0))
        for _ in range(3):
            assert front.exchange(request()).status == 200
        assert len({environ["REMOTE_PORT"] for environ in inner.environs}) == 3

    def test_that_the_backend_closed_meanwhile_are_replaced(self, serve, backend, balancer, caplog):
        inner = backend(answering(), keep_alive=1)
        front = serve(balancer(inner, keep_alive_s=60))
        front.exchange(request("POST", body=b"x"))
        wire.wait_until(lambda: inner.connection_count() == 0, "the backend's end of the connection")
        assert front.exchange(request("POST", body=b"x")).status == 200
        assert caplog.messages == []


class TestChoice:
    def test_round_robin_takes_turns(self, serve, backend, balancer):
        inner = [backend(answering()) for _ in range(3)]
        front = serve(balancer(*inner, policy="round-robin"))
        for _ in range(9):
            front.exchange(request())
        assert [server.calls for server in inner] == [3, 3, 3]

    def test_least_busy_avoids_the_one_that_works(self, serve, backend, balancer):
        goes_on = threading.Event()

        def slow(environ, start_response):
            if environ["PATH_INFO"] == "/slow":
                assert goes_on.wait(wire.PATIENCE_S)
            return answering()(environ, start_response)

        inner = [backend(slow), backend(slow)]
        front = serve(balancer(*inner))
        client = front.connect()
        client.send(request(target="/slow"))
        busy = wire.wait_until(lambda: next((server for server in inner if server.calls), None), "a request that waits")
        for _ in range(6):
            assert front.exchange(request()).status == 200
        assert busy.calls == 1
        goes_on.set()
        assert client.read_response().status == 200
        wire.wait_until(lambda: [each.in_flight for each in front._application.backends] == [0, 0], "all done")
        for _ in range(4):
            front.exchange(request())
        assert busy.calls > 1

    def test_many_threads_at_once_get_their_own_answers(self, serve, backend, balancer):
        inner = [backend(show) for _ in range(2)]
        one = balancer(*inner)
        front = serve(one)
        wrong = []

        def ask(number):
            client = front.connect()
            for turn in range(25):
                said = json.loads(client.exchange(request("POST", f"/{number}/{turn}", body=b"%d" % number)).body)
                if (said["RAW_URI"], said["body"]) != (f"/{number}/{turn}", str(number)):
                    wrong.append(said)

        threads = [threading.Thread(target=ask, args=[number]) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert sum(server.calls for server in inner) == 150
        wire.wait_until(lambda: [each.in_flight for each in one.backends] == [0, 0], "all done")


class TestValidator:
    @pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
    def test_passes_above_and_below(self, serve, backend, balancer, method):
        inner = validator(answering(fields=[("Content-Length", "4")], blocks=[b"body"]))
        if method == "HEAD":
            inner = validator(answering(fields=[("Content-Length", "4")], blocks=[]))
        front = serve(validator(balancer(backend(inner))))
        body = b"x" * 100_000 if method == "POST" else b""
        answer = front.exchange(request(method, body=body), method=method)
        assert (answer.status, answer.body) == (200, b"" if method == "HEAD" else b"body")

    @pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
    def test_passes_for_answers_without_body(self, serve, backend, balancer, status):
        front = serve(validator(balancer(backend(answering(status, blocks=[])))))
        assert front.exchange(request()).status == int(status[:3])

    def test_passes_for_own_answers(self, serve, balancer):
        front = serve(validator(balancer("http://127.0.0.1:1")))
        assert front.exchange(request()).status == 502
        assert front.exchange(request("HEAD"), method="HEAD").body == b""


class TestSettings:
    @pytest.mark.parametrize(
        "url", ["127.0.0.1:80", "https://a", "http://", "http://a/path", "http://a:b", "http://u@a", "http://a?q", 7]
    )
    def test_backends_are_urls_of_servers(self, url):
        with pytest.raises(ValueError, match=r'^a backend is written "http://HOST:PORT", not '):
            Balancer([url])

    def test_several_backends_are_a_list(self):
        with pytest.raises(TypeError, match="a list of URLs, not one: 'http://a'"):
            Balancer("http://a")
        with pytest.raises(ValueError, match="at least one backend"):
            Balancer([])

    @pytest.mark.parametrize("name", ["connect_timeout_s", "read_timeout_s", "attempts", "rest_s", "max_failures"])
    def test_zero_is_refused_by_name(self, name):
        with pytest.raises(ValueError, match=f"^{name} must be more than 0, not 0$"):
            Balancer(["http://a"], **{name: 0})

    def test_the_policy_is_one_of_two(self):
        with pytest.raises(ValueError, match="policy is one of 'least-busy', 'round-robin', not 'random'"):
            Balancer(["http://a"], policy="random")

    def test_what_becomes_part_of_a_field_is_refused_when_it_cannot(self):
        with pytest.raises(ValueError, match=r"host cannot be 'a\\nb'"):
            Balancer(["http://a"], host="a\nb")
        with pytest.raises(ValueError, match="pseudonym cannot be ''"):
            Balancer(["http://a"], pseudonym="")

    def test_without_urllib3_says_how_to_get_it(self, monkeypatch):
        for name in ("headrace.middleware.balancer", "headrace.middleware.backends"):
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "urllib3", None)
        import headrace.middleware

        with pytest.raises(ImportError, match=r"pip install 'headrace\[balancer\]'"):
            headrace.middleware.Balancer  # noqa: B018
