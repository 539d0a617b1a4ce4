/* The one place that knows which errno means what, and what each system calls its flags. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 /* accept4 */
#endif
#ifndef _DARWIN_C_SOURCE
#define _DARWIN_C_SOURCE 1
#endif

#include "sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/sendfile.h>
#endif

#if defined(__linux__) || defined(__FreeBSD__) || defined(__OpenBSD__) || defined(__NetBSD__) || \
    defined(__DragonFly__)
#define HAVE_ACCEPT4 1
#else
#define HAVE_ACCEPT4 0
#endif

#ifdef MSG_NOSIGNAL
enum { NO_SIGNAL = MSG_NOSIGNAL };
#else
enum { NO_SIGNAL = 0 }; /* SO_NOSIGPIPE is set when the connection is accepted */
#endif

#ifdef MSG_MORE
enum { MORE = MSG_MORE };
#else
enum { MORE = 0 };
#endif

enum {
    ACCEPT_SKIP_MAX = 64,             /* dead connections that one call steps over */
    SENDFILE_BYTES_MAX = 0x7ffff000   /* what one Linux call takes */
};

static enum sock_status status_of(int error)
{
    switch (error) {
    case EAGAIN:
#if EWOULDBLOCK != EAGAIN
    case EWOULDBLOCK:
#endif
        return SOCK_AGAIN;
    case ECONNRESET:
    case ECONNABORTED:
    case EPIPE:
    case ENOTCONN:
    case ESHUTDOWN:
    case ETIMEDOUT:
    case ENETDOWN:
    case ENETRESET:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
        return SOCK_BROKEN;
    default:
        return SOCK_FAILED;
    }
}

/* The answer to a call that returned n: *moved is what went through. */
static inline enum sock_status finish(ssize_t n, size_t *moved)
{
    if (n >= 0) {
        *moved = (size_t)n;
        return SOCK_OK;
    }
    *moved = 0;
    return status_of(errno);
}

/* ---- accept ---- */

/* Did one connection fail, rather than the listener?  Linux hands pending network errors of the new socket to
 * accept (accept(2), "Error handling"); EPERM is a firewall's. */
static bool is_skipped_at_accept(int error)
{
    switch (error) {
    case EINTR:
    case ECONNABORTED:
    case ECONNRESET:
    case EPROTO:
    case EPERM:
    case ENETDOWN:
    case ENETUNREACH:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ETIMEDOUT:
#ifdef ENONET
    case ENONET:
#endif
        return true;
    default:
        return false;
    }
}

static enum sock_status accept_status_of(int error)
{
    switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        return SOCK_NO_RESOURCES;
    default:
        return status_of(error) == SOCK_AGAIN ? SOCK_AGAIN : SOCK_FAILED;
    }
}

static int accept_once(int listener, struct sockaddr *address, socklen_t *address_bytes)
{
#if HAVE_ACCEPT4
    return accept4(listener, address, address_bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
    int fd = accept(listener, address, address_bytes);
    if (fd < 0)
        return -1;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
        sock_close(fd);
        return -1;
    }
    return fd;
#endif
}

static void forbid_sigpipe(int fd)
{
#ifdef SO_NOSIGPIPE
    int on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof(on));
#else
    (void)fd;
#endif
}

/* "192.0.2.1" in a fraction of inet_ntop's time; the length. */
static uint8_t write_ipv4(char *out, const unsigned char *octets)
{
    char *at = out;
    for (int i = 0; i < 4; i++) {
        unsigned value = octets[i];
        if (i > 0)
            *at++ = '.';
        if (value >= 100)
            *at++ = (char)('0' + value / 100);
        if (value >= 10)
            *at++ = (char)('0' + value / 10 % 10);
        *at++ = (char)('0' + value % 10);
    }
    *at = '\0';
    return (uint8_t)(at - out);
}

static void peer_from_ipv6(struct sock_peer *peer, const struct sockaddr_in6 *in6)
{
    peer->port = ntohs(in6->sin6_port);
    if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
        peer->address_len = write_ipv4(peer->address, in6->sin6_addr.s6_addr + 12);
    } else if (inet_ntop(AF_INET6, &in6->sin6_addr, peer->address, sizeof(peer->address)) != NULL) {
        peer->address_len = (uint8_t)strlen(peer->address);
    }
}

