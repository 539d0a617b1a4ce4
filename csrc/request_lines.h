/* request_lines.h - private to request_head.c: the loops over the lines of a head, compiled once for each
 * instruction set, and what they share.
 *
 * What: request_lines_scalar.c, request_lines_avx2.c and request_lines_neon.c each define four scanners
 *       (below) and include request_lines.inc, which is the grammar written over them.  request_head.c picks
 *       one at run time.  Every variant gives the same verdict for every input; the tests compare
 *       them.
 * Owner, lock, errors: as request_head.h.
 */
#ifndef HEADRACE_REQUEST_LINES_H
#define HEADRACE_REQUEST_LINES_H

#include "request_head.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define HEADRACE_HAS_AVX2 1
#endif
#if defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__)) && !defined(__AARCH64EB__)
#define HEADRACE_HAS_NEON 1
#endif

typedef enum head_status request_lines_function(struct request_head *head, const char *buf, size_t len,
                                                const struct head_limits *limits);

/* From head->started_at / head->next on; the sticky states are the caller's. */
request_lines_function request_line_scan_scalar, request_fields_scan_scalar;
request_lines_function request_line_scan_avx2, request_fields_scan_avx2;
request_lines_function request_line_scan_neon, request_fields_scan_neon;

enum request_lines_variant {
    REQUEST_LINES_BEST, /* what this processor can do; the default */
    REQUEST_LINES_SCALAR,
    REQUEST_LINES_AVX2,
    REQUEST_LINES_NEON
};

/* For tests and measurements: use this variant from now on. false when this build or processor has it not. */
bool request_lines_use(enum request_lines_variant variant);

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
/* Out of line, so that the straight road is short and needs few registers. */
#define COLD __attribute__((noinline, cold))

/* Two offsets that one scan finds (request_lines.inc says which). */
struct stops {
    size_t first, second;
};

/* How far a line got, for the limits: offsets behind the last octet that counts. */
struct line_reach {
    size_t line_at; /* where the line starts */
    size_t of_line; /* against the limit of one line: without CRLF */
    size_t of_head; /* against the limit of the head: with CRLF */
};

/* Leave a line that is not complete and right: which limit was passed first, else `error`, else
 * HEAD_PARTIAL. */
enum head_status request_line_leave(struct request_head *head, const struct head_limits *limits,
                                    struct line_reach reach, enum request_error error);

/* The checks that need the complete request line: version, method, form of the target. */
enum head_status request_line_finish(struct request_head *head, const char *buf, unsigned major_minor);

#endif
