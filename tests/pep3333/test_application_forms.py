"""PEP 3333, "The Application/Framework Side": a function, a class, an instance, and what else can be called."""

from __future__ import annotations

import functools
import types

import pytest
from wire import request

import headrace


def function(environ, start_response):
    start_response("200 OK", [])
    return [b"served"]


class Class:
    """The class itself is the application; its instances are the iterables."""

    def __init__(self, environ, start_response):
        self.start_response = start_response

    def __iter__(self):
        self.start_response("200 OK", [])
        yield b"served"


class Iterator:
    """The same as an iterator."""

    def __init__(self, environ, start_response):
        start_response("200 OK", [])
        self.blocks = [b"ved", b"ser"]

    def __iter__(self):
        return self

    def __next__(self):
        if not self.blocks:
            raise StopIteration
        return self.blocks.pop()


class Callable:
    """Its instances are applications."""

    def __call__(self, environ, start_response):
        return function(environ, start_response)

    def method(self, environ, start_response):
        return function(environ, start_response)

    @staticmethod
    def static(environ, start_response):
        return function(environ, start_response)


def generator(environ, start_response):
    start_response("200 OK", [])
    yield b"ser"
    yield b"ved"


def with_other_names(a, b):
    """The arguments are given by position (PEP 3333)."""
    b("200 OK", [])
    return [b"served"]


@pytest.mark.parametrize(
    "application",
    [
        function,
        Class,
        Iterator,
        Callable(),
        Callable().method,
        Callable.static,
        generator,
        with_other_names,
        lambda environ, start_response: function(environ, start_response),
        functools.partial(lambda extra, environ, start_response: function(environ, start_response), 1),
        types.MethodType(lambda self, environ, start_response: function(environ, start_response), object()),
    ],
    ids=[
        "function", "class", "iterator class", "instance", "method", "static method", "generator", "other names",
        "lambda", "partial", "bound",
    ],
)  # fmt: skip
def test_every_form_is_served_again_and_again(serve, application):
    client = serve(application).connect()
    for _ in range(3):
        assert client.exchange(request()).body == b"served"


def test_the_servers_own_call_is_by_position_too(tmp_path):
    """Without the wrapper that `serve` puts around applications."""
    import http.client

    with headrace.Server(with_other_names, port=0) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"served"
        connection.close()


@pytest.mark.parametrize(
    "application",
    [object, lambda environ: [], lambda environ, start_response, more: []],
    ids=["no argument", "one", "three"],
)
def test_an_application_that_takes_other_arguments_is_an_error_of_each_request(error_of, application):
    assert error_of(application).startswith("TypeError")
