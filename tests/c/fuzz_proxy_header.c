/* However the octets are cut, the verdict is the same: a beginning says MORE, or what the whole says.  A header that is
 * read has addresses that inet_pton takes back, within its bounds.  No octet outside is read.
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "invariant.h"
#include "proxy_header.h"

static enum proxy_header_status read_copy(const uint8_t *data, size_t len, struct proxy_header *header)
{
    char *copy = exact_copy(data, len);
    enum proxy_header_status status = proxy_header_read(copy, len, header);
    free(copy);
    return status;
}

static void check_peer(const struct sock_peer *peer)
{
    unsigned char address[16];
    int family = strchr(peer->address, ':') != NULL ? AF_INET6 : AF_INET;
    INVARIANT(strlen(peer->address) == peer->address_len);
    INVARIANT(inet_pton(family, peer->address, address) == 1);
}

static void check_done(const struct proxy_header *header, size_t size)
{
    INVARIANT(header->error == PROXY_OK && header->bytes <= size && header->bytes <= PROXY_V2_BYTES_MAX);
    INVARIANT(header->bytes >= 15);
    if (header->source == PROXY_SOURCE_TCP4 || header->source == PROXY_SOURCE_TCP6) {
        check_peer(&header->client);
        check_peer(&header->asked);
    } else {
        INVARIANT(header->client.address_len == 0 && header->client.port == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header whole, cut;
    enum proxy_header_status status = read_copy(data, size, &whole);
    if (status == PROXY_HEADER_DONE)
        check_done(&whole, size);
    if (status == PROXY_HEADER_ERROR)
        INVARIANT(whole.error > PROXY_OK && whole.error < PROXY_ERROR_COUNT);
    if (status == PROXY_HEADER_MORE)
        INVARIANT(size < PROXY_V2_BYTES_MAX);
    for (size_t len = 0; len < size; len += len < 300 ? 1 : 97) {
        enum proxy_header_status shorter = read_copy(data, len, &cut);
        INVARIANT(shorter == PROXY_HEADER_MORE || shorter == status);
        INVARIANT(status != PROXY_HEADER_MORE || shorter == PROXY_HEADER_MORE);
        INVARIANT(shorter == PROXY_HEADER_MORE || memcmp(&cut, &whole, sizeof cut) == 0);
    }
    return 0;
}
