/* log_line.h - one line of the access log, from a format that was taken apart once.
 *
 * What: a format is an array of parts; a line is each part's text in turn, and "\n".
 * Owner: the caller owns parts, event and clock.  The clock remembers the texts of the last second.
 * Lock: the caller's, for the clock.  On error: nothing can fail; `out` has room for log_line_bytes_max() octets.
 */
#ifndef HEADRACE_LOG_LINE_H
#define HEADRACE_LOG_LINE_H

#include <stddef.h>
#include <stdint.h>

#include "log_text.h"

enum log_part_kind {
    LOG_LITERAL,
    LOG_TEXT,            /* one of the event's texts */
    LOG_REQUEST_LINE,    /* method, target and protocol; the target alone where there is no method */
    LOG_VERSION,         /* the protocol without "HTTP/" */
    LOG_STATUS,          /* from here on: what depends on the answer, or on when it was */
    LOG_BODY_BYTES,
    LOG_BODY_BYTES_OR_DASH, /* the Common Log Format has "-" for none */
    LOG_LOCAL_TIME,      /* in brackets, when the request began */
    LOG_UTC_TIME,        /* RFC 3339, with microseconds */
    LOG_SECONDS,         /* from here on: how long it took; whole ones */
    LOG_MILLISECONDS,
    LOG_MICROSECONDS,
    LOG_NANOSECONDS,
    LOG_DECIMAL_SECONDS  /* with six decimals */
};

enum log_encoding {
    LOG_WORD,        /* between spaces */
    LOG_QUOTED,      /* between double quotes that are literals */
    LOG_JSON_STRING, /* the same in JSON */
    LOG_JSON_VALUE   /* a JSON value: quotes are added, what is not there is null */
};

enum { LOG_METHOD, LOG_TARGET, LOG_PROTOCOL, LOG_FIRST_FREE_TEXT }; /* the first of the event's texts */

/* A client decides how long a field is; more than this of one value is left out, with "..." in its place. */
enum { LOG_TEXT_BYTES_MAX = 8192 };

struct log_part {
    enum log_part_kind kind;
    enum log_encoding encoding;
    uint32_t text;       /* LOG_TEXT: its number */
    uint32_t literal_len;
    const char *literal;
};

struct log_text {
    const char *at; /* NULL: not there */
    size_t len;
};

struct log_event {
    const struct log_text *texts;
    int status;
    int64_t body_bytes;
    int64_t began_unix_ns;
    int64_t duration_ns;
};

struct log_clock {
    int64_t local_s, utc_s; /* of the texts; 0 at first */
    char local[LOG_LOCAL_TIME_BYTES];
    char utc[LOG_UTC_TIME_BYTES];
};

/* How much room the lines of a format need. */
struct log_need {
    size_t fixed_bytes; /* beside the event's texts */
    size_t uses_max;    /* how often the same text may be written */
    size_t bytes_bound; /* of the longest line, whatever the texts are */
};

struct log_need log_line_need(const struct log_part *parts, size_t count, size_t text_count);
/* The most octets that a line with these texts can have, its end included. */
size_t log_line_bytes_max(const struct log_need *need, const struct log_text *texts, size_t text_count);
/* Octets written. */
size_t log_line_write(char *out, const struct log_part *parts, size_t count, const struct log_event *event,
                      struct log_clock *clock);

/* What of a line stays the same from one request to the next of the same head, already escaped: what varies lies
 * between.  Owner of the octets: whoever allocated them. */
enum { LOG_VARYING_MAX = 32 };

struct log_sketch {
    char *octets;
    size_t len;                         /* 0: not made */
    uint32_t ends[LOG_VARYING_MAX + 1]; /* where the octets before each varying part end, and the last */
};

/* The parts that vary with the answer, at most LOG_VARYING_MAX; their number, or more when there are more. */
size_t log_line_varying(const struct log_part *parts, size_t count, const struct log_part **varying);
/* sketch->octets has room for log_line_bytes_max() octets. */
void log_sketch_make(struct log_sketch *sketch, const struct log_part *parts, size_t count,
                     const struct log_event *event);
/* The most octets of its line. */
static inline size_t log_sketch_bytes_max(const struct log_sketch *sketch, size_t varying_count)
{
    return sketch->len + 32 * varying_count + 1;
}
size_t log_sketch_write(char *out, const struct log_sketch *sketch, const struct log_part *const *varying,
                        size_t varying_count, const struct log_event *event, struct log_clock *clock);

#endif
