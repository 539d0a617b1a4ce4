"""systemd's two protocols, on our side: sockets that it passes on, and what it wants to hear of a service.

No library: `sdnotify` has had no release since 2017 and knows no watchdog, `systemd-python` and `cysystemd` are
compiled against libsystemd, and what they would do is one datagram and three environment variables (sd_listen_fds(3),
sd_notify(3), sd_watchdog_enabled(3); systemd promises to keep both protocols as they are).
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping, MutableMapping
from typing import NamedTuple

log = logging.getLogger("headrace")

#: SD_LISTEN_FDS_START, sd_listen_fds(3).
LISTEN_FDS_START = 3


class PassedSocket(NamedTuple):
    """A descriptor that systemd has passed on, and its name (FileDescriptorName=; without one the socket unit's)."""

    fd: int
    name: str


def passed_sockets(environ: MutableMapping[str, str] | None = None) -> list[PassedSocket]:
    """What systemd has passed to this process, from LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES (sd_listen_fds(3)).

    The variables are removed where they are for this process, and the descriptors made not inheritable, so that no
    child takes them for its own.  So it can be asked once.  What is meant for another process is left alone."""
    environ = os.environ if environ is None else environ
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    del environ["LISTEN_PID"]
    number = environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    environ.pop("LISTEN_PIDFDID", None)
    count = int(number) if number.isascii() and number.isdigit() and len(number) < 6 else 0
    passed = []
    for index in range(count):
        fd = LISTEN_FDS_START + index
        try:
            os.set_inheritable(fd, False)
        except OSError:
            log.warning("HR921 LISTEN_FDS is %s, but descriptor %d is not open", number, fd)
            break
        passed.append(PassedSocket(fd, names[index] if index < len(names) else ""))
    return passed


def is_for_us(environ: Mapping[str, str] | None = None) -> bool:
    """Has systemd passed sockets to this process, which nobody has taken yet?"""
    environ = os.environ if environ is None else environ
    return environ.get("LISTEN_PID") == str(os.getpid()) and environ.get("LISTEN_FDS", "0") != "0"


class Notifier:
    """Tells systemd how the service is doing (sd_notify(3)).  Without NOTIFY_SOCKET every call does nothing.

    Each message is one datagram, sent without waiting: a service manager that does not read must not hold us up.  The
    first failure is told in the log, the others are not.  Any thread may call.

    elder: the process that is the service, until it makes way for this one, which is silent so long: systemd believes
    the main process alone (NotifyAccess=main), and logs what others say.

    watchdog_interval_s: how often alive() has to be called, half of what systemd waits for (sd_watchdog_enabled(3));
    None: there is no watchdog, or it watches another process.
    """

    def __init__(self, environ: Mapping[str, str] | None = None, elder: int | None = None) -> None:
        environ = os.environ if environ is None else environ
        self._address = _socket_address(environ.get("NOTIFY_SOCKET", ""))
        self._failed = False
        self._is_main = elder is None
        self._state: tuple[str, ...] = ()  # what ready() has said, for take_over()
        self.watchdog_interval_s = None if self._address is None else _watchdog_interval_s(environ, elder)

    @property
    def is_wanted(self) -> bool:
        """Is there somebody to tell?"""
        return self._address is not None

    def ready(self, status: str = "") -> None:
        """The application is loaded, and connections will be answered; also at the end of a reload."""
        self._state = ("READY=1", *_status(status))
        self._send(*self._state)

    def reloading(self) -> None:
        """A reload begins; ready() ends it.  Type=notify-reload wants the monotonic time with it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str = "") -> None:
        """The stop has begun."""
        self._send("STOPPING=1", *_status(status))

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(*_status(text))

    def give_way(self, pid: int) -> bool:
        """Another process is the service from now on, and this one is silent.  False: it is not the service itself."""
        if not self._is_main:
            return False
        self._send(f"MAINPID={pid}")
        self._is_main = False
        return True

    def take_over(self) -> None:
        """This process is the service from now on.  Whoever was it has said so, or has died."""
        if not self._is_main:
            self._is_main = True
            self._send(f"MAINPID={os.getpid()}", *self._state)
            if self.watchdog_interval_s is not None:
                self.alive()

    def alive(self) -> None:
        """The watchdog may be calm for another watchdog_interval_s."""
        self._send("WATCHDOG=1")

    def _send(self, *assignments: str) -> None:
        if self._address is None or not assignments or not self._is_main:
            return
        message = "\n".join(assignments).encode("utf-8", "surrogateescape")
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(message, self._address)
        except OSError as error:
            if not self._failed:
                self._failed = True
                reason = (error.strerror or str(error)).lower()
                log.warning("HR922 systemd could not be told %s: %s", assignments[0], reason)


def _socket_address(text: str) -> str | bytes | None:
    """Of NOTIFY_SOCKET: a path, or "@" and a name of the abstract namespace.  vsock: is for virtual machines' own."""
    if text.startswith("/"):
        return text
    if text.startswith("@") and len(text) > 1:
        return b"\0" + text[1:].encode("utf-8", "surrogateescape")
    if text:
        log.warning("HR923 NOTIFY_SOCKET is %r, neither a path nor an abstract name: systemd is told nothing", text)
    return None


def _watchdog_interval_s(environ: Mapping[str, str], elder: int | None) -> float | None:
    microseconds = environ.get("WATCHDOG_USEC", "")
    if not (microseconds.isascii() and microseconds.isdigit() and len(microseconds) < 19 and int(microseconds)):
        return None
    if environ.get("WATCHDOG_PID", str(os.getpid())) not in (str(os.getpid()), str(elder)):
        return None
    return int(microseconds) / 2_000_000


def _status(text: str) -> tuple[str, ...]:
    """Lines would be taken for assignments."""
    return (f"STATUS={' '.join(text.split())}",) if text else ()
