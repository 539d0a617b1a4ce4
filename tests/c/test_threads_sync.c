/* Gates, mutexes and counters between threads: nobody sleeps for ever, and nobody passes who was not let. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "check.h"

#include "clock.h"
#include "sync.h"
#include "threads.h"

enum { ROUNDS = 3000, NEVER_MS = 30000 };

/* Two gates, two threads: each opens the other's and waits at its own. */
struct relay {
    struct gate gates[2];
    int ball; /* touched only by whose turn it is */
};

static size_t pass_the_ball(int number, void *shared)
{
    struct relay *relay = shared;
    size_t wrong = 0;
    if (number > 1)
        return 0;
    for (int i = 0; i < ROUNDS; i++) {
        if (number == 1 || i > 0)
            wrong += !gate_wait(&relay->gates[number], NEVER_MS);
        wrong += relay->ball++ != 2 * i + number;
        gate_open(&relay->gates[!number]);
    }
    return wrong + (number == 0 && !gate_wait(&relay->gates[0], NEVER_MS));
}

TEST("two threads that wake each other go on in turn, and what one wrote the other reads")
{
    struct relay relay = {.ball = 0};
    CHECK(gate_init(&relay.gates[0]) && gate_init(&relay.gates[1]));
    CHECK(in_threads(pass_the_ball, &relay) == 0);
    CHECK_MSG(relay.ball == 2 * ROUNDS, "%d", relay.ball);
    for (int i = 0; i < 2; i++) {
        CHECK(!gate_wait(&relay.gates[i], 0)); /* nothing is left over */
        gate_destroy(&relay.gates[i]);
    }
}

/* One sleeper whose waits run out again and again, and one who opens now and then: the time-out meets the opening. */
struct doorway {
    struct gate gate;
    int64_t asked; /* openings that are promised an answer */
    int64_t answered;
};

static size_t open_or_sleep(int number, void *shared)
{
    struct doorway *door = shared;
    size_t wrong = 0;
    if (number == 0) {
        int64_t until_ms = (int64_t)clock_monotonic_ms() + NEVER_MS;
        while (counter_read(&door->answered) < ROUNDS) {
            if (gate_wait(&door->gate, (int)(counter_read(&door->answered) % 2))) {
                wrong += counter_read(&door->asked) <= counter_read(&door->answered); /* nobody let him */
                counter_add(&door->answered, 1);
            }
            if ((int64_t)clock_monotonic_ms() > until_ms)
                return wrong + 1;
        }
    } else if (number == 1) {
        for (int64_t i = 0; i < ROUNDS; i++) {
            int64_t until_ms = (int64_t)clock_monotonic_ms() + NEVER_MS;
            counter_add(&door->asked, 1);
            gate_open(&door->gate);
            while (counter_read(&door->answered) != i + 1) /* a lost opening would end here */
                if ((int64_t)clock_monotonic_ms() > until_ms)
                    return wrong + 1;
            if (i % 4 == 0)
                rest_a_moment();
        }
    }
    return wrong;
}

TEST("an opening that meets a time-out is neither lost nor counted twice")
{
    struct doorway door = {.asked = 0, .answered = 0};
    CHECK(gate_init(&door.gate));
    CHECK(in_threads(open_or_sleep, &door) == 0);
    CHECK(counter_read(&door.answered) == ROUNDS && !gate_wait(&door.gate, 0));
    gate_destroy(&door.gate);
}

struct tally {
    struct mutex mutex;
    int64_t guarded, counted;
};

static size_t count_both_ways(int number, void *shared)
{
    (void)number;
    struct tally *tally = shared;
    for (int i = 0; i < ROUNDS; i++) {
        mutex_lock(&tally->mutex);
        tally->guarded++;
        mutex_unlock(&tally->mutex);
        counter_add(&tally->counted, i % 2 ? 3 : -1);
    }
    return 0;
}

TEST("neither a mutex nor a counter loses a change")
{
    struct tally tally = {.guarded = 0, .counted = 0};
    CHECK(mutex_init(&tally.mutex));
    CHECK(in_threads(count_both_ways, &tally) == 0);
    CHECK(tally.guarded == THREADS * ROUNDS && counter_read(&tally.counted) == THREADS * ROUNDS);
    mutex_destroy(&tally.mutex);
}

CHECK_MAIN
