#include "request_rules.h"

#include <string.h>

#include "chars.h"
#include "percent.h"

enum { PORT_MAX = 65535, IPV6_GROUPS = 8 };

/* Out of line, so that the frequent paths need few registers. */
#define RARE __attribute__((noinline, cold))

/* ---- authority, RFC 3986 §3.2 ---- */

/* What follows a host: nothing, or ":" and *DIGIT, a number that TCP knows. */
static bool port_is_valid(const char *at, const char *end)
{
    uint32_t port = 0;
    if (at == end)
        return true;
    if (*at != ':')
        return false;
    while (++at < end) {
        uint32_t digit = (uint32_t)(unsigned char)*at - '0';
        port = port * 10 + digit;
        if (digit > 9 || port > PORT_MAX)
            return false;
    }
    return true;
}

/* dec-octet at *from, without leading zeros; *from moves behind it. */
static bool dec_octet_take(const char *at, size_t len, size_t *from)
{
    size_t start = *from, i = start;
    uint32_t value = 0;
    while (i < len && i - start < 3 && char_is(at[i], CHAR_DIGIT))
        value = value * 10 + (uint32_t)(at[i++] - '0');
    *from = i;
    return i > start && value <= 255 && (at[start] != '0' || i == start + 1);
}

static bool ipv4_is_valid(const char *at, size_t len)
{
    size_t i = 0;
    for (int part = 0; part < 4; part++) {
        if (part > 0 && (i == len || at[i++] != '.'))
            return false;
        if (!dec_octet_take(at, len, &i))
            return false;
    }
    return i == len;
}

static size_t hex_run(const char *at, size_t len)
{
    size_t i = 0;
    while (i < len && char_is(at[i], CHAR_HEXDIG))
        i++;
    return i;
}

/* IPv6address: eight groups, "::" at most once for one or more of them, the last two perhaps as IPv4.  No
 * zone identifier: RFC 9110 §4.2 knows none. */
static bool ipv6_is_valid(const char *at, size_t len)
{
    int groups = 0;
    bool elided = false;
    size_t i = 0;
    if (len >= 2 && at[0] == ':' && at[1] == ':') {
        elided = true;
        i = 2;
        if (i == len)
            return true;
    }
    for (;;) {
        size_t digits = hex_run(at + i, len - i);
        if (i + digits < len && at[i + digits] == '.') {
            groups += 2;
            return ipv4_is_valid(at + i, len - i) && (elided ? groups < IPV6_GROUPS : groups == IPV6_GROUPS);
        }
        if (digits < 1 || digits > 4)
            return false;
        groups++;
        i += digits;
        if (i == len)
            break;
        if (at[i++] != ':')
            return false;
        if (i < len && at[i] == ':') {
            if (elided)
                return false;
            elided = true;
            if (++i == len)
                break;
        }
    }
    return elided ? groups < IPV6_GROUPS : groups == IPV6_GROUPS;
}

/* "v" 1*HEXDIG "." 1*( unreserved / sub-delims / ":" ) */
static bool ipvfuture_is_valid(const char *at, size_t len)
{
    size_t digits = hex_run(at + 1, len - 1);
    size_t i = 1 + digits;
    if (digits == 0 || i == len || at[i] != '.' || ++i == len)
        return false;
    while (i < len && (char_is(at[i], CHAR_REG_NAME) || at[i] == ':'))
        i++;
    return i == len;
}

/* "[" IPv6address / IPvFuture "]" and a port */
static RARE bool ip_literal_is_valid(const char *at, size_t len)
{
    const char *bracket = memchr(at, ']', len);
    if (bracket == NULL)
        return false;
    size_t inner = (size_t)(bracket - at) - 1;
    bool is_future = inner > 0 && (at[1] | 0x20) == 'v';
    return (is_future ? ipvfuture_is_valid(at + 1, inner) : ipv6_is_valid(at + 1, inner)) &&
           port_is_valid(bracket + 1, at + len);
}

/* A reg-name with escapes, and a port. */
static RARE bool escaped_name_is_valid(const char *at, size_t len)
{
    size_t i = 0;
    while (i < len && (char_is(at[i], CHAR_REG_NAME) || at[i] == '%'))
        i++;
    return percent_check(at, i) == PERCENT_OK && port_is_valid(at + i, at + len);
}

