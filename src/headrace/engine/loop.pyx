"""The event loop: see loop.pxd for the fields and loop.pyi for the documentation.

A turn: serve each ready connection once -> take what is ready from the poller -> look at the deadlines.
"""

import os
import signal
import sys
import threading
import weakref
from contextvars import copy_context

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from headrace.engine.body cimport BodyBudget
from headrace.engine.csrc cimport counter_read, poller_add_listener, poller_name, poller_remove
from headrace.engine.environ cimport EnvironTemplate
from headrace.engine.forwarded_rules import ForwardedRules
from headrace.engine.gateway import DEFAULT_GATEWAY
from headrace.engine.polling cimport BELL_TAG, PyErr_CheckSignals, milliseconds
from headrace.engine.referee cimport Referee
from headrace.engine.response_head cimport DATE_LINE_BYTES, MORE_LINES_BYTES_MAX
from headrace.engine.server_environ import server_environ
from headrace.engine.thread cimport LoopThread
from headrace.engine.working cimport WorkingLoop
from headrace.networks import Networks

loops = weakref.WeakSet()  # running; a forked child has to know that they are its parent's


def after_fork_in_child():
    """An application may fork: its child answers nobody and closes nobody's connection."""
    cdef Loop loop
    for loop in list(loops):
        loop.forked = True
        for listener in loop.acceptor.listeners:
            listener.close()  # a child that outlives the server must not keep its port


def after_fork_in_parent():
    cdef Loop loop
    for loop in list(loops):
        loop.has_forked = True


os.register_at_fork(after_in_child=after_fork_in_child, after_in_parent=after_fork_in_parent)


