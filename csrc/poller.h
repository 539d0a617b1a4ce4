/* poller.h - which descriptors have something to say?  epoll(7), kqueue(2) or poll(2) behind one set of calls.
 *
 * What: connections are edge-triggered: one report for each change, and the loop remembers it.  Where the backend
 *       has no edges (poll), it stops watching a descriptor once it has reported it, and poller_arm, which the
 *       loop calls when a socket said SOCK_AGAIN or gave less than was asked for, watches it again; with edges
 *       only a change between reading and writing has to be said.  Listeners are level-triggered and are paused by
 *       removing them.
 *       A reset or a pending socket error is reported as READ, WRITE and HANGUP together, so that whatever
 *       the loop was waiting for is tried and fails.
 * Owner: the loop.  Tags are the caller's (64 bits) and come back with the event; all but POLLER_TAG_RESERVED.
 * Lock: poller_wait may be called without the interpreter lock, by one thread at a time.  Meanwhile other threads
 *       may add, arm and remove, each descriptor one thread at a time: a wait that has begun heeds it, or ends
 *       without events.  poller_wake may be called by any thread and from a signal handler.
 * On error: 0 or -1 with errno; poller_wait treats EINTR as "no events".
 */
#ifndef HEADRACE_POLLER_H
#define HEADRACE_POLLER_H

#include <stdbool.h>
#include <stdint.h>

enum { POLLER_READ = 1, POLLER_WRITE = 2, POLLER_HANGUP = 4 /* peer has shut down or reset */ };

enum poller_kind { POLLER_BEST, POLLER_EPOLL, POLLER_KQUEUE, POLLER_POLL };

#define POLLER_TAG_RESERVED UINT64_MAX

/* What one wait tells of.  Few in debug builds, so that tests see what becomes of those that there was no room for. */
#if defined(HEADRACE_DEBUG) && HEADRACE_DEBUG
enum { POLLER_EVENTS_MAX = 4 };
#else
enum { POLLER_EVENTS_MAX = 256 };
#endif

/* The tag of the event by which poller_wake makes itself known is never reported: poller_wait drains it. */
struct poller_event {
    uint64_t tag;
    uint32_t flags;
};

struct poller; /* opaque */

struct poller *poller_create(enum poller_kind kind); /* NULL: errno (ENOTSUP: not on this system) */
const char *poller_name(const struct poller *p);
void poller_destroy(struct poller *p);

int poller_add_listener(struct poller *p, int fd, uint64_t tag); /* level-triggered, read */
int poller_add_connection(struct poller *p, int fd, uint64_t tag); /* edge-triggered, read and hangup */
/* Report (again) when fd is ready for `interest`: READ (hangups included), WRITE, or both.  What is true now is
 * reported, whether it was before or not; after WRITE alone nothing may be heard of input until READ is asked for
 * again. */
int poller_arm(struct poller *p, int fd, uint64_t tag, uint32_t interest);
int poller_remove(struct poller *p, int fd); /* before close(fd); events already fetched are killed by the tag */

/* Up to max events, POLLER_EVENTS_MAX at the most; a wake-up may take the room of one.  timeout_ms as in poll(2), -1
 * for ever, 0 not at all.  The number of events, or -1. */
int poller_wait(struct poller *p, struct poller_event *events, int max, int timeout_ms);
void poller_wake(struct poller *p); /* async-signal-safe */

#endif
