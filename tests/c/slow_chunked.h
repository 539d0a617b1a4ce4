/* slow_chunked.h - a second, slow decoder of the chunked coding, for the first to agree with.
 *
 * What: recursive descent over the whole input, each function a production of RFC 9112 §7.1 and RFC 9110
 *       §5.6; it shares neither code nor tables with csrc.
 * Owner: the caller owns input and `out` (room for the input's length).  Lock: none.
 * On error: SLOW_ERROR and the rule in slow->error.
 */
#ifndef HEADRACE_SLOW_CHUNKED_H
#define HEADRACE_SLOW_CHUNKED_H

#include <string.h>

#include "chunked.h"

enum slow_verdict { SLOW_GOES_ON, SLOW_MORE, SLOW_DONE, SLOW_ERROR };

struct slow_chunked {
    const char *in;
    size_t len, at, looked; /* octets before `looked` are accounted for */
    const struct head_limits *limits;
    bool in_trailer;
    size_t line_bytes, trailer_bytes, fields, overhead;
    char *out;
    size_t out_len;
    enum slow_verdict verdict;
    enum request_error error;
};

static inline void slow_refuse(struct slow_chunked *s, enum request_error error)
{
    if (s->verdict == SLOW_GOES_ON) {
        s->verdict = SLOW_ERROR;
        s->error = error;
    }
}

/* Every limit, when an octet of overhead is seen for the first time. */
static inline void slow_account(struct slow_chunked *s, int c)
{
    s->looked = s->at + 1;
    if (++s->overhead > CHUNK_OVERHEAD_FREE_BYTES + CHUNK_OVERHEAD_PER_BYTE * s->out_len)
        slow_refuse(s, REQUEST_CHUNK_OVERHEAD_TOO_LONG);
    s->line_bytes += c != '\r' && c != '\n';
    if (!s->in_trailer) {
        if (s->line_bytes > CHUNK_LINE_BYTES_MAX)
            slow_refuse(s, REQUEST_CHUNK_OVERHEAD_TOO_LONG);
        return;
    }
    if (++s->trailer_bytes > s->limits->head_bytes_max || s->line_bytes > s->limits->field_line_bytes_max)
        slow_refuse(s, REQUEST_TRAILERS_TOO_LONG);
}

/* The octet at hand, or -1 when there is none or all is over. */
static inline int slow_peek(struct slow_chunked *s)
{
    if (s->verdict != SLOW_GOES_ON)
        return -1;
    if (s->at == s->len) {
        s->verdict = SLOW_MORE;
        return -1;
    }
    int c = (unsigned char)s->in[s->at];
    if (s->looked == s->at)
        slow_account(s, c);
    return s->verdict == SLOW_GOES_ON ? c : -1;
}

static inline bool slow_is_token(int c)
{
    return c > 0 && c < 127 &&
           strchr("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", c) != NULL;
}

static inline bool slow_is_text(int c) { return c == 9 || (c >= 32 && c <= 126) || c >= 128; }

static inline bool slow_accept(struct slow_chunked *s, int wanted)
{
    if (slow_peek(s) != wanted)
        return false;
    s->at++;
    return true;
}

static inline void slow_expect(struct slow_chunked *s, int wanted, enum request_error error)
{
    if (!slow_accept(s, wanted))
        slow_refuse(s, error);
}

static inline void slow_crlf(struct slow_chunked *s, enum request_error no_cr, enum request_error no_lf)
{
    slow_expect(s, '\r', no_cr);
    slow_expect(s, '\n', no_lf);
    s->line_bytes = 0;
}

static inline void slow_token(struct slow_chunked *s, enum request_error error)
{
    if (!slow_is_token(slow_peek(s)))
        slow_refuse(s, error);
    while (slow_is_token(slow_peek(s)))
        s->at++;
}

static inline void slow_quoted_string(struct slow_chunked *s)
{
    while (s->verdict == SLOW_GOES_ON && !slow_accept(s, '"')) {
        slow_accept(s, '\\');
        if (slow_is_text(slow_peek(s)))
            s->at++;
        else
            slow_refuse(s, REQUEST_CHUNK_EXTENSION_INVALID);
    }
}

static inline void slow_extensions(struct slow_chunked *s)
{
    while (slow_accept(s, ';')) {
        slow_token(s, REQUEST_CHUNK_EXTENSION_INVALID);
        if (!slow_accept(s, '='))
            continue;
        if (slow_accept(s, '"'))
            slow_quoted_string(s);
        else
            slow_token(s, REQUEST_CHUNK_EXTENSION_INVALID);
    }
}

static inline int slow_hex(int c)
{
    const char *digits = "0123456789abcdef0123456789ABCDEF";
    const char *found = c > 0 ? strchr(digits, c) : NULL;
    return found == NULL ? -1 : (int)((found - digits) % 16);
}

static inline uint64_t slow_size(struct slow_chunked *s)
{
    uint64_t size = 0;
    bool any = false;
    for (int digit; (digit = slow_hex(slow_peek(s))) >= 0; any = true, s->at++) {
        if (size >= UINT64_C(0x0800000000000000)) { /* the next one is past 2^63 - 1 */
            slow_refuse(s, REQUEST_CHUNK_SIZE_INVALID);
            return 0;
        }
        size = size * 16 + (uint64_t)digit;
    }
    int c = slow_peek(s);
    if (!any || (c != ';' && c != '\r'))
        slow_refuse(s, REQUEST_CHUNK_SIZE_INVALID);
    slow_extensions(s);
    slow_crlf(s, REQUEST_CHUNK_EXTENSION_INVALID, REQUEST_CHUNK_SIZE_INVALID);
    return size;
}

static inline void slow_data(struct slow_chunked *s, uint64_t size)
{
    while (size > 0 && s->verdict == SLOW_GOES_ON && s->at < s->len) {
        s->out[s->out_len++] = s->in[s->at++];
        s->looked = s->at;
        size--;
    }
    slow_crlf(s, REQUEST_CHUNK_DATA_UNTERMINATED, REQUEST_CHUNK_DATA_UNTERMINATED);
}

static inline void slow_trailers(struct slow_chunked *s)
{
    s->in_trailer = true;
    while (slow_peek(s) != '\r' && s->verdict == SLOW_GOES_ON) {
        if (slow_is_token(slow_peek(s)) && s->fields++ == s->limits->fields_max)
            slow_refuse(s, REQUEST_TRAILERS_TOO_LONG);
        slow_token(s, REQUEST_TRAILER_INVALID);
        slow_expect(s, ':', REQUEST_TRAILER_INVALID);
        while (slow_is_text(slow_peek(s)))
            s->at++;
        slow_crlf(s, REQUEST_TRAILER_INVALID, REQUEST_TRAILER_INVALID);
    }
    slow_crlf(s, REQUEST_TRAILER_INVALID, REQUEST_TRAILER_INVALID);
}

static inline void slow_chunked_decode(struct slow_chunked *s, const char *in, size_t len, char *out,
                                       const struct head_limits *limits)
{
    *s = (struct slow_chunked){.in = in, .len = len, .limits = limits, .out = out, .verdict = SLOW_GOES_ON};
    uint64_t size;
    while ((size = slow_size(s)) > 0)
        slow_data(s, size);
    slow_trailers(s);
    if (s->verdict == SLOW_GOES_ON)
        s->verdict = SLOW_DONE;
}

#endif
