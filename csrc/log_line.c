#include "log_line.h"

#include <stdbool.h>
#include <string.h>

enum {
    CUT_MARK_BYTES = 3,
    FIXED_BYTES = 32 /* of what is no text, a time in quotes; or around a request line: quotes, spaces, three marks */
};

static size_t written_len(size_t len) { return len > LOG_TEXT_BYTES_MAX ? LOG_TEXT_BYTES_MAX : len; }

struct log_need log_line_need(const struct log_part *parts, size_t count, size_t text_count)
{
    struct log_need need = {.fixed_bytes = 1, .uses_max = 1};
    size_t request_lines = 0;
    for (size_t i = 0; i < count; i++)
        request_lines += parts[i].kind == LOG_REQUEST_LINE;
    for (size_t i = 0; i < count; i++) {
        need.fixed_bytes += parts[i].kind == LOG_LITERAL ? parts[i].literal_len : FIXED_BYTES;
        size_t uses = request_lines; /* of this text */
        for (size_t j = 0; j < count; j++)
            uses += (parts[j].kind == LOG_TEXT && parts[i].kind == LOG_TEXT && parts[j].text == parts[i].text) ||
                    parts[j].kind == LOG_VERSION;
        if (uses > need.uses_max)
            need.uses_max = uses;
    }
    need.bytes_bound = need.fixed_bytes + LOG_ESCAPED_BYTES_MAX * LOG_TEXT_BYTES_MAX * need.uses_max * text_count;
    return need;
}

size_t log_line_bytes_max(const struct log_need *need, const struct log_text *texts, size_t text_count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < text_count; i++)
        bytes += written_len(texts[i].len);
    return need->fixed_bytes + LOG_ESCAPED_BYTES_MAX * need->uses_max * bytes;
}

/* Most pieces are short: no call for them. */
static inline char *put(char *out, const char *at, size_t len)
{
    if (len >= 8 && len <= 16) {
        memcpy(out, at, 8);
        memcpy(out + len - 8, at + len - 8, 8);
    } else if (len == 1) {
        *out = *at;
    } else {
        memcpy(out, at, len);
    }
    return out + len;
}

static char *put_octets(char *out, enum log_encoding encoding, const struct log_text *text)
{
    size_t len = written_len(text->len);
    if (encoding == LOG_WORD)
        out = log_put_word(out, text->at, len);
    else if (encoding == LOG_QUOTED)
        out = log_put_quoted(out, text->at, len);
    else
        out = log_put_json(out, text->at, len);
    return len < text->len ? put(out, "...", CUT_MARK_BYTES) : out;
}

static char *put_nothing(char *out, enum log_encoding encoding)
{
    return encoding == LOG_JSON_VALUE ? put(out, "null", 4) : put(out, "-", 1);
}

static char *put_text(char *out, enum log_encoding encoding, const struct log_text *text)
{
    if (text->at == NULL || (text->len == 0 && encoding != LOG_JSON_VALUE))
        return put_nothing(out, encoding);
    if (encoding != LOG_JSON_VALUE)
        return put_octets(out, encoding, text);
    *out++ = '"';
    out = put_octets(out, encoding, text);
    *out++ = '"';
    return out;
}

static char *put_request_line(char *out, enum log_encoding encoding, const struct log_text *texts)
{
    bool understood = texts[LOG_METHOD].at != NULL;
    if (!understood)
        return put_text(out, encoding, &texts[LOG_TARGET]);
    if (encoding == LOG_JSON_VALUE)
        *out++ = '"';
    for (int i = LOG_METHOD; i <= LOG_PROTOCOL; i++) {
        if (i > LOG_METHOD)
            *out++ = ' ';
        out = put_octets(out, encoding, &texts[i]);
    }
    if (encoding == LOG_JSON_VALUE)
        *out++ = '"';
    return out;
}

static char *put_version(char *out, enum log_encoding encoding, const struct log_text *protocol)
{
    struct log_text version = {NULL, 0};
    if (protocol->at != NULL && protocol->len > 5)
        version = (struct log_text){protocol->at + 5, protocol->len - 5};
    return put_text(out, encoding, &version);
}

static char *put_local_time(char *out, enum log_encoding encoding, int64_t unix_s, struct log_clock *clock)
{
    if (clock->local_s != unix_s) {
        log_local_time(clock->local, unix_s);
        clock->local_s = unix_s;
    }
    if (encoding == LOG_JSON_VALUE)
        *out++ = '"';
    out = put(out, clock->local, LOG_LOCAL_TIME_BYTES);
    if (encoding == LOG_JSON_VALUE)
        *out++ = '"';
    return out;
}

