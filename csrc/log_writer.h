/* log_writer.h - lines of many threads, written by one.
 *
 * What: threads append lines to a buffer, whole ones, in the order of their appending; the writer takes all that there
 *       is at once and writes it with one write(2), or to a pipe in pieces that the kernel keeps whole.  Nobody but the
 *       writer ever waits for a disk, a pipe or a syslog daemon.
 * Bound: two buffers of `cap` octets.  When the one that is appended to is full, log_writer_begin_patiently waits for
 *       the writer once; if that was in vain, lines are lost, and counted, until it gets on.
 * Owner: the caller.  Lock: one mutex, held between begin and end; the writer writes without it.
 * On error: each function says so; lines that could not be written are lost and counted.
 */
#ifndef HEADRACE_LOG_WRITER_H
#define HEADRACE_LOG_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sync.h"

enum log_take { LOG_TAKE_LINES, LOG_TAKE_ASKED, LOG_TAKE_CLOSED };

struct log_writer {
    struct mutex mutex;
    struct gate work;    /* the writer sleeps here */
    char *front, *back;  /* appended to; being written */
    size_t cap, front_len;
    int64_t front_lines, back_lines;
    int64_t lost;        /* lines, since the start */
    bool asleep;         /* the writer waits for a first line */
    bool hurried;        /* ... or need not wait for more any longer */
    bool asked, closed;
    bool stuck;          /* somebody has waited for room in vain */
};

bool log_writer_init(struct log_writer *w, size_t cap);
void log_writer_destroy(struct log_writer *w);

/* Room for a line of at most `need` octets, and the lock with it; NULL, without the lock, when there is none. */
char *log_writer_begin(struct log_writer *w, size_t need);
void log_writer_end(struct log_writer *w, size_t len); /* the line is complete */
/* The same as soon as there is room, at most after timeout_ms; NULL at once if somebody has waited in vain and nothing
 * was written since, or if it is closed.  From this call to log_writer_end without the interpreter lock: who has that
 * may be waiting for ours. */
char *log_writer_begin_patiently(struct log_writer *w, size_t need, int timeout_ms);
void log_writer_lose(struct log_writer *w, int64_t lines);
int64_t log_writer_lost(struct log_writer *w);
/* Everything appended until now has been written, or is lost: within timeout_ms? */
bool log_writer_flush(struct log_writer *w, int timeout_ms);
/* Lines that are neither written nor lost. */
int64_t log_writer_waiting(struct log_writer *w);
void log_writer_ask(struct log_writer *w);   /* have the writer come back with LOG_TAKE_ASKED */
void log_writer_close(struct log_writer *w); /* no more lines; the writer takes what there is */

/* The writer: sleep until there is a line, then for at most linger_ms in case others come, and take them.  The octets
 * are his until log_writer_done. */
enum log_take log_writer_take(struct log_writer *w, int linger_ms, const char **at, size_t *len);
void log_writer_done(struct log_writer *w, int64_t lost);

/* Where lines go: a file, a pipe or a terminal. */
struct log_file {
    int fd;
    size_t piece_max; /* of a pipe: writes up to this size are never mixed with others'; 0: a file, one write */
    bool torn;        /* a line was written in part: the next write ends it first */
};

/* Whole lines.  0, or errno; *lost: lines that were not written, or not as a whole. */
int log_file_write(struct log_file *file, const char *at, size_t len, int64_t *lost);

/* Where lines go: a syslog daemon, a datagram each. */
struct log_syslog {
    int fd;                /* a connected socket, or -1 */
    const char *unix_path; /* of the daemon's socket, which may be made anew; NULL: UDP */
    int priority;          /* RFC 5424 §6.2.1 */
    const char *host;      /* "" for a local socket */
    const char *tag;       /* "headrace[123]" */
};

enum { LOG_SYSLOG_LINE_BYTES_MAX = 8192, LOG_SYSLOG_PATIENCE_MS = 100 }; /* longer lines are cut */

/* Lines with their ends, in RFC 3164's format.  0, or the last errno; *lost as above. */
int log_syslog_write(struct log_syslog *syslog, const char *at, size_t len, int64_t unix_s, int64_t *lost);

#endif
