# How a loop ends: in order (what was accepted is answered), in haste (what is left is cut), or by retiring: calls have
# as long as at an end in order, each by itself, and idle connections live on until their next request or deadline.
#
# Owner, lock: accepting.pxd.  Thread: stop() may be called by any; the rest is the leader's, and in the end run()'s.
# Errors: none of its own.

from libc.stdint cimport uint64_t

from headrace.engine.polling cimport PollingLoop
from headrace.engine.thread cimport LoopThread


cdef class StoppingLoop(PollingLoop):
    cdef object when_drained         # called when nobody new is accepted any more, or None
    cdef uint64_t graceful_ms
    cdef uint64_t idle_ms            # a retirement may take so much more than that
    cdef uint64_t drain_ms           # health checks fail so long before a stop
    cdef bint spares_idle            # retiring: idle connections have not been asked to go
    cdef Py_ssize_t cut_told         # of cut_requests, the log has been told of so many
    cdef str cut_because             # for the log: why those were of which it has not been told

    cdef void wake(self) noexcept
    cdef void begin_draining(self) noexcept
    cdef bint all_is_cut(self) noexcept
    cdef int close_idle(self, LoopThread thread) except -1

    cdef void end(self) noexcept
    cdef int begin_stop(self, LoopThread thread) except -1
    cdef int look_once_more(self, LoopThread thread, int fd) except -1
    cdef int cut_overdue(self, LoopThread thread) except -1
    cdef int cut_all(self, LoopThread thread) except -1
    cdef int cut(self, int fd, LoopThread thread) except -1
    cdef int tell_what_was_cut(self) except -1
    cdef str why_cut(self)
