/* Non-blocking sockets: real ones, and what each errno comes to. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "check.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>

#include "pairs.h"
#include "sock.h"

/* ---- accept ---- */

TEST("accepts a connection: non-blocking, close-on-exec, with the peer's address and port")
{
    struct sockaddr_in address, local;
    socklen_t len = sizeof(local);
    int listener = tcp_listener(&address), client = tcp_client(&address, 0), fd;
    struct sock_peer peer;
    wait_readable(listener);
    CHECK(sock_accept(listener, &fd, &peer) == SOCK_OK);
    CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK_MSG(strcmp(peer.address, "127.0.0.1") == 0 && peer.address_len == 9, "%s", peer.address);
    must(getsockname(client, (struct sockaddr *)&local, &len) == 0, "getsockname");
    CHECK(peer.port == ntohs(local.sin_port));
    CHECK(sock_accept(listener, &fd, &peer) == SOCK_AGAIN && fd < 0);
    int flags = fcntl(listener, F_GETFL);
    CHECK(fcntl(listener, F_SETFL, flags & ~O_NONBLOCK) == 0);
    sock_unblock(listener);
    CHECK(fcntl(listener, F_GETFL) == flags);
    CHECK(sock_accept(listener, &fd, &peer) == SOCK_AGAIN && fd < 0);
    close(client);
    close(listener);
}

TEST("writes IPv4 addresses as inet_ntop does")
{
    static const uint32_t hosts[] = {0x7f000001, 0x7f0a6409, 0x7ffffffe, 0x7f636400, 0x7f010a63, 0x7fc8f9fa};
    struct sockaddr_in address;
    int listener = tcp_listener(&address);
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr = {htonl(hosts[i])}};
        int client = socket(AF_INET, SOCK_STREAM, 0), fd;
        /* all of 127/8 is this host's on Linux, elsewhere its first address only */
        if (bind(client, (struct sockaddr *)&from, sizeof(from)) == 0) {
            char expected[INET_ADDRSTRLEN];
            struct sock_peer peer;
            must(connect(client, (struct sockaddr *)&address, sizeof(address)) == 0, "connect");
            wait_readable(listener);
            CHECK(sock_accept(listener, &fd, &peer) == SOCK_OK);
            inet_ntop(AF_INET, &from.sin_addr, expected, sizeof(expected));
            CHECK_MSG(strcmp(peer.address, expected) == 0, "%s, not %s", peer.address, expected);
            CHECK(peer.address_len == strlen(expected));
            close(fd);
        }
        close(client);
    }
    close(listener);
}

/* A dual-stack listener on every address; -1 where there is no IPv6. */
static int ipv6_listener(in_port_t *port)
{
    int fd = socket(AF_INET6, SOCK_STREAM, 0), off = 0;
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT};
    socklen_t len = sizeof(any);
    if (fd < 0)
        return -1;
    if (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) != 0 ||
        bind(fd, (struct sockaddr *)&any, len) != 0 || listen(fd, 8) != 0) {
        close(fd);
        return -1;
    }
    must(getsockname(fd, (struct sockaddr *)&any, &len) == 0, "getsockname");
    *port = any.sin6_port;
    set_nonblocking(fd);
    return fd;
}

