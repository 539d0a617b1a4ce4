# The lines of the access log: what is kept of a request for its line, the line, and the thread that writes.
#
# Owner: observe.access_log, and every loop that logs.  Lock: the writer's own (csrc/log_writer.h) for buffer and clock;
# the interpreter lock, or the loop's threads one by one, for the rest.
# Thread: begin() and end() are any thread's of the crew; work() is the one that writes, which holds no interpreter lock
# but to tell of trouble.
# Errors: none reaches a request: what cannot be written is lost, counted, and told to `tell`.

from cpython.object cimport PyObject
from libc.stdint cimport int64_t

from headrace.engine.csrc cimport (
    LOG_VARYING_MAX, log_clock, log_event, log_file, log_need, log_part, log_sketch, log_syslog, log_text, log_writer)

cdef enum:
    TEXTS_MAX = 64             # different texts in one format
    LINGER_MS = 100            # the writer waits so long for more lines: one write(2) for all of them
    ROOM_PATIENCE_MS = 200     # a full buffer is waited for, once, before lines are lost

cdef struct kept_texts:
    # What is kept of one request's head.  A connection keeps it for the next one, whose fields are the same as a rule.
    int count
    bint open                  # a line is to be written
    bint repeated              # the head is the one before, all of it
    log_sketch sketch          # of such a head; its octets are owned
    bint of_memo               # made of a head that the connection's memo had; so is the next one's, if that has it
    PyObject *at[TEXTS_MAX]    # strong; NULL: not there


cdef class AccessLines:
    cdef log_part *parts
    cdef size_t part_count
    cdef size_t text_count
    cdef log_need room         # of a line
    cdef list held             # the octets of literals
    cdef list keys             # of environ: what is kept from the beginning, in the order of the texts
    cdef bint looks_at_target  # some of the keys are the request line's
    cdef int kept              # method, target and protocol, and those of `keys`
    cdef list late             # (number of the text, source) of what is known at the end
    cdef const log_part *varying[LOG_VARYING_MAX]  # what is left of a line when all that a head says is known
    cdef size_t varying_count
    cdef bint sketches         # there is nothing late, and not too much that varies
    cdef readonly bint wants_headers  # of responses
    cdef log_clock clock

    cdef log_writer writer
    cdef bint has_writer
    cdef object sink           # called with each line instead of, or beside, the writer; or None
    cdef log_file file         # fd -1: none
    cdef log_syslog syslog
    cdef tuple syslog_texts    # that it points to
    cdef object tell           # called with what has gone wrong, or is well again
    cdef object thread_starter # called once, at the first line
    cdef object next_file      # (descriptor, size of pieces) that take the place of file's, or None
    cdef volatile bint started
    cdef bint losing           # somebody has been told that the buffer is full
    cdef int file_error        # of the last write; 0: all is well
    cdef int syslog_error

    cdef kept_texts *begin(self, kept_texts *former, dict environ, object method, object target, object protocol,
                           bint of_memo) except NULL
    cdef int keep_fields(self, kept_texts *texts, dict environ) except -1
    cdef int end(self, kept_texts *texts, int64_t began_unix_ns, int64_t duration_ns, int status, int64_t body_bytes,
                 object environ, object headers) except -1
    cdef list find_late(self, log_text *found, object environ, object headers)
    cdef int fill(self, log_text *found, kept_texts *texts) noexcept
    cdef int make_sketch(self, kept_texts *texts) except -1
    cdef int put_sketched(self, kept_texts *texts, const log_event *event) except -1
    cdef int put(self, const log_event *event) except -1
    cdef int wake(self) except -1
    cdef int put_patiently(self, const log_event *event, size_t need) except -1
    cdef int hand_over(self, const log_event *event) except -1
    cdef int write(self, const char *at, size_t len) noexcept nogil
    cdef int add_part(self, object part, dict numbers) except -1
    cdef int number_of(self, str source, dict numbers) except -1
    cdef int look_after_file(self) except -1


cdef void drop_texts(kept_texts *texts) noexcept
