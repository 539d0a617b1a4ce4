# One client socket: its state, its way out (the outbox), and its end.  What is asked and answered over it is
# connection.pyx's business, which builds on this.
#
# Owner: the loop's table, from accept to close.  Lock: one thread at a time has it (`thread`); what others may touch
# meanwhile, the queue links, pending events and the timer, is guarded by LoopBase.lock().
# Errors: what the peer does is dealt with here; an exception that leaves a method is a fault of ours, and the loop
# closes the connection and logs it.
#
# States and the legal moves between them (asserted in debug builds):
#
#     PROXY ──> IDLE ──> HEAD ──> BODY ──> WAITING ──> APP ──> WRITE ──> IDLE ...   (each but APP may be left out)
#
#     PROXY is where connections begin that have to open with a PROXY header.
#
#     WRITE goes back to APP with a suspended iteration, and to HEAD, BODY or WAITING when answers to earlier requests
#     filled the socket meanwhile.  LINGER and CLOSED can follow every state, but APP is ended first.

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t

from headrace.engine.access_lines cimport AccessLines
from headrace.engine.body cimport BodyBudget
from headrace.engine.csrc cimport buffer, deadline, deadline_queue, head_limits, mutex, outbox, poller
from headrace.engine.head cimport HeadPlace
from headrace.engine.response cimport Response
from headrace.engine.thread cimport LoopThread

cdef enum connection_state:
    PROXY     # the PROXY header has not come as a whole
    IDLE      # between requests, nothing received of the next
    HEAD      # part of a head has come
    BODY      # the head is complete, the body is not
    WAITING   # the request is complete, no thread runs it yet
    APP       # the application runs
    WRITE     # the socket is full: the rest of the response waits
    LINGER    # all is sent; reading what the client still sends, so that it gets to read our answer (RFC 9112 §9.6)
    CLOSED

cdef enum queue_place:
    NOWHERE
    IN_RING       # there is something to do
    IN_WAITING    # a complete request
    IN_INBOX      # of the one thread that may go on with it


cdef class LoopBase:
    # The part of the loop that connections use.  What changes is guarded by lock(), which is the interpreter lock where
    # there is one; no Python code runs and nothing is waited for while it is held.
    cdef mutex guard                 # the lock of interpreters that have none
    cdef object application
    cdef object run_request          # headrace.wsgi.run, handed down
    cdef object resume
    cdef object abandon
    cdef AccessLines access_lines    # the access log, or None
    cdef object error_stream         # wsgi.errors
    cdef object base_context         # contextvars.Context of who called run(); each request gets a copy
    cdef object config
    cdef poller *poller
    cdef bint edges                  # the poller reports edges: arming for reading is not needed
    cdef volatile bint stopping
    cdef volatile bint retiring      # ... and idle connections live on until their next request or their deadline
    cdef volatile bint draining      # health checks fail: a stop is to follow, or has begun
    cdef bint forked        # this is a child that the application has forked: nothing here is its own
    cdef volatile uint64_t stop_at_ms       # monotonic: when responses that still go on are cut; 0: not stopping
    cdef volatile bint cut_asked     # stop at once: what is in flight is not waited for
    cdef volatile uint64_t retired_ms       # monotonic: when that was asked for; 0: not retiring
    cdef volatile uint64_t leader_until_ms  # how long the thread in the poller will wait; 0: none does
    cdef volatile uint64_t asked_ms  # when the poller was last asked, and what it said was noted

    # settings, in the units of their names
    cdef head_limits limits
    cdef int64_t body_bytes_max
    cdef int64_t body_memory_bytes_max
    cdef int64_t body_bytes_per_s_min
    cdef size_t answers_bytes_max
    cdef bint stream_bodies
    cdef bint keep_alive
    cdef bytes keep_alive_lines      # what an answer says of that
    cdef bytes keep_alive_end        # ... with the empty line behind it
    cdef str health_target           # --health-path, or None
    cdef uint64_t queue_deadline_ms  # 0: none
    cdef uint64_t timeout_ms         # 0: none; of a call of the application, see watching.pxd
    cdef object spool_folder
    cdef BodyBudget budget

    cdef volatile uint64_t earliest_ms        # no deadline passes before it; it may be one that was put off since
    cdef deadline_queue trim_deadlines    # an idle connection gives its memory back
    cdef deadline_queue idle_deadlines
    cdef deadline_queue head_deadlines
    cdef deadline_queue body_deadlines
    cdef deadline_queue queue_deadlines   # a request waits for a thread
    cdef deadline_queue write_deadlines
    cdef deadline_queue linger_deadlines

    cdef volatile bint has_forked    # since run() began: children may have our clients' descriptors
    cdef dict cut_requests           # tag -> what the log will say of a request that was cut at the stop
    # what has happened, since the start
    cdef int64_t skipped             # requests whose client had gone before they were run
    cdef int64_t queued_too_long     # requests answered by 503 after queue_deadline
    cdef int64_t proxy_headers_refused    # connections closed for theirs
    cdef int64_t read_in_two_ways    # requests refused by --referee
    cdef int64_t tls_hellos          # connections that began with TLS
    cdef uint64_t proxy_told_ms      # when the log may be told of the next one
    cdef uint64_t objection_told_ms  # the same of a request that the referee refuses
    cdef uint64_t tls_told_ms        # ... and of somebody who speaks TLS
    cdef object proxy_networks       # networks.Networks of --proxy-allow-from, or None: there is no PROXY protocol

    cdef void lock(self) noexcept nogil
    cdef void unlock(self) noexcept nogil
    cdef int forget(self, Channel channel) except -1
    cdef str listener_name(self, int listener)
    cdef int has_idled(self) except -1
    cdef void wake_leader(self) noexcept
    cdef bint knows_events(self, LoopThread thread) except -1
    cdef int enter_application(self, LoopThread thread, Channel unsent) except -1
    cdef void leave_application(self, LoopThread thread) noexcept


