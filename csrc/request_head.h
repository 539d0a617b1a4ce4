/* request_head.h - the head of an HTTP/1.x request: bytes in, offsets out.
 *
 * What: one strict octet grammar for the request line (RFC 9112 §3) and the field lines (RFC 9112 §5).
 *       CRLF is the only line end.  The parser resumes at the start of the first incomplete line, so a head
 *       that arrives octet by octet costs one scan of each line's own octets and no more.
 * Owner: the caller owns the buffer, the struct and the array of fields; nothing is allocated or copied.
 *       Everything is an offset from the start of the buffer, so the buffer may move between two calls
 *       as long as its content stays.
 * Lock: none; no state outside the struct.
 * On error: HEAD_ERROR, and head->error says which rule was broken.
 */
#ifndef HEADRACE_REQUEST_HEAD_H
#define HEADRACE_REQUEST_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum head_status { HEAD_PARTIAL, HEAD_DONE, HEAD_ERROR };

/* Every way in which a request can be refused before the application sees it.  src/headrace/errors.py gives
 * each its status, reason and RFC section; a test holds the two lists together. */
enum request_error {
    REQUEST_OK = 0,
    /* request line, RFC 9112 §3 */
    REQUEST_LINE_MALFORMED,      /* not "method SP target SP version CRLF" */
    REQUEST_LINE_TOO_LONG,
    REQUEST_METHOD_INVALID,      /* not a token, RFC 9110 §9.1 */
    REQUEST_METHOD_UNSUPPORTED,  /* CONNECT, RFC 9110 §9.3.6 */
    REQUEST_TARGET_INVALID,      /* an octet that no form allows, or the wrong form for the method, §3.2 */
    REQUEST_VERSION_INVALID,     /* not "HTTP/" DIGIT "." DIGIT, §2.3 */
    REQUEST_VERSION_UNSUPPORTED, /* anything but 1.0 and 1.1 */
    /* field lines, RFC 9112 §5 */
    REQUEST_FIELD_NAME_INVALID,  /* empty, not a token, or white space before the colon, §5.1 */
    REQUEST_FIELD_VALUE_INVALID, /* control octet, bare CR or LF, RFC 9110 §5.5 */
    REQUEST_FIELD_FOLDED,        /* obs-fold, §5.2 */
    REQUEST_FIELD_TOO_LONG,
    REQUEST_FIELDS_TOO_MANY,
    REQUEST_HEAD_TOO_LONG,
    /* rules across fields */
    REQUEST_HOST_MISSING,        /* RFC 9112 §3.2 */
    REQUEST_HOST_REPEATED,
    REQUEST_HOST_INVALID,
    REQUEST_CONTENT_TYPE_REPEATED, /* RFC 9110 §8.3: one media type */
    REQUEST_CONNECTION_INVALID,  /* not a list of tokens, RFC 9110 §7.6.1 */
    REQUEST_EXPECTATION_FAILED,  /* anything but 100-continue, RFC 9110 §10.1.1 */
    REQUEST_FORWARDED_INVALID,   /* what a trusted proxy says of the client breaks the grammar, RFC 7239 §4 */
    /* framing, RFC 9112 §6 */
    REQUEST_CONTENT_LENGTH_INVALID,
    REQUEST_CONTENT_LENGTH_REPEATED,
    REQUEST_TRANSFER_CODING_INVALID,     /* malformed, doubled, or chunked not last */
    REQUEST_TRANSFER_CODING_UNSUPPORTED, /* another one before chunked */
    REQUEST_FRAMING_CONFLICT,            /* Transfer-Encoding with Content-Length, §6.3 step 3 */
    REQUEST_TRANSFER_CODING_ON_1_0,
    REQUEST_BODY_TOO_LONG,
    /* chunks, RFC 9112 §7.1 */
    REQUEST_CHUNK_SIZE_INVALID,
    REQUEST_CHUNK_EXTENSION_INVALID,
    REQUEST_CHUNK_DATA_UNTERMINATED,     /* no CRLF behind the data */
    REQUEST_CHUNK_OVERHEAD_TOO_LONG,
    REQUEST_TRAILER_INVALID,
    REQUEST_TRAILERS_TOO_LONG,
    /* found by the loop, not by a parser */
    REQUEST_READ_IN_TWO_WAYS, /* --referee: llhttp does not read the head as we do, §11.2 */
    REQUEST_HEAD_TIMEOUT,
    REQUEST_BODY_TIMEOUT,
    REQUEST_NO_ROOM_FOR_BODY, /* the worker's totals for bodies in memory and in files are used up */
    REQUEST_QUEUED_TOO_LONG,  /* --queue-deadline */
    REQUEST_APPLICATION_FAILED,
    REQUEST_ERROR_COUNT
};

/* Fields whose meaning the server itself needs, recognised while parsing. */
enum field_id {
    FIELD_OTHER = 0,
    FIELD_CONNECTION,
    FIELD_CONTENT_LENGTH,
    FIELD_CONTENT_TYPE,
    FIELD_COOKIE,
    FIELD_EXPECT,
    FIELD_HOST,
    FIELD_PROXY,
    FIELD_TRANSFER_ENCODING,
    FIELD_UNDERSCORE /* any name that contains "_" */
};

struct field_line {
    uint32_t name_at;
    uint32_t name_len;
    uint32_t value_at; /* without the optional white space around it */
    uint32_t value_len;
    uint32_t id; /* enum field_id */
};

enum target_form { TARGET_ORIGIN, TARGET_ABSOLUTE, TARGET_ASTERISK };

struct head_limits {
    uint32_t request_line_bytes_max; /* without CRLF */
    uint32_t field_line_bytes_max;   /* without CRLF */
    uint32_t fields_max;
    uint32_t head_bytes_max; /* from the first octet of the request line to the blank line, both counted */
};

struct request_head {
    uint32_t next;       /* offset of the first octet not yet parsed; when done, of the first octet of the body */
    uint32_t started_at; /* offset of the request line: 2 when an empty line came first (RFC 9112 §2.2), else 0 */
    uint32_t fields_at;  /* offset of the first field line; 0 until the request line is complete */
    enum request_error error;

    uint32_t method_at, method_len;
    uint32_t target_at, target_len; /* as sent */
    enum target_form form;
    uint32_t authority_at, authority_len; /* of an absolute-form target; else 0, 0 */
    uint32_t path_at, path_len;           /* undecoded; empty for asterisk-form and for "http://host" */
    uint32_t query_at, query_len;         /* without "?" */
    bool path_has_percent;                /* the path needs percent-decoding */
    uint8_t minor_version;                /* 0 or 1 */
    bool method_is_head;

    uint32_t field_count;
    uint32_t ids_seen;         /* 1 << id of every field line so far */
    struct field_line *fields; /* array of fields_max, the caller's */
};

/* Make *head ready for a new request; `fields` has room for limits->fields_max. */
void request_head_reset(struct request_head *head, struct field_line *fields);

/* Parse the request line in buf[0..len).  HEAD_DONE: every member but the fields is set, head->next and
 * head->fields_at stand behind its CRLF.  Idempotent once done.  At most one empty line before it is skipped. */
enum head_status request_line_parse(struct request_head *head, const char *buf, size_t len,
                                    const struct head_limits *limits);

/* Go on with the field lines, after request_line_parse said HEAD_DONE.  HEAD_DONE: head->next stands behind the
 * empty line. */
enum head_status request_fields_parse(struct request_head *head, const char *buf, size_t len,
                                      const struct head_limits *limits);

/* Which scanner this build uses on this processor: "AVX2", "NEON" or "plain C".  Static. */
const char *request_head_variant(void);

#endif
