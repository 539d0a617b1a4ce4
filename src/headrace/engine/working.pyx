"""What each thread of the crew does, and the spare beside them: see working.pxd."""

import logging
import threading

from libc.stdint cimport uint64_t

from headrace.engine.accepting cimport LOOK_EVERY_MS
from headrace.engine.channel cimport Channel, end_child
from headrace.engine.connection cimport Connection
from headrace.engine.crew cimport ONE_COMPUTES, OTHERS_PROGRESS, verdict
from headrace.engine.csrc cimport (
    clock_monotonic_ms, deadline_queue, poller, poller_add_listener, poller_destroy, poller_remove, poller_wake,
    roster_lead, roster_parked, roster_wake_one, score_beat)
from headrace.engine.interpreter cimport FREE_THREADED
from headrace.engine.polling cimport BELL_TAG, ON_DEADLINE, ON_READY, WAIT_MS_MAX, PyErr_CheckSignals
from headrace.engine.sentinel cimport FOUND_BELL, FOUND_BROKEN, FOUND_FULL_HOUSE, FOUND_UNSENT, finding
from headrace.engine.thread cimport LoopThread
from headrace.engine.watching cimport WatchingLoop

log = logging.getLogger("headrace")

cdef int UNSENT_WAIT_MS = 5           # of the spare in the poller while answers wait behind calls
cdef int HELD_BACK_WAIT_MS = 100      # ... while another worker accepts: until it is looked whether it still does
cdef uint64_t CUT_PATIENCE_MS = 100   # for threads to end after a cut
cdef double JOIN_S = 0.05


