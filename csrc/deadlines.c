#include "deadlines.h"

#include <assert.h>
#include <stddef.h>

void deadline_queue_init(struct deadline_queue *q, uint64_t duration_ms)
{
    q->ring = (struct deadline){.prev = &q->ring, .next = &q->ring, .at_ms = 0, .owner = NULL};
    q->duration_ms = duration_ms;
}

void deadline_init(struct deadline *d, void *owner)
{
    *d = (struct deadline){.prev = NULL, .next = NULL, .at_ms = 0, .owner = owner};
}

bool deadline_is_armed(const struct deadline *d)
{
    return d->next != NULL;
}

void deadline_disarm(struct deadline *d)
{
    if (!deadline_is_armed(d))
        return;
    d->prev->next = d->next;
    d->next->prev = d->prev;
    d->prev = d->next = NULL;
}

void deadline_arm(struct deadline_queue *q, struct deadline *d, uint64_t now_ms)
{
    deadline_disarm(d);
    /* saturate: a duration of UINT64_MAX is "never" */
    d->at_ms = now_ms > UINT64_MAX - q->duration_ms ? UINT64_MAX : now_ms + q->duration_ms;
    struct deadline *last = q->ring.prev;
    assert(last == &q->ring || last->at_ms <= d->at_ms);
    d->prev = last;
    d->next = &q->ring;
    last->next = d;
    q->ring.prev = d;
}

struct deadline *deadline_pop_expired(struct deadline_queue *q, uint64_t now_ms)
{
    struct deadline *first = q->ring.next;
    if (first == &q->ring || first->at_ms > now_ms)
        return NULL;
    deadline_disarm(first);
    return first;
}

uint64_t deadline_wait_ms(const struct deadline_queue *q, uint64_t now_ms)
{
    const struct deadline *first = q->ring.next;
    if (first == &q->ring)
        return UINT64_MAX;
    return first->at_ms > now_ms ? first->at_ms - now_ms : 0;
}
