/* epoll(7): edge-triggered connections, level-triggered listeners, an eventfd to wake. */
#include "poller_internal.h"

#if POLLER_HAVE_EPOLL

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct epoll_poller {
    struct poller base;
    int epoll_fd;
    int wake_fd;
};

static struct epoll_poller *self_of(struct poller *p)
{
    return (struct epoll_poller *)p;
}

static int control(struct poller *p, int op, int fd, uint32_t events, uint64_t tag)
{
    struct epoll_event event = {.events = events, .data = {.u64 = tag}};
    return epoll_ctl(self_of(p)->epoll_fd, op, fd, &event);
}

static void epoll_destroy(struct poller *p)
{
    struct epoll_poller *self = self_of(p);
    int error = errno;
    if (self->epoll_fd >= 0)
        close(self->epoll_fd);
    if (self->wake_fd >= 0)
        close(self->wake_fd);
    free(self);
    errno = error;
}

static struct poller *epoll_make(void)
{
    struct epoll_poller *self = malloc(sizeof(*self));
    if (self == NULL)
        return NULL;
    self->base.ops = &poller_epoll_ops;
    self->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    self->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    /* edge-triggered, each write is an edge: the counter need never be read (it holds 2^64 - 2 wakes) */
    if (self->epoll_fd < 0 || self->wake_fd < 0 ||
        control(&self->base, EPOLL_CTL_ADD, self->wake_fd, EPOLLIN | EPOLLET, POLLER_TAG_RESERVED) < 0) {
        epoll_destroy(&self->base);
        return NULL;
    }
    return &self->base;
}

/* EPOLLEXCLUSIVE: of the workers that share a listener, one wakes (Linux 4.5). */
static int epoll_add_listener(struct poller *p, int fd, uint64_t tag)
{
    int result = control(p, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLEXCLUSIVE, tag);
    return result < 0 && errno == EINVAL ? control(p, EPOLL_CTL_ADD, fd, EPOLLIN, tag) : result;
}

static int epoll_add_connection(struct poller *p, int fd, uint64_t tag)
{
    return control(p, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLRDHUP | EPOLLET, tag);
}

/* A modification looks at the socket afresh and reports what is true now.  So one that waits for room must not ask for
 * EPOLLIN or EPOLLRDHUP: octets that nobody receives, or a FIN, would be reported at every arming. */
static int epoll_arm(struct poller *p, int fd, uint64_t tag, uint32_t interest)
{
    uint32_t events = interest & POLLER_WRITE ? EPOLLOUT : 0;
    if (interest & POLLER_READ)
        events |= EPOLLIN | EPOLLRDHUP;
    return control(p, EPOLL_CTL_MOD, fd, events | EPOLLET, tag);
}

static int epoll_remove(struct poller *p, int fd)
{
    return control(p, EPOLL_CTL_DEL, fd, 0, 0);
}

static uint32_t flags_of(uint32_t events)
{
    if (events & (EPOLLERR | EPOLLHUP))
        return POLLER_READ | POLLER_WRITE | POLLER_HANGUP;
    return (events & EPOLLIN ? POLLER_READ : 0u) | (events & EPOLLOUT ? POLLER_WRITE : 0u) |
           (events & EPOLLRDHUP ? POLLER_HANGUP : 0u);
}

static int epoll_wait_events(struct poller *p, struct poller_event *events, int max, int timeout_ms)
{
    struct epoll_event fetched[POLLER_EVENTS_MAX];
    int n = epoll_wait(self_of(p)->epoll_fd, fetched, max < POLLER_EVENTS_MAX ? max : POLLER_EVENTS_MAX, timeout_ms);
    if (n < 0)
        return errno == EINTR ? 0 : -1;
    int count = 0;
    for (int i = 0; i < n; i++) {
        if (fetched[i].data.u64 != POLLER_TAG_RESERVED)
            events[count++] = (struct poller_event){fetched[i].data.u64, flags_of(fetched[i].events)};
    }
    return count;
}

static void epoll_wake(struct poller *p)
{
    int error = errno;
    ssize_t n;
    const uint64_t one = 1;
    do
        n = write(self_of(p)->wake_fd, &one, sizeof(one));
    while (n < 0 && errno == EINTR);
    errno = error;
}

const struct poller_ops poller_epoll_ops = {
    .name = "epoll",
    .create = epoll_make,
    .destroy = epoll_destroy,
    .add_listener = epoll_add_listener,
    .add_connection = epoll_add_connection,
    .arm = epoll_arm,
    .remove = epoll_remove,
    .wait = epoll_wait_events,
    .wake = epoll_wake,
};

#else
typedef int poller_epoll_is_not_here; /* a translation unit must declare something */
#endif
