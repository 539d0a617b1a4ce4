/* Lines of the access log: nothing that a client sends ends a field or a line. */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE 1
#endif
#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700 /* tzset */
#endif
#include "check.h"

#include <time.h>

#include "log_line.h"

typedef char *put(char *out, const char *at, size_t len);

/* The text as it is written, against an unreadable page on both sides of the call. */
static const char *written(put *function, const char *text, size_t len)
{
    static char shown[8192];
    char *in = guarded(text, len), *out = guarded_room(len * LOG_ESCAPED_BYTES_MAX);
    size_t made = (size_t)(function(out, in, len) - out);
    memcpy(shown, out, made);
    shown[made] = '\0';
    return shown;
}

#define SHOWS(function, text, want) \
    CHECK_MSG(strcmp(written(function, text, sizeof(text) - 1), want) == 0, "%s", \
              written(function, text, sizeof(text) - 1))

TEST("between quotes quotes, backslashes, controls and what is not ASCII are escaped")
{
    SHOWS(log_put_quoted, "", "");
    SHOWS(log_put_quoted, "a b'c", "a b'c");
    SHOWS(log_put_quoted, "\"\\\n\x1b\x7f\x80\xff", "\\x22\\x5c\\x0a\\x1b\\x7f\\x80\\xff");
    SHOWS(log_put_quoted, "0123456789abcdef0123456789\"abcdef", "0123456789abcdef0123456789\\x22abcdef");
}

TEST("between spaces a space and both quotes are, too")
{
    SHOWS(log_put_word, "a b'c\"", "a\\x20b\\x27c\\x22");
    SHOWS(log_put_word, "0123456789abcdef 0123456789abcdef", "0123456789abcdef\\x200123456789abcdef");
}

TEST("every octet in every place of a block is either itself or escaped")
{
    for (int c = 0; c < 256; c++) {
        for (size_t place = 0; place < 40; place++) {
            char text[40];
            memset(text, 'a', sizeof text);
            text[place] = (char)c;
            bool safe = c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
            const char *shown = written(log_put_quoted, text, sizeof text);
            CHECK_MSG(strlen(shown) == (safe ? 40u : 43u), "octet %d at %zu", c, place);
            CHECK(safe ? shown[place] == (char)c : shown[place] == '\\' && shown[place + 1] == 'x');
        }
    }
}

