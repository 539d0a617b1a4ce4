"""Object counters of debug builds (HEADRACE_DEBUG=1 at build time); in other builds nothing is counted."""

from libc.stdint cimport int64_t

from headrace.engine.csrc cimport counter_add, counter_read, request_head_variant

# One for each kind; changed by any thread, also where there is no interpreter lock.
cdef int64_t[COUNTED_KINDS] counts
KIND_NAMES = ("Connection", "Response", "RequestBody", "Spool", "illegal moves")


cdef void count_change(counted kind, int change) noexcept:
    counter_add(&counts[<int>kind], change)


def is_debug_build():
    return bool(HEADRACE_DEBUG)


def parser_variant():
    return request_head_variant().decode()


def object_counts():
    if not HEADRACE_DEBUG:
        return {}
    return {name: counter_read(&counts[number]) for number, name in enumerate(KIND_NAMES)}
