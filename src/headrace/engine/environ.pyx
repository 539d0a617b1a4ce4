"""Request heads into environ dicts: see environ.pxd for the fields and environ.pyi for the documentation."""

from cpython.dict cimport PyDict_Copy, PyDict_SetItem, PyDict_Size, PyDict_Update
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from headrace.forwarded_fields import is_statement

from headrace.engine.csrc cimport (
    FIELD_COOKIE, FIELD_PROXY, FIELD_TRANSFER_ENCODING,
    FIELD_UNDERSCORE, TARGET_ABSOLUTE, TARGET_ORIGIN, field_line, framing, percent_decode,
    request_head, request_rules)

cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar)
    void *PyUnicode_DATA(object text)
    PyObject *PyDict_SetDefault(object mapping, object key, object default) except NULL

# Interned once: the keys of every request.
cdef str REQUEST_METHOD = "REQUEST_METHOD"
cdef str PATH_INFO = "PATH_INFO"
cdef str QUERY_STRING = "QUERY_STRING"
cdef str RAW_URI = "RAW_URI"
cdef str REQUEST_URI = "REQUEST_URI"
cdef str SERVER_PROTOCOL = "SERVER_PROTOCOL"
cdef str REMOTE_ADDR = "REMOTE_ADDR"
cdef str REMOTE_PORT = "REMOTE_PORT"
cdef str HTTP_HOST = "HTTP_HOST"
cdef str HTTP_COOKIE = "HTTP_COOKIE"
cdef str GET = "GET"
cdef str HTTP_1_0 = "HTTP/1.0"
cdef str HTTP_1_1 = "HTTP/1.1"
cdef str SLASH = "/"
cdef str EMPTY = ""

# Field names that every client sends, in the two spellings that are met.  They are in the cache from the start, so
# that no client can crowd them out with names of its own.
COMMON_FIELD_NAMES = (
    "Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Access-Control-Request-Headers",
    "Access-Control-Request-Method", "Authorization", "Cache-Control", "CF-Connecting-IP", "Connection",
    "Content-Encoding", "Content-Length", "Content-Type", "Cookie", "Date", "DNT", "Expect", "Forwarded", "From",
    "Host", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since", "Keep-Alive",
    "Origin", "Pragma", "Priority", "Proxy-Authorization", "Range", "Referer", "Sec-CH-UA", "Sec-CH-UA-Mobile",
    "Sec-CH-UA-Platform", "Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Fetch-User", "TE",
    "Traceparent", "Tracestate", "Transfer-Encoding", "Upgrade", "Upgrade-Insecure-Requests", "User-Agent", "Via",
    "X-Amzn-Trace-Id", "X-CSRF-Token", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port",
    "X-Forwarded-Proto", "X-Real-IP", "X-Request-ID", "X-Request-Start", "X-Requested-With",
)


cdef object latin1(const char *at, size_t len):
    """The native string of PEP 3333, "Unicode Issues": one character for each octet."""
    return PyUnicode_DecodeLatin1(at, <Py_ssize_t>len, NULL)


cdef object ascii(const char *at, size_t len):
    """The same for octets that are known to be ASCII."""
    if len == 0:
        return EMPTY
    text = PyUnicode_New(<Py_ssize_t>len, 127)
    memcpy(PyUnicode_DATA(text), at, len)
    return text


cdef inline uint64_t load8(const char *at) noexcept nogil:
    cdef uint64_t word = 0
    memcpy(&word, at, 8)
    return word


cdef inline uint64_t name_hash(const char *name, size_t len) noexcept nogil:
    """A quick mix of the first and last octets and the length; equality is decided by memcmp."""
    cdef uint64_t first = 0, last = 0
    cdef uint32_t half = 0
    if len >= 8:
        first = load8(name)
        last = load8(name + len - 8)
    elif len >= 4:
        memcpy(&half, name, 4)
        first = half
        memcpy(&half, name + len - 4, 4)
        last = half
    else:
        first = <unsigned char>name[0]
        last = <unsigned char>name[len - 1]
    first = (first ^ (last << 1) ^ len) * <uint64_t>0x9E3779B97F4A7C15
    return first ^ (first >> 32)


