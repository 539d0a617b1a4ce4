"""Listeners for another program: the one that USR2 starts inherits ours, and takes those that its binds ask for.

HEADRACE_FDS          the descriptors, "5,6"
HEADRACE_FD_BINDS     what they stand for, a JSON list in the same order: the bind as it was written, where it really
                      is, and whether it is lent (Listener.is_lent)
HEADRACE_ELDER_FD     a socket to the program that has started this one; its end says that that program has ended
HEADRACE_ELDER_PID    the number of that program's process
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping

from headrace.process.listeners import Listener, adopt_listener
from headrace.process.messages import Channel

FDS, FD_BINDS = "HEADRACE_FDS", "HEADRACE_FD_BINDS"
ELDER_FD, ELDER_PID = "HEADRACE_ELDER_FD", "HEADRACE_ELDER_PID"


def handed_on(listeners: Mapping[str, Listener], elder_end: socket.socket) -> dict[str, str]:
    """The environment variables for the new program, which must inherit these descriptors.  listeners: by bind."""
    return {
        FDS: ",".join(str(listener.socket.fileno()) for listener in listeners.values()),
        FD_BINDS: json.dumps([[bind, str(one.address), one.is_lent] for bind, one in listeners.items()]),
        ELDER_FD: str(elder_end.fileno()),
        ELDER_PID: str(os.getpid()),
    }


def elder_pid() -> int | None:
    """The process of the program that has started this one beside itself; None: nobody did, or taken_over() was
    called."""
    number = os.environ.get(ELDER_PID, "")
    return int(number) if ELDER_FD in os.environ and number.isascii() and number.isdigit() else None


def taken_over() -> tuple[dict[str, Listener], Channel | None]:
    """What this process has inherited: listeners by bind, and the channel to who handed them on.  The variables go, so
    that what we start finds none.  What cannot be used is as if it were not there."""
    fds, binds = os.environ.pop(FDS, ""), os.environ.pop(FD_BINDS, "[]")
    elder_fd = os.environ.pop(ELDER_FD, "")
    os.environ.pop(ELDER_PID, None)
    listeners: dict[str, Listener] = {}
    try:
        for fd, (bind, address, lent) in zip(map(int, fds.split(",") if fds else []), json.loads(binds), strict=True):
            listeners[bind] = adopt_listener(fd, address, is_lent=lent)
        elder = Channel(socket.socket(fileno=int(elder_fd))) if elder_fd else None
        if elder is not None:
            os.set_inheritable(elder.fileno(), False)
    except (OSError, ValueError, TypeError):
        return {}, None
    return listeners, elder
