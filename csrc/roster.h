/* roster.h - which of a crew's threads goes on when one of them blocks in the application?
 *
 * What: every thread has a seat with a role.  RUNNING: it serves, or is inside the application.  LEADING: it waits in
 *       the poller, one at a time.  PARKED: it sleeps at its gate.  ON_DECK: it was woken so that somebody goes on if
 *       the thread that is running blocks, and waits for the interpreter lock; one at a time.
 *       Beside its role a seat says whether its thread is inside the application and how many calls it has made; the
 *       thread alone writes that, and a sentinel adds it up without any lock.
 * Owner: seats belong to their threads' objects and outlive the roster's use of them.
 * Lock: the roster's own mutex, held for a few instructions; no call waits but gate_wait, which is the caller's.
 * On error: roster_init says false when there is no memory or no mutex.
 */
#ifndef HEADRACE_ROSTER_H
#define HEADRACE_ROSTER_H

#include "sync.h"

enum seat_role { SEAT_RUNNING, SEAT_LEADING, SEAT_PARKED, SEAT_ON_DECK };

struct seat {
    struct gate gate;
    struct seat *next_parked;
    enum seat_role role; /* the mutex's */
    uint64_t calls;      /* of the application, begun */
    uint64_t began_ms;   /* the last of them */
    bool is_inside;
    bool has_unsent; /* answers wait behind the call that goes on */
};

struct roster {
    struct mutex mutex;
    struct seat **seats; /* those that may run the application */
    int count, cap;
    struct seat *parked; /* the last to park is the first to be woken: its caches are warm */
    int parked_count;
    bool is_led;      /* one of them leads */
    bool has_on_deck; /* one of them is on deck */
};

bool roster_init(struct roster *r, int seats_max);
void roster_destroy(struct roster *r);
bool seat_init(struct seat *s);
void seat_destroy(struct seat *s);
void roster_add(struct roster *r, struct seat *s);

/* To the poller. false: another one leads already. */
bool roster_lead(struct roster *r, struct seat *s);
void roster_stop_leading(struct roster *r, struct seat *s);

/* Go to sleep: park, look once more whether there is something to do, then gate_wait; roster_arrive when awake. */
void roster_park(struct roster *r, struct seat *s);
/* Stay awake after all.  false: it has been woken already and its gate is open. */
bool roster_unpark(struct roster *r, struct seat *s);
/* Was it woken to be on deck?  Runs from here on. */
bool roster_arrive(struct roster *r, struct seat *s);
/* From a step back (it was running): on deck again, if nobody else is. */
void roster_step_back(struct roster *r, struct seat *s);

/* Put a parked thread on deck. false: nobody is parked, or somebody is on deck already. */
bool roster_wake_one(struct roster *r);
/* Wake this one because there is something that only it can do. The role that it was found in. */
enum seat_role roster_wake(struct roster *r, struct seat *s);
void roster_wake_all(struct roster *r);

static inline void seat_enter(struct seat *s, uint64_t now_ms)
{
    __atomic_store_n(&s->calls, s->calls + 1, __ATOMIC_RELAXED);
    __atomic_store_n(&s->began_ms, now_ms, __ATOMIC_RELAXED);
    __atomic_store_n(&s->is_inside, true, __ATOMIC_RELEASE);
}

static inline void seat_leave(struct seat *s)
{
    __atomic_store_n(&s->is_inside, false, __ATOMIC_RELEASE);
    __atomic_store_n(&s->has_unsent, false, __ATOMIC_RELEASE);
}

static inline void seat_has_unsent(struct seat *s)
{
    __atomic_store_n(&s->has_unsent, true, __ATOMIC_RELEASE);
}

static inline bool seat_is_inside(const struct seat *s)
{
    return __atomic_load_n(&s->is_inside, __ATOMIC_ACQUIRE);
}

static inline bool seat_is_waiting_on_unsent(const struct seat *s)
{
    return seat_is_inside(s) && __atomic_load_n(&s->has_unsent, __ATOMIC_ACQUIRE);
}

static inline uint64_t seat_calls(const struct seat *s)
{
    return __atomic_load_n(&s->calls, __ATOMIC_ACQUIRE);
}

/* What a glance without the mutex shows; by the time it is used it may be otherwise. */
static inline bool roster_is_led(const struct roster *r)
{
    return __atomic_load_n(&r->is_led, __ATOMIC_RELAXED);
}

static inline bool roster_has_on_deck(const struct roster *r)
{
    return __atomic_load_n(&r->has_on_deck, __ATOMIC_RELAXED);
}

static inline int roster_parked(const struct roster *r)
{
    return __atomic_load_n(&r->parked_count, __ATOMIC_RELAXED);
}

struct roster_glance {
    uint64_t calls;    /* begun by all of them */
    int inside;        /* calls that are going on */
    uint64_t began_ms; /* the youngest of those; 0 when there is none */
};

struct roster_glance roster_look(const struct roster *r);

#endif
