# What the interpreter that this is built for is like.

cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED
    #define HEADRACE_FREE_THREADED 1
    #else
    #define HEADRACE_FREE_THREADED 0
    #endif
    """
    const bint FREE_THREADED "HEADRACE_FREE_THREADED"  # it has no interpreter lock