cdef class Loop(WorkingLoop):

    def __cinit__(self, application, listeners, config, access_log=None, error_stream=None, when_drained=None,
                  gateway=None, *, slot=None):
        self.application = application
        self.gateway = DEFAULT_GATEWAY if gateway is None else gateway
        self.run_request = self.gateway.run
        self.resume = self.gateway.resume
        self.abandon = self.gateway.abandon
        self.handlers_leave = self.gateway.handlers_leave
        self.access_lines = access_log
        self.error_stream = sys.stderr if error_stream is None else error_stream
        self.base_context = copy_context()
        self.config = config
        self.apply_settings(config)
        self.make_threads()

    cdef int apply_settings(self, config) except -1:
        self.limits.request_line_bytes_max = config.limit_request_line
        self.limits.field_line_bytes_max = config.limit_request_field_size
        self.limits.fields_max = config.limit_request_fields
        self.limits.head_bytes_max = config.limit_request_head
        self.body_bytes_max = config.limit_request_body
        self.body_memory_bytes_max = config.request_body_memory
        self.body_bytes_per_s_min = config.body_min_rate
        self.answers_bytes_max = config.response_buffer
        self.stream_bodies = config.stream_request_body
        self.keep_alive = config.keep_alive > 0
        self.keep_alive_lines = self.keep_alive_end = b""
        if config.keep_alive_header and config.keep_alive >= 1:
            self.keep_alive_lines = b"Connection: keep-alive\r\nKeep-Alive: timeout=%d\r\n" % int(config.keep_alive)
            self.keep_alive_end = self.keep_alive_lines + b"\r\n"
        self.health_target = config.health_path
        self.spool_folder = config.spool_dir
        self.queue_deadline_ms = milliseconds(config.queue_deadline)
        self.budget = BodyBudget(config.total_body_memory, config.total_body_spool)
        if self.gateway.forwarded_fields:
            self.rules = ForwardedRules(config)
        if config.proxy_protocol:
            self.proxy_networks = Networks(config.proxy_allow_from)
        return 0

    cdef int make_threads(self) except -1:
        """One thread runs everything itself; several have a spare beside them, which never runs the application."""
        at_start = self.gateway.threads_at_start
        for number in range(self.size if at_start is None else min(at_start, self.size)):
            self.enlist(self.make_thread(True))
        if self.size > 1:
            self.spare = self.make_thread(False)
        return 0

    cdef LoopThread make_thread(self, bint may_run):
        """A thread, with what responses have to know of the loop."""
        cdef LoopThread thread = LoopThread(self.config, self.make_templates(), may_run)
        cdef bytes server_line = self.gateway.server_line
        thread.defaults.stop_at_ms = <const uint64_t *>&self.stop_at_ms
        thread.defaults.retired_ms = <const uint64_t *>&self.retired_ms
        thread.defaults.graceful_ms = self.graceful_ms
        thread.defaults.forked = &self.forked
        thread.defaults.log_headers = self.access_lines is not None and self.access_lines.wants_headers
        thread.defaults.server_line = server_line  # the gateway keeps it
        thread.defaults.server_line_bytes = <size_t>len(server_line)
        cdef bytes more_lines = server_line + self.keep_alive_end
        if (thread.defaults.add_date and thread.defaults.add_server and self.keep_alive_end
                and len(more_lines) <= MORE_LINES_BYTES_MAX):
            memcpy(thread.defaults.date_line + DATE_LINE_BYTES, <const char *>more_lines, <size_t>len(more_lines))
            thread.defaults.all_lines_bytes = DATE_LINE_BYTES + <size_t>len(more_lines)
        thread.defaults.keep_alive_lines = self.keep_alive_end
        thread.defaults.keep_alive_lines_bytes = <size_t>len(self.keep_alive_end)
        thread.heads.keeps_octets = self.gateway.request_head
        thread.heads.rules = self.rules
        if self.config.referee:
            thread.heads.referee = Referee()
        if may_run and self.slot is not None:
            thread.row = self.slot.row(<size_t>len(self.threads))
        if may_run and thread.row is NULL and self.timeout_ms:
            thread.row = &thread.own_row
        return thread

    cdef list make_templates(self):
        more = self.gateway.environ or {}
        cdef bint multithread = self.size > 1
        return [EnvironTemplate(server_environ(listener, self.error_stream, multithread=multithread,
                                               root_path=self.config.root_path) | more,
                                self.config.limit_request_line) for listener in self.acceptor.listeners]

    # ---- what the worker calls ----

    def run(self):
        cdef LoopThread first = self.threads[0]
        if self.poller is NULL:
            raise RuntimeError("this loop has run")
        loops.add(self)
        self.thread_idents.add(threading.get_ident())
        self.sentinel.open(&self.roster)
        if not self.lone:
            self.watch_listeners()
        self.watch_signals()
        self.start_watching()
        try:
            if PyErr_CheckSignals():  # for one that came before there was a bell
                self.handler_raised()
            if self.size == 1:
                self.work(first)
            else:
                self.run_crew()
        finally:
            self.stop_watching()
            self.finish()
            loops.discard(self)
            self.unwatch_signals()
            if not self.forked:
                self.unwatch_listeners()
                self.ended = True
                self.cut_all(first if self.spare is None else self.spare)
                self.tell_what_was_cut()
            self.end_threads()
            self.close_poller()

    def run_one(self, int fd, address, port):
        self.lone = True
        self.adopt_or_close(self.threads[0], 0, fd, address, port)
        self.run()

    def call_every(self, double interval_s, function):
        self.beat_every_ms = max(milliseconds(interval_s), <uint64_t>1)
        self.beat_at_ms = 0
        self.beat = function

    def poller_name(self):
        return (poller_name(self.poller) if self.poller is not NULL else b"none").decode()

    def runs_here(self):
        return threading.get_ident() in self.thread_idents

    def open_connections(self):
        return self.connections.count

    def counts(self):
        return {"skipped": counter_read(&self.skipped), "queued_too_long": counter_read(&self.queued_too_long),
                "proxy_headers_refused": counter_read(&self.proxy_headers_refused),
                "read_in_two_ways": counter_read(&self.read_in_two_ways)}

    # ---- signals ----

    cdef int watch_signals(self) except -1:
        """A signal that comes between two waits has to end the next one: Python writes it to the bell."""
        if threading.current_thread() is threading.main_thread():
            self.former_wakeup_fd = signal.set_wakeup_fd(self.sentinel.ringer_fd, warn_on_full_buffer=False)
            if self.size == 1 and poller_add_listener(self.poller, self.sentinel.bell_fd, BELL_TAG) < 0:
                raise OSError("the poller did not take the bell of signals")
        return 0

    cdef int unwatch_signals(self) except -1:
        if self.former_wakeup_fd is not None:
            signal.set_wakeup_fd(self.former_wakeup_fd)
            self.former_wakeup_fd = None
            if self.size == 1 and not self.forked:
                poller_remove(self.poller, self.sentinel.bell_fd)
        return 0
