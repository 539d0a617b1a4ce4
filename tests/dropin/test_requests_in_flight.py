"""What goes on when serving ends: requests are finished, and who waits for them is who waits with socketserver."""

from __future__ import annotations

import gc
import os
import select
import socket
import socketserver
import subprocess
import sys
import threading
import time

import pytest
import wire

from headrace.dropin.serving import runs_of
from headrace.simple_server import WSGIServer, make_server

GET = b"GET /%d HTTP/1.0\r\n\r\n"


class Threaded(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = False


class Daemons(Threaded):
    daemon_threads = True


class Held:
    """An application that is inside a call, or between two blocks of its answer, until it may go on."""

    def __init__(self, streams=False):
        self.streams = streams
        self.inside, self.go_on = threading.Event(), threading.Event()

    def __call__(self, environ, start_response):
        start_response("200 OK", [])
        return self.blocks() if self.streams else [self.wait()]

    def blocks(self):
        yield b"begun, "
        yield self.wait()

    def wait(self):
        self.inside.set()
        assert self.go_on.wait(wire.PATIENCE_S)
        return b"finished"


def read_all(client):
    return client.makefile("rb").read()


def in_thread(function):
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


def ended(thread):
    thread.join(wire.PATIENCE_S)
    return not thread.is_alive()


class TestWithThreads:
    @pytest.mark.parametrize("server_class", [Threaded, Daemons])
    @pytest.mark.parametrize("streams", [False, True])
    def test_shutdown_does_not_wait_for_requests_and_they_are_finished(self, start, server_class, streams):
        application = Held(streams)
        served = start(application, server_class=server_class)
        with served.connect() as client:
            client.sendall(GET % 1)
            assert application.inside.wait(wire.PATIENCE_S)
            served.server.shutdown()
            assert ended(served.thread)
            application.go_on.set()
            assert read_all(client).endswith(b"finished")

    @pytest.mark.parametrize("server_class", [Threaded, Daemons])
    def test_an_application_may_shut_its_server_down(self, start, server_class):
        def stops(environ, start_response):
            served.server.shutdown()
            start_response("200 OK", [])
            return [b"shut down"]

        served = start(stops, server_class=server_class)
        with served.connect() as client:
            client.sendall(GET % 1)
            assert read_all(client).endswith(b"shut down")
        assert ended(served.thread)

    def test_server_close_waits_for_requests(self, start):
        application = Held()
        served = start(application, server_class=Threaded)
        with served.connect() as client:
            client.sendall(GET % 1)
            assert application.inside.wait(wire.PATIENCE_S)
            served.server.shutdown()
            closing = in_thread(served.server.server_close)
            closing.join(0.05)
            assert closing.is_alive()
            application.go_on.set()
            assert ended(closing)
            assert read_all(client).endswith(b"finished")

    @pytest.mark.parametrize("more", [{"daemon_threads": True}, {"block_on_close": False}])
    def test_server_close_does_not_wait_where_socketserver_would_not(self, start, more):
        application = Held()
        served = start(application, server_class=type("Server", (Threaded,), more))
        with served.connect() as client:
            client.sendall(GET % 1)
            assert application.inside.wait(wire.PATIENCE_S)
            served.server.shutdown()
            served.server.server_close()
            with pytest.raises(ConnectionRefusedError):
                served.connect()
            application.go_on.set()
            assert read_all(client).endswith(b"finished")

    def test_the_server_may_serve_again_meanwhile(self, start):
        application = Held()
        served = start(application, server_class=Threaded)
        with served.connect() as client, served.connect() as other:
            client.sendall(GET % 1)
            assert application.inside.wait(wire.PATIENCE_S)
            served.server.shutdown()
            again = in_thread(served.server.serve_forever)
            application.go_on.set()
            other.close()
            with served.connect() as second:
                second.sendall(GET % 2)
                assert read_all(second).endswith(b"finished")
            assert read_all(client).endswith(b"finished")
            served.server.shutdown()
            assert ended(again)

    def test_hundreds_of_calls_at_once_are_all_begun(self, start):
        callers = 300
        together = threading.Barrier(callers)

        def meets(environ, start_response):
            together.wait(4 * wire.PATIENCE_S)
            start_response("200 OK", [])
            return [b"met"]

        served = start(meets, server_class=type("Server", (Daemons,), {"request_queue_size": 2 * callers}))
        clients = [served.connect() for _ in range(callers)]
        for client in clients:
            client.settimeout(4 * wire.PATIENCE_S)
            client.sendall(GET % 0)
        for client in clients:
            with client:
                assert read_all(client).endswith(b"met")


    def test_the_process_ends_when_they_are_finished(self):
        program = (
            "import socketserver, sys, threading\n"
            "from headrace.simple_server import WSGIServer, make_server\n"
            "inside = threading.Event()\n"
            "def waits(environ, start_response):\n"
            "    inside.set()\n"
            "    sys.stdin.readline()\n"
            "    start_response('200 OK', [])\n"
            "    return [b'finished']\n"
            "class Threaded(socketserver.ThreadingMixIn, WSGIServer): pass\n"
            "server = make_server('127.0.0.1', 0, waits, Threaded)\n"
            "print(server.server_port, flush=True)\n"
            "threading.Thread(target=server.serve_forever, daemon=True).start()\n"
            "inside.wait()\n"
            "server.shutdown()\n"
            "print('the main thread ends', flush=True)\n"
        )
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen([sys.executable, "-c", program], **pipes) as process:
            address = ("127.0.0.1", int(process.stdout.readline()))
            with socket.create_connection(address, wire.PATIENCE_S) as client:
                client.sendall(GET % 1)
                assert process.stdout.readline() == "the main thread ends\n"
                process.stdin.write("\n")
                process.stdin.flush()
                assert read_all(client).endswith(b"finished")
            assert process.wait(wire.PATIENCE_S) == 0


class TestAForkedChildThatOutlivesTheRequest:
    @pytest.mark.parametrize("blocks", [[b"whole"], [b"in ", b"parts"]])
    def test_does_not_keep_the_client_waiting_for_the_end(self, start, blocks):
        reading, writing = os.pipe()

        def forks(environ, start_response):
            child = os.fork()
            if child == 0:
                os.close(writing)
                os.read(reading, 1)
                os._exit(0)
            children.append(child)
            start_response("200 OK", [])
            return blocks

        children: list[int] = []
        served = start(forks)
        try:
            with served.connect() as client:
                client.sendall(GET % 1)
                assert read_all(client).endswith(b"".join(blocks))
        finally:
            os.close(writing)
            for child in children:
                os.waitpid(child, 0)
            os.close(reading)


class TestDescriptors:
    def test_of_a_loop_that_has_ended_do_not_wait_for_the_collector(self):
        def application(environ, start_response):
            start_response("200 OK", [])
            return [b"answered"]

        def used():
            return len(os.listdir("/dev/fd"))

        with make_server("127.0.0.1", 0, application) as server:
            gc.collect()
            gc.disable()
            try:
                before = used()
                for _ in range(5):
                    serve_and_stop(server)
                assert used() == before
            finally:
                gc.enable()


def serve_and_stop(server):
    with socket.create_connection(server.server_address, wire.PATIENCE_S) as client:
        client.sendall(GET % 1)
        server.handle_request()
        assert read_all(client).endswith(b"answered")
    thread = in_thread(server.serve_forever)
    with socket.create_connection(server.server_address, wire.PATIENCE_S) as client:
        client.sendall(GET % 1)
        assert read_all(client).endswith(b"answered")
    server.shutdown()
    assert ended(thread)


class TestClientsThatSendMore:
    """wsgiref's HTTP/1.0 ends each connection; a client of HTTP/1.1 learns of that by the answer."""

    ANSWER = b"x" * 200_000

    def application(self, environ, start_response):
        start_response("200 OK", [])
        return [self.ANSWER]

    @pytest.fixture
    def server(self):
        with make_server("127.0.0.1", 0, self.application) as server:
            thread = in_thread(server.serve_forever)
            yield server
            server.shutdown()
            assert ended(thread)

    def test_an_answer_is_read_in_full_by_a_client_that_asked_again_before(self, server):
        """A server that closes at once resets what the client has not read yet (RFC 9112 §9.6)."""
        request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(wire.PATIENCE_S)
            client.connect(server.server_address)
            client.sendall(request)
            assert client.recv(5) == b"HTTP/"
            select.select([], [], [], 0.1)  # it is sent, and ended, as far as the server is concerned
            client.sendall(request)
            assert read_all(client).endswith(b"\r\n\r\n" + self.ANSWER)

    def test_nobody_waits_for_more_of_a_client_of_http_1_0(self, server):
        with socket.create_connection(server.server_address, wire.PATIENCE_S) as client:
            client.sendall(GET % 1)
            assert read_all(client).endswith(self.ANSWER)
            began_s = time.monotonic()
            wire.wait_until(lambda: not runs_of(server)[0].has_connections(), "the connection gone")
            assert time.monotonic() - began_s < 2  # the engine's linger_timeout


class TestHandleRequest:
    def test_does_not_linger_for_a_client_that_sent_more_and_stays(self):
        """The client never ends its side: only a deadline, of which there is none, could end the wait."""
        def application(environ, start_response):
            start_response("200 OK", [])
            return [b"answered"]

        server = make_server("127.0.0.1", 0, application)
        with server, socket.create_connection(server.server_address, wire.PATIENCE_S) as client:
            client.sendall(GET % 1 + GET % 2)
            began_s = time.monotonic()
            server.handle_request()
            assert time.monotonic() - began_s < 2  # the engine's linger_timeout
            assert client.recv(65536).startswith(b"HTTP/1.0 200 OK")
