/* kqueue(2): EV_CLEAR makes the edges; a pipe wakes, for EVFILT_USER is not everywhere. */
#include "poller_internal.h"

#if POLLER_HAVE_KQUEUE

#include <sys/types.h>
#include <sys/event.h>
#include <sys/time.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct kqueue_poller {
    struct poller base;
    int kqueue_fd;
    int wake[2];
};

static struct kqueue_poller *self_of(struct poller *p)
{
    return (struct kqueue_poller *)p;
}

/* The types of filter, flags and udata differ between systems.  A tag needs a 64-bit pointer. */
static int change(struct poller *p, int fd, int filter, unsigned flags, uint64_t tag)
{
    struct kevent event;
    EV_SET(&event, (uintptr_t)fd, (__typeof__(event.filter))filter, (__typeof__(event.flags))flags, 0, 0,
           (__typeof__(event.udata))(uintptr_t)tag);
    int result;
    do
        result = kevent(self_of(p)->kqueue_fd, &event, 1, NULL, 0, NULL);
    while (result < 0 && errno == EINTR);
    return result;
}

static void kqueue_destroy(struct poller *p)
{
    struct kqueue_poller *self = self_of(p);
    int error = errno;
    if (self->kqueue_fd >= 0)
        close(self->kqueue_fd);
    wake_pipe_close(self->wake);
    free(self);
    errno = error;
}

static struct poller *kqueue_make(void)
{
    struct kqueue_poller *self = malloc(sizeof(*self));
    if (self == NULL)
        return NULL;
    self->base.ops = &poller_kqueue_ops;
    self->wake[0] = self->wake[1] = -1;
    self->kqueue_fd = kqueue();
    if (self->kqueue_fd < 0 || fcntl(self->kqueue_fd, F_SETFD, FD_CLOEXEC) < 0 ||
        wake_pipe_open(self->wake) < 0 ||
        change(&self->base, self->wake[0], EVFILT_READ, EV_ADD, POLLER_TAG_RESERVED) < 0) {
        kqueue_destroy(&self->base);
        return NULL;
    }
    return &self->base;
}

static int kqueue_add_listener(struct poller *p, int fd, uint64_t tag)
{
    return change(p, fd, EVFILT_READ, EV_ADD, tag);
}

static int kqueue_add_connection(struct poller *p, int fd, uint64_t tag)
{
    return change(p, fd, EVFILT_READ, EV_ADD | EV_CLEAR, tag);
}

/* Adding a filter again looks at the socket afresh. */
static int kqueue_arm(struct poller *p, int fd, uint64_t tag, uint32_t interest)
{
    if ((interest & POLLER_READ) != 0 && change(p, fd, EVFILT_READ, EV_ADD | EV_CLEAR, tag) < 0)
        return -1;
    if ((interest & POLLER_WRITE) == 0)
        return 0;
    return change(p, fd, EVFILT_WRITE, EV_ADD | EV_CLEAR, tag);
}

static int kqueue_remove(struct poller *p, int fd)
{
    int result = change(p, fd, EVFILT_READ, EV_DELETE, 0);
    int error = errno;
    (void)change(p, fd, EVFILT_WRITE, EV_DELETE, 0); /* there only when it was armed once */
    errno = error;
    return result;
}

static uint32_t flags_of(const struct kevent *event)
{
    if (event->flags & EV_ERROR)
        return POLLER_READ | POLLER_WRITE | POLLER_HANGUP;
    if (event->filter == EVFILT_WRITE) /* EV_EOF: nobody reads any more */
        return event->flags & EV_EOF ? POLLER_READ | POLLER_WRITE | POLLER_HANGUP : POLLER_WRITE;
    if ((event->flags & EV_EOF) == 0)
        return POLLER_READ;
    /* fflags holds the socket's error, if there is one */
    return event->fflags != 0 ? POLLER_READ | POLLER_WRITE | POLLER_HANGUP : POLLER_READ | POLLER_HANGUP;
}

static int kqueue_wait_events(struct poller *p, struct poller_event *events, int max, int timeout_ms)
{
    struct kqueue_poller *self = self_of(p);
    struct kevent fetched[POLLER_EVENTS_MAX];
    struct timespec timeout = {.tv_sec = timeout_ms / 1000, .tv_nsec = (long)(timeout_ms % 1000) * 1000000};
    int n = kevent(self->kqueue_fd, NULL, 0, fetched, max < POLLER_EVENTS_MAX ? max : POLLER_EVENTS_MAX,
                   timeout_ms < 0 ? NULL : &timeout);
    if (n < 0)
        return errno == EINTR ? 0 : -1;
    int count = 0;
    for (int i = 0; i < n; i++) {
        uint64_t tag = (uint64_t)(uintptr_t)fetched[i].udata;
        if (tag == (uint64_t)(uintptr_t)POLLER_TAG_RESERVED)
            wake_pipe_drain(self->wake);
        else
            events[count++] = (struct poller_event){tag, flags_of(&fetched[i])};
    }
    return count;
}

static void kqueue_wake(struct poller *p)
{
    wake_pipe_write(self_of(p)->wake);
}

const struct poller_ops poller_kqueue_ops = {
    .name = "kqueue",
    .create = kqueue_make,
    .destroy = kqueue_destroy,
    .add_listener = kqueue_add_listener,
    .add_connection = kqueue_add_connection,
    .arm = kqueue_arm,
    .remove = kqueue_remove,
    .wait = kqueue_wait_events,
    .wake = kqueue_wake,
};

#else
typedef int poller_kqueue_is_not_here; /* a translation unit must declare something */
#endif
