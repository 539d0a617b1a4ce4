#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE 1
#endif
#include "log_writer.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "log_text.h"

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* macOS: Python ignores SIGPIPE */
#endif

enum { LOOK_EVERY_MS = 1, SYSLOG_HEAD_BYTES_MAX = 512 };

bool log_writer_init(struct log_writer *w, size_t cap)
{
    *w = (struct log_writer){.cap = cap, .front = malloc(cap), .back = malloc(cap)};
    if (w->front != NULL && w->back != NULL && mutex_init(&w->mutex)) {
        if (gate_init(&w->work))
            return true;
        mutex_destroy(&w->mutex);
    }
    free(w->front);
    free(w->back);
    return false;
}

void log_writer_destroy(struct log_writer *w)
{
    gate_destroy(&w->work);
    mutex_destroy(&w->mutex);
    free(w->front);
    free(w->back);
}

char *log_writer_begin(struct log_writer *w, size_t need)
{
    mutex_lock(&w->mutex);
    if (!w->closed && need <= w->cap - w->front_len)
        return w->front + w->front_len;
    mutex_unlock(&w->mutex);
    return NULL;
}

void log_writer_end(struct log_writer *w, size_t len)
{
    w->front_len += len;
    w->front_lines++;
    bool wake = w->asleep || (w->front_len > w->cap / 2 && !w->hurried);
    if (wake) {
        w->hurried = !w->asleep;
        w->asleep = false;
    }
    mutex_unlock(&w->mutex);
    if (wake)
        gate_open(&w->work);
}

static void look_later(void)
{
    struct timespec pause = {0, LOOK_EVERY_MS * 1000000L};
    nanosleep(&pause, NULL);
}

static void hurry(struct log_writer *w)
{
    mutex_lock(&w->mutex);
    w->hurried = true;
    mutex_unlock(&w->mutex);
    gate_open(&w->work);
}

char *log_writer_begin_patiently(struct log_writer *w, size_t need, int timeout_ms)
{
    uint64_t until_ms = clock_monotonic_ms() + (uint64_t)timeout_ms;
    hurry(w);
    while (true) {
        mutex_lock(&w->mutex);
        bool hopeless = w->closed || w->stuck || need > w->cap;
        bool room = !hopeless && need <= w->cap - w->front_len;
        if (!hopeless && !room && clock_monotonic_ms() >= until_ms)
            w->stuck = hopeless = true;
        if (room)
            return w->front + w->front_len; /* with the lock: else others take the room before we do */
        mutex_unlock(&w->mutex);
        if (hopeless)
            return NULL;
        look_later();
    }
}

void log_writer_lose(struct log_writer *w, int64_t lines)
{
    mutex_lock(&w->mutex);
    w->lost += lines;
    mutex_unlock(&w->mutex);
}

int64_t log_writer_lost(struct log_writer *w)
{
    mutex_lock(&w->mutex);
    int64_t lost = w->lost;
    mutex_unlock(&w->mutex);
    return lost;
}

int64_t log_writer_waiting(struct log_writer *w)
{
    mutex_lock(&w->mutex);
    int64_t lines = w->front_lines + w->back_lines;
    mutex_unlock(&w->mutex);
    return lines;
}

bool log_writer_flush(struct log_writer *w, int timeout_ms)
{
    uint64_t until_ms = clock_monotonic_ms() + (uint64_t)timeout_ms;
    hurry(w);
    while (log_writer_waiting(w) > 0) {
        if (clock_monotonic_ms() >= until_ms)
            return false;
        look_later();
    }
    return true;
}

void log_writer_ask(struct log_writer *w)
{
    mutex_lock(&w->mutex);
    w->asked = true;
    mutex_unlock(&w->mutex);
    gate_open(&w->work);
}

void log_writer_close(struct log_writer *w)
{
    mutex_lock(&w->mutex);
    w->closed = true;
    mutex_unlock(&w->mutex);
    gate_open(&w->work);
}

/* Under the mutex: what is there for the writer? */
static bool has_work(const struct log_writer *w) { return w->asked || w->closed || w->front_lines > 0; }

enum log_take log_writer_take(struct log_writer *w, int linger_ms, const char **at, size_t *len)
{
    enum log_take taken = LOG_TAKE_LINES;
    mutex_lock(&w->mutex);
    while (!has_work(w)) {
        w->asleep = true;
        w->hurried = false;
        mutex_unlock(&w->mutex);
        gate_wait(&w->work, -1);
        mutex_lock(&w->mutex);
    }
    w->asleep = false;
    if (!w->asked && !w->closed && !w->hurried && linger_ms > 0) {
        mutex_unlock(&w->mutex);
        gate_wait(&w->work, linger_ms);
        mutex_lock(&w->mutex);
    }
    if (w->asked) {
        w->asked = false;
        taken = LOG_TAKE_ASKED;
    } else if (w->front_lines == 0) {
        taken = w->closed ? LOG_TAKE_CLOSED : LOG_TAKE_ASKED;
    } else {
        char *filled = w->front;
        w->front = w->back;
        w->back = filled;
        *at = filled;
        *len = w->front_len;
        w->back_lines = w->front_lines;
        w->front_lines = 0;
        w->front_len = 0;
        w->hurried = false;
    }
    mutex_unlock(&w->mutex);
    return taken;
}

