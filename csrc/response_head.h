/* response_head.h - a bounded writer for response heads (RFC 9112 §4, §5).
 *
 * What: appends a status line, field lines and ready-made text to a buffer, validating while it copies.
 * Owner: the caller owns the buffer; the writer borrows it.
 * Lock: none.
 * On error: an enum head_write; nothing is appended then (the length is unchanged; octets behind it may not be).
 *           HEAD_WRITE_FULL comes before the octets of a field are judged.
 */
#ifndef HEADRACE_RESPONSE_HEAD_H
#define HEADRACE_RESPONSE_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum head_write {
    HEAD_WRITE_OK,
    HEAD_WRITE_FULL,           /* does not fit */
    HEAD_WRITE_STATUS_INVALID, /* not 3DIGIT SP reason-phrase, RFC 9112 §4 (PEP 3333 wants the space) */
    HEAD_WRITE_NAME_INVALID,   /* not a token, RFC 9110 §5.1 */
    HEAD_WRITE_VALUE_INVALID   /* CR, LF, NUL or another control octet but HTAB, RFC 9110 §5.5 */
};

/* Response fields that the server reads, adds or refuses. */
enum response_field {
    RESPONSE_FIELD_OTHER = 0,
    RESPONSE_FIELD_CONTENT_LENGTH,
    RESPONSE_FIELD_DATE,
    RESPONSE_FIELD_SERVER,
    RESPONSE_FIELD_HOP_BY_HOP /* Connection, Keep-Alive, Proxy-Authenticate, Proxy-Authorization, Proxy-Connection,
                                 TE, Trailer(s), Transfer-Encoding, Upgrade: PEP 3333, "Other HTTP Features" */
};

/* Texts that the server sends as they are. */
#define RESPONSE_SERVER_LINE "Server: headrace\r\n"
#define RESPONSE_CONTINUE "HTTP/1.1 100 Continue\r\n\r\n" /* RFC 9110 §15.2.1 */
#define RESPONSE_EARLY_HINTS_LINE "HTTP/1.1 103 Early Hints\r\n" /* RFC 8297 §2 */

enum {
    RESPONSE_SERVER_LINE_BYTES = sizeof(RESPONSE_SERVER_LINE) - 1,
    RESPONSE_CONTINUE_BYTES = sizeof(RESPONSE_CONTINUE) - 1,
    RESPONSE_EARLY_HINTS_LINE_BYTES = sizeof(RESPONSE_EARLY_HINTS_LINE) - 1
};

struct head_writer {
    char *at;
    size_t len; /* octets written */
    size_t cap;
};

enum response_field response_field_id(const char *name, size_t len);

/* "HTTP/1.1 " status CRLF.  `status` is "200 OK" as given to start_response; *code gets 100..999. */
enum head_write response_status_write(struct head_writer *w, const char *status, size_t len, int *code);
/* name ": " value CRLF */
enum head_write response_field_write(struct head_writer *w, const char *name, size_t name_len,
                                     const char *value, size_t value_len);
/* "Content-Length: " n CRLF */
enum head_write response_content_length_write(struct head_writer *w, uint64_t n);
/* text as it is, which the caller vouches for */
enum head_write response_text_write(struct head_writer *w, const char *text, size_t len);

/* "1a2b" CRLF into out[0..18); the length. */
size_t chunk_size_line_write(char *out, uint64_t size);

#endif
