"""The watch over application calls: see watching.pxd."""

import logging
import sys
import threading
import time
import traceback

from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from headrace.engine.csrc cimport (
    SCORE_CLIENT, SCORE_IDLE, SCORE_INSIDE, clock_monotonic_ms, full_fence, gate_destroy, gate_init, gate_open,
    gate_wait, mutex_lock, mutex_unlock, roster_look, score_beat, score_get_progress, score_get_state, score_read,
    score_row)
from headrace.engine.interpreter cimport FREE_THREADED
from headrace.engine.polling cimport milliseconds
from headrace.engine.slot cimport shown_request
from headrace.engine.stopping cimport StoppingLoop
from headrace.engine.thread cimport LoopThread
from headrace.errors import RequestTimeout
from headrace import wsgi

cdef extern from "Python.h":
    ctypedef struct PyInterpreterState:
        pass
    ctypedef struct PyThreadState:
        unsigned long thread_id
    PyInterpreterState *PyInterpreterState_Get()
    PyThreadState *PyInterpreterState_ThreadHead(PyInterpreterState *interpreter)
    PyThreadState *PyThreadState_Next(PyThreadState *state)
    int PyThreadState_SetAsyncExc(unsigned long ident, PyObject *exception)

log = logging.getLogger("headrace")

cdef uint64_t NEVER_MS = <uint64_t>-1
cdef uint64_t LOOK_EVERY_MS_MAX = 1000  # the supervisor takes a longer silence for a lock that is held
cdef uint64_t TOLD_EVERY_MS_MAX = 3600 * 1000
cdef int LOOKS_MAX = 50                 # while the call is starting a thread
cdef double LOOK_AGAIN_S = 0.001
cdef double JOIN_S = 1.0                # its last message may be stuck in a full pipe

RUN_FILE = wsgi.run.__code__.co_filename
RUN_NAMES = {"run", "send_blocks", "close"}


