/* Host (RFC 9112 §3.2, RFC 3986 §3.2), Connection (RFC 9110 §7.6.1, RFC 9112 §9.3), Content-Type, Expect. */
#include "check.h"
#include "request_rules.h"

static const struct head_limits limits = {8190, 8190, 100, 65536};

static enum request_error check_text(const char *text, size_t len, struct request_rules *rules)
{
    static struct field_line fields[100];
    struct request_head head;
    char *at = guarded(text, len);
    request_head_reset(&head, fields);
    bool parsed = request_line_parse(&head, at, len, &limits) == HEAD_DONE &&
                  request_fields_parse(&head, at, len, &limits) == HEAD_DONE;
    CHECK_MSG(parsed, "not a head: %s", text);
    return parsed ? request_rules_check(&head, at, rules) : REQUEST_ERROR_COUNT;
}

static void check_error(const char *text, size_t len, enum request_error want)
{
    struct request_rules rules;
    enum request_error error = check_text(text, len, &rules);
    CHECK_MSG(error == want, "%s: error %d", text, error);
}

static void check_keep_alive(const char *text, size_t len, bool want)
{
    struct request_rules rules;
    enum request_error error = check_text(text, len, &rules);
    CHECK_MSG(error == REQUEST_OK && rules.keep_alive == want, "%s: error %d, keep-alive %d", text, error,
              rules.keep_alive);
}

#define HEAD_1(minor, fields) "GET / HTTP/1." #minor "\r\n" fields "\r\n\r\n"
#define RULES(minor, fields, error) \
    check_error(HEAD_1(minor, fields), sizeof(HEAD_1(minor, fields)) - 1, error)
#define KEEP_ALIVE(minor, fields, want)                                                                    \
    check_keep_alive(HEAD_1(minor, "Host: a\r\n" fields), sizeof(HEAD_1(minor, "Host: a\r\n" fields)) - 1, \
                     want)

static void check_authority(const char *text, bool want)
{
    size_t len = strlen(text);
    CHECK_MSG(authority_is_valid(guarded(text, len), len, false) == want, "%s", text);
}

#define VALID(text) check_authority(text, true)
#define INVALID(text) check_authority(text, false)

/* ---- RFC 3986 §3.2 ---- */

TEST("RFC 3986 §3.2.2 accepts names, IPv4 and ports")
{
    VALID("a");
    VALID("example.com");
    VALID("example.com.");
    VALID("127.0.0.1:8000");
    VALID("EXAMPLE.com:0");
    VALID("a:");
    VALID("a:65535");
    VALID("a:00080");
    VALID("xn--bcher-kva.example");
    VALID("a_b~c!d$e&f'g(h)i*j+k,l;m=n-o.p");
    VALID("b%C3%BCcher.example:80");
    VALID("%41");
    VALID("999.999.999.999");
}

TEST("RFC 3986 §3.2.2 refuses octets that no name has, userinfo, and an empty host")
{
    INVALID(":80");
    INVALID(":");
    INVALID("a b");
    INVALID("user@a");
    INVALID("user:pw@a");
    INVALID("a/b");
    INVALID("a?b");
    INVALID("a#b");
    INVALID("a\\b");
    INVALID("a|b");
    INVALID("a\"b");
    INVALID("<a>");
    INVALID("b\xc3\xbc"
            "cher.example");
    INVALID("a%");
    INVALID("a%4");
    INVALID("a%4g");
    INVALID("a%00");
    INVALID("%41%zz:80");
    INVALID("http://a");
}

TEST("RFC 3986 §3.2.3 refuses ports that are no number of 16 bits")
{
    INVALID("a:65536");
    INVALID("a:99999999999999999999");
    INVALID("a:4294967296");
    INVALID("a:-1");
    INVALID("a:+1");
    INVALID("a:8o");
    INVALID("a:80:80");
    INVALID("a::80");
    INVALID("a:80 ");
    INVALID("[::1]:65536");
    INVALID("[::1]:x");
    INVALID("%41:x");
}

TEST("RFC 3986 §3.2.2 accepts IPv6 addresses in every form of the grammar")
{
    VALID("[::]");
    VALID("[::1]");
    VALID("[::1]:8080");
    VALID("[1::]");
    VALID("[1:2:3:4:5:6:7:8]");
    VALID("[1:2:3:4:5:6:7::]");
    VALID("[::2:3:4:5:6:7:8]");
    VALID("[1::3:4:5:6:7:8]");
    VALID("[1:2:3:4::6:7:8]");
    VALID("[2001:DB8::abcd:0]");
    VALID("[::ffff:192.0.2.1]");
    VALID("[::1.2.3.4]");
    VALID("[1:2:3:4:5:6:1.2.3.4]");
    VALID("[1:2:3:4:5::1.2.3.4]");
    VALID("[1::1.2.3.4]");
    VALID("[::255.255.255.255]:");
}

