/* span.h - a run of octets that belongs to somebody else.
 *
 * What: a pointer and a length, never NUL-terminated.
 * Owner: whoever owns the buffer; a span is borrowed and dies when that buffer is consumed or moved.
 * Lock: none.  On error: nothing here can fail.
 */
#ifndef HEADRACE_SPAN_H
#define HEADRACE_SPAN_H

#include <stddef.h>

struct span {
    const char *at;
    size_t len;
};

#endif
