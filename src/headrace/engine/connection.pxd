# The way of requests through one connection: receive, read heads, receive bodies, hand over, go on.
#
# Owner, lock, states: channel.pxd; the request itself and its answer: exchange.pxd, whose Exchange this extends.
# Errors: whatever a client does is dealt with here; an exception that leaves a method of Connection is a fault of ours,
# and the loop closes the connection and logs it.

from libc.stdint cimport uint64_t

from headrace.engine.body cimport BodyReceiver
from headrace.engine.csrc cimport deadline_queue, request_error
from headrace.engine.exchange cimport Exchange


cdef class Connection(Exchange):
    cdef bint more_to_serve          # input holds octets that nobody has looked at
    cdef uint64_t body_since_ms

    # events, called by the loop
    cdef void on_accept(self) noexcept
    cdef int on_ready(self) except -1
    cdef int trim(self) except -1

    # receiving
    cdef int receive(self) except -1
    cdef int keep_rest(self, const char *at, size_t len) except -1
    cdef int settle(self) except -1
    cdef int take_back_rest(self) except -1
    cdef int wait_for_input(self) except -1
    cdef int close_unless_more(self) except -1
    cdef int serve_kept_input(self) except -1
    cdef size_t serve(self, const char *at, size_t len) except? 0
    cdef size_t take_proxy_header(self, const char *at, size_t len) except? 0
    cdef int expect_proxy_header(self) except -1
    cdef int refuse_proxy_header(self, object why) except -1
    cdef size_t take_head(self, const char *at, size_t len) except? 0
    cdef int tell_of_tls(self) except -1
    cdef int report_objection(self, object why, const char *at, size_t len) except -1
    cdef int record_refused(self, dict known, const char *at, size_t len) except -1
    cdef int record_late_head(self) except -1
    cdef size_t begin_request(self, const char *rest, size_t rest_len) except? 0
    cdef int begin_stream(self, const char *rest, size_t rest_len) except -1
    cdef int send_continue(self) except -1
    cdef int begin_body(self) except -1
    cdef size_t take_body(self, const char *at, size_t len) except? 0
    cdef int tell_of_spool(self, BodyReceiver receiver) except -1
    cdef bint body_is_too_slow(self) noexcept
    cdef int refuse_now(self, request_error error) except -1

    # sending
    cdef int on_writable(self) except -1
    cdef int back_to_reading(self) except -1
