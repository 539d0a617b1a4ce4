"""PEP 3333, "Input and Error Streams"."""

from __future__ import annotations

import io
import random
import threading
import time

import pytest
from wire import PATIENCE_S, chunked, request, wait_until

from headrace.errors import ClientDisconnected

#: Where a body may be when it is read.
STORAGES = {
    "memory": {},
    "spooled": {"request_body_memory": 0},
    "spooled late": {"request_body_memory": 30_000},
    "streamed": {"stream_request_body": True},
}
CHUNKED = [("Transfer-Encoding", "chunked")]


@pytest.fixture(params=STORAGES)
def storage(request):
    return STORAGES[request.param]


def post(body, framing="length", target="/", fields=()):
    if framing == "length":
        return request(target, method="POST", fields=[("Content-Length", str(len(body))), *fields], body=body)
    middle = len(body) // 3
    blocks = [body[:middle], body[middle : middle + 1], body[middle + 1 :]]
    return request(target, method="POST", fields=[*CHUNKED, *fields]) + chunked(*blocks)


def reading(read, results):
    """An application that reads in this way; what read() returned or raised is put into results."""

    def application(environ, start_response):
        try:
            results.append(read(environ["wsgi.input"]))
        except Exception as error:
            results.append(error)
        start_response("204 No Content", [])
        return []

    return application


@pytest.fixture
def read_body(serve):
    """read_body(read, body, framing, **settings) -> what read(wsgi.input) gave."""

    def read_body(read, body, framing="length", cut="whole", **settings):
        results = []
        assert serve(reading(read, results), **settings).exchange(post(body, framing), cut).status == 204
        return results.pop()

    return read_body


# -- the methods of wsgi.input ----------------------------------------------------------------------------------------

TEXT = b"first\n\nthird line\r\nno newline"


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize(
    "read",
    [
        lambda body: body.read(),
        lambda body: body.read(-1),
        lambda body: body.read(None),
        lambda body: body.read(-5),
        lambda body: body.read(10**9),
        lambda body: body.read(0) + body.read(),
        lambda body: body.read(7) + body.read(1) + body.read(),
        lambda body: b"".join(iter(lambda: body.read(3), b"")),
        lambda body: b"".join(body),
        lambda body: b"".join(body.readlines()),
        lambda body: b"".join(iter(body.readline, b"")),
        lambda body: next(body) + body.read(2) + body.readline() + b"".join(body.readlines(1)) + body.read(),
    ],
)
def test_every_way_of_reading_gets_exactly_the_body(read_body, storage, read, framing):
    assert read_body(read, TEXT, framing, **storage) == TEXT


def everything_twice(body):
    whole = body.read()
    rest = [body.read(), body.read(5), body.read(-1), body.readline(), body.readline(3), body.readlines(), list(body)]
    return whole, rest


def test_after_the_body_every_method_gives_nothing_however_often_it_is_called(read_body, storage):
    assert read_body(everything_twice, TEXT, **storage) == (TEXT, [b"", b"", b"", b"", b"", [], []])
    assert read_body(everything_twice, TEXT, "chunked", **storage) == (TEXT, [b"", b"", b"", b"", b"", [], []])


@pytest.mark.parametrize("message", [request(), request(method="POST"), request(method="POST", version="1.0")])
def test_a_request_without_a_body_has_an_empty_input(serve, storage, message):
    results = []
    serve(reading(everything_twice, results), **storage).exchange(message)
    assert results == [(b"", [b"", b"", b"", b"", b"", [], []])]


def test_read_without_a_size_gives_bytes_and_not_another_type(read_body, storage):
    assert read_body(lambda body: [type(body.read(3)), type(body.readline()), type(body.read())], TEXT, **storage) == [
        bytes, bytes, bytes
    ]  # fmt: skip


@pytest.mark.parametrize(("size", "want"), [(0, b""), (1, b"f"), (5, b"first"), (6, b"first\n"), (7, b"first\n")])
def test_readline_takes_a_size(read_body, storage, size, want):
    assert read_body(lambda body: body.readline(size), TEXT, **storage) == want


@pytest.mark.parametrize(("hint", "lines"), [(1, 1), (6, 1), (7, 2), (8, 3), (0, 4), (-1, 4), (None, 4), (9999, 4)])
def test_readlines_takes_a_hint(read_body, storage, hint, lines):
    want = TEXT.splitlines(keepends=True)
    assert len(want) == 4
    assert read_body(lambda body: body.readlines(hint), TEXT, **storage) == want[:lines]


