/* Roles of a crew's threads, and who is woken: what each call changes.  test_threads_roster.c has the threads. */
#include "check.h"

#include "roster.h"

enum { SEATS = 3 };

struct crew_of_seats {
    struct roster roster;
    struct seat seats[SEATS];
};

static void make(struct crew_of_seats *made)
{
    CHECK(roster_init(&made->roster, SEATS));
    for (int i = 0; i < SEATS; i++) {
        CHECK(seat_init(&made->seats[i]));
        roster_add(&made->roster, &made->seats[i]);
    }
}

/* How many gates are open; they are closed then. */
static int open_gates(struct crew_of_seats *made)
{
    int open = 0;
    for (int i = 0; i < SEATS; i++)
        open += gate_wait(&made->seats[i].gate, 0);
    return open;
}

static void destroy(struct crew_of_seats *made)
{
    CHECK_MSG(open_gates(made) == 0, "a gate was left open");
    for (int i = 0; i < SEATS; i++)
        seat_destroy(&made->seats[i]);
    roster_destroy(&made->roster);
}

static bool passes(struct seat *seat) { return gate_wait(&seat->gate, 0); }

/* ---- the seats ---- */

TEST("takes no more seats than it was made for, and can be destroyed twice")
{
    struct crew_of_seats made;
    struct seat more;
    make(&made);
    CHECK(seat_init(&more));
    roster_add(&made.roster, &more);
    CHECK(made.roster.count == SEATS && made.roster.seats[SEATS - 1] == &made.seats[SEATS - 1]);
    seat_destroy(&more);
    destroy(&made);
    roster_destroy(&made.roster);
}

/* ---- leading ---- */

TEST("one leads at a time; the others keep their roles")
{
    struct crew_of_seats made;
    make(&made);
    CHECK(!roster_is_led(&made.roster));
    CHECK(roster_lead(&made.roster, &made.seats[0]) && roster_is_led(&made.roster));
    CHECK(!roster_lead(&made.roster, &made.seats[1]) && made.seats[1].role == SEAT_RUNNING);
    CHECK(!roster_lead(&made.roster, &made.seats[0]));
    CHECK(made.seats[0].role == SEAT_LEADING);
    roster_stop_leading(&made.roster, &made.seats[0]);
    CHECK(made.seats[0].role == SEAT_RUNNING && !roster_is_led(&made.roster));
    CHECK(roster_lead(&made.roster, &made.seats[1]));
    destroy(&made);
}

TEST("a leader who is wanted is not let through a gate: the caller learns that he leads")
{
    struct crew_of_seats made;
    make(&made);
    roster_lead(&made.roster, &made.seats[0]);
    CHECK(roster_wake(&made.roster, &made.seats[0]) == SEAT_LEADING);
    CHECK(made.seats[0].role == SEAT_LEADING && roster_is_led(&made.roster));
    destroy(&made);
}

/* ---- sleeping and waking ---- */

TEST("who parks is counted, and is no more when he stays awake after all, wherever he stands in the list")
{
    for (int first = 0; first < SEATS; first++) {
        struct crew_of_seats made;
        make(&made);
        for (int i = 0; i < SEATS; i++) {
            roster_park(&made.roster, &made.seats[i]);
            CHECK(roster_parked(&made.roster) == i + 1 && made.seats[i].role == SEAT_PARKED);
        }
        for (int i = 0; i < SEATS; i++) {
            struct seat *seat = &made.seats[(first + i) % SEATS];
            CHECK(roster_unpark(&made.roster, seat) && seat->role == SEAT_RUNNING);
            CHECK(roster_parked(&made.roster) == SEATS - 1 - i);
            CHECK(!roster_unpark(&made.roster, seat)); /* he is not there any more */
        }
        CHECK(!roster_wake_one(&made.roster));
        destroy(&made); /* and no gate was opened */
    }
}

TEST("wakes the last to park, and nobody more while he is on deck")
{
    struct crew_of_seats made;
    make(&made);
    CHECK(!roster_wake_one(&made.roster));
    for (int i = 0; i < SEATS; i++)
        roster_park(&made.roster, &made.seats[i]);
    CHECK(roster_wake_one(&made.roster) && roster_has_on_deck(&made.roster));
    CHECK(made.seats[2].role == SEAT_ON_DECK && roster_parked(&made.roster) == 2);
    CHECK(!roster_wake_one(&made.roster) && roster_parked(&made.roster) == 2);
    CHECK(passes(&made.seats[2]) && open_gates(&made) == 0);
    CHECK(!roster_wake_one(&made.roster)); /* awake, but not yet arrived */
    CHECK(roster_arrive(&made.roster, &made.seats[2]) && made.seats[2].role == SEAT_RUNNING);
    CHECK(!roster_has_on_deck(&made.roster) && !roster_arrive(&made.roster, &made.seats[2]));
    CHECK(roster_wake_one(&made.roster) && made.seats[1].role == SEAT_ON_DECK);
    CHECK(passes(&made.seats[1]));
    destroy(&made);
}

