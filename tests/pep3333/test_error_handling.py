"""PEP 3333, "Error Handling": what the application, its iterable or its client does wrong never ends a worker."""

from __future__ import annotations

import io
import logging

import pytest
from wire import request, wait_until

FIXED_TEXT = b"Internal Server Error: the application could not answer this request\n"


class Odd(BaseException):
    pass


class Unprintable(Exception):
    def __str__(self):
        raise ZeroDivisionError

    __repr__ = __str__


def exceptions():
    return [
        ValueError("secret"), Exception(), Odd("secret"), SystemExit(), SystemExit(3), KeyboardInterrupt(),
        GeneratorExit(), StopIteration("secret"), StopAsyncIteration(), MemoryError(), RecursionError(),
        OSError(9, "x"), ConnectionResetError(), BrokenPipeError(), TimeoutError(), AssertionError(), Unprintable(),
        UnicodeEncodeError("ascii", "é", 0, 1, "secret"), SyntaxError("secret"), BlockingIOError(),
    ]  # fmt: skip


def name(error):
    return type(error).__name__


@pytest.mark.parametrize("where", ["call", "first block", "after an empty block", "close"])
@pytest.mark.parametrize("kind", range(len(exceptions())), ids=[name(error) for error in exceptions()])
def test_whatever_is_raised_before_the_head_has_left_is_a_500_and_the_worker_lives(serve, capsys, caplog, kind, where):
    class Result:
        def __init__(self):
            self.blocks = 0

        def __iter__(self):
            return self

        def __next__(self):
            self.blocks += 1
            if where == "first block" or (where == "after an empty block" and self.blocks == 2):
                raise exceptions()[kind]
            if where == "close":
                raise ZeroDivisionError
            return b""

        def close(self):
            if where == "close":
                raise exceptions()[kind]

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/next":
            start_response("200 OK", [])
            return [b"next"]
        start_response("200 OK", [("X-Secret", "secret")])
        if where == "call":
            raise exceptions()[kind]
        return Result()

    running = serve(application)
    client = running.connect()
    client.send(request("/next") + request("/fails") + request("/never"))
    if isinstance(exceptions()[kind], StopIteration) and "block" in where:
        # That is how an iterator says that it has ended.
        assert [client.read_response().status for _ in range(3)] == [200] * 3
        return
    assert client.read_response().body == b"next"
    answer = client.read_response()
    assert (answer.status, answer.reason, answer.body) == (500, "Internal Server Error", FIXED_TEXT)
    assert answer.says_close
    assert "secret" not in str(answer.fields)
    client.assert_gone()
    assert running.targets == ["/next", "/fails"], "nothing is read behind an error"
    assert name(exceptions()[kind]) in capsys.readouterr().err
    assert f"the application failed on GET /fails: {name(exceptions()[kind])}" in caplog.text
    assert running.exchange(request("/next")).body == b"next"


@pytest.mark.parametrize(
    "change",
    [
        lambda environ: environ.update(RAW_URI=Unprintable(), REQUEST_METHOD=Unprintable()),
        lambda environ: environ.update(RAW_URI="x" * 10_000_000, REQUEST_METHOD="PUT\nforged"),
        lambda environ: environ.clear(),
    ],
    ids=["unprintable", "huge", "cleared"],
)
@pytest.mark.parametrize("where", ["call", "second block"])
@pytest.mark.parametrize("new_fields", [False, True], ids=["equal fields", "new values"])
@pytest.mark.parametrize("before", ["", "f", "ff", "fff", "fffs", "sssf", "sffs"])
def test_the_report_shows_the_request_that_was_sent_whatever_became_of_environ(
    serve, caplog, change, where, new_fields, before
):
    """Also when its head was known, as a whole or in part, from an earlier request of the connection."""
    targets = {"f": "/fine", "s": "/sent?a='b'%5C"}
    calls = []

    def application(environ, start_response):
        start_response("200 OK", [])
        calls.append(environ["PATH_INFO"])
        if len(calls) <= len(before):
            return [b"fine"]
        change(environ)
        if where == "call":
            raise ZeroDivisionError
        return blocks()

    def blocks():
        yield b"first"
        raise ZeroDivisionError

    client = serve(application).connect()
    for number, letter in enumerate(before + "s"):
        client.send(request(targets[letter], fields=[("X-Number", str(number * new_fields))]))
        if number < len(before):
            assert client.read_response().body == b"fine"
    if where == "call":
        assert client.read_response().body == FIXED_TEXT
    else:
        assert b"5\r\nfirst\r\n" in client.read_until_close()
    wait_until(lambda: "the application failed" in caplog.text, "the report")
    assert "the application failed on GET /sent: ZeroDivisionError\n" in caplog.text
    assert len(caplog.text) < 1000


@pytest.mark.parametrize("kind", range(len(exceptions())), ids=[name(error) for error in exceptions()])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_whatever_is_raised_after_the_head_has_left_cuts_the_connection(serve, capsys, kind, version):
    class Result:
        blocks = iter([b"out", b"more"])

        def __iter__(self):
            return self

        def __next__(self):
            for block in self.blocks:
                return block
            raise exceptions()[kind]

    def application(environ, start_response):
        start_response("200 OK", [])
        return Result()

    running = serve(application)
    client = running.connect()
    client.send(request(version=version) + request("/never"))
    if isinstance(exceptions()[kind], StopIteration):
        assert client.read_response().body == b"outmore"
        return
    try:
        rest = client.read_until_close()
    except ConnectionResetError:
        assert version == "1.0", "with chunks the missing last one says that something is missing"
    else:
        assert version == "1.1"
        assert rest.endswith(b"\r\n\r\n3\r\nout\r\n4\r\nmore\r\n")
    assert running.targets == ["/"]
    assert name(exceptions()[kind]) in capsys.readouterr().err


