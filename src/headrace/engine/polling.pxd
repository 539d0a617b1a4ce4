# One turn of the loop: ask the poller, note what it reports, look at the deadlines.
#
# Owner, lock: accepting.pxd; the interpreter lock is given up only while waiting in the poller.
# Thread: who leads (crew.pxd).
# Errors: OSError where the poller cannot be had; what happens to one connection never ends the loop.

from libc.stdint cimport uint32_t, uint64_t

from headrace.engine.accepting cimport AcceptingLoop
from headrace.engine.connection cimport Connection
from headrace.engine.crew cimport verdict
from headrace.engine.csrc cimport deadline_queue
from headrace.engine.thread cimport LoopThread

cdef extern from "Python.h":
    int PyErr_CheckSignals() noexcept  # not 0: a handler has raised, see handler_raised()

cdef enum:
    DEADLINE_KINDS = 7
    WAIT_MS_MAX = 60000
    BELL_TAG = 0x7FFFFFFF  # listeners have their numbers, connections more than 32 bits
    ANYTHING = 1 << 30     # makes Channel.pending something, whatever the poller said

cdef enum:
    ON_READY
    ON_DEADLINE
    ON_CUT


cdef class PollingLoop(AcceptingLoop):
    cdef deadline_queue *queues[DEADLINE_KINDS]
    cdef bint handlers_leave         # what a signal's handler raises leaves the loop
    cdef object beat                 # called about every beat_every_ms by who asks the poller, or None
    cdef uint64_t beat_every_ms
    cdef uint64_t beat_at_ms

    # one turn
    cdef verdict poll(self, LoopThread thread, int timeout_ms_max) except *
    cdef int begin_wait(self, LoopThread thread, int timeout_ms_max) noexcept
    cdef void note_asked(self, LoopThread thread, int count) noexcept
    cdef int take_events(self, LoopThread thread, int count) except -1
    cdef int take_event(self, LoopThread thread, uint64_t tag, uint32_t flags) except -1
    cdef int guarded(self, Connection connection, int what, deadline_queue *queue) except -1
    cdef int handler_raised(self) except -1
    cdef int answer_bell(self) except -1
    cdef int look_after_stop(self, LoopThread thread) except -1

    # deadlines
    cdef int make_deadlines(self, config) except -1
    cdef int expire(self, LoopThread thread) except -1
    cdef bint expire_one(self, LoopThread thread, deadline_queue *queue, uint64_t by_ms) except -1
    cdef int do_beat(self, LoopThread thread) except -1
    cdef void find_earliest(self) noexcept
    cdef int wait_ms(self, LoopThread thread) noexcept


cdef uint64_t milliseconds(object seconds) except? 0
