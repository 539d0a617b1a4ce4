/* A check and a decoding give one verdict, which is that of a decoder that goes octet by octet; so are the octets made,
 * in a buffer of the input's size and in the input itself.  No octet outside the two is touched.
 *
 * Input: the path.
 */
#include <stdint.h>

#include "invariant.h"
#include "percent.h"

static int digit(char c)
{
    static const char digits[] = "0123456789abcdefABCDEF";
    const char *found = c != '\0' ? strchr(digits, c) : NULL;
    if (found == NULL)
        return -1;
    return (int)(found - digits) - (found - digits > 15 ? 6 : 0);
}

static enum percent_status slow_decode(const char *at, size_t len, char *out, size_t *out_len)
{
    *out_len = 0;
    for (size_t i = 0; i < len; i++) {
        char c = at[i];
        if (c == '%') {
            if (len - i < 3 || digit(at[i + 1]) < 0 || digit(at[i + 2]) < 0)
                return PERCENT_MALFORMED;
            c = (char)(digit(at[i + 1]) << 4 | digit(at[i + 2]));
            if (c == '\0')
                return PERCENT_NUL;
            i += 2;
        }
        out[(*out_len)++] = c;
    }
    return PERCENT_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *path = exact_copy(data, size), *expected = exact_copy(data, size), *made = exact_copy(data, size);
    size_t expected_len, made_len = 0, in_place_len = 0;
    enum percent_status verdict = slow_decode(path, size, expected, &expected_len);

    INVARIANT(percent_check(path, size) == verdict);
    INVARIANT(percent_decode(path, size, made, &made_len) == verdict);
    INVARIANT(size == 0 || memcmp(path, data, size) == 0);
    INVARIANT(percent_decode(path, size, path, &in_place_len) == verdict);
    if (verdict == PERCENT_OK) {
        INVARIANT(made_len == expected_len && in_place_len == expected_len);
        INVARIANT(memcmp(made, expected, expected_len) == 0);
        INVARIANT(memcmp(path, expected, expected_len) == 0);
    }
    free(made);
    free(expected);
    free(path);
    return 0;
}
