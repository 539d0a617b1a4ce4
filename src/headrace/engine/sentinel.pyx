"""The watch over application calls: see sentinel.pxd."""

import socket

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport uint64_t

from headrace.engine.csrc cimport (
    SOCK_AGAIN, SOCK_OK, full_fence, roster, roster_glance, roster_has_on_deck, roster_is_led, roster_look,
    roster_wake_one, seat_calls, seat_is_waiting_on_unsent, sock_send, sock_status, sock_wait)

cdef int GLANCE_EVERY_MS = 1
cdef int LOOKS_UNTIL_ASLEEP = 20
cdef int SAMPLE_EVERY = 8  # looks: put somebody on deck, who will notice calls that block for less than 1 ms
cdef int PATIENCE_MAX = 4


cdef class Sentinel:

    def __cinit__(self):
        self.bell_fd = self.ringer_fd = -1

    cdef int open(self, roster *seats) except -1:
        self.roster = seats
        self.patience = 1
        self.seen = <uint64_t *>PyMem_Calloc(seats.cap, sizeof(uint64_t))
        self.found = <uint64_t *>PyMem_Calloc(seats.cap, sizeof(uint64_t))
        if self.seen is NULL or self.found is NULL:
            raise MemoryError
        listening, ringer = self.bell = socket.socketpair()
        listening.setblocking(False)
        ringer.setblocking(False)
        self.bell_fd = listening.fileno()
        self.ringer_fd = ringer.fileno()
        return 0

    def __dealloc__(self):
        PyMem_Free(self.seen)
        PyMem_Free(self.found)

    cdef void learn(self, bint blocked) noexcept:
        """Somebody woken has found that calls block, or that they compute: then he need not be woken so soon."""
        self.patience = 1 if blocked else min(2 * self.patience, PATIENCE_MAX)

    cdef finding look(self) noexcept nogil:
        """Watch until there is something to do, or has been nothing for a while."""
        cdef roster_glance now
        cdef sock_status heard
        cdef int quiet = 0
        while True:
            heard = sock_wait(self.bell_fd, False, GLANCE_EVERY_MS)
            if heard != SOCK_AGAIN:
                return FOUND_BELL if heard == SOCK_OK else FOUND_BROKEN
            now = roster_look(self.roster)
            self.looks += 1
            self.same = self.same + 1 if now.calls == self.calls else 0
            self.calls = now.calls
            if self.roster.count > 1 and now.inside and not roster_has_on_deck(self.roster):
                if self.same >= self.patience:
                    # nothing has begun for a millisecond or more, and nobody could begin anything
                    if not roster_is_led(self.roster) and not roster_wake_one(self.roster):
                        return FOUND_FULL_HOUSE
                elif self.looks % (SAMPLE_EVERY * self.patience) == 0:
                    roster_wake_one(self.roster)
            if self.finds_unsent():
                return FOUND_UNSENT
            quiet = quiet + 1 if self.same and not now.inside else 0
            if quiet == LOOKS_UNTIL_ASLEEP:
                return FOUND_NOTHING

    cdef bint finds_unsent(self) noexcept nogil:
        """Has a call with answers before it been going on since the last look?  Each is found once."""
        cdef bint found = False
        cdef uint64_t calls
        cdef int i
        for i in range(self.roster.count):
            calls = seat_calls(self.roster.seats[i])
            if calls == self.seen[i] and calls != self.found[i] and seat_is_waiting_on_unsent(self.roster.seats[i]):
                self.found[i] = calls
                found = True
            self.seen[i] = calls
        return found

    cdef int sleep(self) except -1:
        """Until the bell rings."""
        cdef roster_glance before = roster_look(self.roster), now
        self.asleep = True
        full_fence()
        now = roster_look(self.roster)
        if now.calls == before.calls and not now.inside:  # else a call began before it could see that we sleep
            with nogil:
                sock_wait(self.bell_fd, False, -1)
        self.asleep = False
        return 0

    cdef void ring(self) noexcept nogil:
        cdef size_t sent
        self.asleep = False
        if self.ringer_fd < 0:
            return  # not open yet, or not any more
        sock_send(self.ringer_fd, b"\0", 1, False, &sent)  # a full socket rings already

    cdef int silence(self) except -1:
        try:
            self.bell[0].recv(4096)
        except BlockingIOError:
            pass
        return 0

    cdef tuple take_bell(self):
        """Its two ends, for the caller to close: to close lets others run, who must not ring it any more."""
        cdef tuple bell = self.bell
        self.bell = None
        self.bell_fd = self.ringer_fd = -1
        return bell if bell is not None else ()
