# Looks after application calls once a millisecond, without the interpreter lock: does one block?
#
# A parked thread is woken to go on.  The rest is for whoever asked: finished answers that lie behind the call are sent
# (no answer waits for a call that blocks), and when no thread is left the spare takes the poller.
#
# Thread: the spare of a crew; with one thread a daemon thread of its own, started with the first pipelined call.
# Lock: look() runs without the interpreter lock and takes none; it sleeps when there have been no calls for a while.
# Owner: the crew, which stops it.

from libc.stdint cimport uint64_t

from headrace.engine.csrc cimport roster

cdef enum finding:
    FOUND_NOTHING      # for a while: go to sleep
    FOUND_BELL         # a signal, or somebody called
    FOUND_BROKEN       # the bell is no socket any more: the application has closed what is not its own
    FOUND_UNSENT       # answers wait behind a call that lasts
    FOUND_FULL_HOUSE   # every thread is inside the application


cdef class Sentinel:
    cdef roster *roster            # the crew's
    cdef uint64_t *seen            # calls of each seat at the last look
    cdef uint64_t *found           # ... and when answers were last found waiting behind one
    cdef uint64_t calls            # of all, at the last look
    cdef int same                  # looks since then that found the same number
    cdef unsigned int looks
    cdef object bell               # socket pair; signals ring it, too
    cdef int bell_fd               # its end that is listened to
    cdef int ringer_fd
    cdef volatile bint asleep
    cdef volatile int patience     # looks at the same call until somebody is woken

    cdef int open(self, roster *seats) except -1
    cdef void learn(self, bint blocked) noexcept
    cdef finding look(self) noexcept nogil
    cdef bint finds_unsent(self) noexcept nogil
    cdef int sleep(self) except -1
    cdef void ring(self) noexcept nogil
    cdef int silence(self) except -1
    cdef tuple take_bell(self)
