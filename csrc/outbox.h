/* outbox.h - what a connection still has to send, in order: octets, a borrowed block, a tail, a file.
 *
 * What: `bytes` holds heads and small bodies, of several pipelined answers perhaps; behind it at most one large
 *       block that is sent from where it lies, then up to OUTBOX_TAIL_BYTES of chunk framing, then a range of a
 *       file.  One flush is one writev(2) (and sendfile(2) for the file).
 *       `bytes` is borrowed from the running thread while a request is served (scratch) and becomes the
 *       outbox's own (malloc) when the socket will not take it: outbox_keep.
 * Owner: the connection.  The block's memory and the file belong to the response, which keeps them alive.
 * Lock: the interpreter lock, or the connection's one owner.
 * On error: SOCK_AGAIN (rest is kept), SOCK_BROKEN / SOCK_FAILED (drop the connection), SOCK_EOF (the file is
 *           shorter than file_left promised: what was announced cannot be sent, so drop the connection).
 *           SOCK_FAILED with errno EINVAL or ENOSYS and only the file left: this file must be read instead.
 */
#ifndef HEADRACE_OUTBOX_H
#define HEADRACE_OUTBOX_H

#include "sock.h"

enum {
    OUTBOX_TAIL_BYTES = 16,
    OUTBOX_FILE_TURN_BYTES = 4 << 20 /* of a file in one flush: a reader as fast as the disk must not keep the
                                        others waiting, so the flush says SOCK_AGAIN and the poller, asked
                                        anew, reports room */
};

struct outbox {
    char *bytes;
    size_t start; /* sent before here */
    size_t end;   /* committed up to here: a flush sends [start, end) */
    size_t cap;
    bool owned; /* bytes is ours to free */

    const char *block; /* borrowed; NULL when there is none */
    size_t block_len;  /* what is still to be sent of it */
    char tail[OUTBOX_TAIL_BYTES];
    uint8_t tail_start, tail_end;

    int file_fd; /* -1 when there is none; borrowed */
    int64_t file_at;
    uint64_t file_left;
};

void outbox_init(struct outbox *box);
/* Use `scratch` for the octets to come; only when the outbox is empty. */
void outbox_borrow(struct outbox *box, char *scratch, size_t cap);
/* Is nothing left to send? */
bool outbox_is_empty(const struct outbox *box);
size_t outbox_pending_bytes(const struct outbox *box); /* without the file */
/* Send what there is.  SOCK_OK: all of it has left.  SOCK_AGAIN: the socket is full, and only then.
 * `bytes` and `end` stay as they are, for a head may be under construction behind `end`: outbox_rewind. */
enum sock_status outbox_flush(struct outbox *box, int fd);
/* start = end = 0 when no octets wait in `bytes`; octets not yet committed behind `end` are given up. */
void outbox_rewind(struct outbox *box);
/* The scratch goes away: copy what is unsent into memory of our own. false: out of memory. */
bool outbox_keep(struct outbox *box);
void outbox_free(struct outbox *box);

#endif
