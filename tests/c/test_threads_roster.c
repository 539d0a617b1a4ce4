/* A crew at work on the roster alone: no wake-up is lost, none is too many, one leads, one is on deck. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "check.h"

#include "clock.h"
#include "roster.h"
#include "threads.h"

#include <sched.h>

enum { MEMBERS = THREADS - 1 /* the last thread is the one that wakes */, ROUNDS = 4000, NEVER_MS = 30000 };

struct ship {
    struct roster roster;
    struct seat seats[MEMBERS];
    int64_t leaders, on_deck; /* right now */
    int64_t woken;            /* by wake_one, and by wake of a parked one */
    int64_t passed;           /* gates */
    int64_t ended;            /* members */
    int64_t work;             /* handed out, and not yet taken */
    int64_t taken;
};

static void launch(struct ship *ship)
{
    memset(ship, 0, sizeof(*ship));
    CHECK(roster_init(&ship->roster, MEMBERS));
    for (int i = 0; i < MEMBERS; i++) {
        CHECK(seat_init(&ship->seats[i]));
        roster_add(&ship->roster, &ship->seats[i]);
    }
}

/* Every opened gate was passed, nobody has stayed in a role. */
static void sink(struct ship *ship)
{
    CHECK_MSG(ship->woken == ship->passed, "%lld woken, %lld passed", (long long)ship->woken, (long long)ship->passed);
    CHECK(ship->roster.parked == NULL && roster_parked(&ship->roster) == 0);
    CHECK(!roster_is_led(&ship->roster) && !roster_has_on_deck(&ship->roster));
    for (int i = 0; i < MEMBERS; i++) {
        CHECK_MSG(!gate_wait(&ship->seats[i].gate, 0), "the gate of seat %d was left open", i);
        CHECK(ship->seats[i].role == SEAT_RUNNING);
        seat_destroy(&ship->seats[i]);
    }
    roster_destroy(&ship->roster);
}

/* ---- everything at random ---- */

/* The thread's own role changes only while it is parked. */
static size_t arrive(struct ship *ship, struct seat *seat)
{
    bool expected = seat->role == SEAT_ON_DECK;
    if (expected)
        counter_add(&ship->on_deck, -1);
    return roster_arrive(&ship->roster, seat) != expected;
}

static size_t pass_gate(struct ship *ship, struct seat *seat)
{
    size_t wrong = !gate_wait(&seat->gate, NEVER_MS); /* a lost wake-up would end here */
    counter_add(&ship->passed, 1);
    return wrong + arrive(ship, seat);
}

static size_t step_back(struct ship *ship, struct seat *seat)
{
    size_t wrong = 0;
    roster_step_back(&ship->roster, seat);
    if (seat->role == SEAT_ON_DECK)
        wrong += counter_add(&ship->on_deck, 1) > 1;
    wrong += gate_wait(&seat->gate, 0); /* nobody opens the gate of one who is not parked */
    return wrong + arrive(ship, seat);
}

static size_t lead(struct ship *ship, struct seat *seat)
{
    size_t wrong = 0;
    if (!roster_lead(&ship->roster, seat))
        return 0;
    wrong += counter_add(&ship->leaders, 1) != 1;
    sched_yield();
    wrong += !roster_is_led(&ship->roster);
    counter_add(&ship->leaders, -1);
    roster_stop_leading(&ship->roster, seat);
    return wrong;
}

static void call(struct seat *seat, uint64_t now_ms)
{
    seat_enter(seat, now_ms);
    if (now_ms % 3 == 0)
        seat_has_unsent(seat);
    seat_leave(seat);
}

static size_t wake_somebody(struct ship *ship, uint64_t dice)
{
    if (dice % 3 != 0) {
        if (!roster_wake_one(&ship->roster))
            return 0;
        counter_add(&ship->woken, 1);
        return counter_add(&ship->on_deck, 1) > 1;
    }
    if (roster_wake(&ship->roster, &ship->seats[dice / 3 % MEMBERS]) == SEAT_PARKED)
        counter_add(&ship->woken, 1);
    return 0;
}

static size_t serve_at_random(struct ship *ship, struct seat *seat, uint64_t dice)
{
    switch (dice % 6) {
    case 0:
        return lead(ship, seat);
    case 1:
        call(seat, dice >> 32);
        return 0;
    case 2:
        return wake_somebody(ship, dice / 6);
    case 3:
        return step_back(ship, seat);
    case 4:
        roster_park(&ship->roster, seat);
        return roster_unpark(&ship->roster, seat) ? 0 : pass_gate(ship, seat);
    default:
        roster_park(&ship->roster, seat);
        return pass_gate(ship, seat);
    }
}

