# What the threads of a crew do all day: serve what is ready, else look for more.  And the spare, who looks after them.
#
# Owner, lock: accepting.pxd.  Thread: work() runs in every thread of the crew; crew.pxd says whose turn it is.
# Errors: a thread that fails stops the loop.

from headrace.engine.connection cimport Connection
from headrace.engine.watching cimport WatchingLoop
from headrace.engine.thread cimport LoopThread


cdef class WorkingLoop(WatchingLoop):
    cdef object gateway              # Gateway
    cdef set thread_idents           # of those that run it
    cdef object lone_sentinel        # threading.Thread of the sentinel of a single thread, or None
    cdef bint sentinel_refused       # the system gave no thread; said once, and not tried again

    # a thread of the crew
    cdef int work(self, LoopThread thread) except -1
    cdef int close_poller(self) except -1
    cdef int serve(self, Connection connection) except -1
    cdef int find_work(self, LoopThread thread) except -1
    cdef int serve_without_calls(self, LoopThread thread) except -1

    # the crew, and the spare beside it
    cdef LoopThread make_thread(self, bint may_run)
    cdef int run_crew(self) except -1
    cdef int start_crew(self, list started) except -1
    cdef int wait_for_crew(self, list started) except -1
    cdef bint grow(self, list started) except -1
    cdef int watch_crew(self, list started) except -1
    cdef int lead_full_house(self) except -1
    cdef int spares_patience_ms(self) noexcept
    cdef bint anybody_has_unsent(self) noexcept
