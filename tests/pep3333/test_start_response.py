"""PEP 3333, "The start_response() Callable"."""

from __future__ import annotations

import gc
import sys

import pytest
from wire import request

HEADERS = [("X-Answer", "1")]


def exc_info():
    try:
        raise LookupError("on purpose")
    except LookupError:
        return sys.exc_info()


# -- what it takes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        ("200 OK", 200, "OK"),
        ("299 ", 299, ""),
        ("404 Not  Found", 404, "Not  Found"),
        ("500 Gr\xfc\xdfe", 500, "Gr\xfc\xdfe"),
        ("999 Tab\there", 999, "Tab\there"),
    ],
)
def test_status_is_sent_as_it_is(serve, status, code, reason):
    def application(environ, start_response):
        start_response(status, [])
        return [b"x"]

    answer = serve(application).exchange(request())
    assert (answer.status, answer.reason) == (code, reason)


def test_headers_are_sent_as_they_are_in_their_order_and_case(serve):
    headers = [("x-B", "2"), ("X-a", "1"), ("X-b", "3"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Empty", "")]

    def application(environ, start_response):
        start_response("200 OK", headers)
        return [b"x"]

    assert serve(application).exchange(request()).fields[: len(headers)] == headers


def test_headers_and_status_may_be_of_subclasses(serve):
    class Text(str):
        pass

    class Headers(list):
        pass

    def application(environ, start_response):
        start_response(Text("200 OK"), Headers([(Text("X-Answer"), Text("1"))]))
        return [b"x"]

    assert serve(application).exchange(request()).get("X-Answer") == "1"


def test_the_list_is_the_servers_and_may_be_changed_afterwards(serve):
    def application(environ, start_response):
        headers = [("X-Answer", "1")]
        start_response("200 OK", headers)
        headers[:] = [("X-Answer", "2")] * 100
        return [b"x"]

    assert serve(application).exchange(request()).get("X-Answer") == "1"


def test_thousands_of_headers_are_sent(serve):
    headers = [(f"X-{number}", str(number)) for number in range(3000)]

    def application(environ, start_response):
        start_response("200 OK", headers)
        return [b"x"]

    assert serve(application).exchange(request()).fields[:3000] == headers


def test_a_head_of_almost_64_kib_is_sent(serve):
    value = "v" * (65536 - 300)

    def application(environ, start_response):
        start_response("200 OK", [("X-Long", value)])
        return [b"x" * 8192]

    client = serve(application).connect()
    for _ in range(3):
        answer = client.exchange(request())
        assert answer.get("X-Long") == value
        assert answer.body == b"x" * 8192


# -- what it refuses, and what it says then ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("200OK", "three digits from 200 on, a space and a reason, like '200 OK', not '200OK'"),
        ("200", "not '200'"),
        ("", "not ''"),
        ("20 OK", "not '20 OK'"),
        ("2000 OK", "not '2000 OK'"),
        (" 200 OK", "not ' 200 OK'"),
        ("099 Low", "not '099 Low'"),
        ("OK 200", "not 'OK 200'"),
        ("٢٠٠ OK", "latin-1"),
        ("200 OK\r\nX: y", r"not '200 OK\r\nX: y'"),
        ("200 OK\n", r"not '200 OK\n'"),
        ("200 O\0K", r"not '200 O\x00K'"),
        ("200 \x7f", "not '200 "),
        ("200 €", "latin-1"),
        ("100 Continue", "not '100 Continue'"),
        ("101 Switching Protocols", "not '101 "),
        (b"200 OK", "must be a str, not bytes: b'200 OK'"),
        (200, "must be a str, not int: 200"),
        (None, "must be a str, not NoneType"),
        (("200 OK",), "must be a str, not tuple"),
    ],
)
def test_a_wrong_status_is_refused_with_its_value_and_the_rule(error_of, status, words):
    def application(environ, start_response):
        start_response(status, [])
        return []

    message = error_of(application)
    assert message.startswith(("ValueError: start_response: the status", "TypeError: start_response: the status"))
    assert words in message


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        (None, "must be a list of (name, value) tuples, not NoneType"),
        ({"X": "1"}, "must be a list of (name, value) tuples, not dict"),
        ((("X", "1"),), "must be a list of (name, value) tuples, not tuple"),
        (iter([]), "must be a list of (name, value) tuples, not list_iterator"),
        ("X: 1", "must be a list of (name, value) tuples, not str"),
        ([["X", "1"]], "must be a tuple (name, value), not list: ['X', '1']"),
        (["X: 1"], "must be a tuple (name, value), not str: 'X: 1'"),
        ([("X",)], "must be a tuple (name, value)"),
        ([("X", "1", "2")], "must be a tuple (name, value)"),
        ([None], "must be a tuple (name, value), not NoneType"),
        ([(b"X", "1")], "must be a str, not bytes: b'X'"),
        ([("X", b"1")], "must be a str, not bytes: b'1'"),
        ([("X", 1)], "must be a str, not int: 1"),
        ([("X", None)], "must be a str, not NoneType"),
        ([("Content-Length", 5)], "must be a str, not int: 5 in ('Content-Length', 5)"),
        ([("", "1")], "the header name '' is not a token"),
        ([("X Y", "1")], "the header name 'X Y' is not a token"),
        ([("X:", "1")], "the header name 'X:' is not a token"),
        ([("X\r\nY", "1")], r"the header name 'X\r\nY' is not a token"),
        ([("X\0", "1")], r"the header name 'X\x00' is not a token"),
        ([("\xe9", "1")], "is not a token"),
        ([("Ключ", "1")], "latin-1"),
        ([("X", "a\r\nSet-Cookie: b")], r"the value of header 'X' has a control character: 'a\r\nSet-Cookie: b'"),
        ([("X", "a\n b")], "has a control character"),
        ([("X", "a\r")], "has a control character"),
        ([("X", "a\0b")], "has a control character"),
        ([("X", "a\x7f")], "has a control character"),
        ([("X-Name-Longer-Than-One-Vector", "v" * 40 + "\n" + "w" * 40)], "has a control character"),
        ([("X", "Москва")], "latin-1"),
        ([("Content-Length", "x")], "Content-Length must be a decimal number, not 'x'"),
        ([("Content-Length", "")], "must be a decimal number, not ''"),
        ([("Content-Length", "-1")], "must be a decimal number, not '-1'"),
        ([("Content-Length", "+1")], "must be a decimal number, not '+1'"),
        ([("Content-Length", "1 ")], "must be a decimal number"),
        ([("Content-Length", "1, 1")], "must be a decimal number"),
        ([("Content-Length", "²")], "must be a decimal number"),
        ([("Content-Length", "9" * 30)], "must be a decimal number"),
        ([("Content-Length", "1"), ("content-length", "1")], "Content-Length is given twice"),
        ([("X", "v" * 70_000)], "the response head is longer than 65536 bytes"),
        ([("X" * 70_000, "v")], "the response head is longer than 65536 bytes"),
        ([("X", "v" * 1000)] * 70, "the response head is longer than 65536 bytes"),
    ],
)
def test_wrong_headers_are_refused_with_their_value_and_the_rule(error_of, headers, words):
    def application(environ, start_response):
        start_response("200 OK", headers)
        return []

    message = error_of(application)
    assert words in message
    assert len(message) < 400, "what is shown of a long value is shortened"


