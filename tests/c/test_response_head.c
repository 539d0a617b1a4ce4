/* The writer of response heads: RFC 9112 §4 and §5, RFC 9110 §5.1 and §5.5.  Everything goes through the
 * vector writer and the one for machine words, with input and output against unreadable pages. */
#include "check.h"

#include "response_head_words.h"

#define LITERAL(text) "" text, sizeof(text) - 1

enum { LENGTHS = 70 /* past several blocks of any width */ };

/* Room for len octets (a page at most) against an unreadable page: the same one each time, for mapping
 * costs more than all that is tested here. */
enum edge { EDGE_OUT, EDGE_NAME, EDGE_VALUE, EDGES };

static char *room_at_edge(enum edge edge, size_t len)
{
    static char *ends[EDGES];
    if (ends[edge] == NULL) {
        ends[edge] = guarded_room(check_page()) + check_page();
        check_blocks = check_blocks->next; /* kept until the program ends */
    }
    return ends[edge] - len;
}

static char *copy_at_edge(enum edge edge, const char *at, size_t len)
{
    char *copy = room_at_edge(edge, len);
    memcpy(copy, at, len);
    return copy;
}

/* ---- §4: the status line ---- */

static enum head_write write_status(status_write *write, const char *status, size_t len, size_t cap,
                                    int *code, struct head_writer *w)
{
    *w = (struct head_writer){room_at_edge(EDGE_OUT, cap), 0, cap};
    return write(w, copy_at_edge(EDGE_NAME, status, len), len, code);
}

static void check_status(const char *status, size_t len, const char *line, int expected_code)
{
    for (int i = 0; i < WRITERS; i++) {
        struct head_writer w;
        int code = 0;
        enum head_write result = write_status(status_writers[i], status, len, strlen(line), &code, &w);
        CHECK_MSG(result == HEAD_WRITE_OK && code == expected_code, "%s: %d", line, result);
        CHECK_MSG(w.len == strlen(line) && memcmp(w.at, line, w.len) == 0, "%s", line);
    }
}

static void check_status_refused(const char *status, size_t len)
{
    for (int i = 0; i < WRITERS; i++) {
        struct head_writer w;
        int code = 42;
        enum head_write result = write_status(status_writers[i], status, len, 200, &code, &w);
        CHECK_MSG(result == HEAD_WRITE_STATUS_INVALID, "%.*s: %d", (int)len, status, result);
        CHECK(w.len == 0 && code == 42);
    }
}

TEST("writes a status line and tells its code")
{
    check_status(LITERAL("200 OK"), "HTTP/1.1 200 OK\r\n", 200);
    check_status(LITERAL("404 Not Found"), "HTTP/1.1 404 Not Found\r\n", 404);
    check_status(LITERAL("100 x"), "HTTP/1.1 100 x\r\n", 100);
    check_status(LITERAL("999 "), "HTTP/1.1 999 \r\n", 999);
    check_status(LITERAL("418 I'm a\tteapot \xe9\xff"), "HTTP/1.1 418 I'm a\tteapot \xe9\xff\r\n", 418);
    check_status(LITERAL("511 Network Authentication Required"),
                 "HTTP/1.1 511 Network Authentication Required\r\n", 511);
}

TEST("rejects a status that is not 3DIGIT SP reason-phrase")
{
    static const char *const refused[] = {"", "2", "20", "200", "200OK", "2000", "20 OK", " 200 OK", "2x0 OK",
                                          "x00 OK", "20x OK", "099 x", "000 x", "200\tOK", "-20 x", "+20 x",
                                          "2000 OK", "200\xa0OK"};
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        check_status_refused(refused[i], strlen(refused[i]));
}

TEST("rejects a control octet at every place of a reason phrase")
{
    char status[LENGTHS];
    for (size_t len = 5; len < LENGTHS; len++) {
        memset(status, 'x', len);
        memcpy(status, "200 ", 4);
        for (size_t at = 4; at < len; at++) {
            status[at] = at % 2 ? '\r' : '\n';
            check_status_refused(status, len);
            status[at] = 'x';
        }
    }
}

