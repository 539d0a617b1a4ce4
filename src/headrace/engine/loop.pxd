# The event loop of one worker.  Its floors, each of which adds one thing to those before it:
#
#     LoopBase (channel)   what connections use of it
#     Crew                 the threads, their queues, whose turn it is
#     AcceptingLoop        connections come and go
#     PollingLoop          one turn: the poller, deadlines
#     StoppingLoop         the end
#     WatchingLoop         --timeout
#     WorkingLoop          what each thread does
#     Loop                 settings, signals, and what the worker calls
#
# Owner: the worker.  Lock: lock() of channel.pxd, which is the interpreter lock where there is one; that is given up
# only while waiting in the poller, or for another thread.
# Errors: OSError where the poller cannot be had; what happens to one connection never ends the loop.

from headrace.engine.thread cimport LoopThread
from headrace.engine.working cimport WorkingLoop


cdef class Loop(WorkingLoop):
    cdef object __weakref__
    cdef object rules                # forwarded_rules.ForwardedRules, or None
    cdef object former_wakeup_fd     # what signal.set_wakeup_fd gave back, or None

    cdef int apply_settings(self, config) except -1
    cdef int make_threads(self) except -1
    cdef LoopThread make_thread(self, bint may_run)
    cdef list make_templates(self)
    cdef int watch_signals(self) except -1
    cdef int unwatch_signals(self) except -1
