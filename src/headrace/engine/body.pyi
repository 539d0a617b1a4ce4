from collections.abc import Iterator

class RequestBody:
    """``wsgi.input``: the body of one request (PEP 3333, "Input and Error Streams").

    Reads exactly the body and then b"".  Raises TypeError for sizes that are not int or None, OSError when a
    temporary file fails, ClientDisconnected when a body that is read as it arrives is cut short.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        """At most size octets; all that is left for None and negative numbers."""

    def readline(self, size: int | None = -1, /) -> bytes:
        r"""Up to and with the next b"\n", at most size octets."""

    def readlines(self, hint: int | None = -1, /) -> list[bytes]:
        """Lines until hint octets have been read; all lines for None, 0 and negative numbers."""

    def __iter__(self) -> Iterator[bytes]: ...
    def __next__(self) -> bytes: ...
    def close(self) -> None:
        """Drop what was not read."""

class BodyBudget:
    """How many octets of bodies a worker holds in memory and in temporary files, and how many it may."""

    memory_bytes: int
    memory_bytes_max: int
    spool_bytes: int
    spool_bytes_max: int
    def __init__(self, memory_bytes_max: int, spool_bytes_max: int) -> None: ...
