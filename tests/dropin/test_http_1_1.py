"""protocol_version = "HTTP/1.1" on the handler class: connections persist; environ and answers are headrace's."""

from __future__ import annotations

import re
import threading

import pytest

from headrace.dropin.request_handler import REDUCES_SLASHES
from headrace.simple_server import WSGIRequestHandler
from headrace.wsgi import FileWrapper

GET = b"GET /%s HTTP/1.1\r\nHost: h\r\n\r\n"


class Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"


def path(environ, start_response):
    body = environ["PATH_INFO"].encode()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]


def environ_of(start, request, handler_class=Handler, **more):
    seen = []

    def application(environ, start_response):
        seen.append({key: value for key, value in environ.items() if isinstance(value, str)})
        start_response("200 OK", [])
        return [b""]

    start(application, handler_class=handler_class, **more).ask(request)
    return seen[0]


def until_reset(served, request):
    received = b""
    with served.connect() as client:
        client.sendall(request)
        try:
            while block := client.recv(65536):
                received += block
        except ConnectionResetError:
            pass
    return received


class TestConnections:
    def test_persist(self, start):
        served = start(path, handler_class=Handler)
        with served.connect() as client:
            for number in range(3):
                client.sendall(GET % str(number).encode())
                answer = client.recv(65536)
                assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
                assert answer.endswith(b"\r\n\r\n/%d" % number)
        assert served.server.engine == "native"

    def test_close_when_the_client_asks_for_it(self, start):
        octets = start(path, handler_class=Handler).ask(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        assert b"\r\nConnection: close\r\n" in octets

    def test_that_idle_do_not_hold_up_shutdown(self, start):
        served = start(path, handler_class=Handler)
        with served.connect() as client:
            client.sendall(GET % b"")
            assert client.recv(65536)
            served.shut_down()
            assert client.recv(65536) == b""

    def test_are_served_side_by_side(self, start):
        served = start(path, handler_class=Handler)
        with served.connect() as one, served.connect() as other:
            other.sendall(GET % b"other")
            assert other.recv(65536).endswith(b"/other")
            one.sendall(GET % b"one")
            assert one.recv(65536).endswith(b"/one")


class TestAnswers:
    def test_have_wsgirefs_server_line(self, start):
        octets = start(path, handler_class=Handler).ask(b"GET / HTTP/1.0\r\n\r\n")
        assert re.search(rb"\r\nServer: WSGIServer/0.2 CPython/3\.\d+\.\d+\S*\r\n", octets)

    def test_refusals_have_it_too(self, start):
        octets = start(path, handler_class=Handler).ask(b"GET / HTTP/1.1\r\n\r\n")
        assert octets.startswith(b"HTTP/1.1 400 ")
        assert b"\r\nServer: WSGIServer/0.2 " in octets

    def test_come_from_the_application_that_set_app_has_set_last(self, start):
        def other(environ, start_response):
            start_response("200 OK", [])
            return [b"other"]

        class Silent(Handler):
            def log_message(self, format, *args):
                pass

        for handler_class in (Handler, Silent):
            served = start(path, handler_class=handler_class)
            assert served.ask(b"GET /a HTTP/1.0\r\n\r\n").endswith(b"/a")
            served.server.set_app(other)
            assert served.ask(b"GET /a HTTP/1.0\r\n\r\n").endswith(b"other")


class TestEnviron:
    def test_has_the_process_environment_and_what_base_environ_says(self, start, monkeypatch):
        from wsgiref.handlers import BaseHandler

        monkeypatch.setitem(BaseHandler.os_environ, "OF_THE_PROCESS", "1")
        environ = environ_of(start, b"GET / HTTP/1.0\r\n\r\n")
        assert environ["OF_THE_PROCESS"] == "1"
        assert environ["SERVER_SOFTWARE"] == "WSGIServer/0.2"
        assert environ["CONTENT_TYPE"] == "text/plain"
        assert environ["CONTENT_LENGTH"] == ""
        assert environ["REMOTE_HOST"] == ""

    def test_has_the_fields_of_the_request_in_place_of_defaults(self, start, monkeypatch):
        from wsgiref.handlers import BaseHandler

        monkeypatch.setitem(BaseHandler.os_environ, "HTTP_X_A", "of the process")
        head = b"POST / HTTP/1.0\r\nContent-Type: a/b\r\nContent-Length: 0\r\nX-A: 1\r\nX-A: 2\r\n\r\n"
        environ = environ_of(start, head)
        assert environ["CONTENT_TYPE"] == "a/b"
        assert environ["CONTENT_LENGTH"] == "0"
        assert environ["HTTP_X_A"] == "1,2"

    def test_has_what_get_stderr_says(self, start):
        class Named(Handler):
            def get_stderr(self):
                return self.headers["X-Errors"]

        environ = environ_of(start, b"GET / HTTP/1.0\r\nX-Errors: there\r\n\r\n", Named)
        assert environ["wsgi.errors"] == "there"

    @pytest.mark.parametrize(
        ("octets", "differs"),
        [
            (b"GET //a HTTP/1.1\r\nHost: h\r\n\r\n", {"PATH_INFO": "//a"}),
            (b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", {"PATH_INFO": "/"}),
            (b"GET http://e/a HTTP/1.1\r\nHost: h\r\n\r\n", {"PATH_INFO": "/a", "HTTP_HOST": "e"}),
            (b"GET / HTTP/1.1\r\nHost: h\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n", {"HTTP_COOKIE": "a=1; b=2"}),
        ],
    )
    def test_differs_from_wsgirefs_as_the_page_says(self, both, octets, differs):
        further = {"RAW_URI", "REQUEST_URI", "REMOTE_PORT", "wsgi.input_terminated", "wsgi.early_hints"}
        further.add("headrace.client_disconnected")

        def keeping(base):
            return type("Keeping", (base,), {"protocol_version": "HTTP/1.1"})

        octets = octets.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        theirs, ours = both(path, octets, handler_class=keeping)
        assert ours.environ.keys() - theirs.environ.keys() == further
        assert theirs.environ.keys() - ours.environ.keys() == set()
        changed = {key: ours.environ[key] for key in theirs.environ if ours.environ[key] != theirs.environ[key]}
        assert changed.pop("wsgi.file_wrapper") is FileWrapper
        assert {key: value for key, value in changed.items() if key != "PATH_INFO" or REDUCES_SLASHES} == {
            key: value for key, value in differs.items() if value != theirs.environ.get(key)
        }
        assert {key: ours.environ[key] for key in differs} == differs
        ours.environ.clear()  # whose callables hold on to the response


class TestAccessLines:
    def test_are_written_for_each_request(self, start, capsys):
        start(path, handler_class=Handler).ask(b"GET /a?b HTTP/1.0\r\n\r\n")
        assert re.search(r'127.0.0.1 - - \[.*\] "GET /a\?b HTTP/1.0" 200 2\n', capsys.readouterr().err)

    def test_go_to_an_overridden_log_message(self, start):
        lines = []

        class Logging(Handler):
            def log_message(self, format, *args):
                lines.append((self.client_address[0], self.headers["x-y"], format % args))

        start(path, handler_class=Logging).ask(b"GET / HTTP/1.0\r\nX-Y: z\r\n\r\n")
        assert lines == [("127.0.0.1", "z", '"GET / HTTP/1.0" 200 1')]

    def test_are_written_for_answers_that_the_client_takes_slowly(self, start):
        lines = []
        written = threading.Event()

        class Logging(Handler):
            def log_request(self, code="-", size="-"):
                lines.append((code, size))
                written.set()

        def blocks(environ, start_response):
            start_response("200 OK", [("Content-Length", "8000000")])
            return [b"x" * 1_000_000] * 8

        octets = start(blocks, handler_class=Logging).ask(b"GET / HTTP/1.0\r\n\r\n")
        assert octets.endswith(b"x" * 8_000_000)
        assert written.wait(5)
        assert lines == [("200", 8_000_000)]

    def test_tell_how_much_was_sent_before_a_failure(self, start, capsys):
        def half(environ, start_response):
            start_response("200 OK", [])
            yield b"half"
            raise LookupError("no such thing")

        served = start(half, handler_class=Handler)
        assert b"half" in until_reset(served, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        served.shut_down()
        error = capsys.readouterr().err
        assert '"GET / HTTP/1.1" 200 4\n' in error
        assert "LookupError: no such thing" in error

    def test_tell_of_failures(self, start, capsys):
        def application(environ, start_response):
            raise LookupError("no such thing")

        octets = start(application, handler_class=Handler).ask(b"GET / HTTP/1.0\r\n\r\n")
        assert octets.startswith(b"HTTP/1.1 500 ")
        error = capsys.readouterr().err
        assert '"GET / HTTP/1.0" 500 -' in error
        assert "LookupError: no such thing" in error
