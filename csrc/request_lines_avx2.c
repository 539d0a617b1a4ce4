/* request_lines_avx2.c - the scanners for x86-64 with AVX2: 32 octets at a time.
 *
 * VPSHUFB looks up 32 octets in a table of 16 (char_rules.h); an octet from 0x80 on finds 0.
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

typedef __m256i block_octets;
typedef uint32_t bits;

#define FOUR_TIMES(x) x, x, x, x
#define BYTES(x) FOUR_TIMES(FOUR_TIMES(x)), FOUR_TIMES(FOUR_TIMES(x))

/* VPSHUFB looks up within each half of a block, so each table of 16 stands twice. */
struct scanner {
    _Alignas(BLOCK) uint8_t name[BLOCK], path[BLOCK], query[BLOCK], high[BLOCK];
    uint8_t nibble[BLOCK], last_control[BLOCK], tab[BLOCK], del[BLOCK];
};

static const struct scanner constants = {
    .name = {LOW_TABLE(RULE_PLAIN_NAME), LOW_TABLE(RULE_PLAIN_NAME)},
    .path = {LOW_TABLE(RULE_PLAIN_PATH), LOW_TABLE(RULE_PLAIN_PATH)},
    .query = {LOW_TABLE(RULE_QUERY), LOW_TABLE(RULE_QUERY)},
    .high = {HIGH_TABLE, HIGH_TABLE},
    .nibble = {BYTES(0x0f)},
    .last_control = {BYTES(0x1f)},
    .tab = {BYTES('\t')},
    .del = {BYTES(0x7f)},
};

/* Where the constants are, but hidden from the compiler, which would build them anew, in several instructions
 * each, wherever one is used. */
static inline const struct scanner *scanner_get(void)
{
    const struct scanner *s = &constants;
    __asm__("" : "+r"(s));
    return s;
}

static inline block_octets constant(const uint8_t bytes[BLOCK])
{
    return _mm256_load_si256((const __m256i *)(const void *)bytes);
}

static inline block_octets block_load(const char *at)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)at);
}

static inline bits block_bits(block_octets mask) { return (bits)_mm256_movemask_epi8(mask); }

/* The bit of each octet's high half; 0 from 0x80 on. */
static inline block_octets high_bits(const struct scanner *s, block_octets block)
{
    block_octets high = _mm256_and_si256(_mm256_srli_epi16(block, 4), constant(s->nibble));
    return _mm256_shuffle_epi8(constant(s->high), high);
}

/* One bit for each octet that is not in the class of `table`. */
static inline bits outside(block_octets block, block_octets high, const uint8_t table[BLOCK])
{
    block_octets found = _mm256_and_si256(_mm256_shuffle_epi8(constant(table), block), high);
    return block_bits(_mm256_cmpeq_epi8(found, _mm256_setzero_si256()));
}

/* One bit for each octet that is no RULE_FIELD_VALUE. */
static inline bits outside_value(const struct scanner *s, block_octets block)
{
    block_octets control = _mm256_cmpeq_epi8(_mm256_min_epu8(block, constant(s->last_control)), block);
    control = _mm256_andnot_si256(_mm256_cmpeq_epi8(block, constant(s->tab)), control);
    return block_bits(_mm256_or_si256(control, _mm256_cmpeq_epi8(block, constant(s->del))));
}

static inline size_t bits_first(bits mask) { return _tzcnt_u32(mask); }

static inline bits bits_skip(bits mask, size_t octets) { return mask >> octets; }

#define SCAN_REQUEST_LINE request_line_scan_avx2
#define SCAN_REQUEST_FIELDS request_fields_scan_avx2
#include "request_blocks.inc"

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#else
typedef int request_lines_avx2_is_not_built;
#endif
