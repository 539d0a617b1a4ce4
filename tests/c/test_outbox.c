/* What a connection still has to send: real sockets with small buffers, a peer that reads a little at a time,
 * and whatever comes out at its end must be what went in, octet for octet. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "check.h"

#include "outbox.h"
#include "pairs.h"

enum { SMALL = 4096, SCRATCH_BYTES = 65536, TURNS_MAX = 100000 };

static char scratch[SCRATCH_BYTES];

/* Octets that differ from their neighbours, near and far. */
static void fill(char *at, size_t len, uint64_t seed)
{
    uint64_t state = seed * 2 + 1;
    for (size_t i = 0; i < len; i++)
        at[i] = (char)(check_random(&state) >> 56);
}

static void put(struct outbox *box, const char *at, size_t len)
{
    memcpy(box->bytes + box->end, at, len);
    box->end += len;
}

/* What the peer has read so far. */
struct reader {
    int fd;
    char *at;
    size_t len, cap;
};

/* Up to `most` octets; how many. */
static size_t drain(struct reader *r, size_t most)
{
    size_t room = r->cap - r->len;
    ssize_t n = recv(r->fd, r->at + r->len, most < room ? most : room, 0);
    if (n < 0 && errno == EAGAIN)
        return 0;
    must(n >= 0, "recv");
    r->len += (size_t)n;
    return (size_t)n;
}

static void drain_all(struct reader *r, size_t until)
{
    while (r->len < until) {
        wait_readable(r->fd);
        drain(r, SIZE_MAX);
    }
}

/* ---- one part ---- */

TEST("is empty at first, and flushing nothing sends nothing")
{
    struct outbox box;
    outbox_init(&box);
    CHECK(outbox_is_empty(&box) && outbox_pending_bytes(&box) == 0 && box.file_fd == -1);
    CHECK(outbox_flush(&box, -1) == SOCK_OK); /* the socket is not touched */
    outbox_rewind(&box);
    CHECK(outbox_keep(&box) && box.bytes == NULL);
    outbox_free(&box);
}

TEST("sends octets from the scratch and leaves its offsets to the caller")
{
    struct pair pair = unix_pair(0, 0);
    struct outbox box;
    char buf[16];
    outbox_init(&box);
    outbox_borrow(&box, scratch, sizeof(scratch));
    put(&box, "hello", 5);
    memcpy(box.bytes + box.end, "under construction", 18);
    CHECK(outbox_pending_bytes(&box) == 5 && !outbox_is_empty(&box));
    CHECK(outbox_flush(&box, pair.near) == SOCK_OK);
    CHECK(outbox_is_empty(&box) && box.start == 5 && box.end == 5 && box.bytes == scratch);
    CHECK(memcmp(box.bytes + box.end, "under construction", 18) == 0);
    CHECK(recv(pair.far, buf, sizeof(buf), 0) == 5 && memcmp(buf, "hello", 5) == 0);
    outbox_rewind(&box);
    CHECK(box.start == 0 && box.end == 0);
    outbox_free(&box);
    CHECK(box.bytes == NULL);
    close_pair(&pair);
}

TEST("sends bytes, block, tail and file in this order, and lets go of block and file")
{
    struct pair pair = tcp_pair(0, 0);
    struct outbox box;
    char buf[64];
    int file = file_with("0123456789", 10);
    outbox_init(&box);
    outbox_borrow(&box, scratch, sizeof(scratch));
    put(&box, "bytes ", 6);
    box.block = guarded("block ", 6);
    box.block_len = 6;
    memcpy(box.tail, "xtail ", 6);
    box.tail_start = 1;
    box.tail_end = 6;
    box.file_fd = file;
    box.file_at = 2;
    box.file_left = 5;
    CHECK(outbox_pending_bytes(&box) == 17);
    CHECK(outbox_flush(&box, pair.near) == SOCK_OK && outbox_is_empty(&box));
    CHECK(box.block == NULL && box.tail_start == 0 && box.tail_end == 0);
    CHECK(box.file_fd == -1 && box.file_at == 7);
    struct reader r = {pair.far, buf, 0, sizeof(buf)};
    drain_all(&r, 22);
    CHECK(r.len == 22 && memcmp(buf, "bytes block tail 23456", 22) == 0);
    CHECK(fcntl(file, F_GETFD) >= 0); /* borrowed, not closed */
    close(file);
    outbox_free(&box);
    close_pair(&pair);
}

