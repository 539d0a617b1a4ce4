"""serve_forever(), shutdown(), handle_request() and server_close() do on the engine what they do in socketserver."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
import wire

import headrace.simple_server
from headrace.simple_server import WSGIRequestHandler, WSGIServer, make_server

GET = b"GET /%d HTTP/1.0\r\n\r\n"


def path(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode()]


@pytest.fixture
def server():
    with make_server("127.0.0.1", 0, path) as made:
        yield made


def read_all(client):
    received = b""
    while block := client.recv(65536):
        received += block
    return received


def connect(server):
    return socket.create_connection(server.server_address, wire.PATIENCE_S)


def in_thread(function, *arguments):
    thread = threading.Thread(target=function, args=arguments, daemon=True)
    thread.start()
    return thread


def ended(thread):
    thread.join(wire.PATIENCE_S)
    return not thread.is_alive()


class TestServeForever:
    def test_may_be_called_again(self, server):
        for number in range(3):
            thread = in_thread(server.serve_forever)
            with connect(server) as client:
                client.sendall(GET % number)
                assert read_all(client).endswith(b"/%d" % number)
            server.shutdown()
            assert ended(thread)

    def test_ends_at_once_when_shutdown_was_asked_before(self, server):
        stopping = in_thread(server.shutdown)
        while not server._BaseServer__shutdown_request:
            time.sleep(0.001)
        server.serve_forever()
        assert server.engine == "native"
        assert ended(stopping)

    def test_ends_when_the_mark_of_shutdown_is_set_alone(self, server):
        """As applications do that would otherwise wait for themselves."""
        thread = in_thread(server.serve_forever, 0.01)
        with connect(server) as client:
            client.sendall(GET % 1)
            assert read_all(client)
        server._BaseServer__shutdown_request = True
        assert ended(thread)

    def test_leaves_the_socket_as_it_was(self, server):
        assert server.socket.getblocking()
        thread = in_thread(server.serve_forever)
        with connect(server) as client:
            client.sendall(GET % 1)
            assert read_all(client)
        server.shutdown()
        assert ended(thread)
        assert os.get_blocking(server.fileno())

    def test_ends_when_another_thread_closes_the_server(self, server):
        thread = in_thread(server.serve_forever)
        with connect(server) as client:
            client.sendall(GET % 1)
            assert read_all(client)
        server.server_close()
        assert ended(thread)
        with pytest.raises(OSError) as refused, connect(server):
            pass
        assert refused.value.errno == errno.ECONNREFUSED

    def test_answers_the_request_in_which_the_server_is_closed(self, server):
        def closes(environ, start_response):
            server.server_close()
            return path(environ, start_response)

        server.set_app(closes)
        thread = in_thread(server.serve_forever)
        with connect(server) as client:
            client.sendall(GET % 1)
            assert read_all(client).endswith(b"/1")
        assert ended(thread)

    def test_shutdown_waits_for_what_is_in_flight(self):
        inside, go_on = threading.Event(), threading.Event()

        def waits(environ, start_response):
            inside.set()
            assert go_on.wait(wire.PATIENCE_S)
            return path(environ, start_response)

        with make_server("127.0.0.1", 0, waits) as server:
            thread = in_thread(server.serve_forever)
            with connect(server) as client:
                client.sendall(GET % 1)
                assert inside.wait(wire.PATIENCE_S)
                stopping = in_thread(server.shutdown)
                assert stopping.is_alive()
                go_on.set()
                assert ended(stopping)
                assert read_all(client).endswith(b"/1")
            assert ended(thread)

    def test_keeps_serving_others_while_a_client_reads_slowly(self, server):
        def big(environ, start_response):
            start_response("200 OK", [])
            return [b"x" * 1_000_000 for _ in range(20)] if environ["PATH_INFO"] == "/0" else [b"small"]

        server.set_app(big)
        thread = in_thread(server.serve_forever)
        with connect(server) as slow, connect(server) as other:
            slow.sendall(GET % 0)
            assert slow.recv(10)
            other.sendall(GET % 1)
            assert read_all(other).endswith(b"small")
            assert read_all(slow).endswith(b"x" * 1_000_000)
        server.shutdown()
        assert ended(thread)

    def test_closes_what_a_client_leaves_behind(self, server):
        closed = threading.Event()

        class Endless:
            def __iter__(self):
                while True:
                    yield b"x" * 100_000

            def close(self):
                closed.set()

        def endless(environ, start_response):
            start_response("200 OK", [])
            return Endless()

        server.set_app(endless)
        thread = in_thread(server.serve_forever)
        with connect(server) as client:
            client.sendall(GET % 0)
            assert client.recv(10)
        assert closed.wait(wire.PATIENCE_S)
        server.shutdown()
        assert ended(thread)


class TestHandleRequest:
    def test_answers_one_connection_and_leaves_others(self, server):
        with connect(server) as one, connect(server) as two:
            two.sendall(GET % 2)
            one.sendall(GET % 1)
            server.handle_request()
            assert server.engine == "native"
            assert read_all(one).endswith(b"/1")
            two.settimeout(0.05)
            with pytest.raises(TimeoutError):
                two.recv(1)
            two.settimeout(wire.PATIENCE_S)
            server.handle_request()
            assert read_all(two).endswith(b"/2")

    def test_leaves_the_socket_as_it_was(self, server):
        for timeout in (None, 3.0):
            server.socket.settimeout(timeout)
            with connect(server) as client:
                client.sendall(GET % 1)
                server.handle_request()
                assert read_all(client).endswith(b"/1")
            assert server.engine == "native"
            assert server.socket.gettimeout() == timeout
            assert os.get_blocking(server.fileno()) is (timeout is None)

    def test_waits_for_a_request_that_comes_late(self, server):
        with connect(server) as client:
            thread = in_thread(server.handle_request)
            client.sendall(b"GET /late ")
            assert thread.is_alive()
            client.sendall(b"HTTP/1.0\r\n\r\n")
            assert read_all(client).endswith(b"/late")
            assert ended(thread)

    def test_answers_one_request_where_connections_persist(self, server):
        server.RequestHandlerClass = type("Keeping", (WSGIRequestHandler,), {"protocol_version": "HTTP/1.1"})
        with connect(server) as client:
            client.sendall(b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\n")
            server.handle_request()
            assert read_all(client).endswith(b"/1")

    def test_honours_timeout_and_handle_timeout(self):
        called = []

        class Server(WSGIServer):
            timeout = 0.01

            def handle_timeout(self):
                called.append("handle_timeout")

        with make_server("127.0.0.1", 0, path, Server) as server:
            server.handle_request()
        assert called == ["handle_timeout"]

    def test_serves_the_standard_path_in_a_loop_of_serve_forever(self, start):
        """serve_forever() of the standard path calls _handle_request_noblock(), which has nothing to decide then."""

        class Server(WSGIServer):
            def service_actions(self):
                pass

        served = start(path, server_class=Server)
        assert [served.ask(GET % number)[-2:] for number in range(2)] == [b"/0", b"/1"]
        assert served.server.engine == "standard"


class TestTheEnd:
    def test_server_close_may_be_called_twice(self):
        server = make_server("127.0.0.1", 0, path)
        server.server_close()
        server.server_close()

    def test_a_server_that_never_called_our_init_serves(self, start):
        class Server(WSGIServer):
            def __init__(self, address, handler_class):
                import socketserver

                socketserver.TCPServer.__init__(self, address, handler_class)

        assert start(path, server_class=Server).ask(GET % 7).endswith(b"/7")

    @pytest.mark.parametrize("threads", [False, True])
    def test_keyboard_interrupt_leaves_serve_forever(self, threads):
        program = (
            "import socketserver, sys\n"
            "from headrace.simple_server import *\n"
            "class Threaded(socketserver.ThreadingMixIn, WSGIServer): daemon_threads = True\n"
            f"server = make_server('127.0.0.1', 0, demo_app, {'Threaded' if threads else 'WSGIServer'})\n"
            "print(server.server_port, flush=True)\n"
            "try:\n"
            "    server.serve_forever()\n"
            "except KeyboardInterrupt:\n"
            "    print('left', server.engine)\n"
        )
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
            port = int(process.stdout.readline())
            with socket.create_connection(("127.0.0.1", port), wire.PATIENCE_S) as client:
                client.sendall(GET % 1)
                assert b"Hello world!" in read_all(client)
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=wire.PATIENCE_S)[0] == "left native\n"

    @pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
    @pytest.mark.parametrize("quiet", [False, True])
    def test_keyboard_interrupt_during_a_call_is_answered_and_leaves_it_too(self, version, quiet):
        program = (
            "import os, signal, sys\n"
            "from headrace.simple_server import *\n"
            "class Handler(WSGIRequestHandler):\n"
            f"    protocol_version = '{version}'\n"
            + ("    def log_message(self, *arguments): pass\n" if quiet else "")
            + "def interrupted(environ, start_response):\n"
            "    os.kill(os.getpid(), signal.SIGINT)\n"
            "    while True: pass\n"
            "server = make_server('127.0.0.1', 0, interrupted, handler_class=Handler)\n"
            "print(server.server_port, flush=True)\n"
            "try:\n"
            "    server.serve_forever()\n"
            "except KeyboardInterrupt:\n"
            "    print('left', server.engine)\n"
        )
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
            port = int(process.stdout.readline())
            with socket.create_connection(("127.0.0.1", port), wire.PATIENCE_S) as client:
                client.sendall(GET % 1)
                assert read_all(client).startswith(version.encode() + b" 500 ")
            assert process.communicate(timeout=wire.PATIENCE_S)[0] == "left native\n"

    def test_the_module_runs_as_wsgirefs_does(self):
        """One request to port 8000; here the port is taken, so that no test depends on it."""
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                taken.bind(("", 8000))
            except OSError:
                pass  # by somebody else
            else:
                taken.listen()
            ended = subprocess.run(
                [sys.executable, "-m", "headrace.simple_server"], capture_output=True, text=True, timeout=20
            )
        assert "Address already in use" in ended.stderr

    def test_the_module_opens_a_browser_and_answers_one_request(self):
        """Run as a program, but for the port, which is a free one, and for the browser, which is this text's."""
        program = """
import runpy, socket, socketserver, sys, threading, types
bind = socketserver.TCPServer.server_bind

def bind_to_a_free_port(server):
    server.server_address = (server.server_address[0], 0)
    bind(server)
    server.server_address = server.socket.getsockname()
    ports.append(server.server_address[1])

def browse(url):
    print("opened", url)
    client = socket.create_connection(("127.0.0.1", ports[0]), PATIENCE_S)
    client.sendall(b"GET /xyz?abc HTTP/1.0\\r\\n\\r\\n")
    threading.Thread(target=lambda: answers.append(client.makefile("rb").read())).start()

ports, answers = [], []
socketserver.TCPServer.server_bind = bind_to_a_free_port
sys.modules["webbrowser"] = types.SimpleNamespace(open=browse)
runpy.run_module("headrace.simple_server", run_name="__main__")
for thread in threading.enumerate():
    if thread is not threading.current_thread() and not thread.daemon:
        thread.join()
print("answered", b"Hello world!" in answers[0], b"QUERY_STRING = 'abc'" in answers[0])
"""
        ended = subprocess.run(
            [sys.executable, "-c", program.replace("PATIENCE_S", str(wire.PATIENCE_S))],
            capture_output=True,
            text=True,
            timeout=4 * wire.PATIENCE_S,
        )
        serving, opened, answered = ended.stdout.splitlines()
        assert serving.startswith("Serving HTTP on 0.0.0.0 port ")
        assert opened == "opened http://localhost:8000/xyz?abc"
        assert answered == "answered True True"
        assert ended.returncode == 0


class TestNames:
    def test_of_wsgiref_are_all_there(self):
        import wsgiref.simple_server

        names = {name for name in vars(wsgiref.simple_server) if not name.startswith("__")}
        assert names - set(vars(headrace.simple_server)) == set()
        assert set(headrace.simple_server.__all__) == set(wsgiref.simple_server.__all__)
        assert headrace.simple_server.__version__ == wsgiref.simple_server.__version__

    def test_of_wsgirefs_classes_are_their_bases(self):
        import wsgiref.simple_server
        from http.server import BaseHTTPRequestHandler, HTTPServer

        assert issubclass(WSGIServer, (wsgiref.simple_server.WSGIServer, HTTPServer))
        assert issubclass(WSGIRequestHandler, (wsgiref.simple_server.WSGIRequestHandler, BaseHTTPRequestHandler))
