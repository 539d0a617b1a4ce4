"""Engine or standard path: which overrides leave the engine in place, and which do not."""

from __future__ import annotations

import logging
import socket
import socketserver
import ssl
import types
import wsgiref.simple_server

import pytest

from headrace.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer

GET = b"GET / HTTP/1.0\r\n\r\n"


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def subclass(base, **members):
    return type("Sub" + base.__name__, (base,), members)


def ignores(self, *arguments, **named):
    return None


def engine_of(start, **classes):
    served = start(hello, **classes)
    assert served.ask(GET).endswith(b"hello")
    return served.server.engine, served.server.engine_reason


class TestTheEngineServes:
    def test_a_server_as_it_is(self, start):
        assert engine_of(start) == ("native", "nothing is overridden, and the socket is a plain one")

    def test_with_wsgirefs_own_handler_class(self, start):
        assert engine_of(start, handler_class=wsgiref.simple_server.WSGIRequestHandler)[0] == "native"

    @pytest.mark.parametrize("name", ["log_message", "log_request", "log_error"])
    def test_with_hooks_that_it_calls(self, start, name):
        engine, reason = engine_of(start, handler_class=subclass(WSGIRequestHandler, **{name: ignores}))
        assert (engine, reason) == ("native", f"the engine calls {name}, and the socket is a plain one")

    def test_with_members_that_are_new(self, start):
        handler_class = subclass(WSGIRequestHandler, a_new_method=ignores, and_a_value=1)
        server_class = subclass(WSGIServer, request_queue_size=50, another=ignores, allow_reuse_address=True)
        assert engine_of(start, handler_class=handler_class, server_class=server_class)[0] == "native"

    def test_with_a_server_class_that_binds_in_its_own_way(self, start):
        class Server(WSGIServer):
            address_family = socket.AF_INET

            def __init__(self, *arguments):
                super().__init__(*arguments)
                self.mark = 1

            def server_bind(self):
                socketserver.TCPServer.server_bind(self)
                self.server_name, self.server_port = "a-name", self.server_address[1]
                self.setup_environ()

        assert engine_of(start, server_class=Server)[0] == "native"

    def test_with_threads(self, start):
        server_class = type("Threaded", (socketserver.ThreadingMixIn, WSGIServer), {"daemon_threads": True})
        assert engine_of(start, server_class=server_class)[1].endswith("; with threads")

    def test_with_get_app_overridden(self, start):
        def other(environ, start_response):
            start_response("200 OK", [])
            return [b"other hello"]

        served = start(hello, server_class=subclass(WSGIServer, get_app=lambda self: other))
        assert served.ask(GET).endswith(b"other hello")
        assert served.server.engine == "native"


OF_THE_SERVER = ["process_request", "finish_request", "shutdown_request", "close_request", "service_actions"]


