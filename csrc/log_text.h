/* log_text.h - how octets that a client chose, numbers and times look in a line of a log.
 *
 * What: each log_put_* writes at `out` and returns the place behind it.  A line stays a line and a field a field,
 *       whatever comes: control octets, quotes, backslashes and, but for JSON, all that is not ASCII are escaped.
 * Owner: the caller, who has room for LOG_ESCAPED_BYTES_MAX * len octets (numbers: LOG_NUMBER_BYTES_MAX).
 * Lock: none; log_local_time reads the time zone as localtime_r(3) does.  On error: nothing can fail.
 */
#ifndef HEADRACE_LOG_TEXT_H
#define HEADRACE_LOG_TEXT_H

#include <stddef.h>
#include <stdint.h>

enum {
    LOG_ESCAPED_BYTES_MAX = 6,  /* of one octet: \u001f */
    LOG_NUMBER_BYTES_MAX = 24,
    LOG_LOCAL_TIME_BYTES = 28,  /* [18/Nov/2026:11:06:40 +0000] */
    LOG_UTC_TIME_BYTES = 19,    /* 2026-11-18T11:06:40 */
    LOG_SYSLOG_TIME_BYTES = 15  /* Nov 18 11:06:40 */
};

/* Between double quotes: \xHH, as Apache and nginx escape. */
char *log_put_quoted(char *out, const char *at, size_t len);
/* Between spaces: the same, and a space and both quotes are escaped, too. */
char *log_put_word(char *out, const char *at, size_t len);
/* Inside a JSON string (RFC 8259 §7).  Well-formed UTF-8 (RFC 3629) stays, but for C1 controls and U+2028/9, at which
 * readers break lines; an octet that is part of no character becomes the four characters \xHH. */
char *log_put_json(char *out, const char *at, size_t len);
char *log_put_unsigned(char *out, uint64_t number);
/* Exactly `digits` digits, with zeros in front. */
char *log_put_padded(char *out, uint64_t number, int digits);

/* Month names are English whatever the locale is. */
void log_local_time(char out[LOG_LOCAL_TIME_BYTES], int64_t unix_s);
void log_utc_time(char out[LOG_UTC_TIME_BYTES], int64_t unix_s);
void log_syslog_time(char out[LOG_SYSLOG_TIME_BYTES], int64_t unix_s); /* RFC 3164 §4.1.2; local, too */

#endif
