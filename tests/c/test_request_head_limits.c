/* Limits of the request head, the ways to feed it, and the scanners compared on random input. */
#include "head_checks.h"

static struct head_limits limits_of(uint32_t line, uint32_t field, uint32_t fields, uint32_t head)
{
    return (struct head_limits){line, field, fields, head};
}

#define LIMITED(text, ...) feed_limited(text, sizeof(text) - 1, &(const struct head_limits){__VA_ARGS__})

/* ---- RFC 9112 §3, §5.4: limits ---- */

TEST("a request line of exactly the limit is accepted, one octet more is too long")
{
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\n\r\n", 14, 99, 9, 999), HEAD_DONE, REQUEST_OK);
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\n\r\n", 13, 99, 9, 999), HEAD_ERROR, REQUEST_LINE_TOO_LONG);
    CHECK_STATUS(LIMITED("\r\nGET / HTTP/1.1\r\n\r\n", 14, 99, 9, 999), HEAD_DONE, REQUEST_OK);
    CHECK_STATUS(LIMITED("\r\nGET / HTTP/1.1\r\n\r\n", 13, 99, 9, 999), HEAD_ERROR, REQUEST_LINE_TOO_LONG);
}

TEST("a request line is too long as soon as one octet too many has come")
{
    CHECK_STATUS(LIMITED("GET /aaaaa", 10, 99, 9, 999), HEAD_PARTIAL, REQUEST_OK);
    CHECK_STATUS(LIMITED("GET /aaaaaa", 10, 99, 9, 999), HEAD_ERROR, REQUEST_LINE_TOO_LONG);
    CHECK_STATUS(LIMITED("GETTTTTTTTT", 10, 99, 9, 999), HEAD_ERROR, REQUEST_LINE_TOO_LONG);
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r", 14, 99, 9, 999), HEAD_PARTIAL, REQUEST_OK);
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r", 13, 99, 9, 999), HEAD_ERROR, REQUEST_LINE_TOO_LONG);
}

TEST("an error before the limit goes before it, one behind it does not count")
{
    CHECK_STATUS(LIMITED("GET /a\"aaaa HTTP/1.1", 10, 99, 9, 999), HEAD_ERROR, REQUEST_TARGET_INVALID);
    CHECK_STATUS(LIMITED("GET /aaaaa\"", 10, 99, 9, 999), HEAD_ERROR, REQUEST_LINE_TOO_LONG);
    CHECK_STATUS(LIMITED("GET /aaaa\"a", 10, 99, 9, 999), HEAD_ERROR, REQUEST_TARGET_INVALID);
    CHECK_STATUS(LIMITED("GET / HTTP/2.0\r\n", 14, 99, 9, 999), HEAD_ERROR, REQUEST_VERSION_UNSUPPORTED);
    CHECK_STATUS(LIMITED("GET / HTTP/2.0\r\n", 13, 99, 9, 999), HEAD_ERROR, REQUEST_LINE_TOO_LONG);
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\nab: c\1\r\n", 99, 5, 9, 999), HEAD_ERROR, REQUEST_FIELD_TOO_LONG);
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\nab: c\1\r\n", 99, 6, 9, 999), HEAD_ERROR,
                 REQUEST_FIELD_VALUE_INVALID);
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\nab: c\rd\r\n", 99, 5, 9, 999), HEAD_ERROR,
                 REQUEST_FIELD_TOO_LONG);
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\nab: c\rd\r\n", 99, 6, 9, 999), HEAD_ERROR,
                 REQUEST_FIELD_VALUE_INVALID);
}

TEST("a field line of exactly the limit is accepted, one octet more is too long")
{
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\nab: cd\r\n\r\n", 99, 6, 9, 999), HEAD_DONE, REQUEST_OK);
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\nab: cd\r\n\r\n", 99, 5, 9, 999), HEAD_ERROR,
                 REQUEST_FIELD_TOO_LONG);
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\nab: cd", 99, 5, 9, 999), HEAD_ERROR, REQUEST_FIELD_TOO_LONG);
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\nabcdef", 99, 5, 9, 999), HEAD_ERROR, REQUEST_FIELD_TOO_LONG);
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\na_cdef", 99, 5, 9, 999), HEAD_ERROR, REQUEST_FIELD_TOO_LONG);
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\na_: cd\r\n\r\n", 99, 6, 9, 999), HEAD_DONE, REQUEST_OK);
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\na_: cd\r\n\r\n", 99, 5, 9, 999), HEAD_ERROR,
                 REQUEST_FIELD_TOO_LONG);
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\nab: c\r", 99, 5, 9, 999), HEAD_PARTIAL, REQUEST_OK);
}

