# The listening sockets: with the poller while there is room for connections, away from it while there is none.
#
# Owner: the loop.  Lock: the loop's lock() around watch() and unwatch().
# Errors: what accept(2) says is dealt with here: out of descriptors or memory, accepting pauses instead of spinning.

from libc.stdint cimport uint64_t

from headrace.engine.csrc cimport poller, sock_peer, sock_status


cdef class Acceptor:
    cdef list listeners          # sockets; index = tag for the poller
    cdef int *fds                # theirs
    cdef int count
    cdef bint shared             # others may make them blocking at any time: looked at before each accept(2)
    cdef bint *left_behind       # for each: some may have waited for longer than since the poller was last asked
    cdef bint watched            # all of them are with the poller, or none is
    cdef bint failing            # accept(2) has failed, and the log has said so
    cdef uint64_t again_ms       # when to try again after that; 0: not waiting

    cdef bint watch(self, poller *with_poller) noexcept
    cdef void unwatch(self, poller *with_poller) noexcept
    cdef void leave(self, uint64_t index) noexcept
    cdef int accept(self, size_t index, sock_peer *peer, uint64_t now_ms) except -2
    cdef int tell(self, size_t index, sock_status status, int error) except -1
    cdef void pause(self, uint64_t now_ms) noexcept
