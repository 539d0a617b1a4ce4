/* invariant.h - what the fuzz targets share: what does not hold ends the process; blocks without room behind them. */
#ifndef HEADRACE_TESTS_INVARIANT_H
#define HEADRACE_TESTS_INVARIANT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INVARIANT(cond)                                                                           \
    do {                                                                                          \
        if (!(cond)) {                                                                            \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #cond);             \
            abort();                                                                              \
        }                                                                                         \
    } while (0)

/* A block of exactly this size, so that the sanitizer sees a read behind its end; free() it. */
static inline char *exact_copy(const void *at, size_t len)
{
    char *copy = malloc(len > 0 ? len : 1);
    if (copy == NULL)
        abort();
    if (len > 0)
        memcpy(copy, at, len);
    return copy;
}

#endif
