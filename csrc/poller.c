/* The choice of a backend, and what backends share. */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE 1
#endif

#include "poller_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

static const struct poller_ops *ops_for(enum poller_kind kind)
{
    switch (kind) {
    case POLLER_BEST:
        return POLLER_HAVE_EPOLL    ? ops_for(POLLER_EPOLL)
               : POLLER_HAVE_KQUEUE ? ops_for(POLLER_KQUEUE)
                                    : ops_for(POLLER_POLL);
    case POLLER_EPOLL:
#if POLLER_HAVE_EPOLL
        return &poller_epoll_ops;
#else
        return NULL;
#endif
    case POLLER_KQUEUE:
#if POLLER_HAVE_KQUEUE
        return &poller_kqueue_ops;
#else
        return NULL;
#endif
    case POLLER_POLL:
        return &poller_poll_ops;
    }
    return NULL;
}

struct poller *poller_create(enum poller_kind kind)
{
    const struct poller_ops *ops = ops_for(kind);
    if (ops == NULL) {
        errno = ENOTSUP;
        return NULL;
    }
    return ops->create();
}

const char *poller_name(const struct poller *p)
{
    return p->ops->name;
}

void poller_destroy(struct poller *p)
{
    if (p != NULL)
        p->ops->destroy(p);
}

int poller_add_listener(struct poller *p, int fd, uint64_t tag)
{
    return p->ops->add_listener(p, fd, tag);
}

int poller_add_connection(struct poller *p, int fd, uint64_t tag)
{
    return p->ops->add_connection(p, fd, tag);
}

int poller_arm(struct poller *p, int fd, uint64_t tag, uint32_t interest)
{
    return p->ops->arm(p, fd, tag, interest);
}

int poller_remove(struct poller *p, int fd)
{
    return p->ops->remove(p, fd);
}

int poller_wait(struct poller *p, struct poller_event *events, int max, int timeout_ms)
{
    return p->ops->wait(p, events, max, timeout_ms);
}

void poller_wake(struct poller *p)
{
    p->ops->wake(p);
}

/* ---- the wake pipe ---- */

static int make_quiet(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -1;
    return fcntl(fd, F_SETFD, FD_CLOEXEC);
}

int wake_pipe_open(int ends[2])
{
    if (pipe(ends) < 0) {
        ends[0] = ends[1] = -1;
        return -1;
    }
    if (make_quiet(ends[0]) < 0 || make_quiet(ends[1]) < 0) {
        wake_pipe_close(ends);
        return -1;
    }
    return 0;
}

void wake_pipe_close(int ends[2])
{
    int error = errno;
    for (int i = 0; i < 2; i++) {
        if (ends[i] >= 0)
            close(ends[i]);
        ends[i] = -1;
    }
    errno = error;
}

void wake_pipe_write(const int ends[2])
{
    int error = errno;
    ssize_t n;
    do
        n = write(ends[1], "", 1);
    while (n < 0 && errno == EINTR);
    errno = error;
}

void wake_pipe_drain(const int ends[2])
{
    char sink[64];
    ssize_t n;
    do
        n = read(ends[0], sink, sizeof(sink));
    while (n == (ssize_t)sizeof(sink) || (n < 0 && errno == EINTR));
}