/* ---- §5: field lines ---- */

/* Both writers against the slow rules, in a buffer of `cap`, behind `held` octets. */
static void check_field(const char *name, size_t name_len, const char *value, size_t value_len, size_t cap,
                        size_t held)
{
    size_t whole = name_len + value_len + 4;
    enum head_write expected = whole > cap - held                    ? HEAD_WRITE_FULL
                               : !slow_is_token(name, name_len)   ? HEAD_WRITE_NAME_INVALID
                               : !slow_is_value(value, value_len) ? HEAD_WRITE_VALUE_INVALID
                                                                  : HEAD_WRITE_OK;
    char *line = malloc(whole);
    memcpy(line, name, name_len);
    memcpy(line + name_len, ": ", 2);
    memcpy(line + name_len + 2, value, value_len);
    memcpy(line + whole - 2, "\r\n", 2);
    for (int i = 0; i < WRITERS; i++) {
        struct head_writer w = {room_at_edge(EDGE_OUT, cap), held, cap};
        memset(w.at, '#', cap);
        enum head_write result = field_writers[i](&w, copy_at_edge(EDGE_NAME, name, name_len), name_len,
                                                  copy_at_edge(EDGE_VALUE, value, value_len), value_len);
        CHECK_MSG(result == expected, "writer %d: %d, not %d", i, result, expected);
        CHECK(w.len == (expected == HEAD_WRITE_OK ? held + whole : held));
        for (size_t k = 0; k < held; k++)
            CHECK(w.at[k] == '#');
        if (expected == HEAD_WRITE_OK)
            CHECK(memcmp(w.at + held, line, whole) == 0);
        for (size_t k = held + whole; k < cap; k++)
            CHECK_MSG(w.at[k] == '#', "octet %zu was written", k);
    }
    free(line);
}

TEST("writes a field line of any length, and not an octet more")
{
    char octets[LENGTHS];
    for (int i = 0; i < LENGTHS; i++)
        octets[i] = (char)('a' + i % 26);
    for (size_t name_len = 0; name_len < LENGTHS; name_len++) {
        for (size_t value_len = 0; value_len < LENGTHS; value_len++)
            check_field(octets, name_len, octets, value_len, name_len + value_len + 4 + 8 + 5, 5);
    }
}

TEST("says that a field line does not fit, by one octet or by many, and appends nothing")
{
    for (size_t room = 0; room <= 28; room++)
        check_field(LITERAL("Content-Type"), LITERAL("text/plain"), 7 + room, 7);
    struct head_writer w = {NULL, 0, 0};
    CHECK(response_field_write(&w, "a", 1, "b", 1) == HEAD_WRITE_FULL);
    char out[10];
    w = (struct head_writer){out, 0, 10};
    CHECK(response_field_write(&w, "a", SIZE_MAX, "b", 1) == HEAD_WRITE_FULL);
    CHECK(response_field_write(&w, "a", 1, "b", SIZE_MAX) == HEAD_WRITE_FULL);
    CHECK(response_field_write(&w, "a", 1, "b", SIZE_MAX - 4) == HEAD_WRITE_FULL);
    CHECK(response_field_write(&w, "a", SIZE_MAX / 2 + 1, "b", SIZE_MAX / 2 + 1) == HEAD_WRITE_FULL);
}

TEST("judges every octet at every place of a name (RFC 9110 §5.1)")
{
    char name[LENGTHS];
    for (size_t len = 1; len < 40; len++) {
        memset(name, 'n', len);
        for (size_t at = 0; at < len; at++) {
            for (int c = 0; c < 256; c++) {
                name[at] = (char)c;
                check_field(name, len, "v", 1, len + 5, 0);
            }
            name[at] = 'n';
        }
    }
}

