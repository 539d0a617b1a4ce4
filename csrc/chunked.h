/* chunked.h - the chunked transfer coding, decoded as it arrives (RFC 9112 §7.1).
 *
 * What: every octet is checked: 1*HEXDIG sizes with an overflow check, chunk extensions by grammar (tokens and
 *       quoted strings, RFC 9112 §7.1.1), CRLF as the only line end, the two octets behind the data, and the
 *       trailer section as field lines (§7.1.2), whose content is dropped.
 *       Overhead is bounded: one size line with extensions, the trailer section, and the sum of all overhead
 *       against the data that it carried (a million one-octet chunks is an attack).
 * Owner: the caller owns buffers and struct; spans of data point into the caller's buffer.
 * Lock: none.  On error: CHUNK_ERROR and decoder->error; the decoder must not be used again.
 */
#ifndef HEADRACE_CHUNKED_H
#define HEADRACE_CHUNKED_H

#include "request_head.h"

enum chunk_status {
    CHUNK_MORE, /* all input is consumed, the body is not complete */
    CHUNK_DATA, /* *data_at .. *data_len is body; call again with what is behind *consumed */
    CHUNK_DONE, /* the trailer section has ended; *consumed stands behind its last CRLF */
    CHUNK_ERROR
};

struct chunk_decoder {
    uint64_t chunk_left;     /* octets of data still to come in this chunk */
    uint64_t data_bytes;     /* decoded so far */
    uint64_t overhead_bytes; /* everything else so far */
    uint32_t line_bytes;     /* octets of the present size line or trailer line */
    uint32_t trailer_bytes;
    uint32_t trailer_fields;
    uint32_t state; /* private */
    enum request_error error;
};

enum {
    CHUNK_LINE_BYTES_MAX = 4096,      /* a size line with its extensions (node 16 KiB, hyper 16 KiB in all) */
    CHUNK_OVERHEAD_FREE_BYTES = 65536, /* overhead that is allowed whatever the data */
    CHUNK_OVERHEAD_PER_BYTE = 1        /* beyond it, overhead may not exceed the data: a writer that flushes
                                          8 octets at a time passes, a flood of one-octet chunks does not */
};

void chunk_decoder_reset(struct chunk_decoder *decoder);

/* Consume buf[0..len).  One call reports at most one run of data.  `trailer_*` limits come from head_limits
 * (fields_max, field_line_bytes_max, head_bytes_max). */
enum chunk_status chunk_decode(struct chunk_decoder *decoder, const char *buf, size_t len,
                               const struct head_limits *limits,
                               size_t *consumed, const char **data_at, size_t *data_len);

#endif