/* Wakes, looks, and in the end wakes until all have ended. */
static size_t keep_waking(struct ship *ship)
{
    uint64_t dice = 4711, calls = 0;
    size_t wrong = 0;
    while (counter_read(&ship->ended) < MEMBERS) {
        wrong += wake_somebody(ship, check_random(&dice));
        struct roster_glance glance = roster_look(&ship->roster);
        wrong += glance.calls < calls || glance.inside > MEMBERS || roster_parked(&ship->roster) > MEMBERS;
        calls = glance.calls;
        for (int i = 0; i < MEMBERS; i++)
            (void)seat_is_waiting_on_unsent(&ship->seats[i]);
    }
    return wrong;
}

static size_t at_random(int number, void *shared)
{
    struct ship *ship = shared;
    uint64_t dice = (uint64_t)number + 1;
    size_t wrong = 0;
    if (number == MEMBERS)
        return keep_waking(ship);
    for (int i = 0; i < ROUNDS; i++)
        wrong += serve_at_random(ship, &ship->seats[number], check_random(&dice));
    counter_add(&ship->ended, 1);
    return wrong;
}

TEST("whatever the members and the one that wakes do, each open gate is passed and one leads at a time")
{
    struct ship ship;
    launch(&ship);
    CHECK(in_threads(at_random, &ship) == 0);
    sink(&ship);
}

/* ---- the crew's rule: park, look once more, then sleep ---- */

static bool take_work(struct ship *ship)
{
    int64_t left = counter_read(&ship->work);
    while (left > 0)
        if (__atomic_compare_exchange_n(&ship->work, &left, left - 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
            counter_add(&ship->taken, 1);
            return true;
        }
    return false;
}

static size_t work_or_sleep(struct ship *ship, struct seat *seat)
{
    size_t wrong = 0;
    while (counter_read(&ship->taken) < ROUNDS) {
        if (take_work(ship)) {
            call(seat, 1);
            continue;
        }
        roster_park(&ship->roster, seat);
        bool needed = counter_read(&ship->work) > 0 || counter_read(&ship->taken) >= ROUNDS;
        if (needed && roster_unpark(&ship->roster, seat))
            continue;
        wrong += !gate_wait(&seat->gate, NEVER_MS);
        roster_arrive(&ship->roster, seat);
    }
    roster_wake_all(&ship->roster); /* as Crew.finish does */
    return wrong;
}

/* One piece of work at a time, and one wake-up for it: somebody has to take it. */
static size_t hand_out(struct ship *ship)
{
    for (int64_t i = 0; i < ROUNDS; i++) {
        uint64_t until_ms = clock_monotonic_ms() + NEVER_MS;
        counter_add(&ship->work, 1);
        roster_wake_one(&ship->roster);
        while (counter_read(&ship->taken) <= i)
            if (clock_monotonic_ms() > until_ms) {
                roster_wake_all(&ship->roster);
                return 1;
            }
        if (i % 16 == 0)
            rest_a_moment(); /* until all sleep, most likely */
    }
    return 0;
}

static size_t by_the_rule(int number, void *shared)
{
    struct ship *ship = shared;
    return number == MEMBERS ? hand_out(ship) : work_or_sleep(ship, &ship->seats[number]);
}

TEST("who looks once more after parking never sleeps while there is work")
{
    struct ship ship;
    launch(&ship);
    CHECK(in_threads(by_the_rule, &ship) == 0);
    CHECK_MSG(ship.taken == ROUNDS && ship.work == 0, "%lld taken", (long long)ship.taken);
    sink(&ship);
}

/* ---- the end ---- */

static size_t park_until_all_are_woken(int number, void *shared)
{
    struct ship *ship = shared;
    size_t wrong = 0;
    for (int64_t i = 0; i < ROUNDS / 10; i++) {
        if (number < MEMBERS) {
            struct seat *seat = &ship->seats[number];
            counter_add(&ship->taken, 1);
            roster_park(&ship->roster, seat);
            if (counter_read(&ship->ended) > i && roster_unpark(&ship->roster, seat))
                continue;
            wrong += !gate_wait(&seat->gate, NEVER_MS);
            roster_arrive(&ship->roster, seat);
        } else {
            while (counter_read(&ship->taken) < MEMBERS * i + 1) /* some of them have come, or are about to */
                continue;
            counter_add(&ship->ended, 1);
            roster_wake_all(&ship->roster);
        }
    }
    return wrong;
}

TEST("waking all leaves nobody asleep who parks at the same time and looks once more")
{
    struct ship ship;
    launch(&ship);
    CHECK(in_threads(park_until_all_are_woken, &ship) == 0);
    sink(&ship);
}

CHECK_MAIN
