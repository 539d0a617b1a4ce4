"""One turn of the loop: the poller, what it reports, and the deadlines: see polling.pxd."""

import logging

from cpython.ref cimport Py_DECREF
from libc.stdint cimport int64_t, uint32_t, uint64_t

from headrace.engine.accepting cimport ACCEPTS_MAX, AcceptingLoop
from headrace.engine.channel cimport IN_INBOX, IN_RING, NOWHERE, Channel, end_child
from headrace.engine.connection cimport Connection
from headrace.engine.crew cimport MAY_GO_ON, verdict
from headrace.engine.csrc cimport (
    POLLER_BEST, POLLER_EPOLL, POLLER_EVENTS_MAX, POLLER_HANGUP, POLLER_KQUEUE, POLLER_POLL,
    clock_monotonic_ns, score_beat, deadline, deadline_earliest_ms, deadline_pop_expired, deadline_queue,
    deadline_queue_init, full_fence, poller_create, poller_destroy, poller_name, poller_wait, roster_glance,
    roster_lead, roster_look, roster_stop_leading)
from headrace.engine.interpreter cimport FREE_THREADED
from headrace.engine.thread cimport LOOK_AFTER_MS, LoopThread

log = logging.getLogger("headrace")


cdef int raise_what_is_set() except -1:
    """For an error that a function of CPython's has set and returned."""
    return -1


cdef uint64_t TRIM_MS = 2000          # idle this long, a connection gives back what only speeds it up
cdef uint64_t NEVER_MS = <uint64_t>-1
cdef int POLLS_LOCKED_MAX = 16        # of a busy loop before other threads get the interpreter lock
cdef int CLOSED_AT_ONCE_MAX = 32     # idle connections, for new ones
cdef uint64_t LEAST_WAIT_MS = 1       # never wait less: the clock counts whole milliseconds

POLLER_KINDS = {"auto": POLLER_BEST, "epoll": POLLER_EPOLL, "kqueue": POLLER_KQUEUE, "poll": POLLER_POLL}


cdef uint64_t milliseconds(object seconds) except? 0:
    return <uint64_t>(seconds * 1000)


