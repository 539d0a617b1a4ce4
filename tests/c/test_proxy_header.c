/* The PROXY protocol, versions 1 and 2 (HAProxy's doc/proxy-protocol.txt). */
#include "check.h"
#include "proxy_header.h"
#include "proxy_headers.h"

/* The verdict for at[0..len), each cut of which stands against an unreadable page: what is shorter says MORE or the
 * same error, and what is behind the header changes nothing. */
static struct proxy_header reads(const char *at, size_t len, enum proxy_header_status want)
{
    struct proxy_header header, cut;
    enum proxy_header_status status = proxy_header_read(guarded(at, len), len, &header);
    CHECK_MSG(status == want, "%zu octets: status %d, error %d", len, status, header.error);
    for (size_t i = 0; i < len; i++) {
        enum proxy_header_status shorter = proxy_header_read(guarded(at, i), i, &cut);
        CHECK_MSG(shorter == PROXY_HEADER_MORE || (shorter == status && status != PROXY_HEADER_MORE), "cut at %zu", i);
        if (shorter == PROXY_HEADER_ERROR)
            CHECK_MSG(cut.error == header.error, "cut at %zu: error %d, not %d", i, cut.error, header.error);
        if (shorter == PROXY_HEADER_DONE)
            CHECK_MSG(cut.bytes == header.bytes, "cut at %zu", i);
    }
    return header;
}

static void is(const struct sock_peer *peer, const char *address, unsigned port)
{
    CHECK_MSG(strcmp(peer->address, address) == 0, "%s, not %s", peer->address, address);
    CHECK_MSG(peer->address_len == strlen(address), "%s", address);
    CHECK_MSG(peer->port == port, "%u, not %u", peer->port, port);
}

static void fails(const char *at, size_t len, enum proxy_header_error error)
{
    struct proxy_header header = reads(at, len, PROXY_HEADER_ERROR);
    CHECK_MSG(header.error == error, "%.60s: error %d", at, header.error);
}

static void speaks(const char *at, size_t len, enum proxy_source source, size_t bytes)
{
    struct proxy_header header = reads(at, len, PROXY_HEADER_DONE);
    CHECK_MSG(header.source == source, "source %d", header.source);
    CHECK_MSG(header.bytes == bytes, "%zu octets", header.bytes);
}

#define FAILS(text, error) fails(text, sizeof(text) - 1, error)
#define LINE_FAILS(text) fails(text "\r\nGET /", sizeof(text) + 6, PROXY_V1_MALFORMED)

TEST("§2.1 reads TCP4")
{
    const char text[] = "PROXY TCP4 192.0.2.1 198.51.100.7 56789 443\r\nGET / HTTP/1.1\r\n";
    speaks(text, sizeof text - 1, PROXY_SOURCE_TCP4, 45);
    struct proxy_header header = reads(text, sizeof text - 1, PROXY_HEADER_DONE);
    is(&header.client, "192.0.2.1", 56789);
    is(&header.asked, "198.51.100.7", 443);
}

TEST("§2.1 reads TCP6, and writes IPv4 that is mapped into it as IPv4")
{
    const char text[] = "PROXY TCP6 2001:0DB8::1 ::ffff:198.51.100.7 0 65535\r\n";
    struct proxy_header header = reads(text, sizeof text - 1, PROXY_HEADER_DONE);
    is(&header.client, "2001:db8::1", 0);
    is(&header.asked, "198.51.100.7", 65535);
}

TEST("§2.1 takes the longest line there is, and none that is longer")
{
    char text[PROXY_V1_BYTES_MAX + 3] = "PROXY UNKNOWN ";
    memset(text + 14, 'f', sizeof text - 14);
    memcpy(text + PROXY_V1_BYTES_MAX - 2, "\r\nG", 3);
    speaks(text, PROXY_V1_BYTES_MAX + 1, PROXY_SOURCE_CONNECTION, PROXY_V1_BYTES_MAX);
    memcpy(text + PROXY_V1_BYTES_MAX - 2, "ff\r\n", 4);
    fails(text, PROXY_V1_BYTES_MAX + 2, PROXY_V1_TOO_LONG);
    memcpy(text + PROXY_V1_BYTES_MAX - 2, "f\r\n", 3);
    fails(text, PROXY_V1_BYTES_MAX + 1, PROXY_V1_TOO_LONG);
}

TEST("§2.1 ignores what stands behind UNKNOWN")
{
    const char bare[] = "PROXY UNKNOWN\r\n", full[] = "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n";
    speaks(bare, sizeof bare - 1, PROXY_SOURCE_CONNECTION, sizeof bare - 1);
    speaks(full, sizeof full - 1, PROXY_SOURCE_CONNECTION, sizeof full - 1);
}

