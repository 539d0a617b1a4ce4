from collections.abc import Iterable, Iterator
from types import TracebackType

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

class Response:
    """The answer to one request, from ``start_response`` to the last octet (PEP 3333).

    The response itself is the ``write()`` callable that ``start_response`` returns.
    """

    status_code: int
    """100..999; 0 before start_response."""
    body_bytes: int
    """Octets of the body handed over so far, without framing."""

    satisfied: bool
    """No more blocks are wanted: HEAD, 204 and 304 have no body, and no body may pass its Content-Length."""

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

    def __call__(self, data: bytes, /) -> None:
        """``write(data)``: returns when data has left; waits for a slow client (PEP 3333, "The write() Callable")."""

    def send(self, block: bytes, /) -> bool:
        """Send one block of the iterable.  False: do not ask for the next one, for one of two reasons.

        ``satisfied``: no more is wanted.  Otherwise the client has to read first.
        """

    def send_only(self, block: bytes, /) -> None:
        """Queue a block that is known to be the only one; it leaves with the end of the response."""

    def expect_one_block(self) -> None:
        """The first block is the only one: its size becomes Content-Length."""

    def queue_file(self, descriptor: int, offset_bytes: int, length_bytes: int, /) -> bool:
        """Queue a range of a regular file as the whole body; False when the body has begun already."""

    def finish(self) -> None:
        """The iterable has ended: send the head if nothing has, and the last chunk."""

    def suspend(self, result: Iterable[bytes], blocks: Iterator[bytes], /) -> None:
        """Keep an iteration that has to wait for the client."""

    def take_suspended(self) -> tuple[Iterable[bytes], Iterator[bytes]]:
        """Give it back."""