TEST("judges every octet at every place of a value (RFC 9110 §5.5)")
{
    char value[LENGTHS];
    for (size_t len = 1; len < 40; len++) {
        memset(value, 'v', len);
        for (size_t at = 0; at < len; at++) {
            for (int c = 0; c < 256; c++) {
                value[at] = (char)c;
                check_field("n", 1, value, len, len + 5, 0);
            }
            value[at] = 'v';
        }
    }
}

TEST("judges a value whatever surrounds the octet")
{
    static const char around[] = {'\t', ' ', '!', '~', '\x80', '\xff', '\x1f', '\x7f', '\0', 'v'};
    char value[24];
    uint64_t seed = 7;
    for (int round = 0; round < 20000; round++) {
        size_t len = check_random(&seed) % sizeof(value);
        for (size_t i = 0; i < len; i++)
            value[i] = around[check_random(&seed) % (round % 2 ? sizeof(around) : 6)];
        check_field("n", 1, value, len, len + 5, 0);
    }
}

TEST("keeps white space around a value, and an empty value")
{
    check_field(LITERAL("N"), LITERAL(" v\t"), 20, 0);
    check_field(LITERAL("N"), LITERAL(""), 20, 0);
    check_field(LITERAL(""), LITERAL("v"), 20, 0);
}

/* ---- names ---- */

struct named {
    const char *name;
    enum response_field id;
};

static const struct named known[] = {
    {"content-length", RESPONSE_FIELD_CONTENT_LENGTH},
    {"date", RESPONSE_FIELD_DATE},
    {"server", RESPONSE_FIELD_SERVER},
    {"connection", RESPONSE_FIELD_HOP_BY_HOP},
    {"keep-alive", RESPONSE_FIELD_HOP_BY_HOP},
    {"proxy-authenticate", RESPONSE_FIELD_HOP_BY_HOP},
    {"proxy-authorization", RESPONSE_FIELD_HOP_BY_HOP},
    {"proxy-connection", RESPONSE_FIELD_HOP_BY_HOP},
    {"te", RESPONSE_FIELD_HOP_BY_HOP},
    {"trailer", RESPONSE_FIELD_HOP_BY_HOP},
    {"trailers", RESPONSE_FIELD_HOP_BY_HOP},
    {"transfer-encoding", RESPONSE_FIELD_HOP_BY_HOP},
    {"upgrade", RESPONSE_FIELD_HOP_BY_HOP},
};
enum { KNOWN = sizeof(known) / sizeof(known[0]) };

static enum response_field field_id(const char *name, size_t len)
{
    char *copy = copy_at_edge(EDGE_NAME, name, len);
    enum response_field id = response_field_id(copy, len);
    CHECK(words_field_id(copy, len) == id);
    return id;
}

TEST("knows the fields that the server reads, adds or refuses, in any case")
{
    for (int i = 0; i < KNOWN; i++) {
        size_t len = strlen(known[i].name);
        char name[32];
        for (int round = 0; round < 64; round++) {
            for (size_t k = 0; k < len; k++) {
                bool upper = round == 0 || (round > 1 && (round >> k % 6 & 1));
                char c = known[i].name[k];
                name[k] = upper && c != '-' ? (char)(c - 'a' + 'A') : c;
            }
            CHECK_MSG(field_id(name, len) == known[i].id, "%.*s", (int)len, name);
        }
    }
}

/* What a search through the list comes to. */
static enum response_field listed(const char *name, size_t len)
{
    for (int i = 0; i < KNOWN; i++) {
        if (strlen(known[i].name) == len && chars_equal_ignoring_case(name, known[i].name, len))
            return known[i].id;
    }
    return RESPONSE_FIELD_OTHER;
}

