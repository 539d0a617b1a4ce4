"""Listening sockets: made from addresses, handed to a worker, taken away at the end."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from headrace.config import Address, parse_bind
from headrace.errors import HeadraceError

#: A connection is reported when its first octets are there, or after this time: a connection that is made and used
#: at once then costs no wait in the poller. Linux only.
DEFER_ACCEPT_S = 1


class ListenError(HeadraceError):
    """A socket cannot be bound; the message names the address and the reason, ``hint`` what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass
class Listener:
    """A bound, listening socket and where it really is: ``address.port`` is the port that port 0 became.

    Owns the socket, and the file of a UNIX socket in the process that made it."""

    socket: socket.socket
    address: Address
    _file: tuple[int, int] | None = None  # device and inode of the UNIX socket
    _owner_pid: int = field(default_factory=os.getpid)

    def close(self) -> None:
        """Close, and remove the UNIX socket's file if it is still the one that we made: a successor that is already
        listening at this path keeps its file, and a forked child removes nothing."""
        self.socket.close()
        if self._file is None or self.address.path is None or os.getpid() != self._owner_pid:
            return
        try:
            if _file_identity(self.address.path) == self._file:
                Path(self.address.path).unlink()
        except OSError:
            pass  # gone already, or the folder is no longer ours to write: nothing is lost
        self._file = None


def open_listeners(binds: Iterable[str], backlog: int) -> list[Listener]:
    """A listener for each bind, all or none.  Raises ListenError."""
    addresses = [parse_bind(bind) for bind in binds]
    listeners: list[Listener] = []
    try:
        for address in addresses:
            if address.is_unix:
                listeners.append(_open_unix(address, backlog))
            else:
                listeners.append(_open_tcp(address, backlog, addresses))
    except BaseException:
        close_listeners(listeners)
        raise
    return listeners


def close_listeners(listeners: Iterable[Listener]) -> None:
    for listener in listeners:
        listener.close()


# -- TCP --------------------------------------------------------------------------------------------------------------


def _open_tcp(address: Address, backlog: int, all_addresses: Iterable[Address]) -> Listener:
    family, sockaddr = _resolve(address)
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise _listen_error(address, error) from None
    try:
        _set_tcp_options(sock, address, all_addresses)
        sock.bind(sockaddr)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise _listen_error(address, error) from None
    return Listener(sock, Address(address.host, sock.getsockname()[1]))


def _resolve(address: Address) -> tuple[socket.AddressFamily, tuple[object, ...]]:
    """One socket for each bind: of a name with several addresses the first IPv4 one, as "localhost" is meant."""
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else "not a host name"
        raise ListenError(f"cannot listen on {address}: {address.host!r} does not resolve ({reason})") from None
    family, _, _, _, sockaddr = next((entry for entry in found if entry[0] == socket.AF_INET), found[0])
    return family, sockaddr


def _set_tcp_options(sock: socket.socket, address: Address, all_addresses: Iterable[Address]) -> None:
    # A restarted server may bind while connections of the last one are in TIME_WAIT.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted sockets inherit it, which saves a system call for each. Without it the last part of an answer waits
    # for the client's delayed acknowledgement (40 ms).
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_DEFER_ACCEPT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFER_ACCEPT_S)
    if sock.family == socket.AF_INET6:
        # [::]:N hears IPv4 as well, whatever the system's default is, unless IPv4 has a bind of its own on this port.
        ipv4_too = any(other.port == address.port and ":" not in other.host for other in all_addresses)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1 if ipv4_too else 0)


def _listen_error(address: Address, error: OSError) -> ListenError:
    reason = (error.strerror or str(error)).lower()
    hint = {
        errno.EADDRINUSE: "another program listens there; stop it or choose another port with --bind",
        errno.EADDRNOTAVAIL: "no interface of this machine has that address; 0.0.0.0 stands for all of them",
        errno.EAFNOSUPPORT: "this system has no IPv6",
    }.get(error.errno or 0, "")
    if error.errno == errno.EACCES and 0 < address.port < 1024:
        hint = "ports below 1024 need root or CAP_NET_BIND_SERVICE"
    return ListenError(f"cannot listen on {address}: {reason}", hint)


# -- UNIX sockets -----------------------------------------------------------------------------------------------------


def _open_unix(address: Address, backlog: int) -> Listener:
    path = address.path or ""
    _remove_stale(address, path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        identity = _file_identity(path)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        hint = "another program made it just now" if error.errno == errno.EADDRINUSE else ""
        if error.errno == errno.ENOENT:
            hint = f"the folder {Path(path).parent} does not exist"
        raise ListenError(f"cannot listen on {address}: {(error.strerror or str(error)).lower()}", hint) from None
    # An absolute path still names the file after a chdir.
    return Listener(sock, Address("", 0, str(Path(path).absolute())), identity)


def _remove_stale(address: Address, path: str) -> None:
    """Remove the file that a server which did not end cleanly has left; never anything else, never a live one's."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {(error.strerror or str(error)).lower()}") from None
    if not stat.S_ISSOCK(mode):
        raise ListenError(f"cannot listen on {address}: the file exists and is not a socket", "it is left as it is")
    if _is_alive(path):
        raise ListenError(f"cannot listen on {address}: address already in use", "another program listens there")
    try:
        Path(path).unlink(missing_ok=True)
    except OSError as error:
        raise ListenError(
            f"cannot listen on {address}: a stale socket is in the way",
            f"it could not be removed: {(error.strerror or str(error)).lower()}",
        ) from None


def _is_alive(path: str) -> bool:
    """Does somebody accept at this path?  Only a refused connection proves that nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except FileNotFoundError:
            return False
        except OSError:
            return True  # EAGAIN: a full backlog; EACCES: somebody else's
    return True


def _file_identity(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino
