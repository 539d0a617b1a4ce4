"""The threads of a loop and what they take in turn: see crew.pxd for the rules."""

import logging
import sys

from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int64_t, uint64_t

from headrace.engine.channel cimport (
    CLOSED, IN_INBOX, IN_RING, IN_WAITING, NOWHERE, WAITING, Channel, LoopBase, queue_place)
from headrace.engine.csrc cimport (
    POLLER_HANGUP, SEAT_LEADING, clock_monotonic_ns, deadline_queue, full_fence, gate_wait, outbox_flush, poller_wake,
    roster_add,
    roster_arrive, roster_destroy, roster_glance, roster_has_on_deck, roster_init, roster_is_led, roster_lead,
    roster_look, roster_park, roster_step_back, roster_stop_leading, roster_unpark, roster_wake, roster_wake_all,
    roster_wake_one, seat_has_unsent, seat_is_waiting_on_unsent, seat_leave)
from headrace.engine.sentinel cimport Sentinel
from headrace.engine.interpreter cimport FREE_THREADED
from headrace.engine.thread cimport LoopThread, channel_queue

log = logging.getLogger("headrace")

cdef uint64_t EAGER_MS = 100       # a call blocked so short a time ago that the next one may, too
cdef uint64_t HOG_MS = 50          # a computation is left alone for so long
cdef int STEP_BACK_MS = 1          # who was preempted takes the lock meanwhile
cdef int64_t WORTH_WAKING_NS = 100000  # without an interpreter lock: work that takes longer than waking a thread does


