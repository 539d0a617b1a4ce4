"""A Loop for a server of wsgiref's kind: on its own listening socket, from serve_forever() or handle_request()."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from headrace.config import Config
from headrace.dropin import http_1_1
from headrace.dropin.http_1_0 import Http10
from headrace.engine.gateway import Gateway
from headrace.engine.loop import Loop
from headrace.observe.error_stream import ERROR_STREAM

if TYPE_CHECKING:
    from headrace.dropin.rule import Verdict

#: With socketserver.ThreadingMixIn: at the start, and when all of them are inside the application.
THREADS_AT_START = 4
THREADS_MAX = 4096

#: In seconds.  What is in flight at shutdown() may take as long as it takes: this is the most that the setting allows.
GRACEFUL_TIMEOUT_S = 86400.0
#: server_close() waits so long for a loop whose only thread is inside the application, and holds the port.
CLOSE_PATIENCE_S = 5.0
#: A signal that comes just before the main thread waits for others does not end that wait; wsgiref looks as often.
SIGNALS_EVERY_S = 0.5

#: How often this process, or one that it was forked from, has forked: then others may use the same listening sockets.
forks = 0


def _count_fork() -> None:
    global forks
    forks += 1


os.register_at_fork(after_in_parent=_count_fork, after_in_child=_count_fork)


@cache
def config(threads: bool, persists: bool, one_request: bool) -> Config:
    """A single request's connection does not linger: handle_request() returns when the answer has been sent."""
    defaults = Config()
    return Config(
        threads=THREADS_MAX if threads else 1,
        keep_alive=defaults.keep_alive if persists else 0,
        keep_alive_header=False,  # wsgiref's heads have none
        linger_timeout=0 if one_request else defaults.linger_timeout,
        graceful_timeout=GRACEFUL_TIMEOUT_S,
    )


def unused(_environ: Any, _start_response: Any) -> Iterable[bytes]:
    """What the loop takes for its application: the gateways ask the server for it at each request."""
    raise NotImplementedError


class Run:
    """One run of a Loop.  drained: nothing more is accepted, and the port is not held any more.  over: it has ended."""

    def __init__(self, server: Any, listener: socket.socket, verdict: Verdict, one_request: bool = False) -> None:
        """listener: a duplicate, which is closed here."""
        self.interruption: BaseException | None = None
        self.threads = verdict.threads
        self.drained = threading.Event()
        self.over = threading.Event()
        self.listener = listener
        persists = verdict.persists and not one_request
        gateway = self.gateway_of(server, verdict)._replace(
            threads_at_start=THREADS_AT_START if verdict.threads else None,
            handlers_leave=True,
            shared_listeners=True,
        )
        settings = config(verdict.threads, persists, one_request)
        #: None when it has ended: its descriptors and this object do not wait for the collector.
        self.loop: Loop | None = Loop(
            unused,
            [listener],
            settings,
            None,
            ERROR_STREAM,  # type: ignore[arg-type]
            self.end_accepting,
            gateway,
        )

    def gateway_of(self, server: Any, verdict: Verdict) -> Gateway:
        """What the Loop calls for each request."""
        if verdict.persists:
            return http_1_1.gateway_of(server, verdict.overridden, self.interrupt)
        http10 = Http10(server, verdict.overridden, self.interrupt)
        return Gateway(http10.run, http10.resume, http10.abandon, request_head=True, forwarded_fields=False)

    def serve(self) -> None:
        """In this thread, until the last request has been answered."""
        try:
            if self.loop is not None:
                self.loop.run()
        finally:
            self.end()

    def serve_one(self, descriptor: int, address: tuple[Any, ...]) -> None:
        """In this thread: the request of a connection that has been accepted from address."""
        try:
            if self.loop is not None:
                self.loop.run_one(descriptor, address[0], str(address[1]))
        finally:
            self.end()

    def serve_beside(self, server: Any) -> None:
        """In a thread of its own; returns when nothing more is accepted, as ThreadingMixIn's: requests go on."""
        thread = threading.Thread(target=self.serve_reporting, name="headrace-loop", daemon=True)
        try:
            thread.start()
            while not self.drained.wait(SIGNALS_EVERY_S):
                pass
        finally:
            self.stop()  # a signal's handler may have raised
            if thread.ident is None:
                self.end()
            self.drained.wait(CLOSE_PATIENCE_S)
            if self.has_connections():
                self.outlive(thread, server)
            else:
                self.over.wait(CLOSE_PATIENCE_S)

    def outlive(self, thread: threading.Thread, server: Any) -> None:
        """Python waits at its end for threads that are no daemons: for requests of such, too."""
        if not server.daemon_threads:
            threading.Thread(target=thread.join, name="headrace-end", daemon=False).start()

    def serve_reporting(self) -> None:
        """As serve(), for a thread: what leaves it waits for reraise()."""
        try:
            self.serve()
        except BaseException as failure:
            self.interruption = failure

    def has_connections(self) -> bool:
        """Are requests going on?"""
        loop = self.loop
        return loop is not None and loop.open_connections() > 0

    def end_accepting(self) -> None:
        """The Loop accepts nothing more: the port may be free."""
        self.listener.close()
        self.drained.set()

    def end(self) -> None:
        """Nothing is left to be done."""
        self.loop = None
        self.end_accepting()
        self.over.set()

    def stop(self) -> None:
        """From any thread: nothing more is accepted, and what goes on is finished."""
        loop = self.loop
        if loop is not None:
            loop.stop(graceful=True)

    def close(self, joins: bool) -> None:
        """For server_close(): the port is free afterwards, unless it is the run's own application that calls.

        joins: wait for requests without limit, as for socketserver's threads that are no daemons.
        """
        loop = self.loop
        self.stop()
        if loop is None or loop.runs_here():
            return
        self.drained.wait(CLOSE_PATIENCE_S)
        if joins and self.threads:
            self.over.wait()

    def interrupt(self, error: BaseException) -> None:
        """Leave serve_forever() with what an application, or a hook, has let through; answers are finished first."""
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is not threading.main_thread():
            return  # no Ctrl-C: Python gives signals to the main thread alone
        if self.threads:
            end_of_thread(error)
            return
        self.interruption = error
        self.stop()

    def reraise(self) -> None:
        """In the thread of serve_forever(): what is to leave it."""
        if self.interruption is not None:
            interruption, self.interruption = self.interruption, None
            raise interruption


