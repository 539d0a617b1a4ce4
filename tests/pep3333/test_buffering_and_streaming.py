"""PEP 3333, "Buffering and Streaming" and "Middleware Handling of Block Boundaries".

Each block has left before the next is asked for; next() is never called while earlier octets are unsent.
"""

from __future__ import annotations

import itertools
import random
import tempfile
import threading

import pytest
from wire import PATIENCE_S, request, wait_until

LARGE = 16 << 20  # more than the socket buffers of both sides take together


def started(result):
    def application(environ, start_response):
        start_response("200 OK", [])
        return result() if callable(result) else result

    return application


# -- each block leaves ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 8192, 8193, 100_000])
@pytest.mark.parametrize("length", [True, False])
def test_each_block_leaves_before_the_next_is_asked_for(serve, size, length):
    arrived = threading.Semaphore(0)

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", str(3 * size))] if length else [])
        for number in range(3):
            yield b"%d" % number * size
            assert arrived.acquire(timeout=PATIENCE_S), "the client has not got the block"

    client = serve(application).connect()
    client.send(request())
    client.read_head()
    for number in range(3):
        block = b"%d" % number * size
        want = block if length else b"%x\r\n%s\r\n" % (size, block)
        assert client.read_exactly(len(want)) == want
        arrived.release()
    assert client.read_exactly(0 if length else 5) == (b"" if length else b"0\r\n\r\n")


def test_head_and_first_block_leave_together(serve):
    """One system call: a client that waits for both gets both."""
    arrived = threading.Event()

    def application(environ, start_response):
        start_response("200 OK", [])
        yield b"first"
        assert arrived.wait(PATIENCE_S)

    client = serve(application).connect()
    client.send(request())
    octets = client.sock.recv(65536)
    arrived.set()
    assert octets.startswith(b"HTTP/1.1 200 OK\r\n")
    assert octets.endswith(b"\r\n\r\n5\r\nfirst\r\n")


def test_the_head_waits_for_the_first_block_that_is_not_empty(serve):
    """PEP 3333: so that an error can still replace it."""
    looked, may_go_on = threading.Event(), threading.Event()

    def application(environ, start_response):
        start_response("200 OK", [])
        yield b""
        looked.set()
        assert may_go_on.wait(PATIENCE_S)
        yield b"now"

    client = serve(application).connect()
    client.send(request())
    assert looked.wait(PATIENCE_S)
    assert not client.has_input(0.02)
    may_go_on.set()
    assert client.read_response().body == b"now"


def test_answers_before_a_call_that_blocks_are_not_held_back_by_its_empty_blocks(serve):
    """Pipelined: the first answer has left when the second application call has yielded its first, empty block."""
    may_go_on = threading.Event()

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/first":
            start_response("200 OK", [])
            return [b"first"]
        return waiting(start_response)

    def waiting(start_response):
        start_response("200 OK", [("X-Second", "1")])
        yield b""
        assert may_go_on.wait(PATIENCE_S)
        yield b"second"

    client = serve(application).connect()
    client.send(request("/first") + request("/second"))
    assert client.read_response().body == b"first"
    may_go_on.set()
    answer = client.read_response()
    assert (answer.body, answer.get("X-Second"), answer.get("X-First")) == (b"second", "1", None)


def test_answers_before_a_call_that_blocks_are_not_held_back(serve):
    may_go_on = threading.Event()

    def application(environ, start_response):
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/blocks":
            assert may_go_on.wait(PATIENCE_S)
        return [environ["PATH_INFO"].encode()]

    client = serve(application).connect()
    client.send(request("/1") + request("/2") + request("/blocks") + request("/3"))
    assert [client.read_response().body for _ in range(2)] == [b"/1", b"/2"]
    may_go_on.set()
    assert [client.read_response().body for _ in range(2)] == [b"/blocks", b"/3"]


# -- a client that does not keep up -----------------------------------------------------------------------------------


def test_next_is_not_called_while_octets_of_the_block_before_are_unsent(slow, blocks):
    result = blocks([b"x" * LARGE, b"y" * LARGE, b"z"])
    waiting = slow(started(result))
    assert result.asked == 1
    waiting.client.read_head()
    waiting.client.read_exactly(1 << 20)
    waiting.let_the_server_work()
    assert result.asked == 1
    waiting.client.read_exactly(LARGE - (1 << 20) + 9)  # with the size line and CRLF
    wait_until(lambda: result.asked == 2, "the second next()")
    waiting.let_the_server_work()
    assert result.asked == 2


def test_an_iteration_that_waits_is_taken_up_again_and_again_until_its_end(slow, blocks):
    content = [bytes([number]) * (1 << 20) for number in range(32)]
    result = blocks(content)
    waiting = slow(started(result))
    assert result.asked < 20
    assert waiting.client.read_response().body == b"".join(content)
    assert result.asked == 33
    wait_until(lambda: result.closed, "close()")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_client_that_sends_no_more_still_gets_all_of_its_answer(slow, blocks, version):
    """A half-closed connection (RFC 9112 §9.6 speaks of the other side's)."""
    result = blocks([b"x" * (1 << 20)] * 32)
    waiting = slow(started(result), request(version=version))
    waiting.client.half_close()
    waiting.let_the_server_work()
    assert waiting.client.read_response().body == b"x" * (32 << 20)
    waiting.client.assert_closed()
    assert result.closed == 1


def test_others_are_served_while_many_slow_clients_wait(serve, blocks, transport):
    results = [blocks([b"x" * LARGE, b"y"]) for _ in range(4)]

    def application(environ, start_response):
        start_response("200 OK", [])
        path = environ["PATH_INFO"]
        return [b"quick"] if path == "/quick" else results[int(path[1:])]

    running = serve(application)
    clients = [running.connect() for _ in results]
    for number, client in enumerate(clients):
        client.send(request(f"/{number}"))
        assert running.exchange(request("/quick")).body == b"quick"
    for client in clients:
        assert client.read_response().body == b"x" * LARGE + b"y"
    wait_until(lambda: all(result.closed == 1 for result in results), "close() of all")


def test_a_request_behind_an_answer_that_waits_is_served_afterwards(slow):
    order = []

    def application(environ, start_response):
        order.append(environ["PATH_INFO"])
        start_response("200 OK", [])
        return iter([b"x" * LARGE, b"y"]) if environ["PATH_INFO"] == "/large" else [environ["PATH_INFO"].encode()]

    waiting = slow(application, request("/large") + request("/2") + request("/3"))
    assert order == ["/large"]
    waiting.client.send(request("/4"))
    waiting.let_the_server_work()
    assert len(waiting.client.read_response().body) == LARGE + 1
    assert [waiting.client.read_response().body for _ in range(3)] == [b"/2", b"/3", b"/4"]


def content(number):
    return b"<%d>" % number * random.Random(number).choice([1, 100, 1500, 2700])


def answer_of_a_kind(environ, start_response):
    """/NUMBER?KIND: the body is content(NUMBER), and the kind says how it is sent."""
    kind, number = environ["QUERY_STRING"], int(environ["PATH_INFO"][1:])
    body, padding = content(number), "p" * random.Random(number).randint(0, 300)
    length = [("Content-Length", str(len(body)))] if kind == "length" else []
    write = start_response("200 OK", [("X-Number", str(number)), ("X-Padding", padding), *length])
    if kind == "written":
        write(body)
        return []
    if kind == "hints":
        environ["wsgi.early_hints"]([("Link", "</a>")])
    if kind == "file":
        file = tempfile.TemporaryFile()
        file.write(body * 30)
        file.seek(0)
        return environ["wsgi.file_wrapper"](file)
    return {
        "list": [body],
        "hints": [body],
        "empty-first": iter([b"", b"", body]),
        "two": [body[:1], body[1:]],
        "large": [body * 30],
        "length": iter([b"", body]),
        "nothing": [],
        "bytearray": iter([bytearray(body)]),
    }[kind]