cdef class EnvironTemplate:

    def __cinit__(self, dict base, int request_line_bytes_max):
        self.path_scratch = <char *>PyMem_Malloc(request_line_bytes_max + 1)
        if self.path_scratch is NULL:
            raise MemoryError
        self.base = {}
        for key, value in base.items():
            # One by one: a table that is made for str keys is smaller and quicker than one made by size or by copy.
            self.base[key] = value
        self.root_path = self.base.get("SCRIPT_NAME", EMPTY)
        for raw in COMMON_KEYS:
            self.key_of(raw, len(raw))

    def __dealloc__(self):
        cdef int i
        PyMem_Free(self.path_scratch)
        for i in range(NAME_CACHE_SLOTS):
            Py_XDECREF(self.names[i].key)

    cdef dict build(self, const request_head *head, const char *buf, const request_rules *rules,
                    object remote_addr, object remote_port):
        cdef dict environ = <dict>PyDict_Copy(self.base)
        PyDict_SetItem(environ, REMOTE_ADDR, remote_addr)
        PyDict_SetItem(environ, REMOTE_PORT, remote_port)
        self.set_request_line(environ, head, buf)
        self.joined = self.has_statements = False
        self.add_fields(environ, head, buf, rules.host_field)
        return environ

    cdef int set_request_line(self, dict environ, const request_head *head, const char *buf) except -1:
        cdef object target = ascii(buf + head.target_at, head.target_len)
        cdef const char *method = buf + head.method_at
        cdef bint is_get
        is_get = head.method_len == 3 and memcmp(method, b"GET", 3) == 0
        self.method = GET if is_get else ascii(method, head.method_len)
        self.target = target
        PyDict_SetItem(environ, REQUEST_METHOD, self.method)
        PyDict_SetItem(environ, RAW_URI, target)
        PyDict_SetItem(environ, REQUEST_URI, target)
        PyDict_SetItem(environ, PATH_INFO, self.path_info(head, buf, target))
        PyDict_SetItem(environ, QUERY_STRING, ascii(buf + head.query_at, head.query_len))
        PyDict_SetItem(environ, SERVER_PROTOCOL, HTTP_1_1 if head.minor_version else HTTP_1_0)
        return 0

    cdef object path_info(self, const request_head *head, const char *buf, object target):
        if self.root_path is not EMPTY:
            return below(self.root_path, self.whole_path(head, buf, target))
        return self.whole_path(head, buf, target)

    cdef object whole_path(self, const request_head *head, const char *buf, object target):
        cdef size_t len = 0
        if head.path_len == 0:
            # "http://host" means its root (RFC 9110 §4.2.3); "*" is no path, but PATH_INFO always is one
            return SLASH
        if head.path_has_percent:
            percent_decode(buf + head.path_at, head.path_len, self.path_scratch, &len)
            return latin1(self.path_scratch, len)
        if head.path_len == head.target_len:
            return target
        return ascii(buf + head.path_at, head.path_len)

    cdef int add_fields(self, dict environ, const request_head *head, const char *buf, int host_field) except -1:
        cdef const field_line *field
        cdef uint32_t i
        cdef Py_ssize_t size
        cdef object key, value
        for i in range(head.field_count):
            field = &head.fields[i]
            if is_dropped(field):
                continue
            key = self.key_of(buf + field.name_at, field.name_len)
            value = latin1(buf + field.value_at, field.value_len)
            size = PyDict_Size(environ)
            present = <object>PyDict_SetDefault(environ, key, value)
            if PyDict_Size(environ) == size and present is self.base.get(key):
                PyDict_SetItem(environ, key, value)  # a default, and no field of this request
            elif PyDict_Size(environ) == size:
                self.joined = True
                separator = "; " if field.id == FIELD_COOKIE else ","  # RFC 6265 §5.4, RFC 9110 §5.3
                PyDict_SetItem(environ, key, f"{present}{separator}{value}")
        if head.form == TARGET_ABSOLUTE:
            # RFC 9112 §3.2.2: the authority of the target replaces Host
            PyDict_SetItem(environ, HTTP_HOST, latin1(buf + head.authority_at, head.authority_len))
        return 0

    cdef object key_of(self, const char *name, size_t len):
        """The environ key of a field name; new keys are remembered while there is room."""
        cdef uint64_t hashed = name_hash(name, len)
        cdef cached_name *free_slot = NULL
        cdef cached_name *slot
        cdef int probe
        for probe in range(NAME_CACHE_PROBES):
            slot = &self.names[(hashed + probe) & (NAME_CACHE_SLOTS - 1)]
            if slot.key is NULL:
                free_slot = slot
                break
            if slot.hash == hashed and slot.len == len and memcmp(slot.raw, name, len) == 0:
                self.has_statements |= slot.is_statement
                return <object>slot.key
        raw = name[:len]
        key = COMMON_KEYS.get(raw) or make_key(raw)
        cdef bint statement = is_statement(key)
        self.has_statements |= statement
        if free_slot is not NULL and len <= NAME_BYTES_MAX:
            free_slot.is_statement = statement
            free_slot.hash = hashed
            free_slot.len = len
            memcpy(free_slot.raw, name, len)
            Py_INCREF(key)
            free_slot.key = <PyObject *>key
        return key


cdef object below(str root_path, str path):
    """PATH_INFO behind SCRIPT_NAME, whether the proxy in front has taken --root-path off or not."""
    if path.startswith(root_path):
        if len(path) == len(root_path):
            return EMPTY
        if path[len(root_path)] == "/":
            return path[len(root_path):]
    return path


cdef bint is_dropped(const field_line *field) noexcept:
    """Fields that no application gets to see.

    "_" in a name could forge the key of a name with "-"; Proxy would become HTTP_PROXY (httpoxy); Transfer-Encoding is
    decoded already, and CONTENT_LENGTH tells the length instead.
    """
    return field.id == FIELD_UNDERSCORE or field.id == FIELD_PROXY or field.id == FIELD_TRANSFER_ENCODING


