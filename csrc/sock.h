/* sock.h - non-blocking sockets, each call with one answer.
 *
 * What: thin wrappers that retry EINTR, never raise SIGPIPE and fold errno into an enum.
 * Owner: descriptors belong to the caller.  Lock: none; every call is short and non-blocking.
 * On error: SOCK_AGAIN (try again when the poller says so), SOCK_EOF (the peer sent FIN), SOCK_BROKEN (reset,
 *           pipe, timed out: the connection is of no more use), SOCK_NO_RESOURCES (EMFILE, ENFILE, ENOBUFS,
 *           ENOMEM at accept), SOCK_FAILED (anything else; errno tells).
 */
#ifndef HEADRACE_SOCK_H
#define HEADRACE_SOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

enum sock_status { SOCK_OK, SOCK_AGAIN, SOCK_EOF, SOCK_BROKEN, SOCK_NO_RESOURCES, SOCK_FAILED };

enum { SOCK_ADDRESS_BYTES = 46 /* INET6_ADDRSTRLEN */ };

struct sock_peer {
    char address[SOCK_ADDRESS_BYTES]; /* text, "" for a UNIX socket; IPv4-mapped IPv6 is written as IPv4 */
    uint8_t address_len;
    uint16_t port; /* 0 for a UNIX socket */
};

/* Accept one connection: non-blocking, close-on-exec.  A connection that was reset while it waited is skipped
 * (SOCK_AGAIN after the last). */
enum sock_status sock_accept(int listener, int *fd, struct sock_peer *peer);
/* O_NONBLOCK belongs to the open file description, which duplicates and forked children share: set it if it is not. */
void sock_unblock(int fd);
enum sock_status sock_recv(int fd, char *buf, size_t len, size_t *got);
enum sock_status sock_send(int fd, const char *buf, size_t len, bool more, size_t *sent);
enum sock_status sock_writev(int fd, const struct iovec *iov, int count, bool more, size_t *sent);
/* file_fd from *offset, at most len octets; *offset advances.  SOCK_EOF when the file ends early,
 * SOCK_FAILED with errno EINVAL/ENOSYS when this file cannot be sent so. */
enum sock_status sock_sendfile(int fd, int file_fd, int64_t *offset, size_t len, size_t *sent);
void sock_shutdown_write(int fd);
void sock_reset_on_close(int fd); /* SO_LINGER 0: what is unsent is dropped, the peer gets a reset */
/* End the connection for both sides at once and keep the descriptor, which another thread may be using: TCP resets
 * (connect(2) with AF_UNSPEC), a UNIX socket is shut down both ways. */
void sock_abort(int fd);
/* What the other side has done, without reading: SOCK_OK (it is there), SOCK_EOF (it has shut its side down, and may
 * still be reading), SOCK_BROKEN (it has gone). */
enum sock_status sock_look(int fd);
void sock_close(int fd); /* tolerates EINTR; errno is kept */
/* Wait until writable/readable or timeout_ms passed (blocking poll(2); call without the interpreter lock).
 * SOCK_OK, SOCK_AGAIN on time-out, SOCK_BROKEN on POLLERR/POLLNVAL. */
enum sock_status sock_wait(int fd, bool for_write, int timeout_ms);

#endif