union any_address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_storage storage;
};

static void peer_from_address(struct sock_peer *peer, const union any_address *address,
                              socklen_t address_bytes)
{
    peer->address[0] = '\0';
    peer->address_len = 0;
    peer->port = 0;
    if (address_bytes < sizeof(address->any.sa_family))
        return; /* some systems give no address when the peer has gone already */
    if (address->any.sa_family == AF_INET && address_bytes >= sizeof(address->in)) {
        peer->port = ntohs(address->in.sin_port);
        peer->address_len = write_ipv4(peer->address, (const unsigned char *)&address->in.sin_addr);
    } else if (address->any.sa_family == AF_INET6 && address_bytes >= sizeof(address->in6)) {
        peer_from_ipv6(peer, &address->in6);
    }
}

enum sock_status sock_accept(int listener, int *fd, struct sock_peer *peer)
{
    for (int skipped = 0; skipped < ACCEPT_SKIP_MAX; skipped++) {
        union any_address address;
        socklen_t address_bytes = sizeof(address);
        *fd = accept_once(listener, &address.any, &address_bytes);
        if (*fd >= 0) {
            forbid_sigpipe(*fd);
            peer_from_address(peer, &address, address_bytes);
            return SOCK_OK;
        }
        if (!is_skipped_at_accept(errno))
            return accept_status_of(errno);
    }
    return SOCK_AGAIN; /* the listener is level-triggered: it will be reported again */
}

/* ---- receive and send ---- */

enum sock_status sock_recv(int fd, char *buf, size_t len, size_t *got)
{
    ssize_t n;
    do
        n = recv(fd, buf, len, 0);
    while (n < 0 && errno == EINTR);
    if (n == 0 && len > 0) {
        *got = 0;
        return SOCK_EOF;
    }
    return finish(n, got);
}

enum sock_status sock_send(int fd, const char *buf, size_t len, bool more, size_t *sent)
{
    ssize_t n;
    do
        n = send(fd, buf, len, NO_SIGNAL | (more ? MORE : 0));
    while (n < 0 && errno == EINTR);
    return finish(n, sent);
}

enum sock_status sock_writev(int fd, const struct iovec *iov, int count, bool more, size_t *sent)
{
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)iov}; /* sendmsg does not write there */
    message.msg_iovlen = (__typeof__(message.msg_iovlen))count;
    ssize_t n;
    do
        n = sendmsg(fd, &message, NO_SIGNAL | (more ? MORE : 0));
    while (n < 0 && errno == EINTR);
    return finish(n, sent);
}

#if defined(__linux__)

/* sendfile(2) has no MSG_NOSIGNAL.  The interpreter ignores SIGPIPE, but an application may have changed
 * that, and then a client that hangs up would end the process: hold the signal back for this thread, and
 * take away the one that we raised. */
struct sigpipe_guard {
    sigset_t pipe, before;
    bool held; /* false: it could not be, or it was blocked before and is none of our business */
};

static void sigpipe_hold(struct sigpipe_guard *guard)
{
    sigemptyset(&guard->pipe);
    sigaddset(&guard->pipe, SIGPIPE);
    guard->held = pthread_sigmask(SIG_BLOCK, &guard->pipe, &guard->before) == 0 &&
                  sigismember(&guard->before, SIGPIPE) == 0;
}

static void sigpipe_release(struct sigpipe_guard *guard, bool raised)
{
    if (!guard->held)
        return;
    int error = errno;
    if (raised) {
        const struct timespec now = {0, 0};
        (void)sigtimedwait(&guard->pipe, NULL, &now);
    }
    (void)pthread_sigmask(SIG_SETMASK, &guard->before, NULL);
    errno = error;
}

enum sock_status sock_sendfile(int fd, int file_fd, int64_t *offset, size_t len, size_t *sent)
{
    struct sigpipe_guard guard;
    off_t at = (off_t)*offset;
    ssize_t n;
    sigpipe_hold(&guard);
    do
        n = sendfile(fd, file_fd, &at, len < SENDFILE_BYTES_MAX ? len : SENDFILE_BYTES_MAX);
    while (n < 0 && errno == EINTR);
    sigpipe_release(&guard, n < 0 && errno == EPIPE);
    enum sock_status status = finish(n, sent);
    *offset += (int64_t)*sent;
    return n == 0 && len > 0 ? SOCK_EOF : status;
}