cdef class Crew(LoopBase):

    def __cinit__(self, application, listeners, config, *_, **__):
        self.size = config.threads
        self.threads = []
        self.switch_ns = <int64_t>(sys.getswitchinterval() * 1e9)
        self.sentinel = Sentinel()
        if not roster_init(&self.roster, self.size):
            raise MemoryError

    def __dealloc__(self):
        roster_destroy(&self.roster)

    cdef int enlist(self, LoopThread thread) except -1:
        self.threads.append(thread)
        roster_add(&self.roster, &thread.seat)
        return 0

    # ---- the queues ----

    cdef void append(self, channel_queue *queue, Channel channel, queue_place place) noexcept:
        channel.queued = place
        channel.previous = queue.last
        channel.next = NULL
        if queue.last is NULL:
            queue.first = <PyObject *>channel
        else:
            (<Channel>queue.last).next = <PyObject *>channel
        queue.last = <PyObject *>channel
        queue.count += 1
        Py_INCREF(channel)

    cdef channel_queue *queue_of(self, Channel channel) noexcept:
        if channel.queued == IN_RING:
            return &self.ring
        if channel.queued == IN_WAITING:
            return &self.waiting
        return &(<LoopThread>channel.response.home).inbox

    cdef void remove(self, Channel channel) noexcept:
        cdef channel_queue *queue = self.queue_of(channel)
        if channel.previous is NULL:
            queue.first = channel.next
        else:
            (<Channel>channel.previous).next = channel.next
        if channel.next is NULL:
            queue.last = channel.previous
        else:
            (<Channel>channel.next).previous = channel.previous
        channel.next = channel.previous = NULL
        channel.queued = NOWHERE
        queue.count -= 1

    cdef PyObject *take(self, channel_queue *queue, bint newest, LoopThread thread) noexcept:
        cdef PyObject *channel = queue.last if newest else queue.first
        self.remove(<Channel>channel)
        (<Channel>channel).thread = thread
        return channel

    cdef Channel take_next(self, LoopThread thread):
        """The next connection to serve, now this thread's; None: look at the poller, or sleep."""
        cdef Channel channel
        cdef PyObject *taken = NULL
        cdef bint by_deadline = self.queue_deadline_ms != 0
        self.lock()
        if thread.inbox.count and thread.may_run:
            taken = self.take(&thread.inbox, False, thread)
        elif self.finished:
            pass
        elif self.waiting.count and thread.may_run and not by_deadline and self.turn_left > 0:
            self.turn_left -= 1
            taken = self.take(&self.waiting, False, thread)
        elif self.ring.count and self.turn_left > 0:
            self.turn_left -= 1
            taken = self.take(&self.ring, False, thread)
        elif self.waiting.count and thread.may_run and by_deadline and not self.poll_due:
            # All that has come has been received: the newest has the best chance to be answered in time.
            self.poll_due = True
            taken = self.take(&self.waiting, True, thread)
        self.unlock()
        if taken is NULL:
            return None
        channel = <Channel>taken
        Py_DECREF(channel)  # the queue's; not under the lock, for it may have to wait for another thread
        return channel

    cdef void begin_turn(self) noexcept:
        """The poller has been asked: what is there now is served before it is asked again."""
        self.turn_left = self.ring.count + self.waiting.count
        self.poll_due = self.more_events

    cdef bint has_work(self, LoopThread thread) noexcept:
        return thread.inbox.count or self.ring.count or (self.waiting.count and thread.may_run)

    cdef int release(self, Channel channel) except -1:
        """The thread lets go of a connection: what came meanwhile, or is left to do, goes into the right queue."""
        cdef LoopThread home = None
        cdef deadline_queue *passed
        while True:
            self.lock()
            passed = channel.passed
            if channel.state == CLOSED or (passed is NULL and not self.ended):
                break
            channel.passed = NULL
            self.unlock()
            if self.ended:
                self.guarded_cut(channel)
            else:
                self.guarded_deadline(channel, passed)
        channel.thread = None
        if channel.pending:
            channel.readable = True
            channel.hung_up = channel.hung_up or channel.pending & POLLER_HANGUP != 0
            channel.arrived_ms = max(channel.arrived_ms, channel.pending_ms)
            channel.came_since_ms = channel.pending_since_ms
            channel.again = channel.again or channel.state != CLOSED
            channel.pending = 0
        if channel.for_home:
            channel.for_home = False
            home = <LoopThread>channel.response.home
            self.append(&home.inbox, channel, IN_INBOX)
        elif channel.state == WAITING:
            self.append(&self.waiting, channel, IN_WAITING)
        elif channel.again and channel.state != CLOSED:
            self.append(&self.ring, channel, IN_RING)
        channel.again = False
        self.unlock()
        if home is not None:
            self.wake_home(home)
        return 0

    cdef int guarded_deadline(self, Channel channel, deadline_queue *queue) except -1:
        raise NotImplementedError

    cdef int guarded_cut(self, Channel channel) except -1:
        raise NotImplementedError

    # ---- the application ----

    cdef int enter_application(self, LoopThread thread, Channel unsent) except -1:
        thread.begin_call()
        if self.timeout_ms:
            if FREE_THREADED:
                full_fence()  # the watchdog sees this call, or we see that it sleeps
            if self.watchdog_sleeps:
                self.wake_watchdog()
        if unsent is not None:
            thread.unsent = unsent
            seat_has_unsent(&thread.seat)
            if self.size == 1:
                self.watch_alone()
        if self.size > 1 and not roster_has_on_deck(&self.roster):
            if FREE_THREADED:
                full_fence()  # the sentinel sees this call, or we see that it sleeps
            if self.ring.count or self.waiting.count or not roster_is_led(&self.roster):
                self.expect_a_block(thread)
        return 0

    cdef void leave_application(self, LoopThread thread) noexcept:
        seat_leave(&thread.seat)
        thread.unsent = None
        if thread.row is not NULL:
            thread.hide_call()

    cdef int watch_alone(self) except -1:
        raise NotImplementedError

    cdef void wake_watchdog(self) noexcept:
        """Of the floor above, where there is one."""

    cdef int expect_a_block(self, LoopThread thread) except -1:
        """A call begins, and nobody could go on beside it."""
        cdef bint at_once
        if FREE_THREADED:
            at_once = thread.call_ns * (self.ring.count + self.waiting.count + 1) > WORTH_WAKING_NS
        else:
            at_once = thread.now_ms < self.eager_until_ms
        if at_once and roster_wake_one(&self.roster):
            return 0
        if self.sentinel.asleep:
            self.sentinel.ring()
        return 0

    cdef int send_unsent(self) except -1:
        """Calls have been going on for a while: the answers before them do not wait.

        Under the interpreter lock only, which who makes these answers holds whenever he touches the outbox; without one
        there are none (exchange.pyx, admit).

        What stands before the outbox's end is complete; the answer under construction lies behind it.
        """
        cdef LoopThread thread
        cdef Channel channel
        for item in self.threads:
            thread = <LoopThread>item
            if thread.unsent is not None and seat_is_waiting_on_unsent(&thread.seat):
                channel = <Channel>thread.unsent
                outbox_flush(&channel.out, channel.fd)
        return 0

    # ---- who goes on ----

    cdef int park(self, LoopThread thread) except -1:
        """Sleep until somebody is needed; returns when this thread is."""
        cdef roster_glance glance
        cdef int64_t woken_ns
        cdef verdict found = OTHERS_PROGRESS
        while found == OTHERS_PROGRESS:
            roster_park(&self.roster, &thread.seat)
            if (self.finished or thread.inbox.count) and roster_unpark(&self.roster, &thread.seat):
                return 0
            if self.spare_leads:
                poller_wake(self.poller)  # only until a thread is free
            with nogil:
                gate_wait(&thread.seat.gate, -1)
                woken_ns = clock_monotonic_ns()
                glance = roster_look(&self.roster)
            roster_arrive(&self.roster, &thread.seat)
            thread.tick()
            found = self.judge(thread, thread.now_ns - woken_ns, glance.calls)
            if found == ONE_COMPUTES:
                found = self.step_back(thread)
        return 0

    cdef verdict judge(self, LoopThread thread, int64_t waited_ns, uint64_t calls_before) noexcept:
        """This thread has waited for the interpreter lock, and has it: did somebody block, or is he computing?"""
        cdef roster_glance now
        if FREE_THREADED or self.finished or thread.inbox.count:
            return MAY_GO_ON
        now = roster_look(&self.roster)
        if now.inside == 0:
            return MAY_GO_ON
        if waited_ns < self.switch_ns:
            self.eager_until_ms = thread.now_ms + EAGER_MS
            self.sentinel.learn(blocked=True)
            return MAY_GO_ON
        self.sentinel.learn(blocked=False)
        if now.calls != calls_before:
            if self.sentinel.asleep:
                self.sentinel.ring()  # it looks after those who go on alone
            return OTHERS_PROGRESS
        return ONE_COMPUTES if thread.now_ms < now.began_ms + HOG_MS else MAY_GO_ON

    cdef verdict step_back(self, LoopThread thread) except *:
        """Do what is not the application's, and hand the lock back, until the one who computes ends, or hogs."""
        cdef roster_glance glance
        cdef int64_t woken_ns
        cdef verdict found = ONE_COMPUTES
        while found == ONE_COMPUTES:
            self.loop_work(thread)
            roster_step_back(&self.roster, &thread.seat)
            with nogil:
                gate_wait(&thread.seat.gate, STEP_BACK_MS)
                woken_ns = clock_monotonic_ns()
                glance = roster_look(&self.roster)
            roster_arrive(&self.roster, &thread.seat)
            thread.tick()
            found = self.judge(thread, thread.now_ns - woken_ns, glance.calls)
        return found

    cdef int loop_work(self, LoopThread thread) except -1:
        raise NotImplementedError

    cdef int wake_home(self, LoopThread home) except -1:
        """There is something that only this thread may do."""
        if roster_wake(&self.roster, &home.seat) == SEAT_LEADING:
            poller_wake(self.poller)
        return 0

    cdef void wake_leader(self) noexcept:
        poller_wake(self.poller)

    cdef void finish(self) noexcept:
        """The loop has ended: every thread goes as soon as it can."""
        self.finished = True
        roster_wake_all(&self.roster)
        poller_wake(self.poller)
        self.sentinel.ring()
