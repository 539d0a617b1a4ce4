/* Waking a poller that waits, or is about to. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "check.h"

#include <pthread.h>
#include <signal.h>

#include "pollers.h"

TEST("wakes a wait to come, once, however often it was woken, and reports no event")
{
    struct poller *p;
    FOR_EACH_POLLER(p)
    {
        for (int round = 0; round < 3; round++) {
            for (int i = 0; i < 1000; i++)
                poller_wake(p);
            int64_t before = now_ms();
            check_silent(p, SOON_MS);
            CHECK_MSG(now_ms() - before < SOON_MS - 100, "%s was not woken", poller_name(p));
            before = now_ms();
            check_silent(p, 30);
            CHECK_MSG(now_ms() - before >= 29, "%s was woken twice", poller_name(p));
        }
    }
}

TEST("wakes and reports in one wait")
{
    struct poller *p;
    FOR_EACH_POLLER(p)
    {
        struct pair pair = unix_pair(0, 0);
        CHECK(poller_add_connection(p, pair.near, 7) == 0);
        send_octets(pair.far, "x");
        poller_wake(p);
        wait_for(p, 7, POLLER_READ);
        close_pair(&pair);
    }
}

static void *wake_ten_times(void *p)
{
    for (int i = 0; i < 10; i++) {
        struct timespec pause = {0, 2000000};
        nanosleep(&pause, NULL);
        poller_wake(p);
    }
    return NULL;
}

TEST("is woken by another thread")
{
    struct poller *p;
    FOR_EACH_POLLER(p)
    {
        pthread_t thread;
        must(pthread_create(&thread, NULL, wake_ten_times, p) == 0, "pthread_create");
        int64_t before = now_ms();
        check_silent(p, SOON_MS);
        CHECK_MSG(now_ms() - before < SOON_MS - 100, "%s was not woken", poller_name(p));
        pthread_join(thread, NULL);
    }
}

static struct poller *poller_to_wake;

static void wake_from_handler(int signal)
{
    (void)signal;
    poller_wake(poller_to_wake);
}

TEST("is woken from a signal handler, and errno survives it")
{
    struct poller *p;
    struct sigaction action = {.sa_handler = wake_from_handler};
    sigaction(SIGUSR1, &action, NULL);
    FOR_EACH_POLLER(p)
    {
        poller_to_wake = p;
        errno = 1234;
        raise(SIGUSR1);
        CHECK(errno == 1234);
        int64_t before = now_ms();
        check_silent(p, SOON_MS);
        CHECK(now_ms() - before < SOON_MS - 100);
    }
}

CHECK_MAIN