TEST("§2.1 refuses lines that are written another way")
{
    LINE_FAILS("PROXY ");
    LINE_FAILS("PROXY TCP4");
    LINE_FAILS("PROXY TCP5 192.0.2.1 198.51.100.7 1 2");
    LINE_FAILS("PROXY tcp4 192.0.2.1 198.51.100.7 1 2");
    LINE_FAILS("PROXY UNKNOWNS");
    LINE_FAILS("PROXY  TCP4 192.0.2.1 198.51.100.7 1 2");
    LINE_FAILS("PROXY TCP4  192.0.2.1 198.51.100.7 1 2");
    LINE_FAILS("PROXY TCP4 192.0.2.1 198.51.100.7 1");
    LINE_FAILS("PROXY TCP4 192.0.2.1 198.51.100.7 1 ");
    LINE_FAILS("PROXY TCP4 192.0.2.1 198.51.100.7 1 2 ");
    LINE_FAILS("PROXY TCP4 192.0.2.1 198.51.100.7 1 2 3");
    LINE_FAILS("PROXY TCP4\t192.0.2.1 198.51.100.7 1 2");
    LINE_FAILS("PROXY TCP6 192.0.2.1 198.51.100.7 1 2");
    LINE_FAILS("PROXY TCP4 2001:db8::1 2001:db8::2 1 2");
}

TEST("§2.1 refuses addresses that could be read in two ways")
{
    LINE_FAILS("PROXY TCP4 192.0.2 198.51.100.7 1 2");
    LINE_FAILS("PROXY TCP4 192.0.2.1.1 198.51.100.7 1 2");
    LINE_FAILS("PROXY TCP4 192.0.02.1 198.51.100.7 1 2");
    LINE_FAILS("PROXY TCP4 192.0.2.256 198.51.100.7 1 2");
    LINE_FAILS("PROXY TCP4 192.0..1 198.51.100.7 1 2");
    LINE_FAILS("PROXY TCP4 .192.0.2 198.51.100.7 1 2");
    LINE_FAILS("PROXY TCP4 192.0.2. 198.51.100.7 1 2");
    LINE_FAILS("PROXY TCP4 0x7f.0.0.1 198.51.100.7 1 2");
    LINE_FAILS("PROXY TCP4 192.0.2.1 198.51.100.x 1 2");
    LINE_FAILS("PROXY TCP6 fe80::1%1 ::1 1 2");
    LINE_FAILS("PROXY TCP6 [::1] ::1 1 2");
    LINE_FAILS("PROXY TCP6 ::1::2 ::1 1 2");
    LINE_FAILS("PROXY TCP6 1:2:3:4:5:6:7:8:9 ::1 1 2");
    LINE_FAILS("PROXY TCP6 0000:0000:0000:0000:0000:0000:0000:0000:0000:0000 ::1 1 2");
}

TEST("§2.1 refuses ports with signs, leading zeros or more than 65535")
{
    LINE_FAILS("PROXY TCP4 192.0.2.1 198.51.100.7 01 2");
    LINE_FAILS("PROXY TCP4 192.0.2.1 198.51.100.7 +1 2");
    LINE_FAILS("PROXY TCP4 192.0.2.1 198.51.100.7 -1 2");
    LINE_FAILS("PROXY TCP4 192.0.2.1 198.51.100.7 65536 2");
    LINE_FAILS("PROXY TCP4 192.0.2.1 198.51.100.7 1 100000");
    LINE_FAILS("PROXY TCP4 192.0.2.1 198.51.100.7 1 4294967297");
    LINE_FAILS("PROXY TCP4 192.0.2.1 198.51.100.7 1 2\0");
}

TEST("§2.1 ends a line by CRLF and nothing else")
{
    FAILS("PROXY UNKNOWN\n", PROXY_V1_MALFORMED);
    FAILS("PROXY UNKNOWN\r \n", PROXY_V1_MALFORMED);
    FAILS("PROXY UNKNOWN\r\r\n", PROXY_V1_MALFORMED);
    FAILS("PROXY TCP4 192.0.2.1 198.51.100.7 1 2\n\r\n", PROXY_V1_MALFORMED);
}

TEST("§2 refuses a connection that begins with something else")
{
    FAILS("GET / HTTP/1.1\r\n", PROXY_NOT_THERE);
    FAILS("PROXx", PROXY_NOT_THERE);
    FAILS("proxy TCP4", PROXY_NOT_THERE);
    FAILS("\r\n\r\nGET", PROXY_NOT_THERE);
    FAILS("\r\n\r\n\0\r\nQUIT\r", PROXY_NOT_THERE);
    FAILS("\x16\x03\x01", PROXY_NOT_THERE);
}

