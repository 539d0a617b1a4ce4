/* chars.h - which octets may stand where?  One table, one bit for each class.
 *
 * Owner: constant data.  Lock: none.  On error: nothing can fail.
 */
#ifndef HEADRACE_CHARS_H
#define HEADRACE_CHARS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum char_class {
    CHAR_TOKEN = 1,       /* tchar, RFC 9110 §5.6.2: methods, field names, codings */
    CHAR_FIELD_VALUE = 2, /* HTAB, SP, VCHAR, obs-text, RFC 9110 §5.5; quoted-pair and reason-phrase too */
    CHAR_QDTEXT = 4,      /* qdtext, RFC 9110 §5.6.4: inside a quoted-string, without '"' and '\' */
    CHAR_PATH = 8,        /* of a target, before "?": pchar, "/", and what browsers leave as it is */
    CHAR_QUERY = 16,      /* of a target, behind "?" */
    CHAR_REG_NAME = 32,   /* unreserved and sub-delims, RFC 3986 §2.2, §2.3; "%" stands apart */
    CHAR_DIGIT = 64,
    CHAR_HEXDIG = 128
};

extern const uint8_t char_classes[256];

/* Is `c` in one of the classes (a sum of enum char_class)? */
static inline bool char_is(char c, unsigned classes)
{
    return (char_classes[(unsigned char)c] & classes) != 0;
}

/* OWS, RFC 9110 §5.6.3.  Nothing else is ever white space here (not VT, FF, 0x85 or 0xA0). */
static inline bool char_is_blank(char c) { return c == ' ' || c == '\t'; }

/* 0..15, or -1 when `c` is not a hexadecimal digit. */
static inline int char_hex_value(char c)
{
    if (!char_is(c, CHAR_HEXDIG))
        return -1;
    return char_is(c, CHAR_DIGIT) ? c - '0' : (c | 0x20) - 'a' + 10;
}

/* ASCII only, whatever the locale. */
static inline char char_lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c; }

/* Is at[0..len) equal to `lower` (len octets, without capitals) when case is ignored? */
static inline bool chars_equal_ignoring_case(const char *at, const char *lower, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (char_lower(at[i]) != lower[i])
            return false;
    }
    return true;
}

/* The octets of a literal, without its NUL. */
#define TEXT_BYTES(literal) (sizeof(literal) - 1)

/* Are at[0..len) the literal, or do they begin with it, when case is ignored? */
#define CHARS_ARE(at, len, lower) \
    ((len) == TEXT_BYTES(lower) && chars_equal_ignoring_case(at, lower, TEXT_BYTES(lower)))
#define CHARS_BEGIN_WITH(at, len, lower) \
    ((len) >= TEXT_BYTES(lower) && chars_equal_ignoring_case(at, lower, TEXT_BYTES(lower)))

/* chars_equal_ignoring_case in a few instructions, for `lower` of [a-z0-9-] only, and for octets of which none
 * is a control (so not for octets that nobody has looked at): ORing 0x20 then maps nothing on a letter but its
 * two forms, and nothing on a digit or "-" but itself. */
static inline uint64_t chars_lower8(const char *at)
{
    uint64_t word;
    memcpy(&word, at, 8);
    return word | UINT64_C(0x2020202020202020);
}

static inline uint32_t chars_lower4(const char *at)
{
    uint32_t word;
    memcpy(&word, at, 4);
    return word | UINT32_C(0x20202020);
}

static inline bool chars_are8(const char *at, const char *lower)
{
    return chars_lower8(at) == chars_lower8(lower);
}
static inline bool chars_are4(const char *at, const char *lower)
{
    return chars_lower4(at) == chars_lower4(lower);
}

#endif