class TestTheStandardPathServes:
    @pytest.mark.parametrize("name", [*OF_THE_SERVER, "verify_request", "get_request", "handle_error"])
    def test_when_the_server_class_overrides(self, start, name):
        original = getattr(WSGIServer, name)

        def override(self, *arguments):
            return original(self, *arguments)

        engine, reason = engine_of(start, server_class=subclass(WSGIServer, **{name: override}))
        assert (engine, reason) == ("standard", f"SubWSGIServer.{name} is overridden")

    @pytest.mark.parametrize(
        "name", ["handle", "setup", "finish", "parse_request", "get_environ", "send_error", "__init__"]
    )
    def test_when_the_handler_class_overrides(self, start, name):
        original = getattr(WSGIRequestHandler, name)

        def override(self, *arguments):
            return original(self, *arguments)

        engine, reason = engine_of(start, handler_class=subclass(WSGIRequestHandler, **{name: override}))
        assert (engine, reason) == ("standard", f"SubWSGIRequestHandler.{name} is overridden")

    def test_when_the_handler_class_has_a_timeout(self, start):
        engine, reason = engine_of(start, handler_class=subclass(WSGIRequestHandler, timeout=3))
        assert (engine, reason) == ("standard", "SubWSGIRequestHandler.timeout is overridden")

    def test_when_a_mix_in_overrides(self, start):
        mix_in = type("MixIn", (), {"verify_request": lambda self, request, address: True})
        assert engine_of(start, server_class=type("Mixed", (mix_in, WSGIServer), {}))[0] == "standard"

    def test_with_a_process_for_each_request(self, start):
        server_class = type("Forking", (socketserver.ForkingMixIn, WSGIServer), {})
        served = start(hello, server_class=server_class)
        assert served.server.engine_reason == "nothing has been served yet" or served.server.engine == "standard"
        assert served.ask(GET).endswith(b"hello")
        assert served.server.engine == "standard"

    def test_with_threads_made_in_another_way(self, start):
        def process_request_thread(self, request, address):
            return socketserver.ThreadingMixIn.process_request_thread(self, request, address)

        members = {"process_request_thread": process_request_thread, "daemon_threads": True}
        server_class = type("Threaded", (socketserver.ThreadingMixIn, WSGIServer), members)
        assert engine_of(start, server_class=server_class)[0] == "standard"

    @pytest.mark.parametrize("owner", [wsgiref.simple_server.WSGIRequestHandler, WSGIRequestHandler])
    def test_when_the_handler_class_was_monkeypatched(self, start, monkeypatch, owner):
        original = owner.get_environ
        monkeypatch.setattr(owner, "get_environ", lambda self: {**original(self), "X": "y"}, raising=False)
        engine, reason = engine_of(start)
        assert (engine, reason) == ("standard", "WSGIRequestHandler.get_environ is overridden")

    def test_when_a_base_class_of_socketserver_was_monkeypatched(self, start, monkeypatch):
        original = socketserver.BaseServer.finish_request
        monkeypatch.setattr(socketserver.BaseServer, "finish_request", lambda *arguments: original(*arguments))
        assert engine_of(start) == ("standard", "WSGIServer.finish_request is overridden")

    def test_when_wsgirefs_server_handler_was_monkeypatched(self, start, monkeypatch):
        original = ServerHandler.start_response
        monkeypatch.setattr(ServerHandler, "start_response", lambda *arguments: original(*arguments))
        assert engine_of(start) == ("standard", "ServerHandler.start_response is overridden")

    def test_when_the_server_has_a_hook_of_its_own(self, make):
        server = make()
        server.process_request = types.MethodType(WSGIServer.process_request, server)
        assert served_by(server) == ("standard", "the server has a process_request of its own")

    def test_when_the_socket_was_replaced_by_one_with_tls(self, make):
        server = make()
        server.socket = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).wrap_socket(server.socket, server_side=True)
        assert decided(server) == ("standard", "the server's socket is a ssl.SSLSocket")

    def test_when_socket_socket_was_another_class_when_the_server_was_made(self, make, monkeypatch):
        monkeypatch.setattr(socket, "socket", type("Recording", (socket.socket,), {}))
        assert decided(make()) == ("standard", f"the server's socket is a {__name__}.Recording")

    @pytest.mark.parametrize("name", ["accept", "sendall"])
    def test_when_a_method_of_sockets_was_monkeypatched(self, make, monkeypatch, name):
        server = make()
        original = getattr(socket.socket, name)
        monkeypatch.setattr(socket.socket, name, lambda *arguments: original(*arguments), raising=False)
        assert served_by(server) == ("standard", f"socket.socket.{name} was replaced")

    def test_when_the_socket_does_not_listen(self, make):
        server = make()
        server.socket.close()
        server.socket = socket.socket()
        server.socket.bind(("127.0.0.1", 0))
        assert decided(server) == ("standard", "the server's socket does not listen")

    def test_when_the_socket_is_not_of_tcp(self, make, tmp_path):
        server = make()
        server.socket.close()
        server.socket = socket.socket(socket.AF_UNIX)
        server.socket.bind(str(tmp_path / "s"))
        server.socket.listen()
        assert decided(server) == ("standard", "the server's socket is not of TCP")

    @pytest.mark.parametrize("version", ["HTTP/0.9", "HTTP/1.2", "http/1.1"])
    def test_when_the_protocol_version_is_unknown(self, start, version):
        engine, reason = engine_of(start, handler_class=subclass(WSGIRequestHandler, protocol_version=version))
        assert (engine, reason) == ("standard", f"the protocol_version is {version!r}")

    def test_when_handle_request_is_to_return_before_the_answer(self):
        import headrace.simple_server

        server_class = type("Threaded", (socketserver.ThreadingMixIn, WSGIServer), {"daemon_threads": True})
        with headrace.simple_server.make_server("127.0.0.1", 0, hello, server_class) as server:
            assert served_by(server) == ("standard", "handle_request() with threads returns before the answer")

    def test_when_the_handler_class_is_no_class(self, make):
        server = make()
        server.RequestHandlerClass = lambda *arguments: WSGIRequestHandler(*arguments)
        assert served_by(server)[0] == "standard"

    def test_when_the_handler_class_is_not_wsgirefs(self, make):
        from http.server import SimpleHTTPRequestHandler

        server = make()
        server.RequestHandlerClass = SimpleHTTPRequestHandler
        assert decided(server)[0] == "standard"


def decided(server):
    verdict = server._headrace_decide(one_request=False)
    return verdict.engine, verdict.reason


def served_by(server):
    with socket.create_connection(server.server_address) as client:
        client.sendall(GET)
        server.handle_request()
        assert client.recv(65536)
    return server.engine, server.engine_reason


@pytest.fixture
def make():
    import headrace.simple_server

    servers = []

    def one():
        servers.append(headrace.simple_server.make_server("127.0.0.1", 0, hello))
        return servers[-1]

    yield one
    for server in servers:
        server.server_close()


class TestTheDecision:
    def test_is_made_anew_at_each_entry(self, start, make):
        server = make()
        assert server.engine is None
        assert served_by(server)[0] == "native"
        server.RequestHandlerClass = subclass(WSGIRequestHandler, handle=WSGIRequestHandler.handle)
        assert served_by(server)[0] == "native"  # the same function
        server.RequestHandlerClass = subclass(
            WSGIRequestHandler, handle=lambda self: wsgiref.simple_server.WSGIRequestHandler.handle(self)
        )
        assert served_by(server)[0] == "standard"

    def test_is_logged(self, make, caplog):
        with caplog.at_level(logging.DEBUG, "headrace"):
            served_by(make())
        assert "HR701 engine: native; nothing is overridden, and the socket is a plain one" in caplog.messages
