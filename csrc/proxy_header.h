/* proxy_header.h - the PROXY protocol, versions 1 and 2: who connected to the proxy in front of us.
 *
 * What: the header that opens a connection, before anything of HTTP (HAProxy's doc/proxy-protocol.txt, revision of
 *       2020/03/05; its sections are cited as "PROXY §2.1").  Strict: one way of writing each thing.  An error is the
 *       same however the octets are cut, and is reported at the octet that shows it, or at the end of a line of
 *       version 1.  Read anew from its first octet each time, which costs little: a header of version 1 has at most
 *       107 octets, and of one of version 2 only the first 16 are looked at until all of it is here.
 * Owner: the caller owns octets and struct; nothing is allocated.  Lock: none, no state.
 * On error: PROXY_HEADER_ERROR, and header->error says why.
 */
#ifndef HEADRACE_PROXY_HEADER_H
#define HEADRACE_PROXY_HEADER_H

#include <stddef.h>
#include <stdint.h>

#include "sock.h"

enum {
    PROXY_V1_BYTES_MAX = 107,  /* with CRLF, PROXY §2.1 */
    PROXY_V2_BYTES_MAX = 4096, /* ours, nginx's, too; the format allows 65551.  Certificates come in no TLV */
};

enum proxy_header_status { PROXY_HEADER_MORE, PROXY_HEADER_DONE, PROXY_HEADER_ERROR };

enum proxy_header_error {
    PROXY_OK = 0,
    PROXY_NOT_THERE,           /* the connection begins with something else */
    PROXY_V1_MALFORMED,
    PROXY_V1_TOO_LONG,
    PROXY_V2_VERSION_INVALID,  /* neither 2, nor a command that is known */
    PROXY_V2_ADDRESS_INVALID,  /* a family or protocol that the format does not know, or too short for its addresses */
    PROXY_V2_TOO_LONG,
    PROXY_ERROR_COUNT
};

/* Whom the header speaks of. */
enum proxy_source {
    PROXY_SOURCE_CONNECTION, /* nobody else: LOCAL, UNKNOWN, UNSPEC or UDP: the connection's own addresses count */
    PROXY_SOURCE_TCP4,
    PROXY_SOURCE_TCP6,
    PROXY_SOURCE_UNIX,       /* the client of a UNIX socket: no address and no port */
};

struct proxy_header {
    size_t bytes; /* of the header */
    enum proxy_source source;
    struct sock_peer client; /* as sock_accept writes addresses */
    struct sock_peer asked;  /* the address that the client connected to */
    enum proxy_header_error error;
};

/* The header that begins at at[0].  PROXY_HEADER_MORE: it is not complete; at most PROXY_V2_BYTES_MAX octets are. */
enum proxy_header_status proxy_header_read(const char *at, size_t len, struct proxy_header *header);

#endif
