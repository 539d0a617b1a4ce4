# Octets -> one request head and its environ: where the parser, the rules across fields, the framing and the memo of
# the previous head meet.
#
# Owner: a HeadReader belongs to the running thread and holds no state from one read to the next; what has to be
# kept between two reads is in the HeadPlace, which every connection is.
# Lock: the interpreter lock.  Errors: HEAD_ERROR and reader.error; MemoryError.

from libc.stdint cimport uint64_t

from headrace.engine.csrc cimport (
    field_line, framing, head_limits, head_status, request_error, request_head)
from headrace.engine.environ cimport EnvironTemplate, FieldMemo


cdef class HeadPlace:
    # What a connection remembers of its heads.
    cdef EnvironTemplate template
    cdef object remote_addr          # str
    cdef object remote_port          # str
    cdef request_head *partial       # a head that is not complete: where the parser has got to; owned
    cdef FieldMemo memo              # the previous head, from the second request on: most connections that come back
                                     # once do so often, and those that do not should cost no memory
    cdef bint came_back              # a head has been read

    cdef void restore(self, request_head *head, field_line *fields) noexcept
    cdef int keep(self, const request_head *head) except -1


cdef class HeadReader:
    cdef head_limits limits
    cdef field_line *fields          # limits.fields_max
    cdef request_head head           # scratch

    # the outcome of the last read that said HEAD_DONE
    cdef dict environ
    cdef size_t used                 # octets of the head
    cdef bint http_1_1
    cdef bint keep_alive
    cdef bint expect_continue
    cdef framing body_framing
    cdef uint64_t body_bytes
    # ... and of any
    cdef bint to_head                # the method is HEAD, as far as is known
    cdef request_error error         # of one that said HEAD_ERROR

    cdef head_status read(self, HeadPlace place, const char *at, size_t len) except *
    cdef dict request_line(self, HeadPlace place, const char *at)
    cdef void from_memo(self, FieldMemo memo) noexcept
    cdef bint fields_as_before(self, FieldMemo memo, const char *at, size_t len) noexcept
    cdef head_status accept_same_fields(self, HeadPlace place, const char *at) except *
    cdef head_status accept_new_fields(self, HeadPlace place, const char *at) except *