cdef class Channel(HeadPlace):
    cdef LoopBase loop
    cdef LoopThread thread           # that has it at present: its one owner; None: the loop, or a queue
    cdef int fd                      # -1 once closed
    cdef uint64_t tag                # generation and fd, for the poller
    cdef connection_state state
    cdef bint registered             # with the poller
    cdef bint awaiting_room          # the poller was last asked for room to write, and says nothing of input
    cdef PyObject *next              # in the queue that it is in; the queue owns one reference
    cdef PyObject *previous
    cdef queue_place queued
    cdef bint again                  # its owner has left something to do: into the ring when he lets go
    cdef bint for_home               # ... that only the thread of its suspended response may do
    cdef uint32_t pending            # events that came while it had an owner
    cdef uint64_t pending_ms         # when the last of them did, and at the earliest
    cdef uint64_t pending_since_ms
    cdef deadline_queue *passed      # a deadline that passed then
    cdef deadline_queue *expired     # a deadline has passed: that is why it is in the ring
    cdef uint64_t arrived_ms         # when the poller last spoke of it: a request that is complete waits from then on
    cdef uint64_t came_since_ms      # ... and when it may have come at the earliest
    cdef uint64_t began_ms           # when the application was last called
    cdef bint readable               # an edge was reported and not used up
    cdef bint hung_up                # the peer has shut its side down, or the edge for it has come
    cdef bint at_eof                 # receiving has said so
    cdef bint ends_a_body            # the end of the connection is the end of the last response's body
    cdef bint shared                 # a response before has given out a duplicate of the descriptor
    cdef bint closing                # no request is read any more; closed when all is sent
    cdef bint lingering              # ... and then lingers
    cdef deadline timer
    cdef buffer input                # received, not yet understood
    cdef outbox out
    cdef Response response           # being made, suspended, or with a block that is unsent; else None

    cdef void move(self, connection_state state) noexcept
    cdef void arm(self, deadline_queue *queue) noexcept
    cdef void arm_at(self, deadline_queue *queue, uint64_t at_ms) noexcept
    cdef void disarm(self) noexcept
    cdef int on_deadline(self, deadline_queue *queue) except -1
    cdef int watch(self, uint32_t interest) except -1
    cdef str shown_request(self)
    cdef str shown_client(self)

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
    cdef bint has_sharers(self) noexcept
    cdef int farewell(self) except -1
    cdef bint may_call(self, Response response) noexcept
    cdef int abandon_response(self, Response response) except -1
    cdef int finish_closing(self) except -1
    cdef bint has_more(self) noexcept
    cdef int drain(self) except -1


cdef void end_child(object failure) noexcept
