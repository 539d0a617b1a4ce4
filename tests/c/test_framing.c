/* How long is the body?  RFC 9112 §6.1 to §6.3, and RFC 9110 §8.6. */
#include "check.h"
#include "framing.h"

static const struct head_limits limits = {8190, 8190, 100, 65536};

struct decision {
    enum framing framing;
    enum request_error error;
    uint64_t length;
};

static struct decision decide(const char *text, size_t len)
{
    static struct field_line fields[100];
    struct request_head head;
    struct decision d = {FRAMING_ERROR, REQUEST_ERROR_COUNT, UINT64_MAX};
    char *at = guarded(text, len);
    request_head_reset(&head, fields);
    bool parsed = request_line_parse(&head, at, len, &limits) == HEAD_DONE &&
                  request_fields_parse(&head, at, len, &limits) == HEAD_DONE;
    CHECK_MSG(parsed, "not a head: %s", text);
    if (parsed)
        d.framing = framing_decide(&head, at, &d.length, &d.error);
    return d;
}

static void check_framing(const char *text, size_t len, enum framing framing, uint64_t length)
{
    struct decision d = decide(text, len);
    CHECK_MSG(d.framing == framing && d.error == REQUEST_OK, "%s: framing %d, error %d", text, d.framing,
              d.error);
    CHECK_MSG(framing != FRAMING_LENGTH || d.length == length, "%s: length %llu", text,
              (unsigned long long)d.length);
}

static void check_refused(const char *text, size_t len, enum request_error error)
{
    struct decision d = decide(text, len);
    CHECK_MSG(d.framing == FRAMING_ERROR && d.error == error, "%s: framing %d, error %d", text, d.framing,
              d.error);
}

#define HEAD_1(minor, fields) "POST / HTTP/1." #minor "\r\n" fields "\r\n\r\n"
#define FRAMING(fields, framing, length) \
    check_framing(HEAD_1(1, fields), sizeof(HEAD_1(1, fields)) - 1, framing, length)
#define REFUSED(fields, error) check_refused(HEAD_1(1, fields), sizeof(HEAD_1(1, fields)) - 1, error)
#define REFUSED_1_0(fields, error) check_refused(HEAD_1(0, fields), sizeof(HEAD_1(0, fields)) - 1, error)
#define CODING_INVALID(value) REFUSED("Transfer-Encoding:" value, REQUEST_TRANSFER_CODING_INVALID)
#define CODING_UNSUPPORTED(value) REFUSED("Transfer-Encoding:" value, REQUEST_TRANSFER_CODING_UNSUPPORTED)
#define LENGTH_INVALID(value) REFUSED("Content-Length:" value, REQUEST_CONTENT_LENGTH_INVALID)

/* ---- RFC 9112 §6.1 ---- */

TEST("§6.1 takes chunked, in any case and with white space around it")
{
    FRAMING("Transfer-Encoding: chunked", FRAMING_CHUNKED, 0);
    FRAMING("transfer-encoding:CHUNKED", FRAMING_CHUNKED, 0);
    FRAMING("Transfer-Encoding: \t chunked \t ", FRAMING_CHUNKED, 0);
}

TEST("§6.1 refuses Transfer-Encoding on HTTP/1.0")
{
    REFUSED_1_0("Transfer-Encoding: chunked", REQUEST_TRANSFER_CODING_ON_1_0);
    REFUSED_1_0("Transfer-Encoding: gzip", REQUEST_TRANSFER_CODING_ON_1_0);
}

TEST("§6.1 refuses chunked twice, on one line or on two")
{
    CODING_INVALID("chunked, chunked");
    CODING_INVALID("chunked,chunked");
    REFUSED("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", REQUEST_TRANSFER_CODING_INVALID);
    REFUSED("Transfer-Encoding: chunked\r\nX: y\r\ntransfer-encoding: CHUNKED",
            REQUEST_TRANSFER_CODING_INVALID);
    CODING_INVALID("chunked, gzip, chunked");
}

TEST("§6.1 refuses chunked that is not the last coding")
{
    CODING_INVALID("chunked, gzip");
    CODING_INVALID("chunked, identity");
    REFUSED("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip", REQUEST_TRANSFER_CODING_INVALID);
}

TEST("§6.3 refuses a list without chunked, whatever is in it")
{
    CODING_INVALID("gzip");
    CODING_INVALID("xchunked");
    CODING_INVALID("chunkedx");
    CODING_INVALID("chunke");
    CODING_INVALID("'chunked'");
    CODING_INVALID("x-foo, deflate");
}

TEST("§6.1 says that other well-formed codings before chunked are unsupported")
{
    CODING_UNSUPPORTED("gzip, chunked");
    CODING_UNSUPPORTED("xchunked, chunked");
    CODING_UNSUPPORTED("gzip;q=1, chunked");
    CODING_UNSUPPORTED("gzip ; a = \"b, \\\" chunked\" ;c=d , chunked");
    REFUSED("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", REQUEST_TRANSFER_CODING_UNSUPPORTED);
}

TEST("§6.1 refuses identity, and parameters on chunked")
{
    CODING_INVALID("identity");
    CODING_INVALID("Identity");
    CODING_INVALID("identity, chunked");
    CODING_INVALID("chunked;a=b");
    CODING_INVALID("chunked ;a=\"b\"");
    CODING_INVALID("chunked;");
}

