# The way of requests through one connection: receive, read heads, receive bodies, run the application, go on.
#
# Owner, lock, states: channel.pxd, whose Channel this extends.
# Errors: whatever a client or an application does is dealt with here; an exception that leaves a method of
# Connection is a fault of ours, and the loop closes the connection and logs it.

from libc.stdint cimport int64_t, uint64_t

from headrace.engine.body cimport BodyReceiver, RequestBody
from headrace.engine.channel cimport Channel
from headrace.engine.csrc cimport deadline_queue, request_error
from headrace.engine.response cimport Response
from headrace.engine.stream cimport StreamSource


cdef class Connection(Channel):
    cdef bint more_to_serve          # input holds octets that nobody has looked at

    # the request being served
    cdef dict environ
    cdef bint http_1_1
    cdef bint to_head
    cdef bint more_behind            # octets of a next request have come with it
    cdef bint keep_alive
    cdef BodyReceiver receiver
    cdef uint64_t body_since_ms
    cdef StreamSource stream         # --stream-request-body: where the application reads from
    cdef StreamSource input_after_stream  # read to its end: what it holds now belongs to the next request
    cdef object record               # AccessRecord, when there is an access log

    # events, called by the loop
    cdef int on_accept(self) except -1
    cdef int on_ready(self) except -1
    cdef int on_deadline(self, deadline_queue *queue) except -1
    cdef int stop(self) except -1
    cdef int trim(self) except -1
    cdef int record_broken_off(self) except -1

    # receiving
    cdef int receive(self) except -1
    cdef int keep_rest(self, const char *at, size_t len) except -1
    cdef int settle(self) except -1
    cdef int take_back_rest(self) except -1
    cdef int wait_for_input(self) except -1
    cdef int serve_kept_input(self) except -1
    cdef size_t serve(self, const char *at, size_t len) except? 0
    cdef size_t take_head(self, const char *at, size_t len) except? 0
    cdef bint begin_request(self, const char *rest, size_t rest_len) except -1
    cdef int send_continue(self) except -1
    cdef int begin_body(self) except -1
    cdef size_t take_body(self, const char *at, size_t len) except? 0
    cdef bint body_is_too_slow(self) noexcept

    # answering
    cdef int run_streaming(self, const char *rest, size_t rest_len) except -1
    cdef int end_stream(self, Response response) except -1
    cdef int run_application(self, RequestBody body) except -1
    cdef int after_run(self, Response response) except -1
    cdef int application_failed(self, Response response, object error) except -1
    cdef int report(self, object error, dict environ) except -1
    cdef int cut(self, Response response) except -1
    cdef int emit_record(self, int status, int64_t body_bytes) except -1
    cdef int refuse(self, request_error error) except -1
    cdef bytes server_lines(self)
    cdef int refuse_now(self, request_error error) except -1
    cdef int on_writable(self) except -1
    cdef int back_to_reading(self) except -1
    cdef int resume_application(self) except -1

