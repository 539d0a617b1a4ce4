# A worker's place on the scoreboard (csrc/scoreboard.h): its loop writes it, its supervisor reads it.
#
# Owner: process/scoreboard.py has the memory, which stays where it is for as long as one of its slots is alive.
# Lock: none; the supervisor and the worker each have a Slot object of their own for the same slot.
# Errors: ValueError when it is made of memory that is too small.

from headrace.engine.csrc cimport score_row, score_slot


cdef class Slot:
    cdef Py_buffer memory
    cdef bint has_memory
    cdef size_t slots
    cdef size_t threads
    cdef score_slot *slot

    cdef score_row *row(self, size_t thread) noexcept
    cdef void set_accepting(self, bint accepting) noexcept
    cdef bint others_accept(self) noexcept


cdef str shown_method(const score_row *row)
cdef str shown_path(const score_row *row)
cdef str shown_request(const score_row *row)
