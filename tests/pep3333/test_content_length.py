"""PEP 3333, "Handling the Content-Length Header": it is observed both ways, and added where it can be known."""

from __future__ import annotations

import itertools

import pytest
from wire import request, wait_until


def with_length(length, *content):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", str(length))])
        return iter(content)

    return application


# -- as long as declared ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [(b"12345",), (b"12", b"", b"345"), (b"1", b"2", b"3", b"4", b"5")])
def test_a_declared_length_is_sent_and_needs_no_chunks(serve, content):
    client = serve(with_length(5, *content)).connect()
    answer = client.exchange(request())
    assert (answer.body, answer.framing, answer.get("Content-Length")) == (b"12345", "length", "5")
    client.assert_open()


def test_zero_is_a_length(serve):
    client = serve(with_length(0)).connect()
    assert client.exchange(request()).get("Content-Length") == "0"
    client.assert_open()


# -- too long ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        [b"1234567"],
        [b"123", b"4567"],
        [b"12345", b"67"],
        [b"12345" + b"x" * 100_000],
        [b"1", b"2345" + b"x" * 20_000, b"more"],
    ],
    ids=["one", "two", "at the border", "large", "large second"],
)
@pytest.mark.parametrize("kind", [list, iter])
def test_what_is_too_long_is_cut_off_and_logged_once(serve, caplog, content, kind):
    def application(environ, start_response):
        if environ["PATH_INFO"] != "/":
            start_response("204 No Content", [])
            return []
        start_response("200 OK", [("Content-Length", "5")])
        return kind(content)

    client = serve(application).connect()
    assert client.exchange(request()).body == b"12345"
    assert client.assert_open().status == 204
    assert caplog.text.count("more than its Content-Length of 5 bytes") == 1


def test_iteration_stops_when_enough_has_been_sent(serve, blocks):
    result = blocks(itertools.repeat(b"x" * 10, 2000))

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "25")])
        return result

    client = serve(application).connect()
    assert client.exchange(request()).body == b"x" * 25
    client.send(request())
    assert len(client.read_response().body) == 25
    assert result.asked <= 2 * 4, "3 blocks of 10 are enough for 25; one more may show that there is more"
    wait_until(lambda: result.closed == 2, "close() of both")


# -- too short --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [[], [b"123"], [b"1", b"2"], [b""]])
@pytest.mark.parametrize("kind", [list, iter])
def test_what_is_too_short_closes_the_connection_and_is_logged(serve, caplog, content, kind):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "5")])
        return kind(content)

    running = serve(application)
    client = running.connect()
    client.send(request() + request())
    head, _, body = client.read_until_close().partition(b"\r\n\r\n")
    assert b"Content-Length: 5" in head
    assert body == b"".join(content)
    assert running.calls == 1, "nothing more is read of a connection whose answer has no end"
    assert f"sent {len(body)} of the 5 bytes of its Content-Length" in caplog.text


# -- where it does not bind -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [[], [b"12345"], [b"123"], [b"1234567"]])
def test_the_length_of_an_answer_to_head_is_what_get_would_have(serve, caplog, content):
    client = serve(with_length(5, *content)).connect()
    answer = client.exchange(request(method="HEAD"), method="HEAD")
    assert (answer.get("Content-Length"), answer.body) == ("5", b"")
    assert client.exchange(request(method="HEAD"), method="HEAD").status == 200, "it is open"
    assert "Content-Length" not in caplog.text


def test_the_length_of_a_304_is_what_a_200_would_have(serve):
    """RFC 9110 §8.6."""

    def application(environ, start_response):
        start_response("304 Not Modified", [("Content-Length", "5")])
        return []

    client = serve(application).connect()
    assert client.exchange(request()).get("Content-Length") == "5"
    client.assert_open()


def test_the_length_of_a_204_is_not_sent(serve):
    """RFC 9110 §8.6: a server MUST NOT send Content-Length in a 204 response."""

    def application(environ, start_response):
        start_response("204 No Content", [("Content-Length", "0"), ("X-Answer", "1")])
        return []

    client = serve(application).connect()
    answer = client.exchange(request())
    assert (answer.get("Content-Length"), answer.get("X-Answer")) == (None, "1")
    client.assert_open()


def test_a_length_that_was_replaced_does_not_count(serve):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "5")])
        start_response("500 Oops", [], (ValueError, ValueError(), None))
        return [b"a longer text"]

    answer = serve(application).exchange(request())
    assert (answer.get("Content-Length"), answer.body) == ("13", b"a longer text")


