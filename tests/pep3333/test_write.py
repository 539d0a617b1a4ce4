"""PEP 3333, "The write() Callable"."""

from __future__ import annotations

import threading

import pytest
from wire import PATIENCE_S, request, wait_until

from headrace.errors import ClientDisconnected


def test_what_is_written_comes_before_what_is_iterated(serve):
    def application(environ, start_response):
        write = start_response("200 OK", [("X-Answer", "1")])
        write(b"one ")
        write(b"two ")
        return [b"three ", b"four"]

    answer = serve(application).exchange(request())
    assert (answer.body, answer.get("X-Answer"), answer.framing) == (b"one two three four", "1", "chunked")


@pytest.mark.parametrize("result", [[], [b""], (), iter([])], ids=["list", "empty block", "tuple", "iterator"])
def test_all_of_the_body_may_be_written(serve, result):
    def application(environ, start_response):
        start_response("200 OK", [])(b"all")
        return result

    client = serve(application).connect()
    assert client.exchange(request()).body == b"all"
    client.assert_open()


def test_one_block_behind_what_was_written_does_not_decide_the_length(serve):
    def application(environ, start_response):
        start_response("200 OK", [])(b"written, ")
        return [b"returned"]

    answer = serve(application).exchange(request())
    assert (answer.body, answer.framing) == (b"written, returned", "chunked")


@pytest.mark.parametrize("size", [8192, 8193, 100_000, 8 << 20])
def test_one_large_block_behind_what_was_written_is_a_chunk_and_the_last_one_follows(serve, size):
    def application(environ, start_response):
        start_response("200 OK", [])(b"written")
        return [b"x" * size]

    client = serve(application).connect()
    answer = client.exchange(request())
    assert (answer.body, answer.chunk_sizes) == (b"written" + b"x" * size, [7, size])
    client.assert_open()


def test_it_may_be_called_while_the_result_is_iterated(serve):
    def application(environ, start_response):
        write = start_response("200 OK", [])
        yield b"1"
        write(b"2")
        yield b"3"
        write(b"4")

    answer = serve(application).exchange(request())
    assert (answer.body, answer.chunk_sizes) == (b"1234", [1, 1, 1, 1])


def test_what_is_written_has_left_when_it_returns(serve):
    arrived = threading.Event()

    def application(environ, start_response):
        write = start_response("200 OK", [])
        write(b"first")
        assert arrived.wait(PATIENCE_S), "the client has not got what was written"
        write(b"second")
        return []

    client = serve(application).connect()
    client.send(request())
    client.read_head()
    assert client.read_exactly(10) == b"5\r\nfirst\r\n"
    arrived.set()
    assert client.read_exactly(16) == b"6\r\nsecond\r\n0\r\n\r\n"


def test_the_head_does_not_leave_with_nothing(serve):
    def application(environ, start_response):
        start_response("200 OK", [])(b"")
        start_response("500 Replaced", [], (ValueError, ValueError(), None))(b"body")
        return []

    answer = serve(application).exchange(request())
    assert (answer.reason, answer.body) == ("Replaced", b"body")


@pytest.mark.parametrize("block", ["text", None, 5, [b"x"], 1.5], ids=repr)
def test_what_is_not_bytes_is_refused(error_of, block):
    def application(environ, start_response):
        start_response("200 OK", [])(block)
        return []

    message = error_of(application)
    assert message.startswith("TypeError: the application's blocks must be bytes, not " + type(block).__name__)


def test_content_length_is_observed(serve):
    def application(environ, start_response):
        write = start_response("200 OK", [("Content-Length", "6")])
        write(b"abc")
        write(b"def")
        return []

    client = serve(application).connect()
    answer = client.exchange(request())
    assert (answer.body, answer.framing) == (b"abcdef", "length")
    client.assert_open()


def test_a_write_past_the_content_length_raises(serve):
    """PEP 3333, "Handling the Content-Length Header": "raise an error if the application tries to write() past that
    point"."""
    raised = []

    def application(environ, start_response):
        write = start_response("200 OK", [("Content-Length", "3")])
        write(b"abc")
        try:
            write(b"d")
        except Exception as error:
            raised.append(error)
        return []

    assert serve(application).exchange(request()).body == b"abc"
    wait_until(lambda: raised, "the error")
    assert "Content-Length" in str(raised[0])


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "205 Reset Content", "304 Not Modified"])
def test_nothing_is_sent_where_there_is_no_body(serve, method, status):
    def application(environ, start_response):
        start_response(status, [])(b"written")
        return []

    client = serve(application).connect()
    answer = client.exchange(request(method=method), method=method)
    assert answer.body == (b"written" if (method, status) == ("GET", "200 OK") else b"")
    client.assert_open()


def test_it_waits_for_a_slow_client(serve, transport):
    size = 8 << 20
    written = []

    def application(environ, start_response):
        write = start_response("200 OK", [("Content-Length", str(3 * size))])
        for octet in b"abc":
            write(bytes([octet]) * size)
            written.append(octet)
        return []

    client = serve(application).connect(receive_buffer_bytes=1 << 18)
    client.send(request())
    client.read_head()
    assert client.read_exactly(size) == b"a" * size
    assert len(written) < 3, "the third block does not fit into any buffer"
    assert client.read_exactly(2 * size) == b"b" * size + b"c" * size


def test_a_client_that_does_not_read_at_all_is_given_up(serve, transport):
    errors = []

    def application(environ, start_response):
        try:
            start_response("200 OK", [])(b"x" * (32 << 20))
        except Exception as error:
            errors.append(error)
            raise
        return []

    running = serve(application, write_timeout=0.1)
    client = running.connect(receive_buffer_bytes=1 << 18)
    client.send(request())
    wait_until(lambda: errors, "the error")
    assert isinstance(errors[0], ClientDisconnected)
    wait_until(lambda: running.connection_count() == 0, "the end of the connection")


def test_a_client_that_has_gone_is_an_error_to_the_application_and_not_to_the_server(serve, caplog):
    errors, entered, gone = [], threading.Event(), threading.Event()

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/other":
            start_response("200 OK", [])
            return [b"other"]
        write = start_response("200 OK", [])
        entered.set()
        gone.wait(PATIENCE_S)
        try:
            for _ in range(1000):
                write(b"x" * 10_000)
        except ConnectionError as error:
            errors.append(error)
            raise
        return []

    running = serve(application)
    client = running.connect()
    client.send(request())
    assert entered.wait(PATIENCE_S)
    client.reset()
    gone.set()
    assert running.exchange(request("/other")).body == b"other"
    wait_until(lambda: errors, "the error")
    assert isinstance(errors[0], ClientDisconnected)
    wait_until(lambda: running.connection_count() == 0, "the end of the connections")
    assert not [record for record in caplog.records if record.levelname == "ERROR"], "clients leave, that is no error"
