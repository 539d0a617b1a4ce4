# The body of a request that the application reads as it arrives (--stream-request-body).
#
# Owner: the RequestBody and, for as long as the request lasts, the connection.
# Threads: those of the application, which wait here for a slow client.
# Lock: the interpreter lock, or a critical section where there is none; given up while waiting.
# Errors: ClientDisconnected (cut short), BodyRefused (malformed, too long or too slow), ValueError (read too late).

from libc.stdint cimport int64_t

from headrace.engine.body cimport BodySource
from headrace.engine.csrc cimport buffer, chunk_decoder, head_limits
from headrace.engine.response cimport Response

cdef enum:
    STREAM_RECEIVE_BYTES = 65536


cdef class StreamSource(BodySource):
    cdef int fd                      # the connection's
    cdef Response response           # of this request; None once it is over
    cdef const head_limits *limits   # the loop's, for trailers
    cdef int timeout_ms              # between two receives
    cdef int64_t bytes_per_s_min     # once the waits have lasted longer than timeout_ms together
    cdef int64_t waited_ns           # for the client; the application's own time does not count
    cdef int64_t waited_until_ns     # monotonic: so far they have been counted
    cdef int64_t received_bytes
    cdef int64_t bytes_max
    cdef buffer rest                 # received, not yet read
    cdef chunk_decoder decoder
    cdef bint chunked
    cdef bint complete               # the last chunk and its trailers have been read
    cdef bint expects_continue       # the client waits for leave to send
    cdef int64_t left_bytes          # of a body with Content-Length
    cdef int64_t got_bytes           # of a chunked one

    cdef void detach(self) noexcept  # the request is over: nothing more is received
    cdef bytes pull_now(self, size_t bytes_max)
    cdef bint receive_more(self, Response response) except -1
    cdef int wait(self, Response response) except -1
    cdef bint is_too_slow(self) noexcept
    cdef int allow_body(self, Response response) except -1
    cdef bytes decode(self, size_t bytes_max)
    cdef bytes decode_chunks(self)
