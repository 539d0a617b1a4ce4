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
from headrace.engine.referee cimport Referee

cdef enum trust:
    TRUST_UNKNOWN                    # nobody has asked yet
    TRUSTED
    NOT_TRUSTED


cdef class HeadPlace:
    # What a connection remembers of its heads.
    cdef int listener                # index of the one that it came through
    cdef object remote_addr          # str
    cdef object remote_port          # str
    cdef dict told                   # what the PROXY protocol adds to environ, or None
    cdef trust peer_trust            # its statements about clients
    cdef request_head *partial       # a head that is not complete: where the parser has got to; owned
    cdef FieldMemo memo              # the previous head, from the second request on: most connections that come back
                                     # once do so often, and those that do not should cost no memory
    cdef bint came_back              # a head has been read
    cdef object sent_method          # str, ASCII without control octets: of the last head, whatever the application
    cdef object sent_target          # does to its environ; kept for the report of its failure, until trimmed.  None:
                                     # its request line was refused

    cdef void restore(self, request_head *head, field_line *fields) noexcept
    cdef int keep(self, const request_head *head) except -1
    cdef void took_request_line(self, object method, object target) noexcept


cdef class HeadReader:
    cdef head_limits limits
    cdef list templates              # EnvironTemplate of each listener
    cdef field_line *fields          # limits.fields_max
    cdef request_head head           # scratch
    cdef bint keeps_octets           # environ gets the octets of the head, too
    cdef object rules                # forwarded_rules.ForwardedRules; None: what proxies say are fields like others
    cdef Referee referee             # None: nobody reads the head a second time

    # the outcome of the last read that said HEAD_DONE
    cdef dict environ
    cdef size_t used                 # octets of the head
    cdef bint http_1_1
    cdef bint same_fields            # its field lines are those that the memo has
    cdef bint keep_alive
    cdef bint expect_continue
    cdef framing body_framing
    cdef uint64_t body_bytes
    # ... and of any
    cdef bint to_head                # the method is HEAD, as far as is known
    cdef request_error error         # of one that said HEAD_ERROR
    cdef object objection            # what the referee has said, with REQUEST_READ_IN_TWO_WAYS

    cdef head_status read(self, HeadPlace place, const char *at, size_t len) except *
    cdef int keep_octets(self, const char *at, size_t len) except -1
    cdef int copy_environ(self, FieldMemo memo) except -1
    cdef bint trusts_peer(self, HeadPlace place) except? True
    cdef head_status judge(self, HeadPlace place, FieldMemo memo) except *
    cdef dict request_line(self, HeadPlace place, const char *at)
    cdef dict partial_line(self, HeadPlace place, const char *at)
    cdef EnvironTemplate template_of(self, HeadPlace place)
    cdef void from_memo(self, FieldMemo memo) noexcept
    cdef bint fields_as_before(self, FieldMemo memo, const char *at, size_t len) noexcept
    cdef head_status accept_same_fields(self, HeadPlace place, const char *at) except *
    cdef head_status accept_new_fields(self, HeadPlace place, const char *at) except *
