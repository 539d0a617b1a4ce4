/* poll(2): what every system has.  It knows levels only, so an interest is forgotten once it was reported,
 * and poller_arm brings it back; listeners keep theirs.
 *
 * The system keeps no set that other threads could change while one waits, as epoll and kqueue do.  So the one that
 * waits takes a copy of the set, and a change meanwhile wakes it, without any event: the wait that follows is for the
 * changed set.  A removed descriptor has to leave poll(2) too, which would keep its socket open after close(2). */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 /* POLLRDHUP */
#endif

#include "poller_internal.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
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

/* What poll(2) looks at, without the lock.  Only poller_wait uses it. */
struct asked {
    struct pollfd *polled;
    uint64_t *tags; /* beside polled */
    int count, cap;
    int scan_from; /* where the next report begins, so that a full array of events starves nobody */
};

struct poll_poller {
    struct poller base;
    int wake[2];
    struct asked asked;
    pthread_mutex_t lock; /* of what follows; never held while poll(2) waits */
    bool must_be_told; /* a thread waits for the set as it was */
    struct pollfd *polled; /* [0] is the wake pipe; .fd is ~fd when there is nothing to watch for */
    struct entry *entries; /* beside polled */
    int count, cap;
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

static int arm(struct poll_poller *self, int fd, uint64_t tag, uint32_t interest)
{
    int i = find(self, fd);
    if (i == NOWHERE)
        return -1;
    self->entries[i].tag = tag;
    self->polled[i].fd = fd;
    int events = (interest & POLLER_READ ? POLLIN : 0) | (interest & POLLER_WRITE ? POLLOUT : 0);
    self->polled[i].events |= (short)events;
    return 0;
}

static int forget(struct poll_poller *self, int fd)
{
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

/* ---- the operations ---- */

/* The lock is left with the result of a change, and whoever waits takes notice of it. */
static int changed(struct poll_poller *self, int result)
{
    int error = errno;
    if (result == 0 && self->must_be_told) {
        self->must_be_told = false;
        wake_pipe_write(self->wake);
    }
    pthread_mutex_unlock(&self->lock);
    errno = error;
    return result;
}

static void poll_destroy(struct poller *p)
{
    struct poll_poller *self = self_of(p);
    wake_pipe_close(self->wake);
    pthread_mutex_destroy(&self->lock);
    free(self->asked.polled);
    free(self->asked.tags);
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
    int error = pthread_mutex_init(&self->lock, NULL);
    if (error != 0) {
        free(self);
        errno = error;
        return NULL;
    }
    if (wake_pipe_open(self->wake) < 0 || add(self, self->wake[0], POLLER_TAG_RESERVED, POLLIN, true) < 0) {
        poll_destroy(&self->base);
        return NULL;
    }
    return &self->base;
}

static int poll_add_listener(struct poller *p, int fd, uint64_t tag)
{
    struct poll_poller *self = self_of(p);
    pthread_mutex_lock(&self->lock);
    return changed(self, add(self, fd, tag, POLLIN, true));
}

static int poll_add_connection(struct poller *p, int fd, uint64_t tag)
{
    struct poll_poller *self = self_of(p);
    pthread_mutex_lock(&self->lock);
    return changed(self, add(self, fd, tag, POLLIN | HANGUP, false));
}

/* A hangup is reported once and not armed again: it stays true for ever. */
static int poll_arm(struct poller *p, int fd, uint64_t tag, uint32_t interest)
{
    struct poll_poller *self = self_of(p);
    pthread_mutex_lock(&self->lock);
    return changed(self, arm(self, fd, tag, interest));
}

static int poll_remove(struct poller *p, int fd)
{
    struct poll_poller *self = self_of(p);
    pthread_mutex_lock(&self->lock);
    return changed(self, forget(self, fd));
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

/* Copy the set; the lock is held. */
static int ask(struct poll_poller *self)
{
    struct asked *asked = &self->asked;
    if (asked->cap < self->cap) {
        struct pollfd *polled = realloc(asked->polled, (size_t)self->cap * sizeof(*polled));
        if (polled == NULL)
            return -1;
        asked->polled = polled;
        uint64_t *tags = realloc(asked->tags, (size_t)self->cap * sizeof(*tags));
        if (tags == NULL)
            return -1;
        asked->tags = tags;
        asked->cap = self->cap;
    }
    memcpy(asked->polled, self->polled, (size_t)self->count * sizeof(*asked->polled));
    for (int i = 0; i < self->count; i++)
        asked->tags[i] = self->entries[i].tag;
    asked->count = self->count;
    return 0;
}

/* Where that which was asked for stands now; NOWHERE when it was removed meanwhile, though its descriptor may have come
 * back under another tag.  Nothing is lost then: what has an interest still will be asked for again. */
static int still_at(const struct poll_poller *self, int fd, uint64_t tag)
{
    int i = find(self, fd);
    return i != NOWHERE && self->entries[i].tag == tag ? i : NOWHERE;
}

static int collect(struct poll_poller *self, struct poller_event *events, int max, int ready)
{
    struct asked *asked = &self->asked;
    int count = 0;
    int at = asked->scan_from < asked->count ? asked->scan_from : 0;
    for (int scanned = 0; scanned < asked->count && count < max && ready > 0; scanned++) {
        const struct pollfd *found = &asked->polled[at];
        uint64_t tag = asked->tags[at];
        bool is_wake = at == WAKE_ENTRY;
        at = at + 1 < asked->count ? at + 1 : 0;
        if (found->revents == 0)
            continue;
        ready--;
        if (is_wake) {
            wake_pipe_drain(self->wake);
            continue;
        }
        int i = still_at(self, found->fd, tag);
        if (i == NOWHERE)
            continue;
        events[count++] = (struct poller_event){tag, flags_of(found->revents)};
        if (!self->entries[i].is_listener)
            disarm_reported(&self->polled[i], found->revents);
    }
    asked->scan_from = at;
    return count;
}

static int poll_wait_events(struct poller *p, struct poller_event *events, int max, int timeout_ms)
{
    struct poll_poller *self = self_of(p);
    pthread_mutex_lock(&self->lock);
    int result = ask(self);
    self->must_be_told = result == 0;
    pthread_mutex_unlock(&self->lock);
    if (result < 0)
        return -1;
    int ready = poll(self->asked.polled, (nfds_t)self->asked.count, timeout_ms);
    int error = errno;
    pthread_mutex_lock(&self->lock);
    self->must_be_told = false;
    int count = ready > 0 ? collect(self, events, max, ready) : 0;
    pthread_mutex_unlock(&self->lock);
    errno = error;
    return ready < 0 && error != EINTR ? -1 : count;
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
