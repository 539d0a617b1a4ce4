#include "percent.h"

#include <string.h>

#include "chars.h"

/* The octet that "%XY" at `at` stands for, or -1 when it is cut short or no such thing. */
static int escape_value(const char *at, size_t left)
{
    if (left < 3)
        return -1;
    int high = char_hex_value(at[1]), low = char_hex_value(at[2]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* The next "%" in at[0..len), or len. */
static size_t escape_find(const char *at, size_t len)
{
    const char *found = len > 0 ? memchr(at, '%', len) : NULL;
    return found != NULL ? (size_t)(found - at) : len;
}

enum percent_status percent_check(const char *at, size_t len)
{
    for (size_t i = escape_find(at, len); i < len; i += escape_find(at + i, len - i)) {
        int value = escape_value(at + i, len - i);
        if (value <= 0)
            return value < 0 ? PERCENT_MALFORMED : PERCENT_NUL;
        i += 3;
    }
    return PERCENT_OK;
}

enum percent_status percent_decode(const char *at, size_t len, char *out, size_t *out_len)
{
    size_t made = 0;
    for (size_t i = 0; i < len;) {
        size_t plain = escape_find(at + i, len - i);
        memmove(out + made, at + i, plain); /* out may be the input */
        made += plain;
        i += plain;
        if (i == len)
            break;
        int value = escape_value(at + i, len - i);
        if (value <= 0)
            return value < 0 ? PERCENT_MALFORMED : PERCENT_NUL;
        out[made++] = (char)value;
        i += 3;
    }
    *out_len = made;
    return PERCENT_OK;
}