def test_a_head_that_is_too_long_with_the_servers_own_fields_is_refused(error_of):
    def application(environ, start_response):
        start_response("200 OK", [("X", "v" * (65536 - 30))])
        return [b"x"]

    assert "the response head is longer than 65536 bytes" in error_of(application)


@pytest.mark.parametrize("room", range(60, 140, 4))
def test_after_a_head_that_was_too_long_by_the_servers_own_fields_the_next_one_is_framed_anew(serve, room):
    """write() has failed within what the server adds, of which nothing is left."""

    def application(environ, start_response):
        write = start_response("200 OK", [("X", "v" * (65536 - room))])
        try:
            write(b"lost")
        except ValueError:
            start_response("500 Oops", [("Content-Length", "3")], sys.exc_info())
        return [b"abc"]

    with serve(application).connect() as client:
        for _ in range(2):
            response = client.exchange(request())
            assert (response.status, response.body) == (500, b"abc")
            assert [value for name, value in response.fields if name == "Content-Length"] == ["3"]
            assert "Transfer-Encoding" not in dict(response.fields)


@pytest.mark.parametrize(
    "arguments", [(), ("200 OK",), ("200 OK", [], None, None)], ids=["none", "one", "four"]
)  # fmt: skip
def test_a_wrong_number_of_arguments_is_a_type_error(error_of, arguments):
    def application(environ, start_response):
        start_response(*arguments)
        return []

    assert error_of(application).startswith("TypeError")


def test_after_a_refusal_it_may_be_called_again(serve):
    def application(environ, start_response):
        try:
            start_response("200 OK", [("X-Wrong", "1"), ("Content-Length", "999"), ("X", "\n")])
        except ValueError as error:
            start_response("500 Mended", [("X-Error", type(error).__name__)])
        return [b"mended"]

    answer = serve(application).exchange(request())
    assert (answer.status, answer.reason, answer.get("X-Error")) == (500, "Mended", "ValueError")
    assert (answer.get("X-Wrong"), answer.body) == (None, b"mended")


def test_after_a_refusal_the_application_that_goes_on_has_not_started_its_response(error_of):
    def application(environ, start_response):
        try:
            start_response("200OK", [])
        except ValueError:
            pass
        return [b"x"]

    assert "AssertionError" in error_of(application)


# -- how often and when -----------------------------------------------------------------------------------------------


