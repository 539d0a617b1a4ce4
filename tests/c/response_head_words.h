/* response_head_words.h - the writer of response heads a second time, without vector registers.
 *
 * What: csrc/response_head.c as it is where there is no SSE2, its functions named words_...; included by the
 *       tests and the fuzz target, which put both through the same checks.
 */
#ifndef HEADRACE_RESPONSE_HEAD_WORDS_H
#define HEADRACE_RESPONSE_HEAD_WORDS_H

#include "response_head.h"

#define HEADRACE_NO_SIMD 1
#define response_field_id words_field_id
#define response_status_write words_status_write
#define response_field_write words_field_write
#define response_content_length_write words_content_length_write
#define response_text_write words_text_write
#define chunk_size_line_write words_chunk_size_line_write
#include "response_head.c"
#undef response_field_id
#undef response_status_write
#undef response_field_write
#undef response_content_length_write
#undef response_text_write
#undef chunk_size_line_write
#undef USE_SSE2
#undef ALWAYS_INLINE
#undef EACH
#undef IS_NAME

typedef enum head_write status_write(struct head_writer *, const char *, size_t, int *);
typedef enum head_write field_write(struct head_writer *, const char *, size_t, const char *, size_t);

enum { WRITERS = 2 };
static status_write *const status_writers[WRITERS] = {response_status_write, words_status_write};
static field_write *const field_writers[WRITERS] = {response_field_write, words_field_write};

/* The rules once more, octet by octet and without a table. */
static inline bool slow_is_token(const char *at, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = at[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alnum && (c == '\0' || strchr("!#$%&'*+-.^_`|~", c) == NULL))
            return false;
    }
    return len > 0;
}

static inline bool slow_is_value(const char *at, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)at[i];
        if (c != '\t' && (c < 32 || c == 127))
            return false;
    }
    return true;
}

static inline bool slow_is_status(const char *at, size_t len)
{
    return len >= 4 && at[0] >= '1' && at[0] <= '9' && at[1] >= '0' && at[1] <= '9' && at[2] >= '0' &&
           at[2] <= '9' && at[3] == ' ' && slow_is_value(at + 4, len - 4);
}

#endif
