/* proxy_headers.h - PROXY headers for the tests: written by hand, each octet in its place. */
#ifndef HEADRACE_PROXY_HEADERS_H
#define HEADRACE_PROXY_HEADERS_H

#include <stdint.h>
#include <string.h>

#define V2_SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

/* A header of version 2 into out; its length. */
static inline size_t make_v2(char *out, unsigned char version_command, unsigned char family, const char *rest,
                             size_t rest_len, uint16_t said_len)
{
    memcpy(out, V2_SIGNATURE, 12);
    out[12] = (char)version_command;
    out[13] = (char)family;
    out[14] = (char)(said_len >> 8);
    out[15] = (char)(said_len & 0xFF);
    if (rest_len > 0)
        memcpy(out + 16, rest, rest_len);
    return 16 + rest_len;
}

#define V2_TCP4 "\xc0\0\x02\x01\xc6\x33\x64\x07\xdd\xd5\x01\xbb"
#define V2_TCP6                                                                \
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"                               \
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02"                               \
    "\xdd\xd5\x01\xbb"

#endif
