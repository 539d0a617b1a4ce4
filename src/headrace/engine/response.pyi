from collections.abc import Iterable, Iterator
from types import TracebackType

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

class Response:
    """The answer to one request, from ``start_response`` to the last octet (PEP 3333).

    The response itself is the ``write()`` callable that ``start_response`` returns.
    """

    status_code: int
    """200..999; 0 before start_response."""
    body_bytes: int
    """Octets of the body handed over so far, without framing."""

    finished: bool
    """All of it has been handed over."""
    satisfied: bool
    """No more blocks are wanted: HEAD, 204, 205 and 304 have no body, and no body may pass its Content-Length."""

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None, /
    ) -> Response:
        """Keep status and header fields; they are sent with the first non-empty block.

        status: "200 OK".  headers: a list of (name, value), native strings.  exc_info: replaces an earlier call, or is
        raised again when the head has left.  Raises AssertionError (called twice), TypeError and ValueError with the
        value and the rule (PEP 3333, "The start_response() Callable").
        """

    def early_hints(self, headers: list[tuple[str, str]], /) -> None:
        """Send a 103 response at once, to HTTP/1.1 clients (RFC 8297); ignored when the head has left."""

    def client_disconnected(self) -> bool:
        """``environ["headrace.client_disconnected"]``: has the client gone?  One system call.

        True after a reset; for a client that has shut its side down, which may still read, only once 0.5 s have passed
        since the call of the application; and when the request is over.
        """

    def __call__(self, data: bytes, /) -> None:
        """``write(data)``: returns when data has left; waits for a slow client (PEP 3333, "The write() Callable")."""

    def send(self, block: bytes, /) -> bool:
        """Send one block of the iterable.  False: do not ask for the next one, for one of two reasons.

        ``satisfied``: no more is wanted.  Otherwise the client has to read first.
        """

    def send_whole(self, block: bytes, /) -> None:
        """Queue the whole body, a single block, and finish()."""

    def expect_one_block(self) -> None:
        """The first block is the only one: its size becomes Content-Length."""

    def queue_file(self, descriptor: int, offset_bytes: int, length_bytes: int, /) -> bool:
        """Queue a range of a regular file as the whole body; False when the body has begun already."""

    def finish(self) -> None:
        """The iterable has ended: send the head if nothing has, and the last chunk."""

    def start_raw(self, head: bytes, status_code: int, content_length: int = -1, /) -> None:
        """Begin an answer whose head is the caller's own, octet by octet, up to the empty line.

        In place of start_response: nothing is added, the blocks behind it get no framing, and the end of the connection
        is their end.  No body is sent to HEAD, with 204 and with 304, and none passes content_length (-1: not
        declared).  Raises ValueError for a head that is too long.
        """

    def duplicate(self) -> int:
        """A duplicate of the connection's descriptor, which the caller closes; it stays non-blocking.

        Raises OSError when the request is over, or its client has gone.
        """

    def finish_raw(self) -> None:
        """The end of such an answer, or of a request that gets none: the connection closes in good order.

        Without it an answer that has begun counts as cut short, and a body that ends with the connection in a reset.
        """

    def suspend(self, result: Iterable[bytes], blocks: Iterator[bytes], /) -> None:
        """Keep an iteration that has to wait for the client."""

    def take_suspended(self) -> tuple[Iterable[bytes], Iterator[bytes]]:
        """Give it back."""