/* ---- partial sends ---- */

struct load {
    size_t bytes, block, tail, file;
};

/* Send the load through a socket that takes little; the peer reads up to `sip` octets a turn.  The outbox
 * keeps its octets when the socket is full for the first time, and the scratch is used by others then. */
static void send_load(const struct pair *pair, const struct load *load, size_t sip, uint64_t seed)
{
    size_t all = load->bytes + load->block + load->tail + load->file;
    char *sent = malloc(all + 1), *got = malloc(all + 1);
    fill(sent, all, seed);
    struct outbox box;
    outbox_init(&box);
    outbox_borrow(&box, scratch, sizeof(scratch));
    put(&box, sent, load->bytes);
    box.block = load->block > 0 ? sent + load->bytes : NULL;
    box.block_len = load->block;
    memcpy(box.tail, sent + load->bytes + load->block, load->tail);
    box.tail_end = (uint8_t)load->tail;
    int file = file_with(sent + all - load->file, load->file);
    box.file_fd = file;
    box.file_left = load->file;

    struct reader r = {pair->far, got, 0, all};
    enum sock_status status = SOCK_AGAIN;
    int turns = 0;
    for (; turns < TURNS_MAX && status == SOCK_AGAIN; turns++) {
        status = outbox_flush(&box, pair->near);
        CHECK(status == SOCK_OK || (status == SOCK_AGAIN && !outbox_is_empty(&box)));
        if (status == SOCK_AGAIN && turns == 0) {
            CHECK(outbox_keep(&box) && (box.owned || box.bytes == NULL));
            memset(scratch, '!', sizeof(scratch));
        }
        if (drain(&r, sip) == 0 && status == SOCK_AGAIN)
            poll(&(struct pollfd){.fd = r.fd, .events = POLLIN}, 1, 10); /* on its way */
    }
    CHECK_MSG(status == SOCK_OK, "%d after %d turns", status, turns);
    CHECK(outbox_is_empty(&box));
    drain_all(&r, all);
    CHECK(r.len == all && memcmp(sent, got, all) == 0);
    outbox_free(&box);
    close(file);
    free(sent);
    free(got);
}

TEST("accounts for every partial send, on a UNIX pair that takes a page at a time")
{
    uint64_t seed = 5;
    for (int round = 0; round < 150; round++) {
        struct pair pair = unix_pair(SMALL, SMALL);
        struct load load = {check_random(&seed) % 3 * (check_random(&seed) % 20000),
                            check_random(&seed) % 3 * (check_random(&seed) % 50000), check_random(&seed) % 17,
                            check_random(&seed) % 3 * (check_random(&seed) % 50000)};
        send_load(&pair, &load, 1 + check_random(&seed) % 5000, seed);
        close_pair(&pair);
    }
}

TEST("accounts for every partial send over TCP with small buffers")
{
    uint64_t seed = 6;
    for (int round = 0; round < 30; round++) {
        struct pair pair = tcp_pair(SMALL, SMALL);
        struct load load = {.bytes = check_random(&seed) % 60000, .tail = check_random(&seed) % 17};
        load.block = check_random(&seed) % 2 * (check_random(&seed) % 200000);
        load.file = check_random(&seed) % 2 * (check_random(&seed) % 200000);
        send_load(&pair, &load, 1 + check_random(&seed) % 9000, seed);
        close_pair(&pair);
    }
}

