"""The requests of a connection: see connection.pxd for the fields; channel.pyx is the socket below.

The way of a request, top to bottom: on_accept/on_ready -> receive -> serve -> take_head -> begin_request
-> (take_body) -> run_application -> after_run -> settle.
"""

import builtins
import logging
import time
import traceback

from cpython.dict cimport PyDict_SetItem
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy, memset

from headrace.engine.body cimport BODY_MORE, BODY_REFUSED, BodyReceiver, RequestBody, body_status
from headrace.engine.channel cimport APP, BODY, HEAD, IDLE, LINGER, RECEIVE_BYTES, WRITE, CLOSED, Channel, LoopBase
from headrace.engine.csrc cimport (
    BUFFER_OK, FRAMING_CHUNKED, FRAMING_LENGTH, FRAMING_NONE, HEAD_DONE, HEAD_ERROR, HEAD_PARTIAL, POLLER_READ,
    POLLER_WRITE, REQUEST_APPLICATION_FAILED, REQUEST_BODY_TIMEOUT, REQUEST_BODY_TOO_LONG, REQUEST_HEAD_TIMEOUT,
    SOCK_AGAIN, SOCK_EOF, SOCK_OK, buffer_append, buffer_consume, buffer_free, chunk_decoder_reset, deadline_arm,
    deadline_disarm, deadline_queue, head_status, outbox_flush, outbox_free, request_error, sock_recv,
    sock_status)
from headrace.engine.debug cimport HEADRACE_DEBUG, count_object
from headrace.engine.environ cimport EnvironTemplate
from headrace.engine.head cimport HeadReader
from headrace.engine.record import AccessRecord
from headrace.engine.response cimport DATE_LINE_BYTES, Response
from headrace.engine.stream cimport StreamSource
from headrace.engine.stream import BodyRefused
from headrace.errors import REFUSALS, ClientDisconnected

log = logging.getLogger("headrace")

cdef str WSGI_INPUT = "wsgi.input"
cdef str WSGI_EARLY_HINTS = "wsgi.early_hints"
cdef str CONTENT_LENGTH = "CONTENT_LENGTH"

SERVER_LINE = b"Server: headrace\r\n"

cdef tuple REFUSAL_LIST = tuple(REFUSALS.values())
cdef const char *CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
cdef size_t CONTINUE_BYTES = 25


