"""PEP 3333, "Specification Details": what the application returns, and that its close() is called, always and once."""

from __future__ import annotations

import array
import collections
import threading

import pytest
from wire import PATIENCE_S, request, wait_until


def started(result):
    """An application that returns this."""

    def application(environ, start_response):
        start_response("200 OK", [])
        return result() if callable(result) else result

    return application


class ListSubclass(list):
    pass


class OnlyGetItem:
    """The oldest protocol of iteration."""

    def __getitem__(self, index):
        return [b"one", b"two", b"three"][index]


class Sized:
    """Knows its length, but is neither list nor tuple."""

    def __init__(self, *blocks):
        self.blocks = blocks

    def __len__(self):
        return len(self.blocks)

    def __iter__(self):
        return iter(self.blocks)


def wrong_length(error):
    class WrongLength(Sized):
        def __len__(self):
            raise type(error)(*error.args)  # CPython 3.13t keeps classes for good, and `error` would keep its frames

    return WrongLength(b"one", b"two", b"three")


# -- every kind of iterable -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "result",
    [
        [b"one", b"two", b"three"],
        (b"one", b"two", b"three"),
        ListSubclass([b"one", b"two", b"three"]),
        lambda: iter([b"one", b"two", b"three"]),
        lambda: (block for block in [b"one", b"two", b"three"]),
        lambda: map(bytes, [b"one", b"two", b"three"]),
        collections.deque([b"one", b"two", b"three"]),
        {b"one": 1, b"two": 2, b"three": 3},
        OnlyGetItem(),
        Sized(b"one", b"two", b"three"),
        wrong_length(TypeError),
        wrong_length(NotImplementedError),
        wrong_length(AttributeError),
    ],
    ids=[
        "list", "tuple", "list subclass", "iterator", "generator", "map", "deque", "dict", "getitem", "sized",
        "len raises TypeError", "len raises NotImplementedError", "len raises AttributeError",
    ],
)  # fmt: skip
def test_blocks_are_sent_in_their_order(serve, result):
    client = serve(started(result)).connect()
    answer = client.exchange(request())
    assert (answer.body, answer.framing, answer.chunk_sizes) == (b"onetwothree", "chunked", [3, 3, 5])
    client.assert_open()


@pytest.mark.parametrize(
    "result",
    [[b"one"], (b"one",), ListSubclass([b"one"]), Sized(b"one"), collections.deque([b"one"]), {b"one": 1}],
    ids=["list", "tuple", "list subclass", "sized", "deque", "dict"],
)
def test_one_block_that_is_known_to_be_the_only_one_is_the_length(serve, result):
    """PEP 3333, "Handling the Content-Length Header"."""
    client = serve(started(result)).connect()
    answer = client.exchange(request())
    assert (answer.body, answer.get("Content-Length"), answer.get("Transfer-Encoding")) == (b"one", "3", None)
    client.assert_open()


@pytest.mark.parametrize(
    "result",
    [[], (), [b""], [b"", b""], lambda: iter(()), lambda: iter([b"", b""]), Sized(), Sized(b"")],
    ids=["list", "tuple", "one", "two", "iterator", "iterator of two", "sized", "sized one"],
)
def test_an_empty_body_has_the_length_zero(serve, result):
    client = serve(started(result)).connect()
    answer = client.exchange(request())
    assert (answer.body, answer.get("Content-Length"), answer.get("Transfer-Encoding")) == (b"", "0", None)
    client.assert_open()


@pytest.mark.parametrize(
    "result",
    [
        lambda: iter([b"", b"one", b"", b"two", b""]),
        [b"", b"one", b"", b"two", b""],
    ],
    ids=["iterator", "list"],
)
def test_empty_blocks_send_nothing(serve, result):
    answer = serve(started(result)).exchange(request())
    assert (answer.body, answer.chunk_sizes) == (b"onetwo", [3, 3])


def test_one_block_after_empty_ones_does_not_know_its_length(serve):
    answer = serve(started(lambda: iter([b"", b"", b"one"]))).exchange(request())
    assert (answer.body, answer.framing) == (b"one", "chunked")


def test_a_length_of_one_is_believed_and_more_is_cut_off(serve, caplog):
    class Liar(Sized):
        def __len__(self):
            return 1

    client = serve(started(Liar(b"one", b"two"))).connect()
    answer = client.exchange(request())
    assert (answer.body, answer.get("Content-Length")) == (b"one", "3")
    client.assert_open()
    assert "more than its Content-Length of 3 bytes" in caplog.text


def test_a_length_that_fails_otherwise_is_the_applications_error(error_of):
    assert error_of(started(wrong_length(ZeroDivisionError("len")))) == "ZeroDivisionError: len"


@pytest.mark.parametrize("size", [1, 8191, 8192, 8193, 65535, 65536, 65537, 1 << 20])
@pytest.mark.parametrize("count", [1, 2])
def test_blocks_of_all_sizes_arrive_whole(serve, size, count):
    block = bytes(range(256)) * (size // 256 + 1)
    client = serve(started([block[:size]] * count)).connect()
    for _ in range(2):
        assert client.exchange(request()).body == block[:size] * count


@pytest.mark.parametrize("size", [10, 100_000, 8 << 20])
@pytest.mark.parametrize("kind", [bytearray, memoryview, lambda octets: array.array("B", octets)])
def test_blocks_that_are_no_bytes_are_sent_whatever_their_size(serve, size, kind):
    octets = b"0123456789" * (size // 10)
    assert serve(started([kind(octets)])).exchange(request()).body == octets
    assert serve(started([kind(octets), b"!"])).exchange(request()).body == octets + b"!"


def test_a_block_in_use_cannot_change_its_size_and_is_free_afterwards(slow, prompt_release):
    block = bytearray(16 << 20)
    waiting = slow(started([block]), **prompt_release)
    with pytest.raises(BufferError):
        block.append(1)
    assert len(waiting.client.read_response().body) == len(block)

    def can_grow():
        try:
            block.append(1)
        except BufferError:
            return False
        return True

    wait_until(can_grow, "the end of its use")


@pytest.mark.slow
def test_a_block_of_64_mib_reaches_a_slow_reader(serve, transport):
    block = bytes(range(251)) * ((64 << 20) // 251)
    client = serve(started([block])).connect(receive_buffer_bytes=1 << 18)
    assert client.exchange(request()).body == block


def test_a_thousand_blocks_are_a_thousand_chunks(serve):
    answer = serve(started(lambda: (b"%d" % n for n in range(1000)))).exchange(request())
    assert answer.chunk_sizes == [len(str(n)) for n in range(1000)]


# -- what is not an iterable of blocks --------------------------------------------------------------------------------


def test_what_cannot_be_iterated_is_an_error(error_of):
    for result in (None, 5, 1.5, object(), len, NotImplemented):
        assert error_of(lambda environ, start_response, result=result: result).startswith("TypeError")


def test_an_application_that_returns_itself_is_an_error(error_of):
    def application(environ, start_response):
        start_response("200 OK", [])
        return application

    assert error_of(application).startswith("TypeError")


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"key": b"value"}, "must be bytes, not str: 'key'"),
        (bytearray(b"octets"), "must be bytes, not int: 111"),
        ([None], "must be bytes, not NoneType"),
        ([b"x", None], "must be bytes, not NoneType"),
        ([[b"x"]], "must be bytes, not list"),
        ([5], "must be bytes, not int"),
        (["x" * 1000], "must be bytes, not str: 'xxxxx"),
        (iter([b"", "x"]), "must be bytes, not str"),
    ],
    ids=["dict", "bytearray", "None", "None second", "list", "int", "long", "after an empty one"],
)
def test_blocks_of_another_type_are_an_error_that_says_so(serve, capsys, result, words):
    def application(environ, start_response):
        start_response("200 OK", [])
        return result

    running = serve(application)
    client = running.connect()
    client.send(request())
    client.read_until_close()
    last = capsys.readouterr().err.rstrip().splitlines()[-1]
    assert last.startswith("TypeError: the application's blocks ")
    assert words in last
    assert "A Note On String Types" in last
    assert len(last) < 250


