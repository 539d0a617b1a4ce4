/* heads.h - shared by the tests and the fuzz target of the head parser: feed a head in many ways, and a
 * second, slow reading of the grammar to compare with.
 *
 * Owner: a verdict owns nothing; its fields stand in an array inside.  Lock: none, one thread.
 * On error: the functions report through the callback `heads_complain`, which the including file defines.
 */
#ifndef HEADRACE_TEST_HEADS_H
#define HEADRACE_TEST_HEADS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "request_head.h"
#include "request_lines.h"
#include "request_rules.h"

enum { HEADS_FIELDS_MAX = 100 };

static void heads_complain(const char *what, const char *buf, size_t len);

static const struct head_limits default_limits = {8190, 8190, HEADS_FIELDS_MAX, 65536};

struct verdict {
    enum head_status status;
    struct request_head head;
    struct field_line fields[HEADS_FIELDS_MAX];
};

/* ---- feeding ---- */

static void verdict_begin(struct verdict *v) { request_head_reset(&v->head, v->fields); }

/* One more call, with the first `len` octets of the message at `buf`. */
static void verdict_step(struct verdict *v, const char *buf, size_t len, const struct head_limits *limits)
{
    v->status = request_line_parse(&v->head, buf, len, limits);
    if (v->status == HEAD_DONE)
        v->status = request_fields_parse(&v->head, buf, len, limits);
}

static bool verdicts_equal(const struct verdict *a, const struct verdict *b)
{
    const struct request_head *x = &a->head, *y = &b->head;
    if (a->status != b->status || x->error != y->error)
        return false;
    if (a->status == HEAD_ERROR)
        return true;
    if (x->next != y->next || x->started_at != y->started_at || x->fields_at != y->fields_at ||
        x->field_count != y->field_count || x->ids_seen != y->ids_seen)
        return false;
    if (memcmp(a->fields, b->fields, x->field_count * sizeof a->fields[0]) != 0)
        return false;
    if (x->fields_at == 0)
        return true;
    return x->method_at == y->method_at && x->method_len == y->method_len && x->target_at == y->target_at &&
           x->target_len == y->target_len && x->form == y->form && x->authority_at == y->authority_at &&
           x->authority_len == y->authority_len && x->path_at == y->path_at && x->path_len == y->path_len &&
           x->query_at == y->query_at && x->query_len == y->query_len &&
           x->path_has_percent == y->path_has_percent && x->minor_version == y->minor_version &&
           x->method_is_head == y->method_is_head;
}

/* ---- the second reading: lines first, then each line by itself, sets as strings ---- */

static const char alphanumerics[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
static const char token_specials[] = "!#$%&'*+-.^_`|~";
static const char path_specials[] = "-._~!$&'()*+,;=:@/|[]^%";
static const char query_specials[] = "-._~!$&'()*+,;=:@/|[]^%?`{}\\";

static bool in_set(char c, const char *specials)
{
    return c != '\0' && (strchr(alphanumerics, c) != NULL || strchr(specials, c) != NULL);
}

static bool all_in_set(const char *at, size_t len, const char *specials)
{
    for (size_t i = 0; i < len; i++) {
        if (!in_set(at[i], specials))
            return false;
    }
    return true;
}

static bool value_octets_ok(const char *at, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)at[i];
        if ((c < 32 && c != 9) || c == 127)
            return false;
    }
    return true;
}

static size_t find_octet(const char *at, size_t len, char c)
{
    size_t i = 0;
    while (i < len && at[i] != c)
        i++;
    return i;
}

/* The offset of the first CRLF in at[0..len), or len. */
static size_t find_crlf(const char *at, size_t len)
{
    for (size_t i = 0; i + 1 < len; i++) {
        if (at[i] == '\r' && at[i + 1] == '\n')
            return i;
    }
    return len;
}

static bool escapes_ok(const char *at, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (at[i] != '%')
            continue;
        const char *hex = "0123456789abcdefABCDEF";
        if (len - i < 3 || at[i + 1] == 0 || at[i + 2] == 0 || strchr(hex, at[i + 1]) == NULL ||
            strchr(hex, at[i + 2]) == NULL || (at[i + 1] == '0' && at[i + 2] == '0'))
            return false;
    }
    return true;
}

static bool starts_with_ignoring_case(const char *at, size_t len, const char *prefix)
{
    for (size_t i = 0; prefix[i] != '\0'; i++) {
        char c = i < len ? at[i] : '\0';
        if (c >= 'A' && c <= 'Z')
            c = (char)(c + 32);
        if (c != prefix[i])
            return false;
    }
    return true;
}