TEST("writes IPv6 addresses, and IPv4-mapped ones as IPv4")
{
    in_port_t port;
    int listener = ipv6_listener(&port), fd;
    if (listener < 0)
        return; /* no IPv6 here */
    struct sock_peer peer;
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = port, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int client = tcp_client(&in, 0);
    wait_readable(listener);
    CHECK(sock_accept(listener, &fd, &peer) == SOCK_OK);
    CHECK_MSG(strcmp(peer.address, "127.0.0.1") == 0 && peer.address_len == 9, "%s", peer.address);
    close(fd);
    close(client);
    struct sockaddr_in6 in6 = {
        .sin6_family = AF_INET6, .sin6_port = port, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    client = socket(AF_INET6, SOCK_STREAM, 0);
    if (connect(client, (struct sockaddr *)&in6, sizeof(in6)) == 0) {
        wait_readable(listener);
        CHECK(sock_accept(listener, &fd, &peer) == SOCK_OK);
        CHECK_MSG(strcmp(peer.address, "::1") == 0 && peer.address_len == 3, "%s", peer.address);
        CHECK(peer.port != 0);
        close(fd);
    }
    close(client);
    close(listener);
}

TEST("gives a UNIX peer no address and port 0")
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/headrace-test-%ld.sock", (long)getpid());
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0), fd;
    must(bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0, "bind");
    must(listen(listener, 1) == 0, "listen");
    must(connect(client, (struct sockaddr *)&address, sizeof(address)) == 0, "connect");
    struct sock_peer peer;
    memset(&peer, 'x', sizeof(peer));
    CHECK(sock_accept(listener, &fd, &peer) == SOCK_OK);
    CHECK(peer.address[0] == '\0' && peer.address_len == 0 && peer.port == 0);
    close(fd);
    close(client);
    close(listener);
    unlink(address.sun_path);
}

TEST("survives a connection that was reset while it waited")
{
    struct sockaddr_in address;
    int listener = tcp_listener(&address), fd;
    struct sock_peer peer;
    reset(tcp_client(&address, 0));
    int client = tcp_client(&address, 0);
    wait_readable(listener);
    enum sock_status status = sock_accept(listener, &fd, &peer);
    if (status == SOCK_OK) { /* Linux hands it out all the same */
        char buf[8];
        size_t got;
        enum sock_status first = sock_recv(fd, buf, sizeof(buf), &got);
        CHECK(first == SOCK_BROKEN || first == SOCK_AGAIN);
        close(fd);
    }
    close(client);
    close(listener);
}

TEST("says SOCK_NO_RESOURCES when there is no descriptor left")
{
    struct sockaddr_in address;
    int listener = tcp_listener(&address), client = tcp_client(&address, 0), fd;
    wait_readable(listener);
    struct rlimit before, none;
    must(getrlimit(RLIMIT_NOFILE, &before) == 0, "getrlimit");
    none = before;
    none.rlim_cur = 0;
    must(setrlimit(RLIMIT_NOFILE, &none) == 0, "setrlimit");
    struct sock_peer peer;
    enum sock_status status = sock_accept(listener, &fd, &peer);
    must(setrlimit(RLIMIT_NOFILE, &before) == 0, "setrlimit");
    CHECK(status == SOCK_NO_RESOURCES);
    CHECK(sock_accept(listener, &fd, &peer) == SOCK_OK); /* it waited */
    close(fd);
    close(client);
    close(listener);
}

TEST("says SOCK_FAILED when the listener is none")
{
    struct pair pair = unix_pair(0, 0);
    struct sock_peer peer;
    int fd;
    CHECK(sock_accept(pair.near, &fd, &peer) == SOCK_FAILED && errno == EINVAL);
    close_pair(&pair);
    CHECK(sock_accept(-1, &fd, &peer) == SOCK_FAILED && errno == EBADF);
}

/* ---- receive and send ---- */

static struct pair (*const make_pair[])(int, int) = {unix_pair, tcp_pair};
enum { PAIRS = 2 };

