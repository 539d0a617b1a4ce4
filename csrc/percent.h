/* percent.h - percent-decoding of a path (RFC 3986 §2.1).
 *
 * Owner: the caller owns both buffers; `out` has room for len octets and may be the input itself.
 * Lock: none.  On error: PERCENT_MALFORMED ("%" without two hex digits) or PERCENT_NUL ("%00", RFC 3986 §7.3).
 */
#ifndef HEADRACE_PERCENT_H
#define HEADRACE_PERCENT_H

#include <stddef.h>

enum percent_status { PERCENT_OK, PERCENT_MALFORMED, PERCENT_NUL };

enum percent_status percent_check(const char *at, size_t len);
enum percent_status percent_decode(const char *at, size_t len, char *out, size_t *out_len);

#endif
