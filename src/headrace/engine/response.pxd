# What `start_response` fills and the writer sends (PEP 3333; RFC 9112 §4, §6, §7).
#
# Owner: the connection for as long as the request lasts; the loop recycles one when nobody else holds it.
# Lock: the interpreter lock.
# Errors: what the application did wrong is an AssertionError, TypeError or ValueError that tells its author so;
# a client that has gone is ClientDisconnected.
#
# The head is written behind the outbox's end as soon as start_response is called, and committed with the first
# non-empty block; until then exc_info can take it back.

from libc.stdint cimport int64_t, uint64_t

from headrace.engine.body cimport BodySource
from headrace.engine.csrc cimport head_write, head_writer, outbox, response_field, sock_status

cdef enum:
    RESPONSE_HEAD_BYTES_MAX = 65536
    COPIED_BYTES_MAX = 8192     # blocks up to this size are copied behind the head, larger ones sent where they lie
    DATE_LINE_BYTES = 37
    HINT_BYTES_MAX = 8192       # a 103 response
    # what one response may put into the outbox before it is flushed: hints, head, a copied block and its framing
    RESPONSE_ROOM_BYTES = HINT_BYTES_MAX + RESPONSE_HEAD_BYTES_MAX + COPIED_BYTES_MAX + 256


cdef struct response_defaults:
    # What the server adds to every head; the text lives as long as the loop.
    char date_line[DATE_LINE_BYTES]          # "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
    bint add_date
    bint add_server
    int write_timeout_ms
    uint64_t stop_at_ms         # monotonic: when responses that still go on are cut; 0: the server is not stopping


cdef class Response:
    # the connection's, borrowed
    cdef outbox *out
    cdef int fd
    cdef const response_defaults *defaults

    # what the request asks for
    cdef bint http_1_1
    cdef bint to_head           # the method is HEAD
    cdef bint keep_alive        # in: the client's wish; out: whether the connection persists

    # what the application said
    cdef readonly int status_code
    cdef bint started           # start_response was called
    cdef bint has_date
    cdef bint has_server
    cdef bint one_block
    cdef int64_t content_length # declared; -1: not

    # how far it has got
    cdef head_writer head       # the head under construction, behind out.end
    cdef bint committed         # the head cannot be taken back any more
    cdef bint body_allowed      # not for HEAD, 204, 304
    cdef bint chunked
    cdef bint finished
    cdef readonly bint satisfied  # no more blocks are wanted: none may follow, or more came than was declared
    cdef bint overrun             # the application went past its Content-Length
    cdef bint client_gone         # it was this response's client that ClientDisconnected speaks of
    cdef readonly int64_t body_bytes  # handed over, without framing
    cdef object held            # the block or file that the outbox points into
    cdef BodySource body_source # of a body that is read as it arrives; else None
    cdef object suspended       # (result, iterator) or None
    cdef readonly object start_response  # the bound method, made once
    cdef readonly object early_hints

    cdef void begin(self, outbox *out, int fd, bint http_1_1, bint to_head, bint keep_alive) noexcept
    cdef int write_head(self, object status, object headers) except -1
    cdef int write_field(self, object field) except -1
    cdef int send_interim(self, const char *text, size_t len) except -1
    cdef bint admit_field(self, response_field known, object field, const char *value, size_t value_len) except -1
    cdef head_write write_framing(self, int64_t known_length) noexcept
    cdef int commit(self, int64_t known_length) except -1
    cdef int check_room(self) except -1
    cdef int queue(self, const char *at, size_t len, object owner) except -1
    cdef int check_stop(self) except -1
    cdef int queue_block(self, object block) except -1
    cdef size_t within_content_length(self, size_t len) except? 0
    cdef void queue_last_chunk(self) noexcept
    cdef int wait_until_sent(self) except -1
    cdef sock_status wait(self, bint for_write, int timeout_ms) except *
    cdef bint ends_with_connection(self) noexcept
    cdef bint flush(self) except -1
    cdef void reset_head(self) noexcept
    cdef void release(self) noexcept
    cdef void retire(self) noexcept
