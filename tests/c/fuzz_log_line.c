/* Whatever the texts are, a line stays a line and a field a field: between the tabs of the format each text is escaped
 * as its encoding wants it, and a whole one can be had back from it.  A line is no longer than it was said to become,
 * and one that is made from a sketch is the same.  No octet outside texts and line is touched.
 *
 * Input: one octet that says how many parts there are, two octets for each (kind and encoding; which text), six for
 * status, size and time, then the texts, the end of each at 0xFE.
 */
#define _DEFAULT_SOURCE 1
#include <stdbool.h>
#include <stdint.h>

#include "invariant.h"
#include "log_line.h"

enum { TEXTS = 5, PARTS_MAX = 8, KINDS = LOG_DECIMAL_SECONDS + 1, END_OF_TEXT = 0xfe };

static const char separator[] = "\t"; /* escaped wherever it comes in a text */

struct format {
    struct log_part parts[2 * PARTS_MAX];
    size_t count;
};

static struct format format_from(const uint8_t *octets, size_t parts)
{
    struct format format = {.count = 0};
    for (size_t i = 0; i < parts; i++) {
        struct log_part *part = &format.parts[format.count++];
        part->kind = (enum log_part_kind)(octets[2 * i] % KINDS);
        part->encoding = (enum log_encoding)(octets[2 * i] / KINDS % (LOG_JSON_VALUE + 1));
        part->text = octets[2 * i + 1] % TEXTS;
        if (part->kind == LOG_LITERAL)
            part->kind = LOG_TEXT;
        format.parts[format.count++] = (struct log_part){
            .kind = LOG_LITERAL, .literal = separator, .literal_len = sizeof separator - 1};
    }
    return format;
}

/* Each text is a block of its own; behind the last separator of the input there are none. */
static void texts_from(struct log_text texts[TEXTS], const uint8_t *at, size_t len)
{
    for (int i = 0; i < TEXTS; i++) {
        const uint8_t *end = len > 0 ? memchr(at, END_OF_TEXT, len) : NULL;
        size_t text_len = end != NULL ? (size_t)(end - at) : len;
        texts[i] = (struct log_text){len > 0 ? exact_copy(at, text_len) : NULL, text_len};
        at += text_len + (end != NULL);
        len -= text_len + (end != NULL);
    }
}

static bool is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

static int hex_value(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

/* The octets that \xHH and the others stand for. */
static size_t unescape(const char *at, size_t len, char *out)
{
    size_t made = 0;
    for (size_t i = 0; i < len; i++) {
        if (at[i] != '\\') {
            out[made++] = at[i];
            continue;
        }
        INVARIANT(len - i >= 4 && at[i + 1] == 'x' && is_hex(at[i + 2]) && is_hex(at[i + 3]));
        out[made++] = (char)(hex_value(at[i + 2]) << 4 | hex_value(at[i + 3]));
        i += 3;
    }
    return made;
}

static void check_escaped(const char *at, size_t len, enum log_encoding encoding, const struct log_text *text)
{
    static char whole[LOG_ESCAPED_BYTES_MAX * LOG_TEXT_BYTES_MAX];
    for (size_t i = 0; i < len; i++) {
        INVARIANT(at[i] > 0x1f && at[i] < 0x7f && at[i] != '"');
        INVARIANT(encoding != LOG_WORD || (at[i] != ' ' && at[i] != '\''));
    }
    if (text->len == 0) {
        INVARIANT(len == 1 && at[0] == '-');
    } else if (text->len > LOG_TEXT_BYTES_MAX) {
        INVARIANT(len >= LOG_TEXT_BYTES_MAX + 3 && memcmp(at + len - 3, "...", 3) == 0);
    } else {
        INVARIANT(len <= sizeof whole && unescape(at, len, whole) == text->len);
        INVARIANT(memcmp(whole, text->at, text->len) == 0);
    }
}

/* RFC 8259 §7; what is not ASCII is a tail or a head of a character, and no C1 control. */
static void check_json_string(const char *at, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)at[i];
        INVARIANT(c >= 0x20 && c != '"' && c != 0x7f && c != 0xc0 && c != 0xc1 && c < 0xf5);
        INVARIANT(c != 0xc2 || (len - i >= 2 && (unsigned char)at[i + 1] >= 0xa0));
        if (c != '\\')
            continue;
        INVARIANT(len - i >= 2);
        if (at[++i] == 'u') {
            INVARIANT(len - i >= 5 && is_hex(at[i + 1]) && is_hex(at[i + 2]) && is_hex(at[i + 3]) && is_hex(at[i + 4]));
            i += 4;
        } else {
            INVARIANT(at[i] == '"' || at[i] == '\\');
        }
    }
}

