/* Percent-decoding, RFC 3986 §2.1. */
#include "check.h"
#include "percent.h"

/* Check and decode `text` into room against an unreadable page, and in place. */
static void decodes(const char *text, size_t len, const char *want, size_t want_len)
{
    char *in = guarded(text, len), *out = guarded_room(len);
    size_t out_len = 12345;
    CHECK_MSG(percent_check(in, len) == PERCENT_OK, "%s", text);
    CHECK_MSG(percent_decode(in, len, out, &out_len) == PERCENT_OK, "%s", text);
    CHECK_MSG(out_len == want_len && (len == 0 || memcmp(out, want, want_len) == 0), "%s: %zu octets", text,
              out_len);
    CHECK(percent_decode(in, len, in, &out_len) == PERCENT_OK);
    CHECK_MSG(out_len == want_len && (len == 0 || memcmp(in, want, want_len) == 0), "%s in place", text);
}

static void fails(const char *text, size_t len, enum percent_status want)
{
    char *in = guarded(text, len), *out = guarded_room(len);
    size_t out_len;
    CHECK_MSG(percent_check(in, len) == want, "%s", text);
    CHECK_MSG(percent_decode(in, len, out, &out_len) == want, "%s", text);
}

#define DECODES(text, want) decodes(text, sizeof(text) - 1, want, sizeof(want) - 1)
#define FAILS(text, want) fails(text, sizeof(text) - 1, want)

TEST("§2.1 copies what is not escaped")
{
    DECODES("", "");
    DECODES("/", "/");
    DECODES("/a/b+c~d", "/a/b+c~d");
    DECODES("\xff\x80", "\xff\x80");
}

TEST("§2.1 decodes escapes wherever they stand, once, in either case")
{
    DECODES("%41", "A");
    DECODES("a%2fb%2Fc", "a/b/c");
    DECODES("%61b%63", "abc");
    DECODES("%e2%82%AC", "\xe2\x82\xac");
    DECODES("%2541", "%41");
    DECODES("%25%34%31", "%41");
    DECODES("%01%ff%7F%0a", "\x01\xff\x7f\n");
}

TEST("§2.1 decodes each of the 255 values")
{
    for (int value = 1; value < 256; value++) {
        char text[8], want[2] = {(char)value, 'z'};
        int len = snprintf(text, sizeof text, "%%%02xz", (unsigned)value);
        decodes(text, (size_t)len, want, 2);
        len = snprintf(text, sizeof text, "%%%02Xz", (unsigned)value);
        decodes(text, (size_t)len, want, 2);
    }
}

TEST("§2.1 refuses \"%\" without two hexadecimal digits")
{
    FAILS("%", PERCENT_MALFORMED);
    FAILS("abc%", PERCENT_MALFORMED);
    FAILS("%4", PERCENT_MALFORMED);
    FAILS("%41%4", PERCENT_MALFORMED);
    FAILS("%%41", PERCENT_MALFORMED);
    FAILS("%4%41", PERCENT_MALFORMED);
    FAILS("%g1", PERCENT_MALFORMED);
    FAILS("%1g", PERCENT_MALFORMED);
    FAILS("% 1", PERCENT_MALFORMED);
    FAILS("%+1", PERCENT_MALFORMED);
    FAILS("%0x1", PERCENT_MALFORMED);
    FAILS("%u0041", PERCENT_MALFORMED);
    FAILS("%\xb2\xb2", PERCENT_MALFORMED);
}

TEST("§2.1 takes only the 22 hexadecimal digits, in both places")
{
    for (int c = 0; c < 256; c++) {
        char high[3] = {'%', (char)c, '1'}, low[3] = {'%', '1', (char)c};
        bool hex = c != 0 && strchr("0123456789abcdefABCDEF", c) != NULL;
        CHECK_MSG(percent_check(high, 3) == (hex ? PERCENT_OK : PERCENT_MALFORMED), "octet %d", c);
        CHECK_MSG(percent_check(low, 3) == (hex ? PERCENT_OK : PERCENT_MALFORMED), "octet %d", c);
    }
}

TEST("§7.3 refuses %00")
{
    FAILS("%00", PERCENT_NUL);
    FAILS("a%00b", PERCENT_NUL);
    FAILS("%41%00", PERCENT_NUL);
    FAILS("%00%zz", PERCENT_NUL);
    FAILS("%zz%00", PERCENT_MALFORMED);
}

CHECK_MAIN
