/* Sockets: each thread with its own, and one listener that all accept from. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "check.h"

#include "pairs.h"
#include "sock.h"
#include "threads.h"

enum { ROUNDS = 200, CLIENTS = 40 };

/* One block there and back; false when it came to harm. */
static bool carried(const struct pair *pair, char fill, bool vectored)
{
    char out[3000], in[sizeof(out)];
    struct iovec parts[] = {{out, 1000}, {out + 1000, sizeof(out) - 1000}};
    size_t done, got = 0;
    memset(out, fill, sizeof(out));
    enum sock_status status =
        vectored ? sock_writev(pair->near, parts, 2, false, &done)
                 : sock_send(pair->near, out, sizeof(out), false, &done);
    if (status != SOCK_OK || done != sizeof(out))
        return false;
    while (got < sizeof(in)) {
        if (sock_wait(pair->far, false, 5000) != SOCK_OK ||
            sock_recv(pair->far, in + got, sizeof(in) - got, &done) != SOCK_OK)
            return false;
        got += done;
    }
    return memcmp(in, out, sizeof(in)) == 0;
}

static size_t carry_often(int number, void *shared)
{
    (void)shared;
    size_t wrong = 0;
    struct pair pair = number % 2 ? unix_pair(0, 0) : tcp_pair(0, 0);
    for (int i = 0; i < ROUNDS; i++)
        wrong += !carried(&pair, (char)(number * 50 + i), i % 2);
    sock_shutdown_write(pair.near);
    char end;
    size_t got;
    wrong += sock_wait(pair.far, false, 5000) != SOCK_OK || sock_recv(pair.far, &end, 1, &got) != SOCK_EOF;
    sock_close(pair.near);
    sock_close(pair.far);
    return wrong;
}

TEST("each thread's octets stay its own")
{
    CHECK(in_threads(carry_often, NULL) == 0);
}

struct door {
    int listener;
    int accepted; /* by all */
};

static size_t accept_some(int number, void *shared)
{
    (void)number;
    struct door *door = shared;
    struct sock_peer peer;
    enum sock_status status;
    size_t wrong = 0;
    int fd;
    while ((status = sock_accept(door->listener, &fd, &peer)) == SOCK_OK) {
        wrong += strcmp(peer.address, "127.0.0.1") != 0 || peer.port == 0;
        __atomic_add_fetch(&door->accepted, 1, __ATOMIC_RELAXED);
        sock_close(fd);
    }
    return wrong + (status != SOCK_AGAIN);
}

TEST("threads that accept from one listener get each connection once")
{
    struct sockaddr_in address;
    struct door door = {.listener = tcp_listener(&address)};
    int clients[CLIENTS];
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = tcp_client(&address, 0);
    CHECK(in_threads(accept_some, &door) == 0);
    CHECK_MSG(door.accepted == CLIENTS, "%d", door.accepted);
    for (int i = 0; i < CLIENTS; i++)
        close(clients[i]);
    close(door.listener);
}

CHECK_MAIN
