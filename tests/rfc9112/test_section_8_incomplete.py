"""RFC 9112 §8: incomplete messages.  A request that was cut short is never run."""

from __future__ import annotations

import pytest
import verdict
import wire

HEAD = b"POST /cut HTTP/1.1\r\nHost: a\r\n"

CUT_SHORT = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"\r\n", id="an empty line"),
    pytest.param(b"PO", id="method"),
    pytest.param(b"POST /cu", id="target"),
    pytest.param(b"POST /cut HTTP/1.1", id="request line"),
    pytest.param(b"POST /cut HTTP/1.1\r\n", id="request line with CRLF"),
    pytest.param(HEAD + b"X", id="field name"),
    pytest.param(HEAD + b"X: y", id="field value"),
    pytest.param(HEAD + b"X: y\r\n", id="fields"),
    pytest.param(HEAD + b"\r", id="half of the empty line"),
    pytest.param(HEAD + b"Content-Length: 5\r\n\r\n", id="no octet of the body"),
    pytest.param(HEAD + b"Content-Length: 5\r\n\r\nhell", id="all but one octet of the body"),
    pytest.param(HEAD + b"Content-Length: 1000000\r\n\r\n" + b"x" * 700_000, id="body in a temporary file"),
    pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", id="no chunk"),
    pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5", id="chunk size"),
    pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel", id="chunk data"),
    pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", id="no last chunk"),
    pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0", id="last chunk"),
    pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", id="no end of the trailer section"),
    pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n", id="trailer section"),
]


@pytest.mark.parametrize("message", CUT_SHORT)
def test_a_request_cut_short_by_fin_is_not_run_and_the_connection_closes(serve, transport, message):
    running = serve(verdict.echo)
    for cut in ("whole", 1):
        with running.connect() as client:
            client.send(message, cut)
            client.half_close()
            client.assert_closed()
    assert running.calls == 0
    wire.wait_until(lambda: running.connection_count() == 0, "every connection gone")


@pytest.mark.parametrize("message", CUT_SHORT[1:])
def test_the_request_in_front_of_it_is_still_answered(serve, transport, message):
    running = serve(verdict.echo)
    with running.connect() as client:
        client.send(verdict.GOOD + message)
        client.half_close()
        assert client.read_response().status == 200
        client.assert_closed()
    assert running.targets == ["/good"]


@pytest.mark.parametrize("message", CUT_SHORT)
def test_a_request_cut_short_by_a_reset_is_not_run(serve, message):
    running = serve(verdict.echo)
    client = running.connect()
    client.send(message)
    client.reset()
    # not accepted or gone again: either way the next client is served and is the only one
    with running.connect() as other:
        assert other.exchange(verdict.GOOD).status == 200
        wire.wait_until(lambda: running.connection_count() == 1, "the reset connection gone")
    assert running.targets == ["/good"]


@pytest.mark.parametrize("message", [case for case in CUT_SHORT[1:] if b"Content-Length" not in case.values[0]])
def test_a_request_in_parts_is_waited_for(serve, message):
    """Nothing comes back, and the connection stays, while it is incomplete."""
    running = serve(verdict.echo, unix=True)
    with running.connect() as client:
        client.send(message, "lines")
        assert not client.has_input(0.01)
    assert running.calls == 0
