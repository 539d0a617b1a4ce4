"""Whatever an application does with its answer, the next request on the connection gets its own answer, or none because
the connection is closed: answers are not split, and client and server do not lose step (RFC 9112 §6.3, §9.3).

One row for each misuse; each is asked for with GET, HEAD and a POST whose body the application does not read, on
HTTP/1.1 and on a kept connection of HTTP/1.0, with the next request in the same segment and after the answer.
"""

from __future__ import annotations

import io
import itertools
import sys
import tempfile

import pytest
import wire
from wire import request

MISUSES = {}

#: What each misuse would like the client to take for an answer of its own.
FORGED = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-Forged: yes\r\n\r\nforged"


def misuse(function):
    MISUSES[function.__name__.replace("_", " ")] = function
    return function


def of_start_response(name, status="200 OK", headers=(), body=(b"body",)):
    def application(environ, start_response):
        start_response(status, list(headers))
        return list(body)

    MISUSES[name] = application


def a_file(octets):
    file = tempfile.TemporaryFile()
    file.write(octets)
    file.seek(0)
    return file


# -- status and fields ------------------------------------------------------------------------------------------------

of_start_response("a status with a head in it", status="200 OK\r\nContent-Length: 0\r\n\r\n" + FORGED)
of_start_response("a value with an answer in it", headers=[("X-A", "a\r\nContent-Length: 0\r\n\r\n" + FORGED)])
of_start_response("a value with a bare line feed", headers=[("X-A", "a\nContent-Length: 0")])
of_start_response("a value with a bare carriage return", headers=[("X-A", "a\rContent-Length: 0")])
of_start_response("a value with NUL", headers=[("X-A", "a\0b")])
of_start_response("a name with an answer in it", headers=[("X-A: b\r\n\r\n" + FORGED, "c")])
of_start_response("a name with a colon", headers=[("Content-Length: 0\r\nX-A", "c")])
of_start_response("an empty name", headers=[("", "c")])
of_start_response("a value beyond latin-1 that ends in CRLF there", headers=[("X-A", "\u010d\u010aX-Forged: yes")])
of_start_response("two lengths", headers=[("Content-Length", "4"), ("Content-Length", "2")])
of_start_response("two lengths that are equal", headers=[("Content-Length", "4"), ("Content-Length", "4")])
of_start_response("a length that is no number", headers=[("Content-Length", "4, 4")])
of_start_response("a length with a sign", headers=[("Content-Length", "+4")])
of_start_response("a negative length", headers=[("Content-Length", "-1")])
of_start_response("a length beyond 64 bits", headers=[("Content-Length", "99999999999999999999")])
of_start_response("chunks of its own", headers=[("Transfer-Encoding", "chunked")], body=[b"4\r\nbody\r\n0\r\n\r\n"])
of_start_response("its own close", headers=[("Connection", "close")])
of_start_response("its own upgrade", headers=[("Upgrade", "websocket"), ("Connection", "upgrade")])
of_start_response("a status of three letters", status="abc nonsense")
of_start_response("a status of four digits", status="2000 OK")
of_start_response("100 as the answer", status="100 Continue")
of_start_response("101 as the answer", status="101 Switching Protocols", headers=[("Upgrade", "x")])
of_start_response("103 as the answer", status="103 Early Hints", headers=[("Link", "</a>")])

# -- bodies where there are none, and of another length ---------------------------------------------------------------