static void check_json_value(const char *at, size_t len)
{
    if (len >= 2 && at[0] == '"') {
        INVARIANT(at[len - 1] == '"');
        check_json_string(at + 1, len - 2);
    } else {
        INVARIANT(len == 4 && memcmp(at, "null", 4) == 0);
    }
}

static void check_field(const char *at, size_t len, const struct log_part *part, const struct log_event *event)
{
    if (part->kind >= LOG_STATUS) /* numbers and times, of the server's own making */
        return;
    if (part->encoding == LOG_JSON_VALUE)
        check_json_value(at, len);
    else if (part->encoding == LOG_JSON_STRING)
        check_json_string(at, len);
    else if (part->kind == LOG_TEXT)
        check_escaped(at, len, part->encoding, &event->texts[part->text]);
}

static void check_line(const char *line, size_t len, const struct format *format, const struct log_event *event)
{
    INVARIANT(len > 0 && line[len - 1] == '\n' && memchr(line, '\n', len) == line + len - 1);
    for (size_t i = 0; i < format->count; i += 2) {
        const char *end = memchr(line, '\t', len);
        INVARIANT(end != NULL);
        check_field(line, (size_t)(end - line), &format->parts[i], event);
        len -= (size_t)(end - line) + 1;
        line = end + 1;
    }
    INVARIANT(len == 1);
}

static void check_sketch(const char *line, size_t len, size_t bytes_max, const struct format *format,
                         const struct log_event *event)
{
    const struct log_part *varying[LOG_VARYING_MAX];
    size_t count = log_line_varying(format->parts, format->count, varying);
    struct log_clock clock = {0};
    struct log_sketch sketch = {.octets = malloc(bytes_max)};
    log_sketch_make(&sketch, format->parts, format->count, event);
    char *again = malloc(log_sketch_bytes_max(&sketch, count));
    INVARIANT(log_sketch_write(again, &sketch, varying, count, event, &clock) == len);
    INVARIANT(memcmp(again, line, len) == 0);
    free(again);
    free(sketch.octets);
}

static int64_t number_from(const uint8_t *octets, int shift)
{
    return (int64_t)((uint64_t)(octets[0] << 8 | octets[1]) << shift);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t count = size > 0 ? 1 + data[0] % PARTS_MAX : 0, texts_at = 1 + 2 * count + 6;
    if (size < texts_at)
        return 0;
    struct format format = format_from(data + 1, count);
    const uint8_t *numbers = data + 1 + 2 * count;
    struct log_text texts[TEXTS];
    texts_from(texts, data + texts_at, size - texts_at);
    struct log_event event = {
        .texts = texts,
        .status = (numbers[0] << 8 | numbers[1]) % 1000,
        .body_bytes = number_from(numbers + 2, 24),
        .began_unix_ns = number_from(numbers + 4, 46),
        .duration_ns = number_from(numbers + 2, 30),
    };
    struct log_need need = log_line_need(format.parts, format.count, TEXTS);
    size_t bytes_max = log_line_bytes_max(&need, texts, TEXTS);
    INVARIANT(bytes_max <= need.bytes_bound);

    char *line = malloc(bytes_max);
    struct log_clock clock = {0};
    size_t len = log_line_write(line, format.parts, format.count, &event, &clock);
    INVARIANT(len <= bytes_max);
    check_line(line, len, &format, &event);
    check_sketch(line, len, bytes_max, &format, &event);
    free(line);
    for (int i = 0; i < TEXTS; i++)
        free((char *)(uintptr_t)texts[i].at);
    return 0;
}
