# The open connections of a loop, by descriptor: the kernel gives out the lowest that is free, so a table is enough.
#
# Owner: the loop.  Lock: every method is called under the loop's lock().  Errors: none; add() says when there is no
# memory.
#
# A descriptor is used again as soon as it is closed, and an event for its former connection may still be on its way.
# So each connection has a number of its own, its generation, and its tag for the poller is both.

from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from headrace.engine.channel cimport Channel


cdef class ConnectionTable:
    cdef PyObject **entries   # fd -> Channel (strong) or NULL
    cdef int length           # of entries
    cdef int count            # of connections
    cdef uint32_t generation  # of the newest

    cdef Channel at(self, int fd)
    cdef Channel tagged(self, uint64_t tag)
    cdef bint add(self, Channel channel) noexcept
    cdef bint remove(self, Channel channel) noexcept
    cdef bint make_room(self, int fd) noexcept
