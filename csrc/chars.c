#include "chars.h"

#include "char_rules.h"

#define ENTRY(c)                                                                                 \
    ((RULE_TOKEN(c) ? CHAR_TOKEN : 0) | (RULE_FIELD_VALUE(c) ? CHAR_FIELD_VALUE : 0) |           \
     (RULE_QDTEXT(c) ? CHAR_QDTEXT : 0) | (RULE_PATH(c) ? CHAR_PATH : 0) |                       \
     (RULE_QUERY(c) ? CHAR_QUERY : 0) | (RULE_REG_NAME(c) ? CHAR_REG_NAME : 0) |                 \
     (RULE_DIGIT(c) ? CHAR_DIGIT : 0) | (RULE_HEXDIG(c) ? CHAR_HEXDIG : 0))
#define FOUR(c) ENTRY(c), ENTRY((c) + 1), ENTRY((c) + 2), ENTRY((c) + 3)
#define ROW(c) FOUR(c), FOUR((c) + 4), FOUR((c) + 8), FOUR((c) + 12)

const uint8_t char_classes[256] = {
    ROW(0x00), ROW(0x10), ROW(0x20), ROW(0x30), ROW(0x40), ROW(0x50), ROW(0x60), ROW(0x70),
    ROW(0x80), ROW(0x90), ROW(0xa0), ROW(0xb0), ROW(0xc0), ROW(0xd0), ROW(0xe0), ROW(0xf0),
};
