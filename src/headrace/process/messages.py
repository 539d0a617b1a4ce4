"""Messages between the processes of one server: a line of JSON each, over a socket pair, with descriptors if need be.

Nothing that a worker says is more than data: it may run as another user than the one who reads it.
"""

from __future__ import annotations

import array
import json
import os
import socket
from collections.abc import Iterable
from typing import Any

from headrace.process.application import ApplicationError

Message = dict[str, Any]

#: What has come and is no whole line yet.  A traceback of an application that does not import may be long.
LINE_BYTES_MAX = 4 << 20
_RECEIVE_BYTES = 65536
_FDS_MAX = 16
_FD_BYTES = array.array("i").itemsize


class Channel:
    """One end.  Owns its socket.  Any thread may send, one may receive.

    socket.send_fds() and recv_fds() would wait, for they ignore their flags (python/cpython#107898).
    takes_fds: descriptors that come are kept for take_fd(); else the kernel closes them, so that nobody can fill this
    process's table of them."""

    def __init__(self, end: socket.socket, takes_fds: bool = False) -> None:
        self._socket = end
        self._takes_fds = takes_fds
        self._received = b""
        self._fds: list[int] = []
        self.at_end = False

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: Message, fd: int | None = None) -> bool:
        """Never waits.  False: the other end has gone, or has stopped reading long ago.

        For short messages, which go whole or not at all."""
        data = json.dumps(message).encode() + b"\n"
        fds = [] if fd is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        try:
            return self._socket.sendmsg([data], fds, socket.MSG_DONTWAIT) == len(data)
        except OSError:
            return False

    def send_all(self, message: Message) -> bool:
        """The same, for long messages: waits until the other end takes them."""
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return False
        return True

    def receive(self, wait: bool = False) -> list[Message]:
        """The messages that have come; with wait at least one.  ``at_end`` says that the other end has gone, and that
        nothing comes after these."""
        while not self.at_end:
            self._receive_once(wait and b"\n" not in self._received)
            if b"\n" in self._received or not wait:
                break
        return self._take_messages()

    def receive_last_words(self) -> list[Message]:
        """What a process had to say that has ended: all of it, but not what a child of its own may add for ever."""
        messages = []
        for _ in range(LINE_BYTES_MAX // _RECEIVE_BYTES):
            if self.at_end or not self._receive_once(wait=False):
                break
            messages += self._take_messages()
        return messages

    def _take_messages(self) -> list[Message]:
        *lines, self._received = self._received.split(b"\n")
        return [message for message in map(_parsed, lines) if message is not None]

    def _receive_once(self, wait: bool) -> bool:
        """False: nothing has come."""
        flags = 0 if wait else socket.MSG_DONTWAIT
        room = socket.CMSG_LEN(_FDS_MAX * _FD_BYTES) if self._takes_fds else 0
        try:
            data, ancillary, _, _ = self._socket.recvmsg(_RECEIVE_BYTES, room, flags)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            self.at_end = True
            return False
        for level, kind, octets in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self._keep(array.array("i", octets[: len(octets) // _FD_BYTES * _FD_BYTES]))
        self._received += data
        self.at_end = not data or len(self._received) > LINE_BYTES_MAX
        return bool(data)

    def _keep(self, fds: Iterable[int]) -> None:
        for fd in fds:
            os.set_inheritable(fd, False)
            self._fds.append(fd)

    def take_fd(self) -> int:
        """The next of the descriptors that have come, in their order; the caller's from here on."""
        return self._fds.pop(0)

    def close(self) -> None:
        self._socket.close()


def failure(error: ApplicationError) -> Message:
    """What the supervisor shows when the application cannot be had."""
    return {
        "event": "failed", "message": str(error), "hint": error.hint, "details": error.details,
        "exit_code": error.exit_code,
    }  # fmt: skip


def _parsed(line: bytes) -> Message | None:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def channel_pair() -> tuple[Channel, socket.socket]:
    """One end for this process, the other to be handed on."""
    here, there = socket.socketpair()
    return Channel(here), there