def test_it_must_not_be_called_twice_without_exc_info(error_of):
    def application(environ, start_response):
        start_response("200 OK", [])
        start_response("200 OK", [])
        return []

    message = error_of(application)
    assert message.startswith("AssertionError")
    assert "a second time without exc_info" in message


def test_it_may_be_called_in_the_first_iteration(serve):
    def application(environ, start_response):
        start_response("200 Late", HEADERS)
        yield b"late"

    answer = serve(application).exchange(request())
    assert (answer.reason, answer.get("X-Answer"), answer.body) == ("Late", "1", b"late")


def test_it_may_be_called_after_empty_blocks(serve):
    def application(environ, start_response):
        yield b""
        yield b""
        start_response("200 Late", HEADERS)
        yield b""
        yield b"late"

    answer = serve(application).exchange(request())
    assert (answer.reason, answer.get("X-Answer"), answer.body) == ("Late", "1", b"late")


@pytest.mark.parametrize("blocks", [[b"one block"], [b"two", b"blocks"], (b"tuple",)], ids=["one", "two", "tuple"])
def test_a_block_before_it_was_called_is_an_error(error_of, blocks):
    message = error_of(lambda environ, start_response: blocks)
    assert message == "AssertionError: the application sent a body before it called start_response (PEP 3333)"


@pytest.mark.parametrize("blocks", [[], [b""], [b"", b""], ()], ids=["none", "one empty", "two empty", "tuple"])
def test_never_calling_it_is_an_error(error_of, blocks):
    message = error_of(lambda environ, start_response: blocks)
    assert message == "AssertionError: the application returned without calling start_response (PEP 3333)"


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_it_must_be_called_whatever_the_method(serve, method):
    answer = serve(lambda environ, start_response: []).exchange(request(method=method), method=method)
    assert answer.status == 500


# -- exc_info ---------------------------------------------------------------------------------------------------------


def test_exc_info_replaces_a_head_that_has_not_left(serve):
    def application(environ, start_response):
        start_response("200 OK", [("X-Old", "1"), ("Content-Length", "5"), ("Date", "never"), ("Server", "old")])
        yield b""
        start_response("500 New", [("X-New", "1")], exc_info())
        yield b"a longer body than that"

    answer = serve(application).exchange(request())
    assert (answer.status, answer.reason, answer.get("X-Old"), answer.get("X-New")) == (500, "New", None, "1")
    assert answer.body == b"a longer body than that"
    assert answer.get("Server") == "headrace"


def test_exc_info_may_also_come_with_the_first_call_and_with_many(serve):
    def application(environ, start_response):
        for number in range(5):
            start_response("500 Again", [("X-Number", str(number))], exc_info())
        return [b"x"]

    assert serve(application).exchange(request()).get("X-Number") == "4"


def test_exc_info_of_none_is_no_exc_info(error_of):
    def application(environ, start_response):
        start_response("200 OK", [], None)
        start_response("200 OK", [], None)
        return []

    assert "a second time" in error_of(application)


def test_exc_info_is_raised_again_with_its_traceback_when_the_head_has_left(serve, capsys):
    raised = []

    def application(environ, start_response):
        start_response("200 OK", [])
        yield b"out"
        try:
            start_response("500 Too Late", [], exc_info())
        except LookupError as error:
            raised.append(error)
            raise

    client = serve(application).connect()
    client.send(request())
    assert client.read_until_close().endswith(b"3\r\nout\r\n"), "cut off, without a last chunk"
    assert str(raised[0]) == "on purpose"
    assert "raise LookupError" in capsys.readouterr().err


def test_a_wrong_status_with_exc_info_takes_the_first_head_away(serve):
    def application(environ, start_response):
        start_response("200 First", [])
        try:
            start_response("wrong", [], exc_info())
        except ValueError:
            start_response("500 Third", [])
        return [b"x"]

    assert serve(application).exchange(request()).reason == "Third"


def test_exc_info_is_not_kept(serve):
    """A reference to the traceback would keep the application's frames, and all in them, alive."""

    class Watched(Exception):
        alive = 0

        def __init__(self):
            Watched.alive += 1

        def __del__(self):
            Watched.alive -= 1

    def application(environ, start_response):
        start_response("200 OK", [])
        try:
            raise Watched
        except Watched:
            start_response("500 Oops", [], sys.exc_info())
        return [b"x"]

    gc.disable()
    try:
        client = serve(application).connect()
        assert client.exchange(request()).status == 500
        assert client.assert_open().status == 500
        assert Watched.alive <= 1, "at most the one of the request that has just ended"
    finally:
        gc.enable()


# -- the request line of the answer -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_the_answer_is_always_in_the_servers_own_version(serve, version):
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"x"]

    client = serve(application).connect()
    client.send(request(version=version))
    assert client.read_exactly(17) == b"HTTP/1.1 200 OK\r\n"