of_start_response("a body with 204", status="204 No Content", body=[FORGED.encode()])
of_start_response("a body and its length with 204", "204 No Content", [("Content-Length", "4")])
of_start_response("a body with 304", status="304 Not Modified", body=[FORGED.encode()])
of_start_response("a body and its length with 304", "304 Not Modified", [("Content-Length", "4")])
of_start_response("a body with 205", status="205 Reset Content", body=[FORGED.encode()])
of_start_response("a body behind a length of 0", headers=[("Content-Length", "0")], body=[FORGED.encode()])
of_start_response("more than its length at once", headers=[("Content-Length", "2")], body=[b"OK" + FORGED.encode()])
of_start_response("more than its length in two", headers=[("Content-Length", "2")], body=[b"OK", FORGED.encode()])
of_start_response("much more than its length", headers=[("Content-Length", "2")], body=[b"OK", b"x" * 300_000])
of_start_response("less than its length", headers=[("Content-Length", "20")])
of_start_response("nothing of its length", headers=[("Content-Length", "20")], body=[])
of_start_response("much less than its length", headers=[("Content-Length", "9000000")], body=[b"x" * 300_000])
of_start_response("blocks that look like chunks", body=[b"0\r\n\r\n", FORGED.encode()])


@misuse
def written_beyond_its_length(environ, start_response):
    write = start_response("200 OK", [("Content-Length", "2")])
    write(b"OK" + FORGED.encode())
    return []


@misuse
def written_beyond_its_length_and_the_error_caught(environ, start_response):
    write = start_response("200 OK", [("Content-Length", "2")])
    for block in (b"O", b"KK", FORGED.encode()):
        try:
            write(block)
        except Exception:
            continue
    return [FORGED.encode()]


@misuse
def written_less_than_its_length(environ, start_response):
    start_response("200 OK", [("Content-Length", "20")])(b"OK")
    return []


