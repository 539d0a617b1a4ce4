import socket
from collections.abc import Callable
from typing import Any, TextIO

from headrace.config import Config
from headrace.wsgi import Application

class Loop:
    """The event loop of one worker: accepts, receives, runs the application, sends, keeps deadlines.

    listeners: bound and listening sockets, which stay the caller's.  access_log: called with an
    :class:`~headrace.engine.record.AccessRecord` after each response.  error_stream: ``wsgi.errors``, default
    sys.stderr.  Raises OSError when the poller that config asks for is not to be had.
    """

    def __init__(
        self,
        application: Application,
        listeners: list[socket.socket],
        config: Config,
        access_log: Callable[[Any], object] | None = None,
        error_stream: TextIO | None = None,
    ) -> None: ...
    def run(self) -> None:
        """Serve until stopped.  In the main thread, Python's signal handlers run between requests."""

    def stop(self, graceful: bool = True) -> None:
        """End run(), from any thread or a signal handler.

        graceful: what was accepted is answered first, for at most ``graceful_timeout`` seconds.
        """

    def poller_name(self) -> str:
        """ "epoll", "kqueue" or "poll"."""

    def open_connections(self) -> int:
        """Connections open at present."""

def base_environ(
    listener: socket.socket, error_stream: TextIO, multithread: bool = False, multiprocess: bool = False
) -> dict[str, Any]: ...
def object_counts() -> dict[str, int]:
    """Objects alive, by kind, in debug builds; else {}."""
