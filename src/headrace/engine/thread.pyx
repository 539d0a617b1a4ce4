"""Threads of a loop's crew: see thread.pxd for the fields."""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_GET_LENGTH
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy, memset

from headrace.engine.body cimport RequestBody
from headrace.engine.csrc cimport (
    HTTP_DATE_BYTES, SCORE_AFTER, SCORE_IDLE, clock_monotonic_ns, clock_unix_ns, clock_unix_s, http_date_write,
    mutex_destroy, mutex_init, mutex_lock, mutex_unlock, score_begin_change, score_end_change, score_enter,
    score_set_state, score_set_text, seat_destroy, seat_enter, seat_init)
from headrace.engine.head cimport HeadReader
from headrace.engine.interpreter cimport FREE_THREADED
from headrace.engine.response cimport RESPONSE_ROOM_BYTES, Response

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject *o)
    const char *PyUnicode_DATA(object text)
    bint PyUnicode_IS_ASCII(object text)
    int PyThreadState_SetAsyncExc(unsigned long ident, PyObject *exception)


cdef uint64_t DATE_EVERY_MS = 50  # the Date line may be late by this much


cdef class LoopThread:

    def __cinit__(self, config, list templates not None, bint may_run):
        """templates: the EnvironTemplate of each listener, this thread's own."""
        self.has_seat = seat_init(&self.seat) and mutex_init(&self.call_guard)
        if not self.has_seat:
            raise MemoryError
        self.may_run = may_run
        self.heads = HeadReader(config.limit_request_line, config.limit_request_field_size,
                                config.limit_request_fields, config.limit_request_head, templates)
        self.defaults.add_date = config.date_header
        self.defaults.add_server = config.server_header
        self.defaults.write_timeout_ms = <int>(config.write_timeout * 1000)
        memcpy(self.defaults.date_line, <const char *>b"Date: ", 6)
        memcpy(self.defaults.date_line + 6 + HTTP_DATE_BYTES, <const char *>b"\r\n", 2)
        self.send_scratch_bytes = <size_t>config.response_buffer + RESPONSE_ROOM_BYTES
        self.receive_scratch = <char *>PyMem_Malloc(RECEIVE_BYTES)
        self.send_scratch = <char *>PyMem_Malloc(self.send_scratch_bytes)
        if self.receive_scratch is NULL or self.send_scratch is NULL:
            raise MemoryError
        self.tick()

    def __dealloc__(self):
        if self.has_seat:
            seat_destroy(&self.seat)
            mutex_destroy(&self.call_guard)
        PyMem_Free(self.receive_scratch)
        PyMem_Free(self.send_scratch)

    cdef void tick(self) noexcept:
        """Look at the clock; the Date line changes once a second (RFC 9110 §6.6.1)."""
        cdef int64_t unix_s
        self.now_ns = clock_monotonic_ns()
        self.now_ms = <uint64_t>self.now_ns // 1000000
        if self.now_ms < self.date_until_ms:
            return
        unix_s = clock_unix_s()
        self.date_until_ms = self.now_ms + DATE_EVERY_MS
        self.unix_offset_ns = clock_unix_ns() - self.now_ns
        if unix_s != self.date_s:
            self.date_s = unix_s
            http_date_write(self.defaults.date_line + 6, unix_s)

    cdef uint64_t ms_since(self, uint64_t at_ms) noexcept:
        """The thread that noted at_ms may have looked at its clock later than this one."""
        return self.now_ms - at_ms if at_ms < self.now_ms else 0

    cdef void begin_call(self) noexcept:
        seat_enter(&self.seat, self.now_ms)

    cdef void end_call(self) noexcept:
        """The application has returned.  It may have taken long, and deadlines count from now."""
        cdef int64_t began_ns = self.now_ns
        if self.row is not NULL:
            self.end_watched_call()
        self.tick()
        if FREE_THREADED:
            self.call_ns += (self.now_ns - began_ns - self.call_ns) // 8

    # ---- what others see of it ----

    cdef void show_call(self, bint is_new, uint64_t began_ms, object method, object target) noexcept:
        """On the scoreboard: this is what the application is called with.  method and target: ASCII str, or None."""
        score_begin_change(self.row)
        score_enter(self.row, is_new, self.now_ms, began_ms)
        if method is not self.shown_method or target is not self.shown_target:
            self.shown_method = method
            self.shown_target = target
            score_set_text(self.row, text_of(method), bytes_of(method), text_of(target), bytes_of(target))
        score_end_change(self.row)

    cdef void end_watched_call(self) noexcept:
        """The application has returned: from here on nothing interrupts this thread.

        Before anything else that runs Python code: an exception that was sent to this thread and has not arrived yet
        would arrive there, or in the next request.
        """
        if self.defaults.forked[0]:
            return  # the scoreboard shows what the parent does
        if FREE_THREADED:
            mutex_lock(&self.call_guard)
        score_set_state(self.row, SCORE_AFTER)
        if self.interrupted:
            self.interrupted = False
            PyThreadState_SetAsyncExc(self.ident, NULL)
        if FREE_THREADED:
            mutex_unlock(&self.call_guard)

    cdef void hide_call(self) noexcept:
        score_set_state(self.row, SCORE_IDLE)

    # ---- what it recycles ----

    cdef Response take_response(self):
        """A Response for the next request: the last one again, if the application let go of it."""
        cdef Response response = self.spare_response
        if response is not None:
            self.spare_response = None
            # held by our variable and by its bound methods; those by nobody but the response
            if (Py_REFCNT(<PyObject *>response) == 4 and Py_REFCNT(<PyObject *>response.start_response) == 1
                    and Py_REFCNT(<PyObject *>response.early_hints) == 1
                    and Py_REFCNT(<PyObject *>response.client_disconnected) == 1):
                return response
            response.retire()
        return Response()

    cdef void recycle(self, Response response) noexcept:
        """A request is over: its Response may serve another one."""
        response.release()
        if FREE_THREADED:
            response.retire()  # reference counts are spread over threads and say little
        elif self.spare_response is None:
            self.spare_response = response
        elif self.spare_response is not response:
            response.retire()

    cdef RequestBody take_empty_body(self):
        cdef RequestBody body = self.spare_body
        if FREE_THREADED:
            return RequestBody()
        if body is None or Py_REFCNT(<PyObject *>body) > 2:
            body = self.spare_body = RequestBody()
        return body

    cdef void retire(self) noexcept:
        """The loop has ended: what is kept for the next request goes."""
        if self.spare_response is not None:
            self.spare_response.retire()
        self.spare_response = None
        self.spare_body = None
        self.shown_method = self.shown_target = None


cdef inline const char *text_of(object text) noexcept:
    if text is not None and PyUnicode_IS_ASCII(text):
        return PyUnicode_DATA(text)
    return ""


cdef inline size_t bytes_of(object text) noexcept:
    return <size_t>PyUnicode_GET_LENGTH(text) if text is not None and PyUnicode_IS_ASCII(text) else 0
