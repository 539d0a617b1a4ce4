# cython: binding=False
"""Responses: see response.pxd for the fields and response.pyi for the documentation."""

import errno
import logging
import os

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy, memmove

from headrace.engine.csrc cimport (
    SOCK_AGAIN, SOCK_BROKEN, SOCK_EOF, SOCK_FAILED, SOCK_OK, chunk_size_line_write, clock_monotonic_ms, outbox,
    outbox_flush, outbox_is_empty, outbox_pending_bytes, outbox_rewind, score_begin_wait, score_end_wait,
    score_progress, sock_look, sock_status, sock_wait)
from headrace.engine.debug cimport COUNT_RESPONSE, count_object
from headrace.engine.fields cimport HINT_BYTES_MAX, early_hints_text, shortened
from headrace.engine.interpreter cimport FREE_THREADED
from headrace.engine.response_head cimport response_defaults
from headrace.errors import ClientDisconnected, RequestOver

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1

log = logging.getLogger("headrace")

cdef const char *LAST_CHUNK = b"0\r\n\r\n"


cdef class BlockView:
    """A block that is not bytes: keeps its buffer exported while octets of it are unsent."""
    cdef Py_buffer view

    def __cinit__(self, block):
        PyObject_GetBuffer(block, &self.view, PyBUF_SIMPLE)

    def __dealloc__(self):
        PyBuffer_Release(&self.view)


cdef object wrong_block(object block):
    return TypeError(
        f"the application's blocks must be bytes, not {type(block).__name__}: {shortened(block)} "
        "(PEP 3333, 'A Note On String Types')")


