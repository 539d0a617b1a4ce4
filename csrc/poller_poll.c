/* poll(2): what every system has.  It knows levels only, so an interest is forgotten once it was reported,
 * and poller_arm brings it back; listeners keep theirs. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 /* POLLRDHUP */
#endif

#include "poller_internal.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#ifdef POLLRDHUP
enum { HANGUP = POLLRDHUP };
#else
enum { HANGUP = 0 }; /* the end of the stream shows as POLLIN alone */
#endif

enum { ENTRIES_FIRST = 64, NOWHERE = -1, WAKE_ENTRY = 0 };

struct entry {
    uint64_t tag;
    bool is_listener;
};

struct poll_poller {
    struct poller base;
    int wake[2];
    struct pollfd *polled; /* [0] is the wake pipe; .fd is ~fd when there is nothing to watch for */
    struct entry *entries; /* beside polled */
    int count, cap;
    int scan_from; /* where the next report begins, so that a full array of events starves nobody */
    int *index_of; /* by descriptor; NOWHERE */
    int index_cap;
};

static struct poll_poller *self_of(struct poller *p)
{
    return (struct poll_poller *)p;
}

static int fd_at(const struct poll_poller *self, int i)
{
    return self->polled[i].fd < 0 ? ~self->polled[i].fd : self->polled[i].fd;
}

/* ---- the arrays ---- */

static int reserve_entries(struct poll_poller *self)
{
    if (self->count < self->cap)
        return 0;
    int cap = self->cap == 0 ? ENTRIES_FIRST : self->cap * 2;
    struct pollfd *polled = realloc(self->polled, (size_t)cap * sizeof(*polled));
    if (polled == NULL)
        return -1;
    self->polled = polled;
    struct entry *entries = realloc(self->entries, (size_t)cap * sizeof(*entries));
    if (entries == NULL)
        return -1;
    self->entries = entries;
    self->cap = cap;
    return 0;
}

static int reserve_index(struct poll_poller *self, int fd)
{
    if (fd < self->index_cap)
        return 0;
    int cap = self->index_cap == 0 ? ENTRIES_FIRST : self->index_cap * 2;
    cap = cap > fd ? cap : fd + 1;
    int *index_of = realloc(self->index_of, (size_t)cap * sizeof(*index_of));
    if (index_of == NULL)
        return -1;
    for (int i = self->index_cap; i < cap; i++)
        index_of[i] = NOWHERE;
    self->index_of = index_of;
    self->index_cap = cap;
    return 0;
}

static int find(const struct poll_poller *self, int fd)
{
    int i = fd >= 0 && fd < self->index_cap ? self->index_of[fd] : NOWHERE;
    if (i == NOWHERE)
        errno = ENOENT;
    return i;
}

static int add(struct poll_poller *self, int fd, uint64_t tag, short events, bool is_listener)
{
    if (fd < 0) {
        errno = EBADF;
        return -1;
    }
    if (reserve_entries(self) < 0 || reserve_index(self, fd) < 0)
        return -1;
    if (self->index_of[fd] != NOWHERE) {
        errno = EEXIST;
        return -1;
    }
    int i = self->count++;
    self->polled[i] = (struct pollfd){.fd = fd, .events = events, .revents = 0};
    self->entries[i] = (struct entry){.tag = tag, .is_listener = is_listener};
    self->index_of[fd] = i;
    return 0;
}

/* ---- the operations ---- */

static void poll_destroy(struct poller *p)
{
    struct poll_poller *self = self_of(p);
    wake_pipe_close(self->wake);
    free(self->polled);
    free(self->entries);
    free(self->index_of);
    free(self);
}

static struct poller *poll_make(void)
{
    struct poll_poller *self = calloc(1, sizeof(*self));
    if (self == NULL)
        return NULL;
    self->base.ops = &poller_poll_ops;
    if (wake_pipe_open(self->wake) < 0 || add(self, self->wake[0], POLLER_TAG_RESERVED, POLLIN, true) < 0) {
        poll_destroy(&self->base);
        return NULL;
    }
    return &self->base;
}