def test_a_carriage_return_alone_does_not_end_a_line(read_body, storage):
    assert read_body(list, b"a\rb\x0bc\x85d\ne", **storage) == [b"a\rb\x0bc\x85d\n", b"e"]


@pytest.mark.parametrize("name", ["read", "readline", "readlines"])
@pytest.mark.parametrize("size", ["3", 3.0, b"3", [], object])
def test_a_size_that_is_no_number_is_a_type_error_that_names_the_method(read_body, name, size):
    error = read_body(lambda body: getattr(body, name)(size), TEXT)
    assert isinstance(error, TypeError)
    assert f"wsgi.input.{name}" in str(error)
    assert repr(size) in str(error)


def test_a_size_beyond_the_machine_does_no_harm(read_body, storage):
    assert isinstance(read_body(lambda body: body.read(1 << 70), TEXT, **storage), OverflowError)


def test_the_application_may_close_its_input(serve, storage):
    results = []
    client = serve(reading(lambda body: [body.read(3), body.close(), body.read()], results), **storage).connect()
    client.exchange(post(TEXT))
    assert results == [[b"fir", None, b""]]


# -- mixed reads, against the standard library ------------------------------------------------------------------------


def plan(seed):
    """A random sequence of calls."""
    chance = random.Random(seed)
    sizes = (0, 1, 2, 10, 100, 4095, 4096, 65535, 65536, 65537, 100_000, -1, None)
    weights = [3] * 11 + [0.2] * 2
    calls = []
    for _ in range(60):
        name = chance.choice(["read", "readline", "readlines", "next"])
        calls.append((name, chance.choices(sizes, weights)[0]))
    return [*calls, ("read", -1), ("read", 1)]


def follow(calls, body):
    found = []
    for name, size in calls:
        if name == "next":
            found.append(next(body, b""))
        else:
            found.append(getattr(body, name)(size))
    return found


def lines_of_all_lengths(seed):
    chance = random.Random(seed)
    lengths = [chance.choice([0, 1, 30, 5000, 70_000]) for _ in range(chance.randint(1, 30))]
    return b"\n".join(chance.randbytes(length).replace(b"\n", b"") for length in lengths)


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("seed", range(6))
def test_mixed_reads_give_what_a_bytes_io_would_give(read_body, storage, framing, seed):
    body, calls = lines_of_all_lengths(seed), plan(seed)
    assert read_body(lambda stream: follow(calls, stream), body, framing, cut=seed, **storage) == follow(
        calls, io.BytesIO(body)
    )


@pytest.mark.parametrize("size", [512 * 1024, 512 * 1024 + 1, 3_000_000])
def test_a_large_body_comes_whole_from_memory_or_from_a_temporary_file(read_body, size):
    body = random.Random(size).randbytes(size)
    assert read_body(lambda stream: stream.read(), body) == body
    assert read_body(lambda stream: stream.read(), body, "chunked") == body


# -- bodies that are cut short ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("settings", [{}, {"request_body_memory": 0}], ids=["memory", "spooled"])
def test_a_body_that_is_cut_short_never_reaches_the_application(serve, settings, framing):
    running = serve(reading(lambda body: body.read(), []), **settings)
    client = running.connect()
    client.send(post(TEXT, framing)[:-1])
    client.half_close()
    client.assert_gone()
    assert running.calls == 0


# -- read as it arrives (--stream-request-body) -----------------------------------------------------------------------

STREAMED = {"stream_request_body": True}


