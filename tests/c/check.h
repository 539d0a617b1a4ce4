/* check.h - the whole harness of the C tests: one program for each file, no library.
 *
 *     #include "check.h"
 *
 *     TEST("rejects a field value that contains NUL")
 *     {
 *         const char *at = guarded("a\0b", 3);
 *         CHECK(!value_is_valid(at, 3));
 *         CHECK_MSG(n == 3, "n is %zu", n);
 *     }
 *
 *     CHECK_MAIN
 *
 * TEST registers itself (a constructor), in the order of the file.  A failed CHECK is reported and the test
 * goes on; the program ends with "N passed, N failed" and 1 when something failed.  A name as an argument
 * runs only the tests that contain it.  guarded() gives octets whose last one stands against an unreadable
 * page: one read behind the end is a crash, with or without a sanitizer.
 * Owner: guarded() memory lives until the test that asked for it ends.  Lock: none, one thread.
 */
#ifndef HEADRACE_CHECK_H
#define HEADRACE_CHECK_H

#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE 1
#endif
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MAP_ANONYMOUS
#define MAP_ANONYMOUS MAP_ANON
#endif

enum { CHECK_TESTS_MAX = 1024, CHECK_REPORTS_MAX = 20 /* of one test */ };

struct check_test {
    const char *name;
    void (*run)(void);
};

struct check_block {
    struct check_block *next;
    size_t mapped;
};

static struct check_test check_tests[CHECK_TESTS_MAX];
static size_t check_test_count;
static size_t check_failures; /* of the test that runs */
static struct check_block *check_blocks;

static inline void check_register(const char *name, void (*run)(void))
{
    if (check_test_count == CHECK_TESTS_MAX) {
        fprintf(stderr, "more than %d tests in one file\n", CHECK_TESTS_MAX);
        abort();
    }
    check_tests[check_test_count++] = (struct check_test){name, run};
}

#define CHECK_JOIN_(a, b) a##b
#define CHECK_JOIN(a, b) CHECK_JOIN_(a, b)

/* __COUNTER__ would do too, but a line number is enough: one TEST a line */
#define TEST(name)                                                                  \
    static void CHECK_JOIN(check_run_, __LINE__)(void);                             \
    __attribute__((constructor)) static void CHECK_JOIN(check_add_, __LINE__)(void) \
    {                                                                               \
        check_register(name, CHECK_JOIN(check_run_, __LINE__));                     \
    }                                                                               \
    static void CHECK_JOIN(check_run_, __LINE__)(void)

/* Count a failure; false when so many were reported that this one should stay silent. */
static inline bool check_failed(void) { return ++check_failures <= CHECK_REPORTS_MAX; }

#define CHECK(cond)                                                              \
    do {                                                                         \
        if (!(cond) && check_failed())                                           \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #cond); \
    } while (0)

#define CHECK_MSG(cond, ...)                                                     \
    do {                                                                         \
        if (!(cond) && check_failed()) {                                         \
            fprintf(stderr, "%s:%d: not true: %s: ", __FILE__, __LINE__, #cond); \
            fprintf(stderr, __VA_ARGS__);                                        \
            fputc('\n', stderr);                                                 \
        }                                                                        \
    } while (0)

static inline size_t check_page(void)
{
    long page = sysconf(_SC_PAGESIZE);
    return page > 0 ? (size_t)page : 4096;
}

/* Writable room for len octets that ends against a PROT_NONE page; len 0 gives a pointer that must not be
 * read. */
static inline char *guarded_room(size_t len)
{
    size_t page = check_page();
    size_t room = (len + sizeof(struct check_block) + page - 1) / page * page;
    char *base = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || mprotect(base + room, page, PROT_NONE) != 0) {
        perror("guarded");
        abort();
    }
    struct check_block *block =
        (struct check_block *)(void *)base; /* at the page's start, far from the octets */
    *block = (struct check_block){check_blocks, room + page};
    check_blocks = block;
    return base + room - len;
}

/* A copy of at[0..len) whose last octet stands against a PROT_NONE page. */
static inline char *guarded(const char *at, size_t len)
{
    char *copy = guarded_room(len);
    if (len > 0)
        memcpy(copy, at, len);
    return copy;
}

static inline void guarded_free_all(void)
{
    while (check_blocks != NULL) {
        struct check_block *block = check_blocks;
        check_blocks = block->next;
        munmap(block, block->mapped);
    }
}

/* A repeatable random number (xorshift64*); the state must not be 0. */
static inline uint64_t check_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

static inline int check_run_all(int argc, char **argv)
{
    size_t passed = 0, failed = 0;
    for (size_t i = 0; i < check_test_count; i++) {
        if (argc > 1 && strstr(check_tests[i].name, argv[1]) == NULL)
            continue;
        check_failures = 0;
        check_tests[i].run();
        guarded_free_all();
        if (check_failures == 0) {
            passed++;
            continue;
        }
        failed++;
        fprintf(stderr, "FAILED: %s (%zu checks)\n", check_tests[i].name, check_failures);
    }
    printf("%zu passed, %zu failed\n", passed, failed);
    return failed == 0 && passed > 0 ? 0 : 1;
}

#define CHECK_MAIN \
    int main(int argc, char **argv) { return check_run_all(argc, argv); }

#endif
