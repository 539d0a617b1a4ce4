"""Client sockets, their way out and their end: see channel.pxd for fields, states and rules of ownership."""

import logging
import os
import sys
import traceback

cimport cython
from cpython.contextvars cimport PyContext_Enter, PyContext_Exit
from libc.stdint cimport uint32_t, uint64_t

from headrace.engine.csrc cimport (
    POLLER_READ, POLLER_WRITE, SOCK_AGAIN, SOCK_OK, buffer_free, deadline_arm_at, deadline_disarm, deadline_init,
    deadline_queue, full_fence, mutex_destroy, mutex_init, mutex_lock, mutex_unlock, outbox_borrow, outbox_flush,
    outbox_free, outbox_init, outbox_is_empty, outbox_keep, outbox_pending_bytes, outbox_rewind, poller_add_connection,
    poller_arm, sock_abort, sock_close, sock_recv, sock_reset_on_close, sock_shutdown_write, sock_status)
from headrace.engine.debug cimport COUNT_ILLEGAL_MOVE, HEADRACE_DEBUG, count_object
from headrace.engine.head cimport HeadPlace
from headrace.engine.response cimport RESPONSE_ROOM_BYTES, Response, tell_of_failure_to_send
from headrace.engine.interpreter cimport FREE_THREADED
from headrace.engine.record import peer_name, request_name
from headrace.engine.thread cimport RECEIVE_BYTES, LoopThread

from headrace.errors import RequestOver

log = logging.getLogger("headrace")

# LEGAL_MOVES[from]: the set of states that may follow, as bits
cdef uint32_t[9] LEGAL_MOVES
cdef uint32_t ENDS = 1 << LINGER | 1 << CLOSED
LEGAL_MOVES[<int>PROXY] = 1 << IDLE | 1 << CLOSED
LEGAL_MOVES[<int>IDLE] = 1 << HEAD | 1 << BODY | 1 << WAITING | 1 << APP | 1 << WRITE | ENDS
LEGAL_MOVES[<int>HEAD] = 1 << IDLE | 1 << BODY | 1 << WAITING | 1 << APP | 1 << WRITE | ENDS
LEGAL_MOVES[<int>BODY] = 1 << IDLE | 1 << WAITING | 1 << APP | 1 << WRITE | ENDS
LEGAL_MOVES[<int>WAITING] = 1 << IDLE | 1 << APP | 1 << WRITE | ENDS
LEGAL_MOVES[<int>APP] = 1 << IDLE | 1 << WRITE | 1 << CLOSED
LEGAL_MOVES[<int>WRITE] = 1 << APP | 1 << IDLE | 1 << HEAD | 1 << BODY | 1 << WAITING | ENDS
LEGAL_MOVES[<int>LINGER] = 1 << CLOSED
LEGAL_MOVES[<int>CLOSED] = 0


cdef void end_child(object failure) noexcept:
    """The application forked, and its child has come back from the call: the connections are its parent's."""
    cdef int status = 1
    try:
        status = exit_status(failure)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # closed, a broken pipe, None: nothing may lead the child into the loop
        pass
    finally:
        os._exit(status)


def exit_status(failure):
    """What the interpreter would end with."""
    if failure is None or isinstance(failure, RequestOver):
        return 0  # it tried to answer, which is its parent's to do
    if isinstance(failure, SystemExit):
        if failure.code is None or isinstance(failure.code, int):
            return (failure.code or 0) & 0xFF
        print(failure.code, file=sys.stderr)
        return 1
    traceback.print_exception(type(failure), failure, failure.__traceback__)
    return 1


cdef class LoopBase:

    def __cinit__(self, *arguments, **named):
        self.cut_requests = {}
        if not mutex_init(&self.guard):
            raise MemoryError

    def __dealloc__(self):
        mutex_destroy(&self.guard)

    cdef void lock(self) noexcept nogil:
        if FREE_THREADED:
            mutex_lock(&self.guard)

    cdef void unlock(self) noexcept nogil:
        if FREE_THREADED:
            mutex_unlock(&self.guard)

    cdef int has_idled(self) except -1:
        raise NotImplementedError

    cdef int forget(self, Channel channel) except -1:
        raise NotImplementedError

    cdef str listener_name(self, int listener):
        raise NotImplementedError

    cdef void wake_leader(self) noexcept:
        pass

    cdef bint knows_events(self, LoopThread thread) except -1:
        raise NotImplementedError

    cdef int enter_application(self, LoopThread thread, Channel unsent) except -1:
        raise NotImplementedError

    cdef void leave_application(self, LoopThread thread) noexcept:
        pass


