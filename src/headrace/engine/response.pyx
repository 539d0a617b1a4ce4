# cython: binding=False
"""Responses: see response.pxd for the fields and response.pyi for the documentation."""

import logging

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy, memmove

from headrace.engine.csrc cimport (
    HEAD_WRITE_FULL, HEAD_WRITE_NAME_INVALID, HEAD_WRITE_OK, HEAD_WRITE_STATUS_INVALID, RESPONSE_FIELD_CONTENT_LENGTH,
    RESPONSE_FIELD_DATE, RESPONSE_FIELD_HOP_BY_HOP, RESPONSE_FIELD_SERVER, SOCK_AGAIN, SOCK_EOF, SOCK_FAILED, SOCK_OK,
    chunk_size_line_write, clock_monotonic_ms, content_length_parse, head_write, head_writer, outbox, outbox_flush,
    outbox_is_empty, outbox_rewind, response_content_length_write, response_field, response_field_id,
    response_field_write, response_status_write, response_text_write, sock_status, sock_wait)
from headrace.engine.debug cimport count_object
from headrace.errors import ClientDisconnected

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1
    int PyUnicode_KIND(object text)
    const char *PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    int PyUnicode_1BYTE_KIND

cdef int WAIT_SLICE_MS = 250

log = logging.getLogger("headrace")

cdef const char *SERVER_LINE = b"Server: headrace\r\n"
cdef const char *CONNECTION_CLOSE = b"Connection: close\r\n"
cdef const char *CONNECTION_KEEP_ALIVE = b"Connection: keep-alive\r\n"
cdef const char *CHUNKED = b"Transfer-Encoding: chunked\r\n"
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


cdef object shortened(object value):
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


cdef inline const char *native_text(object text, Py_ssize_t *size) except NULL:
    """The octets of a native string (PEP 3333, "Unicode Issues"): latin-1, one for each character."""
    if not isinstance(text, str):
        raise TypeError(f"must be a str, not {type(text).__name__}: {shortened(text)}")
    if PyUnicode_KIND(text) != PyUnicode_1BYTE_KIND:
        raise ValueError(f"must be latin-1 (RFC 9110 §5.5), not {shortened(text)}")
    size[0] = PyUnicode_GET_LENGTH(text)
    return PyUnicode_DATA(text)


cdef inline int check_is_pair(object field, str where) except -1:
    """A tuple, so that its two strings stay while their octets are read."""
    if PyTuple_CheckExact(field) and PyTuple_GET_SIZE(field) == 2:
        return 0
    what = f"{type(field).__name__} of {len(field)}" if isinstance(field, tuple) else type(field).__name__
    raise TypeError(f"{where}: each header must be a tuple (name, value), not {what}: {shortened(field)} (PEP 3333)")


