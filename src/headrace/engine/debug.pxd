# Object counters of debug builds: how many connections, responses, bodies and spools are alive.

cdef extern from *:
    """
    #ifndef HEADRACE_DEBUG
    #define HEADRACE_DEBUG 0
    #endif
    """
    const bint HEADRACE_DEBUG

cdef enum counted:
    COUNT_CONNECTION
    COUNT_RESPONSE
    COUNT_BODY
    COUNT_SPOOL
    COUNT_ILLEGAL_MOVE
    COUNTED_KINDS

cdef void count_change(counted kind, int change) noexcept

cdef inline void count_object(counted kind, int change) noexcept:
    if HEADRACE_DEBUG:
        count_change(kind, change)
