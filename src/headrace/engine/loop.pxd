# The event loop of one worker: poller, ready ring, deadlines, and the table of its connections.
#
# Owner: the worker.  Lock: the interpreter lock, given up only while waiting in the poller.
# Thread: all but stop() runs on the thread that called run().
# Errors: OSError where the poller cannot be had; what happens to one connection never ends the loop.

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t

from headrace.engine.channel cimport Channel, LoopBase
from headrace.engine.connection cimport Connection
from headrace.engine.csrc cimport deadline_queue, poller_event
from headrace.engine.environ cimport EnvironTemplate
from headrace.engine.sentinel cimport Sentinel

cdef enum:
    EVENTS_MAX = 256       # taken from the poller at once
    ACCEPTS_MAX = 64       # taken from a listener at once, so that accepting never starves serving
    DEADLINE_KINDS = 6


cdef class Loop(LoopBase):
    cdef uint64_t polled_ms          # monotonic, as of the last return from the poller
    cdef int turns_locked            # since the interpreter lock was last given up
    cdef PyObject **connections      # fd -> Connection (strong) or NULL
    cdef int connections_cap         # entries of it
    cdef int connection_count
    cdef int connections_max
    cdef list listeners              # sockets; index = tag
    cdef list templates              # EnvironTemplate of each listener
    cdef bint accepting              # the listeners are with the poller
    cdef bint accept_failing         # and has said so
    cdef uint64_t accept_again_ms    # after running out of descriptors; 0: not waiting
    cdef uint32_t generation         # of the newest connection; in the upper half of its tag
    cdef list ready                  # connections with something to do; two lists that take turns
    cdef list ready_next
    cdef poller_event events[EVENTS_MAX]
    cdef int events_last             # how many the last wait gave: a busy loop polls before it gives up the lock
    cdef deadline_queue *queues[DEADLINE_KINDS]
    cdef Sentinel sentinel           # sends finished answers when the call behind them blocks
    cdef int64_t date_s              # the second that the Date line shows
    cdef bint stop_asked
    cdef bint cut_asked
    cdef uint64_t cut_at_ms
    cdef uint64_t graceful_ms
    cdef object signal_sockets       # pair for signal.set_wakeup_fd, or None

    cdef int turn(self) except -1
    cdef int wait(self) except -1
    cdef int take_events(self, int count) except -1
    cdef int serve_ready(self) except -1
    cdef int guarded(self, Connection connection, int what, deadline_queue *queue) except -1
    cdef int accept(self, size_t index) except -1
    cdef Connection find(self, int fd)
    cdef int make_room(self, int fd) except -1
    cdef int adopt_or_close(self, size_t index, int fd, object address, object port) except -1
    cdef int adopt(self, size_t index, int fd, object address, object port) except -1
    cdef int watch_listeners(self) except -1
    cdef int unwatch_listeners(self) except -1
    cdef int expire(self) except -1
    cdef int wait_ms(self) noexcept
    cdef uint64_t until(self, uint64_t at_ms) noexcept
    cdef int apply_settings(self, config) except -1
    cdef int make_deadlines(self, config) except -1
    cdef int add_listeners(self, listeners, config) except -1
    cdef int watch_signals(self) except -1
    cdef int drain_signals(self) except -1
    cdef int unwatch_signals(self) except -1
    cdef int begin_stop(self) except -1
    cdef int cut_all(self) except -1