TEST("§6.1 refuses a malformed list and empty elements")
{
    CODING_INVALID("");
    CODING_INVALID(" ");
    CODING_INVALID(",");
    CODING_INVALID(",chunked");
    CODING_INVALID("chunked,");
    CODING_INVALID("chunked, ");
    CODING_INVALID("gzip,,chunked");
    CODING_INVALID("gzip, ,chunked");
    CODING_INVALID("chunked chunked");
    CODING_INVALID("chunked foo");
    CODING_INVALID("\"chunked\"");
    CODING_INVALID("chunked\xa0");
    CODING_INVALID("\x85"
                   "chunked");
    CODING_INVALID("chu nked");
    CODING_INVALID("gzip;");
    CODING_INVALID("gzip;a");
    CODING_INVALID("gzip;a=");
    CODING_INVALID("gzip;=b");
    CODING_INVALID("gzip;a=\"b");
    CODING_INVALID("gzip;a=\"b\\\"");
    CODING_INVALID("gzip;a=b c");
    CODING_INVALID("gzip=b");
    REFUSED("Transfer-Encoding:\r\nTransfer-Encoding: chunked", REQUEST_TRANSFER_CODING_INVALID);
    REFUSED("Transfer-Encoding: chunked\r\nTransfer-Encoding:", REQUEST_TRANSFER_CODING_INVALID);
}

/* ---- RFC 9112 §6.2 and RFC 9110 §8.6 ---- */

TEST("§6.2 reads ASCII digits")
{
    FRAMING("Content-Length: 0", FRAMING_LENGTH, 0);
    FRAMING("Content-Length: 5", FRAMING_LENGTH, 5);
    FRAMING("content-length:\t1234567890 ", FRAMING_LENGTH, 1234567890);
    FRAMING("Content-Length: 000000000000000000000000000000005", FRAMING_LENGTH, 5);
    FRAMING("Content-Length: 9223372036854775807", FRAMING_LENGTH, INT64_MAX);
}

TEST("§6.2 refuses signs, white space, lists, hexadecimal, underscores, other digits and nothing")
{
    LENGTH_INVALID("");
    LENGTH_INVALID(" ");
    LENGTH_INVALID("+5");
    LENGTH_INVALID("-5");
    LENGTH_INVALID("5 5");
    LENGTH_INVALID("5,5");
    LENGTH_INVALID("5, 5");
    LENGTH_INVALID("5,");
    LENGTH_INVALID("0x5");
    LENGTH_INVALID("5_0");
    LENGTH_INVALID("5.0");
    LENGTH_INVALID("5e1");
    LENGTH_INVALID("a");
    LENGTH_INVALID("5;");
    LENGTH_INVALID("\"5\"");
    LENGTH_INVALID("5\xa0");
    LENGTH_INVALID("\xd9\xa5");
    LENGTH_INVALID("\xb2");
}

TEST("§6.2 refuses a length beyond what 63 bits hold")
{
    LENGTH_INVALID("9223372036854775808");
    LENGTH_INVALID("9223372036854775810");
    LENGTH_INVALID("18446744073709551616");
    LENGTH_INVALID("18446744073709551621");
    LENGTH_INVALID("99999999999999999999999999999999999999");
}

TEST("§6.2 refuses a second Content-Length, the same too")
{
    REFUSED("Content-Length: 5\r\nContent-Length: 6", REQUEST_CONTENT_LENGTH_REPEATED);
    REFUSED("Content-Length: 5\r\nContent-Length: 5", REQUEST_CONTENT_LENGTH_REPEATED);
    REFUSED("Content-Length: 5\r\nX: y\r\nCONTENT-LENGTH: ", REQUEST_CONTENT_LENGTH_REPEATED);
    REFUSED_1_0("Content-Length: 5\r\nContent-Length: 5", REQUEST_CONTENT_LENGTH_REPEATED);
}

/* ---- RFC 9112 §6.3 ---- */

TEST("§6.3 step 3 refuses both fields together, in either order and whatever they say")
{
    REFUSED("Content-Length: 5\r\nTransfer-Encoding: chunked", REQUEST_FRAMING_CONFLICT);
    REFUSED("Transfer-Encoding: chunked\r\nContent-Length: 5", REQUEST_FRAMING_CONFLICT);
    REFUSED("Transfer-Encoding: foo\r\nContent-Length: x", REQUEST_FRAMING_CONFLICT);
    REFUSED("Transfer-Encoding:\r\nContent-Length:", REQUEST_FRAMING_CONFLICT);
    REFUSED_1_0("Transfer-Encoding: chunked\r\nContent-Length: 5", REQUEST_FRAMING_CONFLICT);
}

TEST("§6.3 step 7 finds no body without either field")
{
    FRAMING("Host: a", FRAMING_NONE, 0);
    FRAMING("Content-Type: text/plain\r\nTE: chunked\r\nContent: 5\r\nX-Content-Length: 5", FRAMING_NONE, 0);
}

TEST("a name with an underscore never counts")
{
    FRAMING("Content_Length: 5", FRAMING_NONE, 0);
    FRAMING("Transfer_Encoding: chunked", FRAMING_NONE, 0);
    FRAMING("Content-Length: 5\r\nContent_Length: 6", FRAMING_LENGTH, 5);
    FRAMING("Content-Length: 5\r\nTransfer_Encoding: chunked", FRAMING_LENGTH, 5);
}

CHECK_MAIN
