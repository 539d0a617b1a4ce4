#include "proxy_header.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "chars.h"

/* ---- addresses ---- */

static void write_peer(struct sock_peer *peer, int family, const void *address, uint16_t port)
{
    if (inet_ntop(family, address, peer->address, sizeof peer->address) == NULL)
        peer->address[0] = 0; /* never: the room is large enough, and the family is known */
    peer->address_len = (uint8_t)strlen(peer->address);
    peer->port = port;
}

static void write_ipv6(struct sock_peer *peer, const struct in6_addr *address, uint16_t port)
{
    if (IN6_IS_ADDR_V4MAPPED(address))
        write_peer(peer, AF_INET, address->s6_addr + 12, port);
    else
        write_peer(peer, AF_INET6, address, port);
}

static uint16_t port_at(const unsigned char *at) { return (uint16_t)(at[0] << 8 | at[1]); }

/* ---- version 1, PROXY §2.1 ---- */

struct words {
    const char *at; /* what is not read yet */
    size_t len;
};

/* The octets up to the next space, or to the end; the space is taken as well. */
static struct words take_word(struct words *rest)
{
    const char *space = rest->len > 0 ? memchr(rest->at, ' ', rest->len) : NULL;
    struct words word = {rest->at, space != NULL ? (size_t)(space - rest->at) : rest->len};
    size_t used = word.len + (space != NULL);
    rest->at += used;
    rest->len -= used;
    return word;
}

/* Decimal, without leading zeros or sign; -1 otherwise. */
static long take_number(struct words word, long most)
{
    long number = 0;
    if (word.len == 0 || word.len > 5 || (word.at[0] == '0' && word.len > 1))
        return -1;
    for (size_t i = 0; i < word.len; i++) {
        if (!char_is(word.at[i], CHAR_DIGIT))
            return -1;
        number = number * 10 + (word.at[i] - '0');
    }
    return number <= most ? number : -1;
}

/* inet_pton differs between systems in what it lets pass. */
static bool read_ipv4(struct words word, unsigned char address[4])
{
    for (int i = 0; i < 4; i++) {
        const char *dot = i < 3 && word.len > 0 ? memchr(word.at, '.', word.len) : NULL;
        if (i < 3 && dot == NULL)
            return false;
        struct words part = {word.at, dot != NULL ? (size_t)(dot - word.at) : word.len};
        long number = take_number(part, 255);
        if (number < 0)
            return false;
        address[i] = (unsigned char)number;
        word.at += part.len + (dot != NULL);
        word.len -= part.len + (dot != NULL);
    }
    return true;
}

static bool read_ipv6(struct words word, struct in6_addr *address)
{
    char text[SOCK_ADDRESS_BYTES];
    if (word.len == 0 || word.len >= sizeof text)
        return false;
    for (size_t i = 0; i < word.len; i++) {
        if (!char_is(word.at[i], CHAR_HEXDIG) && word.at[i] != ':' && word.at[i] != '.')
            return false; /* no zone, which means something on one machine only */
    }
    memcpy(text, word.at, word.len);
    text[word.len] = 0;
    return inet_pton(AF_INET6, text, address) == 1;
}

static bool read_v1_peer(struct words address, struct words port, bool ipv6, struct sock_peer *peer)
{
    unsigned char four[4];
    struct in6_addr six;
    long number = take_number(port, 65535);
    if (number < 0)
        return false;
    if (ipv6) {
        if (!read_ipv6(address, &six))
            return false;
        write_ipv6(peer, &six, (uint16_t)number);
        return true;
    }
    if (!read_ipv4(address, four))
        return false;
    write_peer(peer, AF_INET, four, (uint16_t)number);
    return true;
}

/* What stands between "PROXY " and CRLF. */
static bool read_v1_line(struct words rest, struct proxy_header *header)
{
    struct words family = take_word(&rest);
    bool ipv6 = family.len == 4 && memcmp(family.at, "TCP6", 4) == 0;
    if (family.len == 7 && memcmp(family.at, "UNKNOWN", 7) == 0)
        return true; /* "the receiver must ignore anything presented before the CRLF is found" */
    if (!ipv6 && !(family.len == 4 && memcmp(family.at, "TCP4", 4) == 0))
        return false;
    struct words client = take_word(&rest), asked = take_word(&rest), client_port = take_word(&rest);
    if (!read_v1_peer(client, client_port, ipv6, &header->client) || !read_v1_peer(asked, rest, ipv6, &header->asked))
        return false;
    header->source = ipv6 ? PROXY_SOURCE_TCP6 : PROXY_SOURCE_TCP4;
    return true;
}

static const char V1_START[] = "PROXY ";

