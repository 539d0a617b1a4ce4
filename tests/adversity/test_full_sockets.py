"""The socket fills with earlier answers while the next request is still arriving: its octets keep their meaning."""

from __future__ import annotations

import pytest
import wire

INNER = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def sized(environ, start_response):
    """As many octets as the query says; of a request with a body, the body."""
    body = environ["wsgi.input"].read() or b"x" * int(environ["QUERY_STRING"])
    start_response("200 OK", [])
    return [body]


def get(size: int) -> bytes:
    return b"GET /?%d HTTP/1.1\r\nHost: a\r\n\r\n" % size


# The last answers before the request are small enough to be held back, and the first nearly fills the socket: what a
# socket takes differs, so several sizes are tried.
@pytest.mark.parametrize("first_bytes", [40_000, 100_000, 140_000, 180_000, 220_000, 400_000, 4_000_000])
@pytest.mark.parametrize(
    ("begun", "rest", "answer"),
    [
        (b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\nab" % (2 + len(INNER)), INNER, b"ab" + INNER),
        (
            b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
            wire.chunked(INNER),
            b"ab" + INNER,
        ),
        (b"GET /?3 HT", b"TP/1.1\r\nHost: a\r\n\r\n", b"xxx"),
    ],
    ids=["a body with a length", "a chunked body", "a head"],
)
def test_a_request_that_was_arriving_goes_on_arriving(serve, transport, first_bytes, begun, rest, answer):
    running = serve(sized)
    sizes = [first_bytes] + [8000] * 8
    with running.connect(receive_buffer_bytes=4096) as client:
        client.send(b"".join(map(get, sizes)) + begun)
        wire.wait_until(lambda: running.calls > 0, "the first answer")
        for size in sizes:
            assert len(client.read_response().body) == size
        client.send(rest)
        assert client.read_response().body == answer
        client.assert_open()
    assert "/smuggled" not in running.targets
