import socket
from collections.abc import Callable
from typing import TextIO

from headrace.config import Config
from headrace.engine.access_lines import AccessLines
from headrace.engine.gateway import Gateway
from headrace.engine.slot import Slot
from headrace.wsgi import Application

class Loop:
    """The event loop of one worker: accepts, receives, runs the application, sends, keeps deadlines.

    listeners: bound and listening sockets, which stay the caller's.  access_log: gets a line
    for each request.  error_stream: ``wsgi.errors``, default
    sys.stderr.  when_drained: called when a stop has begun and what clients had queued until then is accepted: the
    listeners are not used any more.  gateway: who answers, default headrace.wsgi.  slot: where on the scoreboard the
    threads show what they serve; while all of them are inside the application, connections are left to the workers of
    other slots.  Raises OSError when the poller that config asks for is not to be had.
    """

    def __init__(
        self,
        application: Application,
        listeners: list[socket.socket],
        config: Config,
        access_log: AccessLines | None = None,
        error_stream: TextIO | None = None,
        when_drained: Callable[[], object] | None = None,
        gateway: Gateway | None = None,
        *,
        slot: Slot | None = None,
    ) -> None: ...
    on_timeout: Callable[[], object] | None
    """Called on the thread that watches the calls when one has taken longer than ``timeout``, after the log has been
    told and an exception been raised in the request's thread: the worker should be replaced.  It must not block."""

    def run(self) -> None:
        """Serve until stopped.  In the main thread, Python's signal handlers run between requests."""

    def run_one(self, fd: int, address: str, port: str) -> None:
        """Serve one accepted connection and return when it has closed.  fd: non-blocking, the loop's from here on.

        address and port: REMOTE_ADDR and REMOTE_PORT.
        """

    def stop(self, graceful: bool = True, drain: bool = False) -> None:
        """End run(), from any thread or a signal handler.

        graceful: what was accepted is answered first, for at most ``graceful_timeout`` seconds.  drain: before that
        everything goes on for ``drain_delay`` seconds, but that ``health_path`` is answered by 503.  A further call
        ends that delay.
        """

    def retire(self) -> None:
        """A gentler stop(), for a worker whose successor serves already: from any thread or a signal handler.

        Nobody new is accepted.  Idle connections live on until their next request, whose answer says close, or until
        their deadline.  Calls have ``graceful_timeout`` seconds from now on, or from their beginning if that is later;
        then their connections are cut.  run() ends when the last connection has gone, or when only calls that have been
        cut are left, or when these hold all threads.  With ``graceful_timeout`` 0 everything is cut at once.  stop()
        may follow.
        """

    def call_every(self, interval_s: float, function: Callable[[], object]) -> None:
        """Before run(): have the function called about so often, by the thread that asks the poller, in its own turn.
        So it is a sign that the loop goes on; it must not take long."""

    def poller_name(self) -> str:
        """ "epoll", "kqueue" or "poll"."""

    def runs_here(self) -> bool:
        """Is the calling thread one of those that run this loop?"""

    def counts(self) -> dict[str, int]:
        """What has happened since the start: ``skipped`` requests, whose client had gone before they were run, and
        requests ``queued_too_long``, answered by 503; ``proxy_headers_refused``: connections closed since theirs was
        missing or could not be read; requests ``read_in_two_ways``, refused by --referee."""

    def open_connections(self) -> int:
        """Connections open at present."""
