"""An application that fails after its head has left: the client can tell that the response is not complete."""

from __future__ import annotations

import pytest
import verdict
import wire


class Failing:
    """Some blocks, then an exception; counts close()."""

    def __init__(self, headers=(), blocks=(b"some", b"more")):
        self.headers = list(headers)
        self.blocks = blocks
        self.closed = 0

    def __call__(self, environ, start_response):
        start_response("200 OK", self.headers)
        if environ["PATH_INFO"] == "/good":
            return [b"ok"]
        return _FailingIteration(self)


class _FailingIteration:
    def __init__(self, failing):
        self._failing = failing
        self._blocks = iter(failing.blocks)

    def __iter__(self):
        return self

    def __next__(self):
        for block in self._blocks:
            return block
        raise LookupError("on purpose")

    def close(self):
        self._failing.closed += 1


LARGE = (b"x" * 3_000_000, b"y" * 3_000_000)


@pytest.mark.parametrize("blocks", [(b"some", b"more"), LARGE], ids=["small", "large"])
def test_a_chunked_response_has_no_last_chunk(serve, transport, blocks):
    application = Failing(blocks=blocks)
    running = serve(application)
    with running.connect(receive_buffer_bytes=4096) as client:
        client.send(wire.request() + verdict.GOOD)
        assert client.read_head().get("Transfer-Encoding") == "chunked"
        rest = client.read_until_close()
        assert rest == b"".join(b"%x\r\n%s\r\n" % (len(block), block) for block in blocks)
    assert application.closed == 1
    assert running.calls == 1


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("blocks", [(b"some", b"more"), LARGE], ids=["small", "large"])
def test_a_response_with_a_length_is_too_short(serve, transport, version, blocks):
    application = Failing([("Content-Length", "9000000")], blocks)
    running = serve(application)
    with running.connect(receive_buffer_bytes=4096) as client:
        client.send(wire.request(version=version))
        assert client.read_head().get("Content-Length") == "9000000"
        assert client.read_until_close() == b"".join(blocks)
    assert application.closed == 1


@pytest.mark.parametrize("blocks", [(b"some", b"more"), LARGE], ids=["small", "large"])
def test_a_response_that_ends_with_the_connection_ends_in_a_reset(serve, blocks):
    application = Failing(blocks=blocks)
    running = serve(application)
    with running.connect(receive_buffer_bytes=4096) as client:
        client.send(wire.request(version="1.0"))
        client.assert_reset()
    assert application.closed == 1


def test_a_response_to_head_is_complete_when_its_head_is(serve):
    """What the iterable would have done then does not matter; it is closed."""
    application = Failing()
    running = serve(application)
    with running.connect() as client:
        response = client.exchange(wire.request(method="HEAD"), method="HEAD")
        assert response.status == 200
        client.assert_open(verdict.GOOD)
    assert application.closed == 1


def test_before_the_head_has_left_it_is_a_500_and_nothing_of_the_exception(serve, transport, capsys):
    application = Failing(blocks=())
    running = serve(application)
    with running.connect() as client:
        client.send(wire.request() + verdict.GOOD)
        response = client.read_response()
        assert response.status == 500
        assert b"on purpose" not in response.body and b"Lookup" not in response.body
        client.assert_closed()
    assert application.closed == 1
    assert running.calls == 1


def test_other_connections_are_not_touched(serve):
    running = serve(Failing(blocks=LARGE))
    with running.connect() as other:
        assert other.exchange(verdict.GOOD).body == b"ok"
        for version in ("1.0", "1.1"):
            with running.connect() as client:
                client.send(wire.request(version=version))
                client.read_head()
            assert other.exchange(verdict.GOOD).body == b"ok"
