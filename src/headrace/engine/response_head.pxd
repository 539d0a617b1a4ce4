# What `start_response` fills, and what the server adds to it (PEP 3333; RFC 9112 §4, §6).
#
# Owner: the Response, which this is the first half of.  Errors: what the application did wrong is an AssertionError,
# TypeError or ValueError that tells its author so.
#
# The head is written behind the outbox's end as soon as start_response is called, and committed with the first
# non-empty block; until then exc_info can take it back.

from libc.stdint cimport int64_t, uint64_t

from headrace.engine.body cimport BodySource
from headrace.engine.csrc cimport head_write, head_writer, outbox, response_field

cdef enum:
    DATE_LINE_BYTES = 37
    MORE_LINES_BYTES_MAX = 192  # longer ones are written by themselves


cdef struct response_defaults:
    # What the server adds to every head; the text lives as long as the thread that it belongs to.
    char date_line[DATE_LINE_BYTES + MORE_LINES_BYTES_MAX]   # "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", and ...
    size_t all_lines_bytes                   # ... the two below right behind it; 0: they are not there
    bint add_date
    bint add_server
    const char *server_line                  # "Server: headrace\r\n"; the loop's
    size_t server_line_bytes
    const char *keep_alive_lines             # "Connection: keep-alive\r\nKeep-Alive: timeout=75\r\n\r\n"; the loop's
    size_t keep_alive_lines_bytes            # 0: they are not sent
    bint log_headers                         # the access log shows fields of responses
    int write_timeout_ms
    const bint *forked          # this is a child of the application's: the client is its parent's
    const uint64_t *stop_at_ms  # monotonic: when responses that still go on are cut; 0: the server is not stopping
    const uint64_t *retired_ms  # ... or, unless 0, sooner: graceful_ms after that, or after the call began
    uint64_t graceful_ms


cdef class ResponseHead:
    # the connection's, borrowed
    cdef outbox *out
    cdef int fd
    cdef const response_defaults *defaults

    # what the request asks for
    cdef bint http_1_1
    cdef bint to_head           # the method is HEAD
    cdef bint keep_alive        # in: the client's wish; out: whether the connection persists
    cdef bint more_behind       # a further request has come with this one
    cdef BodySource body_source # of a body that is read as it arrives; else None

    # what the application said
    cdef readonly int status_code
    cdef bint started           # start_response was called
    cdef bint has_date
    cdef bint has_server
    cdef int64_t content_length # declared; -1: not
    cdef tuple logged_headers   # what start_response was given, where the access log shows fields of it; else None

    # how far it has got
    cdef head_writer head       # the head under construction, behind out.end
    cdef bint committed         # the head cannot be taken back any more
    cdef bint body_allowed      # not for HEAD, 204, 304
    cdef bint chunked
    cdef bint in_call           # the application, or its iterable, is being called

    cdef bint is_over(self) noexcept
    cdef void reset_head(self) noexcept
    cdef object take_start(self, object status, object headers, object exc_info)
    cdef int write_head(self, object status, object headers) except -1
    cdef int write_field(self, object field) except -1
    cdef bint admit_field(self, response_field known, object field, const char *value, size_t value_len) except -1
    cdef int commit(self, int64_t known_length) except -1
    cdef head_write write_lines(self, int64_t known_length) noexcept
    cdef head_write write_date_and_server(self) noexcept
    cdef head_write write_framing(self, int64_t known_length) noexcept
    cdef head_write write_end(self) noexcept
    cdef int start_raw_now(self, bytes head, int status_code, int64_t content_length) except -1
