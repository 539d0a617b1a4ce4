/* Copying and checking in one pass: octets go through in blocks of a vector register (SSE2) or a machine
 * word, and a short run as two halves that overlap, so that nothing outside it is touched and few runs need
 * a loop. A block test may refuse what is fine (a rare octet in a name); the table has the last word then. */
#include "response_head.h"

#include <string.h>

#include "chars.h"

#if defined(__SSE2__) && !defined(HEADRACE_NO_SIMD)
#define USE_SSE2 1
#include <emmintrin.h>
#else
#define USE_SSE2 0
#endif

#if defined(__GNUC__)
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define NEVER_INLINE __attribute__((noinline, cold))
#else
#define ALWAYS_INLINE inline
#define NEVER_INLINE
#endif

static inline uint64_t load_8(const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof(word));
    return word;
}

static inline uint32_t load_4(const char *at)
{
    uint32_t word;
    memcpy(&word, at, sizeof(word));
    return word;
}

/* ---- is every octet of a block fine? ---- */

#if USE_SSE2

enum { BLOCK_BYTES = 16 };
typedef __m128i block;

static ALWAYS_INLINE block block_load(const char *at)
{
    return _mm_loadu_si128((const __m128i *)(const void *)at);
}

static ALWAYS_INLINE void block_store(char *at, block b) { _mm_storeu_si128((__m128i *)(void *)at, b); }
static ALWAYS_INLINE block block_of_words(uint64_t low, uint64_t high)
{
    return _mm_set_epi64x((long long)high, (long long)low);
}

/* octets x with low <= x < low + count, as 0xff */
static ALWAYS_INLINE block in_range(block b, char low, char count)
{
    block offset = _mm_sub_epi8(b, _mm_set1_epi8(low));
    return _mm_cmpeq_epi8(_mm_min_epu8(offset, _mm_set1_epi8((char)(count - 1))), offset);
}

/* ALPHA, DIGIT and "-": all that names are made of in practice. */
static ALWAYS_INLINE bool block_is_name(block b)
{
    block letter = in_range(_mm_or_si128(b, _mm_set1_epi8(0x20)), 'a', 26);
    block rest = _mm_or_si128(in_range(b, '0', 10), _mm_cmpeq_epi8(b, _mm_set1_epi8('-')));
    return _mm_movemask_epi8(_mm_or_si128(letter, rest)) == 0xffff;
}

static ALWAYS_INLINE bool block_is_value(block b)
{
    block control = _mm_andnot_si128(_mm_cmpeq_epi8(b, _mm_set1_epi8('\t')), in_range(b, 0, 0x20));
    return _mm_movemask_epi8(_mm_or_si128(control, _mm_cmpeq_epi8(b, _mm_set1_epi8(0x7f)))) == 0;
}

#else

enum { BLOCK_BYTES = 8 };
typedef uint64_t block;

#define EACH(octet) (UINT64_C(0x0101010101010101) * (octet))

/* Is any octet below `limit` (1..128)?  Not 0: yes.  Which one it is, the bits do not say reliably. */
static ALWAYS_INLINE uint64_t any_below(uint64_t word, unsigned limit)
{
    return (word - EACH(limit)) & ~word & EACH(0x80u);
}

static ALWAYS_INLINE block block_load(const char *at) { return load_8(at); }
static ALWAYS_INLINE void block_store(char *at, block b) { memcpy(at, &b, sizeof(b)); }
static ALWAYS_INLINE block block_of_words(uint64_t low, uint64_t high)
{
    (void)high;
    return low;
}

static ALWAYS_INLINE bool block_is_name(block b)
{
    (void)b;
    return false; /* to the table: a word at a time would be no faster */
}

/* No octet below SP and no DEL; HTAB is rare and left to the table. */
static ALWAYS_INLINE bool block_is_value(block b)
{
    return (any_below(b, 0x20) | any_below(b ^ EACH(0x7fu), 1)) == 0;
}

#endif

/* ---- copy and check ---- */

typedef bool block_test(block b);

/* kept out of the way: nearly no text comes here */
static NEVER_INLINE bool all_are(const char *at, size_t len, enum char_class class)
{
    for (size_t i = 0; i < len; i++) {
        if (!char_is(at[i], class))
            return false;
    }
    return true;
}

/* len >= BLOCK_BYTES; the last block overlaps the one before it */
static ALWAYS_INLINE bool copy_blocks(char *out, const char *at, size_t len, block_test *is_fine)
{
    bool fine = true;
    size_t last = len - BLOCK_BYTES;
    for (size_t i = 0; i < last; i += BLOCK_BYTES) {
        block b = block_load(at + i);
        block_store(out + i, b);
        fine &= is_fine(b);
    }
    block b = block_load(at + last);
    block_store(out + last, b);
    return fine & is_fine(b);
}