cdef class WorkingLoop(WatchingLoop):

    def __cinit__(self, *_, **__):
        self.thread_idents = set()

    # ---- a thread of the crew ----

    cdef int work(self, LoopThread thread) except -1:
        """What every thread does: serve what is ready, else look for more."""
        cdef Channel channel
        thread.ident = threading.get_ident()
        if thread.row is not NULL:
            thread.row.thread_id = threading.get_native_id()
        thread.tick()
        thread.polled_ms = thread.now_ms
        while True:
            if self.stop_asked and (self.cut_asked or thread.now_ms >= self.stop_at_ms):
                self.end()  # what still waits is not begun any more
            channel = self.take_next(thread)
            if channel is not None:
                if FREE_THREADED:
                    thread.tick()  # it may have been put there by a thread that has looked at its clock since
                self.serve(<Connection>channel)
            elif self.finished:
                thread.has_ended = True
                return 0
            else:
                self.find_work(thread)

    cdef int serve(self, Connection connection) except -1:
        cdef deadline_queue *expired = connection.expired
        connection.expired = NULL
        if self.forked:
            end_child(RuntimeError("a forked child was about to serve its parent's clients"))
        self.guarded(connection, ON_READY if expired is NULL else ON_DEADLINE, expired)
        return self.release(connection)

    cdef int find_work(self, LoopThread thread) except -1:
        cdef verdict found
        if self.stopping:
            self.look_after_stop(thread)  # what was served just now may have been the last
            if self.finished:
                return 0
        if self.size > 1 and not roster_lead(&self.roster, &thread.seat):
            if self.has_work(thread):
                # Somebody else asks the poller, and may wait for the interpreter lock, which is held here.
                self.begin_turn()
                self.poll_due = False
                return 0
            return self.park(thread)
        found = self.poll(thread, <int>WAIT_MS_MAX)
        if found == ONE_COMPUTES:
            found = self.step_back(thread)
        if found == OTHERS_PROGRESS:
            return self.park(thread)
        return 0

    cdef int loop_work(self, LoopThread thread) except -1:
        cdef bint may_run = thread.may_run
        if roster_lead(&self.roster, &thread.seat):
            thread.may_run = False
            try:
                self.poll(thread, 0)
            finally:
                thread.may_run = may_run
        return self.serve_without_calls(thread)

    cdef int serve_without_calls(self, LoopThread thread) except -1:
        """What is in the ring, as far as it goes: complete requests wait."""
        cdef bint may_run = thread.may_run
        cdef Channel channel
        thread.may_run = False
        try:
            channel = self.take_next(thread)
            while channel is not None:
                self.serve(<Connection>channel)
                channel = self.take_next(thread)
        finally:
            thread.may_run = may_run
        return 0

    def end_threads(self):
        """What is kept for the next request goes, so that nothing is left in cycles."""
        cdef LoopThread thread
        self.stop_lone_sentinel()
        cdef Channel channel
        for item in self.threads:
            thread = <LoopThread>item
            if thread.has_ended:
                channel = self.take_next(thread)  # of its inbox: it had ended before these came
                while channel is not None:
                    self.serve(<Connection>channel)
                    channel = self.take_next(thread)
                thread.retire()
        if self.spare is not None:
            self.spare.retire()
        self.lock()  # who rings from elsewhere, in wake(), rings an open bell or none
        bell = self.sentinel.take_bell()
        self.unlock()
        for end in bell:
            end.close()

    cdef int close_poller(self) except -1:
        """Its descriptors do not wait for the collector, unless a thread has been left behind, who may yet use it."""
        cdef poller *ended
        for item in self.threads:
            if self.size > 1 and not (<LoopThread>item).has_ended:
                return 0
        self.lock()
        ended = self.poller
        self.poller = NULL
        self.unlock()
        if ended is not NULL:
            poller_destroy(ended)
        return 0

    # ---- the crew, and the spare beside it ----

    cdef LoopThread make_thread(self, bint may_run):
        raise NotImplementedError

    cdef int run_crew(self) except -1:
        """This thread is the spare.  The others start here, and have ended when it returns, or are inside calls."""
        cdef list started = []
        self.start_crew(started)
        try:
            self.watch_crew(started)
        finally:
            self.stop_begun = self.stopping = True
            self.unwatch_listeners()
            self.cut_all(self.spare)  # while there are threads to call close() where it belongs
            self.stop_watching()
            self.finish()
            self.wait_for_crew(started)
        return 0

    cdef int start_crew(self, list started) except -1:
        for number in range(len(self.threads)):
            thread = threading.Thread(target=self.work_as, args=(number,), name=f"headrace-{number + 1}", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                if not started:
                    raise
                log.warning("HR401 the system gives %d threads instead of %d: %s", len(started), self.size, error)
                break
            started.append(thread)
        return 0

    cdef int wait_for_crew(self, list started) except -1:
        """A thread inside a call that does not end is left behind: nobody can end it but the process."""
        cdef uint64_t patient_until_ms = clock_monotonic_ms() + CUT_PATIENCE_MS
        for thread in started:
            while thread.is_alive():
                thread.join(JOIN_S)  # in slices, for a second stop may come meanwhile
                if self.slot is not None:
                    score_beat(self.slot.slot, clock_monotonic_ms())
                if clock_monotonic_ms() >= max(patient_until_ms, 0 if self.cut_asked else self.stop_at_ms):
                    break
        return 0

    def work_as(self, int number):
        self.thread_idents.add(threading.get_ident())
        try:
            self.work(self.threads[number])
        except BaseException as error:
            if self.forked:
                end_child(error)
            log.critical("HR403 a thread of the server has failed", exc_info=True)
            self.ask_to_stop(False)
        finally:
            self.thread_idents.discard(threading.get_ident())

    cdef bint grow(self, list started) except -1:
        """All are inside the application: one more thread, where the crew did not begin with as many as it may have.

        By the spare alone, who also asks the roster; others only glance at it.
        """
        cdef int number = len(self.threads)
        if number >= self.size or len(started) < number or self.over:
            return False
        self.enlist(self.make_thread(True))
        thread = threading.Thread(target=self.work_as, args=(number,), name=f"headrace-{number + 1}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            log.warning("HR401 the system gives %d threads instead of %d: %s", number, self.size, error)
            return False
        started.append(thread)
        return True

    cdef int watch_crew(self, list started) except -1:
        """The spare: signals, and what the sentinel finds."""
        cdef finding found
        self.answer_bell()  # it may have rung before there was one
        while not self.over:
            with nogil:
                found = self.sentinel.look()
            if found == FOUND_BELL:
                self.answer_bell()
            elif found == FOUND_UNSENT:
                self.send_unsent()
            elif found == FOUND_FULL_HOUSE:
                if not self.grow(started):
                    self.lead_full_house()
            elif found == FOUND_BROKEN:
                raise OSError("descriptors of the server's own have been closed, by the application it seems")
            else:
                self.sentinel.sleep()
        return 0

    cdef int answer_bell(self) except -1:
        self.sentinel.silence()
        if PyErr_CheckSignals():
            self.handler_raised()
        if self.stop_asked and (self.cut_asked or clock_monotonic_ms() >= self.stop_at_ms):
            self.over = True
        return 0

    cdef int lead_full_house(self) except -1:
        """Every thread is inside the application: somebody has to receive, refuse, send on and keep the deadlines."""
        cdef LoopThread spare = self.spare
        self.spare_leads = True
        try:
            poller_add_listener(self.poller, self.sentinel.bell_fd, BELL_TAG)
            self.hold_back(spare)
            while not self.over and not roster_parked(&self.roster) and roster_lead(&self.roster, &spare.seat):
                self.poll(spare, self.spares_patience_ms())
                self.serve_without_calls(spare)
                self.look_for_others(spare)
                self.look_after_stop(spare)
                if self.sentinel.finds_unsent():
                    self.send_unsent()
        finally:
            poller_remove(self.poller, self.sentinel.bell_fd)
            self.spare_leads = False
            self.stop_holding_back()
        roster_wake_one(&self.roster)  # who was free meanwhile takes over
        return 0

    cdef int spares_patience_ms(self) noexcept:
        if self.anybody_has_unsent():
            return UNSENT_WAIT_MS
        if self.holds_back:
            return <int>LOOK_EVERY_MS if self.left_since_ms else HELD_BACK_WAIT_MS
        return <int>WAIT_MS_MAX

    cdef bint anybody_has_unsent(self) noexcept:
        for thread in self.threads:
            if (<LoopThread>thread).unsent is not None:
                return True
        return False

    # ---- the sentinel of a single thread ----

    cdef int watch_alone(self) except -1:
        """Answers wait behind a call, and there is no spare that could look after them."""
        if self.lone_sentinel is not None:
            if self.sentinel.asleep:
                self.sentinel.ring()
            return 0
        if self.sentinel_refused:
            return 0
        thread = threading.Thread(target=self.look_after_unsent, name="headrace-sentinel", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system gives no more threads: answers may wait for the call behind them
            self.sentinel_refused = True
            log.warning("HR402 no thread to watch over pipelined answers: %s", error)
            return 0
        self.lone_sentinel = thread
        return 0

    def look_after_unsent(self):
        cdef finding found
        while not self.finished:
            with nogil:
                found = self.sentinel.look()
            if found == FOUND_UNSENT:
                self.send_unsent()
            elif found == FOUND_BELL:
                self.sentinel.silence()
                poller_wake(self.poller)  # it may have rung for a signal, which the thread in the poller has to hear of
            elif found == FOUND_BROKEN:
                return
            elif not self.finished:
                self.sentinel.sleep()

    def stop_lone_sentinel(self):
        if self.lone_sentinel is not None and not self.forked:
            self.sentinel.ring()
            self.lone_sentinel.join()
            self.lone_sentinel = None