cdef class Channel(HeadPlace):

    def __cinit__(self, LoopBase loop not None, int listener, int fd, remote_addr, remote_port):
        self.loop = loop
        self.fd = fd
        self.state = IDLE
        deadline_init(&self.timer, <void *>self)
        outbox_init(&self.out)

    def __dealloc__(self):
        deadline_disarm(&self.timer)
        buffer_free(&self.input)
        outbox_free(&self.out)

    cdef void move(self, connection_state state) noexcept:
        if HEADRACE_DEBUG and state != self.state and not LEGAL_MOVES[<int>self.state] & (1 << state):
            log.critical("HR406 illegal move of a connection from state %d to %d", self.state, state)
            count_object(COUNT_ILLEGAL_MOVE, 1)
        self.state = state

    cdef void arm(self, deadline_queue *queue) noexcept:
        """Wait for so long from now."""
        self.arm_at(queue, self.thread.now_ms + queue.duration_ms)

    cdef void arm_at(self, deadline_queue *queue, uint64_t at_ms) noexcept:
        """Wait until then; the deadline before, if it has passed just now, counts no more."""
        self.loop.lock()
        deadline_arm_at(queue, &self.timer, at_ms)
        self.passed = NULL
        if at_ms < self.loop.earliest_ms:
            self.loop.earliest_ms = at_ms
        self.loop.unlock()
        if FREE_THREADED:
            full_fence()  # who goes to the poller sees this deadline, or we see how long he will wait
        if at_ms < self.loop.leader_until_ms:
            self.loop.wake_leader()

    cdef void disarm(self) noexcept:
        self.loop.lock()
        deadline_disarm(&self.timer)
        self.passed = NULL
        self.loop.unlock()

    cdef int on_deadline(self, deadline_queue *queue) except -1:
        raise NotImplementedError

    cdef str shown_request(self):
        """For the log."""
        with cython.critical_section(self):
            method, target = self.sent_method, self.sent_target
        return request_name(method, target)

    cdef str shown_client(self):
        return peer_name(self.remote_addr, self.remote_port)

    # ---- sending ----

    cdef int ensure_room(self) except -1:
        """The outbox has scratch, with room for one more head behind what is queued."""
        if outbox_is_empty(&self.out):
            outbox_free(&self.out)
            outbox_borrow(&self.out, self.thread.send_scratch, self.thread.send_scratch_bytes)
        elif self.out.cap - self.out.end < RESPONSE_ROOM_BYTES:
            # serve() flushes at answers_bytes_max, which leaves that room; kept octets are sent before others are made
            raise AssertionError("the outbox has no room for another answer")
        return 0

    cdef bint flush(self) except -1:
        """Send what is queued.  False: the socket is full and the rest waits in state WRITE, or the client has gone."""
        cdef sock_status status
        if outbox_is_empty(&self.out):
            return True
        status = outbox_flush(&self.out, self.fd)
        if status == SOCK_OK:
            outbox_rewind(&self.out)
            self.let_go_of_response()
            return True
        if status != SOCK_AGAIN:
            tell_of_failure_to_send(status)
            self.close()
            return False
        self.wait_for_client()
        return False

    cdef int wait_for_client(self) except -1:
        if not outbox_keep(&self.out):
            raise MemoryError("no memory for an answer")
        self.move(WRITE)
        self.arm(&self.loop.write_deadlines)
        return self.watch(POLLER_WRITE)

    cdef void let_go_of_response(self) noexcept:
        if self.response is not None and self.response.suspended is None:
            self.shared = self.shared or self.response.shared
            self.thread.recycle(self.response)
            self.response = None

    cdef uint64_t unsent_bytes(self) noexcept:
        return outbox_pending_bytes(&self.out) + self.out.file_left

    cdef int on_write_deadline(self) except -1:
        """The poller speaks of room only when a good part of the socket's buffer is free; a slow reader frees less."""
        cdef uint64_t unsent = self.unsent_bytes()
        cdef sock_status status = outbox_flush(&self.out, self.fd)
        if status == SOCK_OK or (status == SOCK_AGAIN and self.unsent_bytes() < unsent):
            self.arm(&self.loop.write_deadlines)
            if status == SOCK_OK:
                self.again = True
                return 0
            return self.watch(POLLER_WRITE)
        log.info("HR207 %s did not read its response in time; the connection is closed; its last request: %s",
                 self.shown_client(), self.shown_request())
        return self.close()

    cdef int watch(self, uint32_t interest) except -1:
        """Ask the poller for the next edge.  A connection that closes after its first answer never gets here."""
        if not self.registered:
            self.registered = True
            if poller_add_connection(self.loop.poller, self.fd, self.tag) < 0:
                log.error("HR206 the poller did not take a connection")
                return self.close()
            if interest == POLLER_READ:
                return 0
        if interest & POLLER_WRITE or self.awaiting_room or not self.loop.edges:
            self.awaiting_room = interest & POLLER_WRITE != 0
            poller_arm(self.loop.poller, self.fd, self.tag, interest)
        return 0

    # ---- the end ----

    cdef int close(self) except -1:
        """The end, from any state: close() of a suspended iterable is called, the loop forgets the connection."""
        cdef Response response = self.response
        if self.state == CLOSED:
            return 0
        if self.cuts_a_body():
            if self.has_sharers():
                sock_abort(self.fd)
            else:
                sock_reset_on_close(self.fd)
        elif self.ends_a_body or self.has_sharers():
            sock_shutdown_write(self.fd)  # the end, though somebody else keeps the descriptor open
        self.move(CLOSED)
        self.disarm()
        self.loop.forget(self)
        if response is not None:
            response.lose_client()  # before the descriptor becomes another client's
        sock_close(self.fd)
        self.fd = -1
        buffer_free(&self.input)
        outbox_free(&self.out)
        if response is None:
            return 0
        if response.suspended is not None and not self.may_call(response):
            self.for_home = True  # its close() is called where the request began
            return 0
        return self.farewell()

    cdef bint has_sharers(self) noexcept:
        """May others have the descriptor: children that were forked meanwhile, or the gateway?  Then close(2) alone
        ends nothing."""
        return self.loop.has_forked or self.shared or (self.response is not None and self.response.shared)

    cdef int farewell(self) except -1:
        """The connection has gone: what is left is to let go of the response."""
        cdef Response response = self.response
        self.response = None
        if response is not None:
            if response.suspended is not None:
                self.abandon_response(response)
            self.thread.recycle(response)
        return 0

    cdef bint may_call(self, Response response) noexcept:
        """May this thread go on with a suspended iteration, or close it?"""
        return response.home is self.thread and self.thread.may_run

    cdef bint cuts_a_body(self) noexcept:
        """Would closing now pass off a part of a body as the whole?

        Without chunks or a length the end of the connection is the end of the body (RFC 9112 §6.3 step 8), so an end
        that comes too early has to be a reset.
        """
        cdef Response response = self.response
        if response is not None and response.committed and not response.finished:
            return response.ends_with_connection()
        return self.ends_a_body and not outbox_is_empty(&self.out)

    cdef int abandon_response(self, Response response) except -1:
        """close() is the application's, too: it runs in the request's context, and may block."""
        failure = None
        if self.thread.row is not NULL:
            self.thread.show_call(False, response.began_ms, self.sent_method, self.sent_target)
        self.loop.enter_application(self.thread, None)
        PyContext_Enter(response.context)
        try:
            self.loop.abandon(response)
        except BaseException as error:
            failure = error
        PyContext_Exit(response.context)
        self.thread.end_call()
        if self.loop.forked:
            end_child(failure)
        if failure is not None:
            log.error("HR303 close() of a response failed after its client had gone", exc_info=failure)
        self.loop.leave_application(self.thread)
        return 0

    cdef int finish_closing(self) except -1:
        """All is sent.  Where the client may still be sending, closing now would reset what it has not read yet."""
        cdef bint lingers = self.lingering and self.loop.linger_deadlines.duration_ms > 0
        if self.at_eof or not (lingers or self.readable or self.input.end > self.input.start or self.has_more()):
            return self.close()
        self.move(LINGER)
        sock_shutdown_write(self.fd)
        buffer_free(&self.input)
        self.arm(&self.loop.linger_deadlines)
        self.readable = True
        return self.drain()

    cdef bint has_more(self) noexcept:
        """Has something come since the last look, behind a request that said it was the last?"""
        cdef size_t got = 0
        return sock_recv(self.fd, self.thread.receive_scratch, RECEIVE_BYTES, &got) == SOCK_OK

    cdef int drain(self) except -1:
        """State LINGER: read and drop, one receive at a time, until the client closes or the deadline passes."""
        cdef size_t got = 0
        cdef sock_status status
        if not self.readable:
            return 0
        status = sock_recv(self.fd, self.thread.receive_scratch, RECEIVE_BYTES, &got)
        if status == SOCK_OK:
            self.again = True
            return 0
        if status != SOCK_AGAIN:
            return self.close()
        self.readable = False
        return self.watch(POLLER_READ)
