"""--log-syslog-to: where a syslog daemon listens, in gunicorn's spelling."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

DEFAULT_ADDRESS = "unix:///var/run/syslog" if sys.platform == "darwin" else "unix:///dev/log"
SYSLOG_PORT = 514  # RFC 5426 §3.3

#: RFC 5424 §6.2.1, table 1.
FACILITIES = {
    **{name: number for number, name in enumerate(
        ("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp")
    )},
    **{f"local{number}": 16 + number for number in range(8)},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SyslogAddress:
    """path: of a UNIX datagram socket; or "", and then host and port of UDP."""

    path: str = ""
    host: str = ""
    port: int = SYSLOG_PORT


def parse_syslog_address(text: str) -> SyslogAddress:
    """unix:///dev/log, udp://HOST:PORT, udp://[IPV6]:PORT.  Raises ValueError, also for tcp://, which is not spoken."""
    scheme, mark, rest = text.partition("://")
    if scheme == "unix":
        path = rest.partition("#")[0]  # gunicorn: unix:///dev/log#dgram
        if mark and path.startswith("/") and rest.partition("#")[2] in ("", "dgram"):
            return SyslogAddress(path=path)
    elif scheme == "udp":
        found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^\[\]:/\s]+))(?::([0-9]{1,5}))?", rest)
        if found and 0 < int(found[3] or SYSLOG_PORT) < 65536:
            return SyslogAddress(host=found[1] or found[2], port=int(found[3] or SYSLOG_PORT))
    raise ValueError(f"{text!r} is neither unix:///PATH (a datagram socket) nor udp://HOST:PORT")
