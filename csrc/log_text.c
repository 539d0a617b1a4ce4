#if !defined(_DEFAULT_SOURCE) && !defined(__APPLE__)
#define _DEFAULT_SOURCE 1 /* tm_gmtoff */
#endif
#include "log_text.h"

#include <stdbool.h>
#include <string.h>
#include <time.h>

enum { BLOCK = 16 };

static const char hex_digits[] = "0123456789abcdef";

/* Octets that stand for themselves: 1 between quotes only, 3 between spaces, too. */
static const unsigned char safe_in[256] = {
    [' '] = 1, ['\''] = 1,
    ['!'] = 3, ['#'] = 3, ['$'] = 3, ['%'] = 3, ['&'] = 3, ['('] = 3, [')'] = 3, ['*'] = 3, ['+'] = 3, [','] = 3,
    ['-'] = 3, ['.'] = 3, ['/'] = 3, ['0'] = 3, ['1'] = 3, ['2'] = 3, ['3'] = 3, ['4'] = 3, ['5'] = 3, ['6'] = 3,
    ['7'] = 3, ['8'] = 3, ['9'] = 3, [':'] = 3, [';'] = 3, ['<'] = 3, ['='] = 3, ['>'] = 3, ['?'] = 3, ['@'] = 3,
    ['A'] = 3, ['B'] = 3, ['C'] = 3, ['D'] = 3, ['E'] = 3, ['F'] = 3, ['G'] = 3, ['H'] = 3, ['I'] = 3, ['J'] = 3,
    ['K'] = 3, ['L'] = 3, ['M'] = 3, ['N'] = 3, ['O'] = 3, ['P'] = 3, ['Q'] = 3, ['R'] = 3, ['S'] = 3, ['T'] = 3,
    ['U'] = 3, ['V'] = 3, ['W'] = 3, ['X'] = 3, ['Y'] = 3, ['Z'] = 3, ['['] = 3, [']'] = 3, ['^'] = 3, ['_'] = 3,
    ['`'] = 3, ['a'] = 3, ['b'] = 3, ['c'] = 3, ['d'] = 3, ['e'] = 3, ['f'] = 3, ['g'] = 3, ['h'] = 3, ['i'] = 3,
    ['j'] = 3, ['k'] = 3, ['l'] = 3, ['m'] = 3, ['n'] = 3, ['o'] = 3, ['p'] = 3, ['q'] = 3, ['r'] = 3, ['s'] = 3,
    ['t'] = 3, ['u'] = 3, ['v'] = 3, ['w'] = 3, ['x'] = 3, ['y'] = 3, ['z'] = 3, ['{'] = 3, ['|'] = 3, ['}'] = 3,
    ['~'] = 3,
};

/* Without a way out of the loop compilers make a few vector instructions of it. */
static bool block_is_safe(const char *at, bool word)
{
    const unsigned char *in = (const unsigned char *)at;
    unsigned char unsafe = 0;
    for (int i = 0; i < BLOCK; i++) {
        unsigned char c = in[i];
        unsafe |= (unsigned char)((c < 0x20) | (c > 0x7e) | (c == '"') | (c == '\\'));
        if (word)
            unsafe |= (unsigned char)((c == ' ') | (c == '\''));
    }
    return !unsafe;
}

static char *put_hex(char *out, unsigned char c)
{
    memcpy(out, "\\x", 2);
    out[2] = hex_digits[c >> 4];
    out[3] = hex_digits[c & 15];
    return out + 4;
}

static inline char *put_escaped(char *out, const char *at, size_t len, bool word)
{
    size_t i = 0;
    while (i < len) {
        size_t until = len;
        if (len - i >= BLOCK) {
            if (block_is_safe(at + i, word)) {
                memcpy(out, at + i, BLOCK);
                out += BLOCK;
                i += BLOCK;
                continue;
            }
            until = i + BLOCK;
        }
        for (; i < until; i++) {
            unsigned char c = (unsigned char)at[i];
            if (safe_in[c] > word)
                *out++ = (char)c;
            else
                out = put_hex(out, c);
        }
    }
    return out;
}

char *log_put_quoted(char *out, const char *at, size_t len) { return put_escaped(out, at, len, false); }

char *log_put_word(char *out, const char *at, size_t len) { return put_escaped(out, at, len, true); }

static bool is_tail(const unsigned char *at, size_t i, size_t len) { return i < len && (at[i] & 0xc0) == 0x80; }

/* Octets of the well-formed UTF-8 sequence that begins at in[0] (RFC 3629 §4: no overlong ones, no surrogates, nothing
 * beyond U+10FFFF), or 0. */
static size_t utf8_sequence(const unsigned char *in, size_t len)
{
    unsigned char c = in[0];
    if (c < 0xc2 || c > 0xf4 || !is_tail(in, 1, len))
        return 0;
    if (c < 0xe0)
        return 2;
    if (!is_tail(in, 2, len) || (c == 0xe0 && in[1] < 0xa0) || (c == 0xed && in[1] > 0x9f))
        return 0;
    if (c < 0xf0)
        return 3;
    if (!is_tail(in, 3, len) || (c == 0xf0 && in[1] < 0x90) || (c == 0xf4 && in[1] > 0x8f))
        return 0;
    return 4;
}