# -- which framing an answer gets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "framing_11", "framing_10"),
    [
        ([b"one"], "length", "length"),
        ([], "length", "length"),
        ([b"one", b"two"], "chunked", "close"),
        (iter, "chunked", "close"),
    ],
    ids=["one block", "none", "two", "iterator"],
)
@pytest.mark.parametrize("keep_alive", [False, True])
def test_the_body_ends_with_its_length_or_with_chunks_or_for_an_old_client_with_the_connection(
    serve, result, framing_11, framing_10, keep_alive
):
    def application(environ, start_response):
        start_response("200 OK", [])
        return iter([b"one"]) if result is iter else result

    fields = [("Connection", "keep-alive")] if keep_alive else []
    running = serve(application)
    assert running.exchange(request(fields=fields)).framing == framing_11
    client = running.connect()
    answer = client.exchange(request(version="1.0", fields=fields))
    assert answer.framing == framing_10
    assert answer.get("Transfer-Encoding") is None
    if keep_alive and framing_10 == "length":
        assert answer.get("Connection") == "keep-alive"
        client.assert_open(request(version="1.0"))
    else:
        assert answer.says_close
        client.assert_closed()


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize(
    "result", [[], [b""], [b"body"], [b"two", b"blocks"], iter], ids=["0", "empty", "1", "2", "iter"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_204_and_304_have_neither_body_nor_framing(serve, status, result, method, version):
    def application(environ, start_response):
        start_response(status, [])
        return iter([b"a", b"b"]) if result is iter else result

    client = serve(application).connect()
    message = request(method=method, version=version, fields=[("Connection", "keep-alive")])
    for _ in range(2):
        answer = client.exchange(message, method=method)
        assert answer.get("Content-Length") is None
        assert answer.get("Transfer-Encoding") is None


@pytest.mark.parametrize(
    ("result", "length"),
    [([b"12345"], "5"), (iter, None), ([b"12", b"345"], None), ([], None)],
    ids=["one", "iterator", "two", "none"],
)
def test_an_answer_to_head_has_no_body_and_the_length_where_it_is_known(serve, result, length):
    """RFC 9110 §9.3.2: fields that would be determined only by making the content may be left out."""

    def application(environ, start_response):
        start_response("200 OK", [("X-Answer", "1")])
        return iter([b"12", b"345"]) if result is iter else result

    client = serve(application).connect()
    client.send(request(method="HEAD") + request("/2", method="HEAD"))
    for _ in range(2):
        answer = client.read_response("HEAD")
        assert (answer.get("Content-Length"), answer.get("X-Answer"), answer.body) == (length, "1", b"")
        assert answer.get("Transfer-Encoding") in (None, "chunked")


# -- 205, which has no content (RFC 9110 §15.3.6) ----------------------------------------------------------------------


def written(start_response, status, headers):
    start_response(status, headers)(b"written")
    return []


@pytest.mark.parametrize("line", ["GET 1.1", "HEAD 1.1", "GET 1.0", "HEAD 1.0", "GET 1.0 keep-alive"])
@pytest.mark.parametrize("length", [None, "0", "7"], ids=["no length", "length 0", "length 7"])
@pytest.mark.parametrize(
    "content",
    [
        list,
        lambda: [b""],
        lambda: [b"content"],
        lambda: iter([b"con", b"tent"]),
        lambda: [b"x" * 100_000],
        lambda: itertools.repeat(b"x" * 1000),
        None,
    ],
    ids=["none", "empty", "one block", "blocks", "large", "endless", "write"],
)
def test_205_says_length_0_and_no_content_is_sent(serve, caplog, line, length, content):
    method, version, *option = line.split()

    def application(environ, start_response):
        headers = [("X-One", "1")] if length is None else [("X-One", "1"), ("Content-Length", length)]
        if content is None:
            return written(start_response, "205 Reset Content", headers)
        start_response("205 Reset Content", headers)
        return content()

    message = request(method=method, version=version, fields=[("Connection", word) for word in option])
    client = serve(application).connect()
    for _ in range(2):  # content would be the beginning of the second answer
        answer = client.exchange(message, method=method)
        assert (answer.status, answer.reason, answer.get("X-One")) == (205, "Reset Content", "1")
        assert answer.get("Content-Length") == "0"
        assert answer.get("Transfer-Encoding") is None
        if version == "1.0" and not option:
            assert answer.says_close
            client.assert_closed()
            break
        assert answer.get("Connection") == "keep-alive"
    assert caplog.messages == []