TEST("as many fields as the limit are accepted, the first octet of one more is refused")
{
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\na:b\r\nc:d\r\n\r\n", 99, 99, 2, 999), HEAD_DONE, REQUEST_OK);
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\na:b\r\nc:d\r\n", 99, 99, 2, 999), HEAD_PARTIAL, REQUEST_OK);
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\na:b\r\nc:d\r\ne", 99, 99, 2, 999), HEAD_ERROR,
                 REQUEST_FIELDS_TOO_MANY);
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\na:b\r\nc:d\r\ne:f\r\n\r\n", 99, 99, 2, 999), HEAD_ERROR,
                 REQUEST_FIELDS_TOO_MANY);
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\na:b\r\nc:d\r\n e", 99, 99, 2, 999), HEAD_ERROR,
                 REQUEST_FIELDS_TOO_MANY);
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\na:b\r\nc_:d\r\n\r\n", 99, 99, 1, 999), HEAD_ERROR,
                 REQUEST_FIELDS_TOO_MANY);
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\na", 99, 99, 0, 999), HEAD_ERROR, REQUEST_FIELDS_TOO_MANY);
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\n\r\n", 99, 99, 0, 999), HEAD_DONE, REQUEST_OK);
}

TEST("the head is counted from the request line to the empty line, both included")
{
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\na:b\r\n\r\n", 99, 99, 9, 23), HEAD_DONE, REQUEST_OK);
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\na:b\r\n\r\nbody", 99, 99, 9, 23), HEAD_DONE, REQUEST_OK);
    CHECK_STATUS(LIMITED("\r\nGET / HTTP/1.1\r\na:b\r\n\r\n", 99, 99, 9, 23), HEAD_DONE, REQUEST_OK);
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\na:b\r\n\r\n", 99, 99, 9, 22), HEAD_ERROR, REQUEST_HEAD_TOO_LONG);
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\na:b\r\n\r", 99, 99, 9, 22), HEAD_PARTIAL, REQUEST_OK);
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\na:b\r\nc", 99, 99, 9, 21), HEAD_ERROR, REQUEST_HEAD_TOO_LONG);
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\na:b\r\n", 99, 99, 9, 20), HEAD_ERROR, REQUEST_HEAD_TOO_LONG);
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\n", 99, 99, 9, 15), HEAD_ERROR, REQUEST_HEAD_TOO_LONG);
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\n", 99, 99, 9, 10), HEAD_ERROR, REQUEST_HEAD_TOO_LONG);
}

TEST("the limit that is passed first is reported, and the head's at a tie")
{
    CHECK_STATUS(LIMITED("GET /aaaaaaaaaa", 9, 99, 9, 10), HEAD_ERROR, REQUEST_LINE_TOO_LONG);
    CHECK_STATUS(LIMITED("GET /aaaaaaaaaa", 10, 99, 9, 9), HEAD_ERROR, REQUEST_HEAD_TOO_LONG);
    CHECK_STATUS(LIMITED("GET /aaaaaaaaaa", 10, 99, 9, 10), HEAD_ERROR, REQUEST_HEAD_TOO_LONG);
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\nabcdefgh", 99, 4, 9, 19), HEAD_ERROR, REQUEST_HEAD_TOO_LONG);
    CHECK_STATUS(LIMITED("GET / HTTP/1.1\r\nabcdefgh", 99, 4, 9, 21), HEAD_ERROR, REQUEST_FIELD_TOO_LONG);
}

TEST("every pair of limits gives one verdict on every cut")
{
    static const char text[] = "GET /ab HTTP/1.1\r\nHost: a\r\nb_: cd\rx\r\n\r\n";
    static const char good[] = "GET /ab HTTP/1.1\r\nHost: a\r\nb_: cdxx\r\n\r\n";
    for (uint32_t line = 12; line <= 18; line++) {
        for (uint32_t head = 10; head <= 42; head++) {
            struct head_limits limits = limits_of(line, line - 9, 2, head);
            feed_limited(text, sizeof text - 1, &limits);
            feed_limited(good, sizeof good - 1, &limits);
        }
    }
}

/* ---- ways to feed ---- */

TEST("a finished request line is not parsed again, and an error stays")
{
    struct verdict v;
    static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    char *at = guarded(text, sizeof text - 1);
    verdict_begin(&v);
    CHECK(request_line_parse(&v.head, at, 16, &default_limits) == HEAD_DONE);
    CHECK(v.head.next == 16 && v.head.fields_at == 16);
    CHECK(request_line_parse(&v.head, at, 20, &default_limits) == HEAD_DONE);
    CHECK(v.head.next == 16);
    CHECK(request_fields_parse(&v.head, at, 20, &default_limits) == HEAD_PARTIAL);
    CHECK(v.head.next == 16 && v.head.field_count == 0);
    CHECK(request_fields_parse(&v.head, at, 26, &default_limits) == HEAD_PARTIAL);
    CHECK(v.head.next == 25 && v.head.field_count == 1);
    CHECK(request_fields_parse(&v.head, at, 27, &default_limits) == HEAD_DONE);
    verdict_begin(&v);
    CHECK(request_line_parse(&v.head, guarded("G\n", 2), 2, &default_limits) == HEAD_ERROR);
    CHECK(request_line_parse(&v.head, at, 27, &default_limits) == HEAD_ERROR);
    CHECK(request_fields_parse(&v.head, at, 27, &default_limits) == HEAD_ERROR);
}

