/* request_lines_scalar.c - the scanners for any processor: one octet at a time, by table. */
#include "request_lines.h"

#include "chars.h"

struct scanner;

static inline const struct scanner *scanner_get(void) { return NULL; }

/* `except` is a member of the class that stops all the same. */
static inline size_t class_stop(const char *buf, size_t at, size_t len, unsigned classes, char except)
{
    while (at < len && char_is(buf[at], classes) && buf[at] != except)
        at++;
    return at;
}

static inline size_t path_stop(const char *buf, size_t at, size_t len)
{
    return class_stop(buf, at, len, CHAR_PATH, '%');
}

static inline size_t query_stop(const char *buf, size_t at, size_t len)
{
    return class_stop(buf, at, len, CHAR_QUERY, '\0');
}

static inline struct stops line_stops(const struct scanner *s, const char *buf, size_t at, size_t len)
{
    (void)s;
    size_t name_end = class_stop(buf, at, len, CHAR_TOKEN, '_');
    return (struct stops){name_end, class_stop(buf, name_end, len, CHAR_FIELD_VALUE, '\0')};
}

static inline struct stops request_stops(const char *buf, size_t at, size_t len)
{
    size_t method_end = class_stop(buf, at, len, CHAR_TOKEN, '_');
    return (struct stops){method_end, method_end < len ? path_stop(buf, method_end + 1, len) : len};
}

#define SCAN_REQUEST_LINE request_line_scan_scalar
#define SCAN_REQUEST_FIELDS request_fields_scan_scalar
#include "request_lines.inc"
