/* The buffer of octets that wait. */
#include "check.h"

#include "buffer.h"

static bool holds(const struct buffer *buf, const char *octets)
{
    size_t len = strlen(octets);
    return buf->end - buf->start == len && memcmp(buf->data + buf->start, octets, len) == 0;
}

static enum buffer_status append(struct buffer *buf, const char *octets, size_t bytes_max)
{
    return buffer_append(buf, guarded(octets, strlen(octets)), strlen(octets), bytes_max);
}

TEST("gives octets back in order, and starts at the front again when all are consumed")
{
    struct buffer buf = {0};
    CHECK(append(&buf, "hello ", 100) == BUFFER_OK);
    CHECK(append(&buf, "world", 100) == BUFFER_OK);
    CHECK(holds(&buf, "hello world"));
    buffer_consume(&buf, 6);
    CHECK(holds(&buf, "world"));
    buffer_consume(&buf, 0);
    CHECK(holds(&buf, "world"));
    buffer_consume(&buf, 5);
    CHECK(buf.start == 0 && buf.end == 0 && buf.data != NULL);
    buffer_free(&buf);
    CHECK(buf.data == NULL && buf.cap == 0 && buf.end == 0);
}

TEST("needs no memory for nothing")
{
    struct buffer buf = {0};
    CHECK(buffer_append(&buf, NULL, 0, 0) == BUFFER_OK);
    CHECK(buffer_reserve(&buf, 0, 0) == BUFFER_OK);
    CHECK(buf.data == NULL);
    buffer_consume(&buf, 0);
    buffer_free(&buf);
    buffer_free(&buf);
}

TEST("refuses to pass its bound, and is unchanged then")
{
    struct buffer buf = {0};
    CHECK(append(&buf, "12345678", 8) == BUFFER_OK);
    struct buffer before = buf;
    CHECK(append(&buf, "9", 8) == BUFFER_LIMIT);
    CHECK(buffer_reserve(&buf, SIZE_MAX, 8) == BUFFER_LIMIT);
    CHECK(buffer_reserve(&buf, 1, 4) == BUFFER_LIMIT);
    CHECK(memcmp(&buf, &before, sizeof(buf)) == 0 && holds(&buf, "12345678"));
    CHECK(buf.cap == 8);
    buffer_consume(&buf, 3);
    CHECK(append(&buf, "9ab", 8) == BUFFER_OK && holds(&buf, "456789ab") && buf.cap == 8);
    buffer_free(&buf);
}

TEST("is unchanged when memory runs out")
{
    struct buffer buf = {0};
    CHECK(append(&buf, "abc", 100) == BUFFER_OK);
    buffer_consume(&buf, 1);
    struct buffer before = buf;
    /* no allocator gives half of the address space */
    CHECK(buffer_reserve(&buf, SIZE_MAX / 2, SIZE_MAX) == BUFFER_NO_MEMORY);
    CHECK(memcmp(&buf, &before, sizeof(buf)) == 0 && holds(&buf, "bc"));
    buffer_free(&buf);
}

TEST("gives room that may be written to its last octet")
{
    struct buffer buf = {0};
    for (size_t more = 1; more < 5000; more += 97) {
        CHECK(buffer_reserve(&buf, more, 1 << 20) == BUFFER_OK);
        CHECK(buf.cap - buf.end >= more);
        memset(buf.data + buf.end, 'x', more);
        buf.end += more;
        buffer_consume(&buf, more / 3);
    }
    buffer_free(&buf);
}

TEST("agrees with a plain array about any series of calls")
{
    enum { ROUNDS = 20000, BYTES_MAX = 3000 };
    static char model[BYTES_MAX];
    size_t held = 0;
    struct buffer buf = {0};
    uint64_t seed = 11;
    for (int round = 0; round < ROUNDS; round++) {
        char piece[700];
        size_t len = check_random(&seed) % sizeof(piece);
        memset(piece, (int)('a' + round % 26), len);
        if (check_random(&seed) % 2) {
            enum buffer_status status = buffer_append(&buf, piece, len, BYTES_MAX);
            CHECK(status == (held + len > BYTES_MAX ? BUFFER_LIMIT : BUFFER_OK));
            if (status == BUFFER_OK) {
                memcpy(model + held, piece, len);
                held += len;
            }
        } else {
            len = len < held ? len : held;
            buffer_consume(&buf, len);
            memmove(model, model + len, held - len);
            held -= len;
        }
        CHECK(buf.end - buf.start == held && buf.cap <= BYTES_MAX);
        CHECK(held == 0 || memcmp(buf.data + buf.start, model, held) == 0);
    }
    buffer_free(&buf);
}

TEST("does not grow without bound when little is held and much goes through")
{
    struct buffer buf = {0};
    char piece[1000] = {0};
    for (int i = 0; i < 10000; i++) {
        CHECK(buffer_append(&buf, piece, sizeof(piece), 1 << 30) == BUFFER_OK);
        buffer_consume(&buf, i == 0 ? 1 : sizeof(piece));
    }
    CHECK_MSG(buf.cap <= 8192, "%zu", buf.cap);
    buffer_free(&buf);
}

/* the sanitizers' allocator would stop the program where malloc returns NULL */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }

CHECK_MAIN