cdef class Response:

    def __cinit__(self):
        self.start_response = self._start_response
        self.early_hints = self._early_hints
        self.content_length = -1
        count_object(b"Response", 1)

    def __dealloc__(self):
        count_object(b"Response", -1)

    cdef void begin(self, outbox *out, int fd, bint http_1_1, bint to_head, bint keep_alive) noexcept:
        """Make ready for a request; the outbox has scratch with room for a head."""
        self.out = out
        self.fd = fd
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
        self.body_allowed = True
        self.body_bytes = 0
        self.reset_head()

    cdef void reset_head(self) noexcept:
        self.has_date = False
        self.has_server = False
        self.content_length = -1
        self.head.at = self.out.bytes + self.out.end
        self.head.len = 0
        self.head.cap = RESPONSE_HEAD_BYTES_MAX

    cdef void release(self) noexcept:
        """The request is over: let go of everything that belonged to it."""
        self.out = NULL
        self.fd = -1
        self.held = None
        self.body_source = None

    cdef void retire(self) noexcept:
        """Not to be used again: without its bound methods it is no cycle, and goes when its last holder lets go."""
        self.start_response = None
        self.early_hints = None

    # ---- the head ----

    def _start_response(self, status, headers, exc_info=None, /):
        if exc_info is not None:
            try:
                if self.committed:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # no cycle through the traceback (PEP 3333, "The start_response() Callable")
        elif self.started:
            raise AssertionError("start_response was called a second time without exc_info (PEP 3333)")
        if self.out is NULL:
            raise RuntimeError("start_response was called after the request had ended")
        self.started = False
        self.reset_head()
        self.write_head(status, headers)
        self.started = True
        return self

    cdef int write_head(self, object status, object headers) except -1:
        cdef Py_ssize_t size = 0, i
        cdef const char *text
        cdef head_write outcome
        try:
            text = native_text(status, &size)
        except (TypeError, ValueError) as error:
            raise type(error)(f"start_response: the status {error}") from None
        outcome = response_status_write(&self.head, text, <size_t>size, &self.status_code)
        if outcome == HEAD_WRITE_STATUS_INVALID or self.status_code < 200:
            raise ValueError(
                f"start_response: the status must be three digits from 200 on, a space and a reason, like '200 OK', "
                f"not {shortened(status)} (RFC 9112 §4, RFC 9110 §15)")
        if outcome != HEAD_WRITE_OK:
            raise head_too_long()
        if not isinstance(headers, list):
            raise TypeError(
                f"start_response: the headers must be a list of (name, value) tuples, "
                f"not {type(headers).__name__}: {shortened(headers)} (PEP 3333)")
        for i in range(PyList_GET_SIZE(headers)):
            self.write_field(<object>PyList_GET_ITEM(headers, i))
        return 0

    cdef int write_field(self, object field) except -1:
        cdef Py_ssize_t name_len = 0, value_len = 0
        cdef const char *name
        cdef const char *value
        cdef head_write outcome
        cdef response_field known
        check_is_pair(field, "start_response")
        try:
            name = native_text(<object>PyTuple_GET_ITEM(field, 0), &name_len)
            value = native_text(<object>PyTuple_GET_ITEM(field, 1), &value_len)
        except (TypeError, ValueError) as error:
            raise type(error)(f"start_response: name and value of a header {error} in {shortened(field)}") from None
        known = response_field_id(name, <size_t>name_len)
        if known and not self.admit_field(known, field, value, <size_t>value_len):
            return 0
        outcome = response_field_write(&self.head, name, <size_t>name_len, value, <size_t>value_len)
        if outcome != HEAD_WRITE_OK:
            raise wrong_field(outcome, field)
        return 0

    cdef bint admit_field(self, response_field known, object field, const char *value, size_t value_len) except -1:
        """Take note of a field that matters to the framing; False: it is left out."""
        cdef uint64_t length = 0
        if known == RESPONSE_FIELD_HOP_BY_HOP:
            raise ValueError(
                f"start_response: {field[0]!r} is a hop-by-hop field, which only the server may set "
                "(PEP 3333, 'Other HTTP Features'; RFC 9110 §7.6.1)")
        if known == RESPONSE_FIELD_DATE:
            self.has_date = True
        elif known == RESPONSE_FIELD_SERVER:
            self.has_server = True
        elif known == RESPONSE_FIELD_CONTENT_LENGTH:
            if self.content_length >= 0:
                raise ValueError("start_response: Content-Length is given twice (RFC 9110 §8.6)")
            if not content_length_parse(value, value_len, &length):
                raise ValueError(
                    f"start_response: Content-Length must be a decimal number, not {shortened(field[1])} "
                    "(RFC 9110 §8.6)")
            if self.status_code == 204 or self.status_code == 205:
                return False  # RFC 9110 §8.6: not with 204; §15.3.6: 205 has no content, which write_framing says
            self.content_length = <int64_t>length
        return True

    cdef int commit(self, int64_t known_length) except -1:
        """Finish the head and make it part of what is sent.  known_length: of the whole body, -1 unknown."""
        cdef head_write outcome = HEAD_WRITE_OK
        if not self.started:
            raise AssertionError("the application sent a body before it called start_response (PEP 3333)")
        if self.body_source is not None and not self.body_source.is_complete():
            self.keep_alive = False  # what may be left of the request cannot be told from the next one
        self.body_allowed = not (
            self.to_head or self.status_code == 204 or self.status_code == 205 or self.status_code == 304)
        if self.defaults.add_date and not self.has_date:
            outcome = response_text_write(&self.head, self.defaults.date_line, DATE_LINE_BYTES)
        if self.defaults.add_server and not self.has_server and outcome == HEAD_WRITE_OK:
            outcome = response_text_write(&self.head, SERVER_LINE, 18)
        if outcome == HEAD_WRITE_OK:
            outcome = self.write_framing(known_length)
        if outcome == HEAD_WRITE_OK:
            outcome = response_text_write(&self.head, b"\r\n", 2)
        if outcome != HEAD_WRITE_OK:
            raise head_too_long()
        self.out.end += self.head.len
        self.committed = True
        return 0

    cdef head_write write_framing(self, int64_t known_length) noexcept:
        """RFC 9112 §6.1-§6.3: how the client is to find the end of the body."""
        cdef head_write outcome = HEAD_WRITE_OK
        if self.status_code == 205:
            known_length = 0
        if self.content_length < 0 and self.status_code != 204:
            if known_length >= 0 and not (self.status_code == 304):
                self.content_length = known_length
                outcome = response_content_length_write(&self.head, <uint64_t>known_length)
            elif not self.body_allowed:
                pass
            elif self.http_1_1:
                self.chunked = True
                outcome = response_text_write(&self.head, CHUNKED, 28)
            else:
                self.keep_alive = False
        if outcome != HEAD_WRITE_OK:
            return outcome
        if not self.keep_alive:
            return response_text_write(&self.head, CONNECTION_CLOSE, 19)
        if not self.http_1_1:
            return response_text_write(&self.head, CONNECTION_KEEP_ALIVE, 24)
        return HEAD_WRITE_OK

    def _early_hints(self, headers, /):
        cdef bytes text = early_hints_text(headers)
        if not self.http_1_1 or self.committed or self.out is NULL:
            return  # RFC 8297 §3: not for clients that may take it for the final response
        self.send_interim(text, <size_t>len(text))

    cdef int send_interim(self, const char *text, size_t len) except -1:
        """Send an interim (1xx) response at once, in front of a head that is still under construction."""
        if self.client_gone:
            raise ClientDisconnected("the client has gone")
        if len > HINT_BYTES_MAX or self.out.cap - self.out.end < RESPONSE_ROOM_BYTES:
            raise head_too_long()
        memmove(self.head.at + len, self.head.at, self.head.len)
        memcpy(self.head.at, text, len)
        self.out.end += len
        self.head.at += len
        self.wait_until_sent()
        # what was committed has left; the head under construction goes to the front again
        outbox_rewind(self.out)
        memmove(self.out.bytes, self.head.at, self.head.len)
        self.head.at = self.out.bytes
        return 0

    # ---- the body ----

    def expect_one_block(self):
        self.one_block = True

    def send(self, block, /):
        if self.defaults.stop_at_ms != 0:
            self.check_stop()
        self.queue_block(block)
        return self.flush() and not self.satisfied

    cdef int check_stop(self) except -1:
        """The server is stopping: a response that never ends is cut when the time for it is up."""
        if clock_monotonic_ms() >= self.defaults.stop_at_ms:
            self.client_gone = True
            raise ClientDisconnected("the server has stopped")
        return 0

    def send_only(self, block, /):
        self.one_block = True
        self.queue_block(block)

    def __call__(self, data, /):
        if self.out is NULL:
            raise RuntimeError("write() was called after the request had ended")
        self.queue_block(data)
        self.wait_until_sent()
        if self.overrun:
            raise ValueError(
                f"write() went past the Content-Length of {self.content_length} "
                "(PEP 3333, 'Handling the Content-Length Header')")

    cdef int queue_block(self, object block) except -1:
        cdef BlockView view
        if PyBytes_CheckExact(block):
            return self.queue(PyBytes_AS_STRING(block), <size_t>PyBytes_GET_SIZE(block), block)
        if isinstance(block, str):
            raise wrong_block(block)
        try:
            view = BlockView(block)
        except (TypeError, BufferError):
            raise wrong_block(block) from None
        return self.queue(<const char *>view.view.buf, <size_t>view.view.len, view)

    cdef int queue(self, const char *at, size_t len, object owner) except -1:
        """Put octets of the body behind the head: small ones copied, large ones by reference."""
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
        self.held = owner
        self.out.block = at
        self.out.block_len = len
        if self.chunked:
            memcpy(self.out.tail, b"\r\n", 2)
            self.out.tail_start = 0
            self.out.tail_end = 2
        return 0

    cdef int check_room(self) except -1:
        """Nothing is queued behind a block that waits, nor after the end: only a misused response gets here so."""
        if self.out is NULL or self.finished:
            raise RuntimeError("a block was sent after the request had ended")
        if self.client_gone:
            raise ClientDisconnected("the client has gone")
        if self.out.block_len or self.out.file_left or self.out.cap - self.out.end < COPIED_BYTES_MAX + 32:
            raise RuntimeError("a block was sent while an earlier one was still waiting for the client")
        return 0

    cdef size_t within_content_length(self, size_t len) except? 0:
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
        log.error("the application sent more than its Content-Length of %d bytes; the rest is cut off",
                  self.content_length)
        return <size_t>left

    def queue_file(self, int descriptor, int64_t offset_bytes, int64_t length_bytes, /):
        if self.committed or not self.started or self.out is NULL:
            return False
        self.commit(length_bytes)
        if self.content_length >= 0 and length_bytes > self.content_length:
            length_bytes = self.content_length
        self.body_bytes = length_bytes
        if self.body_allowed:
            self.out.file_fd = descriptor
            self.out.file_at = offset_bytes
            self.out.file_left = <uint64_t>length_bytes
        return True

    def finish(self):
        if self.finished or self.out is NULL:
            raise RuntimeError("a response was finished twice")
        if not self.committed:
            if not self.started:
                raise AssertionError("the application returned without calling start_response (PEP 3333)")
            self.commit(-1 if self.to_head else 0)
        self.finished = True
        if self.chunked:
            self.queue_last_chunk()
        elif self.body_allowed and self.body_bytes < self.content_length:
            log.error("the application sent %d of the %d bytes of its Content-Length; the connection is closed",
                      self.body_bytes, self.content_length)
            self.keep_alive = False

    cdef void queue_last_chunk(self) noexcept:
        """RFC 9112 §7.1: behind the block if one is pending, else behind the octets."""
        if self.out.block_len:
            memcpy(self.out.tail + self.out.tail_end, LAST_CHUNK, 5)
            self.out.tail_end += 5
        else:
            memcpy(self.out.bytes + self.out.end, LAST_CHUNK, 5)
            self.out.end += 5

    cdef bint ends_with_connection(self) noexcept:
        """Is the end of the connection all that tells the client where the body ends?"""
        return self.committed and self.body_allowed and not self.chunked and self.content_length < 0

    # ---- the way out ----

    cdef bint flush(self) except -1:
        """Send what is queued; False when the socket is full.  Raises ClientDisconnected."""
        cdef sock_status status
        if self.out is NULL:
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
        if status == SOCK_EOF:
            log.error("a file became shorter while it was sent; the connection is closed")
            raise ClientDisconnected("the response was cut short")
        if status == SOCK_FAILED:
            log.error("a response could not be sent; the connection is closed")
        raise ClientDisconnected("the client has gone")

    cdef int wait_until_sent(self) except -1:
        """write() has nothing to return to while octets are unsent, so it waits, without the interpreter lock."""
        cdef sock_status status
        cdef int timeout_ms = self.defaults.write_timeout_ms
        while not self.flush() or not outbox_is_empty(self.out):
            status = self.wait(True, timeout_ms)
            if self.out is NULL:
                raise RuntimeError("the request ended while a thread of the application was still sending")
            if status != SOCK_OK:
                self.keep_alive = False
                self.client_gone = True
                raise ClientDisconnected(
                    "the client did not read for %g s" % (timeout_ms / 1000) if status == SOCK_AGAIN
                    else "the client has gone")
        return 0

    cdef sock_status wait(self, bint for_write, int timeout_ms) except *:
        """Wait for the client on the thread of the application, without the interpreter lock.

        In slices, so that signal handlers run and a stop is seen.  SOCK_AGAIN: the time is up.
        """
        cdef sock_status status = SOCK_AGAIN
        cdef int fd = self.fd, slice_ms
        while status == SOCK_AGAIN and timeout_ms > 0 and self.out is not NULL:
            slice_ms = min(timeout_ms, WAIT_SLICE_MS)
            timeout_ms -= slice_ms
            with nogil:
                status = sock_wait(fd, for_write, slice_ms)
            PyErr_CheckSignals()
            if self.out is not NULL and self.defaults.stop_at_ms != 0:
                self.check_stop()
        return status

    def suspend(self, result, blocks, /):
        self.suspended = (result, blocks)

    def take_suspended(self):
        suspended = self.suspended
        self.suspended = None
        return suspended


