"""Requests and their answers: see exchange.pxd for the fields; connection.pyx receives, channel.pyx has the socket.

The way of a complete request: admit -> (wait_for_thread -> run_waiting) -> run_application -> after_run.
"""

import logging
import time
import traceback

from cpython.contextvars cimport PyContext_Copy, PyContext_Enter, PyContext_Exit
from cpython.dict cimport PyDict_GetItem, PyDict_SetItem
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

from headrace.engine.access_lines cimport drop_texts
from headrace.engine.body cimport RequestBody
from headrace.engine.channel cimport APP, CLOSED, IDLE, WAITING, WRITE, Channel, end_child
from headrace.engine.csrc cimport (
    POLLER_HANGUP, REQUEST_APPLICATION_FAILED, REQUEST_QUEUED_TOO_LONG, SOCK_BROKEN, SOCK_EOF,
    counter_add, outbox_is_empty, request_error, sock_look, sock_status)
from headrace.engine.request_start import request_age_s
from headrace.engine.response cimport HALF_CLOSED_MS, Response
from headrace.engine.response_head cimport DATE_LINE_BYTES
from headrace.engine.stream cimport StreamSource
from headrace.engine.stream import BodyRefused
from headrace.engine.thread cimport LOOK_AFTER_MS
from headrace.engine.interpreter cimport FREE_THREADED
from headrace.errors import ClientDisconnected, refusal_of

log = logging.getLogger("headrace")

cdef str WSGI_INPUT = "wsgi.input"
cdef str WSGI_EARLY_HINTS = "wsgi.early_hints"
cdef str CLIENT_DISCONNECTED = "headrace.client_disconnected"
cdef str X_REQUEST_START = "HTTP_X_REQUEST_START"