static char *put_utc_time(char *out, enum log_encoding encoding, int64_t unix_ns, struct log_clock *clock)
{
    int64_t unix_s = unix_ns / 1000000000;
    if (clock->utc_s != unix_s) {
        log_utc_time(clock->utc, unix_s);
        clock->utc_s = unix_s;
    }
    if (encoding == LOG_JSON_VALUE)
        *out++ = '"';
    out = put(out, clock->utc, LOG_UTC_TIME_BYTES);
    *out++ = '.';
    out = log_put_padded(out, (uint64_t)(unix_ns % 1000000000) / 1000, 6);
    *out++ = 'Z';
    if (encoding == LOG_JSON_VALUE)
        *out++ = '"';
    return out;
}

static char *put_duration(char *out, enum log_part_kind kind, uint64_t ns)
{
    switch (kind) {
    case LOG_SECONDS:
        return log_put_unsigned(out, ns / 1000000000);
    case LOG_MILLISECONDS:
        return log_put_unsigned(out, ns / 1000000);
    case LOG_MICROSECONDS:
        return log_put_unsigned(out, ns / 1000);
    case LOG_NANOSECONDS:
        return log_put_unsigned(out, ns);
    default:
        out = log_put_unsigned(out, ns / 1000000000);
        *out++ = '.';
        return log_put_padded(out, ns % 1000000000 / 1000, 6);
    }
}

static inline char *put_small(char *out, uint64_t number)
{
    if (number >= 1000)
        return log_put_unsigned(out, number);
    unsigned small = (unsigned)number;
    if (small >= 100)
        *out++ = (char)('0' + small / 100);
    if (small >= 10)
        *out++ = (char)('0' + small / 10 % 10);
    *out++ = (char)('0' + small % 10);
    return out;
}

static char *put_body_bytes(char *out, const struct log_part *part, int64_t bytes)
{
    if (bytes == 0 && part->kind == LOG_BODY_BYTES_OR_DASH && part->encoding != LOG_JSON_VALUE)
        return put(out, "-", 1);
    return put_small(out, (uint64_t)bytes);
}

static char *put_part(char *out, const struct log_part *part, const struct log_event *event, struct log_clock *clock)
{
    switch (part->kind) {
    case LOG_LITERAL:
        return put(out, part->literal, part->literal_len);
    case LOG_TEXT:
        return put_text(out, part->encoding, &event->texts[part->text]);
    case LOG_REQUEST_LINE:
        return put_request_line(out, part->encoding, event->texts);
    case LOG_VERSION:
        return put_version(out, part->encoding, &event->texts[LOG_PROTOCOL]);
    case LOG_STATUS:
        return put_small(out, (uint64_t)event->status);
    case LOG_BODY_BYTES:
    case LOG_BODY_BYTES_OR_DASH:
        return put_body_bytes(out, part, event->body_bytes);
    case LOG_LOCAL_TIME:
        return put_local_time(out, part->encoding, event->began_unix_ns / 1000000000, clock);
    case LOG_UTC_TIME:
        return put_utc_time(out, part->encoding, event->began_unix_ns, clock);
    default:
        return put_duration(out, part->kind, (uint64_t)event->duration_ns);
    }
}

size_t log_line_write(char *out, const struct log_part *parts, size_t count, const struct log_event *event,
                      struct log_clock *clock)
{
    const char *began = out;
    for (size_t i = 0; i < count; i++)
        out = put_part(out, &parts[i], event, clock);
    *out++ = '\n';
    return (size_t)(out - began);
}

/* Does it depend on the answer? */
static bool varies(const struct log_part *part) { return part->kind >= LOG_STATUS; }

size_t log_line_varying(const struct log_part *parts, size_t count, const struct log_part **varying)
{
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        if (!varies(&parts[i]))
            continue;
        if (found < LOG_VARYING_MAX)
            varying[found] = &parts[i];
        found++;
    }
    return found;
}

void log_sketch_make(struct log_sketch *sketch, const struct log_part *parts, size_t count,
                     const struct log_event *event)
{
    char *out = sketch->octets;
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        if (varies(&parts[i]))
            sketch->ends[found++] = (uint32_t)(out - sketch->octets);
        else
            out = put_part(out, &parts[i], event, NULL);
    }
    sketch->len = (size_t)(out - sketch->octets);
    sketch->ends[found] = (uint32_t)sketch->len;
}

size_t log_sketch_write(char *out, const struct log_sketch *sketch, const struct log_part *const *varying,
                        size_t varying_count, const struct log_event *event, struct log_clock *clock)
{
    const char *began = out;
    size_t at = 0;
    for (size_t i = 0; i < varying_count; i++) {
        out = put(out, sketch->octets + at, sketch->ends[i] - at);
        at = sketch->ends[i];
        out = put_part(out, varying[i], event, clock);
    }
    out = put(out, sketch->octets + at, sketch->len - at);
    *out++ = '\n';
    return (size_t)(out - began);
}
