/* The grammar of the request head, in the order of RFC 9112: §2, §3, §5, then limits and ways to feed. */
#include "head_checks.h"

/* before, one octet c, after: in `message`; the length */
static size_t with_octet(char *message, const char *before, int c, const char *after)
{
    size_t at = strlen(before), rest = strlen(after);
    memcpy(message, before, at);
    message[at] = (char)c;
    memcpy(message + at + 1, after, rest);
    return at + 1 + rest;
}

/* ---- RFC 9112 §2.2 ---- */

TEST("§2.2 accepts the smallest heads")
{
    ACCEPT("GET / HTTP/1.1\r\n\r\n");
    ACCEPT("GET / HTTP/1.0\r\n\r\n");
    ACCEPT("GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n");
}

TEST("§2.2 leaves what follows the head alone")
{
    const char *text = "GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n\x01 body";
    struct verdict *v = feed(text, strlen(text));
    CHECK(v->status == HEAD_DONE);
    CHECK(v->head.next == 27);
}

TEST("§2.2 skips one empty line before the request line")
{
    struct verdict *v = FEED("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(v->status == HEAD_DONE);
    CHECK(v->head.started_at == 2);
    CHECK(v->head.method_at == 2);
    PARTIAL("");
    PARTIAL("\r");
    PARTIAL("\r\n");
}

TEST("§2.2 refuses a second empty line, a lone CR and a lone LF before the request line")
{
    REFUSE("\r\n\r\nGET / HTTP/1.1\r\n\r\n", REQUEST_LINE_MALFORMED);
    REFUSE("\r\n\r", REQUEST_LINE_MALFORMED);
    REFUSE("\rGET / HTTP/1.1\r\n\r\n", REQUEST_LINE_MALFORMED);
    REFUSE("\n", REQUEST_LINE_MALFORMED);
    REFUSE("\nGET / HTTP/1.1\r\n\r\n", REQUEST_LINE_MALFORMED);
    REFUSE("\r\n\nGET / HTTP/1.1\r\n\r\n", REQUEST_LINE_MALFORMED);
}

TEST("§2.2 refuses LF alone as the end of any line")
{
    REFUSE("GET / HTTP/1.1\n", REQUEST_LINE_MALFORMED);
    REFUSE("GET / HTTP/1.1\nHost: a\n\n", REQUEST_LINE_MALFORMED);
    REFUSE("GET / HTTP/1.1\r\nHost: a\n", REQUEST_FIELD_VALUE_INVALID);
    REFUSE("GET / HTTP/1.1\r\nHost: a\n\r\n", REQUEST_FIELD_VALUE_INVALID);
    REFUSE("GET / HTTP/1.1\r\nHost: a\r\n\n", REQUEST_FIELD_NAME_INVALID);
    REFUSE("GET / HTTP/1.1\r\nHost: a\r\n\r\r\n", REQUEST_FIELD_NAME_INVALID);
}

TEST("§2.2 refuses a bare CR wherever it stands")
{
    REFUSE(LINE("G\rET / HTTP/1.1"), REQUEST_LINE_MALFORMED);
    REFUSE(LINE("GET /\ra HTTP/1.1"), REQUEST_LINE_MALFORMED);
    REFUSE(LINE("GET / HT\rTP/1.1"), REQUEST_VERSION_INVALID);
    REFUSE("GET / HTTP/1.1\rHost: a\r\n\r\n", REQUEST_LINE_MALFORMED);
    REFUSE("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", REQUEST_LINE_MALFORMED);
    REFUSE(FIELD("Ho\rst: a"), REQUEST_FIELD_NAME_INVALID);
    REFUSE(FIELD("Host: a\rb"), REQUEST_FIELD_VALUE_INVALID);
    REFUSE(FIELD("Host: a\r\r\nb: c"), REQUEST_FIELD_VALUE_INVALID);
    REFUSE("GET / HTTP/1.1\r\nHost: a\r\n\rX", REQUEST_FIELD_NAME_INVALID);
}

/* ---- RFC 9112 §2.3 and §3: the request line ---- */

TEST("§2.3 refuses what is not HTTP/DIGIT.DIGIT as a version")
{
    REFUSE(LINE("GET / http/1.1"), REQUEST_VERSION_INVALID);
    REFUSE(LINE("GET / Http/1.1"), REQUEST_VERSION_INVALID);
    REFUSE(LINE("GET / HTTP/1"), REQUEST_VERSION_INVALID);
    REFUSE(LINE("GET / HTTP/11"), REQUEST_VERSION_INVALID);
    REFUSE(LINE("GET / HTTP/1.10"), REQUEST_VERSION_INVALID);
    REFUSE(LINE("GET / HTTP/01.1"), REQUEST_VERSION_INVALID);
    REFUSE(LINE("GET / HTTP/1,1"), REQUEST_VERSION_INVALID);
    REFUSE(LINE("GET / HTTP/1.x"), REQUEST_VERSION_INVALID);
    REFUSE(LINE("GET / HTTP/1.\xd9\xa1"), REQUEST_VERSION_INVALID);
    REFUSE(LINE("GET / HTTP1.1"), REQUEST_VERSION_INVALID);
    REFUSE(LINE("GET / HTTPS/1.1"), REQUEST_VERSION_INVALID);
    REFUSE(LINE("GET / ICE/1.0"), REQUEST_VERSION_INVALID);
    REFUSE(LINE("GET / \tHTTP/1.1"), REQUEST_VERSION_INVALID);
    REFUSE(LINE("GET / HTTP/1.1\t"), REQUEST_VERSION_INVALID);
    REFUSE(LINE("GET / HTTP/1.1;"), REQUEST_VERSION_INVALID);
}

TEST("§2.3 says that other versions are unsupported, not invalid")
{
    REFUSE(LINE("GET / HTTP/0.9"), REQUEST_VERSION_UNSUPPORTED);
    REFUSE(LINE("GET / HTTP/1.2"), REQUEST_VERSION_UNSUPPORTED);
    REFUSE(LINE("GET / HTTP/2.0"), REQUEST_VERSION_UNSUPPORTED);
    REFUSE(LINE("GET / HTTP/0.1"), REQUEST_VERSION_UNSUPPORTED);
    REFUSE(LINE("GET / HTTP/9.9"), REQUEST_VERSION_UNSUPPORTED);
    REFUSE("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", REQUEST_VERSION_UNSUPPORTED);
}

TEST("§3 wants three parts with one SP between them")
{
    REFUSE(LINE("GET"), REQUEST_LINE_MALFORMED);
    REFUSE(LINE("GET "), REQUEST_LINE_MALFORMED);
    REFUSE(LINE("GET /"), REQUEST_LINE_MALFORMED);
    REFUSE(LINE("GET / "), REQUEST_LINE_MALFORMED);
    REFUSE(LINE(" GET / HTTP/1.1"), REQUEST_LINE_MALFORMED);
    REFUSE(LINE("GET  / HTTP/1.1"), REQUEST_LINE_MALFORMED);
    REFUSE(LINE("GET /  HTTP/1.1"), REQUEST_LINE_MALFORMED);
    REFUSE(LINE("GET / HTTP/1.1 "), REQUEST_LINE_MALFORMED);
    REFUSE(LINE("GET  HTTP/1.1"), REQUEST_LINE_MALFORMED);
    REFUSE(LINE("GET HTTP/1.1"), REQUEST_LINE_MALFORMED);
    REFUSE(LINE("GET /a b HTTP/1.1"), REQUEST_VERSION_INVALID);
    REFUSE(LINE("GET\t/ HTTP/1.1"), REQUEST_METHOD_INVALID);
    REFUSE(LINE("GET /\tHTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("GET\v/ HTTP/1.1"), REQUEST_METHOD_INVALID);
}

TEST("§3.1 accepts any token as a method and keeps its case")
{
    static const char text[] = "get / HTTP/1.1\r\n\r\n";
    struct verdict *v = FEED("get / HTTP/1.1\r\n\r\n");
    CHECK(v->status == HEAD_DONE && text_is(text, v->head.method_at, v->head.method_len, "get"));
    ACCEPT(LINE("X / HTTP/1.1"));
    ACCEPT(LINE("M-SEARCH / HTTP/1.1"));
    ACCEPT(LINE("!#$%&'*+-.^_`|~09azAZ / HTTP/1.1"));
    ACCEPT(LINE("A-METHOD-THAT-FILLS-MORE-THAN-ONE-BLOCK-OF-THIRTY-TWO / HTTP/1.1"));
    ACCEPT(LINE("A-METHOD-WITH-THIRTY-ONE-OCTETS / HTTP/1.1"));
    ACCEPT(LINE("A-METHOD-WITH-THIRTY-TWO-OCTETS! / HTTP/1.1"));
    CHECK(!FEED("get / HTTP/1.1\r\n\r\n")->head.method_is_head);
    CHECK(FEED("HEAD / HTTP/1.1\r\n\r\n")->head.method_is_head);
    CHECK(!FEED("head / HTTP/1.1\r\n\r\n")->head.method_is_head);
    CHECK(FEED("HEAD http://a/ HTTP/1.1\r\n\r\n")->head.method_is_head);
}

TEST("§3.1 refuses every octet in a method that is no tchar")
{
    char message[64];
    for (int c = 0; c < 256; c++) {
        size_t len = with_octet(message, "GE", c, "T / HTTP/1.1\r\nHost: a\r\n\r\n");
        struct verdict *v = feed(message, len);
        if (in_set((char)c, token_specials))
            CHECK_STATUS(v, HEAD_DONE, REQUEST_OK);
        else if (c == '\r' || c == '\n')
            CHECK_STATUS(v, HEAD_ERROR, REQUEST_LINE_MALFORMED);
        else if (c == ' ')
            CHECK_STATUS(v, HEAD_ERROR, REQUEST_VERSION_INVALID);
        else
            CHECK_STATUS(v, HEAD_ERROR, REQUEST_METHOD_INVALID);
    }
    REFUSE(LINE("\xd0\x93 / HTTP/1.1"), REQUEST_METHOD_INVALID);
}

TEST("§3.2 refuses every octet in a path that no form allows, and \"%\" without two digits")
{
    char message[64];
    for (int c = 0; c < 256; c++) {
        size_t len = with_octet(message, "GET /a", c, "b HTTP/1.1\r\nHost: a\r\n\r\n");
        struct verdict *v = feed(message, len);
        if (c == '?' || (c != '%' && in_set((char)c, path_specials)))
            CHECK_STATUS(v, HEAD_DONE, REQUEST_OK);
        else if (c == '\r' || c == '\n')
            CHECK_STATUS(v, HEAD_ERROR, REQUEST_LINE_MALFORMED);
        else if (c == ' ')
            CHECK_STATUS(v, HEAD_ERROR, REQUEST_VERSION_INVALID);
        else
            CHECK_STATUS(v, HEAD_ERROR, REQUEST_TARGET_INVALID);
    }
}

TEST("§3.2 refuses every octet in a query that no form allows, but not \"%\" or what browsers send")
{
    char message[64];
    for (int c = 0; c < 256; c++) {
        size_t len = with_octet(message, "GET /a?", c, "b HTTP/1.1\r\nHost: a\r\n\r\n");
        struct verdict *v = feed(message, len);
        if (in_set((char)c, query_specials))
            CHECK_STATUS(v, HEAD_DONE, REQUEST_OK);
        else if (c == '\r' || c == '\n')
            CHECK_STATUS(v, HEAD_ERROR, REQUEST_LINE_MALFORMED);
        else if (c == ' ')
            CHECK_STATUS(v, HEAD_ERROR, REQUEST_VERSION_INVALID);
        else
            CHECK_STATUS(v, HEAD_ERROR, REQUEST_TARGET_INVALID);
    }
}

TEST("§3.2 refuses malformed escapes and %00 in a path")
{
    ACCEPT(LINE("GET /%41%c3%A9/%2F HTTP/1.1"));
    ACCEPT(LINE("GET /a?%00%zz%1 HTTP/1.1"));
    REFUSE(LINE("GET /%4 HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("GET /% HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("GET /%4g HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("GET /%+4 HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("GET /%4?a HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("GET /%00 HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("GET http://a/%00 HTTP/1.1"), REQUEST_TARGET_INVALID);
}

TEST("§3.2.1 splits an origin-form target at the first \"?\"")
{
    static const char text[] = "GET //a/%7eb?c=d?e HTTP/1.1\r\n\r\n";
    struct request_head *h = &feed(text, sizeof text - 1)->head;
    CHECK(h->form == TARGET_ORIGIN && h->authority_len == 0);
    CHECK(text_is(text, h->target_at, h->target_len, "//a/%7eb?c=d?e"));
    CHECK(text_is(text, h->path_at, h->path_len, "//a/%7eb"));
    CHECK(text_is(text, h->query_at, h->query_len, "c=d?e"));
    CHECK(h->path_has_percent);
    h = &FEED("GET /a?%41 HTTP/1.1\r\n\r\n")->head;
    CHECK(!h->path_has_percent && h->query_len == 3);
    h = &FEED("GET /? HTTP/1.1\r\n\r\n")->head;
    CHECK(h->path_len == 1 && h->query_len == 0);
}

TEST("§3.2.2 splits an absolute-form target of http and https")
{
    static const char text[] = "GET HTTP://[::1]:80/a?b HTTP/1.1\r\n\r\n";
    struct request_head *h = &feed(text, sizeof text - 1)->head;
    CHECK(h->form == TARGET_ABSOLUTE);
    CHECK(text_is(text, h->authority_at, h->authority_len, "[::1]:80"));
    CHECK(text_is(text, h->path_at, h->path_len, "/a"));
    CHECK(text_is(text, h->query_at, h->query_len, "b"));
    h = &FEED("GET http://a?b HTTP/1.1\r\n\r\n")->head;
    CHECK(h->form == TARGET_ABSOLUTE && h->path_len == 0 && h->path_at == 12 && h->query_len == 1);
    h = &FEED("GET http://%41/b HTTP/1.1\r\n\r\n")->head;
    CHECK(h->form == TARGET_ABSOLUTE && !h->path_has_percent);
    CHECK(FEED("GET http://a/%41 HTTP/1.1\r\n\r\n")->head.path_has_percent);
    ACCEPT(LINE("GET https://a HTTP/1.1"));
    ACCEPT(LINE("OPTIONS http://a:80 HTTP/1.1"));
}

TEST("§3.2.2 refuses other schemes, and authorities that are empty, with userinfo or malformed")
{
    REFUSE(LINE("GET ftp://a/ HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("GET httpx://a/ HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("GET http:/a HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("GET http: HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("GET http:// HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("GET http:///a HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("GET http://?a HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("GET http://:80/ HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("GET http://user@a/ HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("GET http://u:p@a/ HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("GET http://a:b/ HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("GET http://a:65536/ HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("GET http://[::1/ HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("GET http://a%/ HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("GET http://a|b/ HTTP/1.1"), REQUEST_TARGET_INVALID);
}

TEST("§3.2.3 says that CONNECT is unsupported, whatever its target")
{
    REFUSE(LINE("CONNECT a:443 HTTP/1.1"), REQUEST_METHOD_UNSUPPORTED);
    REFUSE(LINE("CONNECT [::1]:443 HTTP/1.1"), REQUEST_METHOD_UNSUPPORTED);
    REFUSE(LINE("CONNECT / HTTP/1.0"), REQUEST_METHOD_UNSUPPORTED);
    REFUSE(LINE("CONNECT /a%zz HTTP/1.1"), REQUEST_METHOD_UNSUPPORTED);
    REFUSE(LINE("CONNECT a:443 HTTP/1.1 "), REQUEST_LINE_MALFORMED);
    REFUSE(LINE("GET a:443 HTTP/1.1"), REQUEST_TARGET_INVALID);
    ACCEPT(LINE("connect / HTTP/1.1"));
    ACCEPT(LINE("CONNECTS / HTTP/1.1"));
    ACCEPT(LINE("COMMENT / HTTP/1.1"));
    PARTIAL("CONNECT a:443 HTTP/1.1\r");
}

TEST("§3.2.4 takes \"*\" for OPTIONS only")
{
    struct request_head *h = &FEED("OPTIONS * HTTP/1.1\r\n\r\n")->head;
    CHECK(h->form == TARGET_ASTERISK && h->path_len == 0 && h->query_len == 0 && h->target_len == 1);
    REFUSE(LINE("GET * HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("options * HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("OPTIONS ** HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("OPTIONS *?a HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("OPTIONS *a HTTP/1.1"), REQUEST_TARGET_INVALID);
    ACCEPT(LINE("OPTIONS /* HTTP/1.1"));
}

TEST("§3.2 refuses a target in no form")
{
    REFUSE(LINE("GET a HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("GET a/b HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("GET ?a HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("GET %2Fa HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("GET ../a HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("GET \\a HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("GET /a#b HTTP/1.1"), REQUEST_TARGET_INVALID);
    REFUSE(LINE("GET /\xc3\xa9 HTTP/1.1"), REQUEST_TARGET_INVALID);
}

/* ---- RFC 9112 §5: field lines ---- */

TEST("§5.1 refuses white space before the colon, an empty name and a line without a colon")
{
    REFUSE(FIELD("Host : a"), REQUEST_FIELD_NAME_INVALID);
    REFUSE(FIELD("Host\t: a"), REQUEST_FIELD_NAME_INVALID);
    REFUSE(FIELD("Content-Length : 5"), REQUEST_FIELD_NAME_INVALID);
    REFUSE(FIELD(": a"), REQUEST_FIELD_NAME_INVALID);
    REFUSE(FIELD(":"), REQUEST_FIELD_NAME_INVALID);
    REFUSE(FIELD("Host"), REQUEST_FIELD_NAME_INVALID);
    REFUSE(FIELD("Host a"), REQUEST_FIELD_NAME_INVALID);
    REFUSE(FIELD("Content-Length\r\n: 5"), REQUEST_FIELD_NAME_INVALID);
}

TEST("§5.1 refuses every octet in a field name that is no tchar")
{
    char message[128];
    for (int c = 0; c < 256; c++) {
        size_t len =
            with_octet(message, "GET / HTTP/1.1\r\nA", c, "b: a value that makes the line long\r\n\r\n");
        struct verdict *v = feed(message, len);
        if (in_set((char)c, token_specials) || c == ':')
            CHECK_STATUS(v, HEAD_DONE, REQUEST_OK);
        else
            CHECK_STATUS(v, HEAD_ERROR, REQUEST_FIELD_NAME_INVALID);
    }
    REFUSE(FIELD("\xa0"
                 "Content-Length: 5"),
           REQUEST_FIELD_NAME_INVALID);
    REFUSE(FIELD("Content-Length\x85: 5"), REQUEST_FIELD_NAME_INVALID);
}

TEST("§5.1 trims SP and HTAB around a value, and nothing else")
{
    static const char text[] = FIELD("a:\t b \t c \t\r\nb:\r\nc: \r\nd:e\r\nf: \t ");
    struct request_head *h = &feed(text, sizeof text - 1)->head;
    CHECK(h->field_count == 5);
    CHECK(text_is(text, h->fields[0].value_at, h->fields[0].value_len, "b \t c"));
    CHECK(h->fields[1].value_len == 0 && h->fields[2].value_len == 0 && h->fields[4].value_len == 0);
    CHECK(text_is(text, h->fields[3].value_at, h->fields[3].value_len, "e"));
    static const char nbsp[] = FIELD("a:\xa0"
                                     "b\x85");
    h = &feed(nbsp, sizeof nbsp - 1)->head;
    CHECK(h->fields[0].value_len == 3);
    REFUSE(FIELD("Transfer-Encoding: \vchunked"), REQUEST_FIELD_VALUE_INVALID);
    REFUSE(FIELD("Transfer-Encoding: chunked\f"), REQUEST_FIELD_VALUE_INVALID);
}

TEST("§5.2 refuses a folded line, in the first place too")
{
    REFUSE(FIELD("Host: a\r\n b"), REQUEST_FIELD_FOLDED);
    REFUSE(FIELD("Host: a\r\n\tb: c"), REQUEST_FIELD_FOLDED);
    REFUSE(FIELD(" Host: a"), REQUEST_FIELD_FOLDED);
    REFUSE(FIELD("\tHost: a"), REQUEST_FIELD_FOLDED);
    REFUSE(FIELD("Host: a\r\n "), REQUEST_FIELD_FOLDED);
    REFUSE("GET / HTTP/1.1\r\nHost: a\r\n ", REQUEST_FIELD_FOLDED);
}

TEST("§5.5 refuses control octets in a value and accepts HTAB and obs-text")
{
    char message[128];
    for (int c = 0; c < 256; c++) {
        size_t len = with_octet(message, "GET / HTTP/1.1\r\nA: b", c, "c\r\n\r\n");
        bool fits = c == '\t' || (c >= 32 && c != 127);
        struct verdict *v = feed(message, len);
        CHECK_STATUS(v, fits ? HEAD_DONE : HEAD_ERROR, fits ? REQUEST_OK : REQUEST_FIELD_VALUE_INVALID);
    }
}

TEST("§5.5 finds a control octet at every place of a long line")
{
    char message[256] = "GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: ";
    size_t value_at = strlen(message);
    for (size_t value_len = 1; value_len <= 140; value_len += 1 + value_len / 40) {
        memset(message + value_at, 'x', value_len);
        memcpy(message + value_at + value_len, "\r\n\r\n", 4);
        CHECK_STATUS(feed(message, value_at + value_len + 4), HEAD_DONE, REQUEST_OK);
        for (size_t i = 0; i < value_len; i += 1 + value_len / 20) {
            message[value_at + i] = '\0';
            CHECK_STATUS(feed(message, value_at + value_len + 4), HEAD_ERROR, REQUEST_FIELD_VALUE_INVALID);
            CHECK_STATUS(feed(message, value_at + i + 1), HEAD_ERROR, REQUEST_FIELD_VALUE_INVALID);
            message[value_at + i] = 'x';
        }
    }
}

TEST("§5 recognises the fields that it needs by their whole name, whatever their case")
{
    static const struct {
        const char *name;
        enum field_id id;
    } names[] = {
        {"Connection", FIELD_CONNECTION},
        {"Content-Length", FIELD_CONTENT_LENGTH},
        {"Content-Type", FIELD_CONTENT_TYPE},
        {"Cookie", FIELD_COOKIE},
        {"Expect", FIELD_EXPECT},
        {"Host", FIELD_HOST},
        {"Proxy", FIELD_PROXY},
        {"Transfer-Encoding", FIELD_TRANSFER_ENCODING},
        {"content-length", FIELD_CONTENT_LENGTH},
        {"CONTENT-LENGTH", FIELD_CONTENT_LENGTH},
        {"tRANSFER-eNCODING", FIELD_TRANSFER_ENCODING},
        {"hOST", FIELD_HOST},
        {"pROXY", FIELD_PROXY},
        {"Content", FIELD_OTHER},
        {"Content-Lengt", FIELD_OTHER},
        {"Content-Lengths", FIELD_OTHER},
        {"Content.Length", FIELD_OTHER},
        {"Content-Typo", FIELD_OTHER},
        {"Hos", FIELD_OTHER},
        {"Hosts", FIELD_OTHER},
        {"Cookie2", FIELD_OTHER},
        {"Transfer-Encodin", FIELD_OTHER},
        {"Transfer.Encoding", FIELD_OTHER},
        {"Transfer-Encodinh", FIELD_OTHER},
        {"Prox-", FIELD_OTHER},
        {"Connectiom", FIELD_OTHER},
        {"Expecd", FIELD_OTHER},
        {"Coookie", FIELD_OTHER},
        {"Cooxie", FIELD_OTHER},
        {"Host_", FIELD_UNDERSCORE},
        {"content_length", FIELD_UNDERSCORE},
        {"_", FIELD_UNDERSCORE},
        {"Transfer_Encoding", FIELD_UNDERSCORE},
        {"a-name-of-more-than-one-block-of-octets_", FIELD_UNDERSCORE},
        {"a-name-of-more-than-one-block-of-octets", FIELD_OTHER},
        {"X-H", FIELD_OTHER},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char message[128];
        int len = snprintf(message, sizeof message, "GET / HTTP/1.1\r\n%s: 1\r\n\r\n", names[i].name);
        struct verdict *v = feed(message, (size_t)len);
        CHECK_MSG(v->status == HEAD_DONE && v->head.field_count == 1 && v->fields[0].id == names[i].id,
                  "%s: id %u", names[i].name, v->fields[0].id);
        CHECK(v->head.ids_seen == 1u << names[i].id);
    }
}

CHECK_MAIN
