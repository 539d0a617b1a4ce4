"""Syslog: a connected datagram socket, and a logging handler for the error log (RFC 3164, the format of BSD syslog).

The access log sends its lines itself (csrc/log_writer.h); the address and the words in front are the same.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from dataclasses import dataclass
from typing import Any

from headrace.config import Config
from headrace.config.syslog_address import FACILITIES, SyslogAddress, parse_syslog_address

INFO = 6  # severities, RFC 5424 §6.2.1, table 2
_SEVERITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, INFO))
_DEBUG = 7
LINE_BYTES_MAX = 8192  # as in csrc/log_writer.h: what common daemons take
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class Syslog:
    """Where messages go, and what they say of their sender.  host: "" for a local socket, as syslog(3) has it."""

    address: SyslogAddress
    facility: int
    tag: str

    @classmethod
    def of(cls, config: Config) -> Syslog:
        name = f"headrace.{config.log_syslog_prefix}" if config.log_syslog_prefix else "headrace"
        return cls(parse_syslog_address(config.log_syslog_to), FACILITIES[config.log_syslog_facility], name)

    @property
    def host(self) -> str:
        return "" if self.address.path else socket.gethostname().partition(".")[0]

    @property
    def tag_of_process(self) -> str:
        return f"{self.tag}[{os.getpid()}]"

    def priority(self, severity: int) -> int:
        return self.facility * 8 + severity

    def connect(self) -> socket.socket:
        """Raises OSError when nobody is there (a UNIX socket), or the host has no address."""
        if self.address.path:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            peer: Any = self.address.path
        else:
            found = socket.getaddrinfo(self.address.host, self.address.port, type=socket.SOCK_DGRAM)
            family, kind, protocol, _, peer = found[0]
            made = socket.socket(family, kind, protocol)
        try:
            made.setblocking(False)
            made.connect(peer)
        except OSError:
            made.close()
            raise
        return made


def bsd_time(unix_s: float) -> str:
    """RFC 3164 §4.1.2; English, whatever the locale is."""
    local = time.localtime(unix_s)
    return f"{_MONTHS[local.tm_mon - 1]} {local.tm_mday:2} {local.tm_hour:02}:{local.tm_min:02}:{local.tm_sec:02}"


class SyslogHandler(logging.Handler):
    """One datagram for each record, its lines joined.  Never waits: what the daemon does not take is lost."""

    def __init__(self, syslog: Syslog) -> None:
        """Raises OSError where nobody listens at the start."""
        super().__init__()
        self._syslog = syslog
        self._socket: socket.socket | None = syslog.connect()

    def emit(self, record: logging.LogRecord) -> None:
        severity = next((number for level, number in _SEVERITIES if record.levelno >= level), _DEBUG)
        words = [bsd_time(record.created), self._syslog.host, f"{self._syslog.tag_of_process}:"]
        text = " ".join(filter(None, words)) + " " + self.format(record).replace("\n", " | ")
        message = f"<{self._syslog.priority(severity)}>{text}".encode("utf-8", "backslashreplace")
        for _ in range(2):  # the daemon may have been started anew
            try:
                if self._socket is None:
                    self._socket = self._syslog.connect()
                self._socket.send(message[:LINE_BYTES_MAX])
                return
            except BlockingIOError:
                return
            except OSError:
                self._disconnect()

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._disconnect()
        super().close()