TEST("goes on in the middle of each part, wherever a send was cut")
{
    /* the socket takes what the peer has read: 256 octets or so a turn, through all four parts */
    struct pair pair = unix_pair(1, 1);
    struct load load = {3000, 5000, 16, 5000};
    send_load(&pair, &load, 256, 99);
    for (size_t tail = 0; tail <= 16; tail++) {
        load = (struct load){tail, 4608 + tail, tail, 100};
        send_load(&pair, &load, 100, tail);
    }
    close_pair(&pair);
}

/* ---- what can go wrong ---- */

TEST("says SOCK_BROKEN when the peer is gone, and keeps what is left")
{
    struct pair pair = tcp_pair(0, 0);
    struct outbox box;
    outbox_init(&box);
    outbox_borrow(&box, scratch, sizeof(scratch));
    put(&box, "hello", 5);
    reset(pair.far);
    pair.far = -1;
    CHECK(sock_wait(pair.near, false, 5000) != SOCK_AGAIN);
    CHECK(outbox_flush(&box, pair.near) == SOCK_BROKEN);
    CHECK(outbox_pending_bytes(&box) == 5);
    outbox_free(&box);
    close_pair(&pair);
}

TEST("says SOCK_EOF when the file is shorter than promised, after all that there is")
{
    struct pair pair = unix_pair(0, 0);
    struct outbox box;
    char buf[64];
    int file = file_with("0123456789", 10);
    outbox_init(&box);
    outbox_borrow(&box, scratch, sizeof(scratch));
    put(&box, "head ", 5);
    box.file_fd = file;
    box.file_left = 11;
    CHECK(outbox_flush(&box, pair.near) == SOCK_EOF);
    CHECK(box.file_left == 1 && box.file_at == 10 && !outbox_is_empty(&box));
    struct reader r = {pair.far, buf, 0, sizeof(buf)};
    drain_all(&r, 15);
    CHECK(memcmp(buf, "head 0123456789", 15) == 0);
    close(file);
    outbox_free(&box);
    close_pair(&pair);
}

TEST("says SOCK_FAILED for a file that cannot be sent so, when only the file is left")
{
    struct pair pair = unix_pair(0, 0);
    struct outbox box;
    int ends[2];
    must(pipe(ends) == 0, "pipe");
    outbox_init(&box);
    outbox_borrow(&box, scratch, sizeof(scratch));
    put(&box, "head", 4);
    box.file_fd = ends[0];
    box.file_left = 10;
    CHECK(outbox_flush(&box, pair.near) == SOCK_FAILED);
    CHECK(outbox_pending_bytes(&box) == 0 && box.file_left == 10 && box.file_at == 0);
    close(ends[0]);
    close(ends[1]);
    outbox_free(&box);
    close_pair(&pair);
}

/* ---- memory ---- */

TEST("keeps what is unsent when the scratch goes away, and only that")
{
    struct outbox box;
    char own[] = "sent unsent";
    outbox_init(&box);
    outbox_borrow(&box, own, sizeof(own));
    box.start = 5;
    box.end = 11;
    CHECK(outbox_keep(&box));
    memset(own, '!', sizeof(own));
    CHECK(box.owned && box.bytes != own && outbox_pending_bytes(&box) == 6);
    CHECK(memcmp(box.bytes + box.start, "unsent", 6) == 0);
    char *was = box.bytes;
    CHECK(outbox_keep(&box) && box.bytes == was); /* it is ours already */
    outbox_free(&box);
}

TEST("borrows anew once it is empty, and gives its own memory back")
{
    struct outbox box;
    char own[] = "x";
    outbox_init(&box);
    outbox_borrow(&box, own, sizeof(own));
    box.end = 1;
    CHECK(outbox_keep(&box) && box.owned && box.cap == 1);
    box.start = 1;
    outbox_borrow(&box, scratch, sizeof(scratch)); /* a leak would show */
    CHECK(!box.owned && box.bytes == scratch && box.cap == sizeof(scratch) && box.start == 0 && box.end == 0);
    CHECK(outbox_keep(&box) && box.bytes == NULL && box.cap == 0);
    outbox_free(&box);
}

/* the sanitizers' allocator would stop the program where malloc returns NULL */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }

CHECK_MAIN
