"""Bodies that are read as they arrive: see stream.pxd."""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t

from headrace.engine.body cimport BodySource
from headrace.engine.csrc cimport (
    BUFFER_OK, CHUNK_DONE, CHUNK_ERROR, REQUEST_BODY_TIMEOUT, REQUEST_BODY_TOO_LONG, RESPONSE_CONTINUE,
    RESPONSE_CONTINUE_BYTES, SOCK_AGAIN, SOCK_OK, buffer_consume, buffer_free, buffer_reserve, chunk_decode,
    chunk_status, clock_monotonic_ns, score_progress, score_row, sock_recv, sock_status)
from headrace.engine.response cimport WAIT_SLICE_MS, Response
from headrace.errors import ClientDisconnected, refusal_of

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1


class BodyRefused(ClientDisconnected):
    """A body that is read as it arrives has turned out to be malformed, too long or too slow.

    error: the ``enum request_error``, from which the answer is made if none has begun.
    """

    def __init__(self, error):
        super().__init__(refusal_of(error).explanation)
        self.error = error


cdef class StreamSource(BodySource):

    def __dealloc__(self):
        buffer_free(&self.rest)

    cdef void detach(self) noexcept:
        with cython.critical_section(self):  # a thread of the application may be reading
            self.response = None
            self.fd = -1

    cdef bint is_complete(self) noexcept:
        return self.complete or (not self.chunked and self.left_bytes == 0)

    cdef bytes pull(self, size_t bytes_max):
        with cython.critical_section(self):
            return self.pull_now(bytes_max)

    cdef bytes pull_now(self, size_t bytes_max):
        """None: it has waited, and other threads of the application may have read, or ended the request, meanwhile."""
        cdef Response response
        cdef bytes block
        while True:
            PyErr_CheckSignals()  # read() may go on receiving for long without a line of Python between
            if self.is_complete():
                return b""
            response = self.response
            if response is None or response.is_over():
                raise ValueError("wsgi.input was read after its request had ended")
            if response.client_gone:
                raise ClientDisconnected("the client has gone before its request body was complete")
            if self.rest.end > self.rest.start:
                block = self.decode(bytes_max)
                if block:
                    return block
            elif self.expects_continue:
                self.allow_body(response)
            elif not self.receive_more(response):
                self.wait(response)
                return None

    cdef bint receive_more(self, Response response) except -1:
        """False: nothing has come."""
        cdef score_row *row = response.row
        cdef size_t got = 0
        cdef sock_status status
        if buffer_reserve(&self.rest, STREAM_RECEIVE_BYTES, 2 * STREAM_RECEIVE_BYTES) != BUFFER_OK:
            raise MemoryError
        status = sock_recv(self.fd, self.rest.data + self.rest.end, STREAM_RECEIVE_BYTES, &got)
        if status == SOCK_AGAIN:
            return False
        if status != SOCK_OK:
            if response.defaults.stop_at_ms[0] != 0:
                response.check_stop()  # it may be us who ended the connection
            response.client_gone = True
            raise ClientDisconnected("the client has gone before its request body was complete")
        self.rest.end += got
        self.received_bytes += <int64_t>got
        if row is not NULL:
            score_progress(row)
        if self.is_too_slow():
            raise BodyRefused(<int>REQUEST_BODY_TIMEOUT)
        return True

    cdef int wait(self, Response response) except -1:
        """For the client, without the interpreter lock.

        In slices: another thread may receive what this one waits for.  Waits side by side count once.
        """
        cdef int64_t since_ns = clock_monotonic_ns(), received_bytes = self.received_bytes
        cdef int left_ms = self.timeout_ms, slice_ms
        cdef sock_status status = SOCK_AGAIN
        while status == SOCK_AGAIN and self.received_bytes == received_bytes and not response.is_over():
            if left_ms == 0:
                raise BodyRefused(<int>REQUEST_BODY_TIMEOUT)
            slice_ms = min(left_ms, WAIT_SLICE_MS)
            left_ms -= slice_ms
            status = response.wait(False, slice_ms)
        since_ns = max(since_ns, self.waited_until_ns)
        self.waited_until_ns = clock_monotonic_ns()
        self.waited_ns += self.waited_until_ns - since_ns
        return 0

    cdef bint is_too_slow(self) noexcept:
        """A body that drips holds a thread here: the same least rate holds as for bodies that the loop receives."""
        cdef int64_t waited_ms = self.waited_ns // 1000000
        return waited_ms > self.timeout_ms and self.received_bytes * 1000 < self.bytes_per_s_min * waited_ms

    cdef int allow_body(self, Response response) except -1:
        """RFC 9110 §10.1.1: 100 at the first read, unless the final response has begun already."""
        self.expects_continue = False
        with cython.critical_section(response):
            if not response.committed and not response.is_over():
                response.send_interim(RESPONSE_CONTINUE, RESPONSE_CONTINUE_BYTES)
        return 0

    cdef bytes decode(self, size_t bytes_max):
        cdef size_t len
        if self.chunked:
            return self.decode_chunks()
        len = min(bytes_max, self.rest.end - self.rest.start, <size_t>self.left_bytes)
        block = PyBytes_FromStringAndSize(self.rest.data + self.rest.start, <Py_ssize_t>len)
        buffer_consume(&self.rest, len)
        self.left_bytes -= <int64_t>len
        return block

    cdef bytes decode_chunks(self):
        """The next run of data; b"" when more octets are needed first, or at the end."""
        cdef size_t consumed = 0, len = 0
        cdef const char *at = NULL
        cdef bytes block = b""
        cdef chunk_status status = chunk_decode(
            &self.decoder, self.rest.data + self.rest.start, self.rest.end - self.rest.start, self.limits,
            &consumed, &at, &len)
        if status == CHUNK_ERROR:
            raise BodyRefused(<int>self.decoder.error)
        if len:
            self.got_bytes += <int64_t>len
            if self.got_bytes > self.bytes_max:
                raise BodyRefused(<int>REQUEST_BODY_TOO_LONG)
            block = PyBytes_FromStringAndSize(at, <Py_ssize_t>len)
        buffer_consume(&self.rest, consumed)
        self.complete = status == CHUNK_DONE
        return block