TEST("RFC 3986 §3.2.2 refuses malformed IPv6 addresses and zone identifiers")
{
    INVALID("[]");
    INVALID("[");
    INVALID("]");
    INVALID("[:]");
    INVALID("[:::]");
    INVALID("[1]");
    INVALID("[1:]");
    INVALID("[:1]");
    INVALID("[1::2::3]");
    INVALID("[1:2:3:4:5:6:7]");
    INVALID("[1:2:3:4:5:6:7:]");
    INVALID("[:2:3:4:5:6:7:8]");
    INVALID("[1:2:3:4:5:6:7:8:9]");
    INVALID("[1:2:3:4:5:6:7:8::]");
    INVALID("[::1:2:3:4:5:6:7:8]");
    INVALID("[1:2:3:4::5:6:7:8]");
    INVALID("[12345::]");
    INVALID("[g::]");
    INVALID("[::1.2.3]");
    INVALID("[::1.2.3.4.5]");
    INVALID("[::256.1.1.1]");
    INVALID("[::01.2.3.4]");
    INVALID("[::1.2.3.]");
    INVALID("[::1.2.3.1234]");
    INVALID("[::a.2.3.4]");
    INVALID("[1.2.3.4]");
    INVALID("[1.2.3.4::]");
    INVALID("[1:2:3:4:5:6:7:1.2.3.4]");
    INVALID("[1:2:3:4:5:6::1.2.3.4]");
    INVALID("[fe80::1%25eth0]");
    INVALID("[fe80::1%eth0]");
    INVALID("[::1");
    INVALID("[::1]a");
    INVALID("[::1]]");
    INVALID("a[::1]");
    INVALID("[[::1]]");
    INVALID("::1");
}

TEST("RFC 3986 §3.2.2 reads IPvFuture")
{
    VALID("[v1.a]");
    VALID("[V1F.a:b:!$&'()*+,;=~]:80");
    INVALID("[v]");
    INVALID("[v1]");
    INVALID("[v1.]");
    INVALID("[v.a]");
    INVALID("[vg.a]");
    INVALID("[v1.a/b]");
    INVALID("[v1.a%41]");
    INVALID("[1v.a]");
}

TEST("an empty authority is valid only where the caller says so")
{
    CHECK(authority_is_valid(guarded("", 0), 0, true));
    CHECK(!authority_is_valid(guarded("", 0), 0, false));
    CHECK(!authority_is_valid(guarded(":80", 3), 3, true));
}

/* ---- RFC 9112 §3.2: Host ---- */

TEST("RFC 9112 §3.2 wants Host exactly once on 1.1, also with an absolute-form target")
{
    RULES(1, "Host: a", REQUEST_OK);
    RULES(1, "X: y", REQUEST_HOST_MISSING);
    RULES(1, "Host_: a", REQUEST_HOST_MISSING);
    RULES(1, "Hosts: a", REQUEST_HOST_MISSING);
    RULES(1, "Host: a\r\nHost: a", REQUEST_HOST_REPEATED);
    RULES(1, "Host: a\r\nX: y\r\nHOST: b", REQUEST_HOST_REPEATED);
    static const char absolute[] = "GET http://a/ HTTP/1.1\r\n\r\n";
    check_error(absolute, sizeof absolute - 1, REQUEST_HOST_MISSING);
}

TEST("RFC 9112 §3.2 wants Host at most once on 1.0")
{
    RULES(0, "X: y", REQUEST_OK);
    RULES(0, "Host: a", REQUEST_OK);
    RULES(0, "Host: a\r\nHost: b", REQUEST_HOST_REPEATED);
}

TEST("RFC 9112 §3.2 refuses a Host that is no uri-host, and takes an empty one")
{
    RULES(1, "Host:", REQUEST_OK);
    RULES(1, "Host: \t", REQUEST_OK);
    RULES(1, "Host: a:80", REQUEST_OK);
    RULES(1, "Host: a b", REQUEST_HOST_INVALID);
    RULES(1, "Host: a, b", REQUEST_HOST_INVALID);
    RULES(1, "Host: a@b", REQUEST_HOST_INVALID);
    RULES(1, "Host: a/b", REQUEST_HOST_INVALID);
    RULES(1, "Host: :80", REQUEST_HOST_INVALID);
    RULES(1, "Host: a:b", REQUEST_HOST_INVALID);
    RULES(1, "Host: \xff", REQUEST_HOST_INVALID);
    RULES(0, "Host: a b", REQUEST_HOST_INVALID);
}

TEST("the index of the Host field is given")
{
    struct request_rules rules;
    static const char with[] = HEAD_1(1, "A: b\r\nHost: c\r\nD: e"), without[] = HEAD_1(0, "A: b");
    CHECK(check_text(with, sizeof with - 1, &rules) == REQUEST_OK && rules.host_field == 1);
    CHECK(check_text(without, sizeof without - 1, &rules) == REQUEST_OK && rules.host_field == -1);
}

/* ---- RFC 9110 §7.6.1, RFC 9112 §9.3: Connection ---- */

