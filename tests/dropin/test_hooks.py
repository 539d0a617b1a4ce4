"""Hooks are called on what they would see with wsgiref: the very class, its connection, the fields that were sent."""

from __future__ import annotations

import threading

import pytest
import wire

from headrace.simple_server import WSGIRequestHandler

VERSIONS = pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
GET = b"GET /a HTTP/1.0\r\n\r\n"


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def logging_class(log, version="HTTP/1.0", base=WSGIRequestHandler, **more):
    """log(handler) is called for each access line."""
    return type("Logging", (base,), {"log_request": lambda self, *_: log(self), "protocol_version": version, **more})


class TestTheHandlerOfAHook:
    @VERSIONS
    def test_has_the_connection_of_the_client(self, start, version):
        seen = []

        def log(handler):
            assert handler.request is handler.connection
            assert handler.wfile.fileno() == handler.connection.fileno()
            seen.append((handler.connection.getpeername(), handler.connection.getsockname()))

        served = start(hello, handler_class=logging_class(log, version))
        with served.connect() as client:
            client.sendall(GET)
            assert client.makefile("rb").read().endswith(b"hello")
            assert seen == [(client.getsockname(), client.getpeername())]
        assert served.server.engine == "native"

    @VERSIONS
    def test_may_be_kept_and_does_not_keep_the_connection_open(self, start, version):
        kept = []

        def log(handler):
            handler.connection.setblocking(True)  # which is not for it to say
            kept.append(handler)

        served = start(hello, handler_class=logging_class(log, version))
        for _ in range(2):
            assert served.ask(GET).endswith(b"hello")
        assert kept[0].connection.fileno() != kept[1].connection.fileno()
        kept.clear()

    def test_that_is_asked_too_late_has_a_closed_socket(self, start):
        kept = []
        served = start(hello, handler_class=logging_class(kept.append))
        served.ask(GET)
        served.ask(GET)
        assert kept[0].connection.fileno() == -1
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            _ = kept[0].nothing
        kept.clear()

    def test_is_of_the_very_class_whose_author_sees_no_subclass(self, start):
        class Meta(type):
            __hash__ = None

            def __eq__(cls, other):
                return cls is other

        class Sealed(WSGIRequestHandler):
            def __init_subclass__(cls, **more):
                if cls.__name__ != "Logging":
                    raise TypeError("no subclasses")

        seen = []
        for handler_class in (
            logging_class(lambda handler: seen.append(type(handler)), base=Sealed),
            Meta("Unhashable", (WSGIRequestHandler,), {"log_request": lambda self, *_: seen.append(type(self))}),
        ):
            served = start(hello, handler_class=handler_class)
            assert served.ask(GET).endswith(b"hello")
            assert served.server.engine == "native"
            assert seen.pop() is handler_class

    @pytest.mark.parametrize("getattr_of_its_own", [False, True])
    def test_has_all_of_that_where_its_class_is_wsgirefs_own_or_has_a_getattr(self, start, getattr_of_its_own):
        import wsgiref.simple_server

        def missing(handler, name):
            raise AttributeError(name)

        seen = []
        base = WSGIRequestHandler if getattr_of_its_own else wsgiref.simple_server.WSGIRequestHandler
        more = {"__getattr__": missing} if getattr_of_its_own else {}
        log = logging_class(lambda h: seen.append((h.headers["x-y"], h.connection.getpeername())), base=base, **more)
        served = start(hello, handler_class=log)
        with served.connect() as client:
            client.sendall(b"GET / HTTP/1.0\r\nX-Y: z\r\n\r\n")
            client.makefile("rb").read()
            assert seen == [("z", client.getsockname())]
        assert served.server.engine == "native"

    @VERSIONS
    def test_is_one_for_all_hooks_of_a_request(self, start, version):
        def get_stderr(handler):
            handler.mark = handler.path
            return WSGIRequestHandler.get_stderr(handler)

        seen = []
        served = start(
            hello, handler_class=logging_class(lambda h: seen.append(h.mark), version, get_stderr=get_stderr)
        )
        served.ask(GET)
        assert seen == ["/a"]


