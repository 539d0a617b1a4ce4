# The threads that run one loop, and what they take in turn: who goes on when one of them blocks?
#
# The same loop runs in every thread.  Who has received a request also runs it and answers it, and goes on with the next
# one without giving up the interpreter lock; only who has nothing left to do waits in the poller (the leader) or sleeps
# (parked).  Before an application call somebody must be able to go on in case it blocks:
#
#   - When calls have lately blocked, a parked thread is woken at once.  It waits for the interpreter lock (on deck),
#     and if the application blocks, that is if it gives the lock up, goes on at that very moment.
#   - Otherwise nobody is woken, for quick calls would pay for it.  The sentinel looks once a millisecond whether a call
#     is still the one of the look before, and wakes somebody then.
#
# Blocked, or merely preempted?  Every switch interval (5 ms) the interpreter makes a thread that computes give up the
# lock.  A thread that has waited for less than that got it because somebody blocked: it may run the application, and
# for EAGER_MS from then on threads are woken at once.  One that has waited longer has preempted somebody who computes;
# running one more computation beside it would only make both slow.  If calls were begun meanwhile, the others are doing
# well, and it parks again.  If not, it steps back: it receives, refuses and sends what there is, without beginning
# calls, and hands the lock back, until no call has begun for HOG_MS.  From then on a long computation has to share.
#
# Without an interpreter lock a thread that is woken runs at once.  It is woken when what is waiting would take others
# longer than waking takes.
#
# Lock: lock() (channel.pxd) for the queues; roles are the roster's (csrc/roster.h).
# Errors: as in loop.pxd.

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from headrace.engine.channel cimport Channel, LoopBase, queue_place
from headrace.engine.csrc cimport deadline_queue, roster
from headrace.engine.sentinel cimport Sentinel
from headrace.engine.thread cimport LoopThread, channel_queue

cdef enum verdict:
    MAY_GO_ON
    OTHERS_PROGRESS    # they begin and end calls: not needed here
    ONE_COMPUTES       # a single call has the lock, and has not had it for long


cdef class Crew(LoopBase):
    cdef list threads                # LoopThread of each that runs the application
    cdef int size                    # of threads
    cdef LoopThread spare            # the thread that called run(), when there are several; else None
    cdef volatile bint spare_leads
    cdef roster roster
    cdef Sentinel sentinel
    cdef channel_queue ring          # connections with something to do
    cdef channel_queue waiting       # complete requests that wait for a thread
    cdef int turn_left               # connections to take before the poller is asked again
    cdef bint poll_due               # with a queue deadline the poller is asked before each call
    cdef bint more_events            # it had more to say than there was room for
    cdef volatile uint64_t eager_until_ms
    cdef volatile bint watchdog_sleeps  # until a call begins
    cdef volatile bint finished      # the loop has ended: threads go as soon as they can
    cdef volatile bint ended         # and what a thread lets go of then, that was left inside a call, is closed
    cdef int64_t switch_ns           # the interpreter's switch interval

    cdef int enlist(self, LoopThread thread) except -1

    # the queues: under lock().  A queue owns a reference to what is in it; who takes it out drops that one later, for
    # under the lock nothing may wait for another thread.
    cdef void append(self, channel_queue *queue, Channel channel, queue_place place) noexcept
    cdef channel_queue *queue_of(self, Channel channel) noexcept
    cdef void remove(self, Channel channel) noexcept
    cdef PyObject *take(self, channel_queue *queue, bint newest, LoopThread thread) noexcept
    cdef void begin_turn(self) noexcept
    # ... and these take it
    cdef Channel take_next(self, LoopThread thread)
    cdef bint has_work(self, LoopThread thread) noexcept
    cdef int release(self, Channel channel) except -1
    cdef int guarded_deadline(self, Channel channel, deadline_queue *queue) except -1
    cdef int guarded_cut(self, Channel channel) except -1

    # application calls
    cdef int watch_alone(self) except -1
    cdef void wake_watchdog(self) noexcept
    cdef int expect_a_block(self, LoopThread thread) except -1
    cdef int send_unsent(self) except -1

    # who goes on
    cdef int park(self, LoopThread thread) except -1
    cdef verdict judge(self, LoopThread thread, int64_t waited_ns, uint64_t calls_before) noexcept
    cdef verdict step_back(self, LoopThread thread) except *
    cdef int loop_work(self, LoopThread thread) except -1
    cdef int wake_home(self, LoopThread home) except -1
    cdef void finish(self) noexcept
