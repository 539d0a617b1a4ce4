#include "buffer.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { BUFFER_FIRST_BYTES = 512 };

/* Is it cheap, or the only way, to make room by moving what is held to the front?  Moving no more octets than
 * were consumed since the last move keeps the sum of all moves below the sum of all octets received. */
static inline bool should_compact(const struct buffer *buf, size_t held, size_t more, size_t bytes_max)
{
    return buf->cap - held >= more && (buf->start >= held || buf->cap >= bytes_max);
}

static void compact(struct buffer *buf, size_t held)
{
    memmove(buf->data, buf->data + buf->start, held);
    buf->start = 0;
    buf->end = held;
}

/* Twice the room, or what is needed, within the bound; held + more <= bytes_max holds already. */
static size_t grown_cap(size_t cap, size_t needed, size_t bytes_max)
{
    size_t grown = cap < BUFFER_FIRST_BYTES / 2 ? BUFFER_FIRST_BYTES : cap * 2;
    if (grown < needed)
        grown = needed;
    return grown < bytes_max ? grown : bytes_max;
}

static enum buffer_status grow(struct buffer *buf, size_t held, size_t cap)
{
    if (buf->start == 0) {
        char *data = realloc(buf->data, cap);
        if (data == NULL)
            return BUFFER_NO_MEMORY;
        buf->data = data;
    } else {
        char *data = malloc(cap);
        if (data == NULL)
            return BUFFER_NO_MEMORY;
        memcpy(data, buf->data + buf->start, held);
        free(buf->data);
        buf->data = data;
    }
    buf->start = 0;
    buf->end = held;
    buf->cap = cap;
    return BUFFER_OK;
}

enum buffer_status buffer_reserve(struct buffer *buf, size_t more, size_t bytes_max)
{
    size_t held = buf->end - buf->start;
    if (held > bytes_max || more > bytes_max - held)
        return BUFFER_LIMIT;
    if (buf->cap - buf->end >= more)
        return BUFFER_OK;
    if (should_compact(buf, held, more, bytes_max)) {
        compact(buf, held);
        return BUFFER_OK;
    }
    return grow(buf, held, grown_cap(buf->cap, held + more, bytes_max));
}

enum buffer_status buffer_append(struct buffer *buf, const char *at, size_t len, size_t bytes_max)
{
    enum buffer_status status = buffer_reserve(buf, len, bytes_max);
    if (status != BUFFER_OK || len == 0)
        return status;
    memcpy(buf->data + buf->end, at, len);
    buf->end += len;
    return BUFFER_OK;
}

void buffer_consume(struct buffer *buf, size_t len)
{
    assert(len <= buf->end - buf->start);
#if defined(HEADRACE_DEBUG) && HEADRACE_DEBUG
    if (len > 0)
        memset(buf->data + buf->start, 0xDD, len); /* a span that outlived its octets shows */
#endif
    buf->start += len;
    if (buf->start == buf->end)
        buf->start = buf->end = 0;
}

void buffer_free(struct buffer *buf)
{
    free(buf->data);
    *buf = (struct buffer){0};
}
