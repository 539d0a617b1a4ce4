# One thread of the crew that runs a loop: its scratch, its clock, what it recycles, its seat in the roster.
#
# Owner: the loop, for as long as it lives.  Used by its own thread only, but for the seat and the inbox.
# Lock: the interpreter lock; without one everything here is the thread's own, and the inbox is the loop's lock's.
# Errors: MemoryError when it is made.

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from headrace.engine.body cimport RequestBody
from headrace.engine.csrc cimport POLLER_EVENTS_MAX, mutex, poller_event, score_row, seat
from headrace.engine.head cimport HeadReader
from headrace.engine.response cimport Response
from headrace.engine.response_head cimport response_defaults

cdef enum:
    RECEIVE_BYTES = 65536
    LOOK_AFTER_MS = 1      # a request that waited longer than this may have lost its client

cdef struct channel_queue:
    PyObject *first              # strong; linked by Channel.next and Channel.previous
    PyObject *last
    int count


cdef class LoopThread:
    cdef bint may_run                # the application; not the spare, and not while stepping back
    cdef HeadReader heads
    cdef char *receive_scratch       # RECEIVE_BYTES
    cdef char *send_scratch          # answers_bytes_max + RESPONSE_ROOM_BYTES
    cdef size_t send_scratch_bytes
    cdef Response spare_response     # recycled when nobody else holds it
    cdef RequestBody spare_body      # likewise, for requests without a body
    cdef response_defaults defaults
    cdef int64_t date_s              # the second that the Date line shows
    cdef int64_t unix_offset_ns      # time of day less monotonic, as of then
    cdef uint64_t date_until_ms      # when to look at the time of day again

    cdef int64_t now_ns              # monotonic, as of the last return from the poller or from the application
    cdef uint64_t now_ms
    cdef uint64_t polled_ms          # as of the last return from the poller alone
    cdef uint64_t came_since_ms      # what the poller reported then may have come at any time from here on
    cdef poller_event events[POLLER_EVENTS_MAX]
    cdef int events_last             # how many the last wait gave: a busy loop polls before it gives up the lock
    cdef int polls_locked            # since the interpreter lock was last given up
    cdef int64_t call_ns             # how long calls take: a moving average

    cdef volatile bint has_ended     # and does nothing any more
    cdef seat seat
    cdef bint has_seat
    cdef channel_queue inbox         # suspended iterables of this thread whose client has read on, or gone
    cdef object unsent               # the Channel whose finished answers wait behind this thread's call, or None

    # its row on the scoreboard, and what the watchdog has seen there (watching.pyx)
    cdef score_row *row              # NULL: nobody wants to know
    cdef object shown_method         # what the row shows
    cdef object shown_target
    cdef score_row own_row           # where --timeout is set and there is no scoreboard
    cdef mutex call_guard            # without interpreter lock: a call ends, or is interrupted
    cdef unsigned long ident         # as threading.get_ident() says; 0: it has not run yet
    cdef bint interrupted            # an exception was sent after its call, which has to be called back
    cdef uint64_t seen_progress
    cdef uint64_t seen_since_ms      # the call has not progressed since then
    cdef uint64_t seen_at_ms         # when that was seen,
    cdef double seen_cpu_s           # ... and the thread's CPU time then
    cdef uint64_t told_every_ms      # the log is told of a call that does not progress
    cdef object told_stack           # str, what it was shown of that

    cdef void tick(self) noexcept
    cdef uint64_t ms_since(self, uint64_t at_ms) noexcept
    cdef void begin_call(self) noexcept
    cdef void end_call(self) noexcept
    cdef void show_call(self, bint is_new, uint64_t began_ms, object method, object target) noexcept
    cdef void end_watched_call(self) noexcept
    cdef void hide_call(self) noexcept
    cdef Response take_response(self)
    cdef void recycle(self, Response response) noexcept
    cdef RequestBody take_empty_body(self)
    cdef void retire(self) noexcept