TEST("receives what is there, then SOCK_AGAIN, then SOCK_EOF")
{
    for (int i = 0; i < PAIRS; i++) {
        struct pair pair = make_pair[i](0, 0);
        char *buf = guarded_room(3);
        size_t got = 9;
        CHECK(sock_recv(pair.near, buf, 3, &got) == SOCK_AGAIN && got == 0);
        must(write(pair.far, "hello", 5) == 5, "write");
        wait_readable(pair.near);
        CHECK(sock_recv(pair.near, buf, 3, &got) == SOCK_OK && got == 3 && memcmp(buf, "hel", 3) == 0);
        CHECK(sock_recv(pair.near, buf, 3, &got) == SOCK_OK && got == 2 && memcmp(buf, "lo", 2) == 0);
        CHECK(sock_recv(pair.near, buf, 0, &got) == SOCK_OK || got == 0);
        sock_shutdown_write(pair.far);
        wait_readable(pair.near);
        CHECK(sock_recv(pair.near, buf, 3, &got) == SOCK_EOF && got == 0);
        CHECK(sock_recv(pair.near, buf, 3, &got) == SOCK_EOF);
        close_pair(&pair);
    }
}

TEST("says SOCK_BROKEN when the peer has reset the connection")
{
    struct pair pair = tcp_pair(0, 0);
    char buf[8];
    size_t n;
    reset(pair.far);
    pair.far = -1;
    CHECK(sock_wait(pair.near, false, 5000) != SOCK_AGAIN);
    CHECK(sock_recv(pair.near, buf, sizeof(buf), &n) == SOCK_BROKEN && n == 0);
    CHECK(sock_send(pair.near, "x", 1, false, &n) == SOCK_BROKEN && n == 0);
    close_pair(&pair);
    CHECK(sock_recv(-1, buf, sizeof(buf), &n) == SOCK_FAILED);
}

TEST("sends until the socket is full, then SOCK_AGAIN")
{
    static const char zeros[65536];
    for (int i = 0; i < PAIRS; i++) {
        struct pair pair = make_pair[i](4096, 4096);
        size_t sent, all = 0;
        enum sock_status status;
        int calls = 0;
        for (; (status = sock_send(pair.near, zeros, sizeof(zeros), false, &sent)) == SOCK_OK; all += sent)
            must(calls++ < 1000, "a socket that is never full");
        CHECK(status == SOCK_AGAIN && sent == 0 && all > 0);
        struct iovec iov = {(char *)(uintptr_t)zeros, 10};
        if (i == 0) /* TCP may have made room by now */
            CHECK(sock_writev(pair.near, &iov, 1, false, &sent) == SOCK_AGAIN && sent == 0);
        close_pair(&pair);
    }
}

TEST("sends several parts in one call, held back and followed by more")
{
    struct pair pair = tcp_pair(0, 0);
    char abc[] = "abc", de[] = "de", buf[16];
    struct iovec iov[] = {{abc, 3}, {de, 2}};
    size_t n;
    CHECK(sock_writev(pair.near, iov, 2, true, &n) == SOCK_OK && n == 5);
    CHECK(sock_send(pair.near, "f", 1, true, &n) == SOCK_OK && n == 1);
    CHECK(sock_send(pair.near, "g", 1, false, &n) == SOCK_OK && n == 1);
    wait_readable(pair.far);
    CHECK(recv(pair.far, buf, sizeof(buf), 0) == 7 && memcmp(buf, "abcdefg", 7) == 0);
    close_pair(&pair);
}

TEST("never raises SIGPIPE, whatever the disposition")
{
    struct sigaction fatal = {.sa_handler = SIG_DFL};
    sigaction(SIGPIPE, &fatal, NULL);
    int file = file_with("0123456789", 10);
    for (int i = 0; i < PAIRS; i++) {
        struct pair pair = make_pair[i](0, 0);
        char x[] = "x";
        struct iovec iov = {x, 1};
        size_t sent;
        int64_t at = 0;
        sock_shutdown_write(pair.near); /* from now on every send is EPIPE */
        CHECK(sock_send(pair.near, "x", 1, false, &sent) == SOCK_BROKEN);
        CHECK(sock_writev(pair.near, &iov, 1, false, &sent) == SOCK_BROKEN);
        enum sock_status status = sock_sendfile(pair.near, file, &at, 10, &sent);
        CHECK((status == SOCK_BROKEN || (status == SOCK_FAILED && errno == ENOSYS)) && at == 0 && sent == 0);
        close_pair(&pair);
    }
    close(file);
    sigset_t blocked, pending; /* and the thread's signals are as they were */
    CHECK(pthread_sigmask(SIG_BLOCK, NULL, &blocked) == 0 && sigismember(&blocked, SIGPIPE) == 0);
    CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 0);
}