def end_of_thread(error: BaseException) -> None:
    """As if it had ended a thread of ThreadingMixIn's: SystemExit does so in silence."""
    if not isinstance(error, SystemExit):
        threading.excepthook(
            threading.ExceptHookArgs((type(error), error, error.__traceback__, threading.current_thread()))
        )


def runs_of(server: Any) -> list[Run]:
    """Those that go on: several serve_forever() at a time, and requests after shutdown()."""
    runs: list[Run] = vars(server).setdefault("_headrace_runs", [])
    return runs


def forget_ended(server: Any) -> None:
    """Of the server's runs only those are kept that go on."""
    runs = runs_of(server)
    for run in [run for run in runs if run.over.is_set()]:
        with suppress(ValueError):  # another thread has done so
            runs.remove(run)


def serve_forever(server: Any, verdict: Verdict) -> None:
    """Until somebody stops the server's runs, or KeyboardInterrupt."""
    # A descriptor of our own: server_close() in another thread must not have us accept on whatever gets its number.
    listener = duplicate(server.socket)
    run = None
    try:
        run = Run(server, listener, verdict)
        runs_of(server).append(run)
        if server._BaseServer__shutdown_request:
            run.end()  # shutdown() came first
        elif verdict.threads:
            run.serve_beside(server)
        else:
            run.serve()
        run.reraise()
    finally:
        if run is None:
            listener.close()
        forget_ended(server)
        restore_blocking(server)


def serve_one(server: Any, verdict: Verdict) -> None:
    """The next connection of the backlog, and no other; returns when it has been answered, or none is there."""
    try:
        request, address = server.get_request()
    except OSError:
        return
    listener = duplicate(server.socket)
    try:
        request.setblocking(False)
        run = Run(server, listener, verdict, one_request=True)
        run.serve_one(request.detach(), address)
        run.reraise()
    finally:
        request.close()
        listener.close()


def duplicate(listener: socket.socket) -> socket.socket:
    """Another descriptor of the same open file.  Not socket.dup(): that sets the file to block again for a moment, and
    a loop of another thread that accepts just then waits in accept(2) with the interpreter lock.
    """
    return socket.socket(listener.family, listener.type, listener.proto, os.dup(listener.fileno()))


def restore_blocking(server: Any) -> None:
    """The loop's listeners do not block, and duplicates share that: set it again as the socket object has it.

    Not while somebody else may be accepting, who would then wait in accept(2) for a connection that another one gets.
    """
    if forks != getattr(server, "_headrace_forks", 0) or not all(run.drained.is_set() for run in runs_of(server)):
        return
    if server.socket.fileno() >= 0:
        server.socket.settimeout(server.socket.gettimeout())
