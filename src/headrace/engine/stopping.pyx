"""The end of a loop, in haste or in order: see stopping.pxd."""

import logging

from cpython.ref cimport Py_DECREF

from libc.stdint cimport uint64_t

from headrace.engine.channel cimport APP, IDLE, IN_RING, NOWHERE, PROXY, WAITING, WRITE
from headrace.engine.connection cimport Connection
from headrace.engine.csrc cimport clock_monotonic_ms, full_fence, poller_wake, sock_abort
from headrace.engine.polling cimport ANYTHING, ON_CUT, PollingLoop, milliseconds
from headrace.engine.thread cimport LoopThread

log = logging.getLogger("headrace")

cdef int TOLD_MAX = 3                 # requests that were cut are named in the log up to this number


cdef class StoppingLoop(PollingLoop):

    def __cinit__(self, application, listeners, config, access_log=None, error_stream=None, when_drained=None, *_,
                  **__):
        self.when_drained = when_drained
        self.graceful_ms = milliseconds(config.graceful_timeout)
        # After that the last one that was idle when the loop retired has had its next request, or its deadline.
        self.idle_ms = max(milliseconds(config.keep_alive), milliseconds(config.head_timeout))
        self.drain_ms = milliseconds(config.drain_delay)

    def stop(self, graceful=True, drain=False):
        if drain and graceful and self.drain_ms and not self.stop_asked and not self.draining:
            self.begin_draining()
        else:
            self.ask_to_stop(graceful)

    def retire(self):
        cdef uint64_t now_ms = clock_monotonic_ms()
        if self.stop_asked:
            return
        self.next_step_ms = now_ms + self.graceful_ms
        self.retired_ms = now_ms
        self.retiring = True
        full_fence()  # who sees that there will be an end sees as well that calls have one of their own
        self.stop_at_ms = self.next_step_ms + (self.idle_ms if self.graceful_ms else 0)
        full_fence()
        self.stop_asked = True
        self.wake()

    cdef void wake(self) noexcept:
        """The thread in the poller, and the spare: there is something to be looked at."""
        self.lock()
        if self.poller is not NULL:  # else run() has ended
            poller_wake(self.poller)
        self.sentinel.ring()
        self.unlock()

    cdef void begin_draining(self) noexcept:
        self.next_step_ms = clock_monotonic_ms() + self.drain_ms
        full_fence()
        self.draining = True
        self.wake()

    cdef void ask_to_stop(self, bint graceful) noexcept:
        self.draining = True
        if not self.over and (not self.stop_asked or self.retiring):
            self.stop_at_ms = clock_monotonic_ms() + self.graceful_ms
        if not graceful:
            self.cut_asked = True
            self.stop_at_ms = 1  # long ago
        full_fence()
        self.retiring = False
        self.retired_ms = 0
        self.stop_asked = True
        self.wake()

    cdef bint all_is_cut(self) noexcept:
        """Is all that is left calls that have had their time, and whose clients have left?"""
        cdef Connection connection
        cdef int fd
        if not 0 < self.connections.count <= len(self.cut_requests):
            return False
        for fd in range(self.connections.length):
            connection = None  # the one before goes now if it is the last reference, and not under the lock
            self.lock()
            connection = <Connection>self.connections.at(fd)
            self.unlock()
            if connection is not None and connection.tag not in self.cut_requests:
                return False
        return True

    cdef int look_after_stop(self, LoopThread thread) except -1:
        if not self.stop_asked:
            if not self.draining or thread.now_ms < self.next_step_ms:
                return 0
            self.ask_to_stop(True)
        full_fence()  # what stop() wrote before that is seen, too
        if not self.stop_begun:
            self.begin_stop(thread)
        if self.spares_idle and not self.retiring:
            self.close_idle(thread)
        if self.retiring and (thread.now_ms >= self.next_step_ms or self.all_is_cut()):
            self.cut_overdue(thread)
        if (self.cut_asked or thread.now_ms >= self.stop_at_ms
                or (self.stopping and (not self.connections.count or self.all_is_cut()))):
            self.end()
        return 0

    cdef void end(self) noexcept:
        """Nothing is left to do, or no time: run() cuts what there is, and then the threads end."""
        if self.retired_ms and not self.over:  # calls whose clients have left are waited for no longer than others
            self.stop_at_ms = max(clock_monotonic_ms(), self.retired_ms + self.graceful_ms)
        elif self.all_is_cut():
            self.stop_at_ms = min(self.stop_at_ms, clock_monotonic_ms())
        self.over = True
        if self.size == 1:
            self.finish()
        else:
            self.sentinel.ring()

    cdef int begin_stop(self, LoopThread thread) except -1:
        """Accept what has been queued, then no more; idle connections look once more and close, busy ones end."""
        cdef size_t index
        cdef bint begun
        self.lock()
        begun = self.stop_begun
        self.stop_begun = True
        self.unlock()
        if begun:
            return 0
        if self.retiring:
            # First away from the poller: a later connection wakes another worker.  One that has come may have woken
            # this one alone (EPOLLEXCLUSIVE), and is accepted here.
            self.unwatch_listeners()
        if not self.cut_asked and not self.lone:
            for index in range(<size_t>self.acceptor.count):
                self.accept(thread, index, self.backlog + 1)  # what is queued now; others come as long as one accepts
        self.unwatch_listeners()
        self.drained = self.stopping = True
        self.acceptor.again_ms = 0
        if self.when_drained is not None:
            self.when_drained()
        self.spares_idle = self.retiring
        if not self.spares_idle:
            self.close_idle(thread)
        self.begin_turn()
        return 0

    cdef int close_idle(self, LoopThread thread) except -1:
        cdef int fd
        self.spares_idle = False
        for fd in range(self.connections.length):
            self.look_once_more(thread, fd)
        self.begin_turn()
        return 0

    cdef int look_once_more(self, LoopThread thread, int fd) except -1:
        """An idle connection looks whether a request is on its way; one that a thread has does when it lets go."""
        cdef Connection connection
        self.lock()
        connection = <Connection>self.connections.at(fd)
        if connection is None:
            pass
        elif connection.thread is not None:
            connection.pending |= ANYTHING
            connection.pending_ms = thread.polled_ms
            connection.pending_since_ms = thread.came_since_ms
        elif connection.queued == NOWHERE and (connection.state == IDLE or connection.state == PROXY):
            connection.readable = True
            self.append(&self.ring, connection, IN_RING)
        self.unlock()
        return 0

    cdef int cut_overdue(self, LoopThread thread) except -1:
        """Retiring: calls have graceful_ms from then on, or from their beginning when that was later, and their clients
        learn when it has passed.  What is idle is not touched, and keeps the loop going unless no thread is free."""
        cdef Connection connection
        cdef uint64_t at_ms
        cdef int fd, left = 0, held = 0
        self.next_step_ms = min(thread.now_ms + self.graceful_ms, self.stop_at_ms)
        for fd in range(self.connections.length):
            connection = None  # the one before goes now if it is the last reference, and not under the lock
            self.lock()
            connection = <Connection>self.connections.at(fd)
            self.unlock()
            if connection is None:
                continue
            if connection.tag not in self.cut_requests:
                at_ms = max(self.retired_ms, connection.began_ms) + self.graceful_ms
                if connection.state not in (APP, WRITE) or thread.now_ms < at_ms:
                    left += 1
                    if connection.state in (APP, WRITE):
                        self.next_step_ms = min(self.next_step_ms, at_ms)
                    continue
                self.cut(fd, thread)
            if connection.thread is not None:
                held += 1
        self.tell_what_was_cut()
        if not left or held >= self.size:
            self.end()
        return 0

    cdef int cut_all(self, LoopThread thread) except -1:
        """The end, whatever is going on: connections close; of those that a call still answers, only the sockets."""
        cdef int fd
        for fd in range(self.connections.length):
            self.cut(fd, thread)
        return 0

    cdef int cut(self, int fd, LoopThread thread) except -1:
        cdef Connection connection
        cdef bint mine, dequeued = False
        self.lock()
        connection = <Connection>self.connections.at(fd)
        mine = connection is not None and connection.thread is None
        if mine:
            dequeued = connection.queued != NOWHERE
            if dequeued:
                self.remove(connection)
            connection.thread = thread
        elif connection is not None:
            sock_abort(fd)  # still open: who has it makes the loop forget it first
        self.unlock()
        if dequeued:
            Py_DECREF(connection)
        if connection is not None and connection.state in (WAITING, APP, WRITE):
            if len(self.cut_requests) == self.cut_told:
                self.cut_because = self.why_cut()  # now: another signal may come before the log is told
            self.cut_requests[connection.tag] = connection.shown_request()
        if mine:
            self.guarded(connection, ON_CUT, NULL)
            self.release(connection)
        return 0

    cdef int tell_what_was_cut(self) except -1:
        """Each of them once."""
        cdef list cut = list(self.cut_requests.values())[self.cut_told:]
        self.cut_told += len(cut)
        because, self.cut_because = self.cut_because or self.why_cut(), None
        if cut:
            shown = ", ".join(cut[:TOLD_MAX]) + (", ..." if len(cut) > TOLD_MAX else "")
            were = "request was" if len(cut) == 1 else "requests were"
            log.warning("HR106 %d %s cut, %s: %s", len(cut), were, because, shown)
        return 0

    cdef str why_cut(self):
        if self.cut_asked:
            return "for this process was told to stop at once"
        what = "was told to leave to another worker" if self.retired_ms else "was told to stop"
        return f"more than --graceful-timeout ({self.graceful_ms / 1000:g} s) after this process {what}"
