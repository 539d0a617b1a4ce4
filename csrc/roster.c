#include "roster.h"

#include <stdlib.h>
#include <string.h>

bool roster_init(struct roster *r, int seats_max)
{
    memset(r, 0, sizeof(*r));
    r->seats = calloc((size_t)seats_max, sizeof(struct seat *));
    if (r->seats == NULL)
        return false;
    r->cap = seats_max;
    if (!mutex_init(&r->mutex)) {
        free(r->seats);
        r->seats = NULL;
        return false;
    }
    return true;
}

void roster_destroy(struct roster *r)
{
    if (r->seats == NULL)
        return;
    mutex_destroy(&r->mutex);
    free(r->seats);
    r->seats = NULL;
}

bool seat_init(struct seat *s)
{
    memset(s, 0, sizeof(*s));
    return gate_init(&s->gate);
}

void seat_destroy(struct seat *s)
{
    gate_destroy(&s->gate);
}

void roster_add(struct roster *r, struct seat *s)
{
    int count = r->count;
    if (count == r->cap)
        return;
    r->seats[count] = s;
    __atomic_store_n(&r->count, count + 1, __ATOMIC_RELEASE); /* others may be glancing at those before it */
}

static void set_led(struct roster *r, bool is_led)
{
    __atomic_store_n(&r->is_led, is_led, __ATOMIC_RELAXED);
}

static void set_on_deck(struct roster *r, bool has)
{
    __atomic_store_n(&r->has_on_deck, has, __ATOMIC_RELAXED);
}

static void set_parked_count(struct roster *r, int count)
{
    __atomic_store_n(&r->parked_count, count, __ATOMIC_RELAXED);
}

/* ---- under the mutex ---- */

static bool take_out(struct roster *r, struct seat *s)
{
    for (struct seat **at = &r->parked; *at != NULL; at = &(*at)->next_parked) {
        if (*at == s) {
            *at = s->next_parked;
            s->next_parked = NULL;
            set_parked_count(r, r->parked_count - 1);
            return true;
        }
    }
    return false;
}

/* ---- the way to the poller ---- */

bool roster_lead(struct roster *r, struct seat *s)
{
    mutex_lock(&r->mutex);
    bool free_place = !r->is_led;
    if (free_place) {
        set_led(r, true);
        s->role = SEAT_LEADING;
    }
    mutex_unlock(&r->mutex);
    return free_place;
}

void roster_stop_leading(struct roster *r, struct seat *s)
{
    mutex_lock(&r->mutex);
    set_led(r, false);
    s->role = SEAT_RUNNING;
    mutex_unlock(&r->mutex);
}

/* ---- sleeping and waking ---- */

void roster_park(struct roster *r, struct seat *s)
{
    mutex_lock(&r->mutex);
    s->role = SEAT_PARKED;
    s->next_parked = r->parked;
    r->parked = s;
    set_parked_count(r, r->parked_count + 1);
    mutex_unlock(&r->mutex);
}

bool roster_unpark(struct roster *r, struct seat *s)
{
    mutex_lock(&r->mutex);
    bool was_parked = take_out(r, s);
    if (was_parked)
        s->role = SEAT_RUNNING;
    mutex_unlock(&r->mutex);
    return was_parked;
}

bool roster_arrive(struct roster *r, struct seat *s)
{
    mutex_lock(&r->mutex);
    bool was_on_deck = s->role == SEAT_ON_DECK;
    if (was_on_deck)
        set_on_deck(r, false);
    s->role = SEAT_RUNNING;
    mutex_unlock(&r->mutex);
    return was_on_deck;
}

void roster_step_back(struct roster *r, struct seat *s)
{
    mutex_lock(&r->mutex);
    if (!r->has_on_deck) {
        set_on_deck(r, true);
        s->role = SEAT_ON_DECK;
    }
    mutex_unlock(&r->mutex);
}

bool roster_wake_one(struct roster *r)
{
    mutex_lock(&r->mutex);
    struct seat *s = r->has_on_deck ? NULL : r->parked;
    if (s != NULL) {
        take_out(r, s);
        s->role = SEAT_ON_DECK;
        set_on_deck(r, true);
    }
    mutex_unlock(&r->mutex);
    if (s != NULL)
        gate_open(&s->gate);
    return s != NULL;
}

enum seat_role roster_wake(struct roster *r, struct seat *s)
{
    mutex_lock(&r->mutex);
    enum seat_role found = s->role;
    if (take_out(r, s))
        s->role = SEAT_RUNNING;
    mutex_unlock(&r->mutex);
    if (found == SEAT_PARKED)
        gate_open(&s->gate);
    return found;
}

void roster_wake_all(struct roster *r)
{
    for (int i = 0; i < r->count; i++)
        roster_wake(r, r->seats[i]);
}

/* ---- a glance ---- */

struct roster_glance roster_look(const struct roster *r)
{
    struct roster_glance glance = {0, 0, 0};
    int count = __atomic_load_n(&r->count, __ATOMIC_ACQUIRE);
    for (int i = 0; i < count; i++) {
        const struct seat *s = r->seats[i];
        uint64_t began_ms = __atomic_load_n(&s->began_ms, __ATOMIC_RELAXED);
        glance.calls += seat_calls(s);
        if (!seat_is_inside(s))
            continue;
        glance.inside++;
        glance.began_ms = began_ms > glance.began_ms ? began_ms : glance.began_ms;
    }
    return glance;
}
