/* Verdict, rule, decoded octets and place of the end are the same for every way of cutting the input and
 * equal to a slow decoder's; no octet outside a piece is read.
 *
 * Input: one octet that chooses limits and seeds the cuts, then the message.
 */
#include <stdio.h>
#include <stdlib.h>

#include "invariant.h"
#include "slow_chunked.h"

struct outcome {
    enum chunk_status status;
    enum request_error error;
    size_t consumed, body_len;
};

static enum chunk_status feed_piece(struct chunk_decoder *d, const struct head_limits *limits,
                                    const char *piece, size_t len, char *body, struct outcome *o)
{
    size_t at = 0;
    for (;;) {
        size_t consumed, data_len;
        const char *data;
        uint64_t before = d->data_bytes;
        enum chunk_status status = chunk_decode(d, piece + at, len - at, limits, &consumed, &data, &data_len);
        INVARIANT(consumed <= len - at);
        if (status == CHUNK_DATA)
            INVARIANT(data_len > 0 && data >= piece + at && data + data_len == piece + at + consumed);
        else
            INVARIANT(data_len == 0);
        INVARIANT(d->data_bytes == before + data_len);
        if (data_len > 0)
            memcpy(body + o->body_len, data, data_len);
        o->body_len += data_len;
        o->consumed += consumed;
        at += consumed;
        INVARIANT(status != CHUNK_MORE || at == len);
        if (status != CHUNK_DATA)
            return status;
    }
}

/* piece_max 0: 1 to 16 octets by a small generator.  Each piece is a block of its own for the sanitizer. */
static struct outcome feed(const char *message, size_t len, size_t piece_max, uint32_t seed,
                           const struct head_limits *limits, char *body)
{
    struct outcome o = {.status = CHUNK_MORE};
    struct chunk_decoder d;
    chunk_decoder_reset(&d);
    for (size_t at = 0, piece; at < len && o.status == CHUNK_MORE; at += piece) {
        seed = seed * 1664525u + 1013904223u;
        piece = piece_max > 0 ? piece_max : 1 + (seed >> 28);
        piece = piece < len - at ? piece : len - at;
        char *copy = malloc(piece);
        memcpy(copy, message + at, piece);
        o.status = feed_piece(&d, limits, copy, piece, body, &o);
        free(copy);
    }
    o.error = d.error;
    return o;
}

static void check(const struct outcome *o, const char *body, const struct slow_chunked *slow)
{
    INVARIANT((o->status == CHUNK_DONE) == (slow->verdict == SLOW_DONE));
    INVARIANT((o->status == CHUNK_ERROR) == (slow->verdict == SLOW_ERROR));
    INVARIANT(o->error == slow->error);
    INVARIANT(o->consumed == slow->at);
    INVARIANT(o->body_len == slow->out_len && memcmp(body, slow->out, o->body_len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    const struct head_limits limits = data[0] & 1
        ? (struct head_limits){.field_line_bytes_max = 20, .fields_max = 2, .head_bytes_max = 40}
        : (struct head_limits){.field_line_bytes_max = 8190, .fields_max = 100, .head_bytes_max = 65536};
    const char *message = (const char *)data + 1;
    size_t len = size - 1;
    char *body = malloc(len + 1), *slow_body = malloc(len + 1);
    struct slow_chunked slow;
    slow_chunked_decode(&slow, message, len, slow_body, &limits);
    const size_t pieces[] = {len, 1, 0, 0};
    for (uint32_t i = 0; i < 4; i++) {
        struct outcome o = feed(message, len, pieces[i], data[0] * 4u + i, &limits, body);
        check(&o, body, &slow);
    }
    free(body);
    free(slow_body);
    return 0;
}
