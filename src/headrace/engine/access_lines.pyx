"""Lines of the access log: see access_lines.pxd for the fields and access_lines.pyi for the documentation."""

import base64
import binascii
import os

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.dict cimport PyDict_GetItemWithError
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memset

from headrace.engine.csrc cimport (
    LOG_BODY_BYTES, LOG_BODY_BYTES_OR_DASH, LOG_DECIMAL_SECONDS, LOG_FIRST_FREE_TEXT, LOG_JSON_STRING, LOG_JSON_VALUE,
    LOG_LITERAL, LOG_LOCAL_TIME, LOG_METHOD, LOG_MICROSECONDS, LOG_MILLISECONDS, LOG_NANOSECONDS, LOG_PROTOCOL,
    LOG_QUOTED, LOG_REQUEST_LINE, LOG_SECONDS, LOG_STATUS, LOG_TAKE_CLOSED, LOG_TAKE_LINES, LOG_TARGET, LOG_TEXT,
    LOG_UTC_TIME, LOG_VARYING_MAX, LOG_VERSION, LOG_WORD, clock_unix_s, log_clock, log_encoding, log_event, log_file,
    log_file_write, log_line_bytes_max, log_line_need, log_line_varying, log_line_write, log_part, log_part_kind,
    log_sketch_bytes_max, log_sketch_make, log_sketch_write, log_syslog_write, log_take,
    log_text, log_writer_ask, log_writer_begin, log_writer_close, log_writer_destroy, log_writer_done, log_writer_end,
    log_writer_begin_patiently, log_writer_flush, log_writer_init, log_writer_lose, log_writer_lost, log_writer_take,
    log_writer_waiting, sock_close)

cdef extern from "Python.h":
    int PyUnicode_KIND(PyObject *o)
    void *PyUnicode_DATA(PyObject *o)
    Py_ssize_t PyUnicode_GET_LENGTH(PyObject *o)

cdef enum:
    ONE_OCTET = 1            # PyUnicode_1BYTE_KIND

cdef size_t BUFFER_BYTES = 1 << 20
cdef Py_ssize_t CREDENTIALS_MAX = 4096  # longer ones are not looked at

KINDS = {
    "literal": LOG_LITERAL, "text": LOG_TEXT, "request line": LOG_REQUEST_LINE, "version": LOG_VERSION,
    "status": LOG_STATUS, "body bytes": LOG_BODY_BYTES, "body bytes or dash": LOG_BODY_BYTES_OR_DASH,
    "local time": LOG_LOCAL_TIME, "utc time": LOG_UTC_TIME, "seconds": LOG_SECONDS, "milliseconds": LOG_MILLISECONDS,
    "microseconds": LOG_MICROSECONDS, "nanoseconds": LOG_NANOSECONDS, "decimal seconds": LOG_DECIMAL_SECONDS,
}
ENCODINGS = {"word": LOG_WORD, "quoted": LOG_QUOTED, "json string": LOG_JSON_STRING, "json value": LOG_JSON_VALUE}
FIXED_TEXTS = {"method": LOG_METHOD, "target": LOG_TARGET, "protocol": LOG_PROTOCOL}

cdef str AUTHORIZATION = "HTTP_AUTHORIZATION"


cdef object octets_of(object value):
    """Any value as a str that has one octet in each character, as environ's have."""
    text = value if isinstance(value, str) else str(value)
    if PyUnicode_KIND(<PyObject *>text) != ONE_OCTET:
        text = text.encode("utf-8", "surrogatepass").decode("latin-1")
    return text


cdef int hold(list held, log_text *found, object value) except -1:
    found.at = NULL
    found.len = 0
    if value is not None:
        text = octets_of(value)
        held.append(text)
        found.at = <const char *>PyUnicode_DATA(<PyObject *>text)
        found.len = <size_t>PyUnicode_GET_LENGTH(<PyObject *>text)
    return 0


def basic_user(credentials):
    """The user name in an Authorization field of the scheme Basic (RFC 7617 §2), as its octets, or None."""
    scheme, _, rest = credentials.partition(" ")
    if scheme.lower() != "basic" or len(rest) > CREDENTIALS_MAX:
        return None
    try:
        return base64.b64decode(rest.strip(), validate=True).decode("latin-1").partition(":")[0] or None
    except (binascii.Error, ValueError):
        return None


cdef inline void replace(PyObject **place, object text) noexcept:
    """text: a str, or None for NULL."""
    cdef PyObject *former = place[0]
    if former is <PyObject *>text:
        return
    if text is None:
        place[0] = NULL
    else:
        Py_INCREF(text)
        place[0] = <PyObject *>text
    Py_XDECREF(former)


