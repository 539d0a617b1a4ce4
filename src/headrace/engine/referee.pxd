# --referee: a head that has been accepted, read once more by llhttp.
#
# What: the quick yes of headrace.referee.judge, field by field as llhttp reads them and without a Python object for any
# of ours.  Whatever is not plainly the same goes to judge(), which knows the differences that are meant to be and has
# the words.
# Owner: a HeadReader, one for each thread.  Lock: none; one head at a time.
# Errors: judge's.  What goes wrong in llhttp is an objection.

from headrace.engine.csrc cimport request_head


cdef class Referee:
    cdef object new_parser           # httptools.HttpRequestParser
    cdef object judge                # headrace.referee.judge
    # of the head that is being read
    cdef const request_head *head
    cdef const char *at
    cdef size_t fields_read
    cdef bint same                   # so far
    cdef bint url_read
    cdef bint complete

    cdef object objection_to(self, const request_head *head, const char *at, bint keep_alive)
    cdef bint agrees(self, bint keep_alive) except -1
    cdef object reading(self, bint keep_alive)
