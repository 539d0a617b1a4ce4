# One request and its answer: run the application, say what went wrong, write the record.
#
# Owner, lock, states: channel.pxd, whose Channel this extends; connection.pxd adds how requests are received.
# Errors: whatever an application does is dealt with here; an exception that leaves a method is a fault of ours, and the
# loop closes the connection and logs it.

from libc.stdint cimport int64_t, uint64_t

from headrace.engine.access_lines cimport kept_texts
from headrace.engine.body cimport BodyReceiver, RequestBody
from headrace.engine.channel cimport Channel
from headrace.engine.csrc cimport request_error
from headrace.engine.response cimport Response
from headrace.engine.stream cimport StreamSource


cdef class Exchange(Channel):
    # the request being served
    cdef dict environ
    cdef BodyReceiver receiver       # in state BODY: what has come of it
    cdef RequestBody body            # in state WAITING: all of it
    cdef bint http_1_1
    cdef bint to_head
    cdef bint more_behind            # octets of a next request have come with it
    cdef bint keep_alive             # the client's wish, whatever the server's: it may send another request
    cdef uint64_t waits_since_ms     # for a thread
    cdef StreamSource stream         # --stream-request-body: where the application reads from
    cdef StreamSource input_after_stream  # read to its end: what it holds now belongs to the next request
    cdef kept_texts *record          # what AccessLines.begin() keeps, when there is an access log, until trimmed
    cdef int64_t record_began_ns     # monotonic

    # before the application
    cdef int admit(self, RequestBody body) except -1
    cdef int wait_for_thread(self) except -1
    cdef uint64_t request_start_ms(self) except? 0
    cdef bint client_has_gone(self) except -1
    cdef int skip(self) except -1

    # the application
    cdef int run_waiting(self) except -1
    cdef int run_application(self, RequestBody body) except -1
    cdef int resume_application(self) except -1
    cdef int call_application(self, Response response) except -1
    cdef int call_resume(self, Response response) except -1
    cdef int end_call(self, Response response, object failure) except -1
    cdef int end_stream(self, Response response) except -1
    cdef int after_run(self, Response response) except -1
    cdef int application_failed(self, Response response, object error) except -1
    cdef int report(self, object error) except -1
    cdef int cut(self, Response response) except -1

    # records, and answers of our own
    cdef int begin_record(self, dict known, object method, object target, object protocol, bint of_memo) except -1
    cdef int emit_record(self, int status, int64_t body_bytes) except -1
    cdef int record_broken_off(self) except -1
    cdef int refuse(self, request_error error) except -1
    cdef bytes server_lines(self)
    cdef bint asks_for_health(self) except -1
    cdef int answer_health(self) except -1
