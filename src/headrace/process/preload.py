"""May a process that has imported the application be forked?

Threads do not survive a fork, and the locks that they hold stay locked for ever.  A connection that two processes
share is garbled.  Both are there when an import has opened a database or started a native thread pool.
"""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Iterable
from pathlib import Path


def open_descriptors() -> set[int]:
    """Of this process; empty where the system does not tell."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            listed = [int(entry.name) for entry in Path(folder).iterdir()]
        except OSError:
            continue
        return {fd for fd in listed if is_open(fd)}  # not the one that listed them
    return set()


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def reasons_against_fork(known: Iterable[int]) -> list[str]:
    """Threads beside the calling one, and stream sockets that are in use, but for the descriptors in ``known``."""
    return [*_threads(), *_connections(set(known))]


def _threads() -> list[str]:
    named = {thread.native_id: thread.name for thread in threading.enumerate()}
    mine = threading.get_native_id()
    try:
        natives = [int(entry.name) for entry in Path("/proc/self/task").iterdir()]
    except OSError:
        natives = [number for number in named if number is not None]
    return [f"the thread {named.get(number) or _native_name(number)!r}" for number in natives if number != mine]


def _native_name(number: int) -> str:
    try:
        return Path(f"/proc/self/task/{number}/comm").read_text().strip()
    except OSError:
        return str(number)


def _connections(known: set[int]) -> list[str]:
    found = []
    for fd in sorted(open_descriptors() - known):
        if stat.S_ISSOCK(os.fstat(fd).st_mode) and (what := _in_use(fd)):
            found.append(what)
    return found


def _in_use(fd: int) -> str:
    """ "" for a datagram socket, whose messages are whole (syslog, statsd), and for one that is not connected."""
    with socket.socket(fileno=os.dup(fd)) as sock:
        if sock.type == socket.SOCK_DGRAM:
            return ""
        try:
            return f"the connection to {_text(sock.getpeername())} (descriptor {fd})"
        except OSError:
            pass
        try:
            listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError:
            return ""
        return f"the listening socket {_text(sock.getsockname())} (descriptor {fd})" if listens else ""


def _text(address: object) -> str:
    if isinstance(address, tuple) and len(address) >= 2:
        return f"{address[0]}:{address[1]}"
    return repr(address) if address else "another socket of this process"
