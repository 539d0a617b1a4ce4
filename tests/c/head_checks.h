/* head_checks.h - what the tests of the head parser share: feed a literal, check what came out.
 *
 * Owner: the verdict that feed() gives is the same memory each time.  Lock: none, one thread.
 * On error: reported as a failed check.
 */
#ifndef HEADRACE_TEST_HEAD_CHECKS_H
#define HEADRACE_TEST_HEAD_CHECKS_H

#include "check.h"
#include "heads.h"

#define ROOM_BYTES 70000

static uint64_t random_state = 0x9e3779b97f4a7c15;

static inline uint64_t next_random(void) { return check_random(&random_state); }

static void heads_complain(const char *what, const char *buf, size_t len)
{
    if (!check_failed())
        return;
    fprintf(stderr, "%s, %zu octets: \"", what, len);
    for (size_t i = 0; i < len && i < 200; i++) {
        unsigned char c = (unsigned char)buf[i];
        if (c >= 32 && c < 127 && c != '"' && c != '\\')
            fputc(c, stderr);
        else
            fprintf(stderr, "\\%03o", c);
    }
    fputs("\"\n", stderr);
}

/* The verdict on buf[0..len), the same however it is fed. */
static struct verdict *feed_limited(const char *buf, size_t len, const struct head_limits *limits)
{
    static struct verdict v;
    static char message[ROOM_BYTES]; /* buf may be a literal or the same memory */
    char *room_end = guarded_room(ROOM_BYTES) + ROOM_BYTES;
    if (len > 0)
        memcpy(message, buf, len);
    heads_check(&v, message, len, limits, room_end, 20, next_random);
    guarded_free_all();
    return &v;
}

static inline struct verdict *feed(const char *buf, size_t len)
{
    return feed_limited(buf, len, &default_limits);
}

#define FEED(text) feed(text, sizeof(text) - 1)
#define CHECK_STATUS(v, want_status, want_error)                                                      \
    CHECK_MSG((v)->status == (want_status) && (v)->head.error == (want_error), "status %d, error %d", \
              (int)(v)->status, (int)(v)->head.error)
#define ACCEPT(text) CHECK_STATUS(FEED(text), HEAD_DONE, REQUEST_OK)
#define REFUSE(text, error) CHECK_STATUS(FEED(text), HEAD_ERROR, error)
#define PARTIAL(text) CHECK_STATUS(FEED(text), HEAD_PARTIAL, REQUEST_OK)
#define LINE(text) text "\r\nHost: a\r\n\r\n"
#define FIELD(text) "GET / HTTP/1.1\r\n" text "\r\n\r\n"

static inline bool text_is(const char *buf, uint32_t at, uint32_t len, const char *want)
{
    return strlen(want) == len && memcmp(buf + at, want, len) == 0;
}

#endif