cdef class Response(ResponseHead):

    def __cinit__(self):
        self.start_response = self._start_response
        self.early_hints = self._early_hints
        self.client_disconnected = self._client_disconnected
        self.content_length = -1
        count_object(COUNT_RESPONSE, 1)

    def __dealloc__(self):
        count_object(COUNT_RESPONSE, -1)

    cdef void begin(self, outbox *out, int fd, const response_defaults *defaults, bint http_1_1, bint to_head,
                    bint keep_alive) noexcept:
        """Make ready for a request; the outbox has scratch with room for a head."""
        self.out = out
        self.fd = fd
        self.defaults = defaults
        self.http_1_1 = http_1_1
        self.to_head = to_head
        self.keep_alive = keep_alive
        self.status_code = 0
        self.started = False
        self.one_block = False
        self.committed = False
        self.chunked = False
        self.finished = False
        self.satisfied = False
        self.overrun = False
        self.client_gone = False
        self.shared = False
        self.body_allowed = True
        self.body_bytes = 0
        self.reset_head()

    cdef void enter_call(self, score_row *row) noexcept:
        self.in_call = True
        self.row = row

    cdef void leave_call(self) noexcept:
        if FREE_THREADED:
            with cython.critical_section(self):  # a thread of the application may be inside a method
                self.in_call = False
                self.row = NULL
        else:
            self.row = NULL

    cdef void release(self) noexcept:
        """The request is over: let go of everything that belonged to it."""
        self.out = NULL
        self.fd = -1
        self.held = None
        self.logged_headers = None
        self.body_source = None
        self.home = None
        self.context = None

    cdef void lose_client(self) noexcept:
        """The connection has been closed, and its descriptor may be another's by now."""
        with cython.critical_section(self):  # a thread of the application may be asking for its client
            self.client_gone = True
            self.fd = -1

    cdef void retire(self) noexcept:
        """Not to be used again: without its bound methods it is no cycle, and goes when its last holder lets go."""
        self.start_response = None
        self.early_hints = None
        self.client_disconnected = None

    # ---- interim responses ----

    def _early_hints(self, headers, /):
        cdef bytes text = early_hints_text(headers)
        with cython.critical_section(self):
            self.send_hints(text)

    cdef int send_hints(self, bytes text) except -1:
        if not self.http_1_1 or self.committed or self.is_over():
            return 0  # RFC 8297 §3: not for clients that may take it for the final response
        return self.send_interim(text, <size_t>len(text))

    cdef int send_interim(self, const char *text, size_t len) except -1:
        """Send an interim (1xx) response at once, in front of a head that is still under construction."""
        if self.client_gone:
            raise ClientDisconnected("the client has gone")
        if len > HINT_BYTES_MAX or self.out.cap - self.out.end < RESPONSE_ROOM_BYTES:
            raise AssertionError("the outbox has no room for an interim response")
        memmove(self.head.at + len, self.head.at, self.head.len)
        memcpy(self.head.at, text, len)
        self.out.end += len
        self.head.at += len
        self.wait_until_sent()
        if self.committed:
            return 0  # by another thread, meanwhile: there is no head under construction any more
        # what was committed has left; the head under construction goes to the front again
        outbox_rewind(self.out)
        memmove(self.out.bytes, self.head.at, self.head.len)
        self.head.at = self.out.bytes
        return 0

    def _client_disconnected(self):
        cdef sock_status status
        with cython.critical_section(self):
            if self.out is NULL or self.defaults.forked[0] or self.client_gone:
                return True  # lose_client() comes before the descriptor is closed, so it may be looked at between calls
            status = sock_look(self.fd)
        return status == SOCK_BROKEN or (
            status == SOCK_EOF and clock_monotonic_ms() >= self.began_ms + HALF_CLOSED_MS)

    # ---- the body ----

    def expect_one_block(self):
        self.one_block = True

    def send(self, block, /):
        with cython.critical_section(self):
            return self.send_now(block)

    cdef object send_now(self, object block):
        if self.defaults.stop_at_ms[0] != 0:
            self.check_stop()
        self.queue_block(block)
        return self.flush() and not self.satisfied

    cdef int check_stop(self) except -1:
        """The server is stopping: a response that never ends is cut when the time for it is up."""
        if clock_monotonic_ms() >= self.ends_at_ms():
            self.client_gone = True
            raise ClientDisconnected("the server has stopped")
        return 0

    cdef uint64_t ends_at_ms(self) noexcept:
        """Monotonic: while the server is stopping, the end of the time that this response has."""
        cdef uint64_t at_ms = self.defaults.stop_at_ms[0], retired_ms = self.defaults.retired_ms[0]
        if retired_ms != 0:
            at_ms = min(at_ms, max(retired_ms, self.began_ms) + self.defaults.graceful_ms)
        return at_ms

    def send_whole(self, block, /):
        with cython.critical_section(self):
            self.send_whole_now(block)

    cdef int send_whole_now(self, object block) except -1:
        self.one_block = True
        self.queue_block(block)
        self.finish_now()
        return 0

    def __call__(self, data, /):
        with cython.critical_section(self):
            self.write(data)

    cdef int write(self, object data) except -1:
        if self.is_over():
            raise RequestOver("write() was called after the request had ended")
        self.queue_block(data)
        self.wait_until_sent()
        if self.overrun:
            raise ValueError(
                f"write() went past the Content-Length of {self.content_length} "
                "(PEP 3333, 'Handling the Content-Length Header')")
        return 0

    cdef int queue_block(self, object block) except -1:
        """The request may be over when this returns: like all that runs Python code, the log lets another thread in."""
        cdef BlockView view = None
        cdef bint was_overrun
        if not PyBytes_CheckExact(block):
            if isinstance(block, str):
                raise wrong_block(block)
            try:
                view = BlockView(block)
            except (TypeError, BufferError):
                raise wrong_block(block) from None
        was_overrun = self.overrun
        if view is None:
            self.queue(PyBytes_AS_STRING(block), <size_t>PyBytes_GET_SIZE(block), block)
        else:
            self.queue(<const char *>view.view.buf, <size_t>view.view.len, view)
        if self.overrun and not was_overrun:
            self.tell_of_overrun()
        return 0

    cdef int tell_of_overrun(self) except -1:
        log.error("HR304 the application sent more than its Content-Length of %d bytes; the rest is cut off",
                  self.content_length)
        return 0

    cdef int queue(self, const char *at, size_t len, object owner) except -1:
        """Put octets of the body behind the head: small ones copied, large ones by reference.

        No Python code runs here behind check_room(): it might end the request.
        """
        cdef char *end
        if len == 0:
            return 0
        self.check_room()
        if not self.committed:
            self.commit(<int64_t>len if self.one_block else -1)
        if not self.body_allowed:
            self.body_bytes += <int64_t>len
            self.satisfied = True  # an endless iterable must not hold the worker for a HEAD request
            return 0
        len = self.within_content_length(len)
        if len == 0:
            return 0
        self.body_bytes += <int64_t>len
        if self.row is not NULL:
            score_progress(self.row)
        if self.chunked:
            self.out.end += chunk_size_line_write(self.out.bytes + self.out.end, len)
        if len <= COPIED_BYTES_MAX:
            end = self.out.bytes + self.out.end
            memcpy(end, at, len)
            if self.chunked:
                memcpy(end + len, b"\r\n", 2)
                len += 2
            self.out.end += len
            return 0
        self.out.block = at
        self.out.block_len = len
        if self.chunked:
            memcpy(self.out.tail, b"\r\n", 2)
            self.out.tail_start = 0
            self.out.tail_end = 2
        self.held = owner  # at last: a finalizer of what was held before is Python code
        return 0

    cdef int check_room(self) except -1:
        """Nothing is queued behind a block that waits, nor after the end: only a misused response gets here so."""
        if self.is_over() or self.finished:
            raise RequestOver("a block was sent after the request had ended")
        if self.client_gone:
            raise ClientDisconnected("the client has gone")
        if (self.out.block_len or self.out.tail_end or self.out.file_left
                or self.out.cap - self.out.end < COPIED_BYTES_MAX + 32):
            raise RuntimeError("a block was sent while an earlier one was still waiting for the client")
        return 0

    cdef size_t within_content_length(self, size_t len) noexcept:
        """PEP 3333, "Handling the Content-Length Header": no more than was declared may be sent.

        Iteration ends with the first octet too many, not with the last one allowed: many generators do something
        after their last yield.
        """
        cdef int64_t left
        if self.content_length < 0:
            return len
        left = self.content_length - self.body_bytes
        if <int64_t>len <= left:
            return len
        self.overrun = True
        self.satisfied = True
        return <size_t>left

    def queue_file(self, int descriptor, int64_t offset_bytes, int64_t length_bytes, /):
        with cython.critical_section(self):
            return self.queue_file_now(descriptor, offset_bytes, length_bytes)

    cdef object queue_file_now(self, int descriptor, int64_t offset_bytes, int64_t length_bytes):
        if self.committed or not self.started or self.out is NULL:
            return False
        self.commit(length_bytes)
        cdef bint is_longer = 0 <= self.content_length < length_bytes
        if is_longer:
            length_bytes = self.content_length
        self.body_bytes = length_bytes
        if self.body_allowed:
            self.out.file_fd = descriptor
            self.out.file_at = offset_bytes
            self.out.file_left = <uint64_t>length_bytes
            if is_longer:
                self.tell_of_overrun()
        return True

    def finish(self):
        with cython.critical_section(self):
            self.finish_now()

    cdef int finish_now(self) except -1:
        if self.finished or self.is_over():
            raise RequestOver("a response was finished twice")
        if not self.committed:
            if not self.started:
                raise AssertionError("the application returned without calling start_response (PEP 3333)")
            self.commit(-1 if self.to_head else 0)
        self.finished = True
        if self.chunked:
            self.queue_last_chunk()
        elif self.body_allowed and self.body_bytes < self.content_length:
            log.error("HR305 the application sent %d of the %d bytes of its Content-Length; the connection is closed",
                      self.body_bytes, self.content_length)
            self.keep_alive = False
        return 0

    cdef void queue_last_chunk(self) noexcept:
        """RFC 9112 §7.1: behind the block if one is pending, else behind the octets."""
        if self.out.block_len or self.out.tail_end:
            memcpy(self.out.tail + self.out.tail_end, LAST_CHUNK, 5)
            self.out.tail_end += 5
        else:
            memcpy(self.out.bytes + self.out.end, LAST_CHUNK, 5)
            self.out.end += 5

    cdef bint ends_with_connection(self) noexcept:
        """Is the end of the connection all that tells the client where the body ends?"""
        return self.committed and self.body_allowed and not self.chunked and self.content_length < 0

    # ---- the caller writes to the socket himself ----

    def duplicate(self):
        with cython.critical_section(self):
            return self.duplicate_now()

    cdef int duplicate_now(self) except -1:
        if self.out is NULL or self.fd < 0:
            raise OSError(errno.EBADF, "the request is over")
        self.shared = True
        return os.dup(self.fd)

    def finish_raw(self):
        with cython.critical_section(self):
            if not self.is_over():
                self.started = self.committed = self.finished = True
                self.keep_alive = False

    # ---- the way out ----

    cdef bint flush(self) except -1:
        """Send what is queued; False when the socket is full.  Raises ClientDisconnected."""
        cdef sock_status status
        if self.is_over():
            return True
        status = SOCK_OK if outbox_is_empty(self.out) else outbox_flush(self.out, self.fd)
        if not self.committed and (status == SOCK_OK or status == SOCK_AGAIN):
            # Only earlier answers were waiting.  The head under construction stays where it is, and none of this
            # response is unsent.
            return True
        if status == SOCK_OK:
            outbox_rewind(self.out)
            self.held = None
            return True
        if status == SOCK_AGAIN:
            return False
        self.keep_alive = False
        self.client_gone = True
        tell_of_failure_to_send(status)
        raise ClientDisconnected("the response was cut short" if status == SOCK_EOF else "the client has gone")

    cdef int wait_until_sent(self) except -1:
        """write() has nothing to return to while octets are unsent, so it waits, without the interpreter lock."""
        cdef sock_status status = SOCK_OK
        cdef int timeout_ms = self.defaults.write_timeout_ms
        cdef size_t unsent_bytes
        cdef bint is_room
        while True:
            is_room = self.flush()
            self.check_is_on()
            if is_room and outbox_is_empty(self.out):
                return 0
            unsent_bytes = outbox_pending_bytes(self.out)
            status = self.wait(True, timeout_ms)
            self.check_is_on()
            if status == SOCK_AGAIN:
                # poll(2) speaks of room only when a good part of the socket's buffer is free; a slow reader frees less
                self.flush()
                self.check_is_on()
                if outbox_pending_bytes(self.out) < unsent_bytes:
                    continue
            if status != SOCK_OK:
                self.keep_alive = False
                self.client_gone = True
                raise ClientDisconnected(
                    "the client did not read for %g s" % (timeout_ms / 1000) if status == SOCK_AGAIN
                    else "the client has gone")

    cdef int check_is_on(self) except -1:
        if self.is_over():
            raise RequestOver("the request ended while a thread of the application was still sending")
        if self.client_gone:
            raise ClientDisconnected("the client has gone")
        return 0

    cdef sock_status wait(self, bint for_write, int timeout_ms) except *:
        """Wait for the client on the thread of the application, without the interpreter lock.

        In slices, so that signal handlers run and a stop is seen.  SOCK_AGAIN: the time is up.
        """
        cdef sock_status status = SOCK_AGAIN
        cdef score_row *row = self.row  # the thread's, which outlives the request
        cdef int fd = self.fd, slice_ms
        while status == SOCK_AGAIN and timeout_ms > 0 and not self.is_over():
            slice_ms = min(timeout_ms, WAIT_SLICE_MS)
            timeout_ms -= slice_ms
            if row is not NULL:
                score_begin_wait(row)
            with nogil:
                status = sock_wait(fd, for_write, slice_ms)
            row = self.row
            if row is not NULL:  # else the request has ended meanwhile, and this is a thread of the application
                score_end_wait(row)
            PyErr_CheckSignals()
            if not self.is_over() and self.defaults.stop_at_ms[0] != 0:
                self.check_stop()
        return status

    def suspend(self, result, blocks, /):
        self.suspended = (result, blocks)

    def take_suspended(self):
        suspended = self.suspended
        self.suspended = None
        return suspended


cdef int tell_of_failure_to_send(sock_status status) except -1:
    """To the log, where it is not the client who has gone."""
    if status == SOCK_EOF:
        log.error("HR306 a file became shorter while it was sent; the connection is closed")
    elif status == SOCK_FAILED:
        log.error("HR307 a response could not be sent; the connection is closed")
    return 0
