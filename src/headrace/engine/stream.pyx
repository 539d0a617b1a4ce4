"""Bodies that are read as they arrive: see stream.pxd."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t

from headrace.engine.body cimport BodySource
from headrace.engine.csrc cimport (
    BUFFER_OK, CHUNK_DONE, CHUNK_ERROR, REQUEST_BODY_TIMEOUT, REQUEST_BODY_TOO_LONG, SOCK_AGAIN, SOCK_OK,
    buffer_consume, buffer_free, buffer_reserve, chunk_decode, chunk_status, clock_monotonic_ns, sock_recv, sock_status)
from headrace.engine.response cimport Response
from headrace.errors import REFUSALS, ClientDisconnected

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1

cdef tuple REFUSAL_LIST = tuple(REFUSALS.values())
cdef const char *CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
cdef size_t CONTINUE_BYTES = 25


class BodyRefused(ClientDisconnected):
    """A body that is read as it arrives has turned out to be malformed, too long or too slow.

    error: the ``enum request_error``, from which the answer is made if none has begun.
    """

    def __init__(self, error):
        super().__init__(REFUSAL_LIST[error].explanation)
        self.error = error


cdef class StreamSource(BodySource):

    def __dealloc__(self):
        buffer_free(&self.rest)

    cdef void detach(self) noexcept:
        self.response = None
        self.fd = -1

    cdef bint is_complete(self) noexcept:
        return self.complete or (not self.chunked and self.left_bytes == 0)

    cdef bytes pull(self, size_t bytes_max):
        cdef bytes block
        while True:
            if self.is_complete():
                return b""
            if self.response is None:
                raise ValueError("wsgi.input was read after its request had ended")
            if self.rest.end > self.rest.start:
                block = self.decode(bytes_max)
                if block:
                    return block
            else:
                self.receive_more()

    cdef int receive_more(self) except -1:
        """Wait for the client, without the interpreter lock."""
        cdef size_t got = 0
        cdef sock_status status
        PyErr_CheckSignals()  # read() may go on receiving for long without a line of Python between
        if self.expects_continue:
            self.allow_body()
        if buffer_reserve(&self.rest, STREAM_RECEIVE_BYTES, 2 * STREAM_RECEIVE_BYTES) != BUFFER_OK:
            raise MemoryError
        while True:
            status = sock_recv(self.fd, self.rest.data + self.rest.end, STREAM_RECEIVE_BYTES, &got)
            if status == SOCK_OK:
                self.rest.end += got
                self.received_bytes += <int64_t>got
                if self.is_too_slow():
                    raise BodyRefused(<int>REQUEST_BODY_TIMEOUT)
                return 0
            if status != SOCK_AGAIN:
                self.response.client_gone = True
                raise ClientDisconnected("the client has gone before its request body was complete")
            self.wait()
            if self.response is None:
                # a thread of the application waited here while its request ended; the descriptor is not ours any more
                raise ValueError("the request ended while wsgi.input was being read")

    cdef int wait(self) except -1:
        cdef Response response = self.response  # the request may end while a thread of the application waits here
        cdef int64_t since_ns = clock_monotonic_ns()
        cdef sock_status status = response.wait(False, self.timeout_ms)
        self.waited_ns += clock_monotonic_ns() - since_ns
        if status == SOCK_AGAIN and self.response is not None:
            raise BodyRefused(<int>REQUEST_BODY_TIMEOUT)
        return 0

    cdef bint is_too_slow(self) noexcept:
        """A body that drips holds a thread here: the same least rate holds as for bodies that the loop receives."""
        cdef int64_t waited_ms = self.waited_ns // 1000000
        return waited_ms > self.timeout_ms and self.received_bytes * 1000 < self.bytes_per_s_min * waited_ms

    cdef int allow_body(self) except -1:
        """RFC 9110 §10.1.1: 100 at the first read, unless the final response has begun already."""
        self.expects_continue = False
        if not self.response.committed:
            self.response.send_interim(CONTINUE, CONTINUE_BYTES)
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
