/* A write succeeds exactly when it fits and an octet-by-octet reading of the rules agrees; then what was
 * appended is the line and nothing else, and it holds one CR and one LF, at its end.  Otherwise the length is
 * unchanged.  No octet outside input and buffer is touched.  Vector and word writers agree.
 *
 * Input: two octets (kind, room left over or lacking; length of the name), then name and value, or a status.
 */
#include <stdio.h>
#include <stdlib.h>

#include "invariant.h"
#include "response_head_words.h"

enum { HELD = 3 };

static void check_line(const struct head_writer *w, enum head_write result, enum head_write expected,
                       const char *line, size_t len)
{
    INVARIANT(result == expected);
    INVARIANT(w->len == (expected == HEAD_WRITE_OK ? HELD + len : HELD));
    INVARIANT(memcmp(w->at, "###", HELD) == 0);
    if (expected != HEAD_WRITE_OK)
        return;
    INVARIANT(memcmp(w->at + HELD, line, len) == 0);
    INVARIANT(memchr(w->at + HELD, '\n', len) == w->at + HELD + len - 1);
    INVARIANT(memchr(w->at + HELD, '\r', len) == w->at + HELD + len - 2);
    INVARIANT(memchr(w->at + HELD, '\0', len) == NULL);
}

static struct head_writer writer(size_t room)
{
    struct head_writer w = {malloc(HELD + room), HELD, HELD + room};
    memset(w.at, '#', HELD + room);
    return w;
}

static void fuzz_status(const char *at, size_t len, int slack)
{
    char *status = exact_copy(at, len), *line = malloc(len + 11);
    bool valid = slow_is_status(at, len);
    size_t room = slack < 0 && (size_t)-slack > len + 11 ? 0 : len + 11 + (size_t)slack;
    bool code_ok = len >= 4 && slow_is_status(at, 4);
    enum head_write expected = !code_ok           ? HEAD_WRITE_STATUS_INVALID
                               : room < len + 11 ? HEAD_WRITE_FULL
                               : !valid           ? HEAD_WRITE_STATUS_INVALID
                                                  : HEAD_WRITE_OK;
    memcpy(line, "HTTP/1.1 ", 9);
    memcpy(line + 9, at, len);
    memcpy(line + 9 + len, "\r\n", 2);
    for (int i = 0; i < WRITERS; i++) {
        struct head_writer w = writer(room);
        int code = -1;
        enum head_write result = status_writers[i](&w, status, len, &code);
        check_line(&w, result, expected, line, len + 11);
        INVARIANT(expected == HEAD_WRITE_OK ? code >= 100 && code <= 999 : code == -1);
        free(w.at);
    }
    free(status);
    free(line);
}

static void fuzz_field(const char *at, size_t name_len, size_t value_len, int slack)
{
    char *name = exact_copy(at, name_len), *value = exact_copy(at + name_len, value_len);
    size_t len = name_len + value_len + 4;
    char *line = malloc(len);
    size_t room = slack < 0 && (size_t)-slack > len ? 0 : len + (size_t)slack;
    enum head_write expected = room < len                            ? HEAD_WRITE_FULL
                               : !slow_is_token(name, name_len)   ? HEAD_WRITE_NAME_INVALID
                               : !slow_is_value(value, value_len) ? HEAD_WRITE_VALUE_INVALID
                                                                  : HEAD_WRITE_OK;
    memcpy(line, name, name_len);
    memcpy(line + name_len, ": ", 2);
    memcpy(line + name_len + 2, value, value_len);
    memcpy(line + len - 2, "\r\n", 2);
    for (int i = 0; i < WRITERS; i++) {
        struct head_writer w = writer(room);
        check_line(&w, field_writers[i](&w, name, name_len, value, value_len), expected, line, len);
        free(w.at);
    }
    INVARIANT(response_field_id(name, name_len) == words_field_id(name, name_len));
    free(name);
    free(value);
    free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    const char *text = (const char *)data + 2;
    size_t len = size - 2, name_len = data[1] < len ? data[1] : len;
    int slack = (data[0] >> 1) % 16 - 4;
    if (data[0] & 1)
        fuzz_status(text, len, slack);
    else
        fuzz_field(text, name_len, len - name_len, slack);
    return 0;
}
