/* deadlines.h - who has waited too long?
 *
 * What: one queue for each kind of wait.  All waits of a kind last equally long, so the queue is in order when
 *       new deadlines go to its end: arming, disarming and expiry are O(1), with no heap and no allocation.
 * Owner: a struct deadline is embedded in (and owned by) what waits; `owner` points back at it.  A deadline is in
 *       one queue at most; arming it again moves it.
 * Lock: the loop's.  On error: nothing can fail.
 */
#ifndef HEADRACE_DEADLINES_H
#define HEADRACE_DEADLINES_H

#include <stdbool.h>
#include <stdint.h>

struct deadline {
    struct deadline *prev, *next; /* NULL, NULL when not armed */
    uint64_t at_ms;               /* monotonic */
    void *owner;                  /* borrowed */
};

struct deadline_queue {
    struct deadline ring; /* sentinel: ring.next is the earliest */
    uint64_t duration_ms;
};

void deadline_queue_init(struct deadline_queue *q, uint64_t duration_ms);
void deadline_init(struct deadline *d, void *owner);
bool deadline_is_armed(const struct deadline *d);
/* It goes in front of those that end later, counted from the end: threads whose clocks were read at slightly different
 * moments, and waits that began earlier than now, cost a step or two. */
void deadline_arm_at(struct deadline_queue *q, struct deadline *d, uint64_t at_ms);
void deadline_disarm(struct deadline *d); /* no-op when not armed */
/* The earliest deadline, disarmed, when it has passed; else NULL. */
struct deadline *deadline_pop_expired(struct deadline_queue *q, uint64_t now_ms);
/* When the earliest expires, UINT64_MAX when the queue is empty. */
uint64_t deadline_earliest_ms(const struct deadline_queue *q);

#endif
