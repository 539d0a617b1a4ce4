/* pollers.h - every poller that this system has, for the tests of pollers: include it behind check.h.
 *
 * Owner: FOR_EACH_POLLER destroys what it made.  On error: a failed CHECK.
 */
#ifndef HEADRACE_POLLERS_H
#define HEADRACE_POLLERS_H

#include <time.h>

#include "pairs.h"
#include "poller.h"

enum { EVENTS = 16, SOON_MS = 5000 /* for a slow machine: nothing waits it out when all is well */ };

static const enum poller_kind kinds[] = {POLLER_EPOLL, POLLER_KQUEUE, POLLER_POLL};

/* The next poller that there is; NULL when all had their turn.  Each test starts anew with *turn 0. */
static inline struct poller *next_poller(size_t *turn)
{
    while (*turn < sizeof(kinds) / sizeof(kinds[0])) {
        struct poller *p = poller_create(kinds[(*turn)++]);
        if (p != NULL)
            return p;
        CHECK(errno == ENOTSUP);
    }
    return NULL;
}

#define FOR_EACH_POLLER(p) for (size_t turn_ = 0; (p = next_poller(&turn_)) != NULL; poller_destroy(p))

/* One wait: the flags reported for `tag`, 0 when there were none.  A report for another tag is an error. */
static inline uint32_t flags_for(struct poller *p, uint64_t tag, int timeout_ms)
{
    struct poller_event events[EVENTS];
    int n = poller_wait(p, events, EVENTS, timeout_ms);
    uint32_t flags = 0;
    CHECK(n >= 0);
    for (int i = 0; i < n; i++) {
        CHECK_MSG(events[i].tag == tag, "%s: tag %llx", poller_name(p), (unsigned long long)events[i].tag);
        flags |= events[i].flags;
    }
    return flags;
}

/* Wait until one of `wanted` is reported; all that was reported by then. */
static inline uint32_t wait_for(struct poller *p, uint64_t tag, uint32_t wanted)
{
    uint32_t flags = 0;
    for (int i = 0; i < 10 && (flags & wanted) == 0; i++)
        flags |= flags_for(p, tag, SOON_MS / 10);
    CHECK_MSG((flags & wanted) != 0, "%s: %u, not %u", poller_name(p), flags, wanted);
    return flags;
}

static inline void check_silent(struct poller *p, int timeout_ms)
{
    struct poller_event event;
    int n = poller_wait(p, &event, 1, timeout_ms);
    CHECK_MSG(n == 0, "%s: %d events, flags %u", poller_name(p), n, n > 0 ? event.flags : 0);
}

static inline void send_octets(int fd, const char *text)
{
    must(write(fd, text, strlen(text)) == (ssize_t)strlen(text), "write");
}

static inline void receive_all(int fd)
{
    char sink[4096];
    ssize_t n;
    while ((n = recv(fd, sink, sizeof(sink), 0)) > 0)
        continue;
    must(n == 0 || errno == EAGAIN, "recv");
}

static inline void fill_socket(int fd)
{
    static const char zeros[4096];
    while (send(fd, zeros, sizeof(zeros), MSG_NOSIGNAL) > 0)
        continue;
    must(errno == EAGAIN, "send");
}

static inline int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

#endif
