from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from headrace.config.access_format import Part

class AccessLines:
    """Lines of the access log, made from a format and written by a thread of their own.

    parts: of config.access_format.  start_thread: called at the first line, to have work() run in a thread.  tell:
    called as tell(what, number) with "file" or "syslog" and an errno, 0 when it works again, or "full" and 0.  sink:
    called with each line, without its end, in the thread of its request; without writes=True that is all that happens.
    Raises ValueError for a format with too many different texts, MemoryError.
    """

    wants_headers: bool
    """The format asks for header fields of responses."""

    def __init__(
        self,
        parts: Sequence[Part],
        start_thread: Callable[[], object],
        tell: Callable[[str, int], object],
        sink: Callable[[str], object] | None = None,
        writes: bool = True,
    ) -> None: ...
    def set_file(self, descriptor: int, piece_bytes_max: int) -> None:
        """Write to this descriptor from the next batch on, and close the one before; both belong to the object.

        piece_bytes_max: of one write(2) to a pipe, which keeps up to PIPE_BUF octets whole; 0 for a file.
        """

    def set_syslog(self, descriptor: int, unix_path: str, priority: int, host: str, tag: str) -> None:
        """Send each line as a datagram, too.  Before the first line only."""

    def log(
        self,
        environ: Mapping[str, Any],
        status: int,
        body_bytes: int,
        began_unix_ns: int = 0,
        duration_ns: int = 0,
        headers: Iterable[tuple[str, str]] | None = None,
    ) -> None:
        """One line of a request that no loop has served; method, target and protocol are environ's."""

    def work(self) -> None:
        """Write until close(), in the thread that calls it."""

    def flush(self, timeout_ms: int) -> bool:
        """Has everything logged until now been written, or lost, within that time?"""

    def lost(self) -> int:
        """Lines that were lost, since the start."""

    def waiting(self) -> int:
        """Lines that are neither written nor lost."""

    def close(self) -> None:
        """No more lines: work() writes what there is, and returns."""

    def close_descriptors(self) -> None:
        """When work() has returned, or never ran."""