TEST("who was woken before he could stay awake has an open gate to pass")
{
    struct crew_of_seats made;
    make(&made);
    roster_park(&made.roster, &made.seats[0]);
    CHECK(roster_wake_one(&made.roster));
    CHECK(!roster_unpark(&made.roster, &made.seats[0]) && made.seats[0].role == SEAT_ON_DECK);
    CHECK(passes(&made.seats[0]) && roster_arrive(&made.roster, &made.seats[0]));
    roster_park(&made.roster, &made.seats[0]);
    CHECK(roster_wake(&made.roster, &made.seats[0]) == SEAT_PARKED);
    CHECK(!roster_unpark(&made.roster, &made.seats[0]) && made.seats[0].role == SEAT_RUNNING);
    CHECK(passes(&made.seats[0]) && !roster_arrive(&made.roster, &made.seats[0]));
    destroy(&made);
}

TEST("wakes one who is wanted, whoever is on deck, and he is not on deck himself")
{
    struct crew_of_seats made;
    make(&made);
    for (int i = 0; i < SEATS; i++)
        roster_park(&made.roster, &made.seats[i]);
    CHECK(roster_wake_one(&made.roster));
    CHECK(roster_wake(&made.roster, &made.seats[0]) == SEAT_PARKED && made.seats[0].role == SEAT_RUNNING);
    CHECK(roster_wake(&made.roster, &made.seats[0]) == SEAT_RUNNING);  /* twice changes nothing */
    CHECK(roster_wake(&made.roster, &made.seats[2]) == SEAT_ON_DECK); /* he comes anyway */
    CHECK(roster_parked(&made.roster) == 1 && roster_has_on_deck(&made.roster));
    CHECK(passes(&made.seats[0]) && !passes(&made.seats[1]) && passes(&made.seats[2]));
    CHECK(!roster_arrive(&made.roster, &made.seats[0]) && roster_has_on_deck(&made.roster));
    CHECK(roster_arrive(&made.roster, &made.seats[2]) && !roster_has_on_deck(&made.roster));
    destroy(&made);
}

TEST("who steps back is on deck when nobody else is, and only then")
{
    struct crew_of_seats made;
    make(&made);
    roster_step_back(&made.roster, &made.seats[0]);
    CHECK(made.seats[0].role == SEAT_ON_DECK && roster_has_on_deck(&made.roster));
    roster_park(&made.roster, &made.seats[1]);
    CHECK(!roster_wake_one(&made.roster)); /* he goes on if somebody blocks */
    roster_step_back(&made.roster, &made.seats[2]);
    CHECK(made.seats[2].role == SEAT_RUNNING);
    CHECK(!roster_arrive(&made.roster, &made.seats[2]) && roster_has_on_deck(&made.roster));
    CHECK(roster_arrive(&made.roster, &made.seats[0]) && !roster_has_on_deck(&made.roster));
    CHECK(roster_unpark(&made.roster, &made.seats[1]));
    destroy(&made); /* no gate was opened */
}

TEST("wakes all that are parked, and opens no other gate")
{
    struct crew_of_seats made;
    make(&made);
    roster_lead(&made.roster, &made.seats[1]);
    roster_park(&made.roster, &made.seats[0]);
    roster_park(&made.roster, &made.seats[2]);
    roster_wake_all(&made.roster);
    CHECK(roster_parked(&made.roster) == 0 && !roster_has_on_deck(&made.roster));
    CHECK(passes(&made.seats[0]) && !passes(&made.seats[1]) && passes(&made.seats[2]));
    CHECK(made.seats[1].role == SEAT_LEADING && roster_is_led(&made.roster));
    roster_wake_all(&made.roster);
    destroy(&made);
}

/* ---- a glance ---- */

TEST("a glance adds up the calls begun, those that go on, and finds the youngest")
{
    struct crew_of_seats made;
    make(&made);
    struct roster_glance glance = roster_look(&made.roster);
    CHECK(glance.calls == 0 && glance.inside == 0 && glance.began_ms == 0);
    seat_enter(&made.seats[0], 1000);
    seat_enter(&made.seats[1], 3000);
    seat_enter(&made.seats[2], 2000);
    glance = roster_look(&made.roster);
    CHECK(glance.calls == 3 && glance.inside == 3 && glance.began_ms == 3000);
    seat_leave(&made.seats[1]);
    glance = roster_look(&made.roster);
    CHECK(glance.calls == 3 && glance.inside == 2 && glance.began_ms == 2000);
    seat_leave(&made.seats[0]);
    seat_enter(&made.seats[0], 4000);
    seat_leave(&made.seats[2]);
    glance = roster_look(&made.roster);
    CHECK(glance.calls == 4 && glance.inside == 1 && glance.began_ms == 4000 && seat_calls(&made.seats[0]) == 2);
    destroy(&made);
}

TEST("answers wait behind a call only while it goes on")
{
    struct crew_of_seats made;
    struct seat *seat = &made.seats[0];
    make(&made);
    CHECK(!seat_is_waiting_on_unsent(seat));
    seat_enter(seat, 1);
    CHECK(seat_is_inside(seat) && !seat_is_waiting_on_unsent(seat));
    seat_has_unsent(seat);
    CHECK(seat_is_waiting_on_unsent(seat));
    seat_leave(seat);
    CHECK(!seat_is_inside(seat) && !seat_is_waiting_on_unsent(seat));
    seat_enter(seat, 2);
    CHECK(!seat_is_waiting_on_unsent(seat)); /* that was the call before */
    destroy(&made);
}

CHECK_MAIN
