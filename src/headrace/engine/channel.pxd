# One client socket: its state, its way out (the outbox), and its end.  What is asked and answered over it is
# connection.pyx's business, which builds on this.
#
# Owner: the loop's table, from accept to close.  Lock: the interpreter lock; one owner at a time.
# Errors: what the peer does is dealt with here; an exception that leaves a method is a fault of ours, and the loop
# closes the connection and logs it.
#
# States and the legal moves between them (asserted in debug builds):
#
#     IDLE ──> HEAD ──> BODY ──> APP ──> WRITE ──> IDLE ...   (WRITE goes back to HEAD or BODY when answers to
#                                                                earlier requests filled the socket meanwhile)
#      │ ^──────┴────────┴───────^│ ^─────┘│
#      └──> LINGER <─────────────-┴────────┘ ──> CLOSED   (from every state)

from libc.stdint cimport int64_t, uint32_t, uint64_t

from headrace.engine.body cimport BodyBudget, RequestBody
from headrace.engine.csrc cimport buffer, deadline, deadline_queue, outbox, poller
from headrace.engine.head cimport HeadPlace, HeadReader
from headrace.engine.response cimport Response, response_defaults

cdef enum connection_state:
    IDLE      # between requests, nothing received of the next
    HEAD      # part of a head has come
    BODY      # the head is complete, the body is not
    APP       # the application runs
    WRITE     # the socket is full: the rest of the response waits
    LINGER    # all is sent; reading what the client still sends, so that it gets to read our answer (RFC 9112 §9.6)
    CLOSED

cdef enum:
    RECEIVE_BYTES = 65536


cdef class LoopBase:
    # The part of the loop that connections use.
    cdef object application
    cdef object run_request          # headrace.wsgi.run, handed down
    cdef object resume
    cdef object abandon
    cdef object access_log           # callable(AccessRecord) or None
    cdef object error_stream         # wsgi.errors
    cdef poller *poller
    cdef bint edges                  # the poller reports edges: arming for reading is not needed
    cdef bint stopping

    # settings, in the units of their names
    cdef response_defaults defaults
    cdef int64_t body_bytes_max
    cdef int64_t body_memory_bytes_max
    cdef int64_t body_bytes_per_s_min
    cdef size_t answers_bytes_max
    cdef bint stream_bodies
    cdef bint keep_alive
    cdef object spool_folder
    cdef BodyBudget budget

    # scratch of the running thread
    cdef HeadReader heads
    cdef char *receive_scratch       # RECEIVE_BYTES
    cdef char *send_scratch          # answers_bytes_max + RESPONSE_ROOM_BYTES
    cdef size_t send_scratch_bytes
    cdef Response spare_response     # recycled when nobody else holds it
    cdef RequestBody spare_body      # likewise, for requests without a body

    cdef uint64_t now_ms             # monotonic, as of the last return from the poller or from the application
    cdef deadline_queue trim_deadlines    # an idle connection gives its memory back
    cdef deadline_queue idle_deadlines
    cdef deadline_queue head_deadlines
    cdef deadline_queue body_deadlines
    cdef deadline_queue write_deadlines
    cdef deadline_queue linger_deadlines

    cdef int push_ready(self, Channel channel) except -1
    cdef int forget(self, Channel channel) except -1
    cdef void tick(self) noexcept
    cdef int enter_with_unsent(self, Channel channel) except -1
    cdef void leave_with_unsent(self) noexcept
    cdef Response take_response(self)
    cdef void recycle(self, Response response) noexcept
    cdef RequestBody take_empty_body(self)


cdef class Channel(HeadPlace):
    cdef LoopBase loop
    cdef int fd                      # -1 once closed
    cdef uint64_t tag                # generation and fd, for the poller
    cdef connection_state state
    cdef bint registered             # with the poller
    cdef bint awaiting_room          # the poller was last asked for room to write, and says nothing of input
    cdef bint queued                 # in the loop's ready ring
    cdef bint readable               # an edge was reported and not used up
    cdef bint hung_up                # the peer has shut its side down, or the edge for it has come
    cdef bint at_eof                 # receiving has said so
    cdef bint ends_a_body            # the end of the connection is the end of the last response's body
    cdef bint closing                # no request is read any more; closed when all is sent
    cdef bint lingering              # ... and then lingers
    cdef deadline timer
    cdef buffer input                # received, not yet understood
    cdef outbox out
    cdef Response response           # being made, suspended, or with a block that is unsent; else None

    cdef void move(self, connection_state state) noexcept
    cdef int watch(self, uint32_t interest) except -1

    # sending
    cdef int ensure_room(self) except -1
    cdef bint flush(self) except -1
    cdef int wait_for_client(self) except -1
    cdef void let_go_of_response(self) noexcept
    cdef uint64_t unsent_bytes(self) noexcept
    cdef int on_write_deadline(self) except -1

    # the end
    cdef int close(self) except -1
    cdef bint cuts_a_body(self) noexcept
    cdef int abandon_response(self, Response response) except -1
    cdef int finish_closing(self) except -1
    cdef int drain(self) except -1
