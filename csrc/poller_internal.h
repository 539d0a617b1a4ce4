/* poller_internal.h - what a poller backend is: a table of operations and a struct that begins with it.
 *
 * Owner: poller.c chooses a table; create() allocates, destroy() frees everything it made.
 * Lock and errors: as in poller.h.
 */
#ifndef HEADRACE_POLLER_INTERNAL_H
#define HEADRACE_POLLER_INTERNAL_H

#include "poller.h"

#if defined(__linux__)
#define POLLER_HAVE_EPOLL 1
#else
#define POLLER_HAVE_EPOLL 0
#endif

#if defined(__APPLE__) || defined(__FreeBSD__) || defined(__NetBSD__) || defined(__OpenBSD__) || \
    defined(__DragonFly__) || defined(HEADRACE_LIBKQUEUE) /* libkqueue: to test this backend on Linux */
#define POLLER_HAVE_KQUEUE 1
#else
#define POLLER_HAVE_KQUEUE 0
#endif

struct poller_ops {
    const char *name;
    struct poller *(*create)(void);
    void (*destroy)(struct poller *p);
    int (*add_listener)(struct poller *p, int fd, uint64_t tag);
    int (*add_connection)(struct poller *p, int fd, uint64_t tag);
    int (*arm)(struct poller *p, int fd, uint64_t tag, uint32_t interest);
    int (*remove)(struct poller *p, int fd);
    int (*wait)(struct poller *p, struct poller_event *events, int max, int timeout_ms);
    void (*wake)(struct poller *p);
};

struct poller {
    const struct poller_ops *ops;
};

extern const struct poller_ops poller_epoll_ops, poller_kqueue_ops, poller_poll_ops;

/* A pipe by which poller_wake makes itself known, where there is no eventfd: both ends non-blocking and
 * close-on-exec.  ends[0] is read.  0 or -1; a failed one leaves {-1, -1}. */
int wake_pipe_open(int ends[2]);
void wake_pipe_close(int ends[2]);
void wake_pipe_write(const int ends[2]); /* async-signal-safe; keeps errno; a full pipe wakes already */
void wake_pipe_drain(const int ends[2]);

#endif
