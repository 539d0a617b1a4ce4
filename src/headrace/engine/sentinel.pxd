# Sees to it that no finished answer waits for an application call that blocks.
#
# Answers to pipelined requests leave together, so finished ones may lie in the outbox when the next request enters
# the application.  If that call takes longer than a millisecond or two, the sentinel sends what is there.
#
# Thread: one daemon thread, started with the first such call; it sleeps when there have been none for a while.
# Lock: it looks at two numbers without the interpreter lock, and takes the lock only to send: so it gets to run when
# the application blocks, or has computed for a switch interval (5 ms), and costs nothing when calls are quick.
# Owner: the loop, which stops it.

from libc.stdint cimport uint64_t

from headrace.engine.channel cimport Channel


cdef class Sentinel:
    cdef volatile uint64_t calls   # application calls made while answers were unsent
    cdef volatile bint inside      # one is going on
    cdef volatile bint asleep
    cdef volatile bint stopping
    cdef bint refused              # the system gave no thread; said once, and not tried again
    cdef Channel channel     # whose answers they are; None when inside is False
    cdef object thread             # None until it is needed
    cdef object alarm              # threading.Event: a call has begun while it was asleep

    cdef int enter(self, Channel channel) except -1
    cdef int start(self) except -1
    cdef void leave(self) noexcept
    cdef int stop(self) except -1
    cdef uint64_t wait_for_long_call(self) noexcept nogil