TEST("JSON strings keep well-formed UTF-8 and show other octets as \\xHH")
{
    SHOWS(log_put_json, "a\"b\\c", "a\\\"b\\\\c");
    SHOWS(log_put_json, "\x01\n\x7f", "\\u0001\\u000a\\u007f");
    SHOWS(log_put_json, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
    SHOWS(log_put_json, "\xff\xc3(\xed\xa0\x80", "\\\\xff\\\\xc3(\\\\xed\\\\xa0\\\\x80");
    SHOWS(log_put_json, "\xc0\xaf\xe0\x80\x80\xf4\x90\x80\x80",
          "\\\\xc0\\\\xaf\\\\xe0\\\\x80\\\\x80\\\\xf4\\\\x90\\\\x80\\\\x80");
    SHOWS(log_put_json, "\xe2\x82", "\\\\xe2\\\\x82"); /* cut short */
}

TEST("JSON strings longer than a block are written alike, whatever stands at its border")
{
    static const struct {
        const char *in, *out;
    } pieces[] = {{"\"", "\\\""},
                  {"\x01", "\\u0001"},
                  {"\xff", "\\\\xff"},
                  {"\xc3\xa9", "\xc3\xa9"},
                  {"\xe2\x80\xa8", "\\u2028"},
                  {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"}};
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        for (size_t place = 0; place <= 40; place++) {
            char text[128], want[128];
            int len = snprintf(text, sizeof text, "%.*s%s%.*s", (int)place, "0123456789abcdef0123456789abcdef01234567",
                               pieces[i].in, 40 - (int)place, "ABCDEF0123456789ABCDEF0123456789ABCDEF01");
            snprintf(want, sizeof want, "%.*s%s%.*s", (int)place, "0123456789abcdef0123456789abcdef01234567",
                     pieces[i].out, 40 - (int)place, "ABCDEF0123456789ABCDEF0123456789ABCDEF01");
            const char *shown = written(log_put_json, text, (size_t)len);
            CHECK_MSG(strcmp(shown, want) == 0, "piece %zu at %zu: %s", i, place, shown);
        }
    }
}

TEST("JSON strings have nothing at which a reader would break the line")
{
    SHOWS(log_put_json, "\xc2\x85\xe2\x80\xa8\xe2\x80\xa9", "\\u0085\\u2028\\u2029");
}

TEST("numbers are written as they are")
{
    char out[32];
    static const struct { uint64_t number; const char *text; } numbers[] = {
        {0, "0"}, {9, "9"}, {10, "10"}, {18446744073709551615u, "18446744073709551615"}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        *log_put_unsigned(out, numbers[i].number) = '\0';
        CHECK_MSG(strcmp(out, numbers[i].text) == 0, "%s", out);
    }
    *log_put_padded(out, 42, 6) = '\0';
    CHECK(strcmp(out, "000042") == 0);
}

TEST("times are written in each of the three forms")
{
    char out[64] = {0};
    setenv("TZ", "<-0330>3:30", 1);
    tzset();
    log_local_time(out, 1795000000);
    CHECK_MSG(memcmp(out, "[18/Nov/2026:07:36:40 -0330]", LOG_LOCAL_TIME_BYTES) == 0, "%s", out);
    log_utc_time(out, 1795000000);
    CHECK(memcmp(out, "2026-11-18T11:06:40", LOG_UTC_TIME_BYTES) == 0);
    log_syslog_time(out, 1793800000);
    CHECK_MSG(memcmp(out, "Nov  4 10:16:40", LOG_SYSLOG_TIME_BYTES) == 0, "%s", out);
    log_utc_time(out, INT64_MAX); /* the year still has four digits */
    CHECK(memcmp(out, "9999-12-3", 9) == 0);
}

#define LITERAL(words) {.kind = LOG_LITERAL, .literal = words, .literal_len = sizeof(words) - 1}

static const char *line_of(const struct log_part *parts, size_t count, const struct log_event *event,
                           size_t text_count)
{
    static char shown[65536];
    struct log_clock clock = {0};
    struct log_need need = log_line_need(parts, count, text_count);
    size_t room = log_line_bytes_max(&need, event->texts, text_count);
    CHECK(room <= need.bytes_bound);
    char *out = guarded_room(room);
    size_t made = log_line_write(out, parts, count, event, &clock);
    CHECK(made <= room && made < sizeof shown);
    memcpy(shown, out, made);
    shown[made] = '\0';
    /* the same from a sketch */
    const struct log_part *varying[LOG_VARYING_MAX];
    size_t varying_count = log_line_varying(parts, count, varying);
    struct log_sketch sketch = {.octets = guarded_room(room)};
    log_sketch_make(&sketch, parts, count, event);
    size_t sketched_max = log_sketch_bytes_max(&sketch, varying_count);
    char *again = guarded_room(sketched_max);
    CHECK(log_sketch_write(again, &sketch, varying, varying_count, event, &clock) == made && made <= sketched_max);
    CHECK(memcmp(again, shown, made) == 0);
    return shown;
}

TEST("a line has each part in turn, and its end")
{
    struct log_text texts[] = {{"GET", 3}, {"/a\"b", 4}, {"HTTP/1.1", 8}, {NULL, 0}};
    struct log_part parts[] = {
        LITERAL("\""),
        {.kind = LOG_REQUEST_LINE, .encoding = LOG_QUOTED},
        LITERAL("\" "),
        {.kind = LOG_STATUS},
        LITERAL(" "),
        {.kind = LOG_BODY_BYTES_OR_DASH},
        LITERAL(" "),
        {.kind = LOG_TEXT, .text = 3},
        LITERAL(" "),
        {.kind = LOG_DECIMAL_SECONDS},
        LITERAL(" "),
        {.kind = LOG_VERSION},
    };
    struct log_event event = {texts, 200, 0, 0, 1234567890};
    CHECK_MSG(strcmp(line_of(parts, 12, &event, 4), "\"GET /a\\x22b HTTP/1.1\" 200 - - 1.234567 1.1\n") == 0, "%s",
              line_of(parts, 12, &event, 4));
}

TEST("what is not there is null in JSON, and numbers are numbers")
{
    struct log_text texts[] = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
    struct log_part parts[] = {
        LITERAL("["),
        {.kind = LOG_TEXT, .encoding = LOG_JSON_VALUE, .text = LOG_METHOD},
        LITERAL(","),
        {.kind = LOG_BODY_BYTES_OR_DASH, .encoding = LOG_JSON_VALUE},
        LITERAL(","),
        {.kind = LOG_UTC_TIME, .encoding = LOG_JSON_VALUE},
        LITERAL(","),
        {.kind = LOG_REQUEST_LINE, .encoding = LOG_JSON_VALUE},
        LITERAL("]"),
    };
    struct log_event event = {texts, 0, 0, 1500000000, 0};
    CHECK_MSG(strcmp(line_of(parts, 9, &event, 3), "[null,0,\"1970-01-01T00:00:01.500000Z\",null]\n") == 0, "%s",
              line_of(parts, 9, &event, 3));
}

TEST("a text that is too long is cut, and says so")
{
    char *long_text = guarded_room(LOG_TEXT_BYTES_MAX + 1);
    memset(long_text, '"', LOG_TEXT_BYTES_MAX + 1);
    struct log_text texts[] = {{NULL, 0}, {NULL, 0}, {NULL, 0}, {long_text, LOG_TEXT_BYTES_MAX + 1}};
    struct log_part parts[] = {{.kind = LOG_TEXT, .encoding = LOG_QUOTED, .text = 3}};
    struct log_event event = {texts, 0, 0, 0, 0};
    const char *line = line_of(parts, 1, &event, 4);
    CHECK(strlen(line) == 4 * LOG_TEXT_BYTES_MAX + 4);
    CHECK(strcmp(line + strlen(line) - 4, "...\n") == 0);
}

CHECK_MAIN