cdef object head_too_long():
    return ValueError(f"the response head is longer than {RESPONSE_HEAD_BYTES_MAX} bytes")


cdef object wrong_field(head_write outcome, object field):
    if outcome == HEAD_WRITE_FULL:
        return head_too_long()
    if outcome == HEAD_WRITE_NAME_INVALID:
        return ValueError(
            f"start_response: the header name {shortened(field[0])} is not a token (RFC 9110 §5.1)")
    return ValueError(
        f"start_response: the value of header {shortened(field[0])} has a control character: "
        f"{shortened(field[1])} (RFC 9110 §5.5)")


cdef bytes early_hints_text(object headers):
    """A complete 103 response (RFC 8297)."""
    cdef char[HINT_BYTES_MAX] text
    cdef head_writer writer
    cdef head_write outcome
    cdef response_field known
    cdef Py_ssize_t name_len = 0, value_len = 0
    cdef const char *name
    cdef const char *value
    writer.at = text
    writer.len = 0
    writer.cap = HINT_BYTES_MAX
    response_text_write(&writer, b"HTTP/1.1 103 Early Hints\r\n", 26)
    for field in headers:
        check_is_pair(field, "early hints")
        try:
            name = native_text(<object>PyTuple_GET_ITEM(field, 0), &name_len)
            value = native_text(<object>PyTuple_GET_ITEM(field, 1), &value_len)
        except (TypeError, ValueError) as error:
            raise type(error)(f"early hints: name and value of a header {error} in {shortened(field)}") from None
        known = response_field_id(name, <size_t>name_len)
        if known == RESPONSE_FIELD_HOP_BY_HOP or known == RESPONSE_FIELD_CONTENT_LENGTH:
            raise ValueError(
                f"early hints: {shortened(field[0])} has no place in a 103 response (RFC 9110 §7.6.1, §8.6)")
        outcome = response_field_write(&writer, name, <size_t>name_len, value, <size_t>value_len)
        if outcome != HEAD_WRITE_OK:
            raise wrong_field(outcome, field)
    if response_text_write(&writer, b"\r\n", 2) != HEAD_WRITE_OK:
        raise head_too_long()
    return text[:writer.len]
