"""Well-behaved applications through the standard library's wsgiref.validate, which checks server and application."""

from __future__ import annotations

import io
from wsgiref.simple_server import demo_app
from wsgiref.validate import validator

import pytest
from wire import chunked, request

TYPE = ("Content-Type", "text/plain")


def hello(environ, start_response):
    start_response("200 OK", [TYPE, ("Content-Length", "5")])
    return [b"hello"]


def stream(environ, start_response):
    start_response("200 OK", [TYPE])
    for number in range(100):
        yield b"block %d\n" % number


def writer(environ, start_response):
    write = start_response("200 OK", [TYPE])
    write(b"one")
    write(b"two")
    return [b"three"]


def echo(environ, start_response):
    """Reads in every way that the validator allows."""
    body = environ["wsgi.input"]
    parts = [body.read(3), body.readline(), *body.readlines(1), *body]
    start_response("200 OK", [TYPE])
    return parts


def nothing(environ, start_response):
    start_response("204 No Content", [])
    return []


def not_modified(environ, start_response):
    start_response("304 Not Modified", [("ETag", '"a"')])
    return []


def complaint(environ, start_response):
    environ["wsgi.errors"].write("a word to the operator\n")
    environ["wsgi.errors"].writelines(["and ", "another\n"])
    environ["wsgi.errors"].flush()
    start_response("404 Not Found", [TYPE])
    return [b"not here"]


def replaced(environ, start_response):
    import sys

    try:
        start_response("200 OK", [TYPE])
        raise LookupError
    except LookupError:
        start_response("500 Sorry", [TYPE], sys.exc_info())
    return [b"sorry"]


def wrapped_file(environ, start_response):
    start_response("200 OK", [TYPE])
    return environ["wsgi.file_wrapper"](io.BytesIO(b"of a file" * 20_000))


GET = request("/path%20x?query", fields=[("Cookie", "a=b"), ("X-A", "1"), ("X-A", "2")])
POST = request(method="POST", fields=[("Content-Type", "text/plain")], body=b"one\ntwo\nthree\nfour")
CHUNKED = request(method="POST", fields=[("Transfer-Encoding", "chunked")]) + chunked(b"one\ntw", b"o\nthree\nfour")


@pytest.mark.parametrize(
    ("application", "status", "body"),
    [
        (hello, 200, b"hello"),
        (stream, 200, b"".join(b"block %d\n" % number for number in range(100))),
        (writer, 200, b"onetwothree"),
        (nothing, 204, b""),
        (not_modified, 304, b""),
        (complaint, 404, b"not here"),
        (replaced, 500, b"sorry"),
        (wrapped_file, 200, b"of a file" * 20_000),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
@pytest.mark.parametrize("message", [GET, POST, CHUNKED, request(version="1.0")], ids=["GET", "POST", "chunked", "1.0"])
def test_the_validator_has_nothing_to_say_of(serve, transport, application, status, body, message):
    client = serve(validator(application)).connect()
    answer = client.exchange(message)
    assert (answer.status, answer.body) == (status, body)
    if not answer.says_close:
        client.assert_open(message)


@pytest.mark.parametrize("application", [hello, stream, nothing, not_modified], ids=lambda value: value.__name__)
def test_the_validator_has_nothing_to_say_of_head(serve, application):
    client = serve(validator(application)).connect()
    for _ in range(2):
        assert client.exchange(request(method="HEAD"), method="HEAD").body == b""


@pytest.mark.parametrize("settings", [{}, {"request_body_memory": 0}, {"stream_request_body": True}])
@pytest.mark.parametrize("message", [POST, CHUNKED], ids=["length", "chunked"])
def test_the_validator_has_nothing_to_say_of_input(serve, message, settings):
    client = serve(validator(echo), **settings).connect()
    assert client.exchange(message).body == b"one\ntwo\nthree\nfour"
    client.assert_open(message)


def test_the_demo_application_of_wsgiref_runs(serve):
    text = serve(validator(demo_app)).exchange(GET).body.decode()
    assert text.startswith("Hello world!\n")
    assert "PATH_INFO = '/path x'" in text
    assert "HTTP_X_A = '1,2'" in text


@pytest.mark.parametrize("middlewares", range(1, 4))
def test_validators_may_be_stacked(serve, middlewares):
    application = stream
    for _ in range(middlewares):
        application = validator(application)
    assert serve(application).exchange(GET).status == 200
