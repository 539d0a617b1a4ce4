# What applications hand over as status and headers (PEP 3333): native strings to octets, with messages that tell the
# author what was wrong.
#
# Owner, lock: none.  Errors: TypeError and ValueError; the caller's name for itself stands in front of their text.

from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_SIZE

from headrace.engine.csrc cimport head_write

cdef extern from "Python.h":
    int PyUnicode_KIND(object text)
    const char *PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    int PyUnicode_1BYTE_KIND

cdef enum:
    RESPONSE_HEAD_BYTES_MAX = 65536
    HINT_BYTES_MAX = 8192       # a 103 response


cdef inline const char *native_text(object text, Py_ssize_t *size) except NULL:
    """The octets of a native string (PEP 3333, "Unicode Issues"): latin-1, one for each character."""
    if not isinstance(text, str) or PyUnicode_KIND(text) != PyUnicode_1BYTE_KIND:
        raise not_native(text)
    size[0] = PyUnicode_GET_LENGTH(text)
    return PyUnicode_DATA(text)


cdef inline int check_is_pair(object field, str where) except -1:
    """A tuple, so that its two strings stay while their octets are read."""
    if PyTuple_CheckExact(field) and PyTuple_GET_SIZE(field) == 2:
        return 0
    raise not_a_pair(field, where)


cdef object shortened(object value)
cdef object not_native(object text)
cdef object not_a_pair(object field, str where)
cdef object wrong_text(str where, object field, object error)
cdef object wrong_field(head_write outcome, str where, object field)
cdef object head_too_long(str where, int bytes_max)
cdef bytes early_hints_text(object headers)
