"""The requests of a connection: see connection.pxd for the fields; exchange.pyx runs them, channel.pyx is the socket.

The way of a request, top to bottom: on_accept/on_ready -> receive -> serve -> take_head -> begin_request
-> (take_body) -> admit (exchange.pyx) -> settle.
"""

import logging

from cpython.dict cimport PyDict_SetItem
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy, memset

from headrace.engine.access_lines cimport drop_texts
from headrace.engine.body cimport BODY_MORE, BODY_REFUSED, BodyReceiver, RequestBody, body_status, whole_body
from headrace.engine.channel cimport BODY, CLOSED, HEAD, IDLE, LINGER, PROXY, WAITING, WRITE, Channel, LoopBase
from headrace.engine.body import spool_place
from headrace.engine.csrc cimport (
    BUFFER_OK, FRAMING_CHUNKED, FRAMING_LENGTH, FRAMING_NONE, HEAD_DONE, HEAD_ERROR, HEAD_PARTIAL, POLLER_READ,
    POLLER_WRITE, PROXY_HEADER_ERROR, PROXY_HEADER_MORE, PROXY_SOURCE_CONNECTION, PROXY_SOURCE_UNIX,
    REQUEST_BODY_TIMEOUT, REQUEST_BODY_TOO_LONG, REQUEST_HEAD_TIMEOUT, REQUEST_QUEUED_TOO_LONG,
    REQUEST_READ_IN_TWO_WAYS, RESPONSE_CONTINUE, RESPONSE_CONTINUE_BYTES, SOCK_AGAIN, SOCK_EOF, SOCK_OK,
    buffer_append, buffer_consume, buffer_free, chunk_decoder_reset, clock_monotonic_ms, counter_add, counter_read,
    deadline_is_armed, deadline_queue, head_status, outbox_flush, outbox_free, proxy_header, proxy_header_read,
    proxy_header_status, request_error, sock_recv, sock_status, sock_wait)
from headrace.engine.debug cimport COUNT_CONNECTION, HEADRACE_DEBUG, count_object
from headrace.engine.environ cimport ascii
from headrace.engine.head cimport NOT_TRUSTED, HeadReader
from headrace.engine.proxy_errors import PROXY_ERRORS, environ_of
from headrace.engine.record import escaped, refused_line
from headrace.engine.response cimport tell_of_failure_to_send
from headrace.engine.stream cimport StreamSource
from headrace.engine.thread cimport RECEIVE_BYTES

log = logging.getLogger("headrace")

cdef str CONTENT_LENGTH = "CONTENT_LENGTH"
cdef uint64_t TURN_MS = 5  # of one connection's pipeline; that of a quick application takes less
cdef uint64_t PROXY_TOLD_EVERY_MS = 1000
cdef uint64_t TLS_TOLD_EVERY_MS = 60_000
cdef uint64_t OBJECTION_TOLD_EVERY_MS = 60_000  # the line may have some 32 KiB, and whoever sends it can send more
cdef char TLS_HANDSHAKE = 0x16  # ContentType of the record that a client hello comes in (RFC 8446 §5.1); no token's