TEST("a head as long as the limits allow is accepted in one piece and in many")
{
    static char text[70000];
    size_t len = 0;
    len += (size_t)sprintf(text, "GET /");
    memset(text + len, 'a', 8190 - 14);
    len += 8190 - 14;
    len += (size_t)sprintf(text + len, " HTTP/1.1\r\n");
    for (int i = 0; i < 7; i++) { /* the last one is 2 octets shorter: 65536 in all */
        size_t line_len = i < 6 ? 8190 : 8188;
        memset(text + len, 'b', line_len);
        text[len + 3] = ':';
        memcpy(text + len + line_len, "\r\n", 2);
        len += line_len + 2;
    }
    memcpy(text + len, "\r\n", 2);
    len += 2;
    struct verdict *v = feed(text, len);
    CHECK_STATUS(v, HEAD_DONE, REQUEST_OK);
    CHECK(v->head.field_count == 7 && v->head.next == len);
}

/* ---- the variants on random input ---- */

static const char *const seeds[] = {
    "GET /articles/2024/09/some-longer-title?page=2&sort=desc HTTP/1.1\r\nHost: www.example.com\r\n"
    "Connection: keep-alive\r\nsec-ch-ua: \"Chromium\";v=\"128\", \"Not;A=Brand\";v=\"24\"\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\nX_Under: 1\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "\r\nPOST http://[2001:db8::1]:8080/%41/b?c HTTP/1.0\r\nContent-Length:5\r\n\r\nhello",
    "GET /0123456789abcdef0123456789abcdef%200123456789abcdef HTTP/1.1\r\nA:\r\nB: \t x \t\r\n\r\n",
};

/* Change a few octets, at times cut or double a piece; the new length. */
static size_t mutate(char *text, size_t len, size_t cap)
{
    static const char interesting[] = "\r\n\r\n :\t%?*_/[]@\0\x7f\x80\xff"
                                      "aHZ019\"<{|";
    for (uint64_t changes = next_random() % 4; changes > 0 && len > 0; changes--) {
        size_t at = (size_t)(next_random() % len), piece = 1 + (size_t)(next_random() % 40);
        switch (next_random() % 4) {
        case 0:
            text[at] = interesting[next_random() % (sizeof interesting - 1)];
            break;
        case 1:
            text[at] = (char)next_random();
            break;
        case 2:
            piece = piece < len - at ? piece : len - at;
            memmove(text + at, text + at + piece, len - at - piece);
            len -= piece;
            break;
        default:
            if (len + piece > cap)
                break;
            memmove(text + at + piece, text + at, len - at);
            len += piece;
        }
    }
    return len;
}

TEST("the variants and the second reading agree on mutated heads, under random limits")
{
    for (int round = 0; round < 3000; round++) {
        char text[1024];
        const char *seed = seeds[next_random() % (sizeof seeds / sizeof seeds[0])];
        size_t len = strlen(seed);
        memcpy(text, seed, len);
        len = mutate(text, len, sizeof text);
        struct head_limits limits = default_limits;
        if (next_random() % 4 == 0)
            limits = limits_of((uint32_t)(next_random() % 100), (uint32_t)(next_random() % 120),
                               (uint32_t)(next_random() % 8), (uint32_t)(next_random() % 600));
        feed_limited(text, len, &limits);
    }
}

TEST("every short tail behind a long block is read without a step over its end")
{
    static const char line[] = "GET / HTTP/1.1\r\nHost: a\r\n";
    char text[256];
    memcpy(text, line, sizeof line - 1);
    for (size_t tail = 0; tail <= 100; tail++) {
        memset(text + sizeof line - 1, 'n', tail);
        feed(text, sizeof line - 1 + tail);
        if (tail > 0)
            text[sizeof line - 1] = ':';
        feed(text, sizeof line - 1 + tail);
        if (tail > 1) {
            text[sizeof line - 1] = 'n';
            text[sizeof line] = ':';
            CHECK(feed(text, sizeof line - 1 + tail)->status == HEAD_PARTIAL);
        }
    }
}

CHECK_MAIN
