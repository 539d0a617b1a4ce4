"""The listening sockets: see acceptor.pxd."""

import logging
import os

from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc
from libc.errno cimport errno
from libc.stdint cimport uint64_t

from headrace.engine.csrc cimport (
    SOCK_AGAIN, SOCK_NO_RESOURCES, SOCK_OK, clock_monotonic_ms, poller, poller_add_listener, poller_remove,
    sock_accept, sock_peer, sock_status, sock_unblock)
from headrace.engine.record import listener_name

log = logging.getLogger("headrace")

cdef uint64_t PAUSE_MS = 100  # after EMFILE and the like


cdef class Acceptor:

    def __cinit__(self, listeners, bint shared=False):
        self.shared = shared
        self.listeners = list(listeners)
        self.fds = <int *>PyMem_Malloc(max(len(self.listeners), 1) * sizeof(int))
        self.left_behind = <bint *>PyMem_Calloc(max(len(self.listeners), 1), sizeof(bint))
        if self.fds is NULL or self.left_behind is NULL:
            raise MemoryError
        for listener in self.listeners:
            self.fds[self.count] = listener.fileno()
            self.count += 1

    def __dealloc__(self):
        PyMem_Free(self.fds)
        PyMem_Free(self.left_behind)

    cdef bint watch(self, poller *with_poller) noexcept:
        """All of them or none; False: the poller took none, which is tried again after a pause."""
        cdef int index
        if self.watched:
            return True
        self.again_ms = 0
        for index in range(self.count):
            sock_unblock(self.fds[index])
        for index in range(self.count):
            if poller_add_listener(with_poller, self.fds[index], <uint64_t>index) < 0:
                while index > 0:
                    index -= 1
                    poller_remove(with_poller, self.fds[index])
                self.pause(clock_monotonic_ms())
                return False
        self.watched = True
        return True

    cdef void unwatch(self, poller *with_poller) noexcept:
        cdef int index
        if self.watched:
            self.watched = False
            for index in range(self.count):
                poller_remove(with_poller, self.fds[index])
                self.leave(<uint64_t>index)

    cdef void leave(self, uint64_t index) noexcept:
        """Who waits there is not accepted yet: a listener is reported as one, however many that are."""
        self.left_behind[index] = True

    cdef int accept(self, size_t index, sock_peer *peer, uint64_t now_ms) except -2:
        """The descriptor of the next connection; -1: there is none now, or (again_ms) it is better not to try."""
        cdef int fd = -1
        cdef sock_status status
        if self.shared:
            sock_unblock(self.fds[index])
        status = sock_accept(self.fds[index], &fd, peer)
        if status == SOCK_OK:
            self.failing = False
            return fd
        if status == SOCK_AGAIN:
            self.left_behind[index] = False
            return -1
        if not self.failing:
            self.failing = True
            self.tell(index, status, errno)
        self.pause(now_ms)
        return -1

    cdef int tell(self, size_t index, sock_status status, int error) except -1:
        """Once, until accept(2) succeeds again: it is tried ten times a second."""
        if status == SOCK_NO_RESOURCES:
            log.error("HR204 out of file descriptors or memory: accepting pauses until there are some again")
            return 0
        try:
            name = listener_name(self.listeners[index].getsockname())
        except OSError:  # it has been closed, say
            name = f"descriptor {self.fds[index]}"
        log.error("HR203 accepting on %s fails, and pauses until it succeeds again: %s", name, os.strerror(error))
        return 0

    cdef void pause(self, uint64_t now_ms) noexcept:
        self.again_ms = now_ms + PAUSE_MS