@pytest.mark.parametrize("size", [1, 100_000])
def test_an_error_within_a_declared_length_cuts_the_connection_before_it_is_reached(serve, size):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", str(size + 1))])
        yield b"x" * size
        raise ValueError

    client = serve(application).connect()
    client.send(request())
    assert client.read_until_close().partition(b"\r\n\r\n")[2] == b"x" * size


def test_an_error_after_a_wait_for_the_client_cuts_the_connection_and_sends_what_was_before(slow, blocks):
    result = blocks([b"x" * (16 << 20), ValueError])

    def application(environ, start_response):
        start_response("200 OK", [])
        return result

    waiting = slow(application)
    assert result.asked == 1
    body = waiting.client.read_until_close().partition(b"\r\n\r\n")[2]
    assert body == b"1000000\r\n" + b"x" * (16 << 20) + b"\r\n"
    assert result.closed == 1


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_an_error_in_an_answer_to_head_has_no_body(serve, method):
    def application(environ, start_response):
        raise ValueError

    client = serve(application).connect()
    answer = client.exchange(request(method=method), method=method)
    assert (answer.status, answer.get("Content-Length")) == (500, str(len(FIXED_TEXT)))
    assert answer.body == (b"" if method == "HEAD" else FIXED_TEXT)
    client.assert_closed()


def test_an_error_takes_only_its_own_answer_with_it(serve):
    def application(environ, start_response):
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/fails":
            raise ValueError
        return [environ["PATH_INFO"].encode()]

    running = serve(application)
    other = running.connect()
    other.exchange(request("/a"))
    client = running.connect()
    client.send(request("/1") + request("/2") + request("/fails"))
    assert [client.read_response().body for _ in range(3)] == [b"/1", b"/2", FIXED_TEXT]
    assert other.exchange(request("/b")).body == b"/b"


def test_many_errors_in_a_row_do_no_harm(serve, capsys):
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/":
            raise ValueError
        start_response("204 No Content", [])
        return []

    running = serve(application)
    for _ in range(100):
        assert running.exchange(request()).status == 500
    assert running.exchange(request("/fine")).status == 204
    assert capsys.readouterr().err.count("Traceback") == 100


def test_the_traceback_begins_with_the_application_and_shows_its_lines(serve, capsys):
    def application(environ, start_response):
        return helper_of_the_application()

    def helper_of_the_application():
        raise LookupError("with a text, é€")

    serve(application).exchange(request())
    text = capsys.readouterr().err
    assert text.startswith("Traceback (most recent call last):\n")
    assert "in helper_of_the_application" in text
    assert text.endswith("LookupError: with a text, é€\n")


def test_the_log_line_does_not_let_a_client_forge_others(serve, caplog):
    def application(environ, start_response):
        environ["RAW_URI"] = "/\nCRITICAL forged \x1b[31m"
        raise ValueError

    serve(application).exchange(request())
    record = next(record for record in caplog.records if record.name == "headrace")
    assert record.levelno == logging.ERROR
    assert "\n" not in record.getMessage()
    assert "\x1b" not in record.getMessage()


@pytest.mark.parametrize("value", [5, None, b"x", ["x"], {}, object()], ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("key", ["RAW_URI", "REQUEST_METHOD", "HTTP_REFERER", "SERVER_PROTOCOL", "wsgi.errors"])
def test_an_application_that_has_spoiled_its_environ_and_fails_still_gets_its_500(serve, tmp_path, key, value):
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/next":
            start_response("200 OK", [])
            return [b"next"]
        environ[key] = value
        raise ValueError

    running = serve(application, access_logfile=str(tmp_path / "access.log"))
    answer = running.exchange(request(fields=[("Referer", "a")]))
    assert (answer.status, answer.body) == (500, FIXED_TEXT)
    assert running.exchange(request("/next")).body == b"next"


def test_an_application_that_empties_its_environ_does_no_harm(serve, tmp_path):
    def application(environ, start_response):
        environ.clear()
        start_response("200 OK", [])
        return [b"x"]

    client = serve(application, access_logfile=str(tmp_path / "access.log")).connect()
    for _ in range(3):
        assert client.exchange(request()).body == b"x"


@pytest.mark.parametrize("broken", ["closed", "write", "flush", "none"])
def test_a_stderr_that_cannot_be_written_to_does_not_stop_the_server(serve, monkeypatch, broken):
    stream = io.StringIO()
    if broken == "closed":
        stream.close()
    elif broken != "none":

        def fail(*arguments):
            raise OSError("on purpose")

        setattr(stream, broken, fail)

    def application(environ, start_response):
        monkeypatch.setattr("sys.stderr", None if broken == "none" else stream)
        raise ValueError

    running = serve(application)
    assert running.exchange(request()).status == 500
    assert running.exchange(request()).status == 500
    monkeypatch.undo()


def test_an_application_that_recurses_for_ever_is_a_500(serve):
    def application(environ, start_response):
        return application(environ, start_response)

    running = serve(application)
    assert running.exchange(request()).status == 500
    assert running.exchange(request()).status == 500


def test_a_generator_that_ignores_its_end_is_reported_and_does_no_harm(slow, caplog):
    """It yields once more when it is closed: Python raises RuntimeError out of close()."""
    ended = []

    def application(environ, start_response):
        start_response("200 OK", [])
        try:
            while True:
                yield b"x" * (1 << 20)
        except GeneratorExit:
            ended.append(1)
            yield b"not yet"

    waiting = slow(application)
    waiting.client.reset()
    wait_until(lambda: ended, "the end of the generator")
    waiting.let_the_server_work()
    wait_until(lambda: "generator ignored GeneratorExit" in caplog.text, "the report")
