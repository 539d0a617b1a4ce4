"""Headrace: a fast and strict HTTP/1.1 server for WSGI applications.

The whole public surface: serve() to serve and block, Server for everything else, and the command `headrace`.
Nothing heavy is imported before a Server is made.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.wsgi import Application

__all__ = ["Server", "__version__", "serve"]
__version__ = "0.1.0"


class Server:
    """One listening server for one application.

    The socket is bound when the object is made, so ``port=0`` picks a free port and ``server.port`` tells which.
    Then either ``run()`` it in this thread, or ``start()`` it in another, as a context manager does:

        with headrace.Server(application, port=0) as server:
            print(requests.get(server.url).text)
    """

    def __init__(
        self,
        application: Application,
        host: str = "127.0.0.1",
        port: int = 8000,
        *,
        bind: str | Sequence[str] | None = None,
        **settings: object,
    ) -> None:
        """``bind`` ("127.0.0.1:8000", "unix:/run/app.sock", or several) takes the place of host and port.
        ``settings`` are those of the command line with underscores: ``keep_alive=5``.

        Raises headrace.config.ConfigError (a ValueError) for wrong settings, all of them at once;
        headrace.process.listeners.ListenError when a socket cannot be bound; TypeError when the application is not
        callable; ImportError when the compiled part is missing.
        """
        from headrace.config import SETTINGS, Address, Config, ConfigError, check_referee, with_usable_spool_dir
        from headrace.config.settings import COMMAND_GROUPS
        from headrace.process.listeners import close_listeners, open_listeners, options_of
        from headrace.process.worker import Worker

        if not callable(application):
            raise TypeError(f"a WSGI application is callable with (environ, start_response); this is {application!r}")
        if bind is None:
            bind = str(Address(host, port))
        for_command_line = [name for name in settings if name in SETTINGS and SETTINGS[name].group in COMMAND_GROUPS]
        if for_command_line:
            raise ConfigError(
                f"{name}: is for the command headrace and its configuration, not for a Server"
                for name in for_command_line
            )
        self.config = with_usable_spool_dir(Config.from_values({"bind": bind, **settings}))
        check_referee(self.config)
        self._listeners = open_listeners(self.config.bind, options_of(self.config))
        try:
            self._worker = Worker(application, self._listeners, self.config)
        except BaseException:
            close_listeners(self._listeners)
            raise
        tcp = [listener.address for listener in self._listeners if not listener.address.is_unix]
        #: Of the first TCP socket; "" and 0 when there are only UNIX sockets.
        self.host: str = tcp[0].host if tcp else ""
        self.port: int = tcp[0].port if tcp else 0
        #: "http://127.0.0.1:8000" or "unix:/run/app.sock", of the first socket.
        self.url: str = self._listeners[0].address.url
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._lock = threading.RLock()  # for the two marks below; a signal handler may call stop(), too
        self._has_run = False
        self._stopped = False

    def run(self, when_ready: Callable[[], None] | None = None) -> None:
        """Serve in this thread until stop() is called in another or, in the main thread, SIGTERM or SIGINT comes.

        What is in flight is answered first.  A server runs once; after a stop() it does not run at all.
        ``when_ready`` is called as soon as a signal or a connection that comes then will be heard."""
        if self._may_run():
            self._worker.run(when_ready)

    def start(self) -> None:
        """Serve in a daemon thread; connections are accepted when this returns."""
        with self._lock:  # a stop() in another thread finds no thread, or one that can be waited for
            if self._may_run():
                thread = threading.Thread(target=self._run_in_thread, name="headrace", daemon=True)
                try:
                    thread.start()
                except BaseException:
                    self._has_run = False
                    raise
                self._thread = thread

    def stop(self, graceful: bool = True) -> None:
        """Stop, and wait for the thread that start() made, if there is one.  From any thread; more than once is fine.

        Graceful: requests in flight are answered first, for up to graceful_timeout seconds.  Raises what made the
        thread fail, if it did."""
        with self._lock:
            self._stopped = True
            self._worker.stop(graceful)
            if not self._has_run:
                self._worker.close()
        if self._thread is not None and not self._worker.runs_here():
            self._thread.join()
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _may_run(self) -> bool:
        """False after a stop(), which another thread may have called sooner than this one got to run()."""
        with self._lock:
            if self._has_run:
                raise RuntimeError("this server has run already; make another one")
            self._has_run = not self._stopped
            return self._has_run

    def _run_in_thread(self) -> None:
        try:
            self._worker.run()
        except BaseException as failure:
            self._failure = failure


def serve(
    application: Application,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    bind: str | Sequence[str] | None = None,
    **settings: object,
) -> None:
    """Serve the application until SIGTERM or SIGINT, as the command line does: "Listening at" and errors go to
    ``error_logfile`` (stderr) unless the program has set up logging.  Arguments and errors are those of Server."""
    from headrace.observe.log_setup import set_up_logging
    from headrace.process.worker import announce

    server = Server(application, host, port, bind=bind, **settings)
    set_up_logging(server.config)
    server.run(when_ready=lambda: announce(server._listeners, server.config))
