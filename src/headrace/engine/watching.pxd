# --timeout: a watch over the calls of the application, each of which may go on without progress for so long.
#
# A thread of its own, for with one thread the application has the loop's, and while a call computes nobody else may
# look. It sleeps without a deadline while nothing is inside the application, and looks once in a while as long as
# something is. What a call does is read from its thread's row (csrc/scoreboard.h): the time since it began, since
# it last handed over a block, or since it last had to wait for its client, whichever is the latest.
#
# On expiry the log shows what the thread is doing, RequestTimeout is raised in it, and `on_timeout` is called.  It
# arrives with the next line of Python that the thread runs; inside a call of C nothing can be done, and as long as the
# stack stays the same it is told with growing pauses and without the stack.  What has not
# arrived when the call ends is called back (LoopThread.end_watched_call), before anything else of Python runs
# there.
#
# Owner, lock: accepting.pxd; between the end of a call and its interruption stands the interpreter lock, or the
# thread's call_guard where there is none.
# Errors: whatever on_timeout raises goes to the log.

from libc.stdint cimport uint64_t

from headrace.engine.csrc cimport gate, score_row
from headrace.engine.stopping cimport StoppingLoop
from headrace.engine.thread cimport LoopThread


cdef class WatchingLoop(StoppingLoop):
    cdef public object on_timeout    # called without arguments, or None
    cdef gate watch_gate
    cdef bint has_gate
    cdef uint64_t look_every_ms      # while something is inside
    cdef object watch_thread         # threading.Thread, or None
    cdef uint64_t watched_calls      # begun until the last look
    cdef volatile bint watch_ended

    cdef int start_watching(self) except -1
    cdef int stop_watching(self) except -1
    cdef int look_at_calls(self) except -2
    cdef uint64_t look_at_call(self, LoopThread thread, uint64_t now_ms) except? 0
    cdef uint64_t count_calls(self) noexcept
    cdef int sleep_until_a_call(self) except -1
    cdef int expired(self, LoopThread thread, const score_row *seen, uint64_t now_ms) except -1
    cdef bint interrupt(self, LoopThread thread, uint64_t progress) except -1
