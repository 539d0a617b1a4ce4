# Request heads -> environ dicts (PEP 3333, "environ Variables"; RFC 3875 §4.1).
#
# Owner: one EnvironTemplate for each listener and thread; one FieldMemo for each connection.
# Lock: the interpreter lock.  Errors: MemoryError only, the head has been validated by then.

from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from headrace.engine.csrc cimport field_line, framing, request_head, request_rules

cdef enum:
    NAME_CACHE_SLOTS = 512   # field names seen, per template; a power of two
    NAME_CACHE_PROBES = 4
    NAME_BYTES_MAX = 40      # longer names are not cached
    MEMO_BYTES_MAX = 4096    # longer heads are not remembered
    MEMO_MISSES_MAX = 8      # a connection whose field names differ this often in a row stops remembering

cdef struct cached_name:
    PyObject *key            # strong; NULL: slot is free
    uint64_t hash
    size_t len
    bint is_statement        # that only a proxy should make: X-Forwarded-* and the like
    char raw[NAME_BYTES_MAX]


cdef class EnvironTemplate:
    cdef dict base                         # what is the same for every request of a listener; copies keep the size of
                                           # its table, which has room for some 19 fields more
    cdef cached_name names[NAME_CACHE_SLOTS]
    cdef bint joined                       # the last build had a field more than once
    cdef bint has_statements               # ... and fields that only a proxy should send
    cdef str root_path                     # of --root-path, as PATH_INFO would have it; ""
    cdef object method                     # str: of the last request line that was set
    cdef object target
    cdef char *path_scratch                # limit_request_line octets, for percent-decoding

    cdef dict build(self, const request_head *head, const char *buf, const request_rules *rules,
                    object remote_addr, object remote_port)
    cdef int set_request_line(self, dict environ, const request_head *head, const char *buf) except -1
    cdef object path_info(self, const request_head *head, const char *buf, object target)
    cdef object whole_path(self, const request_head *head, const char *buf, object target)
    cdef object key_of(self, const char *name, size_t len)
    cdef int add_fields(self, dict environ, const request_head *head, const char *buf, int host_field) except -1


cdef class FieldMemo:
    # The previous head of a connection, octet by octet, and what was made of it.  Equal octets have equal
    # meaning, so nothing is validated less: they were validated when they were remembered.
    cdef char *bytes                       # request line and fields, with the empty line; NULL: nothing remembered
    cdef size_t len
    cdef size_t cap
    cdef size_t fields_at                  # where the field lines begin in bytes
    cdef dict environ                      # never given away, only copied
    cdef object method                     # what environ says of the request line, at hand without a look-up
    cdef object target
    cdef request_head head                 # offsets into bytes; head.fields is our own array
    cdef size_t fields_cap
    cdef request_rules rules
    cdef framing body_framing
    cdef uint64_t body_bytes
    cdef bint names_unique                 # no two fields were joined: each has a key of its own
    cdef bint has_statements               # fields that only a proxy should send: environ is as if they were not there
    cdef object verdict                    # forwarded_rules.Verdict of these octets: what they change; None: nothing
    cdef dict believed                     # environ with it, from the first time on that it is asked for again
    cdef int misses

    cdef int remember(self, const char *buf, const request_head *head, const request_rules *rules,
                      framing body_framing, uint64_t body_bytes, dict environ, EnvironTemplate template) except -1
    cdef bint has_same_names(self, const char *buf, const request_head *head) noexcept
    cdef int take_new_values(self, const char *buf, const request_head *head, EnvironTemplate template) except -1
    cdef int keep_head(self, const char *buf, const request_head *head, const request_rules *rules,
                       framing body_framing, uint64_t body_bytes) except -1
    cdef void forget(self) noexcept


cdef bint is_dropped(const field_line *field) noexcept
cdef object latin1(const char *at, size_t len)
cdef object ascii(const char *at, size_t len)
