"""Taking connections in and letting go of them: see accepting.pxd."""

import logging

from cpython.ref cimport Py_DECREF
from libc.stdint cimport uint64_t

from headrace.engine.acceptor cimport Acceptor
from headrace.engine.channel cimport Channel
from headrace.engine.connection cimport Connection
from headrace.engine.connection_table cimport ConnectionTable
from headrace.engine.crew cimport Crew
from headrace.engine.csrc cimport SOCK_OK, poller_remove, sock_close, sock_peer, sock_wait
from headrace.engine.environ cimport ascii
from headrace.engine.record import listener_name
from headrace.engine.thread cimport LoopThread

log = logging.getLogger("headrace")

cdef uint64_t FULL_TOLD_EVERY_MS = 60000
cdef uint64_t LEFT_WAITING_MS = 100  # somebody has waited on a listener all the time: who should accept does not


cdef class AcceptingLoop(Crew):

    def __cinit__(self, application, listeners, config, access_log=None, error_stream=None, when_drained=None,
                  gateway=None, *, slot=None):
        self.slot = slot
        self.acceptor = Acceptor(listeners, gateway is not None and gateway.shared_listeners)
        self.connections = ConnectionTable()
        self.connections_max = config.worker_connections
        self.backlog = config.backlog

    cdef int accept(self, LoopThread thread, size_t index, int at_most) except -1:
        cdef int fd, number
        cdef sock_peer peer
        for number in range(at_most):
            if self.over or self.cut_asked or self.drained:
                return 0
            if self.connections.count >= self.connections_max and not self.stop_begun:
                if number:
                    break  # if somebody else waits, the poller says so
                self.unwatch_listeners()  # the kernel's backlog holds the others
                if self.connections.count < self.connections_max:
                    self.watch_listeners()  # one has closed meanwhile, and found them watched
                return self.make_room(thread)
            fd = self.acceptor.accept(index, &peer, thread.now_ms)
            if fd < 0:
                return self.unwatch_listeners() if self.acceptor.again_ms else 0
            self.adopt_or_close(thread, index, fd, ascii(peer.address, peer.address_len),
                                str(peer.port) if peer.port else "")
        self.acceptor.leave(index)
        return 0

    cdef int tell_full(self, LoopThread thread) except -1:
        if thread.now_ms >= self.full_told_ms:
            self.full_told_ms = thread.now_ms + FULL_TOLD_EVERY_MS
            log.warning("HR201 all %d connections (--worker-connections) are open; others wait until one closes",
                        self.connections_max)
        return 0

    cdef str listener_name(self, int listener):
        return listener_name(self.acceptor.listeners[listener].getsockname())

    cdef int adopt_or_close(self, LoopThread thread, size_t index, int fd, object address, object port) except -1:
        try:
            self.adopt(thread, index, fd, address, port)
        except MemoryError:
            sock_close(fd)
            log.error("HR202 no memory for a new connection")
        return 0

    cdef int adopt(self, LoopThread thread, size_t index, int fd, object address, object port) except -1:
        cdef Connection connection = Connection(self, <int>index, fd, address, port)
        cdef bint added
        connection.thread = thread
        thread.tick()  # this process may have stood still since its turn began; the client has not waited for so long
        connection.arrived_ms = thread.now_ms
        connection.came_since_ms = 0 if self.acceptor.left_behind[index] else thread.came_since_ms
        if self.proxy_networks is not None:
            connection.expect_proxy_header()
        self.lock()
        added = self.connections.add(connection)
        self.unlock()
        if not added:
            raise MemoryError
        connection.on_accept()
        return self.release(connection)

    cdef int forget(self, Channel channel) except -1:
        cdef bint known
        self.lock()
        known = self.connections.remove(channel)
        self.unlock()
        if channel.registered:
            poller_remove(self.poller, channel.fd)
        if known:
            Py_DECREF(channel)
        if self.lone:
            self.ask_to_stop(True)
        return self.resume_accepting()

    cdef int has_idled(self) except -1:
        """A connection counts as idle from now on, and can be closed for a new one."""
        return self.resume_accepting()

    cdef int resume_accepting(self) except -1:
        if not self.acceptor.watched and not self.stopping and not self.acceptor.again_ms and not self.stop_begun:
            self.watch_listeners()
        return 0

    cdef int make_room(self, LoopThread thread) except -1:
        """All connections are open, and somebody waits to be accepted."""
        raise NotImplementedError

    cdef int watch_listeners(self) except -1:
        cdef bint taken = True
        if self.lone or self.holds_back:
            return 0
        self.lock()
        if not self.stop_begun:
            taken = self.acceptor.watch(self.poller)
            if self.slot is not None:
                self.slot.set_accepting(taken)
        self.unlock()
        if not taken:
            log.error("HR205 the poller did not take a listener; accepting pauses")
        return 0

    cdef int unwatch_listeners(self) except -1:
        self.lock()
        self.acceptor.unwatch(self.poller)
        if self.slot is not None:
            self.slot.set_accepting(False)
        self.unlock()
        return 0

    # ---- beside other workers ----

    cdef int hold_back(self, LoopThread thread) except -1:
        """Every thread is inside the application: leave new connections to workers that can serve them.

        The last worker to get here goes on, for somebody has to answer health checks and refuse what waits too long.
        Of two that get here at once each sees at least that the other one has been here.
        """
        cdef size_t index
        if self.slot is None or self.stop_begun or not self.slot.others_accept():
            return 0
        self.unwatch_listeners()
        self.holds_back = True
        for index in range(<size_t>self.acceptor.count):
            if self.connections.count < self.connections_max:
                self.accept(thread, index, ACCEPTS_MAX)  # of the workers only this one may have been woken for these
        self.left_since_ms = 0
        return self.look_for_others(thread)

    cdef int look_for_others(self, LoopThread thread) except -1:
        """Those that accepted a moment ago may have all their threads inside the application by now, too; or they say
        that they accept, and stand still (SIGSTOP, C code that keeps the interpreter lock)."""
        if self.holds_back and (not self.slot.others_accept() or self.nobody_accepts(thread)):
            self.stop_holding_back()
        return 0

    cdef bint nobody_accepts(self, LoopThread thread) noexcept:
        cdef int index
        if thread.now_ms < self.left_looked_ms + LOOK_EVERY_MS:
            return False
        self.left_looked_ms = thread.now_ms
        for index in range(self.acceptor.count):
            if sock_wait(self.acceptor.fds[index], False, 0) == SOCK_OK:
                if self.left_since_ms == 0:
                    self.left_since_ms = thread.now_ms
                return thread.now_ms >= self.left_since_ms + LEFT_WAITING_MS
        self.left_since_ms = 0
        return False

    cdef int stop_holding_back(self) except -1:
        if self.holds_back:
            self.holds_back = False
            self.resume_accepting()
        return 0

    cdef void ask_to_stop(self, bint graceful) noexcept:
        """Of the floor above."""
