"""Object counters of debug builds (HEADRACE_DEBUG=1 at build time); in other builds nothing is counted."""

cdef dict counts = {}


cdef void count_change(const char *kind, int change) noexcept:
    counts[kind] = counts.get(kind, 0) + change


def is_debug_build():
    return bool(HEADRACE_DEBUG)


def object_counts():
    return {kind.decode(): number for kind, number in counts.items()}
