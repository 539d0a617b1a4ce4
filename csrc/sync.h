/* sync.h - threads: who may go on, and who sleeps until another one says so?
 *
 * What: a mutex, a gate (one thread sleeps before it, any thread opens it) and a counter that several threads change.
 * Owner: the caller.  A gate is for one sleeper; opening it before the sleeper has come lets him pass at once.
 * Lock: gate_wait is to be called without the interpreter lock; the others are short.
 * On error: mutexes and condition variables that were initialized do not fail; *_init says false when they cannot be
 *           had.
 */
#ifndef HEADRACE_SYNC_H
#define HEADRACE_SYNC_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct mutex {
    pthread_mutex_t handle;
};

struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t opened;
    bool is_open;
};

static inline bool mutex_init(struct mutex *m)
{
    return pthread_mutex_init(&m->handle, NULL) == 0;
}

static inline void mutex_destroy(struct mutex *m)
{
    pthread_mutex_destroy(&m->handle);
}

static inline void mutex_lock(struct mutex *m)
{
    pthread_mutex_lock(&m->handle);
}

static inline void mutex_unlock(struct mutex *m)
{
    pthread_mutex_unlock(&m->handle);
}

bool gate_init(struct gate *g);
void gate_destroy(struct gate *g);
/* Sleep until the gate is opened, and close it behind oneself.  false: timeout_ms have passed; -1 waits for ever. */
bool gate_wait(struct gate *g, int timeout_ms);
void gate_open(struct gate *g);

/* The sum after the change. */
static inline int64_t counter_add(int64_t *counter, int64_t change)
{
    return __atomic_add_fetch(counter, change, __ATOMIC_SEQ_CST);
}

static inline int64_t counter_read(const int64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_SEQ_CST);
}

/* Between a store and a load of two threads that tell each other something: one of them at least sees the other's. */
static inline void full_fence(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

#endif