#elif defined(__APPLE__) || defined(__FreeBSD__) || defined(__DragonFly__)

/* These report what went through beside an error, and may do both at once. */
static int sendfile_once(int fd, int file_fd, int64_t offset, size_t len, off_t *moved)
{
#if defined(__APPLE__)
    *moved = (off_t)len;
    return sendfile(file_fd, fd, (off_t)offset, moved, NULL, 0);
#else
    *moved = 0;
    return sendfile(file_fd, fd, (off_t)offset, len, NULL, moved, 0);
#endif
}

enum sock_status sock_sendfile(int fd, int file_fd, int64_t *offset, size_t len, size_t *sent)
{
    off_t moved = 0;
    int result;
    *sent = 0;
    if (len == 0)
        return SOCK_OK; /* 0 would mean "to the end" */
    if (len > SENDFILE_BYTES_MAX)
        len = SENDFILE_BYTES_MAX;
    do
        result = sendfile_once(fd, file_fd, *offset, len, &moved);
    while (result < 0 && errno == EINTR && moved == 0);
    if (result < 0 && errno != EAGAIN && errno != EINTR)
        moved = 0; /* not to be trusted then, and of no more use */
    *sent = (size_t)moved;
    *offset += moved;
    if (moved > 0)
        return SOCK_OK;
    return result == 0 ? SOCK_EOF : status_of(errno);
}

#else

enum sock_status sock_sendfile(int fd, int file_fd, int64_t *offset, size_t len, size_t *sent)
{
    (void)fd, (void)file_fd, (void)offset, (void)len;
    *sent = 0;
    errno = ENOSYS;
    return SOCK_FAILED;
}

#endif

/* ---- the rest ---- */

void sock_unblock(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && !(flags & O_NONBLOCK))
        (void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

void sock_shutdown_write(int fd)
{
    (void)shutdown(fd, SHUT_WR); /* ENOTCONN: the peer was faster */
}

void sock_reset_on_close(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

void sock_abort(int fd)
{
    struct sockaddr nowhere;
    memset(&nowhere, 0, sizeof(nowhere));
    nowhere.sa_family = AF_UNSPEC;
    if (connect(fd, &nowhere, sizeof(nowhere)) < 0)
        (void)shutdown(fd, SHUT_RDWR);
}

/* Not retried on EINTR: on Linux and most others the descriptor is gone then, and perhaps somebody else's. */
void sock_close(int fd)
{
    int error = errno;
    (void)close(fd);
    errno = error;
}

static int64_t monotonic_ms(void)
{
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
        return 0;
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* poll(2) that a signal does not cut short or lengthen */
static int poll_one(struct pollfd *entry, int timeout_ms)
{
    int64_t until = timeout_ms > 0 ? monotonic_ms() + timeout_ms : 0;
    int left = timeout_ms;
    for (;;) {
        int n = poll(entry, 1, left);
        if (n >= 0 || errno != EINTR)
            return n;
        if (timeout_ms > 0) {
            int64_t rest = until - monotonic_ms();
            left = rest > 0 ? (int)rest : 0;
        }
    }
}

#ifdef POLLRDHUP
enum { PEER_SHUT_DOWN = POLLRDHUP };
#else
enum { PEER_SHUT_DOWN = 0 }; /* the caller knows of a half-close from the poller */
#endif

enum sock_status sock_look(int fd)
{
    struct pollfd entry = {.fd = fd, .events = PEER_SHUT_DOWN, .revents = 0};
    if (poll_one(&entry, 0) <= 0)
        return SOCK_OK;
    if (entry.revents & (POLLERR | POLLHUP | POLLNVAL))
        return SOCK_BROKEN;
    return entry.revents & PEER_SHUT_DOWN ? SOCK_EOF : SOCK_OK;
}

enum sock_status sock_wait(int fd, bool for_write, int timeout_ms)
{
    struct pollfd entry = {.fd = fd, .events = for_write ? POLLOUT : POLLIN, .revents = 0};
    int n = poll_one(&entry, timeout_ms);
    if (n < 0)
        return SOCK_FAILED;
    if (n == 0)
        return SOCK_AGAIN;
    return entry.revents & (POLLERR | POLLNVAL) ? SOCK_BROKEN : SOCK_OK;
}
