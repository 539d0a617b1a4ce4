# Object counters of debug builds: how many connections, responses, bodies and spools are alive.

cdef extern from *:
    """
    #ifndef HEADRACE_DEBUG
    #define HEADRACE_DEBUG 0
    #endif
    """
    const bint HEADRACE_DEBUG

cdef void count_change(const char *kind, int change) noexcept

cdef inline void count_object(const char *kind, int change) noexcept:
    if HEADRACE_DEBUG:
        count_change(kind, change)