def echo_lines(environ, start_response):
    """A line of the body for a block of the answer."""
    start_response("200 OK", [])
    return iter(environ["wsgi.input"].readline, b"")


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_streamed_body_can_be_read_and_answered_while_it_arrives(serve, framing):
    running = serve(echo_lines, **STREAMED)
    client = running.connect()
    lines = [b"one\n", b"two\n", b"three\n"]
    fields = CHUNKED if framing == "chunked" else [("Content-Length", str(sum(map(len, lines))))]
    client.send(request(method="POST", fields=fields))
    for number, line in enumerate(lines):
        client.send(chunked(line)[: -len(b"0\r\n\r\n")] if framing == "chunked" else line)
        if number == 0:
            head = client.read_head()
            assert head.get("Transfer-Encoding") == "chunked"
            assert head.says_close
        chunk = b"%x\r\n%s\r\n" % (len(line), line)
        assert client.read_exactly(len(chunk)) == chunk
    if framing == "chunked":
        client.send(b"0\r\n\r\n")
    assert client.read_exactly(5) == b"0\r\n\r\n"
    # When the head left nobody could know that the body would be read to its end, so it said "close".
    client.assert_closed()


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [body]


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("cut", ["whole", "octets", 1, 2])
def test_a_request_behind_a_streamed_body_is_served(serve, framing, cut):
    running = serve(echo, **STREAMED)
    client = running.connect()
    client.send(post(b"a\nb", framing) + post(b"c\n", framing, "/2") + request("/3") + post(b"d", framing, "/4"), cut)
    assert [client.read_response().body for _ in range(4)] == [b"a\nb", b"c\n", b"", b"d"]
    assert running.targets == ["/", "/2", "/3", "/4"]
    client.assert_open()


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_threads_of_an_application_that_share_a_streamed_body_get_every_octet_once(serve, framing):
    """All of them wait for the client at once, and each takes a little of what has come."""

    def application(environ, start_response):
        parts = []

        def take():
            while part := environ["wsgi.input"].read(7):
                parts.append(part)

        readers = [threading.Thread(target=take) for _ in range(8)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        start_response("200 OK", [])
        return [bytes(sorted(b"".join(parts)))]

    running = serve(application, **STREAMED)
    client = running.connect()
    body = TEXT * (200_000 // len(TEXT))
    message = post(body, framing)
    head = message.index(b"\r\n\r\n") + 4
    client.send(message[:head])
    time.sleep(0.1)  # they all stand there; were they late, the test would say less
    client.send(message[head:] + request("/behind"))
    assert client.read_response().body == bytes(sorted(body))
    assert client.read_response().status == 200
    assert running.targets == ["/", "/behind"]


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_thread_that_waits_for_a_streamed_body_gets_what_another_one_has_left(serve, framing):
    waiting = threading.Barrier(3)

    def application(environ, start_response):
        parts = []

        def take():
            waiting.wait(PATIENCE_S)
            parts.append(environ["wsgi.input"].read(1))

        readers = [threading.Thread(target=take) for _ in range(2)]
        for reader in readers:
            reader.start()
        waiting.wait(PATIENCE_S)
        for reader in readers:
            reader.join()
        start_response("200 OK", [])
        return [b"".join(sorted(parts))]

    client = serve(application, body_timeout=1.5, **STREAMED).connect()
    message = post(TEXT, framing)
    part = message.index(b"\r\n\r\n") + 4
    client.send(message[:part])
    time.sleep(0.1)  # both stand there; were they late, the test would say less
    client.send(message[part : message.index(TEXT[:2]) + 2])
    assert client.read_response().body == bytes(sorted(TEXT[:2]))
    client.assert_gone()


@pytest.mark.parametrize("threads", [1, 4])
def test_close_of_an_iterable_whose_client_has_gone_reads_nothing_of_another_client(serve, threads):
    """The descriptor is free when close() is called, and may be another's."""
    closing, connected = threading.Event(), threading.Event()
    outcome = []

    class Endless:
        def __init__(self, body):
            self.body = body

        def __iter__(self):
            return self

        def __next__(self):
            return b"x" * (1 << 20)

        def close(self):
            closing.set()
            assert connected.wait(PATIENCE_S)
            try:
                outcome.append(self.body.read(20))
            except (ConnectionError, ValueError) as error:
                outcome.append(type(error))  # the traceback of itself would keep the body

    def application(environ, start_response):
        assert environ["wsgi.input"].read(3) == b"abc"
        start_response("200 OK", [])
        return Endless(environ["wsgi.input"]) if environ["PATH_INFO"] == "/" else []

    running = serve(application, threads=threads, **STREAMED)
    first = running.connect()
    first.send(request(method="POST", fields=[("Content-Length", "1000")]) + b"abc")
    wait_until(first.has_input, "the beginning of the answer")
    first.reset()
    assert closing.wait(PATIENCE_S)
    others = [running.connect() for _ in range(5)]
    for other in others:
        other.send(post(b"abc", "length", "/other"))
    connected.set()
    for other in others:
        assert other.read_response().status == 200
    wait_until(lambda: outcome, "the end of close()")
    assert isinstance(outcome[0], type), outcome


def test_octets_behind_a_streamed_body_keep_their_order_while_the_answer_waits(slow):
    """The first half of the next request comes with the body, the second while the iteration is suspended."""
    size = 16 << 20

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", str(len(environ["wsgi.input"].read()) * size // 5))])
        return iter([b"x" * size]) if environ["REQUEST_METHOD"] == "POST" else []

    behind = request("/behind", version="1.1")
    waiting = slow(application, post(b"hello") + behind[:20], **STREAMED)
    waiting.client.send(behind[20:])
    waiting.let_the_server_work()
    assert len(waiting.client.read_response().body) == size
    assert waiting.client.read_response().status == 200
    assert "/behind" in waiting.running.targets


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("size", [0, 3])
def test_a_streamed_body_that_was_not_read_to_its_end_closes_the_connection(serve, framing, size):
    def application(environ, start_response):
        start_response("200 OK", [])
        return [environ["wsgi.input"].read(size) + b"!"]

    running = serve(application, **STREAMED)
    client = running.connect()
    message = post(TEXT * 100, framing)
    client.send(message[:-10])
    answer = client.read_response()
    assert answer.body == TEXT[:size] + b"!"
    client.send(message[-10:] + request("/never"), may_break=True)
    client.assert_gone()
    assert running.targets == ["/"]


def test_the_answer_to_an_unread_streamed_body_says_that_the_connection_closes(serve):
    """RFC 9112 §9.6: a server that is going to close says so, and here it is known before the head has left."""

    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"not interested"]

    assert serve(application, **STREAMED).exchange(post(TEXT)[:-1]).says_close


def test_the_client_is_told_to_continue_at_the_first_read(serve):
    may_read = threading.Event()

    def application(environ, start_response):
        assert may_read.wait(PATIENCE_S)
        body = environ["wsgi.input"].read(0) + environ["wsgi.input"].read()
        start_response("200 OK", [("X-Answer", "1")])
        return [body]

    client = serve(application, **STREAMED).connect()
    client.send(request(method="POST", fields=[("Expect", "100-continue"), ("Content-Length", "4")]))
    assert not client.has_input(0.05), "nothing may come before the application reads"
    may_read.set()
    assert client.read_response().status == 100
    client.send(b"body")
    answer = client.read_response()
    assert (answer.status, answer.body, answer.get("X-Answer")) == (200, b"body", "1")
    client.assert_open(post(b""))


def test_the_client_is_told_to_continue_also_after_start_response_was_called(serve):
    def application(environ, start_response):
        start_response("200 OK", [("X-Answer", "1")])
        return [environ["wsgi.input"].read()]

    client = serve(application, **STREAMED).connect()
    client.send(request(method="POST", fields=[("Expect", "100-continue"), *CHUNKED]))
    assert client.read_response().status == 100
    client.send(chunked(b"body"))
    answer = client.read_response()
    assert (answer.status, answer.body, answer.get("X-Answer")) == (200, b"body", "1")


def test_nobody_is_told_to_continue_when_the_application_does_not_read(serve):
    def application(environ, start_response):
        start_response("403 Forbidden", [])
        return [b"no"]

    client = serve(application, **STREAMED).connect()
    client.send(request(method="POST", fields=[("Expect", "100-continue"), ("Content-Length", "4")]))
    assert client.read_response().status == 403
    client.assert_closed()


@pytest.mark.parametrize("how", ["the body has begun", "the answer has begun", "the client is old"])
def test_nobody_is_told_to_continue_when(serve, how):
    def application(environ, start_response):
        write = start_response("200 OK", [])
        if how == "the answer has begun":
            write(b"begun ")
        return [environ["wsgi.input"].read()]

    version = "1.0" if how == "the client is old" else "1.1"
    head = request(method="POST", fields=[("Expect", "100-continue"), ("Content-Length", "4")], version=version)
    client = serve(application, **STREAMED).connect()
    client.send(head + b"bo" if how == "the body has begun" else head)
    if how == "the answer has begun":
        assert client.read_head().status == 200
    client.send(b"dy" if how == "the body has begun" else b"body")
    if how != "the answer has begun":
        assert client.read_response().status == 200


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_streamed_body_that_is_cut_short_raises(serve, framing):
    results = []
    client = serve(reading(lambda body: body.read(), results), **STREAMED).connect()
    client.send(post(TEXT, framing)[:-2])
    client.half_close()
    wait_until(lambda: results, "the error")
    assert isinstance(results[0], ClientDisconnected)
    assert isinstance(results[0], OSError), "frameworks catch the standard exceptions"


def test_what_came_of_a_body_that_is_cut_short_can_be_read_first(serve):
    results = []

    def read(body):
        results.append(body.read(5))
        return body.read()

    client = serve(reading(read, results), **STREAMED).connect()
    client.send(post(TEXT)[:-2])
    client.half_close()
    wait_until(lambda: len(results) == 2, "both results")
    assert results[0] == TEXT[:5]
    assert isinstance(results[1], ClientDisconnected)


def read_and_let_fail(environ, start_response):
    environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [b"read"]


@pytest.mark.parametrize(
    ("body", "settings", "status"),
    [
        (b"zz\r\nhello\r\n0\r\n\r\n", {}, 400),
        (b"5\r\nhello!!0\r\n\r\n", {}, 400),
        (b"5\r\nhello\r\n6\r\nworld!\r\n0\r\n\r\n", {"limit_request_body": 10}, 413),
        (b"5\r\nhel", {"body_timeout": 0.1}, 408),
    ],
    ids=["no size", "no end of line", "too long", "too slow"],
)
def test_a_streamed_body_that_goes_wrong_is_answered_when_the_application_lets_it_pass(serve, body, settings, status):
    running = serve(read_and_let_fail, **STREAMED, **settings)
    client = running.connect()
    client.send(request(method="POST", fields=CHUNKED) + body)
    answer = client.read_response()
    assert answer.status == status
    assert answer.says_close
    client.assert_closed()


def test_a_streamed_body_that_goes_wrong_can_be_caught_and_closes_the_connection(serve):
    results = []
    client = serve(reading(lambda body: body.read(), results), **STREAMED).connect()
    client.send(request(method="POST", fields=CHUNKED) + b"zz\r\n" + request("/never"))
    assert client.read_response().status == 204
    client.assert_gone()
    assert isinstance(results[0], ClientDisconnected)
    assert "chunk size" in str(results[0])


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("read_before", [0, 1, len(TEXT)])
def test_an_input_that_is_read_after_its_request_has_nothing_or_says_why(serve, framing, read_before):
    kept, results = [], []

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/late":
            try:
                results.append(kept[0].read())
            except Exception as error:
                results.append(error)
        else:
            kept.append(environ["wsgi.input"])
            kept[0].read(read_before)
        start_response("204 No Content", [])
        return []

    running = serve(application, **STREAMED)
    running.exchange(post(TEXT + b"more", framing)[:-3])
    running.exchange(request("/late"))
    assert isinstance(results[0], ValueError)
    assert "after its request had ended" in str(results[0])


def test_a_late_read_of_another_requests_input_is_the_applications_error_and_not_this_clients_leaving(serve, capsys):
    kept = []

    def application(environ, start_response):
        kept.append(environ["wsgi.input"])
        if environ["PATH_INFO"] == "/late":
            kept[0].read()
        start_response("204 No Content", [])
        return []

    running = serve(application, **STREAMED)
    running.exchange(post(TEXT)[:-3])
    assert running.exchange(request("/late")).status == 500
    assert "after its request had ended" in capsys.readouterr().err


def test_an_input_in_memory_can_still_be_read_after_its_request(serve):
    kept = []

    def application(environ, start_response):
        kept.append(environ["wsgi.input"])
        start_response("204 No Content", [])
        return []

    running = serve(application)
    client = running.connect()
    client.exchange(post(b"first"))
    client.exchange(post(b"second"))
    client.exchange(request())
    client.exchange(request())
    assert [body.read() for body in kept] == [b"first", b"second", b"", b""]


def test_unread_bodies_do_not_get_into_the_next_request(serve):
    def application(environ, start_response):
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    client = serve(application).connect()
    client.send(post(b"GET /smuggled HTTP/1.1\r\n\r\n") + request("/2") + post(TEXT, "chunked") + request("/4"))
    assert [client.read_response().body for _ in range(4)] == [b"/", b"/2", b"/", b"/4"]


# -- wsgi.errors ------------------------------------------------------------------------------------------------------


def test_wsgi_errors_is_a_text_stream_to_the_servers_stderr(serve, capsys):
    def application(environ, start_response):
        errors = environ["wsgi.errors"]
        errors.write("one\n")
        errors.writelines(["two\n", "three\n"])
        print("four €", file=errors, flush=True)
        errors.flush()
        start_response("204 No Content", [])
        return []

    serve(application).exchange(request())
    assert capsys.readouterr().err == "one\ntwo\nthree\nfour €\n"


def test_wsgi_errors_takes_text_only(error_of):
    def application(environ, start_response):
        environ["wsgi.errors"].write(b"octets")

    assert error_of(application).startswith("TypeError")
