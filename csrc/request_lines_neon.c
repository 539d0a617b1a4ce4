/* request_lines_neon.c - the scanners for aarch64: 16 octets at a time.
 *
 * TBL looks up 16 octets in a table of 16 (char_rules.h).  There is no instruction that gathers one bit of
 * each octet; narrowing by four leaves four bits of each in 64.
 */
#include "request_lines.h"

#ifdef HEADRACE_HAS_NEON

#include <arm_neon.h>

#include "char_rules.h"
#include "chars.h"

enum { BLOCK = 16 };

typedef uint8x16_t block_octets;
typedef uint64_t bits; /* four for each octet */

struct scanner {
    uint8_t name[BLOCK], path[BLOCK], query[BLOCK], high[BLOCK];
};

static const struct scanner constants = {
    .name = {LOW_TABLE(RULE_PLAIN_NAME)},
    .path = {LOW_TABLE(RULE_PLAIN_PATH)},
    .query = {LOW_TABLE(RULE_QUERY)},
    .high = {HIGH_TABLE},
};

static inline const struct scanner *scanner_get(void) { return &constants; }

static inline block_octets block_load(const char *at) { return vld1q_u8((const uint8_t *)at); }

static inline bits block_bits(block_octets mask)
{
    return vget_lane_u64(vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u8(mask), 4)), 0);
}

/* The bit of each octet's high half; 0 from 0x80 on. */
static inline block_octets high_bits(const struct scanner *s, block_octets block)
{
    return vqtbl1q_u8(vld1q_u8(s->high), vshrq_n_u8(block, 4));
}

/* The octets that are not in the class of `table`. */
static inline bits outside(block_octets block, block_octets high, const uint8_t table[BLOCK])
{
    block_octets low = vqtbl1q_u8(vld1q_u8(table), vandq_u8(block, vdupq_n_u8(0x0f)));
    return block_bits(vceqzq_u8(vandq_u8(low, high)));
}

/* The octets that are no RULE_FIELD_VALUE. */
static inline bits outside_value(const struct scanner *s, block_octets block)
{
    (void)s;
    block_octets control = vbicq_u8(vcltq_u8(block, vdupq_n_u8(0x20)), vceqq_u8(block, vdupq_n_u8('\t')));
    return block_bits(vorrq_u8(control, vceqq_u8(block, vdupq_n_u8(0x7f))));
}

static inline size_t bits_first(bits mask) { return (size_t)__builtin_ctzll(mask) / 4; }

static inline bits bits_skip(bits mask, size_t octets) { return mask >> (octets * 4); }

#define SCAN_REQUEST_LINE request_line_scan_neon
#define SCAN_REQUEST_FIELDS request_fields_scan_neon
#include "request_blocks.inc"

#else
typedef int request_lines_neon_is_not_built;
#endif
