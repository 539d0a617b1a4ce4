/* Many threads append, one writes: no line is lost, torn or mixed with another. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "log_writer.h"
#include "threads.h"

enum { LINES = 2000, LINE_BYTES_MAX = 64, PATIENCE_MS = 20000 };

static bool append(struct log_writer *w, const char *line)
{
    size_t len = strlen(line);
    char *out = log_writer_begin(w, len);
    if (out == NULL)
        out = log_writer_begin_patiently(w, len, PATIENCE_MS);
    if (out == NULL)
        return false;
    memcpy(out, line, len);
    log_writer_end(w, len);
    return true;
}

/* What a writer does, to a file; the errors of its writes. */
static int work(struct log_writer *w, struct log_file *file, int linger_ms)
{
    const char *at;
    size_t len;
    int failed = 0;
    while (true) {
        int64_t lost;
        switch (log_writer_take(w, linger_ms, &at, &len)) {
        case LOG_TAKE_CLOSED:
            return failed;
        case LOG_TAKE_ASKED:
            break;
        case LOG_TAKE_LINES:
            failed += log_file_write(file, at, len, &lost) != 0;
            log_writer_done(w, lost);
        }
    }
}

struct scene {
    struct log_writer writer;
    struct log_file file;
    int64_t ended;
};

static size_t append_or_write(int number, void *shared)
{
    struct scene *scene = shared;
    size_t wrong = 0;
    if (number == 0)
        return (size_t)work(&scene->writer, &scene->file, 1);
    for (int i = 0; i < LINES; i++) {
        char line[LINE_BYTES_MAX];
        snprintf(line, sizeof line, "%d %d %.*s\n", number, i, i % 40, "----------------------------------------");
        wrong += !append(&scene->writer, line);
    }
    if (counter_add(&scene->ended, 1) == THREADS - 1)
        log_writer_close(&scene->writer);
    return wrong;
}

/* Every line of every thread is in the file once, whole and in its order. */
static void check_lines(FILE *file)
{
    int next[THREADS] = {0};
    char line[LINE_BYTES_MAX];
    rewind(file);
    while (fgets(line, sizeof line, file) != NULL) {
        int number = 0, i = -1;
        CHECK(sscanf(line, "%d %d", &number, &i) == 2 && number > 0 && number < THREADS);
        CHECK_MSG(i == next[number], "line %d of thread %d", i, number);
        next[number] = i + 1;
        CHECK(strlen(line) == (size_t)snprintf(NULL, 0, "%d %d %.*s\n", number, i, i % 40,
                                               "----------------------------------------"));
    }
    for (int number = 1; number < THREADS; number++)
        CHECK_MSG(next[number] == LINES, "%d lines of thread %d", next[number], number);
}

static void run_with_buffer(size_t cap)
{
    struct scene scene = {.ended = 0};
    FILE *file = tmpfile();
    CHECK(file != NULL && log_writer_init(&scene.writer, cap));
    scene.file = (struct log_file){.fd = fileno(file)};
    CHECK(in_threads(append_or_write, &scene) == 0);
    CHECK(log_writer_lost(&scene.writer) == 0 && log_writer_waiting(&scene.writer) == 0);
    check_lines(file);
    log_writer_destroy(&scene.writer);
    fclose(file);
}

TEST("lines of several threads reach the file whole, in order, each once") { run_with_buffer(1 << 20); }

TEST("a small buffer makes them wait and loses none") { run_with_buffer(256); }

static size_t write_alone(int number, void *shared)
{
    struct scene *scene = shared;
    if (number == 0)
        return (size_t)work(&scene->writer, &scene->file, 1);
    if (number > 1)
        return 0;
    size_t wrong = 0;
    for (int i = 0; i < 200; i++) {
        wrong += !append(&scene->writer, "x\n");
        wrong += !log_writer_flush(&scene->writer, PATIENCE_MS);
        wrong += log_writer_waiting(&scene->writer) != 0;
    }
    log_writer_close(&scene->writer);
    return wrong;
}

