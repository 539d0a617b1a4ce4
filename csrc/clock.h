/* clock.h - what time is it?
 *
 * What: monotonic milliseconds for deadlines, nanoseconds for adding up short waits, and seconds of the day for dates,
 *       from the clock that the kernel keeps anyway where it does (some 4 ms coarse).  No system calls on Linux.
 * Owner, lock: none.  On error: clock_gettime(2) cannot fail for these clocks.
 */
#ifndef HEADRACE_CLOCK_H
#define HEADRACE_CLOCK_H

#include <stdint.h>
#include <time.h>

#ifdef CLOCK_REALTIME_COARSE
#define HEADRACE_CLOCK_REALTIME CLOCK_REALTIME_COARSE
#else
#define HEADRACE_CLOCK_REALTIME CLOCK_REALTIME
#endif

static inline int64_t clock_monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline uint64_t clock_monotonic_ms(void)
{
    return (uint64_t)clock_monotonic_ns() / 1000000;
}

static inline int64_t clock_unix_s(void)
{
    struct timespec now;
    clock_gettime(HEADRACE_CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec;
}

static inline int64_t clock_unix_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

#endif
