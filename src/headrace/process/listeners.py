"""Listening sockets: made from addresses, handed to a worker, taken away at the end."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from headrace.config import SETTINGS, Address, Config, ConfigError, parse_bind
from headrace.errors import HeadraceError
from headrace.process import systemd
from headrace.process.identity import identity_of
from headrace.process.owners import OwnerError, parse_owner

#: A connection is reported when its first octets are there, or after this time: a connection that is made and used
#: at once then costs no wait in the poller. Linux only.
DEFER_ACCEPT_S = 1


#: Below are standard input, output and error.
LEAST_INHERITED_FD = 3


class ListenError(HeadraceError):
    """A socket cannot be bound; the message names the address and the reason, ``hint`` what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass
class Listener:
    """A bound, listening socket and where it really is: ``address.port`` is the port that port 0 became.

    Owns the socket, and the file of a UNIX socket in the process that made it.  is_lent: systemd, or whoever has
    started the server, has made it, and its file stays."""

    socket: socket.socket
    address: Address
    is_lent: bool = False
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

    def give_up_file(self) -> None:
        """Another process listens at this socket, and removes its file."""
        self._file = None

    def take_file(self) -> None:
        """The file of a UNIX socket that another process of ours has made is ours to remove from now on."""
        if self.address.path is not None and not self.address.is_abstract and not self.is_lent:
            with suppress(OSError):
                self._file = _file_identity(self.address.path)


class Options(NamedTuple):
    """How sockets of our own are made.  unix_mode: permissions of UNIX sockets; None: what the umask leaves.
    unix_owner: user and group ids, -1 for "as it is"."""

    backlog: int
    reuse_port: bool = False
    unix_mode: int | None = None
    unix_owner: tuple[int, int] | None = None


def options_of(config: Config) -> Options:
    """UNIX sockets belong to --unix-socket-owner, or else, as with gunicorn, to whom root becomes for serving.

    Raises ListenError for an owner that this system does not know."""
    owner = None
    try:
        if config.unix_socket_owner is not None:
            owner = parse_owner(config.unix_socket_owner)
        elif os.geteuid() == 0 and (identity := identity_of(config)) is not None:
            owner = (identity.uid, identity.gid)
    except OwnerError as error:
        raise ListenError(f"--unix-socket-owner: {error}") from None
    except ConfigError as error:
        raise ListenError(str(error)) from None
    mode = None if config.unix_socket_mode is None else int(config.unix_socket_mode, 8)
    return Options(config.backlog, config.reuse_port, mode, owner)


def default_binds(config: Config) -> tuple[str, ...]:
    """The binds of a program: with nothing but the default, and sockets passed to us by systemd, those.

    gunicorn takes them whatever its bind says, and so does config/resolve.py where the bind was written for gunicorn.
    For programs of our own: one that embeds a Server may have other uses for its sockets."""
    if config.bind == SETTINGS["bind"].default and systemd.is_for_us():
        return ("systemd",)
    return config.bind


def open_listeners(binds: Iterable[str], options: Options | int) -> list[Listener]:
    """A listener for each bind, all or none; a bind to systemd is one for each socket.  options: or the backlog alone.
    Raises ListenError."""
    options = Options(options) if isinstance(options, int) else options
    return [listener for opened in open_each(binds, options) for listener in opened]


def open_each(binds: Iterable[str], options: Options) -> list[list[Listener]]:
    """The same, bind by bind.  systemd's sockets are there for one call."""
    addresses = [parse_bind(bind) for bind in binds]
    inherited = _take_inherited(addresses)
    listeners: list[list[Listener]] = []
    try:
        for address in addresses:
            opened: list[Listener] = []
            listeners.append(opened)
            if address in inherited:
                for fd in inherited[address]:
                    opened.append(_adopt(fd, address, chain(*listeners)))
            elif address.is_unix:
                opened.append(_open_unix(address, options))
            else:
                opened.append(_open_tcp(address, options, addresses))
    except BaseException:
        close_listeners(chain(*listeners))
        raise
    return listeners


def adopt_listener(fd: int, address: str, *, is_lent: bool = False) -> Listener:
    """One that another process of ours has opened and handed on, at its descriptor, which is ours from here on.
    address: where it really is, as a bind.  Its file stays that process's."""
    sock = socket.socket(fileno=fd)
    sock.set_inheritable(False)
    return Listener(sock, parse_bind(address), is_lent)


def close_listeners(listeners: Iterable[Listener]) -> None:
    """All of them, with the files of UNIX sockets where they are ours."""
    for listener in listeners:
        listener.close()