#: With their weights: what waits for the client by itself is rare, so that much piles up behind other answers.
KINDS = {
    "list": 9, "empty-first": 9, "two": 3, "large": 1, "file": 0.1, "written": 0.02, "hints": 0.02, "length": 3,
    "nothing": 3, "bytearray": 3,
}  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_pipelined_answers_of_all_kinds_keep_their_octets_when_the_client_does_not_keep_up(slow, seed):
    """Small lists, generators that begin with empty blocks, large blocks: whatever waits in whichever way."""
    sequence = random.Random(seed).choices(list(KINDS), list(KINDS.values()), k=1500)
    messages = b"".join(request(f"/{number}?{kind}") for number, kind in enumerate(sequence))
    waiting = slow(answer_of_a_kind, messages[:60_000])
    sender = threading.Thread(target=waiting.client.send, args=(messages[60_000:],))
    sender.start()
    for number, kind in enumerate(sequence):
        answer = waiting.client.read_final_response()
        assert answer.get("X-Number") == str(number)
        assert answer.body == content(number) * {"large": 30, "file": 30, "nothing": 0}.get(kind, 1)
        if number % 200 == 0:
            waiting.let_the_server_work()  # another client's answers go through the same scratch memory
    sender.join(PATIENCE_S)


def test_an_answer_under_construction_survives_the_wait_for_those_before_it(slow):
    """The head is made, an empty block comes, and the answers before it do not leave: nothing of it may be lost."""
    small, count = b"s" * 8000, 1600

    def application(environ, start_response):
        number = int(environ["PATH_INFO"][1:])
        start_response("200 OK", [("X-Number", str(number))])
        return [small] if number % 2 else iter([b"", b"%d" % number])

    messages = b"".join(request(f"/{number}") for number in range(count))
    waiting = slow(application, messages[:60_000])
    sender = threading.Thread(target=waiting.client.send, args=(messages[60_000:],))
    sender.start()
    for number in range(count):
        answer = waiting.client.read_response()
        assert answer.get("X-Number") == str(number)
        assert answer.body == (small if number % 2 else b"%d" % number)
        if number % 100 == 0:
            waiting.let_the_server_work()
    sender.join(PATIENCE_S)


@pytest.mark.parametrize("fails", ["in the call", "in the iteration", "after an empty block"])
def test_an_error_behind_answers_that_wait_comes_after_them(slow, fails):
    count = 2000

    def failing():
        if fails == "after an empty block":
            yield b""
        raise ValueError

    def application(environ, start_response):
        number = int(environ["PATH_INFO"][1:])
        start_response("200 OK", [("X-Number", str(number))])
        if number < count:
            return [b"s" * 8000]
        if fails == "in the call":
            raise ValueError
        return failing()

    messages = b"".join(request(f"/{number}") for number in range(count + 2))
    waiting = slow(application, messages[:60_000])
    sender = threading.Thread(target=waiting.client.send, args=(messages[60_000:],), kwargs={"may_break": True})
    sender.start()
    for number in range(count):
        assert waiting.client.read_response().get("X-Number") == str(number)
    answer = waiting.client.read_response()
    assert (answer.status, answer.get("X-Number")) == (500, None)
    waiting.client.assert_gone()
    sender.join(PATIENCE_S)


# -- endless ----------------------------------------------------------------------------------------------------------


def test_an_endless_answer_ends_when_the_client_goes(serve, blocks):
    result = blocks(itertools.repeat(b"for ever " * 1000))
    running = serve(started(result))
    client = running.connect()
    client.send(request())
    client.read_head()
    client.read_exactly(1 << 20)
    client.reset()
    wait_until(lambda: result.closed, "close()")
    assert result.closed == 1


@pytest.mark.parametrize("method_and_status", ["HEAD 200 OK", "GET 204 No Content", "GET 304 Not Modified"])
def test_an_answer_without_a_body_does_not_run_its_iterable_to_the_end(serve, blocks, method_and_status):
    """It may have none: `curl -I` on an endless stream must not stop the server."""
    method, _, status = method_and_status.partition(" ")
    result = blocks(itertools.repeat(b"block", 20_000))

    def application(environ, start_response):
        start_response(status, [])
        return result

    client = serve(application).connect()
    client.exchange(request(method=method), method=method)
    wait_until(lambda: result.closed, "close()")
    assert result.asked < 10
    assert result.closed == 1
