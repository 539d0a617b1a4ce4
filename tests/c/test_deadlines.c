/* Queues of deadlines that all last equally long. */
#include "check.h"

#include "deadlines.h"

static void arm(struct deadline_queue *q, struct deadline *d, uint64_t now_ms)
{
    deadline_arm_at(q, d, now_ms > UINT64_MAX - q->duration_ms ? UINT64_MAX : now_ms + q->duration_ms);
}

static uint64_t wait_ms(const struct deadline_queue *q, uint64_t now_ms)
{
    uint64_t at_ms = deadline_earliest_ms(q);
    return at_ms == UINT64_MAX ? UINT64_MAX : at_ms > now_ms ? at_ms - now_ms : 0;
}

TEST("has nothing to say while nothing is armed")
{
    struct deadline_queue q;
    deadline_queue_init(&q, 100);
    CHECK(wait_ms(&q, 0) == UINT64_MAX);
    CHECK(deadline_pop_expired(&q, UINT64_MAX) == NULL);
    struct deadline d;
    deadline_init(&d, &q);
    CHECK(!deadline_is_armed(&d) && d.owner == &q);
    deadline_disarm(&d);
    CHECK(!deadline_is_armed(&d));
}

TEST("expires on the millisecond, once, and tells whose it was")
{
    struct deadline_queue q;
    struct deadline d;
    int owner;
    deadline_queue_init(&q, 100);
    deadline_init(&d, &owner);
    arm(&q, &d, 1000);
    CHECK(deadline_is_armed(&d) && d.at_ms == 1100);
    CHECK(wait_ms(&q, 1000) == 100);
    CHECK(wait_ms(&q, 1099) == 1);
    CHECK(deadline_pop_expired(&q, 1099) == NULL);
    CHECK(wait_ms(&q, 1100) == 0 && wait_ms(&q, 5000) == 0);
    struct deadline *expired = deadline_pop_expired(&q, 1100);
    CHECK(expired == &d && expired->owner == &owner && !deadline_is_armed(&d));
    CHECK(deadline_pop_expired(&q, 1100) == NULL);
    CHECK(wait_ms(&q, 1100) == UINT64_MAX);
}

TEST("expires in the order of arming, and arming again moves to the end")
{
    struct deadline_queue q;
    struct deadline d[3];
    deadline_queue_init(&q, 10);
    for (int i = 0; i < 3; i++) {
        deadline_init(&d[i], NULL);
        arm(&q, &d[i], (uint64_t)i);
    }
    arm(&q, &d[0], 5);
    CHECK(wait_ms(&q, 5) == 6);
    CHECK(deadline_pop_expired(&q, 20) == &d[1]);
    CHECK(deadline_pop_expired(&q, 20) == &d[2]);
    CHECK(deadline_pop_expired(&q, 20) == &d[0]);
    CHECK(deadline_pop_expired(&q, 20) == NULL);
}

TEST("keeps the order of expiry when a wait began earlier than those before it")
{
    struct deadline_queue q;
    struct deadline d[4];
    deadline_queue_init(&q, 10);
    for (int i = 0; i < 4; i++)
        deadline_init(&d[i], NULL);
    deadline_arm_at(&q, &d[0], 20);
    deadline_arm_at(&q, &d[1], 30);
    deadline_arm_at(&q, &d[2], 10);
    deadline_arm_at(&q, &d[3], 20); /* behind its equal */
    CHECK(deadline_earliest_ms(&q) == 10);
    CHECK(deadline_pop_expired(&q, 30) == &d[2]);
    CHECK(deadline_pop_expired(&q, 30) == &d[0]);
    CHECK(deadline_pop_expired(&q, 30) == &d[3]);
    CHECK(deadline_pop_expired(&q, 30) == &d[1]);
}

TEST("moves from one queue to another")
{
    struct deadline_queue heads, bodies;
    struct deadline d;
    deadline_queue_init(&heads, 10);
    deadline_queue_init(&bodies, 30);
    deadline_init(&d, NULL);
    arm(&heads, &d, 0);
    arm(&bodies, &d, 0);
    CHECK(wait_ms(&heads, 0) == UINT64_MAX);
    CHECK(wait_ms(&bodies, 0) == 30);
    deadline_disarm(&d);
    CHECK(wait_ms(&bodies, 0) == UINT64_MAX);
}

TEST("disarms at the front, in the middle and at the end")
{
    for (int gone = 0; gone < 3; gone++) {
        struct deadline_queue q;
        struct deadline d[3];
        deadline_queue_init(&q, 10);
        for (int i = 0; i < 3; i++) {
            deadline_init(&d[i], NULL);
            arm(&q, &d[i], 0);
        }
        deadline_disarm(&d[gone]);
        for (int i = 0; i < 3; i++) {
            if (i != gone)
                CHECK(deadline_pop_expired(&q, 10) == &d[i]);
        }
        CHECK(deadline_pop_expired(&q, 10) == NULL);
    }
}

TEST("never expires when it lasts for ever, and expires at once when it lasts no time")
{
    struct deadline_queue never, at_once;
    struct deadline a, b;
    deadline_queue_init(&never, UINT64_MAX);
    deadline_queue_init(&at_once, 0);
    deadline_init(&a, NULL);
    deadline_init(&b, NULL);
    arm(&never, &a, 1000);
    arm(&at_once, &b, 1000);
    CHECK(deadline_pop_expired(&never, UINT64_MAX - 1) == NULL);
    CHECK(deadline_pop_expired(&at_once, 1000) == &b);
    deadline_disarm(&a);
}

TEST("agrees with a search through all, whatever is armed and disarmed")
{
    enum { COUNT = 40, ROUNDS = 50000, DURATION = 25 };
    struct deadline_queue q;
    struct deadline d[COUNT];
    uint64_t at[COUNT] = {0}, now = 1, seed = 3; /* 0: not armed */
    deadline_queue_init(&q, DURATION);
    for (int i = 0; i < COUNT; i++)
        deadline_init(&d[i], NULL);
    for (int round = 0; round < ROUNDS; round++) {
        size_t i = check_random(&seed) % COUNT;
        now += check_random(&seed) % 3;
        if (check_random(&seed) % 4) {
            arm(&q, &d[i], now);
            at[i] = now + DURATION;
        } else {
            deadline_disarm(&d[i]);
            at[i] = 0;
        }
        for (struct deadline *expired; (expired = deadline_pop_expired(&q, now)) != NULL;) {
            CHECK(at[expired - d] != 0 && at[expired - d] <= now);
            at[expired - d] = 0;
        }
        uint64_t earliest = UINT64_MAX;
        for (int k = 0; k < COUNT; k++) {
            CHECK(deadline_is_armed(&d[k]) == (at[k] != 0));
            earliest = at[k] != 0 && at[k] < earliest ? at[k] : earliest;
        }
        CHECK(wait_ms(&q, now) == (earliest == UINT64_MAX ? UINT64_MAX : earliest - now));
    }
}

CHECK_MAIN