cdef object make_key(bytes name):
    """RFC 3875 §4.1.18: upper case, "_" for "-", "HTTP_" in front of all but the two fields with keys of their own."""
    key = name.decode("latin-1").upper().replace("-", "_")
    if key in ("CONTENT_LENGTH", "CONTENT_TYPE"):
        return key
    return "HTTP_" + key


cdef dict COMMON_KEYS = {}
for _name in COMMON_FIELD_NAMES:
    for _spelling in (_name.encode(), _name.lower().encode()):
        COMMON_KEYS[_spelling] = make_key(_spelling)


cdef class FieldMemo:

    def __dealloc__(self):
        self.forget()

    cdef int remember(self, const char *buf, const request_head *head, const request_rules *rules,
                      framing body_framing, uint64_t body_bytes, dict environ, EnvironTemplate template) except -1:
        """Keep head and environ for the next request; only for origin-form, whose fields stand for themselves."""
        if head.form != TARGET_ORIGIN or head.next - head.started_at > MEMO_BYTES_MAX or self.misses >= MEMO_MISSES_MAX:
            self.forget()
            return 0
        self.keep_head(buf, head, rules, body_framing, body_bytes)
        self.names_unique = not template.joined
        self.has_statements = template.has_statements
        self.method = template.method
        self.target = template.target
        self.environ = {}
        PyDict_Update(self.environ, environ)  # not a copy, which would keep the size of a table that has grown
        return 0

    cdef int keep_head(self, const char *buf, const request_head *head, const request_rules *rules,
                       framing body_framing, uint64_t body_bytes) except -1:
        cdef size_t len = head.next - head.started_at
        cdef field_line *fields = self.head.fields
        self.len = 0  # nothing is remembered until all of it is
        if self.cap < len:
            PyMem_Free(self.bytes)
            self.bytes = <char *>PyMem_Malloc(len)
            self.cap = len if self.bytes is not NULL else 0
        if self.fields_cap < head.field_count:
            PyMem_Free(fields)
            fields = self.head.fields = <field_line *>PyMem_Malloc(head.field_count * sizeof(field_line))
            self.fields_cap = head.field_count if fields is not NULL else 0
        if self.bytes is NULL or (fields is NULL and head.field_count):
            raise MemoryError
        memcpy(self.bytes, buf + head.started_at, len)
        if head.field_count:
            memcpy(fields, head.fields, head.field_count * sizeof(field_line))
        self.head = head[0]
        self.head.fields = fields
        self.len = len
        self.fields_at = head.fields_at - head.started_at
        self.rules = rules[0]
        self.body_framing = body_framing
        self.body_bytes = body_bytes
        return 0

    cdef bint has_same_names(self, const char *buf, const request_head *head) noexcept:
        """Does a head have the same field names in the same order, each once, in a request of the same kind?"""
        cdef uint32_t skipped = self.head.started_at  # bytes begin at the request line
        cdef const field_line *theirs
        cdef const field_line *ours
        cdef uint32_t i
        if self.len == 0 or not self.names_unique or head.field_count != self.head.field_count:
            return False
        if (head.form != TARGET_ORIGIN or head.minor_version != self.head.minor_version
                or head.next - head.started_at > MEMO_BYTES_MAX):
            return False
        for i in range(head.field_count):
            theirs = &head.fields[i]
            ours = &self.head.fields[i]
            if theirs.name_len != ours.name_len:
                return False
            if memcmp(buf + theirs.name_at, self.bytes + (ours.name_at - skipped), ours.name_len) != 0:
                return False
        return True

    cdef int take_new_values(self, const char *buf, const request_head *head, EnvironTemplate template) except -1:
        """After has_same_names: bring environ up to date with the request line and the values that differ."""
        cdef uint32_t skipped = self.head.started_at  # bytes begin at the request line
        cdef const field_line *theirs
        cdef const field_line *ours
        cdef uint32_t i
        self.len = 0  # environ no longer fits bytes until keep_head has run
        template.set_request_line(self.environ, head, buf)
        self.method = template.method
        self.target = template.target
        for i in range(head.field_count):
            theirs = &head.fields[i]
            ours = &self.head.fields[i]
            if theirs.value_len == ours.value_len:
                if memcmp(buf + theirs.value_at, self.bytes + (ours.value_at - skipped), ours.value_len) == 0:
                    continue
            if not is_dropped(theirs):
                PyDict_SetItem(self.environ, template.key_of(buf + theirs.name_at, theirs.name_len),
                               latin1(buf + theirs.value_at, theirs.value_len))
        return 0

    cdef void forget(self) noexcept:
        PyMem_Free(self.bytes)
        PyMem_Free(self.head.fields)
        self.bytes = NULL
        self.head.fields = NULL
        self.len = self.cap = self.fields_cap = 0
        self.environ = self.method = self.target = self.verdict = self.believed = None
