"""Slots of the scoreboard: see slot.pxd for the fields and slot.pyi for the documentation."""

from typing import NamedTuple

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

from headrace.engine.csrc cimport (
    SCORE_CLIENT, SCORE_IDLE, clock_monotonic_ms, score_get_state, score_others_accept, score_read, score_row,
    score_row_at, score_set_accepting, score_slot, score_slot_at, score_slot_bytes, score_state)


class InFlight(NamedTuple):
    """See slot.pyi."""

    method: str
    path: str
    age_s: float
    thread_id: int
    waits_for_client: bool


def slot_bytes(size_t threads):
    return score_slot_bytes(threads)


cdef class Slot:

    def __cinit__(self, memory, size_t slots, size_t threads, size_t number):
        if slots < 1 or threads < 1 or number >= slots:
            raise ValueError(f"there is no slot {number} of {slots} with {threads} threads")
        PyObject_GetBuffer(memory, &self.memory, PyBUF_WRITABLE)
        self.has_memory = True
        if <size_t>self.memory.len < slots * score_slot_bytes(threads):
            raise ValueError(f"{slots} slots with {threads} threads need more than {self.memory.len} bytes")
        self.slots = slots
        self.threads = threads
        self.slot = score_slot_at(self.memory.buf, threads, number)

    def __dealloc__(self):
        if self.has_memory:
            PyBuffer_Release(&self.memory)

    # ---- what the loop writes ----

    cdef score_row *row(self, size_t thread) noexcept:
        """NULL: the worker has more threads than there are rows."""
        return score_row_at(self.slot, thread) if thread < self.threads else NULL

    cdef void set_accepting(self, bint accepting) noexcept:
        score_set_accepting(self.slot, accepting)

    cdef bint others_accept(self) noexcept:
        return score_others_accept(self.memory.buf, self.slots, self.threads, self.slot)

    # ---- what the supervisor reads ----

    def in_flight(self):
        cdef score_row copy
        cdef uint64_t now_ms = clock_monotonic_ms()
        cdef size_t i
        found = []
        for i in range(self.threads):
            if not score_read(score_row_at(self.slot, i), &copy) or score_get_state(&copy) == SCORE_IDLE:
                continue
            found.append(InFlight(
                shown_method(&copy),
                shown_path(&copy),
                max(<int64_t>(now_ms - copy.began_ms), 0) / 1000,
                copy.thread_id,
                score_get_state(&copy) == SCORE_CLIENT))
        return found

    def requests(self):
        cdef size_t i
        cdef uint64_t count = 0
        for i in range(self.threads):
            count += score_row_at(self.slot, i).requests
        return count

    def heartbeat(self):
        return self.slot.beat_ms / 1000

    def stuck_s(self):
        cdef score_row copy
        cdef uint64_t now_ms = clock_monotonic_ms(), alive_ms = self.slot.beat_ms
        cdef score_state state
        cdef bint is_inside = False
        cdef size_t i
        for i in range(self.threads):
            if score_read(score_row_at(self.slot, i), &copy):
                state = score_get_state(&copy)
                is_inside = is_inside or state not in (SCORE_IDLE, SCORE_CLIENT)
                alive_ms = max(alive_ms, copy.since_ms)
        return (now_ms - alive_ms) / 1000 if is_inside and now_ms > alive_ms else 0.0

    def is_accepting(self):
        return bool(self.slot.accepting)

    def clear(self):
        memset(self.slot, 0, score_slot_bytes(self.threads))


cdef str shown_method(const score_row *row):
    return printable(row.method[:min(row.method_bytes, <int>sizeof(row.method))])


cdef str shown_path(const score_row *row):
    """Without the query, which may hold what does not belong into a log."""
    path, question_mark, _ = row.target[:min(row.target_bytes, <int>sizeof(row.target))].partition(b"?")
    return printable(path) + ("..." if row.cut and not question_mark else "")


cdef str shown_request(const score_row *row):
    return f"{shown_method(row)} {shown_path(row)}"


cdef str printable(bytes text):
    return "".join(chr(octet) if 0x20 < octet < 0x7f and octet != 0x5c else f"\\x{octet:02x}" for octet in text)
