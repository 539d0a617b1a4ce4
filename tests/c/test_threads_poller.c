/* One thread waits in a poller; others add, arm, remove and wake meanwhile. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "check.h"

#include "pollers.h"
#include "threads.h"

enum { ROUNDS = 25, MESSAGES = 8 };

struct lead {
    struct poller *poller;
    bool stop;
    uint32_t told[THREADS][ROUNDS]; /* flags, by the tag's two halves */
    size_t wrong;
    pthread_t thread;
};

static uint64_t tag_of(int number, int round)
{
    return (uint64_t)number << 32 | (uint64_t)round;
}

static void *lead_run(void *opaque)
{
    struct lead *lead = opaque;
    struct poller_event events[2]; /* fewer than there are connections */
    while (!__atomic_load_n(&lead->stop, __ATOMIC_ACQUIRE)) {
        int n = poller_wait(lead->poller, events, 2, -1);
        lead->wrong += n < 0;
        for (int i = 0; i < n; i++) {
            uint64_t number = events[i].tag >> 32, round = events[i].tag & UINT32_MAX;
            if (number < THREADS && round < ROUNDS)
                __atomic_or_fetch(&lead->told[number][round], events[i].flags, __ATOMIC_ACQ_REL);
            else
                lead->wrong++;
        }
    }
    return NULL;
}

static struct lead *lead_start(struct poller *p)
{
    struct lead *lead = calloc(1, sizeof(*lead));
    must(lead != NULL, "calloc");
    lead->poller = p;
    must(pthread_create(&lead->thread, NULL, lead_run, lead) == 0, "pthread_create");
    return lead;
}

static void lead_stop(struct lead *lead)
{
    __atomic_store_n(&lead->stop, true, __ATOMIC_RELEASE);
    poller_wake(lead->poller);
    pthread_join(lead->thread, NULL);
    CHECK_MSG(lead->wrong == 0, "%s: %zu", poller_name(lead->poller), lead->wrong);
    free(lead);
}

/* Wait until the leader has heard of one of `wanted`, and forget it. */
static bool was_told(uint32_t *told, uint32_t wanted)
{
    int64_t until = now_ms() + SOON_MS;
    while ((__atomic_load_n(told, __ATOMIC_ACQUIRE) & wanted) == 0) {
        if (now_ms() > until)
            return false;
        rest_a_moment();
    }
    __atomic_and_fetch(told, ~wanted, __ATOMIC_ACQ_REL);
    return true;
}

/* A connection's life: added, a few messages, room to write, hangup, removed. */
static size_t live(struct lead *lead, int number, int round)
{
    struct poller *p = lead->poller;
    struct pair pair = unix_pair(0, 0);
    uint64_t tag = tag_of(number, round);
    uint32_t *told = &lead->told[number][round];
    size_t wrong = poller_add_connection(p, pair.near, tag) != 0;
    for (int i = 0; i < MESSAGES; i++) {
        send_octets(pair.far, "x");
        wrong += !was_told(told, POLLER_READ);
        receive_all(pair.near);
        wrong += poller_arm(p, pair.near, tag, POLLER_READ) != 0;
    }
    wrong += poller_arm(p, pair.near, tag, POLLER_READ | POLLER_WRITE) != 0;
    wrong += !was_told(told, POLLER_WRITE);
    close(pair.far);
    wrong += !was_told(told, POLLER_READ);
    wrong += poller_remove(p, pair.near) != 0;
    close(pair.near);
    return wrong;
}

static size_t live_and_wake(int number, void *shared)
{
    struct lead *lead = shared;
    size_t wrong = 0;
    for (int round = 0; round < ROUNDS; round++) {
        wrong += live(lead, number, round);
        poller_wake(lead->poller);
    }
    return wrong;
}

TEST("what other threads add, arm and remove is heeded by a wait that has begun")
{
    struct poller *p;
    FOR_EACH_POLLER(p)
    {
        struct lead *lead = lead_start(p);
        size_t wrong = in_threads(live_and_wake, lead);
        CHECK_MSG(wrong == 0, "%s: %zu", poller_name(p), wrong);
        lead_stop(lead);
    }
}

TEST("a socket that another thread removes and closes is closed although the wait goes on")
{
    struct poller *p;
    FOR_EACH_POLLER(p)
    {
        struct pair pair = tcp_pair(0, 0);
        struct pollfd far = {.fd = pair.far, .events = POLLIN, .revents = 0};
        CHECK(poller_add_connection(p, pair.near, tag_of(0, 0)) == 0);
        struct lead *lead = lead_start(p);
        send_octets(pair.far, "x");
        CHECK(was_told(&lead->told[0][0], POLLER_READ)); /* it does wait */
        receive_all(pair.near);
        CHECK(poller_arm(p, pair.near, tag_of(0, 0), POLLER_READ) == 0);
        for (int i = 0; i < 100; i++) /* until it waits with that, most likely */
            rest_a_moment();
        CHECK(poller_remove(p, pair.near) == 0);
        close(pair.near);
        CHECK_MSG(poll(&far, 1, SOON_MS) == 1, "%s keeps it open", poller_name(p));
        close(pair.far);
        lead_stop(lead);
    }
}

CHECK_MAIN
