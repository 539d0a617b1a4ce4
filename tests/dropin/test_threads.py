"""socketserver.ThreadingMixIn with the engine: a crew that grows when all of it is inside the application."""

from __future__ import annotations

import socketserver
import threading
import urllib.request

import pytest
import wire

from headrace.simple_server import WSGIServer

GET = b"GET /%d HTTP/1.0\r\n\r\n"


class Threaded(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


def test_long_calls_beyond_the_first_threads_are_all_begun(start):
    callers = 12
    together = threading.Barrier(callers + 1)

    def meets(environ, start_response):
        together.wait(wire.PATIENCE_S)
        start_response("200 OK", [])
        return [b"met"]

    served = start(meets, server_class=Threaded)
    clients = [served.connect() for _ in range(callers)]
    for client in clients:
        client.sendall(GET % 0)
    together.wait(wire.PATIENCE_S)
    for client in clients:
        with client:
            assert client.makefile("rb").read().endswith(b"met")
    assert (served.server.engine, served.server.engine_reason[-12:]) == ("native", "with threads")


@pytest.mark.parametrize("depth", [1, 3, 9])
def test_requests_to_oneself_do_not_deadlock(start, depth):
    def nests(environ, start_response):
        left = int(environ["PATH_INFO"][1:])
        body = b"."
        if left:
            url = f"http://127.0.0.1:{environ['SERVER_PORT']}/{left - 1}"
            with urllib.request.urlopen(url, timeout=wire.PATIENCE_S) as inner:
                body += inner.read()
        start_response("200 OK", [])
        return [body]

    assert start(nests, server_class=Threaded).ask(GET % depth).endswith(b"\r\n\r\n" + b"." * (depth + 1))


def test_quick_calls_start_no_further_threads(start):
    def counts(environ, start_response):
        start_response("200 OK", [])
        return [b"%d" % sum(thread.name.startswith("headrace-") for thread in threading.enumerate())]

    served = start(counts, server_class=Threaded)
    for _ in range(50):
        answer = served.ask(GET % 0)
    assert 1 <= int(answer.rpartition(b"\n")[2]) <= 5


def test_environ_says_what_wsgirefs_does(both):
    def hello(environ, start_response):
        start_response("200 OK", [])
        return [b"hello"]

    theirs, ours = both(hello, GET % 0, server_class=lambda base: type("T", (socketserver.ThreadingMixIn, base), {}))
    assert ours == theirs


def test_shutdown_ends_the_threads(start):
    def hello(environ, start_response):
        start_response("200 OK", [])
        return [b"hello"]

    served = start(hello, server_class=Threaded)
    assert served.ask(GET % 0).endswith(b"hello")
    served.shut_down()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("headrace-")] == []