@pytest.mark.parametrize("result", ["text", b"octets", None, 5], ids=repr)
def test_a_result_that_is_no_iterable_of_blocks_is_an_error_that_says_so(serve, capsys, result):
    def application(environ, start_response):
        start_response("200 OK", [])
        return result

    running = serve(application)
    client = running.connect()
    client.send(request())
    client.read_until_close()
    last = capsys.readouterr().err.rstrip().splitlines()[-1]
    assert last.startswith(f"TypeError: the application returned {result!r}; it must return an iterable of bytes")


# -- close() ----------------------------------------------------------------------------------------------------------


def closing(result):
    def application(environ, start_response):
        start_response("200 OK", [])
        return result

    return application


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("content", [[], [b""], [b"", b"a", b"b"], [b"x" * 100_000]], ids=["0", "1", "3", "large"])
def test_close_is_called_once_after_the_last_block(serve, blocks, content, method, version):
    result = blocks(content)
    serve(closing(result)).exchange(request(method=method, version=version), method=method)
    wait_until(lambda: result.closed, "close()")
    assert result.closed == 1
    assert method == "HEAD" or result.asked == len(content) + 1


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_close_is_called_once_for_an_answer_without_a_body(serve, blocks, status):
    result = blocks([b"a", b"b"])

    def application(environ, start_response):
        start_response(status, [])
        return result

    serve(application).exchange(request())
    wait_until(lambda: result.closed, "close()")
    assert result.closed == 1


@pytest.mark.parametrize(
    "content",
    [[ValueError], [b"a", ValueError], [b"", ValueError], [b"a", "text"], [None], [SystemExit]],
    ids=["first", "second", "after empty", "type", "None", "SystemExit"],
)
def test_close_is_called_once_after_an_error(serve, blocks, content, capsys):
    result = blocks(content)
    client = serve(closing(result)).connect()
    client.send(request())
    client.read_until_close()
    assert result.closed == 1


def test_close_is_called_once_when_start_response_never_was(serve, blocks):
    for content in ([], [b""], [b"a"]):
        result = blocks(content)
        assert serve(lambda environ, start_response, result=result: result).exchange(request()).status == 500
        assert result.closed == 1


@pytest.mark.parametrize("where", ["__iter__", "__len__"])
def test_close_is_called_once_when_the_iteration_cannot_begin(serve, where):
    closed = []

    class Broken:
        def close(self):
            closed.append(1)

    def fail(self):
        raise ZeroDivisionError

    setattr(Broken, where, fail)
    assert serve(closing(Broken())).exchange(request()).status == 500
    assert closed == [1]


def test_close_is_called_for_what_cannot_be_iterated_at_all(serve):
    closed = []

    class NotIterable:
        def close(self):
            closed.append(1)

    assert serve(closing(NotIterable())).exchange(request()).status == 500
    assert closed == [1]


@pytest.mark.parametrize("base", [list, tuple])
def test_close_of_a_list_or_tuple_subclass_is_called(serve, base):
    closed = []

    class Closing(base):
        def close(self):
            closed.append(1)

    assert serve(closing(Closing([b"one"]))).exchange(request()).body == b"one"
    wait_until(lambda: closed, "close()")
    assert closed == [1]


def test_close_is_called_once_on_a_generator_and_runs_its_finally(serve):
    ended = []

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "1")])
        try:
            yield b"a"
            yield b"b"
        finally:
            ended.append(1)

    assert serve(application).exchange(request()).body == b"a"
    wait_until(lambda: ended, "the end of the generator")
    assert ended == [1]


