/* pairs.h - real sockets for the tests: connected pairs, listeners, files.
 *
 * Owner: whoever asks gets the descriptors.  On error: the test program ends; there is nothing to test then.
 */
#ifndef HEADRACE_PAIRS_H
#define HEADRACE_PAIRS_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct pair {
    int near, far; /* both non-blocking; near is the one under test */
};

static inline void must(bool ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    abort();
}

static inline void set_nonblocking(int fd)
{
    must(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0, "fcntl");
}

static inline void set_buffer(int fd, int option, int bytes)
{
    if (bytes > 0)
        must(setsockopt(fd, SOL_SOCKET, option, &bytes, sizeof(bytes)) == 0, "setsockopt");
}

/* send_buffer, receive_buffer: 0 for the system's choice */
static inline struct pair unix_pair(int send_buffer, int receive_buffer)
{
    int fds[2];
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "socketpair");
    set_nonblocking(fds[0]);
    set_nonblocking(fds[1]);
    set_buffer(fds[0], SO_SNDBUF, send_buffer);
    set_buffer(fds[1], SO_RCVBUF, receive_buffer);
    return (struct pair){fds[0], fds[1]};
}

/* A listener on 127.0.0.1, non-blocking; *address is where. */
static inline int tcp_listener(struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    must(fd >= 0, "socket");
    socklen_t len = sizeof(*address);
    *address = (struct sockaddr_in){.sin_family = AF_INET};
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    must(bind(fd, (struct sockaddr *)address, len) == 0 && listen(fd, 64) == 0, "listen");
    must(getsockname(fd, (struct sockaddr *)address, &len) == 0, "getsockname");
    set_nonblocking(fd);
    return fd;
}

/* A blocking client's connection to it. */
static inline int tcp_client(const struct sockaddr_in *address, int receive_buffer)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    must(fd >= 0, "socket");
    set_buffer(fd, SO_RCVBUF, receive_buffer);
    must(connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0, "connect");
    return fd;
}

static inline void wait_readable(int fd)
{
    struct pollfd entry = {.fd = fd, .events = POLLIN, .revents = 0};
    must(poll(&entry, 1, 10000) == 1, "nothing came in 10 s");
}

static inline struct pair tcp_pair(int send_buffer, int receive_buffer)
{
    struct sockaddr_in address;
    int listener = tcp_listener(&address), on = 1;
    struct pair pair = {.near = -1, .far = tcp_client(&address, receive_buffer)};
    wait_readable(listener);
    pair.near = accept(listener, NULL, NULL);
    must(pair.near >= 0, "accept");
    must(setsockopt(pair.near, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0, "TCP_NODELAY");
    set_nonblocking(pair.near);
    set_nonblocking(pair.far);
    set_buffer(pair.near, SO_SNDBUF, send_buffer);
    close(listener);
    return pair;
}

static inline void close_pair(const struct pair *pair)
{
    close(pair->near);
    if (pair->far >= 0)
        close(pair->far);
}

/* Close it so that the other end sees a reset. */
static inline void reset(int fd)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    must(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)) == 0, "SO_LINGER");
    close(fd);
}

/* A file without a name that holds at[0..len). */
static inline int file_with(const char *at, size_t len)
{
    char name[] = "/tmp/headrace-test-XXXXXX";
    int fd = mkstemp(name);
    must(fd >= 0 && unlink(name) == 0, "mkstemp");
    for (size_t done = 0; done < len;) {
        ssize_t n = write(fd, at + done, len - done);
        must(n > 0, "write");
        done += (size_t)n;
    }
    return fd;
}

#endif
