# cython: binding=False
"""Heads of responses: see response_head.pxd for the fields."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.tuple cimport PyTuple_GET_ITEM
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

from headrace.engine.csrc cimport (
    HEAD_WRITE_OK, HEAD_WRITE_STATUS_INVALID, RESPONSE_FIELD_CONTENT_LENGTH, RESPONSE_FIELD_DATE,
    RESPONSE_FIELD_HOP_BY_HOP, RESPONSE_FIELD_SERVER, SOCK_OK, content_length_parse, head_write,
    response_content_length_write, response_field, response_field_id, response_field_write, response_status_write,
    response_text_write, sock_wait)
from headrace.engine.fields cimport (
    RESPONSE_HEAD_BYTES_MAX, check_is_pair, head_too_long, native_text, shortened, wrong_field, wrong_text)
from headrace.engine.interpreter cimport FREE_THREADED
from headrace.errors import RequestOver

# the last field line, and the empty line that ends the head
cdef const char *CONNECTION_CLOSE = b"Connection: close\r\n\r\n"
cdef const char *CONNECTION_KEEP_ALIVE = b"Connection: keep-alive\r\n\r\n"
cdef const char *CHUNKED = b"Transfer-Encoding: chunked\r\n"


cdef class ResponseHead:

    cdef bint is_over(self) noexcept:
        """Nothing may be done with it any more, or not by this process.

        Without an interpreter lock that is so between two calls, too (of the application, and of a suspended
        iteration): then the response is its connection's alone.
        """
        return self.out is NULL or self.defaults.forked[0] or (FREE_THREADED and not self.in_call)

    cdef void reset_head(self) noexcept:
        self.has_date = False
        self.has_server = False
        self.content_length = -1
        self.chunked = False
        self.head.at = self.out.bytes + self.out.end
        self.head.len = 0
        self.head.cap = RESPONSE_HEAD_BYTES_MAX

    # ---- what the application says ----

    def _start_response(self, status, headers, exc_info=None, /):
        with cython.critical_section(self, headers):  # a list that shrank meanwhile would be read behind its end
            return self.take_start(status, headers, exc_info)

    cdef object take_start(self, object status, object headers, object exc_info):
        if exc_info is not None:
            try:
                if self.committed:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # no cycle through the traceback (PEP 3333, "The start_response() Callable")
        elif self.started:
            raise AssertionError("start_response was called a second time without exc_info (PEP 3333)")
        if self.is_over():
            raise RequestOver("start_response was called after the request had ended")
        self.started = False
        self.reset_head()
        self.write_head(status, headers)
        self.started = True
        if self.defaults.log_headers:
            self.logged_headers = tuple(headers)
        return self

    cdef int write_head(self, object status, object headers) except -1:
        cdef Py_ssize_t size = 0, i
        cdef const char *text
        cdef head_write outcome
        try:
            text = native_text(status, &size)
        except (TypeError, ValueError) as error:
            raise type(error)(f"start_response: the status {error}") from None
        outcome = response_status_write(&self.head, text, <size_t>size, &self.status_code)
        if outcome == HEAD_WRITE_STATUS_INVALID or self.status_code < 200:
            raise ValueError(
                f"start_response: the status must be three digits from 200 on, a space and a reason, like '200 OK', "
                f"not {shortened(status)} (RFC 9112 §4, RFC 9110 §15)")
        if outcome != HEAD_WRITE_OK:
            raise head_too_long("start_response", RESPONSE_HEAD_BYTES_MAX)
        if not isinstance(headers, list):
            raise TypeError(
                f"start_response: the headers must be a list of (name, value) tuples, "
                f"not {type(headers).__name__}: {shortened(headers)} (PEP 3333)")
        for i in range(PyList_GET_SIZE(headers)):
            self.write_field(<object>PyList_GET_ITEM(headers, i))
        return 0

    cdef int write_field(self, object field) except -1:
        cdef Py_ssize_t name_len = 0, value_len = 0
        cdef const char *name
        cdef const char *value
        cdef head_write outcome
        cdef response_field known
        check_is_pair(field, "start_response")
        try:
            name = native_text(<object>PyTuple_GET_ITEM(field, 0), &name_len)
            value = native_text(<object>PyTuple_GET_ITEM(field, 1), &value_len)
        except (TypeError, ValueError) as error:
            raise wrong_text("start_response", field, error) from None
        known = response_field_id(name, <size_t>name_len)
        if known and not self.admit_field(known, field, value, <size_t>value_len):
            return 0
        outcome = response_field_write(&self.head, name, <size_t>name_len, value, <size_t>value_len)
        if outcome != HEAD_WRITE_OK:
            raise wrong_field(outcome, "start_response", field)
        return 0

    cdef bint admit_field(self, response_field known, object field, const char *value, size_t value_len) except -1:
        """Take note of a field that matters to the framing; False: it is left out."""
        cdef uint64_t length = 0
        if known == RESPONSE_FIELD_HOP_BY_HOP:
            raise ValueError(
                f"start_response: {field[0]!r} is a hop-by-hop field, which only the server may set "
                "(PEP 3333, 'Other HTTP Features'; RFC 9110 §7.6.1)")
        if known == RESPONSE_FIELD_DATE:
            self.has_date = True
        elif known == RESPONSE_FIELD_SERVER:
            self.has_server = True
        elif known == RESPONSE_FIELD_CONTENT_LENGTH:
            if self.content_length >= 0:
                raise ValueError("start_response: Content-Length is given twice (RFC 9110 §8.6)")
            if not content_length_parse(value, value_len, &length):
                raise ValueError(
                    f"start_response: Content-Length must be a decimal number, not {shortened(field[1])} "
                    "(RFC 9110 §8.6)")
            if self.status_code == 204 or self.status_code == 205:
                return False  # RFC 9110 §8.6: not with 204; §15.3.6: 205 has no content, which write_framing says
            self.content_length = <int64_t>length
        return True

    # ---- what the server adds ----

    cdef int commit(self, int64_t known_length) except -1:
        """Finish the head and make it part of what is sent.  known_length: of the whole body, -1 unknown."""
        cdef head_write outcome
        cdef size_t begun_len = self.head.len
        cdef int64_t content_length = self.content_length
        if not self.started:
            raise AssertionError("the application sent a body before it called start_response (PEP 3333)")
        if self.defaults.stop_at_ms[0] != 0 and not self.more_behind and sock_wait(self.fd, False, 0) != SOCK_OK:
            self.keep_alive = False  # the server is stopping, and no further request has come
        if self.body_source is not None and not self.body_source.is_complete():
            self.keep_alive = False  # what may be left of the request cannot be told from the next one
        self.body_allowed = not (
            self.to_head or self.status_code == 204 or self.status_code == 205 or self.status_code == 304)
        if (self.content_length >= 0 and self.keep_alive and self.defaults.all_lines_bytes
                and not self.has_date and not self.has_server):
            outcome = response_text_write(&self.head, self.defaults.date_line, self.defaults.all_lines_bytes)
        else:
            outcome = self.write_lines(known_length)
        if outcome != HEAD_WRITE_OK:  # as it was before: the application may send an answer that explains the error
            self.head.len = begun_len
            self.content_length = content_length
            self.chunked = False
            raise head_too_long("start_response", RESPONSE_HEAD_BYTES_MAX)
        self.out.end += self.head.len
        self.committed = True
        return 0

    cdef head_write write_lines(self, int64_t known_length) noexcept:
        """What the server adds to a head, one by one."""
        cdef head_write outcome = self.write_date_and_server()
        if outcome == HEAD_WRITE_OK:
            outcome = self.write_framing(known_length)
        return self.write_end() if outcome == HEAD_WRITE_OK else outcome

    cdef head_write write_date_and_server(self) noexcept:
        cdef head_write outcome = HEAD_WRITE_OK
        if self.defaults.add_date and not self.has_date:
            outcome = response_text_write(&self.head, self.defaults.date_line, DATE_LINE_BYTES)
        if self.defaults.add_server and not self.has_server and outcome == HEAD_WRITE_OK:
            outcome = response_text_write(&self.head, self.defaults.server_line, self.defaults.server_line_bytes)
        return outcome

    cdef head_write write_framing(self, int64_t known_length) noexcept:
        """RFC 9112 §6.1-§6.3: how the client is to find the end of the body."""
        cdef head_write outcome = HEAD_WRITE_OK
        if self.status_code == 205:
            known_length = 0
        if self.content_length < 0 and self.status_code != 204:
            if known_length >= 0 and not (self.status_code == 304):
                self.content_length = known_length
                outcome = response_content_length_write(&self.head, <uint64_t>known_length)
            elif not self.body_allowed:
                pass
            elif self.http_1_1:
                self.chunked = True
                outcome = response_text_write(&self.head, CHUNKED, 28)
            else:
                self.keep_alive = False
        return outcome

    cdef head_write write_end(self) noexcept:
        """What becomes of the connection, and the empty line."""
        if not self.keep_alive:
            return response_text_write(&self.head, CONNECTION_CLOSE, 21)
        if self.defaults.keep_alive_lines_bytes:
            # RFC 9110 §7.6.1 has a field that is for this connection only named in Connection
            return response_text_write(
                &self.head, self.defaults.keep_alive_lines, self.defaults.keep_alive_lines_bytes)
        if not self.http_1_1:
            return response_text_write(&self.head, CONNECTION_KEEP_ALIVE, 26)
        return response_text_write(&self.head, b"\r\n", 2)

    # ---- heads of the caller's own ----

    def start_raw(self, bytes head not None, int status_code, int64_t content_length=-1, /):
        with cython.critical_section(self):
            self.start_raw_now(head, status_code, content_length)

    cdef int start_raw_now(self, bytes head, int status_code, int64_t content_length) except -1:
        cdef size_t len = <size_t>PyBytes_GET_SIZE(head)
        if self.started or self.is_over():
            raise RuntimeError("a head was sent after another one, or after the request had ended")
        if len > RESPONSE_HEAD_BYTES_MAX:
            raise head_too_long("start_response", RESPONSE_HEAD_BYTES_MAX)
        memcpy(self.head.at, PyBytes_AS_STRING(head), len)
        self.out.end += len
        self.status_code = status_code
        self.content_length = content_length
        self.body_allowed = not (self.to_head or status_code == 204 or status_code == 304)
        self.started = self.committed = True
        self.keep_alive = False
        return 0
