/* The chunked transfer coding, in the order of RFC 9112 §7.1.  Every message is fed whole, octet by octet,
 * cut in two at each place and at random cuts, with its last octet against an unreadable page, and each
 * time the verdict, the decoded octets and the place where it ended must be those of a second, slow
 * decoder. */
#include "check.h"

#include "slow_chunked.h"

enum { RANDOM_CUTS = 20, TWO_PIECES_BYTES_MAX = 300 };

static const struct head_limits limits = {
    .request_line_bytes_max = 100, .field_line_bytes_max = 40, .fields_max = 3, .head_bytes_max = 80};

struct outcome {
    enum chunk_status status;
    enum request_error error;
    size_t consumed, body_len, calls;
};

static uint64_t seed = 20260;

/* One piece, as often as the decoder reports data. */
static enum chunk_status feed_piece(struct chunk_decoder *d, const char *piece, size_t len, char *body,
                                    struct outcome *o)
{
    size_t at = 0;
    for (;;) {
        size_t consumed, data_len;
        const char *data;
        enum chunk_status status =
            chunk_decode(d, piece + at, len - at, &limits, &consumed, &data, &data_len);
        o->calls++;
        CHECK(consumed <= len - at);
        CHECK((status == CHUNK_DATA) == (data_len > 0));
        if (status == CHUNK_DATA)
            memcpy(body + o->body_len, data, data_len);
        o->body_len += data_len;
        o->consumed += consumed;
        at += consumed;
        if (status == CHUNK_MORE)
            CHECK(at == len);
        if (status != CHUNK_DATA)
            return status;
    }
}

/* piece_max 0: pieces of random length.  `first` octets come first when it is not 0. */
static struct outcome feed(const char *message, size_t len, size_t first, size_t piece_max, char *body)
{
    static char *room; /* ends against the unreadable page; kept for the whole test */
    static size_t room_bytes;
    static const struct check_block *owner;
    if (room == NULL || room_bytes < len || owner != check_blocks) {
        room = guarded_room(len + 1);
        room_bytes = len;
        owner = check_blocks;
    }
    struct outcome o = {.status = CHUNK_MORE};
    struct chunk_decoder d;
    chunk_decoder_reset(&d);
    for (size_t at = 0, piece; at < len && o.status == CHUNK_MORE; at += piece) {
        piece = at == 0 && first > 0 ? first : piece_max > 0 ? piece_max : 1 + check_random(&seed) % 9;
        piece = piece < len - at ? piece : len - at;
        char *copy = room + room_bytes + 1 - piece;
        memcpy(copy, message + at, piece);
        o.status = feed_piece(&d, copy, piece, body, &o);
    }
    o.error = d.error;
    return o;
}

static void check_same(const struct outcome *o, const char *body, const struct slow_chunked *slow,
                       const char *how)
{
    enum chunk_status status = slow->verdict == SLOW_DONE ? CHUNK_DONE
                               : slow->verdict == SLOW_MORE ? CHUNK_MORE
                                                            : CHUNK_ERROR;
    CHECK_MSG(o->status == status, "%s: %d, not %d", how, o->status, status);
    CHECK_MSG(o->error == slow->error, "%s: error %d, not %d", how, o->error, slow->error);
    CHECK_MSG(o->consumed == slow->at, "%s: ended at %zu, not %zu", how, o->consumed, slow->at);
    CHECK_MSG(o->body_len == slow->out_len, "%s: %zu octets, not %zu", how, o->body_len, slow->out_len);
    CHECK_MSG(memcmp(body, slow->out, o->body_len) == 0, "%s: other octets", how);
}

/* Every way of cutting; what it comes to. */
static struct outcome decode(const char *message, size_t len, const char *expected, size_t expected_len)
{
    char *body = malloc(len + 1), *slow_body = malloc(len + 1);
    struct slow_chunked slow;
    slow_chunked_decode(&slow, message, len, slow_body, &limits);
    struct outcome whole = feed(message, len, 0, len, body), o;
    check_same(&whole, body, &slow, "whole");
    if (expected != NULL)
        CHECK(whole.body_len == expected_len && memcmp(body, expected, expected_len) == 0);
    o = feed(message, len, 0, 1, body);
    check_same(&o, body, &slow, "by octet");
    for (size_t cut = 1; cut < len && len <= TWO_PIECES_BYTES_MAX; cut++) {
        o = feed(message, len, cut, len, body);
        check_same(&o, body, &slow, "in two");
    }
    for (int i = 0; i < RANDOM_CUTS; i++) {
        o = feed(message, len, 0, 0, body);
        check_same(&o, body, &slow, "random cuts");
    }
    free(body);
    free(slow_body);
    return whole;
}