void log_writer_done(struct log_writer *w, int64_t lost)
{
    mutex_lock(&w->mutex);
    w->back_lines = 0;
    w->lost += lost;
    w->stuck = false;
    mutex_unlock(&w->mutex);
}

/* ---- files ---- */

static int64_t count_lines(const char *at, size_t len)
{
    int64_t lines = 0;
    for (const char *end = at + len; at < end && (at = memchr(at, '\n', (size_t)(end - at))) != NULL; at++)
        lines++;
    return lines;
}

/* As many whole lines as fit into piece_max octets, or else one line. */
static size_t piece_len(const char *at, size_t len, size_t piece_max)
{
    if (piece_max == 0 || len <= piece_max)
        return len;
    for (size_t i = piece_max; i > 0; i--)
        if (at[i - 1] == '\n')
            return i;
    const char *end = memchr(at, '\n', len);
    return end != NULL ? (size_t)(end - at) + 1 : len;
}

/* 0 or errno; *done: octets written. */
static int write_all(int fd, const char *at, size_t len, size_t *done)
{
    *done = 0;
    while (*done < len) {
        ssize_t got = write(fd, at + *done, len - *done);
        if (got >= 0) {
            *done += (size_t)got;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) { /* somebody else has made our stdout non-blocking */
            struct pollfd room = {.fd = fd, .events = POLLOUT};
            poll(&room, 1, -1);
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

int log_file_write(struct log_file *file, const char *at, size_t len, int64_t *lost)
{
    int error = 0;
    size_t done = 0;
    *lost = 0;
    if (file->torn) {
        error = write_all(file->fd, "\n", 1, &done);
        file->torn = error != 0;
    }
    while (len > 0 && error == 0) {
        size_t piece = piece_len(at, len, file->piece_max);
        error = write_all(file->fd, at, piece, &done);
        at += done;
        len -= done;
        file->torn = error != 0 && done > 0 && at[-1] != '\n';
    }
    if (error != 0)
        *lost = count_lines(at, len);
    return error;
}

/* ---- syslog ---- */

static size_t syslog_head(char *out, const struct log_syslog *syslog, int64_t unix_s)
{
    char when[LOG_SYSLOG_TIME_BYTES];
    log_syslog_time(when, unix_s);
    int len = snprintf(out, SYSLOG_HEAD_BYTES_MAX, "<%d>%.*s %s%s%s: ", syslog->priority, LOG_SYSLOG_TIME_BYTES, when,
                       syslog->host, syslog->host[0] != '\0' ? " " : "", syslog->tag);
    return len < SYSLOG_HEAD_BYTES_MAX ? (size_t)len : SYSLOG_HEAD_BYTES_MAX - 1;
}

static bool connect_again(const struct log_syslog *syslog)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (syslog->unix_path == NULL || strlen(syslog->unix_path) >= sizeof address.sun_path)
        return false;
    memcpy(address.sun_path, syslog->unix_path, strlen(syslog->unix_path) + 1);
    return connect(syslog->fd, (const struct sockaddr *)&address, sizeof address) == 0;
}

static int send_datagram(const struct log_syslog *syslog, struct msghdr *message, bool patient)
{
    bool again = true;
    while (sendmsg(syslog->fd, message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        if (errno == EINTR)
            continue;
        if (!again)
            return errno;
        again = false;
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS) {
            struct pollfd room = {.fd = syslog->fd, .events = POLLOUT};
            if (!patient || poll(&room, 1, LOG_SYSLOG_PATIENCE_MS) <= 0)
                return EAGAIN;
        } else if (errno == ECONNREFUSED || errno == ENOTCONN || errno == EPIPE || errno == ECONNRESET) {
            int error = errno; /* over UDP it tells of the datagram before */
            if (syslog->unix_path != NULL && !connect_again(syslog))
                return error;
        } else {
            return errno;
        }
    }
    return 0;
}

int log_syslog_write(struct log_syslog *syslog, const char *at, size_t len, int64_t unix_s, int64_t *lost)
{
    char head[SYSLOG_HEAD_BYTES_MAX];
    struct iovec parts[2] = {{head, syslog_head(head, syslog, unix_s)}, {NULL, 0}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    int failed = 0;
    *lost = 0;
    while (len > 0) {
        const char *end = memchr(at, '\n', len);
        size_t line = end != NULL ? (size_t)(end - at) : len;
        parts[1].iov_base = (void *)(uintptr_t)at; /* which sendmsg(2) does not write to */
        parts[1].iov_len = line > LOG_SYSLOG_LINE_BYTES_MAX ? LOG_SYSLOG_LINE_BYTES_MAX : line;
        int error = send_datagram(syslog, &message, failed == 0);
        if (error != 0) {
            failed = error;
            ++*lost;
        }
        size_t used = end != NULL ? line + 1 : len;
        at += used;
        len -= used;
    }
    return failed;
}
