# What `wsgi.input` is (PEP 3333, "Input and Error Streams"): the body of one request, read to its end and no further.
#
# Owner: environ, and so the application.  Lock: the interpreter lock, or a critical section where there is none.
# Errors: TypeError/ValueError for wrong arguments, OSError from a temporary file, ClientDisconnected from a stream.

from libc.stdint cimport int64_t

from headrace.engine.csrc cimport buffer, chunk_decoder, head_limits, request_error


cdef class BodyBudget:
    # How many octets of bodies one worker holds, and how many it may.
    cdef readonly int64_t memory_bytes
    cdef readonly int64_t memory_bytes_max
    cdef readonly int64_t spool_bytes
    cdef readonly int64_t spool_bytes_max

    cdef bint take_memory(self, int64_t more) noexcept
    cdef bint take_spool(self, int64_t more) noexcept
    cdef void give_back(self, int64_t memory, int64_t spool) noexcept


cdef class BodySource:
    # Where a RequestBody gets what it does not hold: the next block, b"" at the end, None after a wait for the client.
    cdef bytes pull(self, size_t bytes_max)
    cdef bint is_complete(self) noexcept  # has all of it come?


cdef class Spool(BodySource):
    # A body in a temporary file (or anonymous memory), written by the loop, read by the application.
    cdef int fd
    cdef readonly int64_t written_bytes
    cdef int64_t read_at
    cdef BodyBudget budget

    cdef bint write(self, const char *at, size_t len) except -1


cdef class RequestBody:
    cdef bytes block          # what has come and was not read: block[at:]
    cdef Py_ssize_t at
    cdef BodySource source    # None: the block is all there is
    cdef BodyBudget budget    # None: nothing to give back
    cdef int64_t leased_bytes # of the budget's memory

    cdef object read_now(self, object size)
    cdef object readline_now(self, object size)
    cdef object readlines_now(self, object hint)
    cdef void hold(self, bytes block) noexcept
    cdef bytes take(self, Py_ssize_t size)
    cdef bytes take_line(self, Py_ssize_t size, bint *found)
    cdef bint refill(self) except -1


cdef enum body_status:
    BODY_MORE      # all octets are consumed, the body is not complete
    BODY_COMPLETE
    BODY_REFUSED   # receiver.error says why


cdef class BodyReceiver:
    # A body on its way in: received by the loop before the application runs, in memory up to a mark, then in a Spool.
    cdef chunk_decoder decoder
    cdef bint chunked
    cdef int64_t left_bytes          # of a body with Content-Length
    cdef readonly int64_t got_bytes  # decoded
    cdef int64_t bytes_max
    cdef int64_t memory_bytes_max    # of this body
    cdef const head_limits *limits   # for trailers; the loop's
    cdef buffer memory
    cdef int64_t leased_bytes
    cdef BodyBudget budget
    cdef Spool spool
    cdef object spool_folder
    cdef request_error error
    cdef object failure              # OSError of the temporary file; None: the error is another one

    cdef body_status feed(self, const char *at, size_t len, size_t *used) except *
    cdef body_status feed_chunks(self, const char *at, size_t len, size_t *used) except *
    cdef bint has_room_to_gather(self, size_t len) noexcept
    cdef bint store(self, const char *at, size_t len) except -1
    cdef bint start_spool(self) except -1
    cdef bint write_to_spool(self, const char *at, size_t len) except -1
    cdef RequestBody finish(self)


cdef RequestBody whole_body(const char *at, size_t len, int64_t memory_bytes_max, BodyBudget budget)
