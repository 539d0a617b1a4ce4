#include "request_rules.h"

#include <string.h>

#include "chars.h"
#include "percent.h"

enum { PORT_MAX = 65535, IPV6_GROUPS = 8 };

/* Out of line, so that the frequent paths need few registers. */
#define RARE __attribute__((noinline, cold))

/* ---- authority, RFC 3986 §3.2 ---- */

/* *DIGIT, and a number that TCP knows. */
static bool port_is_valid(const char *at, size_t len)
{
    uint32_t port = 0;
    for (size_t i = 0; i < len; i++) {
        uint32_t digit = (uint32_t)(unsigned char)at[i] - '0';
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

/* IPv6address: eight groups, "::" at most once for one or more of them, the last two perhaps as IPv4.  No zone
 * identifier: RFC 9110 §4.2 knows none. */
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

/* "[" ... "]"; *end stands behind the bracket. */
static RARE bool ip_literal_is_valid(const char *at, size_t len, size_t *end)
{
    const char *bracket = memchr(at, ']', len);
    if (bracket == NULL)
        return false;
    size_t inner = (size_t)(bracket - at) - 1;
    *end = inner + 2;
    if (inner > 0 && (at[1] | 0x20) == 'v')
        return ipvfuture_is_valid(at + 1, inner);
    return ipv6_is_valid(at + 1, inner);
}

/* The rest of a reg-name that goes on with "%" at `from`; *end stands behind its last octet. */
static RARE bool escaped_name_is_valid(const char *at, size_t from, size_t len, size_t *end)
{
    size_t i = from;
    while (i < len && (char_is(at[i], CHAR_REG_NAME) || at[i] == '%'))
        i++;
    *end = i;
    return percent_check(at, i) == PERCENT_OK;
}

/* IPv4address is a special case of reg-name.  An empty name is none that http could serve (RFC 9110 §4.2.1). */
bool authority_is_valid(const char *at, size_t len, bool empty_ok)
{
    size_t end = 0;
    if (len == 0)
        return empty_ok;
    while (end < len && char_is(at[end], CHAR_REG_NAME))
        end++;
    if (end == len)
        return true;
    if (at[end] == '[' && end == 0) {
        if (!ip_literal_is_valid(at, len, &end))
            return false;
    } else if (at[end] == '%' && !escaped_name_is_valid(at, end, len, &end)) {
        return false;
    }
    return end == len || (end > 0 && at[end] == ':' && port_is_valid(at + end + 1, len - end - 1));
}

/* ---- the rules ---- */

struct connection_options {
    bool close, keep_alive;
};

static inline bool option_take(struct connection_options *options, const char *at, size_t len)
{
    if (len == 10 && chars_are8(at, "keep-ali") && chars_are4(at + 6, "live"))
        options->keep_alive = true;
    else if (len == 5 && chars_are4(at, "clos") && (at[4] | 0x20) == 'e')
        options->close = true;
    else
        return false;
    return true;
}

/* #connection-option; empty elements are allowed to a sender that joins lists (RFC 9110 §5.6.1.2). */
static bool connection_take(struct connection_options *options, const char *at, size_t len)
{
    size_t i = 0;
    if (option_take(options, at, len)) /* the one option that there mostly is */
        return true;
    while (i < len) {
        size_t from = i;
        while (i < len && char_is(at[i], CHAR_TOKEN))
            i++;
        option_take(options, at + from, i - from);
        while (i < len && char_is_blank(at[i]))
            i++;
        if (i < len && at[i++] != ',')
            return false;
        while (i < len && char_is_blank(at[i]))
            i++;
    }
    return true;
}

static inline enum request_error host_take(struct request_rules *rules, const char *at, size_t len, uint32_t index)
{
    if (rules->host_field >= 0)
        return REQUEST_HOST_REPEATED;
    if (!authority_is_valid(at, len, true))
        return REQUEST_HOST_INVALID;
    rules->host_field = (int32_t)index;
    return REQUEST_OK;
}

struct seen {
    struct connection_options options;
    bool content_type;
};

/* The fields but Host: what one line says. */
static enum request_error field_take(const struct request_head *head, struct seen *seen, struct request_rules *rules,
                                     const char *at, const struct field_line *field)
{
    switch (field->id) {
    case FIELD_CONNECTION:
        return connection_take(&seen->options, at, field->value_len) ? REQUEST_OK : REQUEST_CONNECTION_INVALID;
    case FIELD_CONTENT_TYPE:
        if (seen->content_type)
            return REQUEST_CONTENT_TYPE_REPEATED;
        seen->content_type = true;
        return REQUEST_OK;
    case FIELD_EXPECT:
        if (head->minor_version == 0)
            return REQUEST_OK;
        if (field->value_len != 12 || !chars_are8(at, "100-cont") || !chars_are4(at + 8, "inue"))
            return REQUEST_EXPECTATION_FAILED;
        rules->expect_continue = true;
        return REQUEST_OK;
    default:
        return REQUEST_OK;
    }
}

enum request_error request_rules_check(const struct request_head *head, const char *buf,
                                       struct request_rules *rules)
{
    struct seen seen = {{false, false}, false};
    const struct field_line *field = head->fields;
    *rules = (struct request_rules){false, false, -1};
    for (uint32_t i = 0; i < head->field_count; i++, field++) {
        if (field->id == FIELD_OTHER)
            continue;
        const char *at = buf + field->value_at;
        enum request_error error = field->id == FIELD_HOST ? host_take(rules, at, field->value_len, i)
                                                           : field_take(head, &seen, rules, at, field);
        if (error != REQUEST_OK)
            return error;
    }
    if (rules->host_field < 0 && head->minor_version >= 1) /* RFC 9112 §3.2, with an absolute-form target too */
        return REQUEST_HOST_MISSING;
    rules->keep_alive = !seen.options.close && (head->minor_version >= 1 || seen.options.keep_alive);
    return REQUEST_OK;
}
