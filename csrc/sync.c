#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE 1 /* clock_gettime, pthread_condattr_setclock */
#endif

#include "sync.h"

#include <errno.h>
#include <time.h>

/* A change of the day's time must not end a wait, or make it last; macOS has relative waits instead. */
#ifdef __APPLE__
static void clock_attribute(pthread_condattr_t *attributes)
{
    (void)attributes;
}

static int wait_until(struct gate *g, const struct timespec *until)
{
    struct timespec now, left;
    clock_gettime(CLOCK_MONOTONIC, &now);
    left.tv_sec = until->tv_sec - now.tv_sec;
    left.tv_nsec = until->tv_nsec - now.tv_nsec;
    if (left.tv_nsec < 0) {
        left.tv_sec--;
        left.tv_nsec += 1000000000;
    }
    if (left.tv_sec < 0)
        return ETIMEDOUT;
    return pthread_cond_timedwait_relative_np(&g->opened, &g->mutex, &left);
}
#else
static void clock_attribute(pthread_condattr_t *attributes)
{
    pthread_condattr_setclock(attributes, CLOCK_MONOTONIC);
}

static int wait_until(struct gate *g, const struct timespec *until)
{
    return pthread_cond_timedwait(&g->opened, &g->mutex, until);
}
#endif

bool gate_init(struct gate *g)
{
    pthread_condattr_t attributes;
    bool done;
    g->is_open = false;
    if (pthread_mutex_init(&g->mutex, NULL) != 0)
        return false;
    pthread_condattr_init(&attributes);
    clock_attribute(&attributes);
    done = pthread_cond_init(&g->opened, &attributes) == 0;
    pthread_condattr_destroy(&attributes);
    if (!done)
        pthread_mutex_destroy(&g->mutex);
    return done;
}

void gate_destroy(struct gate *g)
{
    pthread_cond_destroy(&g->opened);
    pthread_mutex_destroy(&g->mutex);
}

bool gate_wait(struct gate *g, int timeout_ms)
{
    struct timespec until;
    bool passed;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&g->mutex);
    while (!g->is_open) {
        if (timeout_ms < 0)
            pthread_cond_wait(&g->opened, &g->mutex);
        else if (wait_until(g, &until) == ETIMEDOUT)
            break;
    }
    passed = g->is_open;
    g->is_open = false;
    pthread_mutex_unlock(&g->mutex);
    return passed;
}

void gate_open(struct gate *g)
{
    pthread_mutex_lock(&g->mutex);
    g->is_open = true;
    pthread_cond_signal(&g->opened);
    pthread_mutex_unlock(&g->mutex);
}