static enum proxy_header_status read_v1(const char *at, size_t len, struct proxy_header *header)
{
    size_t looked_at = len < PROXY_V1_BYTES_MAX ? len : PROXY_V1_BYTES_MAX;
    const char *cr = memchr(at, '\r', looked_at), *lf = memchr(at, '\n', looked_at);
    header->error = PROXY_V1_MALFORMED;
    if (lf != NULL && (cr == NULL || lf != cr + 1))
        return PROXY_HEADER_ERROR;
    if (lf == NULL) {
        if (cr != NULL && cr + 1 < at + looked_at)
            return PROXY_HEADER_ERROR; /* a CR with something else behind it */
        header->error = PROXY_V1_TOO_LONG;
        return looked_at == PROXY_V1_BYTES_MAX ? PROXY_HEADER_ERROR : PROXY_HEADER_MORE;
    }
    struct words rest = {at + TEXT_BYTES(V1_START), (size_t)(cr - at) - TEXT_BYTES(V1_START)};
    if (!read_v1_line(rest, header))
        return PROXY_HEADER_ERROR;
    header->bytes = (size_t)(lf - at) + 1;
    header->error = PROXY_OK;
    return PROXY_HEADER_DONE;
}

/* ---- version 2, PROXY §2.2 ---- */

static const char V2_START[] = "\r\n\r\n\0\r\nQUIT\n";

enum { V2_FIXED_BYTES = 16, V2_TCP4_BYTES = 12, V2_TCP6_BYTES = 36, V2_UNIX_BYTES = 216 };

/* Octets that the addresses of a family and protocol take; -1: no such thing. */
static int v2_address_bytes(unsigned char family)
{
    switch (family) {
    case 0x00: return 0; /* UNSPEC */
    case 0x11: /* TCP and UDP over IPv4 */
    case 0x12: return V2_TCP4_BYTES;
    case 0x21: /* ... over IPv6 */
    case 0x22: return V2_TCP6_BYTES;
    case 0x31: /* UNIX stream and datagram */
    case 0x32: return V2_UNIX_BYTES;
    default: return -1;
    }
}

static void read_v2_addresses(const unsigned char *at, unsigned char family, struct proxy_header *header)
{
    struct in6_addr client, asked;
    switch (family) {
    case 0x11:
        header->source = PROXY_SOURCE_TCP4;
        write_peer(&header->client, AF_INET, at, port_at(at + 8));
        write_peer(&header->asked, AF_INET, at + 4, port_at(at + 10));
        return;
    case 0x21:
        header->source = PROXY_SOURCE_TCP6;
        memcpy(&client, at, 16);
        memcpy(&asked, at + 16, 16);
        write_ipv6(&header->client, &client, port_at(at + 32));
        write_ipv6(&header->asked, &asked, port_at(at + 34));
        return;
    case 0x31: header->source = PROXY_SOURCE_UNIX; return;
    default: return; /* UDP is nothing that could have come here: as UNSPEC, which §2.2 allows */
    }
}

/* The octets that are here of the first 16.  Family and length of LOCAL are skipped unread, as §2.2 wants. */
static enum proxy_header_error check_v2(const unsigned char *at, size_t len)
{
    if (len > 12 && at[12] != 0x20 && at[12] != 0x21)
        return PROXY_V2_VERSION_INVALID;
    if (len > 13 && at[12] == 0x21 && v2_address_bytes(at[13]) < 0)
        return PROXY_V2_ADDRESS_INVALID;
    if (len < V2_FIXED_BYTES)
        return PROXY_OK;
    if (port_at(at + 14) > PROXY_V2_BYTES_MAX - V2_FIXED_BYTES)
        return PROXY_V2_TOO_LONG;
    if (at[12] == 0x21 && port_at(at + 14) < v2_address_bytes(at[13]))
        return PROXY_V2_ADDRESS_INVALID;
    return PROXY_OK;
}

static enum proxy_header_status read_v2(const char *text, size_t len, struct proxy_header *header)
{
    const unsigned char *at = (const unsigned char *)text;
    header->error = check_v2(at, len);
    if (header->error != PROXY_OK)
        return PROXY_HEADER_ERROR;
    if (len < V2_FIXED_BYTES || len - V2_FIXED_BYTES < port_at(at + 14))
        return PROXY_HEADER_MORE;
    if (at[12] == 0x21)
        read_v2_addresses(at + V2_FIXED_BYTES, at[13], header);
    header->bytes = (size_t)V2_FIXED_BYTES + port_at(at + 14); /* with TLVs, which nobody here reads */
    return PROXY_HEADER_DONE;
}

/* ---- both ---- */

/* Do at[0..len) begin with the literal, as far as they go? */
static bool begins(const char *at, size_t len, const char *start, size_t start_bytes)
{
    return memcmp(at, start, len < start_bytes ? len : start_bytes) == 0;
}

enum proxy_header_status proxy_header_read(const char *at, size_t len, struct proxy_header *header)
{
    memset(header, 0, sizeof *header);
    if (len == 0)
        return PROXY_HEADER_MORE;
    if (begins(at, len, V2_START, TEXT_BYTES(V2_START)))
        return len < TEXT_BYTES(V2_START) ? PROXY_HEADER_MORE : read_v2(at, len, header);
    if (begins(at, len, V1_START, TEXT_BYTES(V1_START)))
        return len < TEXT_BYTES(V1_START) ? PROXY_HEADER_MORE : read_v1(at, len, header);
    header->error = PROXY_NOT_THERE;
    return PROXY_HEADER_ERROR;
}
