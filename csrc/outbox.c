#include "outbox.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    SEND_BYTES_MAX = 1 << 30 /* of one block or file in one call: kernels cut at 2 GiB, and a call cut so
                                must not look like a full socket */
};

void outbox_init(struct outbox *box)
{
    *box = (struct outbox){.file_fd = -1};
}

static void forget_bytes(struct outbox *box)
{
    if (box->owned)
        free(box->bytes);
    box->bytes = NULL;
    box->start = box->end = box->cap = 0;
    box->owned = false;
}

void outbox_borrow(struct outbox *box, char *scratch, size_t cap)
{
    assert(outbox_is_empty(box));
    forget_bytes(box);
    box->bytes = scratch;
    box->cap = cap;
}

bool outbox_is_empty(const struct outbox *box)
{
    return box->file_left == 0 && outbox_pending_bytes(box) == 0;
}

size_t outbox_pending_bytes(const struct outbox *box)
{
    return box->end - box->start + box->block_len + (size_t)(box->tail_end - box->tail_start);
}

/* ---- flush ---- */

static size_t at_most(size_t len, size_t max)
{
    return len < max ? len : max;
}

/* `sent` octets have left: take them from the three parts, in order. */
static void account(struct outbox *box, size_t sent)
{
    size_t part = at_most(sent, box->end - box->start);
    box->start += part;
    sent -= part;

    part = at_most(sent, box->block_len);
    box->block_len -= part;
    box->block = box->block_len > 0 ? box->block + part : NULL;
    sent -= part;

    assert(sent <= (size_t)(box->tail_end - box->tail_start));
    box->tail_start = (uint8_t)(box->tail_start + sent);
    if (box->tail_start == box->tail_end)
        box->tail_start = box->tail_end = 0;
}

/* base may be NULL when len is 0 */
static void add_part(struct iovec *iov, int *count, const char *base, size_t from, size_t len)
{
    if (len > 0)
        iov[(*count)++] = (struct iovec){.iov_base = (char *)(uintptr_t)(base + from), .iov_len = len};
}

/* One call for bytes, block and tail.  *asked is how many octets it was given. */
static enum sock_status send_parts(const struct outbox *box, int fd, bool more, size_t *asked, size_t *sent)
{
    struct iovec iov[3];
    int count = 0;
    size_t block_len = at_most(box->block_len, SEND_BYTES_MAX);
    add_part(iov, &count, box->bytes, box->start, box->end - box->start);
    add_part(iov, &count, box->block, 0, block_len);
    if (block_len == box->block_len)
        add_part(iov, &count, box->tail, box->tail_start, (size_t)(box->tail_end - box->tail_start));
    *asked = 0;
    for (int i = 0; i < count; i++)
        *asked += iov[i].iov_len;
    return sock_writev(fd, iov, count, more, sent);
}

static enum sock_status send_memory(struct outbox *box, int fd)
{
    bool more = box->file_left > 0;
    while (outbox_pending_bytes(box) > 0) {
        size_t asked = box->end - box->start, sent;
        enum sock_status status;
        if (box->block_len == 0 && box->tail_start == box->tail_end)
            status = sock_send(fd, box->bytes + box->start, asked, more, &sent);
        else
            status = send_parts(box, fd, more, &asked, &sent);
        if (status != SOCK_OK)
            return status;
        account(box, sent);
        if (sent < asked)
            return SOCK_AGAIN; /* a stream socket takes less than it is given only when it is full */
    }
    return SOCK_OK;
}

/* A short count says nothing here: the file may have been read in pieces.  Only "again" is "again". */
static enum sock_status send_file(struct outbox *box, int fd)
{
    size_t turn_left = OUTBOX_FILE_TURN_BYTES;
    while (box->file_left > 0) {
        if (turn_left == 0)
            return SOCK_AGAIN;
        size_t len = box->file_left < turn_left ? (size_t)box->file_left : turn_left, sent;
        enum sock_status status = sock_sendfile(fd, box->file_fd, &box->file_at, len, &sent);
        if (status != SOCK_OK)
            return status;
        box->file_left -= sent;
        turn_left -= sent;
    }
    box->file_fd = -1;
    return SOCK_OK;
}

enum sock_status outbox_flush(struct outbox *box, int fd)
{
    enum sock_status status = send_memory(box, fd);
    return status == SOCK_OK ? send_file(box, fd) : status;
}

/* ---- memory ---- */

void outbox_rewind(struct outbox *box)
{
    assert(box->start == box->end);
    box->start = box->end = 0;
}

bool outbox_keep(struct outbox *box)
{
    if (box->owned)
        return true;
    size_t len = box->end - box->start;
    if (len == 0) {
        forget_bytes(box);
        return true;
    }
    char *bytes = malloc(len);
    if (bytes == NULL)
        return false;
    memcpy(bytes, box->bytes + box->start, len);
    box->bytes = bytes;
    box->start = 0;
    box->end = box->cap = len; /* nothing is added to it: it is sent, then there is scratch again */
    box->owned = true;
    return true;
}

void outbox_free(struct outbox *box)
{
    forget_bytes(box);
    outbox_init(box);
}