/* IPv4address is a special case of reg-name.  An empty name is none that http could serve (RFC 9110
 * §4.2.1). */
bool authority_is_valid(const char *at, size_t len, bool empty_ok)
{
    const char *c = at, *const end = at + len;
    if (len == 0)
        return empty_ok;
    while (char_is(*c, CHAR_REG_NAME)) {
        if (++c == end)
            return true;
    }
    if (*c == '%')
        return escaped_name_is_valid(at, len);
    if (c == at)
        return *c == '[' && ip_literal_is_valid(at, len);
    return port_is_valid(c, end);
}

/* ---- the rules ---- */

/* What the fields said so far. */
struct seen {
    bool close, keep_alive, content_type, expect_continue;
};

static inline bool option_take(struct seen *seen, const char *at, size_t len)
{
    if (len == 10 && chars_are8(at, "keep-ali") && chars_are4(at + 6, "live"))
        seen->keep_alive = true;
    else if (len == 5 && chars_are4(at, "clos") && (at[4] | 0x20) == 'e')
        seen->close = true;
    else
        return false;
    return true;
}

/* #connection-option; empty elements are allowed to a sender that joins lists (RFC 9110 §5.6.1.2). */
static RARE bool connection_list_take(struct seen *seen, const char *at, size_t len)
{
    size_t i = 0;
    while (i < len) {
        size_t from = i;
        while (i < len && char_is(at[i], CHAR_TOKEN))
            i++;
        option_take(seen, at + from, i - from);
        while (i < len && char_is_blank(at[i]))
            i++;
        if (i < len && at[i++] != ',')
            return false;
        while (i < len && char_is_blank(at[i]))
            i++;
    }
    return true;
}

/* What one field line says that is not Host. */
static enum request_error field_take(struct seen *seen, const char *at, size_t len, enum field_id id,
                                     bool is_1_0)
{
    switch (id) {
    case FIELD_CONNECTION: /* mostly one option */
        return option_take(seen, at, len) || connection_list_take(seen, at, len) ? REQUEST_OK
                                                                                 : REQUEST_CONNECTION_INVALID;
    case FIELD_CONTENT_TYPE:
        if (seen->content_type)
            return REQUEST_CONTENT_TYPE_REPEATED;
        seen->content_type = true;
        return REQUEST_OK;
    case FIELD_EXPECT:
        if (is_1_0)
            return REQUEST_OK;
        seen->expect_continue = true;
        return len == 12 && chars_are8(at, "100-cont") && chars_are4(at + 8, "inue")
                   ? REQUEST_OK
                   : REQUEST_EXPECTATION_FAILED;
    default:
        return REQUEST_OK;
    }
}

enum request_error request_rules_check(const struct request_head *head, const char *buf,
                                       struct request_rules *rules)
{
    struct seen seen = {false, false, false, false};
    const struct field_line *const fields = head->fields, *host = NULL;
    const bool is_1_0 = head->minor_version == 0;
    for (const struct field_line *field = fields, *end = fields + head->field_count; field != end; field++) {
        const char *at = buf + field->value_at;
        enum request_error error = REQUEST_OK;
        if (field->id == FIELD_OTHER)
            continue;
        if (field->id != FIELD_HOST) {
            error = field_take(&seen, at, field->value_len, (enum field_id)field->id, is_1_0);
        } else {
            if (host != NULL)
                return REQUEST_HOST_REPEATED;
            host = field;
            if (!authority_is_valid(at, field->value_len, true))
                return REQUEST_HOST_INVALID;
        }
        if (error != REQUEST_OK)
            return error;
    }
    if (host == NULL && !is_1_0) /* RFC 9112 §3.2, with an absolute-form target too */
        return REQUEST_HOST_MISSING;
    rules->host_field = host != NULL ? (int32_t)(host - fields) : -1;
    rules->expect_continue = seen.expect_continue;
    rules->keep_alive = !seen.close && (!is_1_0 || seen.keep_alive);
    return REQUEST_OK;
}
