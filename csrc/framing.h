/* framing.h - how long is the body of a request?  Decided once, from the raw fields (RFC 9112 §6.3).
 *
 * Owner: borrows the parsed head and its buffer.  Lock: none.
 * On error: FRAMING_ERROR, and *error says which rule was broken.
 */
#ifndef HEADRACE_FRAMING_H
#define HEADRACE_FRAMING_H

#include "request_head.h"

enum framing { FRAMING_NONE, FRAMING_LENGTH, FRAMING_CHUNKED, FRAMING_ERROR };

/* Read the one Content-Length value: ASCII digits only, no sign, no white space, no list, no overflow.
 * True and *length, or false. */
bool content_length_parse(const char *at, size_t len, uint64_t *length);

/* *length is set for FRAMING_LENGTH (0 is possible: "Content-Length: 0"). */
enum framing framing_decide(const struct request_head *head, const char *buf, uint64_t *length,
                            enum request_error *error);

#endif