TEST("takes no other name for one of them: one octet changed, added or left out")
{
    for (int i = 0; i < KNOWN; i++) {
        size_t len = strlen(known[i].name);
        char name[32];
        memcpy(name, known[i].name, len);
        name[len] = 's';
        CHECK_MSG(field_id(name, len + 1) == listed(name, len + 1), "%ss", known[i].name);
        CHECK_MSG(field_id(name, len - 1) == listed(name, len - 1), "%s cut", known[i].name);
        for (size_t at = 0; at < len; at++) {
            for (int c = 0; c < 256; c++) {
                name[at] = (char)c;
                CHECK_MSG(field_id(name, len) == listed(name, len), "%.*s", (int)len, name);
            }
            name[at] = known[i].name[at];
        }
    }
    CHECK(field_id("", 0) == RESPONSE_FIELD_OTHER);
    CHECK(field_id("content", 7) == RESPONSE_FIELD_OTHER);
}

/* ---- numbers and text ---- */

TEST("writes a content length of any size, when it fits")
{
    uint64_t numbers[64] = {0, 1, 9, 10, 99, 100, UINT64_MAX, INT64_MAX};
    uint64_t power = 1;
    for (int i = 8; i < 64; i += 2, power *= 10) {
        numbers[i] = power;
        numbers[i + 1] = power - 1;
        if (power > UINT64_MAX / 10)
            break;
    }
    for (int i = 0; i < 64; i++) {
        char line[64];
        unsigned long long n = numbers[i];
        size_t len = (size_t)snprintf(line, sizeof(line), "Content-Length: %llu\r\n", n);
        struct head_writer w = {guarded_room(len), 0, len};
        CHECK(response_content_length_write(&w, numbers[i]) == HEAD_WRITE_OK);
        CHECK_MSG(w.len == len && memcmp(w.at, line, len) == 0, "%s", line);
        w = (struct head_writer){guarded_room(len - 1), 0, len - 1};
        CHECK(response_content_length_write(&w, numbers[i]) == HEAD_WRITE_FULL && w.len == 0);
    }
}

TEST("writes ready-made text, when it fits")
{
    struct head_writer w = {guarded_room(5), 0, 5};
    CHECK(response_text_write(&w, "abc", 3) == HEAD_WRITE_OK && w.len == 3);
    CHECK(response_text_write(&w, "def", 3) == HEAD_WRITE_FULL && w.len == 3);
    CHECK(response_text_write(&w, "de", 2) == HEAD_WRITE_OK && w.len == 5);
    CHECK(response_text_write(&w, "", 0) == HEAD_WRITE_OK);
    CHECK(memcmp(w.at, "abcde", 5) == 0);
}

TEST("writes a whole head, line behind line, until it is full")
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\n";
    struct head_writer w = {guarded_room(sizeof(head) - 1), 0, sizeof(head) - 1};
    int code;
    CHECK(response_status_write(&w, "200 OK", 6, &code) == HEAD_WRITE_OK);
    CHECK(response_field_write(&w, "Content-Type", 12, "text/plain", 10) == HEAD_WRITE_OK);
    CHECK(response_content_length_write(&w, 12) == HEAD_WRITE_OK);
    CHECK(response_text_write(&w, "\r\n", 2) == HEAD_WRITE_OK);
    CHECK(w.len == w.cap && memcmp(w.at, head, w.len) == 0);
    CHECK(response_status_write(&w, "200 OK", 6, &code) == HEAD_WRITE_FULL && w.len == w.cap);
}

TEST("writes the size line of a chunk")
{
    uint64_t sizes[] = {0, 1, 9, 10, 15, 16, 255, 256, 0x1a2b, 65536, UINT32_MAX, INT64_MAX, UINT64_MAX};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char line[32];
        size_t len = (size_t)snprintf(line, sizeof(line), "%llx\r\n", (unsigned long long)sizes[i]);
        char *out = guarded_room(len);
        CHECK(chunk_size_line_write(out, sizes[i]) == len);
        CHECK_MSG(memcmp(out, line, len) == 0, "%s", line);
    }
}

CHECK_MAIN