cdef class Connection:

    def __cinit__(self, LoopBase loop not None, int listener, int fd, remote_addr, remote_port):
        self.listener = listener
        self.remote_addr = remote_addr
        self.remote_port = remote_port
        count_object(COUNT_CONNECTION, 1)

    def __dealloc__(self):
        count_object(COUNT_CONNECTION, -1)

    cdef void on_accept(self) noexcept:
        """A new connection: its first request is usually here already, and is received before the poller is told."""
        self.arm(&self.loop.head_deadlines)
        self.readable = True
        self.again = True

    cdef int on_ready(self) except -1:
        if self.state == WRITE:
            self.on_writable()
        elif self.state == WAITING and self.thread.may_run:
            self.run_waiting()
        elif self.state == CLOSED:
            return self.farewell()
        if self.state == LINGER:
            return self.drain()
        if self.state < WAITING:
            return self.receive()
        return 0

    cdef int on_deadline(self, deadline_queue *queue) except -1:
        if queue is &self.loop.trim_deadlines:
            return self.trim()
        if queue is &self.loop.head_deadlines and self.state == HEAD:
            self.record_late_head()
            return self.refuse_now(REQUEST_HEAD_TIMEOUT)
        if queue is &self.loop.body_deadlines:
            return self.refuse_now(REQUEST_BODY_TIMEOUT)
        if queue is &self.loop.queue_deadlines:
            counter_add(&self.loop.queued_too_long, 1)
            return self.refuse_now(REQUEST_QUEUED_TOO_LONG)
        if queue is &self.loop.write_deadlines:
            return self.on_write_deadline()
        if queue is &self.loop.idle_deadlines and self.state == IDLE:
            return self.close_unless_more()
        if self.state == PROXY:
            return self.refuse_proxy_header("it did not come in time")
        return self.close()

    cdef int close(self) except -1:
        if self.record is not NULL and self.record.open and self.state != CLOSED:
            self.record_broken_off()
        if self.stream is not None:  # before close() of the iterable, which may read: its descriptor may be another's
            self.stream.detach()
            self.stream = None
        Channel.close(self)
        self.receiver = None
        self.environ = None
        self.body = None
        return 0

    cdef int trim(self) except -1:
        """Idle for a while: what only speeds up a busy connection is given back."""
        self.memo = None
        self.took_request_line(None, None)
        if self.record is not NULL and not self.record.open:
            drop_texts(self.record)
            self.record = NULL
        if self.input.start == self.input.end:
            buffer_free(&self.input)
        self.arm(&self.loop.idle_deadlines)
        return self.loop.has_idled()

    # ---- receiving ----

    cdef int receive(self) except -1:
        """Receive once, then serve every complete request in what has come."""
        cdef size_t got = 0, used
        cdef sock_status status
        cdef char *scratch = self.thread.receive_scratch
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
        if buffer_append(&self.input, at, len, self.loop.limits.head_bytes_max + 2 * RECEIVE_BYTES) != BUFFER_OK:
            raise MemoryError("no memory for what a client sent")
        return 0

    cdef int serve_kept_input(self) except -1:
        self.more_to_serve = False
        cdef size_t used = self.serve(self.input.data + self.input.start, self.input.end - self.input.start)
        if self.state != CLOSED:
            buffer_consume(&self.input, used)
        return 0

    cdef size_t serve(self, const char *at, size_t len) except? 0:
        """Serve the requests in at[0..len) until one is incomplete or cannot be answered yet, or they have taken
        TURN_MS; octets consumed."""
        cdef size_t used = 0, step
        cdef uint64_t since_ms = 0, now_ms  # the first request's end
        while used < len and self.state < WAITING and not self.closing:
            if self.state == BODY:
                step = self.take_body(at + used, len - used)
            elif self.state == PROXY:
                step = self.take_proxy_header(at + used, len - used)
                if step == 0:
                    return used
            else:
                if self.out.end >= self.loop.answers_bytes_max and not self.flush():
                    break
                step = self.take_head(at + used, len - used)
                if step == 0:
                    return used
            used += step
            if used < len and self.state == IDLE:
                now_ms = clock_monotonic_ms()
                if since_ms == 0:
                    since_ms = now_ms
                elif now_ms - since_ms >= TURN_MS:
                    break  # others' turn: thousands of requests come with one receive
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
        if self.state == WAITING:
            return 0
        if self.at_eof and not self.more_to_serve:
            if self.state == PROXY and self.input.end > self.input.start:
                return self.refuse_proxy_header("the connection ended within it")
            return self.close()
        if self.more_to_serve or self.readable:
            self.again = True
            return 0
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
        if self.state == IDLE or (self.state == PROXY and self.input.end == self.input.start):
            if self.loop.stopping and not self.loop.retiring:
                return self.close_unless_more()
            # The time for the next request begins once: octets of an empty line do not prolong it.  Before the first
            # request the head deadline, which began at accept, goes on.
            if self.came_back and not has_deadline(self):
                self.arm(&self.loop.trim_deadlines)
        return self.watch(POLLER_READ)

    cdef int close_unless_more(self) except -1:
        """The end of an idle connection: a request that has come meanwhile is still answered.

        One that is still on its way is not: its client learns of the end before any answer (RFC 9112 §9.3.1: it may
        send it again if it is idempotent).
        """
        if not self.more_to_serve:
            if sock_wait(self.fd, False, 0) != SOCK_OK:
                return self.close()
            self.readable = True
        self.again = True
        return 0

    # ---- the PROXY header ----

    cdef int expect_proxy_header(self) except -1:
        """--proxy-protocol, and the peer is one of --proxy-allow-from: it has to say who its client is, or that it has
        none.  Nothing is guessed (PROXY §5): one that does not say so is closed."""
        if self.loop.proxy_networks.has_peer(self.remote_addr):
            self.state = PROXY
        return 0

    cdef size_t take_proxy_header(self, const char *at, size_t len) except? 0:
        """Octets consumed, 0: it is incomplete, or refused."""
        cdef proxy_header header
        cdef proxy_header_status status = proxy_header_read(at, len, &header)
        if status == PROXY_HEADER_MORE:
            return 0
        if status == PROXY_HEADER_ERROR:
            self.refuse_proxy_header(PROXY_ERRORS[<int>header.error])
            return 0
        if header.source == PROXY_SOURCE_UNIX:
            # Not a peer of ours: what it says of clients is not believed.
            self.remote_addr = self.remote_port = ""
            self.peer_trust = NOT_TRUSTED
        elif header.source != PROXY_SOURCE_CONNECTION:
            self.remote_addr = ascii(header.client.address, header.client.address_len)
            self.remote_port = str(header.client.port)
            self.told = environ_of(<int>header.source, ascii(header.asked.address, header.asked.address_len),
                                   header.asked.port)
        self.move(IDLE)
        return header.bytes

    cdef int refuse_proxy_header(self, object why) except -1:
        """No answer: nobody has asked anything over HTTP yet, and it may be no HTTP."""
        counter_add(&self.loop.proxy_headers_refused, 1)
        if self.thread.now_ms >= self.loop.proxy_told_ms:
            self.loop.proxy_told_ms = self.thread.now_ms + PROXY_TOLD_EVERY_MS
            log.warning("HR209 a connection from %s is closed, for it has no PROXY header that can be read: %s "
                        "(%d so far)",
                        self.remote_addr or "a UNIX socket", why, self.loop.proxy_headers_refused)
        return self.close()

    # ---- the head ----

    cdef size_t take_head(self, const char *at, size_t len) except? 0:
        """Take one request head and run what it asks for, or begin its body.  Octets consumed, 0: it is incomplete."""
        cdef HeadReader heads = self.thread.heads
        cdef head_status status
        if HEADRACE_DEBUG and self.receiver is not None:
            raise AssertionError("octets of a body were about to be read as a request")
        status = heads.read(self, at, len)
        cdef size_t used
        self.to_head = heads.to_head
        if status == HEAD_PARTIAL:
            if self.state == IDLE and not is_empty_line(at, len):
                self.move(HEAD)
                self.arm(&self.loop.head_deadlines)  # one for the whole head
            return 0
        if status == HEAD_DONE and heads.body_framing == FRAMING_LENGTH:
            if heads.body_bytes > <uint64_t>self.loop.body_bytes_max:
                status = HEAD_ERROR
                heads.error = REQUEST_BODY_TOO_LONG
        if status == HEAD_ERROR:
            if at[0] == TLS_HANDSHAKE:
                self.tell_of_tls()
            self.record_refused(heads.request_line(self, at), at, len)
            if heads.error == REQUEST_READ_IN_TWO_WAYS:
                self.report_objection(heads.objection, at, heads.head.next)
            self.refuse(heads.error)
            return len
        self.more_behind = heads.used < len
        used = heads.used  # the reader serves another request by the time this one is answered
        return used + self.begin_request(at + used, len - used)

    cdef int tell_of_tls(self) except -1:
        """Whoever asked for https:// sees an error that says nothing of why."""
        counter_add(&self.loop.tls_hellos, 1)
        if self.thread.now_ms >= self.loop.tls_told_ms:
            self.loop.tls_told_ms = self.thread.now_ms + TLS_TOLD_EVERY_MS
            log.info("HR212 %s spoke TLS (https://) to %s, a listener of plain HTTP; a proxy in front has to end TLS "
                     "(%d so far)",
                     self.shown_client(), self.loop.listener_name(self.listener), counter_read(&self.loop.tls_hellos))
        return 0

    cdef int record_refused(self, dict known, const char *at, size_t len) except -1:
        """The logs show of a head that is refused what there is of its request line.

        known: its request line in environ's keys, if that was understood; at: all that there is of the head."""
        self.took_request_line(known.get("REQUEST_METHOD"), known.get("RAW_URI"))
        if self.loop.access_lines is not None:
            known = known or refused_line(at[:min(len, <size_t>1024)])
            known["REMOTE_ADDR"] = self.remote_addr
            self.begin_record(known, known.get("REQUEST_METHOD"), known.get("RAW_URI"), known.get("SERVER_PROTOCOL"),
                              False)
        return 0

    cdef int record_late_head(self) except -1:
        """The same of one that --head-timeout has ended; it began so long ago."""
        cdef const char *at = self.input.data + self.input.start
        self.record_refused(self.thread.heads.partial_line(self, at), at, self.input.end - self.input.start)
        self.record_began_ns -= <int64_t>self.loop.head_deadlines.duration_ms * 1_000_000
        return 0

    cdef int report_objection(self, object why, const char *at, size_t len) except -1:
        """--referee: somebody has to look at this head, for one of two parsers is wrong."""
        counter_add(&self.loop.read_in_two_ways, 1)
        if self.thread.now_ms >= self.loop.objection_told_ms:
            self.loop.objection_told_ms = self.thread.now_ms + OBJECTION_TOLD_EVERY_MS
            log.error("HR213 a request of %s is refused, for the referee does not read it as we do: %s; its head: %s "
                      "(%d so far)",
                      self.shown_client(), why, escaped(at[:len]), counter_read(&self.loop.read_in_two_ways))
        return 0

    # ---- the body ----

    cdef size_t begin_request(self, const char *rest, size_t rest_len) except? 0:
        """The head is accepted: run the application, or first receive the body.  rest: what came behind the head.

        Octets of it that have been taken: a body that is here as a whole, or the beginning of a streamed one.
        """
        cdef HeadReader heads = self.thread.heads
        cdef RequestBody body
        cdef size_t body_len
        self.environ = heads.environ
        heads.environ = None
        self.http_1_1 = heads.http_1_1
        self.keep_alive = heads.keep_alive
        if self.loop.health_target is not None and self.asks_for_health() and has_no_body(heads):
            if self.record is not NULL and not heads.same_fields:
                self.record.of_memo = False  # the memo may have this head now, which gets no line
            self.answer_health()
            return 0
        if self.loop.access_lines is not None:
            self.begin_record(self.environ, self.sent_method, self.sent_target,
                              "HTTP/1.1" if self.http_1_1 else "HTTP/1.0", heads.same_fields)
        if has_no_body(heads):
            self.admit(self.thread.take_empty_body())
            return 0
        if self.loop.stream_bodies:
            self.begin_stream(rest, rest_len)
            return rest_len
        if heads.body_framing == FRAMING_LENGTH and heads.body_bytes <= rest_len:
            body_len = <size_t>heads.body_bytes
            body = whole_body(rest, body_len, self.loop.body_memory_bytes_max, self.loop.budget)
            if body is not None:
                self.more_behind = body_len < rest_len
                self.admit(body)
                return body_len
        self.begin_body()
        if heads.expect_continue and rest_len == 0:
            self.send_continue()
        return 0

    cdef int begin_body(self) except -1:
        cdef HeadReader heads = self.thread.heads
        cdef BodyReceiver receiver = BodyReceiver()
        receiver.chunked = heads.body_framing == FRAMING_CHUNKED
        receiver.left_bytes = <int64_t>heads.body_bytes
        receiver.bytes_max = self.loop.body_bytes_max
        receiver.memory_bytes_max = self.loop.body_memory_bytes_max
        receiver.limits = &self.loop.limits
        receiver.budget = self.loop.budget
        receiver.spool_folder = self.loop.spool_folder
        chunk_decoder_reset(&receiver.decoder)
        self.receiver = receiver
        self.body_since_ms = self.thread.now_ms
        self.move(BODY)
        self.arm(&self.loop.body_deadlines)
        return 0

    cdef int send_continue(self) except -1:
        """RFC 9110 §10.1.1: the head has passed every check and the client waits for leave to send the body."""
        self.ensure_room()
        memcpy(self.out.bytes + self.out.end, <const char *>RESPONSE_CONTINUE, RESPONSE_CONTINUE_BYTES)
        self.out.end += RESPONSE_CONTINUE_BYTES
        return 0

    cdef size_t take_body(self, const char *at, size_t len) except? 0:
        """Take what belongs to the body; when it is complete, run the application.  Octets consumed."""
        cdef size_t used = 0
        cdef RequestBody body
        cdef body_status status
        cdef BodyReceiver receiver = self.receiver
        status = receiver.feed(at, len, &used)
        if status == BODY_REFUSED:
            if receiver.failure is not None:
                self.tell_of_spool(receiver)
            self.refuse(receiver.error)
            return len
        if status == BODY_MORE:
            if self.body_is_too_slow():
                self.refuse(REQUEST_BODY_TIMEOUT)
                return len
            self.arm(&self.loop.body_deadlines)
            return used
        self.receiver = None
        self.more_behind = used < len
        if receiver.chunked:
            # PEP 3333 knows no other way to tell an application how much there is to read
            PyDict_SetItem(self.environ, CONTENT_LENGTH, str(receiver.got_bytes))
        body = receiver.finish()
        self.admit(body)
        return used

    cdef int tell_of_spool(self, BodyReceiver receiver) except -1:
        folder = spool_place(receiver.spool_folder)
        if receiver.spool is None:
            log.error("HR502 no temporary file in %s for the body of %s of %s: %s",
                      folder, self.shown_request(), self.shown_client(), receiver.failure)
        else:
            log.error("HR501 the body of %s of %s could not be written to a temporary file in %s: %s",
                      self.shown_request(), self.shown_client(), folder, receiver.failure)
        return 0

    cdef bint body_is_too_slow(self) noexcept:
        """A body that drips is refused once the time between two reads has passed as a whole."""
        cdef uint64_t since_ms = self.thread.ms_since(self.body_since_ms)
        if since_ms <= self.loop.body_deadlines.duration_ms:
            return False
        return self.receiver.got_bytes * 1000 < self.loop.body_bytes_per_s_min * <int64_t>since_ms

    cdef int begin_stream(self, const char *rest, size_t rest_len) except -1:
        """--stream-request-body: the application reads as the body arrives."""
        cdef HeadReader heads = self.thread.heads
        cdef StreamSource source = StreamSource()
        cdef RequestBody body = RequestBody()
        source.fd = self.fd
        source.limits = &self.loop.limits
        source.timeout_ms = <int>self.loop.body_deadlines.duration_ms
        source.bytes_max = self.loop.body_bytes_max
        source.bytes_per_s_min = self.loop.body_bytes_per_s_min
        source.chunked = heads.body_framing == FRAMING_CHUNKED
        source.left_bytes = <int64_t>heads.body_bytes
        source.expects_continue = heads.expect_continue and rest_len == 0
        if buffer_append(&source.rest, rest, rest_len, rest_len) != BUFFER_OK:
            raise MemoryError
        source.received_bytes = <int64_t>rest_len
        body.source = source
        self.stream = source
        return self.admit(body)

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
                self.arm(&self.loop.write_deadlines)
            return self.watch(POLLER_WRITE)
        if status != SOCK_OK:
            tell_of_failure_to_send(status)
            return self.close()
        outbox_free(&self.out)
        self.disarm()
        if self.response is not None and self.response.suspended is not None:
            if not self.may_call(self.response):
                self.for_home = True
                return 0
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
            self.body_since_ms = self.thread.now_ms  # the client may have been waiting for our answers
            self.arm(&self.loop.body_deadlines)
        elif self.partial is not NULL and not is_empty_line(self.input.data + self.input.start,
                                                            self.input.end - self.input.start):
            self.move(HEAD)
            self.arm(&self.loop.head_deadlines)
        elif self.body is not None:
            self.wait_for_thread()
        else:
            self.move(IDLE)
        return 0


cdef bint has_deadline(Connection connection) noexcept:
    """Armed, or passed while somebody has the connection, who looks at it when he lets go."""
    connection.loop.lock()
    cdef bint found = deadline_is_armed(&connection.timer) or connection.passed is not NULL
    connection.loop.unlock()
    return found


cdef bint has_no_body(HeadReader heads) noexcept:
    return heads.body_framing == FRAMING_NONE or (heads.body_framing == FRAMING_LENGTH and heads.body_bytes == 0)


cdef bint is_empty_line(const char *at, size_t len) noexcept:
    """An empty line, or its beginning: it may come before a head (RFC 9112 §2.2), and is not yet one."""
    return (len == 1 or (len == 2 and at[1] == 10)) and at[0] == 13