cdef class PollingLoop(AcceptingLoop):

    def __cinit__(self, application, listeners, config, *_, **__):
        self.poller = poller_create(POLLER_KINDS[config.poller])
        if self.poller is NULL:
            raise OSError(f"the poller {config.poller!r} is not to be had on this system")
        self.edges = poller_name(self.poller) != b"poll"
        self.make_deadlines(config)

    def __dealloc__(self):
        if self.poller is not NULL:
            poller_destroy(self.poller)

    # ---- one turn ----

    cdef verdict poll(self, LoopThread thread, int timeout_ms_max) except *:
        """Ask the poller, waiting if there is nothing to do, and look at the clock.

        The caller has taken the lead, which ends when what the poller said has been noted: what comes then may be an
        application call, and another one can lead meanwhile.
        """
        cdef int count = 0, timeout_ms
        cdef int64_t woken_ns = 0
        thread.tick()  # what was served since it was last asked, or a log, may have taken long
        cdef uint64_t asked_ms = thread.now_ms, came_since_ms = self.asked_ms
        # Who waits gets what has just come, if nothing had come before: so that is asked first after a long call.
        cdef bint may_have_come = asked_ms > came_since_ms + LOOK_AFTER_MS
        cdef bint asked = False
        cdef bint busy = self.has_work(thread) or timeout_ms_max == 0 or thread.events_last > 1
        cdef roster_glance glance
        cdef verdict found = MAY_GO_ON
        if (busy or may_have_come) and thread.polls_locked < POLLS_LOCKED_MAX:
            thread.polls_locked += 1
            count = poller_wait(self.poller, thread.events, POLLER_EVENTS_MAX, 0)
            asked = True
            if count == 0:
                came_since_ms = asked_ms
                may_have_come = False
        if count == 0:
            timeout_ms = self.begin_wait(thread, timeout_ms_max)
            if timeout_ms != 0 or not asked or thread.polls_locked == POLLS_LOCKED_MAX:
                thread.polls_locked = 0
                with nogil:
                    count = poller_wait(self.poller, thread.events, POLLER_EVENTS_MAX, timeout_ms)
                    woken_ns = clock_monotonic_ns()
                    if self.size > 1:
                        glance = roster_look(&self.roster)
            self.leader_until_ms = 0
        thread.tick()
        # The interpreter lock may have come late: what the poller said is as old as its answer.
        thread.polled_ms = thread.now_ms if woken_ns == 0 else <uint64_t>woken_ns // 1000000
        if woken_ns != 0 and not may_have_come and thread.polled_ms > asked_ms + LOOK_AFTER_MS:
            came_since_ms = thread.polled_ms
        thread.came_since_ms = came_since_ms
        thread.events_last = count
        if self.slot is not None:
            score_beat(self.slot.slot, thread.now_ms)
        if woken_ns != 0 and self.size > 1 and thread.may_run:
            found = self.judge(thread, thread.now_ns - woken_ns, glance.calls)
        try:
            self.take_events(thread, count)
            self.note_asked(thread, count)
        finally:
            if self.size > 1:
                roster_stop_leading(&self.roster, &thread.seat)
        if PyErr_CheckSignals():
            self.handler_raised()
        if count < 0:
            raise OSError("the poller failed")
        self.expire(thread)
        if self.beat is not None and thread.now_ms >= self.beat_at_ms:
            self.do_beat(thread)
        self.begin_turn()
        self.look_after_stop(thread)
        return found

    cdef int handler_raised(self) except -1:
        """Outside of any call: an application's handler that raises, a moment too late say, must not end the server."""
        try:
            raise_what_is_set()
        except Exception:
            if self.handlers_leave:
                raise
            log.exception("HR411 the handler of a signal has raised, outside of any call of the application")
        return 0

    cdef int begin_wait(self, LoopThread thread, int timeout_ms_max) noexcept:
        """How long to wait in the poller.  Who has something for this thread from here on sees that it waits; what came
        before is seen here, even if the wake-up for it has been used up."""
        cdef int timeout_ms = 0
        self.leader_until_ms = NEVER_MS
        if FREE_THREADED:
            full_fence()
        if timeout_ms_max and not self.finished and not self.has_work(thread):
            timeout_ms = min(self.wait_ms(thread), timeout_ms_max)
        self.leader_until_ms = thread.now_ms + <uint64_t>timeout_ms
        return timeout_ms

    cdef void note_asked(self, LoopThread thread, int count) noexcept:
        """All that the poller knew has been noted, unless it knew more than there was room for."""
        self.more_events = count >= POLLER_EVENTS_MAX - 1  # one may have been a wake-up
        if count >= 0 and not self.more_events:
            self.asked_ms = thread.polled_ms

    cdef bint knows_events(self, LoopThread thread) except -1:
        """Has everything been noted that the poller knew LOOK_AFTER_MS ago?  It is asked again if need be.

        Listeners and the bell are left for the next turn, for they are reported again as long as there is something.
        """
        cdef int count, i
        if thread.now_ms <= self.asked_ms + LOOK_AFTER_MS:
            return True
        if self.size > 1 and not roster_lead(&self.roster, &thread.seat):
            return False
        count = poller_wait(self.poller, thread.events, POLLER_EVENTS_MAX, 0)
        thread.came_since_ms = self.asked_ms
        thread.polled_ms = thread.now_ms
        for i in range(count):
            if thread.events[i].tag >> 32 != 0:
                self.take_event(thread, thread.events[i].tag, thread.events[i].flags)
            elif thread.events[i].tag != BELL_TAG:
                self.acceptor.leave(thread.events[i].tag)
        self.note_asked(thread, count)
        if self.size > 1:
            roster_stop_leading(&self.roster, &thread.seat)
        return not self.more_events

    cdef int take_events(self, LoopThread thread, int count) except -1:
        cdef int i
        cdef uint64_t tag
        for i in range(count):
            tag = thread.events[i].tag
            if tag >> 32 != 0:
                self.take_event(thread, tag, thread.events[i].flags)
            elif tag == BELL_TAG:
                if self.size == 1 or thread is self.spare:
                    self.answer_bell()  # else the spare, who has left the poller just now, hears it
            else:
                self.accept(thread, <size_t>tag, ACCEPTS_MAX)
        return 0

    cdef int take_event(self, LoopThread thread, uint64_t tag, uint32_t flags) except -1:
        cdef Connection connection
        self.lock()
        connection = <Connection>self.connections.tagged(tag)
        if connection is None:
            pass
        elif connection.thread is not None:
            connection.pending |= flags | ANYTHING
            connection.pending_ms = thread.polled_ms
            connection.pending_since_ms = thread.came_since_ms
        else:
            connection.readable = True
            if flags & POLLER_HANGUP:
                connection.hung_up = True
            if connection.expired is not NULL and connection.expired is not &self.queue_deadlines:
                connection.passed = connection.expired  # after what has come
                connection.expired = NULL
            if connection.queued == NOWHERE:
                connection.arrived_ms = thread.polled_ms
                connection.came_since_ms = thread.came_since_ms
                self.append(&self.ring, connection, IN_RING)
        self.unlock()
        return 0

    cdef int guarded(self, Connection connection, int what, deadline_queue *queue) except -1:
        """Nothing that happens to one connection ends the loop."""
        try:
            if what == ON_READY:
                connection.on_ready()
            elif what == ON_DEADLINE:
                connection.on_deadline(queue)
            else:
                connection.close()
        except BaseException as error:
            if self.forked:
                end_child(error)
            log.critical("HR404 a connection failed inside the server; it is closed", exc_info=True)
            try:
                connection.close()
            except BaseException:
                log.critical("HR405 ... and could not be closed as it should be", exc_info=True)
        return 0

    cdef int guarded_deadline(self, Channel channel, deadline_queue *queue) except -1:
        return self.guarded(<Connection>channel, ON_DEADLINE, queue)

    cdef int guarded_cut(self, Channel channel) except -1:
        return self.guarded(<Connection>channel, ON_CUT, NULL)

    cdef int answer_bell(self) except -1:
        raise NotImplementedError

    cdef int look_after_stop(self, LoopThread thread) except -1:
        raise NotImplementedError

    # ---- deadlines ----

    cdef int make_deadlines(self, config) except -1:
        cdef uint64_t idle_ms = milliseconds(config.keep_alive)
        cdef uint64_t trim_ms = min(TRIM_MS, idle_ms // 2)
        deadline_queue_init(&self.trim_deadlines, trim_ms)
        deadline_queue_init(&self.idle_deadlines, idle_ms - trim_ms)
        deadline_queue_init(&self.head_deadlines, milliseconds(config.head_timeout))
        deadline_queue_init(&self.body_deadlines, milliseconds(config.body_timeout))
        deadline_queue_init(&self.queue_deadlines, self.queue_deadline_ms)
        deadline_queue_init(&self.write_deadlines, milliseconds(config.write_timeout))
        deadline_queue_init(&self.linger_deadlines, milliseconds(config.linger_timeout))
        self.earliest_ms = NEVER_MS
        self.queues[0] = &self.trim_deadlines
        self.queues[1] = &self.idle_deadlines
        self.queues[2] = &self.head_deadlines
        self.queues[3] = &self.body_deadlines
        self.queues[4] = &self.queue_deadlines
        self.queues[5] = &self.write_deadlines
        self.queues[6] = &self.linger_deadlines
        return 0

    cdef int expire(self, LoopThread thread) except -1:
        """By the time of the last look at the sockets: what came during a long application call is still unread."""
        cdef int kind
        if thread.polled_ms >= self.earliest_ms:
            for kind in range(DEADLINE_KINDS):
                while self.expire_one(thread, self.queues[kind], thread.polled_ms):
                    pass
            self.find_earliest()
        if (self.acceptor.again_ms and thread.now_ms >= self.acceptor.again_ms and not self.stop_begun
                and not self.holds_back):
            self.watch_listeners()
        return 0

    cdef bint expire_one(self, LoopThread thread, deadline_queue *queue, uint64_t by_ms) except -1:
        """Into the ring with it: what is done then may be a call of the application."""
        cdef Connection connection = None
        cdef deadline *passed
        cdef bint dequeued = False
        self.lock()
        passed = deadline_pop_expired(queue, by_ms)
        if passed is not NULL:
            connection = <Connection>passed.owner
            if connection.thread is not None or connection.queued == IN_RING or connection.queued == IN_INBOX:
                connection.passed = queue  # what it waits for may be here: after that
            else:
                dequeued = connection.queued != NOWHERE
                if dequeued:
                    self.remove(connection)
                connection.expired = queue
                self.append(&self.ring, connection, IN_RING)
        self.unlock()
        if dequeued:
            Py_DECREF(connection)
        return connection is not None

    cdef int make_room(self, LoopThread thread) except -1:
        """The oldest idle connections close, so that new clients get in: some at once, as nginx does.

        They are served first what they may have sent meanwhile, as at the deadline that has not passed yet.
        """
        cdef int closing = 0, at_most = max(1, min(CLOSED_AT_ONCE_MAX, self.connections_max // 8))
        while closing < at_most and self.expire_one(thread, &self.idle_deadlines, NEVER_MS):
            closing += 1
        if closing == 0:
            return self.tell_full(thread)
        self.begin_turn()
        return 0

    cdef int do_beat(self, LoopThread thread) except -1:
        """From the loop's own turn: nobody hears of a loop that has stopped to turn."""
        self.beat_at_ms = thread.now_ms + self.beat_every_ms
        try:
            self.beat()
        except Exception:
            log.exception("HR410 What was to be called every %d ms failed", self.beat_every_ms)
        return 0

    cdef void find_earliest(self) noexcept:
        cdef uint64_t earliest_ms = NEVER_MS
        cdef int kind
        self.lock()
        for kind in range(DEADLINE_KINDS):
            earliest_ms = min(earliest_ms, deadline_earliest_ms(self.queues[kind]))
        self.earliest_ms = earliest_ms
        self.unlock()

    cdef int wait_ms(self, LoopThread thread) noexcept:
        """How long the poller may wait: until the next deadline."""
        cdef uint64_t wait = min(until(self.earliest_ms, thread), <uint64_t>WAIT_MS_MAX)
        if self.acceptor.again_ms and not self.holds_back:
            wait = min(wait, until(self.acceptor.again_ms, thread))
        if self.beat is not None:
            wait = min(wait, until(self.beat_at_ms, thread))
        if self.stopping:
            wait = min(wait, until(self.next_step_ms if self.retiring else self.stop_at_ms, thread))
        elif self.stop_asked:
            return 0
        elif self.draining:
            wait = min(wait, until(self.next_step_ms, thread))
        return <int>max(wait, LEAST_WAIT_MS)


cdef uint64_t until(uint64_t at_ms, LoopThread thread) noexcept:
    return at_ms - thread.now_ms if at_ms > thread.now_ms else 0
