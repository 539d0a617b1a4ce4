"""RFC 9112 §9: connection management; RFC 9110 §7.6.1 Connection, §7.8 Upgrade, §10.1.1 Expect."""

from __future__ import annotations

import pytest
import verdict
import wire


def hello(environ, start_response):
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["RAW_URI"].encode()]


def get(target: str = "/", *lines: str, version: str = "1.1") -> bytes:
    return (
        f"GET {target} HTTP/{version}\r\nHost: a\r\n".encode()
        + "".join(line + "\r\n" for line in lines).encode()
        + (b"\r\n")
    )


def of_the_message(environ: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in environ.items() if key not in verdict.OF_THE_CONNECTION}


class TestPersistence:
    """§9.3"""

    def test_http_1_1_connections_persist(self, serve, transport):
        running = serve(hello)
        with running.connect() as client:
            for number in range(10):
                response = client.exchange(get(f"/{number}"))
                assert response.body == f"/{number}".encode()
                assert not response.says_close
            assert running.connection_count() == 1

    def test_http_1_0_connections_close(self, serve, transport):
        with serve(hello).connect() as client:
            response = client.exchange(get(version="1.0"))
            assert response.get("Connection") == "close"
            client.assert_closed()

    @pytest.mark.parametrize("line", ["Connection: keep-alive", "connection: Keep-Alive", "Connection: x, KEEP-ALIVE,"])
    def test_http_1_0_connections_persist_on_request_and_say_so(self, serve, line):
        with serve(hello).connect() as client:
            for _ in range(3):
                assert client.exchange(get("/", line, version="1.0")).get("Connection") == "keep-alive"
            assert client.exchange(get("/", version="1.0")).get("Connection") == "close"
            client.assert_closed()

    @pytest.mark.parametrize(
        "lines",
        [
            ["Connection: close"],
            ["connection: CLOSE"],
            ["Connection:close "],
            ["Connection: Close, keep-alive"],
            ["Connection: keep-alive, close"],
            ["Connection: keep-alive", "Connection: close"],
            ["Connection: close", "Connection: keep-alive"],
            ["Connection: x-option ,\tclose"],
            ["Connection: , ,close, ,"],
            ["Connection: upgrade, x", "X: y", "Connection: close", "Upgrade: x"],
        ],
    )
    @pytest.mark.parametrize("version", ["1.0", "1.1"])
    def test_close_wins_wherever_it_stands(self, serve, version, lines):
        with serve(hello).connect() as client:
            assert client.exchange(get("/", *lines, version=version)).get("Connection") == "close"
            client.assert_closed()

    @pytest.mark.parametrize(
        "lines", [["Connection: closed"], ["Connection: clos"], ["Connection: x-close"], ["Connection:"], ["X: close"]]
    )
    def test_what_only_looks_like_close_does_not_close(self, serve, lines):
        with serve(hello).connect() as client:
            assert not client.exchange(get("/", *lines)).says_close
            client.assert_open()

    @pytest.mark.parametrize("value", [b"close;", b"a b", b'"close"', b"close=1", b"clos\xe9", b"@"], ids=repr)
    def test_what_is_no_list_of_tokens_is_refused(self, refuses, value):
        refuses(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: " + value + b"\r\n\r\n", "REQUEST_CONNECTION_INVALID")

    def test_no_connection_persists_when_keep_alive_is_zero(self, serve):
        running = serve(hello, keep_alive=0)
        with running.connect() as client:
            assert client.exchange(get()).get("Connection") == "close"
            client.assert_closed()
        with running.connect() as client:
            assert client.exchange(get("/", "Connection: keep-alive", version="1.0")).get("Connection") == "close"
            client.assert_closed()

    def test_a_connection_persists_after_a_body_that_the_application_did_not_read(self, serve, transport):
        """CVE-2022-29361: the rest of a body is never a request."""

        def application(environ, start_response):
            start_response("200 OK", [])
            return [environ["RAW_URI"].encode()]

        inner = get("/smuggled")
        running = serve(application)
        with running.connect() as client:
            for body in (inner, inner * 3_000):
                assert client.exchange(wire.request("/outer", method="POST", body=body)).body == b"/outer"
                client.send(wire.request("/c", method="POST", fields=[("Transfer-Encoding", "chunked")]))
                client.send(wire.chunked(body))
                assert client.read_response().body == b"/c"
            client.assert_open()
        assert "/smuggled" not in running.targets

    def test_a_connection_closes_when_a_response_can_end_in_no_other_way(self, serve):
        def application(environ, start_response):
            start_response("200 OK", [("Content-Length", "10")])
            return [b"short"]

        with serve(application).connect() as client:
            client.send(get())
            assert client.read_head().get("Content-Length") == "10"
            assert client.read_until_close() == b"short"


class TestPipelining:
    """§9.3.2"""

    @pytest.mark.parametrize("cut", wire.CUTS)
    def test_answers_come_in_the_order_of_the_requests(self, serve, transport, cut):
        messages = [
            get("/1"),
            wire.request("/2", method="POST", body=b"x" * 300),
            wire.request("/3", method="POST", fields=[("Transfer-Encoding", "chunked")], body=wire.chunked(b"a", b"b")),
            get("/4", "Cookie: a=b"),
            get("/5", "Cookie: a=b"),
            get("/5", "Cookie: a=b"),
            b"HEAD /6 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"HEAD /6 HTTP/1.1\r\nHost: a\r\n\r\n",
            get("/7", "Connection: keep-alive", version="1.0"),
            b"\r\n" + get("/8"),
            get("/9", "Connection: close"),
        ]
        if cut == "whole":  # cut, it could come after the close, and its reset could overtake the last answers
            messages.append(get("/never"))
        running = serve(hello)
        with running.connect() as client:
            client.send(b"".join(messages), cut, may_break=True)
            for number in (1, 2, 3, 4, 5, 5, 6, 6, 7, 8, 9):
                response = client.read_response("HEAD" if number == 6 else "GET")
                assert response.body == (b"" if number == 6 else f"/{number}".encode())
            client.assert_closed()
        assert running.targets == ["/1", "/2", "/3", "/4", "/5", "/5", "/6", "/6", "/7", "/8", "/9"]

    def test_a_thousand_requests_in_one_write_get_a_thousand_answers(self, serve, transport):
        with serve(hello).connect() as client:
            client.send(b"".join(get(f"/{number}") for number in range(1000)))
            for number in range(1000):
                assert client.read_response().body == f"/{number}".encode()
            client.assert_open()

    def test_large_answers_do_not_overtake_each_other(self, serve, transport):
        sizes = [10, 200_000, 0, 1, 70_000, 65_536, 3_000_000, 5]

        def application(environ, start_response):
            size = int(environ["PATH_INFO"][1:])
            start_response("200 OK", [])
            blocks = [b"%d" % (size % 10) * size]
            return blocks if size % 2 else iter(blocks)

        with serve(application).connect() as client:
            client.send(b"".join(get(f"/{size}") for size in sizes))
            for size in sizes:
                assert client.read_response().body == b"%d" % (size % 10) * size
            client.assert_open()

    def test_requests_behind_one_that_closes_are_not_run(self, serve, transport):
        running = serve(hello)
        for closing in (get("/1", "Connection: close"), get("/1", version="1.0")):
            with running.connect() as client:
                client.send(closing + get("/2") * 10)
                assert client.read_response().body == b"/1"
                client.assert_closed()
        assert running.targets == ["/1", "/1"]

    def test_a_head_equal_to_the_one_before_is_read_in_full(self, serve, transport):
        """The connection remembers the last head; what differs in one octet must differ in environ and answer."""
        first = get("/a", "X: 1")
        variants = [
            get("/a", "X: 2"),
            get("/b", "X: 1"),
            get("/a", "X: 1", "Y: 2"),
            get("/a"),
            get("/a?q", "X: 1"),
            get("/a", "X: 1", "Connection: x"),
            b"HEAD" + first[3:],
            get("/%61", "X: 1"),
            get("http://b/a", "X: 1"),
            get("/a", "x: 1"),
            first.replace(b"1.1", b"1.0").replace(b"X: 1", b"Connection: keep-alive"),
        ]
        running = serve(hello)

        def read(client, message):
            response = client.read_response(message.split(b" ")[0].decode())
            return response.status, response.get("Connection"), response.body

        def exchange_alone(message):
            with running.connect() as client:
                client.send(message)
                return read(client, message), of_the_message(running.environs[-1])

        alone = {message: exchange_alone(message) for message in (first, *variants)}
        assert len({repr(what) for what in alone.values()}) == len(variants), "all differ, but for X and x"
        expected = []
        already = running.calls
        with running.connect() as client:
            for variant in variants:
                batches = ([first], [variant], [variant], [first], [first], [first, variant, variant, first])
                for messages in batches:
                    client.send(b"".join(messages))
                    for message in messages:
                        assert read(client, message) == alone[message][0]
                        expected.append(alone[message][1])
        assert [of_the_message(environ) for environ in running.environs[already:]] == expected

    @pytest.mark.parametrize("change", ["fields", "line", "body"])
    def test_a_bad_request_behind_a_similar_good_one_is_refused(self, serve, change):
        good = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
        bad = {
            "fields": good.replace(b"Length: 2", b"Length: +"),
            "line": good.replace(b"/a", b"/\x01"),
            "body": good.replace(b"Content-Length: 2", b"Transfer-Encoding: chunked"),
        }[change]
        running = serve(hello)
        with running.connect() as client:
            client.send(good + good + bad)
            assert [client.read_response().status for _ in range(3)] == [200, 200, 400]
            client.assert_closed()
        assert running.calls == 2


class TestTearDown:
    """§9.6"""

    @pytest.mark.parametrize("size", [10, 100_000, 5_000_000])
    def test_a_client_that_is_still_sending_gets_to_read_its_refusal(self, serve, transport, size):
        """Closing with octets unread would be a reset, which can destroy the answer on its way."""
        running = serve(verdict.echo, limit_request_body=5)
        with running.connect() as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
            client.send(b"x" * size)
            assert client.read_response().status == 413
            client.assert_closed()
        assert running.calls == 0

    def test_the_end_comes_at_once_while_the_rest_is_still_read(self, serve, transport):
        """The server shuts down its side at once, then lingers, then closes."""
        running = serve(verdict.echo, linger_timeout=30)
        with running.connect() as client:
            client.send(b"BAD\r\n")
            assert client.read_response().status == 400
            client.assert_closed(timeout=1)
            assert running.connection_count() == 1
            client.send(b"x" * 1_000_000)
            client.close()
            wire.wait_until(lambda: running.connection_count() == 0, "the connection gone")

    def test_lingering_ends(self, serve, transport):
        running = serve(verdict.echo, linger_timeout=0.2)
        with running.connect() as client:
            client.send(b"BAD\r\n")
            assert client.read_response().status == 400
            wire.wait_until(lambda: running.connection_count() == 0, "the connection gone", 2)

    def test_lingering_ends_for_a_client_that_sends_for_ever(self, serve, transport):
        running = serve(verdict.echo, linger_timeout=0.2)
        with running.connect() as client:
            client.send(b"BAD\r\n")
            assert client.read_response().status == 400

            def gone() -> bool:
                client.send(b"x" * 1000, may_break=True)
                return running.connection_count() == 0

            wire.wait_until(gone, "the connection gone", 2)

    def test_lingering_does_not_hold_up_others(self, serve):
        running = serve(verdict.echo, linger_timeout=30)
        clients = [running.connect() for _ in range(20)]
        for client in clients:
            client.send(b"BAD\r\n")
        for client in clients:
            assert client.read_response().status == 400
        assert running.exchange(verdict.GOOD).status == 200

    def test_a_half_closed_client_gets_its_answers(self, serve, transport):
        with serve(hello).connect() as client:
            client.send(get("/1") + get("/2"))
            client.half_close()
            assert client.read_response().body == b"/1"
            assert client.read_response().body == b"/2"
            client.assert_closed()

    def test_a_half_closed_client_gets_a_large_answer(self, serve, transport):
        def application(environ, start_response):
            start_response("200 OK", [])
            return (b"x" * 100_000 for _ in range(50))

        with serve(application).connect(receive_buffer_bytes=4096) as client:
            client.send(get())
            client.half_close()
            assert len(client.read_response().body) == 5_000_000
            client.assert_closed()

    def test_an_answer_that_says_close_is_read_in_full_by_a_client_that_sent_more(self, serve, transport):
        running = serve(hello)
        for _ in range(20):
            with running.connect() as client:
                client.send(get("/1", "Connection: close") + b"x" * 100_000, may_break=True)
                assert client.read_response().body == b"/1"
                client.assert_gone()

    @pytest.mark.parametrize("message", [get(), get("/health"), get("/", "Connection: keep-alive", version="1.0")])
    def test_with_keep_alive_zero_a_client_that_did_not_say_close_may_have_sent_its_next_request(
        self, serve, transport, message
    ):
        running = serve(hello, keep_alive=0, linger_timeout=30, health_path="/health")
        with running.connect() as client:
            response = client.exchange(message)
            assert (response.status, response.says_close) == (200, True)
            client.assert_closed()
            assert running.connection_count() == 1
            client.send(message)
            client.close()
            wire.wait_until(lambda: running.connection_count() == 0, "the connection gone")

    def test_with_keep_alive_zero_an_answer_is_read_in_full_by_a_client_that_asked_again_before(self, serve):
        def application(environ, start_response):
            start_response("200 OK", [])
            return [b"x" * 200_000]

        running = serve(application, keep_alive=0)
        with running.connect(receive_buffer_bytes=4096) as client:
            client.send(get())
            assert client.has_input(wire.PATIENCE_S)
            client.has_input(0.1)
            client.send(get(), may_break=True)
            response = client.read_response()
            assert (len(response.body), response.says_close) == (200_000, True)
            client.assert_closed()

    @pytest.mark.parametrize("keep_alive", [75, 0])
    @pytest.mark.parametrize(
        "message", [get("/", "Connection: close"), get("/health", "Connection: close"), get(version="1.0")]
    )
    def test_a_connection_whose_client_will_send_no_more_does_not_linger(self, serve, transport, message, keep_alive):
        running = serve(hello, keep_alive=keep_alive, linger_timeout=30, health_path="/health")
        with running.connect() as client:
            assert client.exchange(message).says_close
            wire.wait_until(lambda: running.connection_count() == 0, "the connection gone")
            client.assert_closed()


class TestExpect:
    """RFC 9110 §10.1.1"""

    HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"

    @pytest.mark.parametrize("expectation", [b"100-continue", b"100-CONTINUE", b"\t100-Continue "], ids=repr)
    def test_100_continue_is_answered_once_before_the_body(self, serve, transport, expectation):
        running = serve(verdict.echo)
        with running.connect() as client:
            for _ in range(3):
                head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: " + expectation + b"\r\nContent-Length: 5\r\n\r\n"
                interim = client.exchange(head, method="POST")
                assert (interim.status, interim.reason, interim.fields) == (100, "Continue", [])
                assert not client.has_input(0.01)
                assert client.exchange(b"hello").body == b"hello"
            client.assert_open()

    def test_100_continue_is_answered_before_a_chunked_body(self, serve):
        with serve(verdict.echo).connect() as client:
            assert client.exchange(self.HEAD + b"Transfer-Encoding: chunked\r\n\r\n").status == 100
            assert client.exchange(wire.chunked(b"he", b"llo")).body == b"hello"

    def test_it_is_answered_in_order_behind_pipelined_requests(self, serve):
        with serve(verdict.echo).connect() as client:
            client.send(verdict.GOOD + verdict.GOOD + self.HEAD + b"Content-Length: 5\r\n\r\n")
            assert [client.read_response().status for _ in range(3)] == [200, 200, 100]
            assert client.exchange(b"hello").body == b"hello"

    def test_it_is_not_answered_when_the_body_is_already_coming(self, serve, transport):
        with serve(verdict.echo).connect() as client:
            client.send(self.HEAD + b"Content-Length: 5\r\n\r\nh")
            assert not client.has_input(0.02)
            response = client.exchange(b"ello")
            assert (response.status, response.body) == (200, b"hello")

    def test_it_is_not_answered_without_a_body(self, serve):
        with serve(verdict.echo).connect() as client:
            assert client.exchange(self.HEAD + b"Content-Length: 0\r\n\r\n").status == 200
            assert client.exchange(self.HEAD + b"\r\n").status == 200
            client.assert_open()

    def test_it_is_ignored_on_http_1_0(self, serve):
        head = self.HEAD.replace(b"1.1", b"1.0") + b"Content-Length: 5\r\n\r\n"
        with serve(verdict.echo).connect() as client:
            client.send(head)
            assert not client.has_input(0.02)
            assert client.exchange(b"hello").body == b"hello"

    @pytest.mark.parametrize(
        "lines", [b"Content-Length: x\r\n", b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"]
    )
    def test_a_bad_head_gets_its_final_answer_only(self, serve, lines):
        running = serve(verdict.echo)
        with running.connect() as client:
            assert client.exchange(self.HEAD + lines + b"\r\n").status == 400
            client.assert_closed()
        assert running.calls == 0

    def test_a_body_beyond_the_limit_gets_its_final_answer_only(self, serve):
        running = serve(verdict.echo, limit_request_body=4)
        with running.connect() as client:
            assert client.exchange(self.HEAD + b"Content-Length: 5\r\n\r\n").status == 413
            client.assert_closed()

    @pytest.mark.parametrize(
        "value",
        [
            b"",
            b"100",
            b"100-continu",
            b"100-continue;a",
            b"200-ok",
            b"100-continue, x",
            b"x, 100-continue",
            b'"100-continue"',
        ],
        ids=repr,
    )
    def test_any_other_expectation_fails(self, refuses, value):
        head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: " + value + b"\r\nContent-Length: 5\r\n\r\nhello"
        refuses(head, "REQUEST_EXPECTATION_FAILED")

    def test_any_other_expectation_is_ignored_on_http_1_0(self, accepts):
        accepted = accepts(b"POST / HTTP/1.0\r\nExpect: x\r\nContent-Length: 5\r\n\r\nhello")
        assert accepted.body == b"hello"

    def test_a_client_that_leaves_instead_of_sending_is_no_request(self, serve):
        running = serve(verdict.echo)
        with running.connect() as client:
            assert client.exchange(self.HEAD + b"Content-Length: 5\r\n\r\n").status == 100
            client.half_close()
            client.assert_closed()
        assert running.calls == 0


class TestUpgrade:
    """RFC 9110 §7.8: a server may ignore it."""

    @pytest.mark.parametrize("protocol", ["websocket", "h2c", "TLS/1.0", "HTTP/2.0"])
    def test_is_ignored(self, accepts, protocol):
        accepted = accepts(
            get("/", f"Upgrade: {protocol}", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AA")
        )
        assert accepted.environ["HTTP_UPGRADE"] == protocol
        assert not accepted.closed

    def test_is_ignored_with_a_body(self, accepts):
        message = b"POST / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: upgrade\r\n"
        assert accepts(message + b"Content-Length: 5\r\n\r\nhello").body == b"hello"
        assert accepts(message + b"Transfer-Encoding: chunked\r\n\r\n" + wire.chunked(b"hello")).body == b"hello"