static int poll_add_listener(struct poller *p, int fd, uint64_t tag)
{
    return add(self_of(p), fd, tag, POLLIN, true);
}

static int poll_add_connection(struct poller *p, int fd, uint64_t tag)
{
    return add(self_of(p), fd, tag, POLLIN | HANGUP, false);
}

/* A hangup is reported once and not armed again: it stays true for ever. */
static int poll_arm(struct poller *p, int fd, uint64_t tag, uint32_t interest)
{
    struct poll_poller *self = self_of(p);
    int i = find(self, fd);
    if (i == NOWHERE)
        return -1;
    self->entries[i].tag = tag;
    self->polled[i].fd = fd;
    int events = (interest & POLLER_READ ? POLLIN : 0) | (interest & POLLER_WRITE ? POLLOUT : 0);
    self->polled[i].events |= (short)events;
    return 0;
}

static int poll_remove(struct poller *p, int fd)
{
    struct poll_poller *self = self_of(p);
    int i = find(self, fd);
    if (i == NOWHERE)
        return -1;
    int last = --self->count;
    self->polled[i] = self->polled[last];
    self->entries[i] = self->entries[last];
    self->index_of[fd_at(self, i)] = i;
    self->index_of[fd] = NOWHERE;
    return 0;
}

static uint32_t flags_of(short revents)
{
    if (revents & (POLLERR | POLLHUP | POLLNVAL))
        return POLLER_READ | POLLER_WRITE | POLLER_HANGUP;
    return (revents & POLLIN ? POLLER_READ : 0u) | (revents & POLLOUT ? POLLER_WRITE : 0u) |
           (revents & HANGUP ? POLLER_HANGUP : 0u);
}

/* An edge is reported once: forget the interest, all of it when the socket is dead. */
static void disarm_reported(struct pollfd *polled, short revents)
{
    if (revents & (POLLERR | POLLHUP | POLLNVAL))
        polled->events = 0;
    else
        polled->events = (short)(polled->events & ~revents);
    if (polled->events == 0)
        polled->fd = ~polled->fd;
}

static int collect(struct poll_poller *self, struct poller_event *events, int max, int ready)
{
    int count = 0;
    int at = self->scan_from < self->count ? self->scan_from : 0;
    for (int scanned = 0; scanned < self->count && count < max && ready > 0; scanned++) {
        int i = at;
        at = at + 1 < self->count ? at + 1 : 0;
        struct pollfd *polled = &self->polled[i];
        short revents = polled->revents;
        if (revents == 0)
            continue;
        ready--;
        polled->revents = 0;
        if (i == WAKE_ENTRY) {
            wake_pipe_drain(self->wake);
            continue;
        }
        events[count++] = (struct poller_event){self->entries[i].tag, flags_of(revents)};
        if (!self->entries[i].is_listener)
            disarm_reported(polled, revents);
    }
    self->scan_from = at;
    return count;
}

static int poll_wait_events(struct poller *p, struct poller_event *events, int max, int timeout_ms)
{
    struct poll_poller *self = self_of(p);
    int ready = poll(self->polled, (nfds_t)self->count, timeout_ms);
    if (ready < 0)
        return errno == EINTR ? 0 : -1;
    return collect(self, events, max, ready);
}

static void poll_wake(struct poller *p)
{
    wake_pipe_write(self_of(p)->wake);
}

const struct poller_ops poller_poll_ops = {
    .name = "poll",
    .create = poll_make,
    .destroy = poll_destroy,
    .add_listener = poll_add_listener,
    .add_connection = poll_add_connection,
    .arm = poll_arm,
    .remove = poll_remove,
    .wait = poll_wait_events,
    .wake = poll_wake,
};