/* ---- looking and aborting ---- */

/* What a look says, once the kernel has had the time to carry the news from the far side. */
static enum sock_status look_until(int fd, enum sock_status expected)
{
    enum sock_status status = sock_look(fd);
    for (int i = 0; i < 1000 && status != expected; i++) {
        (void)poll(NULL, 0, 1);
        status = sock_look(fd);
    }
    return status;
}

static ssize_t receive_some(int fd)
{
    char buf[16];
    return recv(fd, buf, sizeof(buf), 0);
}

TEST("a look finds the other side there, with and without octets to read, and takes none of them")
{
    for (int i = 0; i < PAIRS; i++) {
        struct pair pair = make_pair[i](0, 0);
        CHECK(sock_look(pair.near) == SOCK_OK);
        must(send(pair.far, "abc", 3, 0) == 3, "send");
        wait_readable(pair.near);
        CHECK(sock_look(pair.near) == SOCK_OK);
        CHECK(receive_some(pair.near) == 3);
        close_pair(&pair);
    }
}

TEST("a look tells a side that was shut down, whose reader may still be there, from one that has gone")
{
#ifdef POLLRDHUP
    for (int i = 0; i < PAIRS; i++) {
        struct pair pair = make_pair[i](0, 0);
        must(shutdown(pair.far, SHUT_WR) == 0, "shutdown");
        CHECK(look_until(pair.near, SOCK_EOF) == SOCK_EOF);
        must(send(pair.near, "abc", 3, MSG_NOSIGNAL) == 3, "send");
        wait_readable(pair.far);
        CHECK(receive_some(pair.far) == 3);
        CHECK(sock_look(pair.near) == SOCK_EOF);
        close_pair(&pair);
    }
#endif
}

TEST("a look finds a FIN behind octets that nobody has read yet")
{
#ifdef POLLRDHUP
    for (int i = 0; i < PAIRS; i++) {
        struct pair pair = make_pair[i](0, 0);
        must(send(pair.far, "abc", 3, 0) == 3 && shutdown(pair.far, SHUT_WR) == 0, "send");
        CHECK(look_until(pair.near, SOCK_EOF) == SOCK_EOF);
        CHECK(receive_some(pair.near) == 3 && receive_some(pair.near) == 0);
        close_pair(&pair);
    }
#endif
}

TEST("a look cannot tell a close from a half-close over TCP until something is sent; a UNIX socket has gone at once")
{
    struct pair tcp = tcp_pair(0, 0), local = unix_pair(0, 0);
    close(tcp.far);
    close(local.far);
    CHECK(look_until(local.near, SOCK_BROKEN) == SOCK_BROKEN);
#ifdef POLLRDHUP
    CHECK(look_until(tcp.near, SOCK_EOF) == SOCK_EOF);
#endif
    must(send(tcp.near, "abc", 3, MSG_NOSIGNAL) == 3, "send");
    CHECK(look_until(tcp.near, SOCK_BROKEN) == SOCK_BROKEN);
    close(tcp.near);
    close(local.near);
}

TEST("a look finds a reset, also behind octets that nobody has read yet")
{
    for (int pending = 0; pending < 2; pending++) {
        struct pair pair = tcp_pair(0, 0);
        must(send(pair.far, "abc", (size_t)(3 * pending), 0) == 3 * pending, "send");
        reset(pair.far);
        CHECK(look_until(pair.near, SOCK_BROKEN) == SOCK_BROKEN);
        close(pair.near);
    }
}

