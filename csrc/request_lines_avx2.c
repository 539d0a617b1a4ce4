/* request_lines_avx2.c - the scanners for x86-64 with AVX2: 32 octets at a time.
 *
 * A class of ASCII octets is two tables of 16: for the low half of an octet the set of high halves (0..7, one bit
 * each) that make a member, and for the high half its bit.  VPSHUFB looks both up; an octet from 0x80 on finds 0.
 * The last octets of the buffer are covered by a block that ends with it, shifted: nothing outside is read.
 */
#include "request_lines.h"

#ifdef HEADRACE_HAS_AVX2

#include <immintrin.h>

#include "char_rules.h"
#include "chars.h"

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,bmi,bmi2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2")
#endif

enum { BLOCK = 32 };

#define HALVES(RULE, low)                                                                        \
    ((RULE(0x00 + (low)) ? 1 : 0) | (RULE(0x10 + (low)) ? 2 : 0) | (RULE(0x20 + (low)) ? 4 : 0) | \
     (RULE(0x30 + (low)) ? 8 : 0) | (RULE(0x40 + (low)) ? 16 : 0) | (RULE(0x50 + (low)) ? 32 : 0) | \
     (RULE(0x60 + (low)) ? 64 : 0) | (RULE(0x70 + (low)) ? 128 : 0))
#define LOW(RULE)                                                                                \
    HALVES(RULE, 0), HALVES(RULE, 1), HALVES(RULE, 2), HALVES(RULE, 3), HALVES(RULE, 4),         \
        HALVES(RULE, 5), HALVES(RULE, 6), HALVES(RULE, 7), HALVES(RULE, 8), HALVES(RULE, 9),     \
        HALVES(RULE, 10), HALVES(RULE, 11), HALVES(RULE, 12), HALVES(RULE, 13),                  \
        HALVES(RULE, 14), HALVES(RULE, 15)
#define HIGH 1, 2, 4, 8, 16, 32, 64, 128, 0, 0, 0, 0, 0, 0, 0, 0
#define FOUR_TIMES(x) x, x, x, x
#define BYTES(x) FOUR_TIMES(FOUR_TIMES(x)), FOUR_TIMES(FOUR_TIMES(x))

/* VPSHUFB looks up within each half of a block, so each table of 16 stands twice. */
struct scanner {
    _Alignas(BLOCK) uint8_t name[BLOCK], path[BLOCK], query[BLOCK], high[BLOCK];
    uint8_t nibble[BLOCK], last_control[BLOCK], tab[BLOCK], del[BLOCK];
};

static const struct scanner constants = {
    .name = {LOW(RULE_PLAIN_NAME), LOW(RULE_PLAIN_NAME)},
    .path = {LOW(RULE_PLAIN_PATH), LOW(RULE_PLAIN_PATH)},
    .query = {LOW(RULE_QUERY), LOW(RULE_QUERY)},
    .high = {HIGH, HIGH},
    .nibble = {BYTES(0x0f)},
    .last_control = {BYTES(0x1f)},
    .tab = {BYTES('\t')},
    .del = {BYTES(0x7f)},
};

/* Where the constants are, but hidden from the compiler, which would build them anew, in several instructions each,
 * wherever one is used. */
static inline const struct scanner *scanner_get(void)
{
    const struct scanner *s = &constants;
    __asm__("" : "+r"(s));
    return s;
}

static inline __m256i constant(const uint8_t bytes[BLOCK])
{
    return _mm256_load_si256((const __m256i *)(const void *)bytes);
}

static inline __m256i block_load(const char *at) { return _mm256_loadu_si256((const __m256i *)(const void *)at); }

static inline uint32_t block_bits(__m256i mask) { return (uint32_t)_mm256_movemask_epi8(mask); }

/* The bit of each octet's high half; 0 from 0x80 on. */
static inline __m256i high_bits(const struct scanner *s, __m256i block)
{
    __m256i high = _mm256_and_si256(_mm256_srli_epi16(block, 4), constant(s->nibble));
    return _mm256_shuffle_epi8(constant(s->high), high);
}

/* One bit for each octet that is not in the class of `table`. */
static inline uint32_t outside(__m256i block, __m256i high, const uint8_t table[BLOCK])
{
    __m256i found = _mm256_and_si256(_mm256_shuffle_epi8(constant(table), block), high);
    return block_bits(_mm256_cmpeq_epi8(found, _mm256_setzero_si256()));
}

/* ---- classes of the request line ---- */

static inline size_t class_stop_bytewise(const char *buf, size_t at, size_t len, unsigned classes, char except)
{
    while (at < len && char_is(buf[at], classes) && buf[at] != except)
        at++;
    return at;
}

