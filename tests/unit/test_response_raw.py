"""Response.start_raw: heads that the caller has made, through a Loop with a Gateway of the test's own."""

from __future__ import annotations

import socket
import threading

import pytest
import wire

from headrace.config import Config
from headrace.engine.gateway import REQUEST_HEAD, Gateway
from headrace.engine.loop import Loop


@pytest.fixture
def ask():
    """ask(run, request) -> all that came, from a Loop whose Gateway has this function."""

    def one(run, request=b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"):
        def nothing(response):
            raise AssertionError("not suspended")

        with socket.create_server(("127.0.0.1", 0)) as listener:
            gateway = Gateway(run, nothing, nothing, request_head=True)
            loop = Loop(None, [listener], Config(threads=1, keep_alive=0), gateway=gateway)
            thread = threading.Thread(target=loop.run, daemon=True)
            thread.start()
            with socket.create_connection(listener.getsockname(), wire.PATIENCE_S) as client:
                client.sendall(request)
                try:
                    received = client.makefile("rb").read()
                finally:
                    loop.stop()
                    thread.join(wire.PATIENCE_S)
            assert not thread.is_alive()
            return received

    return one


def test_adds_nothing_to_the_head_and_frames_nothing(ask):
    def run(application, environ, response):
        response.start_raw(b"ANY HEAD\r\n\r\n", 200)
        assert response.send(b"one")
        assert response.send(b"two")
        response.finish_raw()

    assert ask(run) == b"ANY HEAD\r\n\r\nonetwo"


def test_keeps_the_body_within_its_declared_length(ask):
    def run(application, environ, response):
        response.start_raw(b"HEAD\r\n\r\n", 200, 4)
        assert not response.send(b"12345")
        assert response.satisfied
        response.finish_raw()

    assert ask(run) == b"HEAD\r\n\r\n1234"


@pytest.mark.parametrize("status", [204, 304])
def test_sends_no_body_where_there_is_none(ask, status):
    def run(application, environ, response):
        response.start_raw(b"HEAD\r\n\r\n", status)
        assert not response.send(b"body")
        response.finish_raw()

    assert ask(run) == b"HEAD\r\n\r\n"


def test_finish_raw_alone_closes_without_an_answer(ask):
    assert ask(lambda application, environ, response: response.finish_raw()) == b""


def test_an_answer_that_is_not_finished_ends_in_a_reset(ask):
    def run(application, environ, response):
        response.start_raw(b"HEAD\r\n\r\n", 200)
        response.send(b"a part")

    with pytest.raises(ConnectionResetError):
        ask(run)


def test_refuses_a_second_head_and_one_that_is_too_long(ask):
    failures = []

    def run(application, environ, response):
        try:
            response.start_raw(b"x" * 100_000, 200)
        except ValueError as error:
            failures.append(error)
        response.start_raw(b"HEAD\r\n\r\n", 200)
        try:
            response.start_raw(b"HEAD\r\n\r\n", 200)
        except RuntimeError as error:
            failures.append(error)
        response.finish_raw()

    assert ask(run) == b"HEAD\r\n\r\n"
    assert [type(failure) for failure in failures] == [ValueError, RuntimeError]


def test_environ_has_the_octets_of_the_head_where_the_gateway_asks_for_them(ask):
    request = b"GET /a HTTP/1.1\r\nHost: h\r\nX-Y:  z \r\n\r\n"

    def run(application, environ, response):
        response.start_raw(environ[REQUEST_HEAD], 200)
        response.finish_raw()

    assert ask(run, request) == request
