"""Heads and chunked bodies that go on and on: refused early, at no cost of memory, while others are answered."""

from __future__ import annotations

import pytest
import verdict
import wire

POST = wire.request(method="POST", fields=[("Transfer-Encoding", "chunked")])
GET = b"GET / HTTP/1.1\r\nHost: a\r\n"

#: What comes first, what is then sent over and over again, and the status of the refusal.
ENDLESS = {
    "a method": (b"", b"G", 414),
    "a target": (b"GET /", b"a", 414),
    "spaces in the request line": (b"GET", b" ", 400),
    "empty lines before it": (b"", b"\r\n", 400),
    "a field name": (GET, b"X", 431),
    "a field value": (GET + b"X: ", b"y", 431),
    "white space before a field value": (GET + b"X:", b" ", 431),
    "fields": (GET, b"X: y\r\n", 431),
    "large fields": (GET, b"X: " + b"y" * 8000 + b"\r\n", 431),
    "digits of a length": (GET + b"Content-Length: ", b"0", 431),
    "digits of a chunk size": (POST, b"0", 400),
    "a chunk extension": (POST + b"1;a=", b"b", 400),
    "chunk extensions": (POST, b"1;a=b\r\nx\r\n", 400),
    "a trailer": (POST + b"0\r\nX: ", b"y", 431),
    "trailers": (POST + b"0\r\n", b"X: y\r\n", 431),
}

#: So many octets are sent before the refusal is read, and then more, until the server has gone.
FIRST_BYTES = 300_000


class Endless:
    """One client that does not stop."""

    def __init__(self, client: wire.Client, what: str) -> None:
        begun, more, self.status = ENDLESS[what]
        self.what = what
        self.client = client
        self._more = more * (FIRST_BYTES // len(more))
        client.send(begun + self._more, may_break=True)

    def assert_refused(self) -> None:
        response = self.client.read_response()
        assert (response.status, response.says_close) == (self.status, True), self.what

    def is_cut_off(self) -> bool:
        """It goes on sending until that fails."""
        try:
            self.client.send_what_fits(self._more)
        except ConnectionError:
            return True
        return False


@pytest.mark.parametrize("streamed", [False, True], ids=["received first", "streamed"])
def test_each_is_refused_and_cut_off_and_makes_no_memory_grow(serve_apart, streamed):
    apart = serve_apart(stream_request_body=streamed, linger_timeout=1)
    with apart.connect() as other:
        other.exchange(verdict.GOOD)
        memory = apart.resident_bytes()
        for _ in range(2):
            crowd = []
            for what in ENDLESS:
                crowd.append(Endless(apart.connect(), what))
                assert other.exchange(verdict.GOOD).body == b"hello"
                crowd[-1].assert_refused()
            for endless in crowd:
                wire.wait_until(endless.is_cut_off, f"the end of {endless.what}")
                endless.client.close()
                assert other.exchange(verdict.GOOD).body == b"hello"
        apart.assert_grown_less(4 << 20, memory)