class TestAddressString:
    @VERSIONS
    def test_is_in_environ_where_this_pythons_wsgiref_has_it(self, both, version):
        """And is called as often: it may ask a resolver.  (CPython 3.13 leaves it out of environ.)"""
        calls = []

        def address_string(handler):
            calls.append(handler.path)
            return "the-client.example"

        def with_hook(base):
            return type("Named", (base,), {"address_string": address_string, "protocol_version": version})

        theirs, ours = both(hello, GET, handler_class=with_hook)
        assert ours.environ["REMOTE_HOST"] == theirs.environ["REMOTE_HOST"]
        assert ours.environ["REMOTE_ADDR"] == theirs.environ["REMOTE_ADDR"] == "127.0.0.1"
        assert ours.log == theirs.log
        assert ours.log.startswith("the-client.example - - ")
        assert calls[: len(calls) // 2] * 2 == calls


class TestHttp11:
    def test_headers_are_those_that_were_sent_on_a_connection_that_persists(self, start):
        seen = []
        answered = threading.Semaphore(0)

        def log(handler):
            seen.append(handler.headers.items())
            answered.release()

        served = start(hello, handler_class=logging_class(log, "HTTP/1.1"))
        fields = [("Host", "h"), ("x-Same", "1"), ("X-saMe", "2")]
        head = "".join(f"{name}: {value}\r\n" for name, value in fields).encode()
        with served.connect() as client:
            for target in (b"/a", b"/a", b"/b", b"/a"):
                client.sendall(b"GET %s HTTP/1.1\r\n%s\r\n" % (target, head))
                assert client.recv(65536).endswith(b"hello")
                assert answered.acquire(timeout=wire.PATIENCE_S)
            client.sendall(b"GET /b HTTP/1.1\r\n%s\r\n" % head.replace(b"2", b"3"))
            assert client.recv(65536).endswith(b"hello")
            assert answered.acquire(timeout=wire.PATIENCE_S)
        assert seen == [fields] * 4 + [[*fields[:2], ("X-saMe", "3")]]

    @pytest.mark.parametrize("quiet", [False, True])
    def test_base_environ_may_change_while_the_server_serves(self, start, quiet):
        def shows(environ, start_response):
            start_response("200 OK", [])
            assert "headrace.request_head" not in environ
            return [repr([environ.get(key) for key in ("X_Y", "SCRIPT_NAME", "REMOTE_HOST")]).encode()]

        def silent(*_arguments):
            pass

        more = {"log_message": silent} if quiet else {}
        handler_class = type("Handler", (WSGIRequestHandler,), {"protocol_version": "HTTP/1.1", **more})
        served = start(shows, handler_class=handler_class)
        assert served.ask(GET).endswith(b"[None, '', '']")
        served.server.base_environ.update(X_Y="1", SCRIPT_NAME="/s")
        del served.server.base_environ["REMOTE_HOST"]
        assert served.ask(GET).endswith(b"['1', '/s', None]")

    def test_what_a_log_hook_raises_is_reported_and_the_answer_is_whole(self, start, capsys):
        def fails(handler):
            raise LookupError("in the hook")

        served = start(hello, handler_class=logging_class(fails, "HTTP/1.1"))
        assert served.ask(GET).endswith(b"hello")
        served.shut_down()
        error = capsys.readouterr().err
        assert "Exception occurred during processing of request from ('127.0.0.1', " in error
        assert "LookupError: in the hook" in error


class TestWhatWasLostBefore:
    def test_a_server_version_that_is_a_property_is_asked_by_the_standard_path(self, both):
        theirs, ours = both(
            hello, GET, engine="standard",
            handler_class=lambda base: type("Handler", (base,), {"server_version": property(lambda _: "Own/1")}),
        )  # fmt: skip
        assert ours.environ == theirs.environ
        assert ours.environ["SERVER_SOFTWARE"] == "Own/1"

    def test_get_app_that_raises_fails_the_request_alone(self, start, capsys):
        from headrace.simple_server import WSGIServer

        class Server(WSGIServer):
            def get_app(self):
                if self.fails:
                    raise LookupError("no application")
                return super().get_app()

            fails = True

        served = start(hello, server_class=Server)
        assert served.ask(GET) == b""
        served.server.fails = False
        assert served.ask(GET).endswith(b"hello")
        assert "LookupError: no application" in capsys.readouterr().err

    def test_start_response_leads_to_the_request_handler(self, both):
        def shows(environ, start_response):
            body = start_response.__self__.request_handler.requestline.encode()
            start_response("200 OK", [])
            return [body]

        theirs, ours = both(shows, GET)
        assert ours.octets == theirs.octets

    @pytest.mark.parametrize("value", ["x" * 70_000, "\u20ac"])
    def test_a_head_that_cannot_be_sent_is_answered_by_500(self, start, capsys, value):
        def wrong(environ, start_response):
            start_response("200 OK", [("X-Value", value)])
            return [b"never sent"]

        assert start(wrong).ask(GET).startswith(b"HTTP/1.0 500 Internal Server Error\r\n")
        assert "Error" in capsys.readouterr().err
