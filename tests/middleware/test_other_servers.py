"""Middleware asks nothing of the server but PEP 3333: here it is wsgiref's."""

from __future__ import annotations

import gzip
import threading
from http.client import HTTPConnection
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.validate import validator

import pytest

from headrace.middleware import Compress, Filter, ForwardedHeaders, Router

TEXT = b"the same words again and again, " * 100


class Quiet(WSGIRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def ask():
    """ask(application, method, **fields): the response of wsgiref's server to one request, and its content."""
    connections = []

    def ask(application, method="GET", **fields):
        with make_server("127.0.0.1", 0, application, handler_class=Quiet) as server:
            thread = threading.Thread(target=server.handle_request)
            thread.start()
            connection = HTTPConnection("127.0.0.1", server.server_port, timeout=5)
            connections.append(connection)
            connection.request(method, "/page", headers={n.replace("_", "-"): value for n, value in fields.items()})
            response = connection.getresponse()
            content = response.read()
            thread.join()
        return response, content

    yield ask
    for connection in connections:
        connection.close()


def stack(application):
    """All of them, each between two validators."""
    router = Router()
    router("/page")(validator(application))
    upper = validator(Filter(validator(router), lambda environ, head: bytes.upper))
    return validator(ForwardedHeaders(validator(Compress(upper))))


def page(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Client", environ["REMOTE_ADDR"])])
    return [TEXT]


def stream(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain"), ("X-Client", environ["REMOTE_ADDR"])])
    write(TEXT[:100])
    yield TEXT[100:200]
    yield TEXT[200:]


@pytest.mark.parametrize("application", [page, stream])
def test_all_of_them_between_validators(ask, application):
    response, content = ask(stack(application), Accept_Encoding="gzip", X_Forwarded_For="192.0.2.7")
    assert (response.status, response.headers["X-Client"]) == (200, "192.0.2.7")
    assert gzip.decompress(content) == TEXT.upper()


def test_the_length_is_right(ask):
    response, content = ask(validator(Compress(page)), Accept_Encoding="gzip")
    assert int(response.headers["Content-Length"]) == len(content) < 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_not_found(ask, method):
    response, content = ask(validator(Router()), method)
    assert response.status == 404
    assert int(response.headers["Content-Length"]) == len(b"Not Found: nothing is at '/page'\n")
    assert content == (b"" if method == "HEAD" else b"Not Found: nothing is at '/page'\n")
