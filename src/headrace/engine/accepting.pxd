# The first floor of the loop above its crew: connections are taken in and let go of.
#
# Owner: the worker.  Lock: lock() of channel.pxd for the table, and around watching and unwatching.
# Errors: no memory for a connection closes it; what accept(2) says is the acceptor's business.

from libc.stdint cimport uint64_t

from headrace.engine.acceptor cimport Acceptor
from headrace.engine.channel cimport Channel
from headrace.engine.connection_table cimport ConnectionTable
from headrace.engine.crew cimport Crew
from headrace.engine.slot cimport Slot
from headrace.engine.thread cimport LoopThread

cdef enum:
    ACCEPTS_MAX = 64       # taken from a listener at once, so that accepting never starves serving
    LOOK_EVERY_MS = 20     # at the listeners, while held back and somebody waits there


cdef class AcceptingLoop(Crew):
    cdef ConnectionTable connections
    cdef int connections_max
    cdef uint64_t full_told_ms       # the log is told of that number at most once a minute
    cdef Acceptor acceptor
    cdef int backlog                 # of each listener
    cdef Slot slot                   # of the scoreboard, or None
    cdef volatile bint holds_back    # every thread is inside the application, and another worker accepts
    cdef uint64_t left_since_ms      # ... who takes nobody from the listeners, where somebody has waited; 0: nobody did
    cdef uint64_t left_looked_ms     # when that was looked at last
    cdef bint lone                   # run_one: ends with its one connection, and accepts none

    # stopping: what accepting has to know of it
    cdef volatile bint stop_asked
    cdef volatile bint stop_begun    # nobody new is accepted; `stopping` follows when all who waited have been
    cdef volatile bint drained       # ... and what had been queued is accepted
    cdef volatile uint64_t next_step_ms  # draining ends, and the stop begins; or, retiring, calls are looked at
    cdef volatile bint over          # run() is to cut what is left and return

    cdef int accept(self, LoopThread thread, size_t index, int at_most) except -1
    cdef int tell_full(self, LoopThread thread) except -1
    cdef int adopt_or_close(self, LoopThread thread, size_t index, int fd, object address, object port) except -1
    cdef int adopt(self, LoopThread thread, size_t index, int fd, object address, object port) except -1
    cdef int watch_listeners(self) except -1
    cdef int unwatch_listeners(self) except -1
    cdef int resume_accepting(self) except -1
    cdef int hold_back(self, LoopThread thread) except -1
    cdef int look_for_others(self, LoopThread thread) except -1
    cdef bint nobody_accepts(self, LoopThread thread) noexcept
    cdef int stop_holding_back(self) except -1
    cdef int make_room(self, LoopThread thread) except -1
    cdef void ask_to_stop(self, bint graceful) noexcept