#define LITERAL(text) "" text, sizeof(text) - 1

#define ACCEPTS(message, body)                                                                    \
    do {                                                                                          \
        struct outcome o_ = decode(LITERAL(message), LITERAL(body));                              \
        CHECK_MSG(o_.status == CHUNK_DONE, "%s: error %d", #message, o_.error);                   \
        CHECK_MSG(o_.consumed == sizeof(message) - 1, "%s: %zu", #message, o_.consumed);          \
    } while (0)

/* refused at its last octet, and not before: the verdict does not wait for more */
#define REFUSES(message, rule)                                                                    \
    do {                                                                                          \
        struct outcome o_ = decode(LITERAL(message), NULL, 0);                                    \
        CHECK_MSG(o_.status == CHUNK_ERROR && o_.error == (rule), "%s: %d, error %d", #message,   \
                  o_.status, o_.error);                                                           \
        CHECK_MSG(o_.consumed == sizeof(message) - 2, "%s: at %zu", #message, o_.consumed);       \
    } while (0)

#define WANTS_MORE(message)                                                                       \
    do {                                                                                          \
        struct outcome o_ = decode(LITERAL(message), NULL, 0);                                    \
        CHECK_MSG(o_.status == CHUNK_MORE, "%s: %d, error %d", #message, o_.status, o_.error);    \
    } while (0)

/* ---- §7.1: chunks ---- */

TEST("decodes chunks of any size, one after the other")
{
    ACCEPTS("0\r\n\r\n", "");
    ACCEPTS("5\r\nhello\r\n0\r\n\r\n", "hello");
    ACCEPTS("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world");
    ACCEPTS("1a\r\nabcdefghijklmnopqrstuvwxyz\r\n1\r\n!\r\n0\r\n\r\n", "abcdefghijklmnopqrstuvwxyz!");
    ACCEPTS("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789");
}

TEST("passes every octet of data on, CRLF and NUL too")
{
    ACCEPTS("8\r\n\r\n0\r\n\r\n\0\r\n0\r\n\r\n", "\r\n0\r\n\r\n\0");
    char message[5 + 256 + 7], all[256];
    for (int i = 0; i < 256; i++)
        all[i] = (char)i;
    memcpy(message, "100\r\n", 5);
    memcpy(message + 5, all, 256);
    memcpy(message + 5 + 256, "\r\n0\r\n\r\n", 7);
    struct outcome o = decode(message, sizeof(message), all, 256);
    CHECK(o.status == CHUNK_DONE);
}

TEST("reads leading zeros of a size, and any number of them as the last chunk")
{
    ACCEPTS("0005\r\nhello\r\n0000\r\n\r\n", "hello");
    ACCEPTS("00000000000000000000000000000001\r\n!\r\n0\r\n\r\n", "!");
}

TEST("stops behind the message, and says so again when asked again")
{
    struct outcome o = decode(LITERAL("1\r\nx\r\n0\r\n\r\nGET / HTTP/1.1\r\n"), "x", 1);
    CHECK(o.status == CHUNK_DONE && o.consumed == 11);
    struct chunk_decoder d;
    chunk_decoder_reset(&d);
    size_t consumed, data_len;
    const char *data;
    CHECK(chunk_decode(&d, "0\r\n\r\nG", 6, &limits, &consumed, &data, &data_len) == CHUNK_DONE);
    CHECK(consumed == 5);
    CHECK(chunk_decode(&d, "G", 1, &limits, &consumed, &data, &data_len) == CHUNK_DONE);
    CHECK(consumed == 0);
}

TEST("wants more at every place in a message")
{
    static const char message[] = "5;a=b;c=\"d\\\"\"\r\nhello\r\n0\r\nName: value\r\n\r\n";
    for (size_t len = 0; len < sizeof(message) - 1; len++) {
        struct outcome o = decode(message, len, NULL, 0);
        CHECK_MSG(o.status == CHUNK_MORE && o.consumed == len, "at %zu: %d", len, o.status);
    }
    ACCEPTS("5;a=b;c=\"d\\\"\"\r\nhello\r\n0\r\nName: value\r\n\r\n", "hello");
}

TEST("says how much of a chunk is still to come")
{
    struct chunk_decoder d;
    chunk_decoder_reset(&d);
    size_t consumed, data_len;
    const char *data;
    CHECK(chunk_decode(&d, "64\r\nabc", 7, &limits, &consumed, &data, &data_len) == CHUNK_DATA);
    CHECK(consumed == 7 && data_len == 3 && memcmp(data, "abc", 3) == 0);
    CHECK(d.chunk_left == 97 && d.data_bytes == 3 && d.overhead_bytes == 4);
    CHECK(chunk_decode(&d, "", 0, &limits, &consumed, &data, &data_len) == CHUNK_MORE);
}

TEST("reports a run of data in one piece")
{
    char message[5000 + 6];
    memset(message, 'x', sizeof(message));
    memcpy(message, "1388\r\n", 6);
    char body[5000];
    struct outcome o = feed(message, sizeof(message), 0, sizeof(message), body);
    CHECK(o.status == CHUNK_MORE && o.body_len == 5000);
    CHECK_MSG(o.calls == 2, "%zu calls", o.calls);
}

/* ---- §7.1: chunk-size ---- */

TEST("rejects a size that is not 1*HEXDIG")
{
    REFUSES("\r", REQUEST_CHUNK_SIZE_INVALID);
    REFUSES("\n", REQUEST_CHUNK_SIZE_INVALID);
    REFUSES(";", REQUEST_CHUNK_SIZE_INVALID);
    REFUSES("g", REQUEST_CHUNK_SIZE_INVALID);
    REFUSES("5g", REQUEST_CHUNK_SIZE_INVALID);
    REFUSES("-", REQUEST_CHUNK_SIZE_INVALID);
    REFUSES("+", REQUEST_CHUNK_SIZE_INVALID);
    REFUSES("0x", REQUEST_CHUNK_SIZE_INVALID);
    REFUSES("1_", REQUEST_CHUNK_SIZE_INVALID);
    REFUSES("1,", REQUEST_CHUNK_SIZE_INVALID);
    REFUSES("1\0", REQUEST_CHUNK_SIZE_INVALID);
    REFUSES("1\xb2", REQUEST_CHUNK_SIZE_INVALID);
    REFUSES("1\r\nx\r\ng", REQUEST_CHUNK_SIZE_INVALID);
}

TEST("rejects white space around a size")
{
    REFUSES(" ", REQUEST_CHUNK_SIZE_INVALID);
    REFUSES("\t", REQUEST_CHUNK_SIZE_INVALID);
    REFUSES("5 ", REQUEST_CHUNK_SIZE_INVALID);
    REFUSES("5\t", REQUEST_CHUNK_SIZE_INVALID);
    REFUSES("5\v", REQUEST_CHUNK_SIZE_INVALID);
    REFUSES("0 ", REQUEST_CHUNK_SIZE_INVALID);
}

TEST("rejects a size line that does not end with CRLF")
{
    REFUSES("5\n", REQUEST_CHUNK_SIZE_INVALID);
    REFUSES("5\rh", REQUEST_CHUNK_SIZE_INVALID);
    REFUSES("5\r\r", REQUEST_CHUNK_SIZE_INVALID);
    REFUSES("0\n", REQUEST_CHUNK_SIZE_INVALID);
    REFUSES("5;a\rb", REQUEST_CHUNK_SIZE_INVALID);
}

TEST("accepts a size of 2^63 - 1 and rejects anything above")
{
    WANTS_MORE("7fffffffffffffff\r\nx");
    WANTS_MORE("7FFFFFFFFFFFFFFF");
    WANTS_MORE("00007fffffffffffffff\r\nx");
    REFUSES("8000000000000000", REQUEST_CHUNK_SIZE_INVALID);
    REFUSES("ffffffffffffffff", REQUEST_CHUNK_SIZE_INVALID);
    REFUSES("10000000000000000", REQUEST_CHUNK_SIZE_INVALID);
    REFUSES("7fffffffffffffff0", REQUEST_CHUNK_SIZE_INVALID);
}

TEST("rejects data that is not followed by CRLF")
{
    REFUSES("5\r\nhello0", REQUEST_CHUNK_DATA_UNTERMINATED);
    REFUSES("5\r\nhello!", REQUEST_CHUNK_DATA_UNTERMINATED);
    REFUSES("5\r\nhello\n", REQUEST_CHUNK_DATA_UNTERMINATED);
    REFUSES("5\r\nhello\r0", REQUEST_CHUNK_DATA_UNTERMINATED);
    REFUSES("5\r\nhello\r\r", REQUEST_CHUNK_DATA_UNTERMINATED);
    REFUSES("4\r\nhello", REQUEST_CHUNK_DATA_UNTERMINATED);
}

/* ---- §7.1.1: chunk extensions ---- */

TEST("skips extensions of every form")
{
    ACCEPTS("1;a\r\nx\r\n0\r\n\r\n", "x");
    ACCEPTS("1;a=b\r\nx\r\n0;end\r\n\r\n", "x");
    ACCEPTS("1;a=b;c;d=e\r\nx\r\n0\r\n\r\n", "x");
    ACCEPTS("1;!#$%&'*+-.^_`|~09azAZ=!#$%&'*+-.^_`|~09azAZ\r\nx\r\n0\r\n\r\n", "x");
    ACCEPTS("1;a=\"\"\r\nx\r\n0\r\n\r\n", "x");
    ACCEPTS("1;a=\"b c;d=\te\"\r\nx\r\n0\r\n\r\n", "x");
    ACCEPTS("1;a=\"\\\"\\\\\\ \\\t\\\xff\"\r\nx\r\n0\r\n\r\n", "x");
    ACCEPTS("1;a=\"\x80\xff\";b\r\nx\r\n0\r\n\r\n", "x");
}

TEST("rejects an extension without a name, or a value that is none")
{
    REFUSES("1;\r", REQUEST_CHUNK_EXTENSION_INVALID);
    REFUSES("1;;", REQUEST_CHUNK_EXTENSION_INVALID);
    REFUSES("1;=", REQUEST_CHUNK_EXTENSION_INVALID);
    REFUSES("1;a=\r", REQUEST_CHUNK_EXTENSION_INVALID);
    REFUSES("1;a=;", REQUEST_CHUNK_EXTENSION_INVALID);
    REFUSES("1;a==", REQUEST_CHUNK_EXTENSION_INVALID);
    REFUSES("1;a=b=", REQUEST_CHUNK_EXTENSION_INVALID);
    REFUSES("1;a;\r", REQUEST_CHUNK_EXTENSION_INVALID);
    REFUSES("1;\"", REQUEST_CHUNK_EXTENSION_INVALID);
    REFUSES("1;a\"", REQUEST_CHUNK_EXTENSION_INVALID);
    REFUSES("1;a=b\"", REQUEST_CHUNK_EXTENSION_INVALID);
    REFUSES("1;a=\"b\"c", REQUEST_CHUNK_EXTENSION_INVALID);
    REFUSES("1;a=\"b\"\"", REQUEST_CHUNK_EXTENSION_INVALID);
    REFUSES("1;a/", REQUEST_CHUNK_EXTENSION_INVALID);
    REFUSES("1;a\x80", REQUEST_CHUNK_EXTENSION_INVALID);
}

TEST("rejects white space around the parts of an extension")
{
    REFUSES("1; ", REQUEST_CHUNK_EXTENSION_INVALID);
    REFUSES("1;a ", REQUEST_CHUNK_EXTENSION_INVALID);
    REFUSES("1;a= ", REQUEST_CHUNK_EXTENSION_INVALID);
    REFUSES("1;a=b ", REQUEST_CHUNK_EXTENSION_INVALID);
    REFUSES("1;a=\"b\" ", REQUEST_CHUNK_EXTENSION_INVALID);
    REFUSES("1;\t", REQUEST_CHUNK_EXTENSION_INVALID);
}

TEST("rejects control octets and a line end inside an extension")
{
    REFUSES("1;a\n", REQUEST_CHUNK_EXTENSION_INVALID);
    REFUSES("1;a=\"\r", REQUEST_CHUNK_EXTENSION_INVALID);
    REFUSES("1;a=\"\n", REQUEST_CHUNK_EXTENSION_INVALID);
    REFUSES("1;a=\"\0", REQUEST_CHUNK_EXTENSION_INVALID);
    REFUSES("1;a=\"\x7f", REQUEST_CHUNK_EXTENSION_INVALID);
    REFUSES("1;a=\"\\\r", REQUEST_CHUNK_EXTENSION_INVALID);
    REFUSES("1;a=\"\\\0", REQUEST_CHUNK_EXTENSION_INVALID);
    REFUSES("1;a=\"\\\x7f", REQUEST_CHUNK_EXTENSION_INVALID);
}

/* ---- §7.1.2: the trailer section ---- */

TEST("drops trailer fields")
{
    ACCEPTS("1\r\nx\r\n0\r\nA: b\r\n\r\n", "x");
    ACCEPTS("0\r\nA: b\r\nC:\r\nD:e\t \xe9\r\n\r\n", "");
    ACCEPTS("0\r\nContent-Length: 5\r\nHost: elsewhere\r\n\r\n", "");
}

TEST("rejects a trailer line that is not a field line")
{
    REFUSES("0\r\n:", REQUEST_TRAILER_INVALID);
    REFUSES("0\r\n ", REQUEST_TRAILER_INVALID);
    REFUSES("0\r\n\n", REQUEST_TRAILER_INVALID);
    REFUSES("0\r\nA ", REQUEST_TRAILER_INVALID);
    REFUSES("0\r\nA\r", REQUEST_TRAILER_INVALID);
    REFUSES("0\r\nA\x80", REQUEST_TRAILER_INVALID);
    REFUSES("0\r\nA: b\n", REQUEST_TRAILER_INVALID);
    REFUSES("0\r\nA: \0", REQUEST_TRAILER_INVALID);
    REFUSES("0\r\nA: \x7f", REQUEST_TRAILER_INVALID);
    REFUSES("0\r\nA: b\rc", REQUEST_TRAILER_INVALID);
    REFUSES("0\r\nA: b\r\n\rx", REQUEST_TRAILER_INVALID);
    REFUSES("0\r\n\r\r", REQUEST_TRAILER_INVALID);
}

TEST("rejects a folded trailer line (§5.2)")
{
    REFUSES("0\r\nA: b\r\n ", REQUEST_TRAILER_INVALID);
    REFUSES("0\r\nA: b\r\n\t", REQUEST_TRAILER_INVALID);
}

TEST("holds trailers to the limits of a head: fields, one line, all of it")
{
    ACCEPTS("0\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n", "");
    REFUSES("0\r\nA: 1\r\nB: 2\r\nC: 3\r\nD", REQUEST_TRAILERS_TOO_LONG);
    ACCEPTS("0\r\nA: 1234567890123456789012345678901234567\r\n\r\n", "");
    REFUSES("0\r\nA: 12345678901234567890123456789012345678", REQUEST_TRAILERS_TOO_LONG);
    REFUSES("0\r\nNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNN", REQUEST_TRAILERS_TOO_LONG);
    ACCEPTS("0\r\nA: 1234567890123456789012345678901234567\r\n"
            "B: 1234567890123456789012345678901\r\n\r\n", "");
    REFUSES("0\r\nA: 1234567890123456789012345678901234567\r\n"
            "B: 12345678901234567890123456789012\r\n\r\n", REQUEST_TRAILERS_TOO_LONG);
}

/* ---- bounds on overhead ---- */

/* size line of `bytes` octets: "1;aaaa..." */
static size_t long_line(char *out, size_t bytes)
{
    memset(out, 'a', bytes);
    out[0] = '1';
    out[1] = ';';
    return bytes;
}

TEST("bounds a size line with its extensions, and leading zeros")
{
    char message[CHUNK_LINE_BYTES_MAX + 16];
    size_t len = long_line(message, CHUNK_LINE_BYTES_MAX);
    memcpy(message + len, "\r\nx\r\n0\r\n\r\n", 11);
    struct outcome o = decode(message, len + 11, "x", 1);
    CHECK(o.status == CHUNK_DONE);
    len = long_line(message, CHUNK_LINE_BYTES_MAX + 1);
    o = decode(message, len, NULL, 0);
    CHECK(o.error == REQUEST_CHUNK_OVERHEAD_TOO_LONG && o.consumed == len - 1);
    memset(message, '0', sizeof(message));
    o = decode(message, sizeof(message), NULL, 0);
    CHECK(o.error == REQUEST_CHUNK_OVERHEAD_TOO_LONG && o.consumed == CHUNK_LINE_BYTES_MAX);
}

/* `count` chunks of `size` octets (below 16) */
static struct outcome flood(size_t count, size_t size)
{
    size_t each = size + 5, len = count * each;
    char *message = malloc(len + 5);
    for (size_t i = 0; i < count; i++) {
        memset(message + i * each, 'x', each);
        message[i * each] = "0123456789abcdef"[size];
        memcpy(message + i * each + 1, "\r\n", 2);
        memcpy(message + i * each + each - 2, "\r\n", 2);
    }
    memcpy(message + len, "0\r\n\r\n", 5);
    struct outcome o = decode(message, len + 5, NULL, 0);
    free(message);
    return o;
}

TEST("lets small chunks pass while there are few of them")
{
    CHECK(flood(CHUNK_OVERHEAD_FREE_BYTES / 4 - 2, 1).status == CHUNK_DONE);
}

TEST("rejects a flood of one-octet chunks, on the octet that is one too many")
{
    struct outcome o = flood(100000, 1);
    CHECK(o.error == REQUEST_CHUNK_OVERHEAD_TOO_LONG);
    /* overhead is 5 for each octet of data: 65536 + n = 5 n */
    CHECK_MSG(o.body_len == CHUNK_OVERHEAD_FREE_BYTES / 4, "%zu octets of data", o.body_len);
}

TEST("lets a writer pass that flushes eight octets at a time, for ever")
{
    CHECK(flood(100000, 8).status == CHUNK_DONE);
}

TEST("rejects a flood of long extensions")
{
    size_t line = 4000, each = line + 2 + 1 + 2, count = 40;
    char *message = malloc(count * each);
    for (size_t i = 0; i < count; i++) {
        long_line(message + i * each, line);
        memcpy(message + i * each + line, "\r\nx\r\n", 5);
    }
    CHECK(decode(message, count * each, NULL, 0).error == REQUEST_CHUNK_OVERHEAD_TOO_LONG);
    free(message);
}

/* ---- the decoder ---- */

TEST("stays refused after an error")
{
    struct chunk_decoder d;
    chunk_decoder_reset(&d);
    size_t consumed, data_len;
    const char *data;
    CHECK(chunk_decode(&d, "g", 1, &limits, &consumed, &data, &data_len) == CHUNK_ERROR);
    CHECK(chunk_decode(&d, "0\r\n\r\n", 5, &limits, &consumed, &data, &data_len) == CHUNK_ERROR);
    CHECK(d.error == REQUEST_CHUNK_SIZE_INVALID && consumed == 0);
    chunk_decoder_reset(&d);
    CHECK(chunk_decode(&d, "0\r\n\r\n", 5, &limits, &consumed, &data, &data_len) == CHUNK_DONE);
}

TEST("agrees with the slow decoder about every octet at every place")
{
    static const char message[] = "a2;n=v;q=\"s\\t\"\r\nx";
    static const char trailer[] = "1\r\nx\r\n0\r\nName: v\r\n\r\n";
    char copy[64];
    for (size_t at = 0; at < sizeof(message) - 1; at++) {
        for (int c = 0; c < 256; c++) {
            memcpy(copy, message, sizeof(message));
            copy[at] = (char)c;
            decode(copy, sizeof(message) - 1, NULL, 0);
        }
    }
    for (size_t at = 0; at < sizeof(trailer) - 1; at++) {
        for (int c = 0; c < 256; c++) {
            memcpy(copy, trailer, sizeof(trailer));
            copy[at] = (char)c;
            decode(copy, sizeof(trailer) - 1, NULL, 0);
        }
    }
}

CHECK_MAIN
