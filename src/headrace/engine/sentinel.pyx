"""The watch over pipelined answers: see sentinel.pxd."""

import logging
import threading

from libc.stdint cimport uint64_t

from headrace.engine.channel cimport Channel
from headrace.engine.csrc cimport outbox_flush

cdef extern from "<time.h>" nogil:
    cdef struct timespec:
        long tv_sec
        long tv_nsec
    int nanosleep(const timespec *wanted, timespec *left)

log = logging.getLogger("headrace")

cdef long LOOK_EVERY_NS = 1000000
cdef int LOOKS_UNTIL_ASLEEP = 100


cdef class Sentinel:

    cdef int enter(self, Channel channel) except -1:
        """An application call begins while answers before it are unsent."""
        self.channel = channel
        self.calls += 1
        self.inside = True
        if self.thread is None:
            if not self.refused:
                self.start()
        elif self.asleep:
            self.alarm.set()
        return 0

    cdef int start(self) except -1:
        thread = threading.Thread(target=self.watch, name="headrace-sentinel", daemon=True)
        self.alarm = threading.Event()
        try:
            thread.start()
        except RuntimeError as error:  # the system gives no more threads: answers may wait for the call behind them
            self.refused = True
            log.warning("no thread to watch over pipelined answers: %s", error)
            return 0
        self.thread = thread
        return 0

    cdef void leave(self) noexcept:
        self.inside = False
        self.channel = None

    cdef int stop(self) except -1:
        if self.thread is not None:
            self.stopping = True
            self.alarm.set()
            self.thread.join()
            self.thread = None
        return 0

    def watch(self):
        """The thread: look once a millisecond while there are such calls, sleep when there are none."""
        cdef uint64_t calls_seen = 0
        while not self.stopping:
            self.alarm.clear()
            if self.calls == calls_seen:  # under the interpreter lock: enter() cannot come between this and asleep
                self.asleep = True
                self.alarm.wait()
                self.asleep = False
            with nogil:
                calls_seen = self.wait_for_long_call()
            if self.inside and self.calls == calls_seen and self.channel is not None:
                # What stands before the outbox's end is complete; the answer under construction lies behind it.
                outbox_flush(&self.channel.out, self.channel.fd)

    cdef uint64_t wait_for_long_call(self) noexcept nogil:
        """Until one call has been going on for two looks, or there has been none for long; the calls counted."""
        cdef timespec pause
        cdef uint64_t seen = self.calls, now
        cdef int quiet = 0
        pause.tv_sec = 0
        pause.tv_nsec = LOOK_EVERY_NS
        while not self.stopping:
            nanosleep(&pause, NULL)
            now = self.calls
            if now == seen:
                if self.inside:
                    return now
                quiet += 1
                if quiet == LOOKS_UNTIL_ASLEEP:
                    return now
            else:
                quiet = 0
                seen = now
        return seen
