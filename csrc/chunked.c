/* A state for each place in the grammar of RFC 9112 §7.1.  Overhead goes through octet by octet, data in
 * runs, so that where the input was cut can make no difference:
 *
 *     SIZE_FIRST -> SIZE -> [EXT_...] -> SIZE_LF -> DATA -> DATA_CR -> DATA_LF -> SIZE_FIRST   size > 0
 *                                           `----> TRAILER_FIRST ...                           size = 0
 *     TRAILER_FIRST -> TRAILER_NAME -> TRAILER_VALUE -> TRAILER_LF -> TRAILER_FIRST            a field line
 *           `--------> LAST_LF -> DONE                                                         an empty line
 */
#include "chunked.h"

#include "chars.h"

enum state {
    SIZE_FIRST,
    SIZE,
    EXT_NAME_FIRST,
    EXT_NAME,
    EXT_VALUE_FIRST,
    EXT_VALUE,
    EXT_QUOTED,
    EXT_QUOTED_PAIR,
    EXT_QUOTED_END,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_FIRST,
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    LAST_LF,
    DONE,
    FAILED
};

void chunk_decoder_reset(struct chunk_decoder *decoder)
{
    *decoder = (struct chunk_decoder){.state = SIZE_FIRST, .error = REQUEST_OK};
}

/* Each step returns REQUEST_OK and has moved to the next state, or returns the rule that was broken. */

static inline enum request_error go(struct chunk_decoder *decoder, enum state state)
{
    decoder->state = state;
    return REQUEST_OK;
}

/* ---- the size line ---- */

/* 1*HEXDIG; what does not fit 63 bits is refused, RFC 9112 §7.1. */
static enum request_error step_size_digit(struct chunk_decoder *decoder, char c)
{
    int digit = char_hex_value(c);
    if (digit < 0 || decoder->chunk_left > (uint64_t)(INT64_MAX - digit) >> 4)
        return REQUEST_CHUNK_SIZE_INVALID;
    decoder->chunk_left = decoder->chunk_left << 4 | (uint64_t)digit;
    return go(decoder, SIZE);
}

/* Behind a whole size, name or value: another extension, or the end of the line.  The BWS of RFC 9112 §7.1.1
 * is refused on purpose: nobody sends it, and what one parser skips and the next reads is how requests are
 * smuggled. */
static enum request_error step_between(struct chunk_decoder *decoder, char c, enum request_error error)
{
    if (c == '\r')
        return go(decoder, SIZE_LF);
    return c == ';' ? go(decoder, EXT_NAME_FIRST) : error;
}

static enum request_error step_size(struct chunk_decoder *decoder, char c)
{
    if (c == '\r' || c == ';')
        return step_between(decoder, c, REQUEST_CHUNK_SIZE_INVALID);
    return step_size_digit(decoder, c);
}

static enum request_error step_token(struct chunk_decoder *decoder, char c, enum state next)
{
    return char_is(c, CHAR_TOKEN) ? go(decoder, next) : REQUEST_CHUNK_EXTENSION_INVALID;
}

static enum request_error step_ext_name(struct chunk_decoder *decoder, char c)
{
    if (char_is(c, CHAR_TOKEN))
        return REQUEST_OK;
    if (c == '=')
        return go(decoder, EXT_VALUE_FIRST);
    return step_between(decoder, c, REQUEST_CHUNK_EXTENSION_INVALID);
}

static enum request_error step_ext_value_first(struct chunk_decoder *decoder, char c)
{
    return c == '"' ? go(decoder, EXT_QUOTED) : step_token(decoder, c, EXT_VALUE);
}

static enum request_error step_ext_value(struct chunk_decoder *decoder, char c)
{
    if (char_is(c, CHAR_TOKEN))
        return REQUEST_OK;
    return step_between(decoder, c, REQUEST_CHUNK_EXTENSION_INVALID);
}

/* RFC 9110 §5.6.4 */
static enum request_error step_ext_quoted(struct chunk_decoder *decoder, char c)
{
    if (char_is(c, CHAR_QDTEXT))
        return REQUEST_OK;
    if (c == '\\')
        return go(decoder, EXT_QUOTED_PAIR);
    return c == '"' ? go(decoder, EXT_QUOTED_END) : REQUEST_CHUNK_EXTENSION_INVALID;
}

static enum request_error step_ext_quoted_pair(struct chunk_decoder *decoder, char c)
{
    return char_is(c, CHAR_FIELD_VALUE) ? go(decoder, EXT_QUOTED) : REQUEST_CHUNK_EXTENSION_INVALID;
}

static enum request_error step_size_lf(struct chunk_decoder *decoder, char c)
{
    if (c != '\n')
        return REQUEST_CHUNK_SIZE_INVALID;
    decoder->line_bytes = 0;
    return go(decoder, decoder->chunk_left > 0 ? DATA : TRAILER_FIRST);
}