static bool reference_target(const char *at, size_t len, bool options)
{
    size_t path_len = find_octet(at, len, '?'), from = 0;
    if (path_len < len && !all_in_set(at + path_len, len - path_len, query_specials))
        return false;
    if (!all_in_set(at, path_len, path_specials))
        return false;
    if (len == 1 && at[0] == '*')
        return options;
    if (len > 0 && at[0] != '/') {
        size_t scheme = starts_with_ignoring_case(at, path_len, "http://")    ? 7
                        : starts_with_ignoring_case(at, path_len, "https://") ? 8
                                                                              : 0;
        if (scheme == 0)
            return false;
        from = scheme + find_octet(at + scheme, path_len - scheme, '/');
        if (!authority_is_valid(at + scheme, from - scheme, false))
            return false;
    }
    return len > 0 && escapes_ok(at + from, path_len - from);
}

static bool reference_request_line(const char *at, size_t len)
{
    size_t method_len = find_octet(at, len, ' ');
    if (method_len == 0 || method_len == len || !all_in_set(at, method_len, token_specials))
        return false;
    const char *target = at + method_len + 1;
    size_t rest = len - method_len - 1, target_len = find_octet(target, rest, ' ');
    if (rest - target_len != 9 || memcmp(target + target_len, " HTTP/1.", 8) != 0)
        return false;
    if (target[target_len + 8] != '0' && target[target_len + 8] != '1')
        return false;
    if (method_len == 7 && memcmp(at, "CONNECT", 7) == 0)
        return false;
    return reference_target(target, target_len, method_len == 7 && memcmp(at, "OPTIONS", 7) == 0);
}

static bool reference_field_line(const char *at, size_t len)
{
    size_t name_len = find_octet(at, len, ':');
    return name_len > 0 && name_len < len && all_in_set(at, name_len, token_specials) &&
           value_octets_ok(at + name_len + 1, len - name_len - 1);
}

/* Is there a complete and valid head at the start of buf[0..len)?  *end stands behind it, *lines counts
 * fields. */
static bool reference_accepts(const char *buf, size_t len, const struct head_limits *limits, size_t *end,
                              size_t *lines)
{
    size_t at = len >= 2 && buf[0] == '\r' && buf[1] == '\n' ? 2 : 0, started_at = at;
    size_t line_len = find_crlf(buf + at, len - at);
    *lines = 0;
    if (line_len == len - at || line_len > limits->request_line_bytes_max ||
        !reference_request_line(buf + at, line_len))
        return false;
    for (;;) {
        at += line_len + 2;
        line_len = find_crlf(buf + at, len - at);
        if (line_len == len - at)
            return false;
        if (line_len == 0)
            break;
        if (line_len > limits->field_line_bytes_max || !reference_field_line(buf + at, line_len))
            return false;
        ++*lines;
    }
    *end = at + 2;
    return *lines <= limits->fields_max && *end - started_at <= limits->head_bytes_max;
}

/* The id by the letters of the name, in the order of enum field_id. */
static uint32_t reference_id(const char *name, size_t len)
{
    static const char *const names[] = {"connection", "content-length", "content-type", "cookie",
                                        "expect",     "host",           "proxy",        "transfer-encoding"};
    for (size_t i = 0; i < len; i++) {
        if (name[i] == '_')
            return FIELD_UNDERSCORE;
    }
    for (uint32_t id = 0; id < 8; id++) {
        if (strlen(names[id]) == len && starts_with_ignoring_case(name, len, names[id]))
            return id + 1;
    }
    return FIELD_OTHER;
}

/* One accepted field line buf[at..at+len) and what was made of it. */
static bool field_matches(const struct field_line *f, const char *buf, size_t at, size_t len)
{
    size_t name_len = find_octet(buf + at, len, ':'), value = at + name_len + 1, end = at + len;
    while (value < end && (buf[value] == ' ' || buf[value] == '\t'))
        value++;
    while (end > value && (buf[end - 1] == ' ' || buf[end - 1] == '\t'))
        end--;
    return f->name_at == at && f->name_len == name_len && f->value_len == end - value &&
           (f->value_len == 0 || f->value_at == value) && f->id == reference_id(buf + at, name_len);
}

/* What an accepted head says is what the second reading finds; every offset lies inside buf[0..next). */
static bool content_matches(const struct verdict *v, const char *buf)
{
    const struct request_head *h = &v->head;
    size_t at = h->started_at, line_len = find_crlf(buf + at, h->next - at);
    size_t method_len = find_octet(buf + at, line_len, ' '), target_len = line_len - method_len - 10;
    size_t path_end = h->path_at + h->path_len, target_end = h->target_at + h->target_len;
    uint32_t ids_seen = 0;
    if (h->method_at != at || h->method_len != method_len || h->target_at != at + method_len + 1 ||
        h->target_len != target_len || buf[at + line_len - 1] != '0' + h->minor_version)
        return false;
    if (h->method_is_head != (method_len == 4 && memcmp(buf + at, "HEAD", 4) == 0))
        return false;
    if (path_end < target_end
            ? buf[path_end] != '?' || h->query_at != path_end + 1 || h->query_at + h->query_len != target_end
            : path_end != target_end || h->query_len != 0)
        return false;
    if (h->path_has_percent != (find_octet(buf + h->path_at, h->path_len, '%') < h->path_len))
        return false;
    size_t path_at = h->form == TARGET_ABSOLUTE ? h->authority_at + h->authority_len : h->target_at;
    if (h->path_at != path_at + (h->form == TARGET_ASTERISK))
        return false;
    for (uint32_t i = 0; i < h->field_count; i++) {
        at += line_len + 2;
        line_len = find_crlf(buf + at, h->next - at);
        if (!field_matches(&h->fields[i], buf, at, line_len))
            return false;
        ids_seen |= 1u << h->fields[i].id;
    }
    return at + line_len + 4 == h->next && ids_seen == h->ids_seen;
}