static char *put_unicode(char *out, unsigned code)
{
    memcpy(out, "\\u", 2);
    for (int i = 0; i < 4; i++)
        out[2 + i] = hex_digits[code >> (12 - 4 * i) & 15];
    return out + 6;
}

/* One character at in[0], and how many octets it took. */
static char *put_json_character(char *out, const unsigned char *in, size_t len, size_t *used)
{
    unsigned char c = in[0];
    *used = 1;
    if (c == '"' || c == '\\') {
        out[0] = '\\';
        out[1] = (char)c;
        return out + 2;
    }
    if (c < 0x20 || c == 0x7f)
        return put_unicode(out, c);
    if (c < 0x80) {
        *out = (char)c;
        return out + 1;
    }
    size_t sequence = utf8_sequence(in, len);
    if (sequence == 0) {
        *out++ = '\\'; /* the backslash of \xHH, escaped */
        return put_hex(out, c);
    }
    *used = sequence;
    if (sequence == 2 && c == 0xc2 && in[1] < 0xa0)
        return put_unicode(out, in[1]);
    if (sequence == 3 && c == 0xe2 && in[1] == 0x80 && (in[2] & 0xfe) == 0xa8)
        return put_unicode(out, 0x2000 | (in[2] & 0x3f));
    memcpy(out, in, sequence);
    return out + sequence;
}

char *log_put_json(char *out, const char *at, size_t len)
{
    size_t i = 0, used;
    while (i < len) {
        if (len - i >= BLOCK && block_is_safe(at + i, false)) {
            memcpy(out, at + i, BLOCK);
            out += BLOCK;
            i += BLOCK;
            continue;
        }
        size_t until = len - i < BLOCK ? len : i + BLOCK;
        for (; i < until; i += used) {
            unsigned char c = (unsigned char)at[i];
            used = 1;
            if (safe_in[c])
                *out++ = (char)c;
            else
                out = put_json_character(out, (const unsigned char *)at + i, len - i, &used);
        }
    }
    return out;
}

char *log_put_unsigned(char *out, uint64_t number)
{
    char digits[20];
    int count = 0;
    do
        digits[count++] = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    while (count > 0)
        *out++ = digits[--count];
    return out;
}

char *log_put_padded(char *out, uint64_t number, int digits)
{
    for (int i = digits; i-- > 0; number /= 10)
        out[i] = (char)('0' + number % 10);
    return out + digits;
}

static const char month_names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

/* Four digits must be enough for the year. */
static time_t bounded(int64_t unix_s)
{
    const int64_t last_second = INT64_C(253402214400); /* a day before the year 10000, for any time zone */
    return (time_t)(unix_s < 0 ? 0 : unix_s > last_second ? last_second : unix_s);
}

static char *put_month(char *out, int month)
{
    memcpy(out, month_names + month % 12 * 3, 3);
    return out + 3;
}

static char *put_clock(char *out, const struct tm *at)
{
    out = log_put_padded(out, (uint64_t)at->tm_hour, 2);
    *out++ = ':';
    out = log_put_padded(out, (uint64_t)at->tm_min, 2);
    *out++ = ':';
    return log_put_padded(out, (uint64_t)at->tm_sec, 2);
}

void log_local_time(char out[LOG_LOCAL_TIME_BYTES], int64_t unix_s)
{
    time_t seconds = bounded(unix_s);
    struct tm at;
    localtime_r(&seconds, &at);
    long offset_min = at.tm_gmtoff / 60;
    *out++ = '[';
    out = log_put_padded(out, (uint64_t)at.tm_mday, 2);
    *out++ = '/';
    out = put_month(out, at.tm_mon);
    *out++ = '/';
    out = log_put_padded(out, (uint64_t)at.tm_year + 1900, 4);
    *out++ = ':';
    out = put_clock(out, &at);
    *out++ = ' ';
    *out++ = offset_min < 0 ? '-' : '+';
    if (offset_min < 0)
        offset_min = -offset_min;
    out = log_put_padded(out, (uint64_t)offset_min / 60, 2);
    out = log_put_padded(out, (uint64_t)offset_min % 60, 2);
    *out = ']';
}

void log_utc_time(char out[LOG_UTC_TIME_BYTES], int64_t unix_s)
{
    time_t seconds = bounded(unix_s);
    struct tm at;
    gmtime_r(&seconds, &at);
    out = log_put_padded(out, (uint64_t)at.tm_year + 1900, 4);
    *out++ = '-';
    out = log_put_padded(out, (uint64_t)at.tm_mon + 1, 2);
    *out++ = '-';
    out = log_put_padded(out, (uint64_t)at.tm_mday, 2);
    *out++ = 'T';
    put_clock(out, &at);
}

void log_syslog_time(char out[LOG_SYSLOG_TIME_BYTES], int64_t unix_s)
{
    time_t seconds = bounded(unix_s);
    struct tm at;
    localtime_r(&seconds, &at);
    out = put_month(out, at.tm_mon);
    *out++ = ' ';
    if (at.tm_mday < 10) {
        *out++ = ' '; /* RFC 3164: a space in front of a single digit */
        *out++ = (char)('0' + at.tm_mday);
    } else {
        out = log_put_padded(out, (uint64_t)at.tm_mday, 2);
    }
    *out++ = ' ';
    put_clock(out, &at);
}
