/* clock.h - what time is it?
 *
 * What: monotonic milliseconds for deadlines and seconds of the day for dates, from the clocks that the kernel keeps
 *       anyway where it does (some 4 ms coarse, no system call); and nanoseconds for adding up short waits.
 * Owner, lock: none.  On error: clock_gettime(2) cannot fail for these clocks.
 */
#ifndef HEADRACE_CLOCK_H
#define HEADRACE_CLOCK_H

#include <stdint.h>
#include <time.h>

#ifdef CLOCK_MONOTONIC_COARSE
#define HEADRACE_CLOCK_MONOTONIC CLOCK_MONOTONIC_COARSE
#define HEADRACE_CLOCK_REALTIME CLOCK_REALTIME_COARSE
#else
#define HEADRACE_CLOCK_MONOTONIC CLOCK_MONOTONIC
#define HEADRACE_CLOCK_REALTIME CLOCK_REALTIME
#endif

static inline uint64_t clock_monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(HEADRACE_CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static inline int64_t clock_monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline int64_t clock_unix_s(void)
{
    struct timespec now;
    clock_gettime(HEADRACE_CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec;
}

#endif