static inline size_t class_stop(const struct scanner *s, const char *buf, size_t at, size_t len,
                                const uint8_t table[BLOCK])
{
    for (; at + BLOCK <= len; at += BLOCK) {
        __m256i block = block_load(buf + at);
        uint32_t stops = outside(block, high_bits(s, block), table);
        if (stops != 0)
            return at + _tzcnt_u32(stops);
    }
    if (at >= len)
        return len;
    __m256i block = block_load(buf + len - BLOCK);
    uint32_t stops = outside(block, high_bits(s, block), table) >> (at + BLOCK - len);
    return stops != 0 ? at + _tzcnt_u32(stops) : len;
}

static inline size_t path_stop(const char *buf, size_t at, size_t len)
{
    const struct scanner *s = scanner_get();
    return len < BLOCK ? class_stop_bytewise(buf, at, len, CHAR_PATH, '%') : class_stop(s, buf, at, len, s->path);
}

static inline size_t query_stop(const char *buf, size_t at, size_t len)
{
    const struct scanner *s = scanner_get();
    return len < BLOCK ? class_stop_bytewise(buf, at, len, CHAR_QUERY, '\0') : class_stop(s, buf, at, len, s->query);
}

/* Method and path, when both end in the first block; else (rarely) one by one. */
static inline size_t request_stops(const char *buf, size_t at, size_t len, size_t *method_end)
{
    if (__builtin_expect(at + BLOCK <= len, 1)) {
        const struct scanner *s = scanner_get();
        __m256i block = block_load(buf + at), high = high_bits(s, block);
        uint32_t method_stops = outside(block, high, s->name);
        if (__builtin_expect(method_stops != 0, 1)) {
            uint32_t method_len = _tzcnt_u32(method_stops);
            *method_end = at + method_len;
            uint32_t path_stops = outside(block, high, s->path) >> method_len >> 1;
            return path_stops != 0 ? *method_end + 1 + _tzcnt_u32(path_stops) : path_stop(buf, at + BLOCK, len);
        }
    }
    *method_end = class_stop_bytewise(buf, at, len, CHAR_TOKEN, '_');
    return *method_end < len ? path_stop(buf, *method_end + 1, len) : len;
}

/* ---- field lines ---- */

/* One bit for each octet that is no RULE_FIELD_VALUE. */
static inline uint32_t outside_value(const struct scanner *s, __m256i block)
{
    __m256i control = _mm256_cmpeq_epi8(_mm256_min_epu8(block, constant(s->last_control)), block);
    control = _mm256_andnot_si256(_mm256_cmpeq_epi8(block, constant(s->tab)), control);
    return block_bits(_mm256_or_si256(control, _mm256_cmpeq_epi8(block, constant(s->del))));
}

/* The last octets of the buffer: the block that ends with it, shifted. */
static inline size_t value_stop_at_end(const struct scanner *s, const char *buf, size_t at, size_t len)
{
    if (at >= len)
        return len;
    uint32_t stops = outside_value(s, block_load(buf + len - BLOCK)) >> (at + BLOCK - len);
    return stops != 0 ? at + _tzcnt_u32(stops) : len;
}

static inline size_t line_stops_at_end(const struct scanner *s, const char *buf, size_t at, size_t len,
                                       size_t *name_end)
{
    if (__builtin_expect(len < BLOCK, 0)) {
        *name_end = class_stop_bytewise(buf, at, len, CHAR_TOKEN, '_');
        return class_stop_bytewise(buf, *name_end, len, CHAR_FIELD_VALUE, '\0');
    }
    __m256i block = block_load(buf + len - BLOCK);
    unsigned shift = (unsigned)(at + BLOCK - len);
    uint32_t name_stops = outside(block, high_bits(s, block), s->name) >> shift;
    uint32_t value_stops = outside_value(s, block) >> shift;
    *name_end = name_stops != 0 ? at + _tzcnt_u32(name_stops) : len;
    return value_stops != 0 ? at + _tzcnt_u32(value_stops) : len;
}

/* Both stops of a short line come from one block: a name's octets are value octets too, and so is ":". */
static inline size_t line_stops(const struct scanner *s, const char *buf, size_t at, size_t len, size_t *name_end)
{
    if (__builtin_expect(at + BLOCK > len, 0))
        return line_stops_at_end(s, buf, at, len, name_end);
    __m256i block = block_load(buf + at);
    uint32_t name_stops = outside(block, high_bits(s, block), s->name);
    uint32_t value_stops = outside_value(s, block);
    *name_end = at + _tzcnt_u32(name_stops);
    if (__builtin_expect(name_stops == 0, 0))
        *name_end = class_stop_bytewise(buf, at + BLOCK, len, CHAR_TOKEN, '_');
    while (value_stops == 0) {
        at += BLOCK;
        if (__builtin_expect(at + BLOCK > len, 0))
            return value_stop_at_end(s, buf, at, len);
        value_stops = outside_value(s, block_load(buf + at));
    }
    return at + _tzcnt_u32(value_stops);
}

#define SCAN_REQUEST_LINE request_line_scan_avx2
#define SCAN_REQUEST_FIELDS request_fields_scan_avx2
#include "request_lines.inc"

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#else
typedef int request_lines_avx2_is_not_built;
#endif