TEST("a flush comes back when all is written, however often")
{
    struct scene scene = {.ended = 0};
    FILE *file = tmpfile();
    CHECK(file != NULL && log_writer_init(&scene.writer, 4096));
    scene.file = (struct log_file){.fd = fileno(file)};
    CHECK(in_threads(write_alone, &scene) == 0);
    CHECK(lseek(fileno(file), 0, SEEK_END) == 400);
    log_writer_destroy(&scene.writer);
    fclose(file);
}

TEST("a buffer that nobody empties is waited for once, and is none's prison")
{
    struct log_writer w;
    CHECK(log_writer_init(&w, 8));
    CHECK(append(&w, "1234567\n"));
    CHECK(log_writer_begin(&w, 1) == NULL);
    CHECK(log_writer_begin_patiently(&w, 1, 5) == NULL);
    CHECK(log_writer_begin_patiently(&w, 1, 100 * PATIENCE_MS) == NULL); /* at once */
    CHECK(!log_writer_flush(&w, 5));
    log_writer_lose(&w, 3);
    CHECK(log_writer_lost(&w) == 3 && log_writer_waiting(&w) == 1);
    log_writer_destroy(&w);
}

TEST("what comes behind the close is not taken")
{
    struct log_writer w;
    const char *at;
    size_t len;
    CHECK(log_writer_init(&w, 64));
    CHECK(append(&w, "before\n"));
    log_writer_close(&w);
    CHECK(log_writer_begin(&w, 1) == NULL);
    CHECK(log_writer_take(&w, 1000000, &at, &len) == LOG_TAKE_LINES && len == 7);
    log_writer_done(&w, 0);
    CHECK(log_writer_take(&w, 0, &at, &len) == LOG_TAKE_CLOSED);
    log_writer_destroy(&w);
}

TEST("a pipe gets whole lines in pieces that the kernel keeps together")
{
    int ends[2];
    int64_t lost;
    char got[64] = {0};
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0); /* keeps the boundaries of writes */
    struct log_file file = {.fd = ends[1], .piece_max = 8};
    CHECK(log_file_write(&file, "aa\nbbbb\nc\nlonger than that\n", 27, &lost) == 0 && lost == 0);
    CHECK(read(ends[0], got, sizeof got) == 8);
    CHECK(read(ends[0], got, sizeof got) == 2);
    CHECK(read(ends[0], got, sizeof got) == 17);
    close(ends[0]);
    close(ends[1]);
}

TEST("lines that cannot be written are counted")
{
    int64_t lost = 0;
    struct log_file file = {.fd = open("/dev/full", O_WRONLY)};
    if (file.fd < 0)
        return; /* not on this system */
    CHECK(log_file_write(&file, "a\nb\nc\n", 6, &lost) == ENOSPC && lost == 3 && !file.torn);
    close(file.fd);
}

TEST("a line that was torn is ended before the next")
{
    int64_t lost;
    char got[16] = {0};
    FILE *made = tmpfile();
    CHECK(made != NULL);
    struct log_file file = {.fd = fileno(made), .torn = true};
    CHECK(log_file_write(&file, "next\n", 5, &lost) == 0 && !file.torn);
    CHECK(pread(file.fd, got, sizeof got, 0) == 6 && memcmp(got, "\nnext\n", 6) == 0);
    fclose(made);
}

TEST("syslog gets a datagram for each line, and a lost daemon costs lines and no time without end")
{
    int ends[2];
    int64_t lost;
    char got[256] = {0};
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == 0);
    struct log_syslog syslog = {.fd = ends[1], .priority = 14, .host = "h", .tag = "t[1]"};
    CHECK(log_syslog_write(&syslog, "one\ntwo\n", 8, 0, &lost) == 0 && lost == 0);
    ssize_t len = read(ends[0], got, sizeof got);
    CHECK_MSG(len > 10 && memcmp(got, "<14>", 4) == 0 && strcmp(got + len - 11, " h t[1]: one") != 0, "%s", got);
    CHECK(len > 12 && memcmp(got + len - 12, " h t[1]: one", 12) == 0);
    close(ends[0]);
    CHECK(log_syslog_write(&syslog, "one\ntwo\n", 8, 0, &lost) != 0);
    CHECK_MSG(lost >= 1, "%d", (int)lost);
    close(ends[1]);
}

CHECK_MAIN