@misuse
def a_file_beyond_its_length(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return environ["wsgi.file_wrapper"](a_file(b"OK" + FORGED.encode()))


@misuse
def a_file_below_its_length(environ, start_response):
    start_response("200 OK", [("Content-Length", "20")])
    return environ["wsgi.file_wrapper"](a_file(b"OK"))


@misuse
def a_file_that_is_no_real_one_beyond_its_length(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return environ["wsgi.file_wrapper"](io.BytesIO(b"OK" + FORGED.encode()))


@misuse
def a_file_with_204(environ, start_response):
    start_response("204 No Content", [])
    return environ["wsgi.file_wrapper"](a_file(FORGED.encode()))


@misuse
def a_file_of_text(environ, start_response):
    start_response("200 OK", [])
    return environ["wsgi.file_wrapper"](io.StringIO("text"))


@misuse
def a_file_that_fails_in_the_middle(environ, start_response):
    class Failing(io.BytesIO):
        def read(self, size=-1):
            if self.tell():
                raise OSError("on purpose")
            return super().read(10)

    start_response("200 OK", [])
    return environ["wsgi.file_wrapper"](Failing(b"x" * 100))


# -- start_response, and exc_info -------------------------------------------------------------------------------------


@misuse
def no_start_response(environ, start_response):
    return [FORGED.encode()]


@misuse
def start_response_twice(environ, start_response):
    start_response("200 OK", [("Content-Length", "1")])
    start_response("200 OK", [("Content-Length", "4")])
    return [b"body"]


@misuse
def another_length_with_exc_info_before_the_head(environ, start_response):
    start_response("200 OK", [("Content-Length", "400")])
    try:
        raise LookupError("on purpose")
    except LookupError:
        start_response("500 Sorry", [("Content-Length", "5")], sys.exc_info())
    return [b"sorry"]


@misuse
def exc_info_after_the_head(environ, start_response):
    start_response("200 OK", [])(b"some")
    try:
        raise LookupError("on purpose")
    except LookupError:
        start_response("500 Sorry", [("Content-Length", "5")], sys.exc_info())
    return [b"sorry"]


@misuse
def exc_info_after_the_head_and_the_error_caught(environ, start_response):
    start_response("200 OK", [("Content-Length", "8")])(b"some")
    try:
        raise LookupError("on purpose")
    except LookupError:
        try:
            start_response("500 Sorry", [("Content-Length", "5")], sys.exc_info())
        except LookupError:
            pass
    return [b"more", FORGED.encode()]


@misuse
def exc_info_with_a_head_that_is_refused(environ, start_response):
    start_response("200 OK", [("Content-Length", "4")])
    try:
        raise LookupError("on purpose")
    except LookupError:
        try:
            start_response("500 Sorry", [("X-A", "a\r\n\r\n" + FORGED)], sys.exc_info())
        except ValueError:
            pass
    return [b"body"]


# -- what is raised, and what is returned -----------------------------------------------------------------------------


def that_raises(name, error, blocks, headers=()):
    def application(environ, start_response):
        start_response("200 OK", list(headers))
        yield from blocks
        if error is not None:
            raise type(error)(*error.args)  # one that nobody keeps, with all frames

    MISUSES[name] = application


that_raises("an error before the first block", LookupError("on purpose"), [])
that_raises("an error behind an empty block", LookupError("on purpose"), [b""])
that_raises("an error midway", LookupError("on purpose"), [b"some"])
that_raises("an error midway of a length", LookupError("on purpose"), [b"some"], [("Content-Length", "8")])
that_raises("an error behind all of a length", LookupError("on purpose"), [b"some"], [("Content-Length", "4")])
that_raises("an error behind more than a length", LookupError("on purpose"), [b"some"], [("Content-Length", "2")])
that_raises("an error behind much", LookupError("on purpose"), [b"x" * 300_000])
that_raises("sys.exit midway", SystemExit(3), [b"some"])
that_raises("GeneratorExit midway", GeneratorExit(), [b"some"])
that_raises("StopIteration midway", StopIteration(), [b"some"])
that_raises("no bytes midway", None, [b"some", FORGED])
that_raises("a number midway", None, [b"some", 5])


@misuse
def an_error_in_close(environ, start_response):
    class Blocks(list):
        def close(self):
            raise LookupError("on purpose")

    start_response("200 OK", [])
    return Blocks([b"some", b"more"])


@misuse
def an_error_in_close_behind_an_error(environ, start_response):
    class Blocks:
        def __iter__(self):
            yield b"some"
            raise LookupError("on purpose")

        def close(self):
            raise LookupError("and again")

    start_response("200 OK", [])
    return Blocks()


@misuse
def a_length_that_lies(environ, start_response):
    class Blocks(list):
        def __len__(self):
            return 1

    start_response("200 OK", [])
    return Blocks([b"some", FORGED.encode()])


def that_returns(name, result):
    def application(environ, start_response):
        start_response("200 OK", [])
        return result

    MISUSES[name] = application


that_returns("text", FORGED)
that_returns("bytes", b"body")
that_returns("nothing", None)
that_returns("a number", 5)
that_returns("start_response itself", print)


# -- hints, input, environ --------------------------------------------------------------------------------------------


def that_hints(name, *hints, after=()):
    def application(environ, start_response):
        for headers in hints:
            try:
                environ["wsgi.early_hints"](headers)
            except (TypeError, ValueError):
                continue
        write = start_response("200 OK", [("Content-Length", "4")])
        write(b"bo")
        for headers in after:
            environ["wsgi.early_hints"](headers)
        return [b"dy"]

    MISUSES[name] = application


that_hints("hints with an answer in them", [("Link", "a\r\n\r\n" + FORGED)])
that_hints("hints with a length", [("Content-Length", "6")])
that_hints("hints with a name of two lines", [("Link: a\r\n\r\nX", "b")])
that_hints("hints that are good, and bad, and good", [("Link", "a")], [("Link", "\0")], [("Link", "b")])
that_hints("hints behind the head", after=[[("Link", "a")]])


@misuse
def its_input_half_read_and_an_error(environ, start_response):
    environ["wsgi.input"].read(3)
    raise LookupError("on purpose")


@misuse
def its_input_closed(environ, start_response):
    try:
        environ["wsgi.input"].close()
    finally:
        start_response("200 OK", [])
    return [b"body"]


@misuse
def an_environ_of_other_things(environ, start_response):
    environ.update(REQUEST_METHOD="HEAD", SERVER_PROTOCOL="HTTP/0.9", CONTENT_LENGTH="100000", HTTP_CONNECTION="close")
    environ["wsgi.input"] = None
    start_response("200 OK", [])
    return [b"some", b"more"]


@misuse
def an_environ_emptied(environ, start_response):
    environ.clear()
    start_response("200 OK", [])
    return [b"some", b"more"]


@misuse
def itself(environ, start_response):
    start_response("200 OK", [])
    return itself


# -- the test ---------------------------------------------------------------------------------------------------------

SMUGGLED = request("/smuggled")
KEEP = ("Connection", "keep-alive")

FIRST = {
    "GET": ("GET", request("/misuse", fields=[KEEP])),
    "HEAD": ("HEAD", request("/misuse", method="HEAD", fields=[KEEP])),
    "POST": ("POST", request("/misuse", method="POST", fields=[KEEP], body=SMUGGLED)),
    "POST in chunks": (
        "POST",
        request("/misuse", method="POST", fields=[KEEP, ("Transfer-Encoding", "chunked")]) + wire.chunked(SMUGGLED),
    ),
}


def is_end(error):
    """Did the server end the connection?  The alternative is that nothing came, or what no client can take."""
    return isinstance(error, ConnectionError) or "was closed" in str(error)


def assert_in_step(client, method, first, following, together, number):
    """The next request's answer, or the end of the connection."""
    client.send(first + following if together else first)
    try:
        while True:
            answer = client.read_response(method)
            assert answer.get("X-Forged") is None
            if answer.status >= 200:
                break
            assert answer.status in (100, 103)
    except (wire.WireError, ConnectionError) as error:
        assert is_end(error), error
        return
    if not together and not client._at_end:
        try:
            client.send(following)
        except ConnectionError:
            return
    try:
        answer = client.read_response()
    except (wire.WireError, ConnectionError) as error:
        assert is_end(error) and not client._received, error
        return
    assert (answer.status, answer.get("X-Number"), answer.body) == (200, str(number), b"next %d" % number)


@pytest.mark.parametrize("name", MISUSES)
def test_the_next_request_gets_its_own_answer_or_the_connection_is_closed(serve, transport, name):
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/misuse":
            return MISUSES[name](environ, start_response)
        start_response("200 OK", [("X-Number", environ["QUERY_STRING"])])
        return [b"next ", environ["QUERY_STRING"].encode()]

    running = serve(application)
    number = 0
    for (method, first), version, together in itertools.product(FIRST.values(), ["1.1", "1.0"], [True, False]):
        if version == "1.0":
            if b"chunked" in first:
                continue
            first = first.replace(b"HTTP/1.1", b"HTTP/1.0", 1)
        number += 1
        with running.connect() as client:
            assert_in_step(client, method, first, request(f"/next?{number}"), together, number)
    assert not any("smuggled" in target for target in running.targets)
    assert running.exchange(request("/next?0")).body == b"next 0"


CONTROLS = [chr(octet) for octet in (*range(0x20), 0x7F) if octet != 9]


@pytest.mark.parametrize("place", ["status", "reason", "name", "value", "hint name", "hint value"])
def test_every_control_character_is_refused_with_an_error_that_shows_it(serve, place):
    """HTAB is one that values may have (RFC 9110 §5.5)."""
    said = []

    def application(environ, start_response):
        control = CONTROLS[int(environ["QUERY_STRING"])]
        text = f"a{control}b"
        try:
            if place.startswith("hint"):
                environ["wsgi.early_hints"]([(text, "v") if place == "hint name" else ("Link", text)])
            elif place in ("status", "reason"):
                start_response(f"2{control}0 OK" if place == "status" else f"200 {text}", [])
            else:
                start_response("200 OK", [(text, "v") if place == "name" else ("X-A", text)])
        except ValueError as error:
            said.append(str(error))
            start_response("299 Refused", [])
            return [b"refused"]
        return [b"taken"]

    client = serve(application).connect()
    for number, control in enumerate(CONTROLS):
        answer = client.exchange(request(f"/?{number}"))
        assert (answer.status, answer.body) == (299, b"refused"), control
        assert repr(control)[1:-1] in said[-1], said[-1]
    assert len(said) == len(CONTROLS)
