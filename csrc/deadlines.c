#include "deadlines.h"

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

void deadline_arm_at(struct deadline_queue *q, struct deadline *d, uint64_t at_ms)
{
    deadline_disarm(d);
    d->at_ms = at_ms;
    struct deadline *before = q->ring.prev;
    while (before != &q->ring && before->at_ms > at_ms)
        before = before->prev;
    d->prev = before;
    d->next = before->next;
    before->next->prev = d;
    before->next = d;
}

struct deadline *deadline_pop_expired(struct deadline_queue *q, uint64_t now_ms)
{
    struct deadline *first = q->ring.next;
    if (first == &q->ring || first->at_ms > now_ms)
        return NULL;
    deadline_disarm(first);
    return first;
}

uint64_t deadline_earliest_ms(const struct deadline_queue *q)
{
    return q->ring.next == &q->ring ? UINT64_MAX : q->ring.next->at_ms;
}
