/* buffer.h - octets that wait: what was received and not yet understood, and bodies on their way in.
 *
 * What: a growable run of octets with a consumed prefix; it never grows beyond the bound the caller gives.
 * Owner: the struct's owner; buffer_free gives the memory back and leaves an empty buffer.
 * Lock: none.  On error: BUFFER_LIMIT (would pass the bound) or BUFFER_NO_MEMORY, buffer unchanged.
 */
#ifndef HEADRACE_BUFFER_H
#define HEADRACE_BUFFER_H

#include <stddef.h>

enum buffer_status { BUFFER_OK, BUFFER_LIMIT, BUFFER_NO_MEMORY };

struct buffer {
    char *data;   /* NULL when nothing was ever stored */
    size_t start; /* consumed octets before the first that counts */
    size_t end;
    size_t cap;
};

/* Room for `more` octets behind `end`, compacting or growing (doubling); then buf->data + buf->end may be written. */
enum buffer_status buffer_reserve(struct buffer *buf, size_t more, size_t bytes_max);
enum buffer_status buffer_append(struct buffer *buf, const char *at, size_t len, size_t bytes_max);
void buffer_consume(struct buffer *buf, size_t len); /* resets to the start when all is consumed */
void buffer_free(struct buffer *buf);

#endif
