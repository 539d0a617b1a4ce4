"""headrace.middleware.Balancer when backends are dead, silent, rude or cut short: messages, retries, rests."""

from __future__ import annotations

import logging
import re
import socket
import threading
from wsgiref.util import setup_testing_defaults

import pytest
import wire
from scripted_backend import OK, Script

pytest.importorskip("urllib3")

from headrace.middleware import Balancer
from headrace.middleware.balancer import AnswerBrokenOff

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"
PUT = POST.replace(b"POST", b"PUT")


class TestMessages:
    def test_of_a_dead_backend(self, front, dead, caplog):
        answer = front(dead).exchange(GET)
        assert (answer.status, dict(answer.fields)["Content-Type"]) == (502, "text/plain; charset=utf-8")
        assert answer.body == b"502 Bad Gateway: The server behind this one could not be reached.\n"
        assert re.fullmatch(
            re.escape(dead) + r": no connection \(\[Errno \d+\] Connection refused\)", caplog.messages[0]
        )

    def test_of_a_backend_that_takes_no_connection(self, front, caplog):
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            address = full.getsockname()
            waiting = [socket.socket() for _ in range(4)]
            for sock in waiting:
                sock.setblocking(False)
                sock.connect_ex(address)
            answer = front(f"http://127.0.0.1:{address[1]}", connect_timeout_s=0.1).exchange(GET)
            for sock in waiting:
                sock.close()
        assert answer.status == 504
        assert answer.body == b"504 Gateway Timeout: The server behind this one could not be reached.\n"
        assert caplog.messages[0].endswith(": no connection in time")

    def test_of_a_backend_that_does_not_answer(self, front, script, caplog):
        answer = front(script(b""), read_timeout_s=0.1).exchange(GET)
        assert answer.body == b"504 Gateway Timeout: The server behind this one took too long.\n"
        assert caplog.messages[0].endswith(": no answer in time")

    def test_of_a_backend_that_reads_nothing(self, front, caplog):
        body = b"x" * 20_000_000
        message = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        with socket.create_server(("127.0.0.1", 0)) as deaf:
            answer = front(f"http://127.0.0.1:{deaf.getsockname()[1]}", read_timeout_s=0.2).exchange(message)
        assert answer.status == 504

    def test_of_all_backends_resting(self, front, dead, script):
        other = script(b"", close=True)
        running = front(dead, other, rest_s=20, max_failures=1)
        assert running.exchange(GET).status == 502
        answer = running.exchange(GET)
        assert (answer.status, dict(answer.fields)["Retry-After"]) == (503, "20")
        assert answer.body == (
            b"503 Service Unavailable: None of the servers behind this one can be reached at present.\n"
        )

    @pytest.mark.parametrize(
        ("answer", "complaint"),
        [
            (b"hello\r\n\r\n", "hello"),
            (b"HTTP/2 200 OK\r\n\r\n", "HTTP/2"),
            (b"HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n", "its status line is b'HTTP/1.1 200 O"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc", "its Content-Length is '2, 3'"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nab", "its Content-Length is '+2'"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nab", "its Content-Length is '2, 2'"),
            (b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nab", "its Content-Length is ''"),
            (b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nab", "it has a field line b'Content-Length : 2'"),
            (b"HTTP/1.1 200 OK\r\nX-Odd: a\0b\r\nContent-Length: 2\r\n\r\nab", "it has a field line b'X-Odd: a"),
            (b"HTTP/1.1 200 OK\r\nX-Odd: a\r\n b\r\nContent-Length: 2\r\n\r\nab", "it has a field line b' b'"),
            (b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 2\r\n\r\nab", "it has a field line b'no colon'"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding is 'gzip"),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
                "beside a Content-Length",
            ),
            (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "on HTTP/1.0"),
            (b"HTTP/1.1 101 Switching\r\n\r\n", "switched protocols"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "the answer broke off"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_of_an_answer_that_leaves_doubts(self, front, script, caplog, answer, complaint):
        got = front(script(answer, close=True)).exchange(GET)
        assert got.body == b"502 Bad Gateway: The server behind this one gave no usable answer.\n"
        assert complaint in caplog.messages[0]


class TestAnswers:
    def test_that_break_off_end_incomplete(self, front, script, caplog):
        cut = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n%b\r\n\r\n%b"
        for fields, body in [(b"Content-Length: 9", b"abc"), (b"Transfer-Encoding: chunked", b"9\r\nabc")]:
            backend = script(cut % (fields, body), close=True)
            running = front(backend)
            client = running.connect()
            client.send(GET)
            octets = client.read_until_close()
            assert octets.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"abc" in octets
            assert not octets.endswith(b"0\r\n\r\n")
            assert running.balancer.backends[0].in_flight == 0
            assert running.balancer.backends[0].failures == 1
            assert AnswerBrokenOff.__name__ in caplog.text

    def test_that_break_off_before_the_first_block_are_had_elsewhere(self, front, script):
        broken = script(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", close=True)
        assert front(broken, script(OK)).exchange(GET).body == b"ok"

    def test_are_those_behind_informational_ones(self, front, script):
        hints = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 7\r\n\r\n"
        answer = front(script(hints + OK)).exchange(GET)
        assert (answer.status, answer.body) == (200, b"ok")
        assert "Link" not in dict(answer.fields)

    def test_without_a_reason_have_none(self, front, script):
        answer = front(script(OK.replace(b" OK", b" "), close=True)).exchange(GET)
        assert (answer.status, answer.reason, answer.body) == (200, "", b"ok")

    def test_until_the_end_of_the_connection_are_whole(self, front, script):
        running = front(script(b"HTTP/1.0 200 OK\r\n\r\nall of it", close=True))
        answer = running.exchange(GET)
        assert (answer.body, dict(answer.fields)["Via"]) == (b"all of it", "1.0 headrace")

    def test_before_the_body_was_read_are_handed_on(self, front, script):
        class Early(Script):
            def answer_one(self, sock):
                sock.recv(100)
                sock.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(65536):
                    pass
                return False

        backend = Early(b"")
        body = b"x" * 300_000
        message = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        assert front(backend).exchange(message).status == 413
        backend.end()

    def test_with_more_octets_than_announced_do_not_pass_them_off_as_the_next(self, front, script):
        running = front(script(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", OK))
        assert [running.exchange(GET).body for _ in range(3)] == [b"ok"] * 3


class TestRetry:
    def test_of_what_was_not_sent_is_for_any_method(self, front, dead, script):
        backend = script(OK)
        for message in (GET, PUT, POST):
            assert front(dead, backend).exchange(message).body == b"ok"
        assert len(backend.requests) == 3

    def test_is_for_idempotent_methods_without_body(self, front, script):
        for method in (b"GET", b"DELETE", b"OPTIONS", b"PUT"):
            backend = script(OK)
            assert front(script(b"", close=True), backend).exchange(GET.replace(b"GET", method)).body == b"ok"
            assert backend.requests[0].startswith(method)

    @pytest.mark.parametrize("message", [POST, PUT, GET.replace(b"GET", b"PATCH"), GET.replace(b"GET", b"get")])
    def test_is_not_for_others(self, front, script, message):
        backend = script(OK)
        answer = front(script(b"", close=True), backend).exchange(message)
        assert (answer.status, backend.requests) == (502, [])

    def test_follows_a_timeout(self, front, script):
        assert front(script(b""), script(OK), read_timeout_s=0.1).exchange(GET).body == b"ok"

    def test_ends_after_so_many_backends(self, front, script):
        backends = [script(b"", close=True) for _ in range(4)]
        assert front(*backends, attempts=2).exchange(GET).status == 502
        assert [len(backend.requests) for backend in backends] == [1, 1, 0, 0]

    def test_over_another_connection_follows_one_that_closes_when_used_again(self, front, script, caplog):
        class Forgetful(Script):
            def serve(self, sock):
                self.answer_one(sock)
                sock.recv(65536)
                sock.close()

        backend = Forgetful(OK)
        running = front(backend, keep_alive_s=60)
        assert [running.exchange(GET).status for _ in range(4)] == [200] * 4
        assert caplog.messages == []
        assert running.exchange(POST).status == 502
        assert running.balancer.backends[0].failures == 0
        backend.end()


class TestRest:
    def test_keeps_requests_away_from_a_dead_backend(self, front, dead, script, caplog):
        running = front(dead, script(OK), rest_s=30)
        assert [running.exchange(GET).status for _ in range(6)] == [200] * 6
        assert len(caplog.messages) == 1
        assert caplog.messages[0].endswith("; left alone for 30 s")

    def test_comes_after_so_many_failures_in_a_row(self, front, script):
        bad = script(b"", OK, b"", b"", b"", close=True)
        running = front(bad, script(OK), max_failures=3, rest_s=30)
        assert [running.exchange(GET).status for _ in range(20)] == [200] * 20
        assert len(bad.requests) == 5

    def test_ends_with_one_trial_and_doubles_until_it_succeeds(self, front, script, caplog):
        caplog.set_level(logging.INFO, "headrace.balancer")
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        running = front(url, script(OK), rest_s=0.02, rest_max_s=0.04)
        waits = []

        def has_rested():
            assert running.exchange(GET).status == 200
            waits[:] = [float(wait) for wait in re.findall(r"left alone for ([\d.]+) s", caplog.text)]
            return len(waits) >= 4

        wire.wait_until(has_rested, "four rests")
        assert waits[:4] == [0.02, 0.04, 0.04, 0.04]
        back = Script.__new__(Script)
        back.answers, back.close_behind, back.requests, back.sockets, back.listener = [OK], False, [], [], listener
        listener.listen()
        threading.Thread(target=back.accept, daemon=True).start()
        wire.wait_until(lambda: running.exchange(GET).status == 200 and len(back.requests) > 3, "its requests")
        assert f"{url} answers again" in caplog.messages
        back.end()

    def test_is_not_longer_for_many_requests_that_failed_together(self, front, script, caplog):
        running = front(script(b""), script(b""), read_timeout_s=0.2, max_failures=1, rest_s=30)
        clients = [running.connect() for _ in range(6)]
        for client in clients:
            client.send(POST)
        assert [client.read_response().status for client in clients] == [504] * 6
        assert sorted("left alone" in message for message in caplog.messages) == [False] * 4 + [True] * 2
        assert caplog.text.count("left alone for 30 s") == 2

    def test_is_not_for_the_only_backend(self, front, dead):
        running = front(dead, rest_s=30)
        assert [running.exchange(GET).status for _ in range(3)] == [502] * 3

    def test_trial_is_not_for_a_request_that_could_not_go_elsewhere(self, front, script):
        bad = script(b"", close=True)
        running = front(bad, script(OK), rest_s=0.001, rest_max_s=0.001, max_failures=1)
        assert running.exchange(GET).status == 200
        assert [running.exchange(POST).status for _ in range(5)] == [200] * 5
        assert len(bad.requests) == 1


class TestInput:
    """wsgi.input of other servers, which may fail or end early."""

    def call(self, balancer, **environ):
        answers = []
        environ = {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": "10", **environ}
        setup_testing_defaults(environ)
        blocks = balancer(environ, lambda status, fields: answers.append(status))
        return answers[0], b"".join(blocks)

    @pytest.fixture
    def balancer(self, script):
        with Balancer([script(OK).url]) as balancer:
            yield balancer
        assert [(backend.in_flight, backend.failures) for backend in balancer.backends] == [(0, 0)]

    def test_failure_is_the_servers(self, balancer):
        class Broken:
            def read(self, size):
                raise ConnectionResetError("the client has gone")

        with pytest.raises(ConnectionResetError, match="the client has gone"):
            self.call(balancer, **{"wsgi.input": Broken()})

    def test_that_ends_early_is_no_whole_body(self, balancer):
        with pytest.raises(ConnectionError, match="the request's body ended 10 bytes early"):
            self.call(balancer)

    def test_of_unknown_length_is_asked_for_one(self, balancer):
        status, body = self.call(balancer, CONTENT_LENGTH="", HTTP_TRANSFER_ENCODING="chunked")
        assert (status, body) == ("411 Length Required", b"411 Length Required: A body needs a Content-Length here.\n")

    @pytest.mark.parametrize(
        ("environ", "status"),
        [
            ({"CONTENT_LENGTH": "ten"}, "400 Bad Request"),
            ({"HTTP_X_ODD": "a\r\nb: c"}, "400 Bad Request"),
            ({"REQUEST_METHOD": "CONNECT"}, "501 Not Implemented"),
            ({"REQUEST_METHOD": "GE T"}, "501 Not Implemented"),
        ],
    )
    def test_that_cannot_be_forwarded_is_refused(self, balancer, environ, status):
        assert self.call(balancer, **environ)[0] == status