/* ---- everything at once ---- */

/* Feed buf[0..len) in steps that end where `cut` says; `room_end` is the end of memory behind which nothing
 * may be read, and the message moves between two steps, as a connection's buffer may. */
static void verdict_by_cuts(struct verdict *v, const char *buf, size_t len, const size_t *cuts,
                            size_t cut_count, const struct head_limits *limits, char *room_end)
{
    verdict_begin(v);
    for (size_t i = 0; i <= cut_count; i++) {
        size_t upto = i < cut_count ? cuts[i] : len;
        if (upto > 0)
            memcpy(room_end - upto, buf, upto);
        verdict_step(v, room_end - upto, upto, limits);
        if (v->status != HEAD_PARTIAL)
            return;
    }
}

static void verdict_by_octet(struct verdict *v, const char *buf, size_t len, const struct head_limits *limits,
                             char *room_end)
{
    verdict_begin(v);
    v->status = HEAD_PARTIAL;
    for (size_t upto = 0; upto <= len && v->status == HEAD_PARTIAL; upto++) {
        if (upto > 0)
            memcpy(room_end - upto, buf, upto);
        verdict_step(v, room_end - upto, upto, limits);
    }
}

/* The verdict on the whole must be the second reading's, where that has one. */
static void compare_with_reference(const struct verdict *v, const char *buf, size_t len,
                                   const struct head_limits *limits)
{
    size_t end = 0, lines = 0;
    bool accepts = reference_accepts(buf, len, limits, &end, &lines);
    if (accepts != (v->status == HEAD_DONE))
        heads_complain("the second reading disagrees", buf, len);
    else if (accepts && (v->head.next != end || v->head.field_count != lines))
        heads_complain("the second reading ends elsewhere", buf, len);
    else if (accepts && !content_matches(v, buf))
        heads_complain("the second reading finds other content", buf, len);
    if (v->status != HEAD_ERROR && v->head.error != REQUEST_OK)
        heads_complain("an error without HEAD_ERROR", buf, len);
}

static void heads_compare(const struct verdict *want, const struct verdict *got, const char *what,
                          const char *buf, size_t len)
{
    if (!verdicts_equal(want, got))
        heads_complain(what, buf, len);
}

/* Feed buf[0..len) whole, by octet, at every single cut (of a short message) and at `random_cuts` pairs of
 * cuts, with every variant of the scanner: one verdict, which is returned in *v.  `next_random` gives random
 * numbers. */
static void heads_check(struct verdict *v, const char *buf, size_t len, const struct head_limits *limits,
                        char *room_end, int random_cuts, uint64_t (*next_random)(void))
{
    static const enum request_lines_variant variants[] = {REQUEST_LINES_SCALAR, REQUEST_LINES_AVX2,
                                                          REQUEST_LINES_NEON};
    struct verdict other;
    request_lines_use(REQUEST_LINES_SCALAR);
    verdict_by_cuts(v, buf, len, NULL, 0, limits, room_end);
    compare_with_reference(v, buf, len, limits);
    for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++) {
        if (!request_lines_use(variants[i]))
            continue;
        verdict_by_cuts(&other, buf, len, NULL, 0, limits, room_end);
        heads_compare(v, &other, "a variant of the scanner disagrees", buf, len);
        if (len <= 2048) {
            verdict_by_octet(&other, buf, len, limits, room_end);
            heads_compare(v, &other, "by octet is not as whole", buf, len);
        }
        for (size_t cut = 0; cut < len && len <= 256; cut++) {
            verdict_by_cuts(&other, buf, len, &cut, 1, limits, room_end);
            heads_compare(v, &other, "a cut changes the verdict", buf, len);
        }
        for (int n = 0; n < random_cuts && len > 0; n++) {
            size_t a = (size_t)(next_random() % len), b = (size_t)(next_random() % len);
            size_t cuts[2] = {a < b ? a : b, a < b ? b : a};
            verdict_by_cuts(&other, buf, len, cuts, 2, limits, room_end);
            heads_compare(v, &other, "two cuts change the verdict", buf, len);
        }
    }
    request_lines_use(REQUEST_LINES_BEST);
}

#endif
