/* http_date.h - IMF-fixdate, "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 §5.6.7).
 *
 * Owner: the caller owns `out`, HTTP_DATE_BYTES octets, not NUL-terminated.  Lock: none.  Locale plays no part.
 * On error: nothing can fail for years 1970 to 9999; later seconds are clamped to the last of 9999.
 */
#ifndef HEADRACE_HTTP_DATE_H
#define HEADRACE_HTTP_DATE_H

#include <stdint.h>

enum { HTTP_DATE_BYTES = 29 };

void http_date_write(char out[HTTP_DATE_BYTES], int64_t unix_seconds);

#endif
