"""Request heads: see head.pxd for the fields and the rules of ownership."""

cimport cython
from cpython.dict cimport PyDict_Contains, PyDict_Copy, PyDict_DelItem, PyDict_GetItem, PyDict_SetItem, PyDict_Update
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from libc.string cimport memcmp, memcpy

from headrace.engine.csrc cimport (
    FRAMING_ERROR, HEAD_DONE, HEAD_ERROR, HEAD_PARTIAL, REQUEST_FORWARDED_INVALID, REQUEST_OK,
    REQUEST_READ_IN_TWO_WAYS, TARGET_ORIGIN, field_line, framing_decide, head_status, request_fields_parse,
    request_head, request_head_reset, request_line_parse, request_rules, request_rules_check)
from headrace.engine.environ cimport EnvironTemplate, FieldMemo
from headrace.engine.forwarded_rules import Malformed
from headrace.engine.gateway import REQUEST_HEAD
from headrace.forwarded_fields import BEFORE as _BEFORE

cdef str BEFORE = _BEFORE


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

    cdef void took_request_line(self, object method, object target) noexcept:
        """None, None: there is none to tell of.  A thread that cuts this request may be about to tell of it."""
        with cython.critical_section(self):
            self.sent_method = method
            self.sent_target = target


cdef class HeadReader:

    def __cinit__(self, int request_line_bytes_max, int field_line_bytes_max, int fields_max, int head_bytes_max,
                  list templates not None):
        self.templates = templates
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
                if memo.verdict is None:
                    self.environ = <dict>PyDict_Copy(memo.environ)
                else:
                    self.copy_environ(memo)
                if self.keeps_octets:
                    self.keep_octets(at, self.used)
                place.took_request_line(memo.method, memo.target)
                return HEAD_DONE
        place.restore(head, self.fields)
        status = request_line_parse(head, at, len, &self.limits)
        self.to_head = head.fields_at != 0 and head.method_is_head
        if status == HEAD_DONE:
            # the referee reads whole heads, with our reading of all fields beside it
            if memo is not None and self.referee is None and self.fields_as_before(memo, at, len):
                return self.accept_same_fields(place, at)
            status = request_fields_parse(head, at, len, &self.limits)
        if status == HEAD_DONE:
            return self.accept_new_fields(place, at)
        if status == HEAD_PARTIAL:
            place.keep(head)
        self.error = head.error
        return status

    cdef int keep_octets(self, const char *at, size_t len) except -1:
        if self.keeps_octets:
            PyDict_SetItem(self.environ, REQUEST_HEAD, at[:len])
        return 0

    cdef dict request_line(self, HeadPlace place, const char *at):
        """What is known of a head that was refused: its request line, if that was understood, in environ's keys."""
        cdef dict known = {}
        if self.head.fields_at != 0:
            self.template_of(place).set_request_line(known, &self.head, at)
        return known

    cdef dict partial_line(self, HeadPlace place, const char *at):
        """The same of a head that was found incomplete, and is not waited for any longer."""
        place.restore(&self.head, self.fields)
        return self.request_line(place, at)

    cdef EnvironTemplate template_of(self, HeadPlace place):
        return <EnvironTemplate>self.templates[place.listener]

    cdef void from_memo(self, FieldMemo memo) noexcept:
        """What equal fields mean: what they meant before."""
        memo.misses = 0
        self.same_fields = True
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
        cdef EnvironTemplate template = self.template_of(place)
        cdef bint to_head = self.to_head
        self.from_memo(memo)
        self.to_head = to_head
        self.used = self.head.fields_at + memo.len - memo.fields_at
        self.copy_environ(memo)
        template.set_request_line(self.environ, &self.head, at)
        self.keep_octets(at + self.head.started_at, self.used - self.head.started_at)
        place.took_request_line(template.method, template.target)
        return HEAD_DONE

    cdef head_status accept_new_fields(self, HeadPlace place, const char *at) except *:
        """A complete head: apply the rules that go across its fields, decide the framing, build environ."""
        cdef request_head *head = &self.head
        cdef request_rules rules
        cdef FieldMemo memo
        cdef EnvironTemplate template = self.template_of(place)
        self.error = request_rules_check(head, at, &rules)
        if self.error != REQUEST_OK:
            return HEAD_ERROR
        self.body_bytes = 0
        self.body_framing = framing_decide(head, at, &self.body_bytes, &self.error)
        if self.body_framing == FRAMING_ERROR:
            return HEAD_ERROR
        if self.referee is not None:
            # before anything is remembered of this head: octets that equal the memo's have been judged
            self.objection = self.referee.objection_to(head, at, rules.keep_alive)
            if self.objection:
                self.error = REQUEST_READ_IN_TWO_WAYS
                return HEAD_ERROR
        self.used = head.next
        self.same_fields = False
        self.http_1_1 = head.minor_version == 1
        self.keep_alive = rules.keep_alive
        self.expect_continue = rules.expect_continue
        memo = place.memo
        if memo is not None and memo.has_same_names(at, head):
            memo.misses = 0
            memo.take_new_values(at, head, template)
            memo.keep_head(at, head, &rules, self.body_framing, self.body_bytes)
            self.environ = <dict>PyDict_Copy(memo.environ)
            self.keep_octets(at + head.started_at, head.next - head.started_at)
            place.took_request_line(template.method, template.target)
            return self.judge(place, memo) if memo.has_statements else HEAD_DONE
        self.environ = template.build(head, at, &rules, place.remote_addr, place.remote_port)
        if place.told is not None:
            PyDict_Update(self.environ, place.told)
        self.keep_octets(at + head.started_at, head.next - head.started_at)
        place.took_request_line(template.method, template.target)
        if memo is None and rules.keep_alive and place.came_back:
            memo = place.memo = FieldMemo()
        if memo is not None:
            memo.misses += 1
            memo.remember(at, head, &rules, self.body_framing, self.body_bytes, self.environ,
                          template)
            memo.verdict = memo.believed = None
        place.came_back = True
        return self.judge(place, memo) if template.has_statements else HEAD_DONE

    # ---- what proxies say ----

    cdef int copy_environ(self, FieldMemo memo) except -1:
        """Of field lines that equal the memo's.  Nobody shares the dict of what was there before."""
        if memo.believed is not None:
            self.environ = <dict>PyDict_Copy(memo.believed)
        else:
            self.environ = <dict>PyDict_Copy(memo.environ)
            if memo.verdict is None:
                return 0
            carry_out(memo.verdict, self.environ)
            memo.believed = {}
            PyDict_Update(memo.believed, self.environ)
        cdef PyObject *before = PyDict_GetItem(self.environ, BEFORE)
        if before is not NULL:
            PyDict_SetItem(self.environ, BEFORE, PyDict_Copy(<object>before))
        return 0

    cdef bint trusts_peer(self, HeadPlace place) except? True:
        """Asked once for each connection, and only if it matters."""
        if place.peer_trust == TRUST_UNKNOWN:
            place.peer_trust = TRUSTED if self.rules.trusts_peer(place.remote_addr) else NOT_TRUSTED
        return place.peer_trust == TRUSTED

    cdef head_status judge(self, HeadPlace place, FieldMemo memo) except *:
        """There are fields that only a proxy should send: believe them, or take them away.

        The memo's environ stays as the connection itself has it, for field lines with other values to start from; what
        became of it is kept beside it.  Both are of the same octets, so that nothing of another client's comes back.
        """
        if self.rules is None:
            return HEAD_DONE
        if memo is not None:
            memo.verdict = memo.believed = None
        try:
            verdict = self.rules.judge(self.environ, self.trusts_peer(place))
        except Malformed:
            if memo is not None:
                memo.forget()
            self.error = REQUEST_FORWARDED_INVALID
            return HEAD_ERROR
        if verdict is not None:
            carry_out(verdict, self.environ)
            if memo is not None:
                memo.verdict = verdict
        return HEAD_DONE


cdef int carry_out(object verdict, dict environ) except -1:
    """What it changes is kept under BEFORE, for whoever has rules of his own."""
    cdef dict changes = (<tuple>verdict)[0]  # a NamedTuple
    cdef dict before
    if changes:
        before = {}
        for key in changes:
            if PyDict_Contains(environ, key):
                before[key] = environ[key]
        PyDict_Update(environ, changes)
        PyDict_SetItem(environ, BEFORE, before)
    for key in (<tuple>verdict)[1]:
        if PyDict_Contains(environ, key):
            PyDict_DelItem(environ, key)
    return 0