def test_close_is_called_once_when_the_client_goes_while_it_waits(slow, blocks):
    result = blocks(b"x" * 65536 for _ in range(10_000))
    waiting = slow(closing(result))
    assert result.closed == 0
    waiting.client.reset()
    wait_until(lambda: result.closed, "close()")
    waiting.let_the_server_work()
    assert result.closed == 1
    asked = result.asked
    waiting.let_the_server_work()
    assert result.asked == asked < 1000


def test_close_is_called_once_when_the_client_does_not_read_in_time(slow, blocks):
    result = blocks(b"x" * 65536 for _ in range(10_000))
    waiting = slow(closing(result), write_timeout=0.1)
    wait_until(lambda: result.closed, "close()")
    waiting.let_the_server_work()
    assert result.closed == 1


def test_close_is_called_once_when_the_client_has_gone_before_the_answer(serve, blocks):
    entered, gone = threading.Event(), threading.Event()
    result = blocks([b"x" * 65536] * 100)

    def application(environ, start_response):
        start_response("200 OK", [])
        entered.set()
        assert gone.wait(PATIENCE_S)
        return result

    client = serve(application).connect()
    client.send(request())
    assert entered.wait(PATIENCE_S)
    client.reset()
    gone.set()
    wait_until(lambda: result.closed, "close()")
    assert result.closed == 1


def test_close_is_called_once_when_the_server_stops_at_once(slow, blocks):
    result = blocks(b"x" * 65536 for _ in range(10_000))
    waiting = slow(closing(result))
    waiting.running.stop(graceful=False)
    assert result.closed == 1


def test_close_is_called_once_when_the_answer_is_finished_while_the_server_stops(slow, blocks):
    result = blocks([b"x" * (16 << 20), b"end"])
    waiting = slow(closing(result))
    waiting.running.ask_to_stop()
    assert len(waiting.client.read_response().body) == (16 << 20) + 3
    waiting.running.stop()
    assert result.closed == 1


@pytest.mark.parametrize("content", [[b"a", b"b"], [], [b"x" * 100_000]], ids=["two", "none", "large"])
def test_an_error_in_close_is_reported_and_does_no_more_harm(serve, blocks, content, capsys):
    result = blocks(content, ZeroDivisionError("in close"))
    running = serve(closing(result))
    answer = running.exchange(request())
    assert answer.body == b"".join(content), "all of the answer was out or on its way"
    assert result.closed == 1
    assert "ZeroDivisionError: in close" in capsys.readouterr().err
    assert running.exchange(request()).status == 200


def test_an_error_in_close_after_an_error_shows_both(serve, blocks, capsys):
    result = blocks([ValueError], ZeroDivisionError("in close"))
    assert serve(closing(result)).exchange(request()).status == 500
    assert result.closed == 1
    text = capsys.readouterr().err
    assert "ValueError" in text
    assert "ZeroDivisionError: in close" in text


def test_an_error_in_close_after_the_client_has_gone_is_logged(slow, blocks, caplog):
    result = blocks((b"x" * 65536 for _ in range(10_000)), ZeroDivisionError("in close"))
    waiting = slow(closing(result))
    waiting.client.reset()
    wait_until(lambda: result.closed, "close()")
    waiting.let_the_server_work()
    assert result.closed == 1
    wait_until(lambda: "ZeroDivisionError: in close" in caplog.text, "the report")


def test_what_is_called_close_but_cannot_be_called_is_reported(serve, capsys):
    class Odd(list):
        close = None

    class Odder(list):
        close = 5

    assert serve(closing(Odd([b"x", b"y"]))).exchange(request()).body == b"xy"
    assert serve(closing(Odder([b"x", b"y"]))).exchange(request()).body == b"xy"
    assert "TypeError: 'int' object is not callable" in capsys.readouterr().err