/* 4 <= len < BLOCK_BYTES: the first and the last half overlap, and make one block */
static ALWAYS_INLINE bool copy_short(char *out, const char *at, size_t len, block_test *is_fine)
{
    if (BLOCK_BYTES > 8 && len >= 8) {
        uint64_t first = load_8(at), last = load_8(at + len - 8);
        memcpy(out, &first, 8);
        memcpy(out + len - 8, &last, 8);
        return is_fine(block_of_words(first, last));
    }
    uint32_t first = load_4(at), last = load_4(at + len - 4);
    memcpy(out, &first, 4);
    memcpy(out + len - 4, &last, 4);
    uint64_t word = (uint64_t)last << 32 | first;
    return is_fine(block_of_words(word, word));
}

/* 1 <= len <= 3: the first, the middle and the last octet are all there are */
static ALWAYS_INLINE bool copy_few(char *out, const char *at, size_t len, enum char_class class)
{
    char first = at[0], middle = at[len / 2], last = at[len - 1];
    out[0] = first;
    out[len / 2] = middle;
    out[len - 1] = last;
    return char_is(first, class) && char_is(middle, class) && char_is(last, class);
}

/* A block test may refuse what is fine: the table has the last word. */
static ALWAYS_INLINE bool copy_checked(char *out, const char *at, size_t len, block_test *is_fine,
                                       enum char_class class)
{
    bool fine = true;
    if (len >= BLOCK_BYTES)
        fine = copy_blocks(out, at, len, is_fine);
    else if (len >= 4)
        fine = copy_short(out, at, len, is_fine);
    else if (len > 0)
        fine = copy_few(out, at, len, class);
    return fine || all_are(at, len, class);
}

static ALWAYS_INLINE bool copy_name(char *out, const char *at, size_t len)
{
    return copy_checked(out, at, len, block_is_name, CHAR_TOKEN);
}

static ALWAYS_INLINE bool copy_value(char *out, const char *at, size_t len)
{
    return copy_checked(out, at, len, block_is_value, CHAR_FIELD_VALUE);
}

/* ---- names that mean something to the server ---- */

/* 0x20 at every letter of a name in lower case: letters have bit 0x40, "-" has not */
static ALWAYS_INLINE uint64_t case_bits(uint64_t lower)
{
    return (lower & UINT64_C(0x4040404040404040)) >> 1;
}

static ALWAYS_INLINE bool same_8(const char *at, const char *lower)
{
    return (load_8(at) | case_bits(load_8(lower))) == load_8(lower);
}

static ALWAYS_INLINE bool same_4(const char *at, const char *lower)
{
    return (load_4(at) | case_bits(load_4(lower))) == load_4(lower);
}

/* `lower` is a literal of letters and "-", 4 to 24 octets; all but `at` is folded by the compiler */
static ALWAYS_INLINE bool is_name(const char *at, const char *lower, size_t len)
{
    if (len < 8)
        return same_4(at, lower) && same_4(at + len - 4, lower + len - 4);
    bool middle = len <= 16 || same_8(at + 8, lower + 8);
    return middle && same_8(at, lower) && same_8(at + len - 8, lower + len - 8);
}

#define IS_NAME(at, lower) is_name(at, lower, TEXT_BYTES(lower))

static ALWAYS_INLINE enum response_field when(bool is_it, enum response_field id)
{
    return is_it ? id : RESPONSE_FIELD_OTHER;
}

enum response_field response_field_id(const char *name, size_t len)
{
    switch (len) {
    case 2:
        return when(CHARS_ARE(name, len, "te"), RESPONSE_FIELD_HOP_BY_HOP);
    case 4:
        return when(IS_NAME(name, "date"), RESPONSE_FIELD_DATE);
    case 6:
        return when(IS_NAME(name, "server"), RESPONSE_FIELD_SERVER);
    case 7:
        return when(IS_NAME(name, "trailer") || IS_NAME(name, "upgrade"), RESPONSE_FIELD_HOP_BY_HOP);
    case 8:
        return when(IS_NAME(name, "trailers"), RESPONSE_FIELD_HOP_BY_HOP);
    case 10:
        return when(IS_NAME(name, "connection") || IS_NAME(name, "keep-alive"), RESPONSE_FIELD_HOP_BY_HOP);
    case 14:
        return when(IS_NAME(name, "content-length"), RESPONSE_FIELD_CONTENT_LENGTH);
    case 16:
        return when(IS_NAME(name, "proxy-connection"), RESPONSE_FIELD_HOP_BY_HOP);
    case 17:
        return when(IS_NAME(name, "transfer-encoding"), RESPONSE_FIELD_HOP_BY_HOP);
    case 18:
        return when(IS_NAME(name, "proxy-authenticate"), RESPONSE_FIELD_HOP_BY_HOP);
    case 19:
        return when(IS_NAME(name, "proxy-authorization"), RESPONSE_FIELD_HOP_BY_HOP);
    default:
        return RESPONSE_FIELD_OTHER;
    }
}

