/* system_faults.c - a library to preload: the wall clock jumps and fork(2) fails when a test says so.
 *
 * What: the file named by HEADRACE_TEST_FAULTS is mapped, and has what test_system_faults.py writes: seconds that are
 *       added to the wall clock, and how many further forks fail, in all processes together.
 * Lock: none; both words change by themselves.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct faults {
    int64_t offset_s;
    int64_t forks_to_fail;
};

static struct faults none;
static struct faults *faults = &none;

__attribute__((constructor)) static void map(void)
{
    const char *path = getenv("HEADRACE_TEST_FAULTS");
    int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *at = fd >= 0 ? mmap(NULL, sizeof *faults, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (at == MAP_FAILED)
        abort(); /* or a test would pass that has tested nothing */
    faults = at;
    close(fd);
}

static int64_t offset_s(void)
{
    return __atomic_load_n(&faults->offset_s, __ATOMIC_RELAXED);
}

int clock_gettime(clockid_t id, struct timespec *now)
{
    static int (*next)(clockid_t, struct timespec *);
    if (next == NULL)
        next = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = next(id, now);
    if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        now->tv_sec += offset_s();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    static int (*next)(struct timeval *, void *);
    if (next == NULL)
        next = (int (*)(struct timeval *, void *))dlsym(RTLD_NEXT, "gettimeofday");
    int result = next(now, zone);
    if (result == 0)
        now->tv_sec += offset_s();
    return result;
}

time_t time(time_t *into)
{
    struct timespec now = {0};
    clock_gettime(CLOCK_REALTIME, &now);
    if (into != NULL)
        *into = now.tv_sec;
    return now.tv_sec;
}

static pid_t fork_or_fail(void)
{
    static pid_t (*next)(void);
    if (next == NULL)
        next = (pid_t (*)(void))dlsym(RTLD_NEXT, "fork");
    int64_t *to_fail = &faults->forks_to_fail, left = __atomic_load_n(to_fail, __ATOMIC_RELAXED);
    while (left > 0)
        if (__atomic_compare_exchange_n(to_fail, &left, left - 1, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
            errno = EAGAIN;
            return -1;
        }
    return next();
}

pid_t fork(void)
{
    return fork_or_fail();
}

pid_t vfork(void) /* of subprocess; a frame must not return twice, so it is a fork */
{
    return fork_or_fail();
}