static enum request_error step_size_line(struct chunk_decoder *decoder, char c)
{
    if (c != '\r' && c != '\n' && ++decoder->line_bytes > CHUNK_LINE_BYTES_MAX)
        return REQUEST_CHUNK_OVERHEAD_TOO_LONG;
    switch (decoder->state) {
    case SIZE_FIRST:
        return step_size_digit(decoder, c);
    case SIZE:
        return step_size(decoder, c);
    case EXT_NAME_FIRST:
        return step_token(decoder, c, EXT_NAME);
    case EXT_NAME:
        return step_ext_name(decoder, c);
    case EXT_VALUE_FIRST:
        return step_ext_value_first(decoder, c);
    case EXT_VALUE:
        return step_ext_value(decoder, c);
    case EXT_QUOTED:
        return step_ext_quoted(decoder, c);
    case EXT_QUOTED_PAIR:
        return step_ext_quoted_pair(decoder, c);
    case EXT_QUOTED_END:
        return step_between(decoder, c, REQUEST_CHUNK_EXTENSION_INVALID);
    default:
        return step_size_lf(decoder, c);
    }
}

/* ---- behind the data ---- */

static enum request_error step_data_end(struct chunk_decoder *decoder, char c)
{
    if (decoder->state == DATA_CR)
        return c == '\r' ? go(decoder, DATA_LF) : REQUEST_CHUNK_DATA_UNTERMINATED;
    return c == '\n' ? go(decoder, SIZE_FIRST) : REQUEST_CHUNK_DATA_UNTERMINATED;
}

/* ---- the trailer section, RFC 9112 §7.1.2: field lines, §5, without obs-fold ---- */

static enum request_error step_trailer_first(struct chunk_decoder *decoder, char c,
                                             const struct head_limits *limits)
{
    if (c == '\r')
        return go(decoder, LAST_LF);
    if (!char_is(c, CHAR_TOKEN))
        return REQUEST_TRAILER_INVALID;
    if (decoder->trailer_fields >= limits->fields_max)
        return REQUEST_TRAILERS_TOO_LONG;
    decoder->trailer_fields++;
    return go(decoder, TRAILER_NAME);
}

static enum request_error step_trailer_name(struct chunk_decoder *decoder, char c)
{
    if (char_is(c, CHAR_TOKEN))
        return REQUEST_OK;
    return c == ':' ? go(decoder, TRAILER_VALUE) : REQUEST_TRAILER_INVALID;
}

static enum request_error step_trailer_value(struct chunk_decoder *decoder, char c)
{
    if (char_is(c, CHAR_FIELD_VALUE))
        return REQUEST_OK;
    return c == '\r' ? go(decoder, TRAILER_LF) : REQUEST_TRAILER_INVALID;
}

static enum request_error step_trailer_lf(struct chunk_decoder *decoder, char c)
{
    if (c != '\n')
        return REQUEST_TRAILER_INVALID;
    decoder->line_bytes = 0;
    return go(decoder, decoder->state == LAST_LF ? DONE : TRAILER_FIRST);
}

static enum request_error step_trailer(struct chunk_decoder *decoder, char c,
                                       const struct head_limits *limits)
{
    if (++decoder->trailer_bytes > limits->head_bytes_max)
        return REQUEST_TRAILERS_TOO_LONG;
    if (c != '\r' && c != '\n' && ++decoder->line_bytes > limits->field_line_bytes_max)
        return REQUEST_TRAILERS_TOO_LONG;
    switch (decoder->state) {
    case TRAILER_FIRST:
        return step_trailer_first(decoder, c, limits);
    case TRAILER_NAME:
        return step_trailer_name(decoder, c);
    case TRAILER_VALUE:
        return step_trailer_value(decoder, c);
    default:
        return step_trailer_lf(decoder, c);
    }
}

/* ---- all of it ---- */

static inline enum request_error step(struct chunk_decoder *decoder, char c, const struct head_limits *limits)
{
    decoder->overhead_bytes++;
    if (decoder->overhead_bytes > CHUNK_OVERHEAD_FREE_BYTES &&
        decoder->overhead_bytes - CHUNK_OVERHEAD_FREE_BYTES > CHUNK_OVERHEAD_PER_BYTE * decoder->data_bytes)
        return REQUEST_CHUNK_OVERHEAD_TOO_LONG;
    if (decoder->state <= SIZE_LF)
        return step_size_line(decoder, c);
    if (decoder->state <= DATA_LF)
        return step_data_end(decoder, c);
    return step_trailer(decoder, c, limits);
}

static size_t take_data(struct chunk_decoder *decoder, size_t available)
{
    size_t taken = decoder->chunk_left < available ? (size_t)decoder->chunk_left : available;
    decoder->chunk_left -= taken;
    decoder->data_bytes += taken;
    if (decoder->chunk_left == 0)
        decoder->state = DATA_CR;
    return taken;
}

static enum chunk_status fail(struct chunk_decoder *decoder, enum request_error error)
{
    decoder->state = FAILED;
    decoder->error = error;
    return CHUNK_ERROR;
}

enum chunk_status chunk_decode(struct chunk_decoder *decoder, const char *buf, size_t len,
                               const struct head_limits *limits,
                               size_t *consumed, const char **data_at, size_t *data_len)
{
    size_t at = 0;
    enum request_error error = decoder->error;
    *data_at = NULL;
    *data_len = 0;
    while (at < len && decoder->state < DONE && decoder->state != DATA) {
        error = step(decoder, buf[at], limits);
        if (error != REQUEST_OK)
            break;
        at++;
    }
    *consumed = at;
    if (error != REQUEST_OK)
        return fail(decoder, error);
    if (decoder->state == DONE)
        return CHUNK_DONE;
    if (at == len)
        return CHUNK_MORE;
    *data_at = buf + at;
    *data_len = take_data(decoder, len - at);
    *consumed = at + *data_len;
    return CHUNK_DATA;
}