/* ---- the writer ---- */

/* Do a + b + fixed octets fit? */
static ALWAYS_INLINE bool fits(const struct head_writer *w, size_t a, size_t b, size_t fixed)
{
    size_t room = w->cap - w->len;
    return room >= fixed && a <= room - fixed && b <= room - fixed - a;
}

static bool status_code_parse(const char *status, size_t len, int *code)
{
    if (len < 4 || status[3] != ' ')
        return false;
    int hundreds = status[0] - '0', tens = status[1] - '0', ones = status[2] - '0';
    *code = hundreds * 100 + tens * 10 + ones;
    return hundreds >= 1 && hundreds <= 9 && tens >= 0 && tens <= 9 && ones >= 0 && ones <= 9;
}

enum head_write response_status_write(struct head_writer *w, const char *status, size_t len, int *code)
{
    static const char version[] = "HTTP/1.1 ";
    enum { VERSION_BYTES = TEXT_BYTES(version) };
    int parsed;
    if (!status_code_parse(status, len, &parsed))
        return HEAD_WRITE_STATUS_INVALID;
    if (!fits(w, len, 0, VERSION_BYTES + 2))
        return HEAD_WRITE_FULL;
    char *out = w->at + w->len;
    memcpy(out, version, VERSION_BYTES);
    if (!copy_value(out + VERSION_BYTES, status, len)) /* a reason-phrase has the octets of a value */
        return HEAD_WRITE_STATUS_INVALID;
    memcpy(out + VERSION_BYTES + len, "\r\n", 2);
    w->len += VERSION_BYTES + len + 2;
    *code = parsed;
    return HEAD_WRITE_OK;
}

enum head_write response_field_write(struct head_writer *w, const char *name, size_t name_len,
                                     const char *value, size_t value_len)
{
    if (!fits(w, name_len, value_len, 4))
        return HEAD_WRITE_FULL;
    char *out = w->at + w->len;
    if (name_len == 0 || !copy_name(out, name, name_len))
        return HEAD_WRITE_NAME_INVALID;
    out += name_len;
    memcpy(out, ": ", 2);
    out += 2;
    if (!copy_value(out, value, value_len))
        return HEAD_WRITE_VALUE_INVALID;
    memcpy(out + value_len, "\r\n", 2);
    w->len += name_len + value_len + 4;
    return HEAD_WRITE_OK;
}

static size_t decimal_digits(uint64_t n)
{
    size_t digits = 1;
    for (; n >= 10; n /= 10)
        digits++;
    return digits;
}

enum head_write response_content_length_write(struct head_writer *w, uint64_t n)
{
    static const char name[] = "Content-Length: ";
    enum { NAME_BYTES = TEXT_BYTES(name) };
    size_t digits = decimal_digits(n);
    if (!fits(w, digits, 0, NAME_BYTES + 2))
        return HEAD_WRITE_FULL;
    char *out = w->at + w->len;
    memcpy(out, name, NAME_BYTES);
    for (size_t i = digits; i > 0; i--, n /= 10)
        out[NAME_BYTES + i - 1] = (char)('0' + n % 10);
    memcpy(out + NAME_BYTES + digits, "\r\n", 2);
    w->len += NAME_BYTES + digits + 2;
    return HEAD_WRITE_OK;
}

enum head_write response_text_write(struct head_writer *w, const char *text, size_t len)
{
    if (!fits(w, len, 0, 0))
        return HEAD_WRITE_FULL;
    if (len > 0)
        memcpy(w->at + w->len, text, len);
    w->len += len;
    return HEAD_WRITE_OK;
}

size_t chunk_size_line_write(char *out, uint64_t size)
{
    size_t digits = 1;
    for (uint64_t rest = size >> 4; rest > 0; rest >>= 4)
        digits++;
    for (size_t i = digits; i > 0; i--, size >>= 4)
        out[i - 1] = "0123456789abcdef"[size & 15];
    memcpy(out + digits, "\r\n", 2);
    return digits + 2;
}
