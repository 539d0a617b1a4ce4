/* Parsers, dates and clocks keep nothing between calls, but for the parser's variant: several threads at once. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "check.h"

#include "clock.h"
#include "http_date.h"
#include "percent.h"
#include "request_head.h"
#include "request_lines.h"
#include "threads.h"

enum { ROUNDS = 2000, FIELDS_MAX = 8 };

static const char message[] = "GET /a%20b?c HTTP/1.1\r\nHost: example.com\r\nAccept: */*\r\nCookie: a=b\r\n\r\n";

static bool parses(void)
{
    static const struct head_limits limits = {8190, 8190, FIELDS_MAX, 65536};
    struct field_line fields[FIELDS_MAX];
    struct request_head head;
    request_head_reset(&head, fields);
    return request_line_parse(&head, message, sizeof(message) - 1, &limits) == HEAD_DONE &&
           request_fields_parse(&head, message, sizeof(message) - 1, &limits) == HEAD_DONE && head.field_count == 3 &&
           head.next == sizeof(message) - 1 && head.path_len == 6;
}

static size_t parse_often(int number, void *shared)
{
    (void)number, (void)shared;
    size_t wrong = 0;
    for (int i = 0; i < ROUNDS; i++)
        wrong += !parses();
    return wrong;
}

/* The first test of the file, for the variant is chosen but once. */
TEST("threads whose first requests come at the same moment choose the parser's variant")
{
    CHECK(in_threads(parse_often, NULL) == 0);
}

static size_t parse_or_change_the_variant(int number, void *shared)
{
    static const enum request_lines_variant variants[] = {REQUEST_LINES_SCALAR, REQUEST_LINES_BEST};
    if (number > 0)
        return parse_often(number, shared);
    size_t wrong = 0;
    for (int i = 0; i < ROUNDS; i++)
        wrong += !request_lines_use(variants[i % 2]);
    return wrong;
}

TEST("a change of the variant disturbs no thread that parses")
{
    CHECK(in_threads(parse_or_change_the_variant, NULL) == 0);
}

static size_t write_dates(int number, void *shared)
{
    (void)number, (void)shared;
    size_t wrong = 0;
    int64_t before_ns = clock_monotonic_ns();
    uint64_t before_ms = clock_monotonic_ms();
    for (int i = 0; i < ROUNDS; i++) {
        char date[HTTP_DATE_BYTES];
        http_date_write(date, 784111777);
        wrong += memcmp(date, "Sun, 06 Nov 1994 08:49:37 GMT", HTTP_DATE_BYTES) != 0;
        wrong += clock_monotonic_ns() < before_ns || clock_monotonic_ms() < before_ms || clock_unix_s() < 784111777;
    }
    return wrong;
}

TEST("dates and clocks are right in every thread")
{
    CHECK(in_threads(write_dates, NULL) == 0);
}

CHECK_MAIN