# -- inherited --------------------------------------------------------------------------------------------------------


def _take_inherited(addresses: Sequence[Address]) -> dict[Address, list[int]]:
    """The descriptors that each bind to systemd, or to a number, stands for."""
    fds = {address: [address.fd] for address in addresses if address.fd is not None}
    wanted = [address for address in addresses if address.systemd is not None]
    if wanted:
        passed = systemd.passed_sockets()
        for address in wanted:
            fds[address] = [fd for fd, name in passed if address.systemd in ("", name)]
            if not fds[address]:
                names = ", ".join(repr(name) for _, name in passed) or "none"
                raise ListenError(
                    f"cannot listen on {address}: systemd has passed no such socket; passed: {names}",
                    "a .socket unit of the same name passes its sockets; FileDescriptorName= gives them names",
                )
    return fds


def _adopt(fd: int, address: Address, others: Iterable[Listener]) -> Listener:
    """A Listener for a socket that somebody else has made: backlog, options and file stay as they are."""
    if any(other.socket.fileno() == fd for other in others):
        raise ListenError(f"cannot listen on {address}: descriptor {fd} is listened on already")
    if fd < LEAST_INHERITED_FD:
        raise ListenError(f"cannot listen on {address}: descriptor {fd} is standard input, output or error")
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            raise ListenError(f"cannot listen on {address}: descriptor {fd} is no socket")
        os.set_inheritable(fd, False)
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {(error.strerror or str(error)).lower()}") from None
    problem = _why_unusable(sock)
    if problem:
        sock.detach()  # not ours to close
        raise ListenError(f"cannot listen on {address}: descriptor {fd} {problem}")
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as with our own
    return Listener(sock, _address_of(sock), is_lent=True)


def _why_unusable(sock: socket.socket) -> str:
    if sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        return "is neither a TCP nor a UNIX socket"
    if sock.type != socket.SOCK_STREAM:
        return "is no stream socket"
    try:
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError:
        return ""  # macOS does not tell; accepting will
    return "" if listens else "does not listen (with systemd: Accept=no)"


def _address_of(sock: socket.socket) -> Address:
    name = sock.getsockname()
    if sock.family != socket.AF_UNIX:
        return Address(name[0], name[1])
    if isinstance(name, bytes):
        return Address("", 0, "@" + name[1:].decode("utf-8", "surrogateescape"))
    return Address("", 0, name)


# -- TCP --------------------------------------------------------------------------------------------------------------


def _open_tcp(address: Address, options: Options, all_addresses: Iterable[Address]) -> Listener:
    family, sockaddr = _resolve(address)
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise _listen_error(address, error) from None
    try:
        _set_tcp_options(sock, address, all_addresses)
        if options.reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(sockaddr)
        sock.listen(options.backlog)
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


def _open_unix(address: Address, options: Options) -> Listener:
    path = address.path or ""
    if not address.is_abstract:
        _remove_stale(address, path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    identity = None
    try:
        if address.is_abstract:
            sock.bind(b"\0" + os.fsencode(path[1:]))
        else:
            sock.bind(path)
            identity = _file_identity(path)
            _set_permissions(address, path, options)  # before anybody can connect
        sock.listen(options.backlog)
    except BaseException as error:
        sock.close()
        if identity is not None:
            Path(path).unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise _unix_error(address, error) from None
    if address.is_abstract:
        return Listener(sock, address)
    # An absolute path still names the file after a chdir.
    return Listener(sock, Address("", 0, str(Path(path).absolute())), _file=identity)


def _set_permissions(address: Address, path: str, options: Options) -> None:
    try:
        if options.unix_owner is not None:
            os.chown(path, *options.unix_owner, follow_symlinks=False)
        if options.unix_mode is not None:
            Path(path).chmod(options.unix_mode)
    except OSError as error:
        raise ListenError(
            f"cannot listen on {address}: its owner or mode cannot be set: {(error.strerror or str(error)).lower()}",
            "another owner needs root; a group can be any that this user is in",
        ) from None


def _unix_error(address: Address, error: OSError) -> ListenError:
    hint = ""
    if error.errno == errno.EADDRINUSE:
        hint = "another program listens there" if address.is_abstract else "another program made it just now"
    if error.errno == errno.ENOENT:
        hint = f"the folder {Path(address.path or '').parent} does not exist"
    return ListenError(f"cannot listen on {address}: {(error.strerror or str(error)).lower()}", hint)


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