TEST("RFC 9112 §9.3 keeps 1.1 alive unless it says close")
{
    KEEP_ALIVE(1, "X: y", true);
    KEEP_ALIVE(1, "Connection: keep-alive", true);
    KEEP_ALIVE(1, "Connection: upgrade, x", true);
    KEEP_ALIVE(1, "Connection:", true);
    KEEP_ALIVE(1, "Connection: close", false);
    KEEP_ALIVE(1, "connection:CLOSE", false);
    KEEP_ALIVE(1, "Connection: closed", true);
    KEEP_ALIVE(1, "Connection: xclose", true);
    KEEP_ALIVE(1, "Connection: closx", true);
    KEEP_ALIVE(1, "Connection_: close", true);
}

TEST("RFC 9112 §9.3 keeps 1.0 alive only when it says keep-alive")
{
    KEEP_ALIVE(0, "X: y", false);
    KEEP_ALIVE(0, "Connection: keep-alive", true);
    KEEP_ALIVE(0, "Connection: Keep-Alive", true);
    KEEP_ALIVE(0, "Connection: x, keep-alive ", true);
    KEEP_ALIVE(0, "Connection: keep-alive2", false);
    KEEP_ALIVE(0, "Connection: keep-aliv", false);
    KEEP_ALIVE(0, "Connection: keep", false);
    KEEP_ALIVE(0, "Connection: close", false);
}

TEST("close wins, on whichever line and place it stands")
{
    KEEP_ALIVE(1, "Connection: keep-alive, close", false);
    KEEP_ALIVE(1, "Connection: close, keep-alive", false);
    KEEP_ALIVE(1, "Connection: close\r\nConnection: keep-alive", false);
    KEEP_ALIVE(1, "Connection: keep-alive\r\nX: y\r\nConnection: x ,\tClose", false);
    KEEP_ALIVE(0, "Connection: close\r\nConnection: keep-alive", false);
}

TEST("RFC 9110 §5.6.1.2 passes over empty elements")
{
    KEEP_ALIVE(1, "Connection: ,", true);
    KEEP_ALIVE(1, "Connection: , ,close,,", false);
    KEEP_ALIVE(0, "Connection: ,\t, keep-alive", true);
}

TEST("RFC 9110 §7.6.1 refuses members that are no tokens")
{
    RULES(1, "Host: a\r\nConnection: close foo", REQUEST_CONNECTION_INVALID);
    RULES(1, "Host: a\r\nConnection: a;b", REQUEST_CONNECTION_INVALID);
    RULES(1, "Host: a\r\nConnection: \"close\"", REQUEST_CONNECTION_INVALID);
    RULES(1, "Host: a\r\nConnection: close\xa0", REQUEST_CONNECTION_INVALID);
    RULES(1, "Host: a\r\nConnection: a/b, close", REQUEST_CONNECTION_INVALID);
    RULES(1, "Host: a\r\nConnection: keep-alive\r\nConnection: (", REQUEST_CONNECTION_INVALID);
    RULES(0, "Connection: a b", REQUEST_CONNECTION_INVALID);
}

/* ---- RFC 9110 §8.3 and §10.1.1 ---- */

TEST("RFC 9110 §8.3 refuses a second Content-Type")
{
    RULES(1, "Host: a\r\nContent-Type: a/b", REQUEST_OK);
    RULES(1, "Host: a\r\nContent-Type: a/b\r\ncontent-type: a/b", REQUEST_CONTENT_TYPE_REPEATED);
    RULES(1, "Host: a\r\nContent-Type: a/b\r\nContent_Type: a/b", REQUEST_OK);
}

TEST("RFC 9110 §10.1.1 knows 100-continue and nothing else")
{
    struct request_rules rules;
    static const char once[] = HEAD_1(1, "Host: a\r\nExpect: 100-Continue"), none[] = HEAD_1(1, "Host: a");
    CHECK(check_text(once, sizeof once - 1, &rules) == REQUEST_OK && rules.expect_continue);
    CHECK(check_text(none, sizeof none - 1, &rules) == REQUEST_OK && !rules.expect_continue);
    RULES(1, "Host: a\r\nExpect: 100-continue\r\nExpect: 100-continue", REQUEST_OK);
    RULES(1, "Host: a\r\nExpect: 100-continue\r\nExpect: x", REQUEST_EXPECTATION_FAILED);
    RULES(1, "Host: a\r\nExpect: 100-continued", REQUEST_EXPECTATION_FAILED);
    RULES(1, "Host: a\r\nExpect: 100 continue", REQUEST_EXPECTATION_FAILED);
    RULES(1, "Host: a\r\nExpect: 200-ok", REQUEST_EXPECTATION_FAILED);
    RULES(1, "Host: a\r\nExpect:", REQUEST_EXPECTATION_FAILED);
    RULES(1, "Host: a\r\nExpect: 100-continue;a=b", REQUEST_EXPECTATION_FAILED);
}

TEST("RFC 9110 §10.1.1 ignores Expect on 1.0")
{
    struct request_rules rules;
    static const char head[] = HEAD_1(0, "Expect: 100-continue\r\nExpect: x");
    CHECK(check_text(head, sizeof head - 1, &rules) == REQUEST_OK && !rules.expect_continue);
}

CHECK_MAIN