cdef void drop_texts(kept_texts *texts) noexcept:
    cdef int number
    for number in range(texts.count):
        Py_XDECREF(texts.at[number])
    PyMem_Free(texts.sketch.octets)
    PyMem_Free(texts)


cdef class AccessLines:

    def __cinit__(self, parts, start_thread, tell, sink=None, bint writes=True):
        cdef dict numbers = dict(FIXED_TEXTS)
        self.file.fd = self.syslog.fd = -1
        self.thread_starter = start_thread
        self.tell = tell
        self.sink = sink
        self.held = []
        self.keys = []
        self.late = []
        self.parts = <log_part *>PyMem_Calloc(len(parts) + 1, sizeof(log_part))
        if self.parts is NULL:
            raise MemoryError
        self.kept = LOG_FIRST_FREE_TEXT
        # What is kept from the beginning comes first, then what is only known at the end.
        for source in [part.text for part in parts if part.kind == "text"]:
            if source == "user" or source.startswith("begin:"):
                self.number_of(source, numbers)
        for part in parts:
            self.add_part(part, numbers)
        self.text_count = <size_t>len(numbers)
        self.room = log_line_need(self.parts, self.part_count, self.text_count)
        self.varying_count = log_line_varying(self.parts, self.part_count, self.varying)
        self.sketches = writes and sink is None and not self.late and self.varying_count <= LOG_VARYING_MAX
        if writes:
            self.has_writer = log_writer_init(&self.writer, max(BUFFER_BYTES, 2 * self.room.bytes_bound))
            if not self.has_writer:
                raise MemoryError

    def __dealloc__(self):
        PyMem_Free(self.parts)
        if self.has_writer:
            log_writer_destroy(&self.writer)

    cdef int number_of(self, str source, dict numbers) except -1:
        """Where the text stands among an event's texts; a new source gets the next place."""
        if source in numbers:
            return numbers[source]
        if len(numbers) == TEXTS_MAX:
            raise ValueError(f"a format has at most {TEXTS_MAX} different values")
        numbers[source] = number = len(numbers)
        if source == "user" or source.startswith("begin:"):
            self.keys.append(source.removeprefix("begin:"))
            self.looks_at_target = self.looks_at_target or source in ("begin:PATH_INFO", "begin:QUERY_STRING")
            self.kept += 1
        else:
            self.late.append((number, source))
            self.wants_headers = self.wants_headers or source.startswith("header:")
        return number

    cdef int add_part(self, object part, dict numbers) except -1:
        cdef log_part *added = &self.parts[self.part_count]
        cdef bytes literal
        if part.text == "pid" and part.kind == "text":
            text = f"<{os.getpid()}>"
            literal = (f'"{text}"' if part.encoding == "json value" else text).encode()
            added.kind = LOG_LITERAL
        else:
            literal = part.text.encode("utf-8", "replace")
            added.kind = <log_part_kind><int>KINDS[part.kind]
        added.encoding = <log_encoding><int>ENCODINGS[part.encoding]
        if added.kind == LOG_LITERAL:
            self.held.append(literal)
            added.literal = PyBytes_AS_STRING(literal)
            added.literal_len = <uint32_t>len(literal)
        elif added.kind == LOG_TEXT:
            added.text = <uint32_t>self.number_of(part.text, numbers)
        self.part_count += 1
        return 0

    # ---- a request ----

    cdef kept_texts *begin(self, kept_texts *former, dict environ, object method, object target, object protocol,
                           bint of_memo) except NULL:
        """Keep what a line says of the request's head, for the application may change environ.  None: not known.

        former: what this returned for the request before, whose place it takes; or NULL.  of_memo: the fields are those
        that the connection's memo has.  drop_texts() ends it."""
        cdef kept_texts *texts = former
        cdef bint same
        if texts is NULL:
            texts = <kept_texts *>PyMem_Calloc(1, sizeof(kept_texts))
            if texts is NULL:
                raise MemoryError
            texts.count = self.kept
        same = of_memo and texts.of_memo
        texts.repeated = (same and texts.at[<int>LOG_TARGET] is <PyObject *>target
                          and texts.at[<int>LOG_METHOD] is <PyObject *>method)
        if texts.repeated:
            texts.open = True
            return texts
        texts.sketch.len = 0
        replace(&texts.at[<int>LOG_METHOD], method)
        replace(&texts.at[<int>LOG_TARGET], target)
        replace(&texts.at[<int>LOG_PROTOCOL], protocol)
        if not same or self.looks_at_target:
            self.keep_fields(texts, environ)
        texts.of_memo = of_memo
        texts.open = True
        return texts

    cdef int keep_fields(self, kept_texts *texts, dict environ) except -1:
        cdef PyObject *value
        cdef int number = LOG_FIRST_FREE_TEXT
        for key in self.keys:
            value = PyDict_GetItemWithError(environ, AUTHORIZATION if key == "user" else key)
            text = None if value is NULL else octets_of(<object>value)
            if text is not None and key == "user":
                text = basic_user(text)
            replace(&texts.at[number], text)
            number += 1
        return 0

    cdef int end(self, kept_texts *texts, int64_t began_unix_ns, int64_t duration_ns, int status, int64_t body_bytes,
                 object environ, object headers) except -1:
        """The line.  1: this took time, for somebody had to be waited for; else 0."""
        cdef log_text found[TEXTS_MAX]
        cdef log_event event
        cdef list held = None
        texts.open = False
        event.texts = found
        event.status = status
        event.body_bytes = body_bytes
        event.began_unix_ns = max(began_unix_ns, 0)
        event.duration_ns = max(duration_ns, 0)
        if texts.repeated and self.sketches:
            self.put_sketched(texts, &event)
            return 0
        self.fill(found, texts)
        if self.late:
            held = self.find_late(found, environ, headers)
        if self.has_writer:
            self.put(&event)
        if self.sink is not None:
            self.hand_over(&event)
            return 1
        return 0

    cdef int fill(self, log_text *found, kept_texts *texts) noexcept:
        cdef int number
        for number in range(self.kept):
            if texts.at[number] is NULL:
                found[number].at = NULL
                found[number].len = 0
            else:
                found[number].at = <const char *>PyUnicode_DATA(texts.at[number])
                found[number].len = <size_t>PyUnicode_GET_LENGTH(texts.at[number])
        return 0

    cdef int make_sketch(self, kept_texts *texts) except -1:
        """All that the head says, escaped, for this request and those that are like it."""
        cdef log_text found[TEXTS_MAX]
        cdef log_event event
        cdef char *shorter
        self.fill(found, texts)
        memset(&event, 0, sizeof(event))
        event.texts = found
        PyMem_Free(texts.sketch.octets)
        texts.sketch.octets = <char *>PyMem_Malloc(log_line_bytes_max(&self.room, found, self.text_count))
        if texts.sketch.octets is NULL:
            raise MemoryError
        log_sketch_make(&texts.sketch, self.parts, self.part_count, &event)
        shorter = <char *>PyMem_Realloc(texts.sketch.octets, texts.sketch.len + 1)
        if shorter is not NULL:
            texts.sketch.octets = shorter
        return 0

    cdef int put_sketched(self, kept_texts *texts, const log_event *event) except -1:
        cdef log_text found[TEXTS_MAX]
        cdef log_event whole
        cdef char *out
        if texts.sketch.len == 0:
            self.make_sketch(texts)
        out = log_writer_begin(&self.writer, log_sketch_bytes_max(&texts.sketch, self.varying_count))
        if out is NULL:
            self.fill(found, texts)
            whole = event[0]
            whole.texts = found
            return self.put_patiently(&whole, log_line_bytes_max(&self.room, found, self.text_count))
        log_writer_end(&self.writer, log_sketch_write(out, &texts.sketch, self.varying, self.varying_count, event,
                                                      &self.clock))
        if not self.started:
            self.wake()
        return 0

    cdef list find_late(self, log_text *found, object environ, object headers):
        """What is known at the end only; the list has to live as long as `found`."""
        cdef list held = []
        for number, source in self.late:
            kind, _, name = source.partition(":")
            if kind == "end":
                value = None if environ is None else environ.get(name)
            else:
                values = [text for field, text in headers or () if field.lower() == name]
                value = ", ".join(values) if values else None
            hold(held, &found[<int>number], value)
        return held

    cdef int put(self, const log_event *event) except -1:
        cdef size_t need = log_line_bytes_max(&self.room, event.texts, self.text_count)
        cdef char *out = log_writer_begin(&self.writer, need)
        if out is NULL:
            return self.put_patiently(event, need)
        log_writer_end(&self.writer, log_line_write(out, self.parts, self.part_count, event, &self.clock))
        if not self.started:
            self.wake()
        return 0

    cdef int wake(self) except -1:
        """There is a first line."""
        self.started = True
        if not self.thread_starter():
            self.started = False  # the next one tries again
        return 0

    cdef int put_patiently(self, const log_event *event, size_t need) except -1:
        """The buffer is full: the writer may only have been slow."""
        cdef char *out
        with nogil:
            out = log_writer_begin_patiently(&self.writer, need, ROOM_PATIENCE_MS)
            if out is not NULL:
                log_writer_end(&self.writer, log_line_write(out, self.parts, self.part_count, event, &self.clock))
        if out is not NULL:
            self.losing = False
            return 0
        log_writer_lose(&self.writer, 1)
        if not self.losing:
            self.losing = True
            self.tell("full", 0)
        return 0

    cdef int hand_over(self, const log_event *event) except -1:
        cdef size_t need = log_line_bytes_max(&self.room, event.texts, self.text_count)
        cdef log_clock clock  # of its own: without interpreter lock several threads may be here
        cdef size_t made
        line = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>need)
        memset(&clock, 0, sizeof(clock))
        made = log_line_write(PyBytes_AS_STRING(line), self.parts, self.part_count, event, &clock)
        self.sink(line[:made - 1].decode("utf-8"))
        return 0

    def log(self, environ, int status, int64_t body_bytes, int64_t began_unix_ns=0, int64_t duration_ns=0,
            headers=None):
        cdef dict given = dict(environ)
        said = [given.get(key) for key in ("REQUEST_METHOD", "RAW_URI", "SERVER_PROTOCOL")]
        method, target, protocol = [None if text is None else octets_of(text) for text in said]
        cdef kept_texts *texts = self.begin(NULL, given, method, target, protocol, False)
        try:
            self.end(texts, began_unix_ns, duration_ns, status, body_bytes, given, headers)
        finally:
            drop_texts(texts)

    # ---- the writer ----

    def set_file(self, int descriptor, size_t piece_bytes_max):
        with cython.critical_section(self):
            former, self.next_file = self.next_file, (descriptor, piece_bytes_max)
        if former is not None:
            sock_close(former[0])
        if self.started:
            log_writer_ask(&self.writer)
        else:
            self.look_after_file()

    cdef int look_after_file(self) except -1:
        """Has somebody opened another file?"""
        with cython.critical_section(self):
            opened, self.next_file = self.next_file, None
        if opened is not None:
            if self.file.fd >= 0:
                sock_close(self.file.fd)
            self.file.fd, self.file.piece_max = opened
            self.file.torn = False
        return 0

    def set_syslog(self, int descriptor, unix_path, int priority, host, tag):
        cdef bytes path = os.fsencode(unix_path)
        cdef bytes from_host = host.encode("ascii", "replace")
        cdef bytes from_tag = tag.encode("ascii", "replace")
        self.syslog_texts = (path, from_host, from_tag)
        self.syslog.fd = descriptor
        self.syslog.unix_path = PyBytes_AS_STRING(path) if path else NULL
        self.syslog.priority = priority
        self.syslog.host = PyBytes_AS_STRING(from_host)
        self.syslog.tag = PyBytes_AS_STRING(from_tag)

    def work(self):
        cdef log_take taken
        cdef const char *at = NULL
        cdef size_t length = 0
        cdef int file_error, syslog_error
        while True:
            with nogil:
                file_error = self.file_error
                syslog_error = self.syslog_error
                taken = log_writer_take(&self.writer, LINGER_MS, &at, &length)
                while taken == LOG_TAKE_LINES:
                    self.write(at, length)
                    if self.file_error != file_error or self.syslog_error != syslog_error:
                        break
                    taken = log_writer_take(&self.writer, LINGER_MS, &at, &length)
            self.losing = False
            self.look_after_file()
            if self.file_error != file_error:
                self.tell("file", self.file_error)
            if self.syslog_error != syslog_error:
                self.tell("syslog", self.syslog_error)
            if taken == LOG_TAKE_CLOSED:
                return

    cdef int write(self, const char *at, size_t len) noexcept nogil:
        """A batch, to all that want it.  A line is lost that one of them did not get."""
        cdef int64_t lost_to_file = 0, lost_to_syslog = 0
        if self.file.fd >= 0:
            self.file_error = log_file_write(&self.file, at, len, &lost_to_file)
        if self.syslog.fd >= 0:
            self.syslog_error = log_syslog_write(&self.syslog, at, len, clock_unix_s(), &lost_to_syslog)
        log_writer_done(&self.writer, max(lost_to_file, lost_to_syslog))
        return 0

    def flush(self, int timeout_ms):
        cdef bint done = True
        if self.has_writer and self.started:
            with nogil:
                done = log_writer_flush(&self.writer, timeout_ms)
        return done

    def lost(self):
        return log_writer_lost(&self.writer) if self.has_writer else 0

    def waiting(self):
        return log_writer_waiting(&self.writer) if self.has_writer else 0

    def close(self):
        if self.has_writer:
            log_writer_close(&self.writer)

    def close_descriptors(self):
        self.look_after_file()
        for descriptor in (self.file.fd, self.syslog.fd):
            if descriptor >= 0:
                sock_close(descriptor)
        self.file.fd = self.syslog.fd = -1
