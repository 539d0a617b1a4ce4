"""Request heads: see head.pxd for the fields and the rules of ownership."""

from cpython.dict cimport PyDict_Copy
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.string cimport memcmp, memcpy

from headrace.engine.csrc cimport (
    FRAMING_ERROR, HEAD_DONE, HEAD_ERROR, HEAD_PARTIAL, REQUEST_OK, TARGET_ORIGIN, field_line, framing_decide,
    head_status, request_fields_parse, request_head, request_head_reset, request_line_parse, request_rules,
    request_rules_check)
from headrace.engine.environ cimport FieldMemo


cdef class HeadPlace:

    def __dealloc__(self):
        PyMem_Free(self.partial)

    cdef void restore(self, request_head *head, field_line *fields) noexcept:
        """Go on where the parser stopped when the head was last found incomplete."""
        if self.partial is NULL:
            request_head_reset(head, fields)
            return
        head[0] = self.partial[0]
        head.fields = fields
        memcpy(fields, <char *>self.partial + sizeof(request_head), head.field_count * sizeof(field_line))
        PyMem_Free(self.partial)
        self.partial = NULL

    cdef int keep(self, const request_head *head) except -1:
        """The head is incomplete: keep the parser's place, and the fields it has seen."""
        cdef size_t fields_bytes = head.field_count * sizeof(field_line)
        self.partial = <request_head *>PyMem_Malloc(sizeof(request_head) + fields_bytes)
        if self.partial is NULL:
            raise MemoryError
        self.partial[0] = head[0]
        memcpy(<char *>self.partial + sizeof(request_head), head.fields, fields_bytes)
        return 0


cdef class HeadReader:

    def __cinit__(self, int request_line_bytes_max, int field_line_bytes_max, int fields_max, int head_bytes_max):
        self.limits.request_line_bytes_max = request_line_bytes_max
        self.limits.field_line_bytes_max = field_line_bytes_max
        self.limits.fields_max = fields_max
        self.limits.head_bytes_max = head_bytes_max
        self.fields = <field_line *>PyMem_Malloc(fields_max * sizeof(field_line))
        if self.fields is NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_Free(self.fields)

    cdef head_status read(self, HeadPlace place, const char *at, size_t len) except *:
        """Read the head that begins at at[0].  HEAD_PARTIAL: place remembers, call again with more behind it."""
        cdef FieldMemo memo = place.memo
        cdef request_head *head = &self.head
        cdef head_status status
        if memo is not None and place.partial is NULL and memo.len and memo.len <= len:
            if memcmp(at, memo.bytes, memo.len) == 0:
                self.from_memo(memo)
                self.used = memo.len
                self.environ = <dict>PyDict_Copy(memo.environ)
                return HEAD_DONE
        place.restore(head, self.fields)
        status = request_line_parse(head, at, len, &self.limits)
        self.to_head = head.fields_at != 0 and head.method_is_head
        if status == HEAD_DONE:
            if memo is not None and self.fields_as_before(memo, at, len):
                return self.accept_same_fields(place, at)
            status = request_fields_parse(head, at, len, &self.limits)
        if status == HEAD_DONE:
            return self.accept_new_fields(place, at)
        if status == HEAD_PARTIAL:
            place.keep(head)
        self.error = head.error
        return status

    cdef dict request_line(self, HeadPlace place, const char *at):
        """What is known of a head that was refused: its request line, if that was understood, in environ's keys."""
        cdef dict known = {}
        if self.head.fields_at != 0:
            place.template.set_request_line(known, &self.head, at)
        return known

    cdef void from_memo(self, FieldMemo memo) noexcept:
        """What equal fields mean: what they meant before."""
        memo.misses = 0
        self.http_1_1 = memo.head.minor_version == 1
        self.to_head = memo.head.method_is_head
        self.keep_alive = memo.rules.keep_alive
        self.expect_continue = memo.rules.expect_continue
        self.body_framing = memo.body_framing
        self.body_bytes = memo.body_bytes

    cdef bint fields_as_before(self, FieldMemo memo, const char *at, size_t len) noexcept:
        """Do the octets behind the request line equal the previous request's, in a request of the same kind?"""
        cdef const request_head *head = &self.head
        cdef size_t fields_bytes = memo.len - memo.fields_at
        if memo.len == 0 or head.field_count or head.next != head.fields_at:
            return False
        return (head.form == TARGET_ORIGIN and head.minor_version == memo.head.minor_version
                and len - head.fields_at >= fields_bytes
                and head.fields_at - head.started_at + fields_bytes <= self.limits.head_bytes_max
                and memcmp(at + head.fields_at, memo.bytes + memo.fields_at, fields_bytes) == 0)

    cdef head_status accept_same_fields(self, HeadPlace place, const char *at) except *:
        cdef FieldMemo memo = place.memo
        cdef bint to_head = self.to_head
        self.from_memo(memo)
        self.to_head = to_head
        self.used = self.head.fields_at + memo.len - memo.fields_at
        self.environ = <dict>PyDict_Copy(memo.environ)
        place.template.set_request_line(self.environ, &self.head, at)
        return HEAD_DONE

    cdef head_status accept_new_fields(self, HeadPlace place, const char *at) except *:
        """A complete head: apply the rules that go across its fields, decide the framing, build environ."""
        cdef request_head *head = &self.head
        cdef request_rules rules
        cdef FieldMemo memo
        self.error = request_rules_check(head, at, &rules)
        if self.error != REQUEST_OK:
            return HEAD_ERROR
        self.body_bytes = 0
        self.body_framing = framing_decide(head, at, &self.body_bytes, &self.error)
        if self.body_framing == FRAMING_ERROR:
            return HEAD_ERROR
        self.used = head.next
        self.http_1_1 = head.minor_version == 1
        self.keep_alive = rules.keep_alive
        self.expect_continue = rules.expect_continue
        memo = place.memo
        if memo is not None and memo.has_same_names(at, head):
            memo.misses = 0
            memo.take_new_values(at, head, place.template)
            memo.keep_head(at, head, &rules, self.body_framing, self.body_bytes)
            self.environ = <dict>PyDict_Copy(memo.environ)
            return HEAD_DONE
        self.environ = place.template.build(head, at, &rules, place.remote_addr, place.remote_port)
        if memo is None and rules.keep_alive and place.came_back:
            memo = place.memo = FieldMemo()
        if memo is not None:
            memo.misses += 1
            memo.remember(at, head, &rules, self.body_framing, self.body_bytes, self.environ,
                          not place.template.joined)
        place.came_back = True
        return HEAD_DONE