cdef class Exchange(Channel):

    def __dealloc__(self):
        if self.record is not NULL:
            drop_texts(self.record)

    # ---- before the application ----

    cdef int admit(self, RequestBody body) except -1:
        """The request is complete: run it, or have it wait for a thread that may.

        With a queue deadline every request goes through the queue, so that all that has come is known before one is
        chosen.
        """
        self.waits_since_ms = self.request_start_ms() if self.loop.queue_deadline_ms else self.arrived_ms
        if FREE_THREADED and not outbox_is_empty(&self.out) and not self.flush():
            # Without an interpreter lock nobody else could send these answers while the call goes on: they leave first.
            if self.state == WRITE:
                self.body = body  # and back_to_reading goes on from here
            return 0
        if self.thread.may_run and self.loop.queue_deadline_ms == 0:
            return self.run_application(body)
        self.body = body
        if self.loop.queue_deadline_ms:
            if self.waits_since_ms + self.loop.queue_deadline_ms <= self.thread.now_ms:
                counter_add(&self.loop.queued_too_long, 1)
                self.body = None
                return self.refuse(REQUEST_QUEUED_TOO_LONG)
        return self.wait_for_thread()

    cdef int wait_for_thread(self) except -1:
        """State WAITING: into the queue when the owner lets go."""
        self.move(WAITING)
        self.disarm()
        if self.loop.queue_deadline_ms:
            self.arm_at(&self.loop.queue_deadlines, self.waits_since_ms + self.loop.queue_deadline_ms)
        return 0

    cdef uint64_t request_start_ms(self) except? 0:
        """Since when the request has been waiting, on our clock: X-Request-Start of a trusted proxy tells."""
        cdef PyObject *value = PyDict_GetItem(self.environ, X_REQUEST_START)
        cdef uint64_t age_ms
        if value is NULL or self.thread.heads.rules is None or not self.thread.heads.trusts_peer(self):
            return self.arrived_ms
        age_s = request_age_s(<object>value, time.time())
        if age_s is None:
            return self.arrived_ms
        age_ms = <uint64_t>(age_s * 1000)
        return self.thread.now_ms - age_ms if age_ms < self.thread.now_ms else 0

    cdef bint client_has_gone(self) except -1:
        """Looked at only for requests that had to wait.  A reset says so; a half-close does after a while, for a client
        may shut its side down and still read.

        The poller tells of both, for all connections that it knows at once; it does not say which it was.
        """
        cdef uint64_t waited_ms = self.thread.ms_since(self.waits_since_ms)
        cdef bint poller_would_tell = self.registered and not self.awaiting_room and self.loop.edges
        cdef sock_status status
        if poller_would_tell and self.loop.knows_events(self.thread):
            if not self.hung_up and not self.pending & POLLER_HANGUP:
                return False
        status = sock_look(self.fd)
        if status == SOCK_BROKEN:
            return True
        self.came_since_ms = self.thread.now_ms  # those pipelined behind it need not look again at once
        return (status == SOCK_EOF or self.at_eof) and waited_ms >= HALF_CLOSED_MS

    cdef int skip(self) except -1:
        """Nobody would read the answer: no application call, 499 in the log (as nginx has it), and the end.

        What was finished before it is still sent: a client that has shut its side down may be reading.
        """
        counter_add(&self.loop.skipped, 1)
        if self.loop.access_lines is not None:
            self.emit_record(499, 0)
        self.environ = None
        self.closing = True
        if self.stream is not None:
            self.stream.detach()
            self.stream = None
        self.move(IDLE)
        return 0

    # ---- the application ----

    cdef int run_waiting(self) except -1:
        cdef RequestBody body = self.body
        self.body = None
        return self.run_application(body)

    cdef int run_application(self, RequestBody body) except -1:
        cdef Response response
        if self.thread.now_ms > self.came_since_ms + LOOK_AFTER_MS and self.client_has_gone():
            return self.skip()
        response = self.thread.take_response()
        self.ensure_room()
        response.begin(&self.out, self.fd, &self.thread.defaults, self.http_1_1, self.to_head,
                       self.keep_alive and self.loop.keep_alive)
        response.more_behind = self.more_behind
        response.home = self.thread
        response.context = PyContext_Copy(self.loop.base_context)
        self.began_ms = response.began_ms = self.thread.now_ms
        if self.stream is not None:
            self.stream.response = response
            response.body_source = self.stream
        self.response = response
        self.disarm()  # it was for the request to come
        PyDict_SetItem(self.environ, WSGI_INPUT, body)
        PyDict_SetItem(self.environ, WSGI_EARLY_HINTS, response.early_hints)
        PyDict_SetItem(self.environ, CLIENT_DISCONNECTED, response.client_disconnected)
        body = None
        self.move(APP)
        if self.thread.row is not NULL:
            self.thread.show_call(True, response.began_ms, self.sent_method, self.sent_target)
        try:
            self.loop.enter_application(self.thread, self if self.out.end != self.out.start else None)
            return self.call_application(response)
        finally:
            self.loop.leave_application(self.thread)

    cdef int call_application(self, Response response) except -1:
        """What follows the call may block as well: the log, wsgi.errors, what ends with environ."""
        response.enter_call(self.thread.row)
        PyContext_Enter(response.context)
        try:
            self.loop.run_request(self.loop.application, self.environ, response)
        except BaseException as error:
            self.end_call(response, error)
            return self.application_failed(response, error)
        self.end_call(response, None)
        return self.after_run(response)

    cdef int resume_application(self) except -1:
        cdef Response response = self.response
        self.ensure_room()
        self.move(APP)
        if self.thread.row is not NULL:
            self.thread.show_call(False, response.began_ms, self.sent_method, self.sent_target)
        try:
            self.loop.enter_application(self.thread, None)
            return self.call_resume(response)
        finally:
            self.loop.leave_application(self.thread)

    cdef int call_resume(self, Response response) except -1:
        response.enter_call(self.thread.row)
        PyContext_Enter(response.context)
        try:
            self.loop.resume(response)
        except BaseException as error:
            self.end_call(response, error)
            return self.application_failed(response, error)
        self.end_call(response, None)
        return self.after_run(response)

    cdef int end_call(self, Response response, object failure) except -1:
        PyContext_Exit(response.context)
        response.leave_call()
        self.thread.end_call()
        if self.loop.forked:
            end_child(failure)
        return 0

    cdef int end_stream(self, Response response) except -1:
        """The request is over.  What the application did not read cannot be told from the next request: close."""
        cdef StreamSource source = self.stream
        self.stream = None
        source.detach()
        if source.is_complete():
            self.input_after_stream = source
            return 0
        response.keep_alive = False
        self.lingering = True
        return 0

    cdef int after_run(self, Response response) except -1:
        """The application has returned: its response is complete, or waits for the client."""
        self.arrived_ms = self.thread.now_ms  # what is pipelined behind it has waited for nobody else so far
        if response.suspended is not None:
            return self.wait_for_client()
        if self.stream is not None:
            self.end_stream(response)
        if response.committed and not response.finished:
            self.move(IDLE)
            return self.cut(response)  # the gateway has told of the failure
        if not response.keep_alive:
            self.ends_a_body = response.ends_with_connection()
            self.closing = True
            self.lingering = self.lingering or self.keep_alive  # its next request may be on its way
        if self.loop.access_lines is not None:
            self.emit_record(response.status_code, response.body_bytes if response.body_allowed else 0)
        self.environ = None
        response.context = None
        self.move(IDLE)
        if self.out.block_len or self.out.tail_end or self.out.file_left:
            # the block lies in the application's memory, and there is room for one such only
            self.flush()
            return 0
        self.let_go_of_response()
        return 0

    cdef int application_failed(self, Response response, object error) except -1:
        """The application, or its iterable, raised: 500 while the head is here, a cut connection afterwards."""
        cdef request_error refusal = REQUEST_APPLICATION_FAILED
        response.suspended = None
        if self.stream is not None:
            self.stream.detach()
            self.stream = None
        if isinstance(error, BodyRefused):
            refusal = <request_error><int>error.error
        elif isinstance(error, ClientDisconnected) and response.client_gone:
            if self.loop.stop_at_ms and self.thread.now_ms >= response.ends_at_ms():
                self.loop.cut_requests[self.tag] = self.shown_request()
            return self.close()
        elif isinstance(error, KeyboardInterrupt) and self.loop.cut_asked:
            # our own, by which the only thread leaves a call at a second signal: not the application's failure
            self.loop.cut_requests[self.tag] = self.shown_request()
        else:
            self.report(error)
        self.move(IDLE)
        if response.committed:
            return self.cut(response)
        self.let_go_of_response()
        return self.refuse(refusal)

    cdef int report(self, object error) except -1:
        """The traceback to wsgi.errors (PEP 3333, "Error Handling"), a line to the log; in JSON both are one object."""
        if self.loop.config.log_format == "json":
            log.error("HR301 the application failed on %s: %s", self.shown_request(), type(error).__name__,
                      exc_info=(type(error), error, their_frames(error.__traceback__)))
            return 0
        log.error("HR301 the application failed on %s: %s", self.shown_request(), type(error).__name__)
        try:
            traceback.print_exception(type(error), error, their_frames(error.__traceback__),
                                      file=self.loop.error_stream)
            self.loop.error_stream.flush()
        except Exception:
            log.exception("HR302 wsgi.errors cannot be written to")
        return 0

    cdef int cut(self, Response response) except -1:
        """The head has left: the client can only learn of the failure by an end that comes too early."""
        if self.loop.access_lines is not None:
            self.emit_record(response.status_code, response.body_bytes if response.body_allowed else 0)
        if response.ends_with_connection():
            return self.close()
        if not self.out.block_len:
            self.let_go_of_response()
        self.closing = True
        self.lingering = True
        return 0

    # ---- records, and answers of our own ----

    cdef int begin_record(self, dict known, object method, object target, object protocol, bint of_memo) except -1:
        """Keep what the access log will say of this head.  known: its environ, or what there is of one."""
        self.record = self.loop.access_lines.begin(self.record, known, method, target, protocol, of_memo)
        self.record_began_ns = self.thread.now_ns
        return 0

    cdef int emit_record(self, int status, int64_t body_bytes) except -1:
        cdef int64_t duration_ns
        if self.record is NULL or not self.record.open:  # refused before it was understood
            self.begin_record({"REMOTE_ADDR": self.remote_addr}, None, None, None, False)
        duration_ns = self.thread.now_ns - self.record_began_ns
        headers = None
        if self.response is not None and self.loop.access_lines.wants_headers:
            headers = self.response.logged_headers
        try:
            if self.loop.access_lines.end(self.record, self.record_began_ns + self.thread.unix_offset_ns, duration_ns,
                                          status, body_bytes, self.environ, headers):
                self.thread.tick()  # it may have had to wait
        except Exception:
            log.exception("HR607 the access log failed")
        return 0

    cdef int record_broken_off(self) except -1:
        """The client has gone before its answer was complete: 499, as nginx has it, when nothing was sent."""
        cdef Response response = self.response
        if response is not None and response.committed:
            return self.emit_record(response.status_code, response.body_bytes if response.body_allowed else 0)
        return self.emit_record(499, 0)

    cdef int refuse(self, request_error error) except -1:
        """A complete answer behind those before it; nothing more of this connection is read as a request."""
        cdef bytes text
        refusal = refusal_of(error)
        self.receiver = None
        self.body = None
        self.closing = True
        self.lingering = True
        text = refusal.response(self.server_lines(), self.to_head)
        self.ensure_room()
        memcpy(self.out.bytes + self.out.end, <const char *>text, len(text))
        self.out.end += len(text)
        if error != REQUEST_APPLICATION_FAILED and log.isEnabledFor(logging.DEBUG):  # of which HR301 has told
            log.debug("HR208 refused %s of %s: %s", self.shown_request(), self.shown_client(),
                      refusal.log_text(self.loop.config))
        if self.loop.access_lines is not None:
            self.emit_record(refusal.status, 0 if self.to_head else len(refusal.body()))
        return 0

    cdef bint asks_for_health(self) except -1:
        """--health-path, as it was sent; what stands behind "?" does not matter."""
        cdef str target = self.sent_target, wanted = self.loop.health_target
        if self.sent_method != "GET" and self.sent_method != "HEAD":
            return False
        return target == wanted or (target.startswith(wanted) and target[len(wanted)] == "?")

    cdef int answer_health(self) except -1:
        """By whichever thread receives it, also while all of them are inside the application; no access record."""
        cdef bytes text, body = b"draining\n" if self.loop.draining else b"ok\n"
        self.environ = None
        self.disarm()  # it was for the request to come
        if self.loop.stopping or not self.keep_alive or not self.loop.keep_alive:
            self.closing = True
            self.lingering = self.keep_alive
        text = (b"HTTP/1.1 %b\r\n%bContent-Type: text/plain\r\nCache-Control: no-store\r\nContent-Length: %d\r\n"
                b"%b\r\n%b") % (
            b"503 Service Unavailable" if self.loop.draining else b"200 OK",
            self.server_lines(),
            len(body),
            b"Connection: close\r\n" if self.closing else self.loop.keep_alive_lines if self.http_1_1
            else self.loop.keep_alive_lines or b"Connection: keep-alive\r\n",
            b"" if self.to_head else body,
        )
        self.ensure_room()
        memcpy(self.out.bytes + self.out.end, <const char *>text, len(text))
        self.out.end += len(text)
        self.move(IDLE)
        return 0

    cdef bytes server_lines(self):
        lines = self.thread.defaults.date_line[:DATE_LINE_BYTES] if self.thread.defaults.add_date else b""
        if self.thread.defaults.add_server:
            lines += self.thread.defaults.server_line[:self.thread.defaults.server_line_bytes]
        return lines


cdef object their_frames(object frames):
    """A traceback without our own frames at its beginning, where others follow."""
    while frames is not None and frames.tb_next is not None:
        if not frames.tb_frame.f_globals.get("__name__", "").startswith("headrace."):
            return frames
        frames = frames.tb_next
    return frames