TEST("a look at both sides shut down, and at a descriptor that is none, is of no more use")
{
    for (int i = 0; i < PAIRS; i++) {
        struct pair pair = make_pair[i](0, 0);
        must(shutdown(pair.far, SHUT_WR) == 0, "shutdown");
        sock_shutdown_write(pair.near);
        CHECK(look_until(pair.near, SOCK_BROKEN) == SOCK_BROKEN);
        close_pair(&pair);
        CHECK(sock_look(pair.near) == SOCK_BROKEN);
    }
}

TEST("an abort ends the connection for both sides, and the descriptor stays the caller's")
{
    for (int i = 0; i < PAIRS; i++) {
        struct pair pair = make_pair[i](0, 0);
        size_t done;
        char buf[4];
        sock_abort(pair.near);
        CHECK(fcntl(pair.near, F_GETFD) >= 0);
        CHECK(sock_send(pair.near, "abc", 3, false, &done) == SOCK_BROKEN);
        enum sock_status status = sock_recv(pair.near, buf, sizeof(buf), &done);
        CHECK_MSG(status == SOCK_EOF || status == SOCK_BROKEN, "%d", (int)status);
        CHECK(look_until(pair.far, SOCK_BROKEN) == SOCK_BROKEN);
        status = sock_recv(pair.far, buf, sizeof(buf), &done);
        CHECK_MSG(status == (i == 0 ? SOCK_EOF : SOCK_BROKEN), "%d", (int)status);
        CHECK(sock_send(pair.far, "abc", 3, false, &done) == SOCK_BROKEN);
        sock_abort(pair.near); /* twice does no harm */
        close_pair(&pair);
    }
}

TEST("an abort drops what is unsent: over TCP the peer gets a reset and not a short answer that ends well")
{
    struct pair pair = tcp_pair(4096, 4096);
    static const char zeros[1 << 20];
    char buf[65536];
    size_t done;
    while (sock_send(pair.near, zeros, sizeof(zeros), false, &done) == SOCK_OK)
        continue;
    sock_abort(pair.near);
    enum sock_status status;
    while ((status = sock_recv(pair.far, buf, sizeof(buf), &done)) == SOCK_OK || status == SOCK_AGAIN)
        if (status == SOCK_AGAIN)
            must(sock_wait(pair.far, false, 10000) != SOCK_AGAIN, "neither reset nor end in 10 s");
    CHECK_MSG(status == SOCK_BROKEN, "%d", (int)status);
    close_pair(&pair);
}

static void *wait_for_input(void *opaque)
{
    static enum sock_status status;
    status = sock_wait(*(int *)opaque, false, 10000);
    return &status;
}

TEST("an abort wakes a thread that waits for the socket")
{
    for (int i = 0; i < PAIRS; i++) {
        struct pair pair = make_pair[i](0, 0);
        pthread_t thread;
        void *status;
        must(pthread_create(&thread, NULL, wait_for_input, &pair.near) == 0, "pthread_create");
        (void)poll(NULL, 0, 5); /* until it waits, most likely */
        sock_abort(pair.near);
        pthread_join(thread, &status);
        CHECK_MSG(*(enum sock_status *)status != SOCK_AGAIN, "%d", (int)*(enum sock_status *)status);
        close_pair(&pair);
    }
}

TEST("an abort of what has gone already, or was never connected, does no harm")
{
    for (int i = 0; i < PAIRS; i++) {
        struct pair pair = make_pair[i](0, 0);
        i == 0 ? (void)close(pair.far) : reset(pair.far);
        CHECK(look_until(pair.near, SOCK_BROKEN) == SOCK_BROKEN);
        sock_abort(pair.near);
        close(pair.near);
        sock_abort(pair.near);
    }
    sock_abort(-1);
}

/* ---- files ---- */

