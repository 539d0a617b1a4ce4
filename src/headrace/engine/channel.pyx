"""Client sockets, their way out and their end: see channel.pxd for fields, states and rules of ownership."""

import logging

from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from headrace.engine.body cimport RequestBody
from headrace.engine.csrc cimport (
    POLLER_READ, POLLER_WRITE, SOCK_AGAIN, SOCK_OK, buffer_free, deadline_arm, deadline_disarm, deadline_init,
    outbox_borrow, outbox_flush, outbox_free, outbox_init, outbox_is_empty, outbox_keep, outbox_pending_bytes,
    outbox_reserve, outbox_rewind, poller_add_connection, poller_arm, sock_close, sock_recv,
    sock_reset_on_close, sock_shutdown_write, sock_status)
from headrace.engine.debug cimport HEADRACE_DEBUG, count_object
from headrace.engine.environ cimport EnvironTemplate
from headrace.engine.head cimport HeadPlace
from headrace.engine.response cimport RESPONSE_ROOM_BYTES, Response

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject *o)

log = logging.getLogger("headrace")

# LEGAL_MOVES[from]: the set of states that may follow, as bits
cdef uint32_t[7] LEGAL_MOVES
LEGAL_MOVES[<int>IDLE] = 1 << HEAD | 1 << BODY | 1 << APP | 1 << WRITE | 1 << LINGER | 1 << CLOSED
LEGAL_MOVES[<int>HEAD] = 1 << IDLE | 1 << BODY | 1 << APP | 1 << WRITE | 1 << LINGER | 1 << CLOSED
LEGAL_MOVES[<int>BODY] = 1 << APP | 1 << IDLE | 1 << WRITE | 1 << LINGER | 1 << CLOSED
LEGAL_MOVES[<int>APP] = 1 << IDLE | 1 << WRITE | 1 << CLOSED
LEGAL_MOVES[<int>WRITE] = 1 << APP | 1 << IDLE | 1 << HEAD | 1 << BODY | 1 << LINGER | 1 << CLOSED
LEGAL_MOVES[<int>LINGER] = 1 << CLOSED
LEGAL_MOVES[<int>CLOSED] = 0


cdef class LoopBase:

    cdef int push_ready(self, Channel channel) except -1:
        raise NotImplementedError

    cdef int forget(self, Channel channel) except -1:
        raise NotImplementedError

    cdef void tick(self) noexcept:
        pass

    cdef int enter_with_unsent(self, Channel channel) except -1:
        raise NotImplementedError

    cdef void leave_with_unsent(self) noexcept:
        pass

    cdef Response take_response(self):
        """A Response for the next request: the last one again, if the application let go of it."""
        cdef Response response = self.spare_response
        if response is not None:
            self.spare_response = None
            # held by our variable and by its two bound methods; those by nobody but the response
            if (Py_REFCNT(<PyObject *>response) == 3 and Py_REFCNT(<PyObject *>response.start_response) == 1
                    and Py_REFCNT(<PyObject *>response.early_hints) == 1):
                return response
            response.retire()
        response = Response()
        response.defaults = &self.defaults
        return response

    cdef void recycle(self, Response response) noexcept:
        """A request is over: its Response may serve another one."""
        response.release()
        if self.spare_response is None:
            self.spare_response = response
        elif self.spare_response is not response:
            response.retire()

    cdef RequestBody take_empty_body(self):
        cdef RequestBody body = self.spare_body
        if body is None or Py_REFCNT(<PyObject *>body) > 2:
            body = self.spare_body = RequestBody()
        return body


cdef class Channel(HeadPlace):

    def __cinit__(self, LoopBase loop not None, EnvironTemplate template not None, int fd, remote_addr, remote_port):
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
            log.critical("illegal move of a connection from state %d to %d", self.state, state)
            count_object(b"illegal moves", 1)
        self.state = state

    # ---- sending ----

    cdef int ensure_room(self) except -1:
        """The outbox has scratch, with room for one more head behind what is queued."""
        if outbox_is_empty(&self.out):
            outbox_free(&self.out)
            outbox_borrow(&self.out, self.loop.send_scratch, self.loop.send_scratch_bytes)
        elif self.out.cap - self.out.end < RESPONSE_ROOM_BYTES:
            if not outbox_reserve(&self.out, RESPONSE_ROOM_BYTES, 2 * self.loop.send_scratch_bytes):
                raise MemoryError("no memory for an answer")
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
            self.close()
            return False
        self.wait_for_client()
        return False

    cdef int wait_for_client(self) except -1:
        if not outbox_keep(&self.out):
            raise MemoryError("no memory for an answer")
        self.move(WRITE)
        deadline_arm(&self.loop.write_deadlines, &self.timer, self.loop.now_ms)
        return self.watch(POLLER_WRITE)

    cdef void let_go_of_response(self) noexcept:
        if self.response is not None and self.response.suspended is None:
            self.loop.recycle(self.response)
            self.response = None

    cdef uint64_t unsent_bytes(self) noexcept:
        return outbox_pending_bytes(&self.out) + self.out.file_left

    cdef int on_write_deadline(self) except -1:
        """The poller speaks of room only when a good part of the socket's buffer is free; a slow reader frees less."""
        cdef uint64_t unsent = self.unsent_bytes()
        cdef sock_status status = outbox_flush(&self.out, self.fd)
        if status == SOCK_OK or (status == SOCK_AGAIN and self.unsent_bytes() < unsent):
            deadline_arm(&self.loop.write_deadlines, &self.timer, self.loop.now_ms)
            return self.loop.push_ready(self) if status == SOCK_OK else self.watch(POLLER_WRITE)
        log.info("a client did not read its response in time; the connection is closed")
        return self.close()

    cdef int watch(self, uint32_t interest) except -1:
        """Ask the poller for the next edge.  A connection that closes after its first answer never gets here."""
        if not self.registered:
            self.registered = True
            if poller_add_connection(self.loop.poller, self.fd, self.tag) < 0:
                log.error("the poller did not take a connection")
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
            sock_reset_on_close(self.fd)
        self.move(CLOSED)
        deadline_disarm(&self.timer)
        self.loop.forget(self)
        sock_close(self.fd)
        self.fd = -1
        buffer_free(&self.input)
        outbox_free(&self.out)
        if response is not None:
            self.response = None
            if response.suspended is not None:
                self.abandon_response(response)
            self.loop.recycle(response)
        return 0

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
        try:
            self.loop.abandon(response)
        except BaseException:
            log.exception("close() of a response failed after its client had gone")
        return 0

    cdef int finish_closing(self) except -1:
        """All is sent.  Where the client may still be sending, closing now would reset what it has not read yet."""
        if self.at_eof or not (self.lingering or self.readable or self.input.end > self.input.start):
            return self.close()
        self.move(LINGER)
        sock_shutdown_write(self.fd)
        buffer_free(&self.input)
        deadline_arm(&self.loop.linger_deadlines, &self.timer, self.loop.now_ms)
        self.readable = True
        return self.drain()

    cdef int drain(self) except -1:
        """State LINGER: read and drop, one receive at a time, until the client closes or the deadline passes."""
        cdef size_t got = 0
        cdef sock_status status
        if not self.readable:
            return 0
        status = sock_recv(self.fd, self.loop.receive_scratch, RECEIVE_BYTES, &got)
        if status == SOCK_OK:
            return self.loop.push_ready(self)
        if status != SOCK_AGAIN:
            return self.close()
        self.readable = False
        return self.watch(POLLER_READ)