static void v2_speaks(unsigned char command, unsigned char family, const char *rest, size_t len,
                      enum proxy_source source)
{
    char text[PROXY_V2_BYTES_MAX + 8];
    size_t bytes = make_v2(text, command, family, rest, len, (uint16_t)len);
    memcpy(text + bytes, "GET", 3);
    speaks(text, bytes + 3, source, bytes);
}

TEST("§2.2 reads TCP over IPv4 and IPv6")
{
    char text[64];
    size_t len = make_v2(text, 0x21, 0x11, V2_TCP4, 12, 12);
    struct proxy_header header = reads(text, len, PROXY_HEADER_DONE);
    CHECK(header.source == PROXY_SOURCE_TCP4);
    is(&header.client, "192.0.2.1", 56789);
    is(&header.asked, "198.51.100.7", 443);
    len = make_v2(text, 0x21, 0x21, V2_TCP6, 36, 36);
    header = reads(text, len, PROXY_HEADER_DONE);
    CHECK(header.source == PROXY_SOURCE_TCP6);
    is(&header.client, "2001:db8::1", 56789);
    is(&header.asked, "2001:db8::2", 443);
}

TEST("§2.2 knows no address of the client of a UNIX socket")
{
    char rest[216] = "/run/client.sock";
    v2_speaks(0x21, 0x31, rest, sizeof rest, PROXY_SOURCE_UNIX);
    v2_speaks(0x21, 0x32, rest, sizeof rest, PROXY_SOURCE_CONNECTION);
}

TEST("§2.2 leaves the connection's addresses for LOCAL, UNSPEC and UDP")
{
    v2_speaks(0x20, 0x00, "", 0, PROXY_SOURCE_CONNECTION);
    v2_speaks(0x20, 0x11, V2_TCP4, 12, PROXY_SOURCE_CONNECTION);
    v2_speaks(0x20, 0xff, "abc", 3, PROXY_SOURCE_CONNECTION);
    v2_speaks(0x20, 0x11, "", 0, PROXY_SOURCE_CONNECTION);
    v2_speaks(0x21, 0x00, "", 0, PROXY_SOURCE_CONNECTION);
    v2_speaks(0x21, 0x00, "abcdef", 6, PROXY_SOURCE_CONNECTION);
    v2_speaks(0x21, 0x12, V2_TCP4, 12, PROXY_SOURCE_CONNECTION);
    v2_speaks(0x21, 0x22, V2_TCP6, 36, PROXY_SOURCE_CONNECTION);
}

TEST("§2.2.5 skips TLVs, whatever is in them")
{
    v2_speaks(0x21, 0x11, V2_TCP4 "\x04\0\x02zz\xff\xff\xff", 20, PROXY_SOURCE_TCP4);
    char rest[PROXY_V2_BYTES_MAX - 16] = V2_TCP6;
    v2_speaks(0x21, 0x21, rest, sizeof rest, PROXY_SOURCE_TCP6);
}

static void v2_fails(unsigned char command, unsigned char family, uint16_t said_len, enum proxy_header_error error)
{
    char text[64];
    fails(text, make_v2(text, command, family, V2_TCP6, 36, said_len), error);
}

TEST("§2.2 refuses other versions and commands")
{
    for (int octet = 0; octet < 256; octet++) {
        if (octet != 0x20 && octet != 0x21)
            v2_fails((unsigned char)octet, 0x11, 36, PROXY_V2_VERSION_INVALID);
    }
}

TEST("§2.2 refuses families and protocols that it does not know")
{
    for (int octet = 0; octet < 256; octet++) {
        int known = octet == 0 || ((octet & 15) >= 1 && (octet & 15) <= 2 && octet >> 4 >= 1 && octet >> 4 <= 3);
        if (!known)
            v2_fails(0x21, (unsigned char)octet, 36, PROXY_V2_ADDRESS_INVALID);
    }
}

TEST("§2.2 refuses a length that the addresses do not fit into, and one that is beyond the bound")
{
    v2_fails(0x21, 0x11, 11, PROXY_V2_ADDRESS_INVALID);
    v2_fails(0x21, 0x12, 0, PROXY_V2_ADDRESS_INVALID);
    v2_fails(0x21, 0x21, 35, PROXY_V2_ADDRESS_INVALID);
    v2_fails(0x21, 0x31, 215, PROXY_V2_ADDRESS_INVALID);
    v2_fails(0x21, 0x11, PROXY_V2_BYTES_MAX - 15, PROXY_V2_TOO_LONG);
    v2_fails(0x21, 0x00, 65535, PROXY_V2_TOO_LONG);
    v2_fails(0x20, 0x00, 65535, PROXY_V2_TOO_LONG);
}

CHECK_MAIN
