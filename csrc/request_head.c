#include "request_head.h"

#include <string.h>

#include "chars.h"
#include "percent.h"
#include "request_lines.h"
#include "request_rules.h"

void request_head_reset(struct request_head *head, struct field_line *fields)
{
    memset(head, 0, sizeof *head);
    head->fields = fields;
}

/* ---- which variant ---- */

struct variant {
    request_lines_function *line, *fields;
};

static const struct variant scalar = {request_line_scan_scalar, request_fields_scan_scalar};
#ifdef HEADRACE_HAS_AVX2
static const struct variant avx2 = {request_line_scan_avx2, request_fields_scan_avx2};
#endif
#ifdef HEADRACE_HAS_NEON
static const struct variant neon = {request_line_scan_neon, request_fields_scan_neon};
#endif

static const struct variant *variant_find(enum request_lines_variant wanted)
{
#ifdef HEADRACE_HAS_AVX2
    if (wanted == REQUEST_LINES_BEST || wanted == REQUEST_LINES_AVX2) {
        __builtin_cpu_init();
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2"))
            return &avx2;
    }
#endif
#ifdef HEADRACE_HAS_NEON
    if (wanted == REQUEST_LINES_BEST || wanted == REQUEST_LINES_NEON)
        return &neon; /* every aarch64 processor has it */
#endif
    return wanted == REQUEST_LINES_BEST || wanted == REQUEST_LINES_SCALAR ? &scalar : NULL;
}

/* NULL until the first request.  Two threads may both find and store the same answer. */
static const struct variant *variant_in_use;

const char *request_head_variant(void)
{
    const struct variant *found = variant_find(REQUEST_LINES_BEST);
#ifdef HEADRACE_HAS_AVX2
    if (found == &avx2)
        return "AVX2";
#endif
#ifdef HEADRACE_HAS_NEON
    if (found == &neon)
        return "NEON";
#endif
    (void)found;
    return "plain C";
}

bool request_lines_use(enum request_lines_variant wanted)
{
    const struct variant *found = variant_find(wanted);
    if (found != NULL)
        __atomic_store_n(&variant_in_use, found, __ATOMIC_RELAXED);
    return found != NULL;
}

static inline const struct variant *variant_get(void)
{
    const struct variant *found = __atomic_load_n(&variant_in_use, __ATOMIC_RELAXED);
    if (__builtin_expect(found == NULL, 0)) {
        found = variant_find(REQUEST_LINES_BEST);
        __atomic_store_n(&variant_in_use, found, __ATOMIC_RELAXED);
    }
    return found;
}

/* ---- how a line ends ---- */

static enum head_status refuse(struct request_head *head, enum request_error error)
{
    head->error = error;
    return HEAD_ERROR;
}

enum head_status request_line_leave(struct request_head *head, const struct head_limits *limits,
                                    struct line_reach reach, enum request_error error)
{
    bool in_request_line = head->fields_at == 0;
    size_t line_end =
        reach.line_at + (in_request_line ? limits->request_line_bytes_max : limits->field_line_bytes_max);
    size_t head_end = (size_t)head->started_at + limits->head_bytes_max;
    bool over_line = reach.of_line > line_end, over_head = reach.of_head > head_end;
    if (over_head && (!over_line || head_end <= line_end))
        error = REQUEST_HEAD_TOO_LONG;
    else if (over_line)
        error = in_request_line ? REQUEST_LINE_TOO_LONG : REQUEST_FIELD_TOO_LONG;
    head->next = (uint32_t)reach.line_at;
    return error == REQUEST_OK ? HEAD_PARTIAL : refuse(head, error);
}

/* ---- the complete request line ---- */

static bool method_is_octets(const struct request_head *head, const char *buf, const char *name, size_t len)
{
    return head->method_len == len && memcmp(buf + head->method_at, name, len) == 0;
}

#define METHOD_IS(head, buf, literal) method_is_octets(head, buf, literal, TEXT_BYTES(literal))

/* The length of "http://" or "https://", case-insensitive (RFC 3986 §3.1), at the start of the target; else 0. */
static size_t scheme_length(const char *at, size_t len)
{
    if (CHARS_BEGIN_WITH(at, len, "http://"))
        return TEXT_BYTES("http://");
    return CHARS_BEGIN_WITH(at, len, "https://") ? TEXT_BYTES("https://") : 0;
}

/* RFC 9112 §3.2.2.  On entry path_at and path_len span everything before "?". */
static bool absolute_form_split(struct request_head *head, const char *buf)
{
    const char *at = buf + head->path_at;
    size_t scheme_len = scheme_length(at, head->path_len);
    if (scheme_len == 0)
        return false;
    const char *authority = at + scheme_len;
    size_t rest = head->path_len - scheme_len;
    const char *slash = rest > 0 ? memchr(authority, '/', rest) : NULL;
    size_t authority_len = slash != NULL ? (size_t)(slash - authority) : rest;
    if (!authority_is_valid(authority, authority_len, false))
        return false;
    head->form = TARGET_ABSOLUTE;
    head->authority_at = head->path_at + (uint32_t)scheme_len;
    head->authority_len = (uint32_t)authority_len;
    head->path_at = head->authority_at + head->authority_len;
    head->path_len = (uint32_t)(rest - authority_len);
    if (head->path_has_percent) /* it may be the authority's */
        head->path_has_percent = head->path_len > 0 && memchr(slash, '%', head->path_len) != NULL;
    return true;
}

/* RFC 9112 §3.2.4.  The path is empty then. */
static bool asterisk_form_take(struct request_head *head, const char *buf)
{
    if (head->target_len != 1 || buf[head->target_at] != '*' || !METHOD_IS(head, buf, "OPTIONS"))
        return false;
    head->form = TARGET_ASTERISK;
    head->path_at = head->target_at + 1;
    head->path_len = 0;
    return true;
}

enum head_status request_line_finish(struct request_head *head, const char *buf, unsigned major_minor)
{
    if (major_minor != 11 && major_minor != 10)
        return refuse(head, REQUEST_VERSION_UNSUPPORTED);
    head->minor_version = (uint8_t)(major_minor - 10);
    if (METHOD_IS(head, buf, "CONNECT")) /* before its authority-form is looked at */
        return refuse(head, REQUEST_METHOD_UNSUPPORTED);
    head->method_is_head = METHOD_IS(head, buf, "HEAD");
    head->form = TARGET_ORIGIN;
    head->authority_at = head->authority_len = 0;
    if (buf[head->target_at] != '/' && !asterisk_form_take(head, buf) && !absolute_form_split(head, buf))
        return refuse(head, REQUEST_TARGET_INVALID);
    if (head->path_has_percent && percent_check(buf + head->path_at, head->path_len) != PERCENT_OK)
        return refuse(head, REQUEST_TARGET_INVALID);
    head->next = head->fields_at = head->target_at + head->target_len + 11; /* SP HTTP/1.x CRLF */
    return HEAD_DONE;
}

/* ---- in public ---- */

enum head_status request_line_parse(struct request_head *head, const char *buf, size_t len,
                                    const struct head_limits *limits)
{
    if (head->fields_at != 0)
        return HEAD_DONE;
    if (head->error != REQUEST_OK)
        return HEAD_ERROR;
    return variant_get()->line(head, buf, len, limits);
}

enum head_status request_fields_parse(struct request_head *head, const char *buf, size_t len,
                                      const struct head_limits *limits)
{
    if (head->error != REQUEST_OK)
        return HEAD_ERROR;
    return variant_get()->fields(head, buf, len, limits);
}