cdef class WatchingLoop(StoppingLoop):

    def __cinit__(self, application, listeners, config, *_, **__):
        self.timeout_ms = milliseconds(config.timeout)
        # Progress is seen late by so much, and a call that stops after it may go on for so much longer.
        self.look_every_ms = max(<uint64_t>1, min(self.timeout_ms // 8, LOOK_EVERY_MS_MAX))
        self.has_gate = gate_init(&self.watch_gate)
        if not self.has_gate:
            raise MemoryError

    def __dealloc__(self):
        if self.has_gate:
            gate_destroy(&self.watch_gate)

    cdef int start_watching(self) except -1:
        if not self.timeout_ms:
            return 0
        thread = threading.Thread(target=self.watch_calls, name="headrace-watchdog", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            log.error("HR407 no thread to watch over requests: --timeout has no effect: %s", error)
            return 0
        self.watch_thread = thread
        return 0

    cdef int stop_watching(self) except -1:
        thread = self.watch_thread
        self.watch_ended = True
        self.watch_thread = None
        if thread is not None and not self.forked:
            gate_open(&self.watch_gate)
            thread.join(JOIN_S)
        return 0

    cdef void wake_watchdog(self) noexcept:
        self.watchdog_sleeps = False
        gate_open(&self.watch_gate)

    def watch_calls(self):
        cdef int wait_ms
        cdef uint64_t calls
        while not self.watch_ended:
            wait_ms = self.look_at_calls()
            if wait_ms < 0:
                calls = self.count_calls()
                if calls == self.watched_calls:
                    self.sleep_until_a_call()
                    if self.watch_ended:
                        return
                # A call that wakes us is not looked at at once: while calls are quick, each would wake us again.
                self.watched_calls = calls
                wait_ms = <int>self.look_every_ms
            with nogil:
                gate_wait(&self.watch_gate, wait_ms)

    cdef uint64_t count_calls(self) noexcept:
        """Of the application, begun so far."""
        return roster_look(&self.roster).calls

    cdef int sleep_until_a_call(self) except -1:
        self.watchdog_sleeps = True
        full_fence()  # a call that begins sees that we sleep, or we see the call
        if self.watch_ended or self.count_calls() != self.watched_calls:
            self.watchdog_sleeps = False
            return 0
        with nogil:
            gate_wait(&self.watch_gate, -1)
        self.watchdog_sleeps = False
        return 0

    # ---- looking ----

    cdef int look_at_calls(self) except -2:
        """Milliseconds until the next look; -1: nothing is inside."""
        cdef uint64_t now_ms = clock_monotonic_ms(), at_ms = NEVER_MS
        if self.slot is not None:
            score_beat(self.slot.slot, now_ms)  # we have the interpreter lock
        for thread in list(self.threads):
            at_ms = min(at_ms, self.look_at_call(thread, now_ms))
        if at_ms == NEVER_MS:
            return -1
        return <int>min(at_ms - now_ms if at_ms > now_ms else 1, self.look_every_ms)

    cdef uint64_t look_at_call(self, LoopThread thread, uint64_t now_ms) except? 0:
        """When its time is up; NEVER_MS: there is no call."""
        cdef score_row seen
        if not score_read(thread.row, &seen) or score_get_state(&seen) == SCORE_IDLE:
            return NEVER_MS
        if (score_get_state(&seen) == SCORE_CLIENT or score_get_progress(&seen) != thread.seen_progress
                or not thread.told_every_ms):
            thread.seen_progress = score_get_progress(&seen)
            thread.told_every_ms = self.timeout_ms
            thread.told_stack = None
            # Between two looks it may have progressed at any time: it is given the benefit.
            thread.seen_since_ms = seen.since_ms if seen.entered == thread.seen_progress else now_ms
            thread.seen_at_ms = now_ms
            thread.seen_cpu_s = cpu_s(thread.ident)
        if score_get_state(&seen) == SCORE_CLIENT:
            thread.seen_since_ms = now_ms
        elif now_ms >= thread.seen_since_ms + thread.told_every_ms:
            self.expired(thread, &seen, now_ms)
            thread.seen_since_ms = clock_monotonic_ms()  # who carries on nevertheless is told again
        return thread.seen_since_ms + thread.told_every_ms

    # ---- expiry ----

    cdef int expired(self, LoopThread thread, const score_row *seen, uint64_t now_ms) except -1:
        frame = sys._current_frames().get(thread.ident)
        stack = "" if frame is None else "".join(traceback.format_list(frames_of_application(frame)))
        del frame
        shown = f"; its stack:\n{stack}".rstrip() if stack else ""
        if stack and stack == thread.told_stack:  # it has not come back from C: each time the pause doubles
            thread.told_every_ms = max(self.timeout_ms, min(2 * thread.told_every_ms, TOLD_EVERY_MS_MAX))
            shown = "; its stack is still the one that was shown"
        else:
            thread.told_every_ms = self.timeout_ms
        thread.told_stack = stack
        used_s = cpu_s(thread.ident) - thread.seen_cpu_s
        was_inside = score_get_state(seen) == SCORE_INSIDE
        raised = was_inside and self.interrupt(thread, score_get_progress(seen))
        log.error(
            "HR408 %s has taken %.1f s, more than --timeout (%g s)%s; %s; thread %d used %.2f s of CPU time in the "
            "last %.1f s%s",
            shown_request(seen), (now_ms - seen.began_ms) / 1000, self.timeout_ms / 1000,
            "" if was_inside else ", with what follows the call",
            ("RequestTimeout is raised in it at its next line of Python" if raised
             else "nothing is raised, for the call has gone on or ended"),
            seen.thread_id, used_s, (now_ms - thread.seen_at_ms) / 1000,
            shown)
        if self.on_timeout is not None:
            try:
                self.on_timeout()
            except Exception:
                log.exception("HR409 on_timeout failed")
        return 0

    cdef bint interrupt(self, LoopThread thread, uint64_t progress) except -1:
        """Raise RequestTimeout in the call, if it is still the same one and has not progressed."""
        cdef bint raised = False
        cdef int looks
        for looks in range(LOOKS_MAX):
            if FREE_THREADED or states_of(thread.ident) == 1:
                break
            time.sleep(LOOK_AGAIN_S)
        else:
            return False
        if FREE_THREADED:
            mutex_lock(&thread.call_guard)
        if score_get_state(thread.row) == SCORE_INSIDE and score_get_progress(thread.row) == progress:
            thread.interrupted = True
            raised = PyThreadState_SetAsyncExc(thread.ident, <PyObject *>RequestTimeout) > 0
        if FREE_THREADED:
            mutex_unlock(&thread.call_guard)
        return raised


cdef int states_of(unsigned long ident) noexcept:
    """Thread states with this identifier.

    Before CPython 3.12 the state of a thread that is just being started has its parent's until it runs, and
    PyThreadState_SetAsyncExc would take that one: it would die before it can say that it has started, and its parent
    waits for that without end.
    """
    cdef PyThreadState *state = PyInterpreterState_ThreadHead(PyInterpreterState_Get())
    cdef int count = 0
    while state is not NULL:
        count += state.thread_id == ident
        state = PyThreadState_Next(state)
    return count


cdef double cpu_s(unsigned long ident) except -1:
    """CPU time of a thread of ours that is inside the application; 0.0 where the system does not tell (macOS)."""
    if ident == 0 or not hasattr(time, "pthread_getcpuclockid"):
        return 0.0
    try:
        return time.clock_gettime(time.pthread_getcpuclockid(ident))
    except OSError:
        return 0.0


cdef object frames_of_application(object frame):
    """Without what leads to the call: threading, the loop's caller, headrace.wsgi."""
    frames = traceback.extract_stack(frame)
    begins = 0
    for number, found in enumerate(frames):
        if found.filename == RUN_FILE and found.name in RUN_NAMES:
            begins = number + 1
    return frames[begins:] or frames
