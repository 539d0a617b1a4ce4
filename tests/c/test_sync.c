/* Gates and counters, as one thread sees them; test_threads_sync.c has several. */
#include "check.h"

#include "clock.h"
#include "sync.h"

enum { SHORT_MS = 30 };

/* Milliseconds that the wait took; *passed says how it ended. */
static int64_t timed_wait(struct gate *gate, int timeout_ms, bool *passed)
{
    int64_t before_ns = clock_monotonic_ns();
    *passed = gate_wait(gate, timeout_ms);
    return (clock_monotonic_ns() - before_ns) / 1000000;
}

TEST("a gate that is closed lets nobody through: the time is over, and not too early")
{
    static const int timeouts_ms[] = {0, 1, SHORT_MS};
    struct gate gate;
    bool passed;
    CHECK(gate_init(&gate));
    for (size_t i = 0; i < sizeof(timeouts_ms) / sizeof(timeouts_ms[0]); i++) {
        int64_t took_ms = timed_wait(&gate, timeouts_ms[i], &passed);
        CHECK(!passed);
        CHECK_MSG(took_ms >= timeouts_ms[i] && took_ms < timeouts_ms[i] + 5000, "%lld ms", (long long)took_ms);
    }
    gate_destroy(&gate);
}

TEST("a time-out that goes over a whole second is kept")
{
    struct gate gate;
    bool passed;
    CHECK(gate_init(&gate));
    CHECK(timed_wait(&gate, 1001, &passed) >= 1001 && !passed);
    gate_destroy(&gate);
}

TEST("a gate that was opened before the sleeper came lets him pass, once")
{
    static const int timeouts_ms[] = {-1, 0, 60000};
    struct gate gate;
    CHECK(gate_init(&gate));
    for (size_t i = 0; i < sizeof(timeouts_ms) / sizeof(timeouts_ms[0]); i++) {
        gate_open(&gate);
        CHECK(gate_wait(&gate, timeouts_ms[i]));
        CHECK(!gate_wait(&gate, 0));
    }
    gate_destroy(&gate);
}

TEST("a gate that was opened several times lets one sleeper pass")
{
    struct gate gate;
    CHECK(gate_init(&gate));
    for (int i = 0; i < 3; i++)
        gate_open(&gate);
    CHECK(gate_wait(&gate, -1));
    CHECK(!gate_wait(&gate, 0));
    gate_destroy(&gate);
}

TEST("a wait that ran out leaves the gate as it was")
{
    struct gate gate;
    CHECK(gate_init(&gate));
    CHECK(!gate_wait(&gate, 1));
    gate_open(&gate);
    CHECK(gate_wait(&gate, -1));
    gate_destroy(&gate);
}

TEST("a counter says its sum after each change")
{
    int64_t counter = 0;
    CHECK(counter_add(&counter, 5) == 5 && counter_add(&counter, -7) == -2 && counter_read(&counter) == -2);
    counter = INT64_MAX;
    CHECK(counter_read(&counter) == INT64_MAX && counter_add(&counter, -1) == INT64_MAX - 1);
}

CHECK_MAIN
