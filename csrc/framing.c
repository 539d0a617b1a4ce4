#include "framing.h"

#include "chars.h"

enum { SEEN_LENGTH = 1 << FIELD_CONTENT_LENGTH, SEEN_CODING = 1 << FIELD_TRANSFER_ENCODING };

bool content_length_parse(const char *at, size_t len, uint64_t *length)
{
    uint64_t value = 0;
    if (len == 0)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!char_is(at[i], CHAR_DIGIT))
            return false;
        uint64_t digit = (uint64_t)(at[i] - '0');
        if (value > (INT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *length = value;
    return true;
}

/* ---- Transfer-Encoding, RFC 9112 §6.1: #transfer-coding, all lines as one list (RFC 9110 §5.3) ---- */

struct codings {
    uint32_t chunked;     /* elements that are exactly "chunked" */
    uint32_t other;       /* well-formed, but nothing that this server undoes */
    bool chunked_is_last; /* of the elements so far */
};

static size_t token_end(const char *at, size_t from, size_t len)
{
    while (from < len && char_is(at[from], CHAR_TOKEN))
        from++;
    return from;
}

static size_t blanks_end(const char *at, size_t from, size_t len)
{
    while (from < len && char_is_blank(at[from]))
        from++;
    return from;
}

/* Behind the closing quote of the quoted-string at `from` (RFC 9110 §5.6.4); 0 when it is none. */
static size_t quoted_end(const char *at, size_t from, size_t len)
{
    for (size_t i = from + 1; i < len; i++) {
        if (at[i] == '"')
            return i + 1;
        if (at[i] == '\\')
            i++; /* quoted-pair: the parser of the head has refused every octet that it does not allow */
    }
    return 0;
}

/* transfer-parameter = token BWS "=" BWS ( token / quoted-string ), RFC 9112 §7: where it ends, or 0. */
static size_t parameter_end(const char *at, size_t from, size_t len)
{
    size_t end = token_end(at, from, len);
    if (end == from)
        return 0;
    end = blanks_end(at, end, len);
    if (end == len || at[end] != '=')
        return 0;
    from = blanks_end(at, end + 1, len);
    if (from < len && at[from] == '"')
        return quoted_end(at, from, len);
    end = token_end(at, from, len);
    return end == from ? 0 : end;
}

/* One element at `from`; *end stands at the "," behind it or at len.  false: malformed, or forbidden here. */
static bool coding_take(struct codings *codings, const char *at, size_t from, size_t len, size_t *end)
{
    size_t name_end = token_end(at, from, len), name_len = name_end - from;
    bool has_parameters = false;
    size_t next = blanks_end(at, name_end, len);
    while (next < len && at[next] == ';') {
        has_parameters = true;
        next = parameter_end(at, blanks_end(at, next + 1, len), len);
        if (next == 0)
            return false;
        next = blanks_end(at, next, len);
    }
    *end = next;
    if (name_len == 0 || (next < len && at[next] != ','))
        return false;
    if (CHARS_ARE(at + from, name_len, "identity")) /* left the registry with RFC 7230 */
        return false;
    codings->chunked_is_last = CHARS_ARE(at + from, name_len, "chunked");
    codings->chunked += codings->chunked_is_last;
    codings->other += !codings->chunked_is_last;
    return !(codings->chunked_is_last && has_parameters); /* RFC 9112 §7.1: chunked has none */
}

/* The elements of one line; no element may be empty: who sends ", chunked" tries something. */
static bool codings_take(struct codings *codings, const char *at, size_t len)
{
    size_t from = 0;
    for (;;) {
        size_t end;
        if (!coding_take(codings, at, blanks_end(at, from, len), len, &end))
            return false;
        if (end == len)
            return true;
        from = end + 1;
    }
}

static enum request_error codings_judge(const struct request_head *head, const char *buf)
{
    struct codings codings = {0, 0, false};
    for (uint32_t i = 0; i < head->field_count; i++) {
        const struct field_line *field = &head->fields[i];
        if (field->id == FIELD_TRANSFER_ENCODING &&
            !codings_take(&codings, buf + field->value_at, field->value_len))
            return REQUEST_TRANSFER_CODING_INVALID;
    }
    if (codings.chunked != 1 || !codings.chunked_is_last)
        return REQUEST_TRANSFER_CODING_INVALID; /* §6.3, step 4: a MUST, where 501 for what is unknown is a SHOULD */
    return codings.other > 0 ? REQUEST_TRANSFER_CODING_UNSUPPORTED : REQUEST_OK;
}

/* ---- Content-Length, RFC 9110 §8.6 ---- */

static enum request_error length_judge(const struct request_head *head, const char *buf, uint64_t *length)
{
    const struct field_line *only = NULL;
    for (uint32_t i = 0; i < head->field_count; i++) {
        if (head->fields[i].id != FIELD_CONTENT_LENGTH)
            continue;
        if (only != NULL)
            return REQUEST_CONTENT_LENGTH_REPEATED; /* the same value too: §6.3 lets a recipient refuse it */
        only = &head->fields[i];
    }
    if (only == NULL || !content_length_parse(buf + only->value_at, only->value_len, length))
        return REQUEST_CONTENT_LENGTH_INVALID;
    return REQUEST_OK;
}

/* RFC 9112 §6.3, for a request. */
enum framing framing_decide(const struct request_head *head, const char *buf, uint64_t *length,
                            enum request_error *error)
{
    uint32_t seen = head->ids_seen & (SEEN_LENGTH | SEEN_CODING);
    *error = REQUEST_OK;
    /* Steps 1 and 2 are about responses. */
    /* Step 7 first, because it is the most frequent: neither field, no body. */
    if (seen == 0)
        return FRAMING_NONE;
    /* Step 3: both fields.  The step would let Transfer-Encoding win; it is an attempt at smuggling. */
    if (seen == (SEEN_LENGTH | SEEN_CODING))
        *error = REQUEST_FRAMING_CONFLICT;
    /* §6.1: in an HTTP/1.0 message the framing with Transfer-Encoding is faulty. */
    else if (seen == SEEN_CODING && head->minor_version == 0)
        *error = REQUEST_TRANSFER_CODING_ON_1_0;
    /* Step 4: chunked is the last coding, and here the only one. */
    else if (seen == SEEN_CODING)
        *error = codings_judge(head, buf);
    /* Steps 5 and 6: a valid Content-Length is the length, an invalid one is an error. */
    else
        *error = length_judge(head, buf, length);
    if (*error != REQUEST_OK)
        return FRAMING_ERROR;
    return seen == SEEN_CODING ? FRAMING_CHUNKED : FRAMING_LENGTH;
}