cdef class Connection:

    def __cinit__(self, LoopBase loop not None, EnvironTemplate template not None, int fd, remote_addr, remote_port):
        self.template = template
        self.remote_addr = remote_addr
        self.remote_port = remote_port
        count_object(b"Connection", 1)

    def __dealloc__(self):
        count_object(b"Connection", -1)

    cdef int on_accept(self) except -1:
        """A new connection: its first request is usually here already."""
        deadline_arm(&self.loop.head_deadlines, &self.timer, self.loop.now_ms)
        self.readable = True
        return self.receive()

    cdef int on_ready(self) except -1:
        if self.state == WRITE:
            self.on_writable()
        if self.state == LINGER:
            return self.drain()
        if self.state < APP:
            return self.receive()
        return 0

    cdef int on_deadline(self, deadline_queue *queue) except -1:
        if queue is &self.loop.trim_deadlines:
            return self.trim()
        if queue is &self.loop.head_deadlines and self.state == HEAD:
            return self.refuse_now(REQUEST_HEAD_TIMEOUT)
        if queue is &self.loop.body_deadlines:
            return self.refuse_now(REQUEST_BODY_TIMEOUT)
        if queue is &self.loop.write_deadlines:
            return self.on_write_deadline()
        return self.close()

    cdef int close(self) except -1:
        if self.record is not None and self.state != CLOSED:
            self.record_broken_off()
        Channel.close(self)
        if self.stream is not None:
            self.stream.detach()
            self.stream = None
        self.receiver = None
        self.environ = None
        return 0

    cdef int record_broken_off(self) except -1:
        """The client has gone before its answer was complete: 499, as nginx has it, when nothing was sent."""
        cdef Response response = self.response
        if response is not None and response.committed:
            return self.emit_record(response.status_code, response.body_bytes if response.body_allowed else 0)
        return self.emit_record(499, 0)

    cdef int trim(self) except -1:
        """Idle for a while: what only speeds up a busy connection is given back."""
        self.memo = None
        if self.input.start == self.input.end:
            buffer_free(&self.input)
        deadline_arm(&self.loop.idle_deadlines, &self.timer, self.loop.now_ms)
        return 0

    cdef int stop(self) except -1:
        """The loop is stopping: an idle connection closes, a busy one after its answer."""
        if self.state == IDLE and not self.queued:
            self.readable = True  # a request may be on its way already
            return self.receive()
        return 0

    # ---- receiving ----

    cdef int receive(self) except -1:
        """Receive once, then serve every complete request in what has come."""
        cdef size_t got = 0, used
        cdef sock_status status
        cdef char *scratch = self.loop.receive_scratch
        if self.input_after_stream is not None:
            self.take_back_rest()
        if self.readable and not self.at_eof and not self.more_to_serve:
            status = sock_recv(self.fd, scratch, RECEIVE_BYTES, &got)
            # Less than was asked for: nothing is left, and the next octet brings an edge.  FIN brings its edge once.
            self.readable = status == SOCK_OK and (got == RECEIVE_BYTES or self.hung_up)
            if status == SOCK_EOF:
                self.at_eof = True
            elif status != SOCK_OK and status != SOCK_AGAIN:
                return self.close()
        if self.input.end > self.input.start:
            if got:
                self.keep_rest(scratch, got)
            self.serve_kept_input()
        elif got:
            used = self.serve(scratch, got)
            if used < got and self.state != CLOSED:
                self.keep_rest(scratch + used, got - used)
        if HEADRACE_DEBUG and got:
            memset(scratch, 0xDB, got)
        return self.settle()

    cdef int keep_rest(self, const char *at, size_t len) except -1:
        # Bounded: nothing is received while complete requests wait, so what is kept is a part of a head and one
        # receive.
        if buffer_append(&self.input, at, len, self.loop.heads.limits.head_bytes_max + 2 * RECEIVE_BYTES) != BUFFER_OK:
            raise MemoryError("no memory for what a client sent")
        return 0

    cdef int serve_kept_input(self) except -1:
        self.more_to_serve = False
        cdef size_t used = self.serve(self.input.data + self.input.start, self.input.end - self.input.start)
        if self.state != CLOSED:
            buffer_consume(&self.input, used)
        return 0

    cdef size_t serve(self, const char *at, size_t len) except? 0:
        """Serve the requests in at[0..len) until one is incomplete or cannot be answered yet; octets consumed."""
        cdef size_t used = 0, step
        while used < len and self.state < APP and not self.closing:
            if self.state == BODY:
                step = self.take_body(at + used, len - used)
            else:
                if self.out.end >= self.loop.answers_bytes_max and not self.flush():
                    break
                step = self.take_head(at + used, len - used)
                if step == 0:
                    return used
            used += step
        self.more_to_serve = used < len and not self.closing
        return used

    cdef int settle(self) except -1:
        """All that could be served is served: send the answers, then wait for what comes next."""
        if self.input_after_stream is not None:
            self.take_back_rest()
        if self.state == CLOSED or self.state == LINGER:
            return 0
        if self.state == WRITE or not self.flush():
            return 0
        if self.closing:
            return self.finish_closing()
        if self.more_to_serve:
            return self.loop.push_ready(self)
        if self.at_eof:
            return self.close()
        if self.readable:
            return self.loop.push_ready(self)
        return self.wait_for_input()

    cdef int take_back_rest(self) except -1:
        """A streamed body has been read to its end: what came behind it is the next request."""
        cdef StreamSource source = self.input_after_stream
        self.input_after_stream = None
        if source.rest.end > source.rest.start:
            self.more_to_serve = True
            return self.keep_rest(source.rest.data + source.rest.start, source.rest.end - source.rest.start)
        return 0

    cdef int wait_for_input(self) except -1:
        if self.state == IDLE:
            if self.loop.stopping:
                return self.close()
            if self.came_back:  # before the first request the head deadline, which began at accept, goes on
                deadline_arm(&self.loop.trim_deadlines, &self.timer, self.loop.now_ms)
        return self.watch(POLLER_READ)

    # ---- the head ----

    cdef size_t take_head(self, const char *at, size_t len) except? 0:
        """Take one request head and run what it asks for, or begin its body.  Octets consumed, 0: it is incomplete."""
        cdef HeadReader heads = self.loop.heads
        cdef head_status status
        if HEADRACE_DEBUG and self.receiver is not None:
            raise AssertionError("octets of a body were about to be read as a request")
        status = heads.read(self, at, len)
        cdef size_t used
        self.to_head = heads.to_head
        if status == HEAD_PARTIAL:
            if self.state == IDLE and not is_empty_line(at, len):
                self.move(HEAD)
                deadline_arm(&self.loop.head_deadlines, &self.timer, self.loop.now_ms)  # one for the whole head
            return 0
        if status == HEAD_DONE and heads.body_framing == FRAMING_LENGTH:
            if heads.body_bytes > <uint64_t>self.loop.body_bytes_max:
                status = HEAD_ERROR
                heads.error = REQUEST_BODY_TOO_LONG
        if status == HEAD_ERROR:
            if self.loop.access_log is not None:
                self.record = AccessRecord(heads.request_line(self, at), self.remote_addr, time.time())
            self.refuse(heads.error)
            return len
        self.more_behind = heads.used < len
        used = heads.used  # the reader serves another request by the time this one is answered
        return len if self.begin_request(at + used, len - used) else used

    # ---- the body ----

    cdef bint begin_request(self, const char *rest, size_t rest_len) except -1:
        """The head is accepted: run the application, or first receive the body.

        rest: what came behind the head.  True: it has been taken, as the beginning of a streamed body.
        """
        cdef HeadReader heads = self.loop.heads
        self.environ = heads.environ
        heads.environ = None
        self.http_1_1 = heads.http_1_1
        self.keep_alive = heads.keep_alive and self.loop.keep_alive
        if self.loop.access_log is not None:
            self.record = AccessRecord(self.environ, self.remote_addr, time.time())
        if heads.body_framing == FRAMING_NONE or (heads.body_framing == FRAMING_LENGTH and heads.body_bytes == 0):
            self.run_application(self.loop.take_empty_body())
            return False
        if self.loop.stream_bodies:
            self.run_streaming(rest, rest_len)
            return True
        self.begin_body()
        if heads.expect_continue and rest_len == 0:
            self.send_continue()
        return False

    cdef int begin_body(self) except -1:
        cdef HeadReader heads = self.loop.heads
        cdef BodyReceiver receiver = BodyReceiver()
        receiver.chunked = heads.body_framing == FRAMING_CHUNKED
        receiver.left_bytes = <int64_t>heads.body_bytes
        receiver.bytes_max = self.loop.body_bytes_max
        receiver.memory_bytes_max = self.loop.body_memory_bytes_max
        receiver.limits = &heads.limits
        receiver.budget = self.loop.budget
        receiver.spool_folder = self.loop.spool_folder
        chunk_decoder_reset(&receiver.decoder)
        self.receiver = receiver
        self.body_since_ms = self.loop.now_ms
        self.move(BODY)
        deadline_arm(&self.loop.body_deadlines, &self.timer, self.loop.now_ms)
        return 0

    cdef int send_continue(self) except -1:
        """RFC 9110 §10.1.1: the head has passed every check and the client waits for leave to send the body."""
        self.ensure_room()
        memcpy(self.out.bytes + self.out.end, CONTINUE, CONTINUE_BYTES)
        self.out.end += CONTINUE_BYTES
        return 0

    cdef size_t take_body(self, const char *at, size_t len) except? 0:
        """Take what belongs to the body; when it is complete, run the application.  Octets consumed."""
        cdef size_t used = 0
        cdef RequestBody body
        cdef body_status status
        cdef BodyReceiver receiver = self.receiver
        status = receiver.feed(at, len, &used)
        if status == BODY_REFUSED:
            self.refuse(receiver.error)
            return len
        if status == BODY_MORE:
            if self.body_is_too_slow():
                self.refuse(REQUEST_BODY_TIMEOUT)
                return len
            deadline_arm(&self.loop.body_deadlines, &self.timer, self.loop.now_ms)
            return used
        self.receiver = None
        self.more_behind = used < len
        if receiver.chunked:
            # PEP 3333 knows no other way to tell an application how much there is to read
            PyDict_SetItem(self.environ, CONTENT_LENGTH, str(receiver.got_bytes))
        body = receiver.finish()
        self.run_application(body)
        return used

    cdef bint body_is_too_slow(self) noexcept:
        """A body that drips is refused once the time between two reads has passed as a whole."""
        cdef uint64_t since_ms = self.loop.now_ms - self.body_since_ms
        if since_ms <= self.loop.body_deadlines.duration_ms:
            return False
        return self.receiver.got_bytes * 1000 < self.loop.body_bytes_per_s_min * <int64_t>since_ms

    # ---- the application ----

    cdef int run_streaming(self, const char *rest, size_t rest_len) except -1:
        """--stream-request-body: the application reads as the body arrives."""
        cdef HeadReader heads = self.loop.heads
        cdef StreamSource source = StreamSource()
        cdef RequestBody body = RequestBody()
        source.fd = self.fd
        source.limits = &heads.limits
        source.timeout_ms = <int>self.loop.body_deadlines.duration_ms
        source.bytes_max = self.loop.body_bytes_max
        source.bytes_per_s_min = self.loop.body_bytes_per_s_min
        source.chunked = heads.body_framing == FRAMING_CHUNKED
        source.left_bytes = <int64_t>heads.body_bytes
        source.expects_continue = heads.expect_continue and rest_len == 0
        if buffer_append(&source.rest, rest, rest_len, rest_len) != BUFFER_OK:
            raise MemoryError
        body.source = source
        self.stream = source
        return self.run_application(body)

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

    cdef int run_application(self, RequestBody body) except -1:
        cdef Response response = self.loop.take_response()
        cdef dict environ = self.environ
        cdef bint answers_wait = self.out.end != self.out.start
        self.ensure_room()
        response.begin(&self.out, self.fd, self.http_1_1, self.to_head,
                       self.keep_alive and (self.more_behind or not self.loop.stopping))
        if self.stream is not None:
            self.stream.response = response
            response.body_source = self.stream
        self.response = response
        deadline_disarm(&self.timer)  # it was for the request to come
        PyDict_SetItem(environ, WSGI_INPUT, body)
        PyDict_SetItem(environ, WSGI_EARLY_HINTS, response.early_hints)
        self.move(APP)
        if answers_wait:
            self.loop.enter_with_unsent(self)
        try:
            self.loop.run_request(self.loop.application, environ, response)
        except BaseException as error:
            if answers_wait:
                self.loop.leave_with_unsent()
            return self.application_failed(response, error)
        if answers_wait:
            self.loop.leave_with_unsent()
        return self.after_run(response)

    cdef int after_run(self, Response response) except -1:
        """The application has returned: its response is complete, or waits for the client."""
        self.loop.tick()  # it may have taken long, and deadlines count from now
        if response.suspended is not None:
            return self.wait_for_client()
        if self.stream is not None:
            self.end_stream(response)
        if not response.keep_alive:
            self.ends_a_body = response.ends_with_connection()
            self.closing = True
            self.lingering = self.lingering or self.keep_alive
        if self.loop.access_log is not None:
            self.emit_record(response.status_code, response.body_bytes if response.body_allowed else 0)
        self.environ = None
        self.move(IDLE)
        if self.out.block_len or self.out.file_left:
            # the block lies in the application's memory, and there is room for one such only
            self.flush()
            return 0
        self.let_go_of_response()
        return 0

    cdef int application_failed(self, Response response, object error) except -1:
        """The application, or its iterable, raised: 500 while the head is here, a cut connection afterwards."""
        cdef request_error refusal = REQUEST_APPLICATION_FAILED
        self.loop.tick()
        response.suspended = None
        if self.stream is not None:
            self.stream.detach()
            self.stream = None
        if isinstance(error, BodyRefused):
            refusal = <request_error><int>error.error
        elif isinstance(error, ClientDisconnected) and response.client_gone:
            return self.close()
        else:
            self.report(error, self.environ)
        self.move(IDLE)
        if response.committed:
            return self.cut(response)
        self.let_go_of_response()
        return self.refuse(refusal)

    cdef int report(self, object error, dict environ) except -1:
        """The traceback to wsgi.errors (PEP 3333, "Error Handling"), a line to the log."""
        log.error("the application failed on %s %s: %s", environ.get("REQUEST_METHOD"),
                  ascii_text(environ.get("RAW_URI")), type(error).__name__)
        try:
            traceback.print_exception(type(error), error, their_frames(error.__traceback__),
                                      file=self.loop.error_stream)
            self.loop.error_stream.flush()
        except Exception:
            log.exception("wsgi.errors cannot be written to")
        return 0

    cdef int cut(self, Response response) except -1:
        """The head has left: the client can only learn of the failure by an end that comes too early."""
        if self.loop.access_log is not None:
            self.emit_record(response.status_code, response.body_bytes if response.body_allowed else 0)
        if response.ends_with_connection():
            return self.close()
        if not self.out.block_len:
            self.let_go_of_response()
        self.closing = True
        self.lingering = True
        return 0

    cdef int emit_record(self, int status, int64_t body_bytes) except -1:
        record = self.record
        self.record = None
        if record is None:  # refused before it was understood
            record = AccessRecord({}, self.remote_addr, time.time())
        record.status = status
        record.response_bytes = body_bytes
        record.duration_s = time.time() - record.time_s
        try:
            self.loop.access_log(record)
        except Exception:
            log.exception("the access log failed")
        return 0

    # ---- answers of our own ----

    cdef int refuse(self, request_error error) except -1:
        """A complete answer behind those before it; nothing more of this connection is read as a request."""
        cdef bytes text
        refusal = REFUSAL_LIST[error]
        self.receiver = None
        self.closing = True
        self.lingering = True
        text = refusal.response(self.server_lines(), self.to_head)
        self.ensure_room()
        memcpy(self.out.bytes + self.out.end, <const char *>text, len(text))
        self.out.end += len(text)
        log.debug("refused: %d %s (%s)", refusal.status, refusal.explanation, refusal.section)
        if self.loop.access_log is not None:
            self.emit_record(refusal.status, 0 if self.to_head else len(refusal.body()))
        return 0

    cdef bytes server_lines(self):
        lines = self.loop.defaults.date_line[:DATE_LINE_BYTES] if self.loop.defaults.add_date else b""
        return lines + SERVER_LINE if self.loop.defaults.add_server else lines

    cdef int refuse_now(self, request_error error) except -1:
        """The same from a deadline, when nothing is being served."""
        self.refuse(error)
        return self.settle()

    # ---- sending ----

    cdef int on_writable(self) except -1:
        """State WRITE: send on; when all is gone take up the iteration, or the connection, again."""
        cdef uint64_t unsent = self.unsent_bytes()
        cdef sock_status status = outbox_flush(&self.out, self.fd)
        if status == SOCK_AGAIN:
            if self.unsent_bytes() < unsent:
                deadline_arm(&self.loop.write_deadlines, &self.timer, self.loop.now_ms)
            return self.watch(POLLER_WRITE)
        if status != SOCK_OK:
            return self.close()
        outbox_free(&self.out)
        deadline_disarm(&self.timer)
        if self.response is not None and self.response.suspended is not None:
            return self.resume_application()
        self.let_go_of_response()
        return self.back_to_reading()

    cdef int back_to_reading(self) except -1:
        """All answers have left; what was being received when the socket filled goes on being received.

        A body whose octets were taken for a request would be a request smuggled in.
        """
        self.readable = True  # the poller was not asked about input meanwhile
        if self.receiver is not None:
            self.move(BODY)
            self.body_since_ms = self.loop.now_ms  # the client may have been waiting for our answers
            deadline_arm(&self.loop.body_deadlines, &self.timer, self.loop.now_ms)
        elif self.partial is not NULL and not is_empty_line(self.input.data + self.input.start,
                                                            self.input.end - self.input.start):
            self.move(HEAD)
            deadline_arm(&self.loop.head_deadlines, &self.timer, self.loop.now_ms)
        else:
            self.move(IDLE)
        return 0

    cdef int resume_application(self) except -1:
        cdef Response response = self.response
        self.ensure_room()
        self.move(APP)
        try:
            self.loop.resume(response)
        except BaseException as error:
            return self.application_failed(response, error)
        return self.after_run(response)


cdef bint is_empty_line(const char *at, size_t len) noexcept:
    """An empty line, or its beginning: it may come before a head (RFC 9112 §2.2), and is not yet one."""
    return (len == 1 or (len == 2 and at[1] == 10)) and at[0] == 13


cdef object their_frames(object frames):
    """A traceback without our own frames at its beginning, where others follow."""
    while frames is not None and frames.tb_next is not None:
        if not frames.tb_frame.f_globals.get("__name__", "").startswith("headrace."):
            return frames
        frames = frames.tb_next
    return frames


cdef object ascii_text(object text):
    """Something from environ, which the application may have changed, as one line of ASCII."""
    return builtins.ascii(text).strip("'\"")
