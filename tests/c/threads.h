/* threads.h - several threads that begin at the same moment, for the tests of what may be shared: include it behind
 * check.h.
 *
 * CHECK counts without a lock, so a thread returns how many things were wrong, and its starter checks the sum.
 * Under ThreadSanitizer (tests/c/run --threads) a data race fails the program, too.
 */
#ifndef HEADRACE_THREADS_H
#define HEADRACE_THREADS_H

#include <pthread.h>
#include <time.h>

enum { THREADS = 4 };

struct crew {
    pthread_barrier_t start;
    size_t (*work)(int number, void *shared); /* how many things were wrong */
    void *shared;
};

struct crew_member {
    struct crew *crew;
    pthread_t thread;
    int number;
    size_t wrong;
};

static inline void *crew_member_run(void *opaque)
{
    struct crew_member *self = opaque;
    pthread_barrier_wait(&self->crew->start);
    self->wrong = self->crew->work(self->number, self->crew->shared);
    return NULL;
}

/* Run work(0, shared) ... work(THREADS - 1, shared), each in its thread; how many things were wrong in all. */
static inline size_t in_threads(size_t (*work)(int number, void *shared), void *shared)
{
    struct crew crew = {.work = work, .shared = shared};
    struct crew_member members[THREADS];
    size_t wrong = 0;
    if (pthread_barrier_init(&crew.start, NULL, THREADS) != 0)
        abort();
    for (int i = 0; i < THREADS; i++) {
        members[i] = (struct crew_member){.crew = &crew, .number = i};
        if (pthread_create(&members[i].thread, NULL, crew_member_run, &members[i]) != 0)
            abort();
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(members[i].thread, NULL);
        wrong += members[i].wrong;
    }
    pthread_barrier_destroy(&crew.start);
    return wrong;
}

static inline void rest_a_moment(void)
{
    struct timespec pause = {0, 100000};
    nanosleep(&pause, NULL);
}

#endif