TEST("sends a range of a file, and says SOCK_EOF where it ends early")
{
    int file = file_with("0123456789", 10);
    for (int i = 0; i < PAIRS; i++) {
        struct pair pair = make_pair[i](0, 0);
        char buf[16];
        size_t sent;
        int64_t at = 3;
        enum sock_status status = sock_sendfile(pair.near, file, &at, 4, &sent);
        if (status == SOCK_FAILED && errno == ENOSYS)
            return; /* not on this system */
        CHECK(status == SOCK_OK && at == 7 && sent == 4);
        wait_readable(pair.far);
        CHECK(recv(pair.far, buf, sizeof(buf), 0) == 4 && memcmp(buf, "3456", 4) == 0);
        CHECK(sock_sendfile(pair.near, file, &at, 100, &sent) == SOCK_OK && at == 10 && sent == 3);
        CHECK(sock_sendfile(pair.near, file, &at, 97, &sent) == SOCK_EOF && at == 10 && sent == 0);
        CHECK(sock_sendfile(pair.near, file, &at, 0, &sent) == SOCK_OK && sent == 0);
        CHECK(lseek(file, 0, SEEK_CUR) == 10); /* the file's own position is nobody's business */
        close_pair(&pair);
    }
    close(file);
}

TEST("says SOCK_FAILED for what cannot be sent as a file, and SOCK_AGAIN when the socket is full")
{
    struct pair pair = unix_pair(4096, 4096);
    static const char zeros[1 << 20];
    int ends[2], file = file_with(zeros, sizeof(zeros)), calls = 0;
    size_t sent;
    int64_t at = 0;
    must(pipe(ends) == 0, "pipe");
    CHECK(sock_sendfile(pair.near, ends[0], &at, 10, &sent) == SOCK_FAILED && at == 0);
    enum sock_status status;
    while ((status = sock_sendfile(pair.near, file, &at, sizeof(zeros), &sent)) == SOCK_OK && calls++ < 1000)
        continue;
    CHECK((status == SOCK_AGAIN && at < (int64_t)sizeof(zeros)) || errno == ENOSYS);
    close(ends[0]);
    close(ends[1]);
    close(file);
    close_pair(&pair);
}

/* ---- the rest ---- */

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

TEST("waits until the socket is ready or the time is over")
{
    struct pair pair = unix_pair(0, 0);
    CHECK(sock_wait(pair.near, true, 0) == SOCK_OK);
    CHECK(sock_wait(pair.near, false, 0) == SOCK_AGAIN);
    int64_t before = now_ms();
    CHECK(sock_wait(pair.near, false, 30) == SOCK_AGAIN);
    CHECK(now_ms() - before >= 29);
    must(write(pair.far, "x", 1) == 1, "write");
    CHECK(sock_wait(pair.near, false, -1) == SOCK_OK);
    close(pair.far);
    pair.far = -1;
    CHECK(sock_wait(pair.near, false, -1) == SOCK_OK); /* the end of the stream is readable */
    close(pair.near);
    CHECK(sock_wait(pair.near, false, 0) == SOCK_BROKEN);
}

static void on_alarm(int signal) { (void)signal; }

TEST("waits its time out however many signals come")
{
    struct pair pair = unix_pair(0, 0);
    struct sigaction action = {.sa_handler = on_alarm};
    struct itimerval often = {{0, 3000}, {0, 3000}}, never = {{0, 0}, {0, 0}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    int64_t before = now_ms();
    CHECK(sock_wait(pair.near, false, 60) == SOCK_AGAIN);
    int64_t passed = now_ms() - before;
    setitimer(ITIMER_REAL, &never, NULL);
    CHECK_MSG(passed >= 59 && passed < 5000, "%lld ms", (long long)passed);
    close_pair(&pair);
}

TEST("closes without touching errno")
{
    struct pair pair = unix_pair(0, 0);
    errno = 1234;
    sock_close(pair.near);
    sock_close(pair.near); /* EBADF */
    CHECK(errno == 1234);
    CHECK(fcntl(pair.near, F_GETFD) < 0);
    close(pair.far);
}

CHECK_MAIN
