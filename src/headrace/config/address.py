"""What a bind says: text to Address and back, without touching a socket."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8000

#: sun_path holds 108 octets with its NUL on Linux (104 on macOS, where the kernel refuses what is longer).
UNIX_PATH_BYTES_MAX = 107

FORMS = "HOST:PORT, :PORT, [IPV6]:PORT, HOST, unix:PATH, unix:@NAME, fd://NUMBER, systemd or systemd:NAME"


class AddressError(ValueError):
    """A bind that cannot be understood; the message says what it is and what was expected."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: a TCP host and port, or the path of a UNIX socket (then host is "" and port 0).  A path with "@"
    in front is no file: a name in Linux's abstract namespace (unix(7)).

    Before it is opened a bind may also stand for what the process has inherited: ``fd``, a descriptor's number, or
    ``systemd``, the name of sockets that it passes on, "" for all of them."""

    host: str
    port: int
    path: str | None = None
    fd: int | None = None
    systemd: str | None = None

    @property
    def is_unix(self) -> bool:
        return self.path is not None

    @property
    def is_abstract(self) -> bool:
        return self.path is not None and self.path.startswith("@")

    @property
    def is_inherited(self) -> bool:
        return self.fd is not None or self.systemd is not None

    def __str__(self) -> str:
        """As a bind: "127.0.0.1:8000", "[::1]:8000", "unix:/run/app.sock"."""
        if self.path is not None:
            return f"unix:{self.path}"
        if self.fd is not None:
            return f"fd://{self.fd}"
        if self.systemd is not None:
            return f"systemd:{self.systemd}" if self.systemd else "systemd"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """As operators and browsers write it: "http://127.0.0.1:8000", "unix:/run/app.sock"."""
        return str(self) if self.is_unix or self.is_inherited else f"http://{self}"


def parse_bind(text: str) -> Address:
    """Turn "127.0.0.1:8000", ":8000", "8000", "[::1]:8000", "localhost", "unix:/path", "unix:@name", "fd://3" or
    "systemd:web" into an Address.

    An empty host is every IPv4 address of the machine, as with gunicorn; a port alone is 127.0.0.1, because nobody
    should open a service to the network by leaving something out.  Raises AddressError.
    """
    if text.startswith("unix:"):
        return _parse_unix(text)
    if text.startswith("fd://"):
        return _parse_fd(text)
    if text == "systemd" or text.startswith("systemd:"):
        return _parse_systemd(text)
    if text.startswith("tcp://"):
        text = text.removeprefix("tcp://")
    elif "://" in text:
        raise AddressError(f"{text!r} is a URL; a bind is {FORMS}")
    if text.startswith("["):
        host, port = _split_bracketed(text)
    elif text.count(":") > 1:
        raise AddressError(f"{text!r} needs brackets around the IPv6 address: [{text}]:{DEFAULT_PORT}")
    elif ":" in text:
        host, _, port = text.partition(":")
        host = host or "0.0.0.0"
    elif text.isascii() and text.isdigit():
        host, port = DEFAULT_HOST, text
    else:
        host, port = text, str(DEFAULT_PORT)
    if not host or re.search(r"[\s/@\x00]", host):
        raise AddressError(f"{text!r} has no usable host; a bind is {FORMS}")
    return Address(host, _parse_port(port, text))


def _parse_unix(text: str) -> Address:
    path = text.removeprefix("unix:")
    if path.startswith("//"):  # gunicorn takes unix:///run/app.sock as well
        path = path.removeprefix("//")
    if not path:
        raise AddressError(f"{text!r} has no path; write unix:/run/app.sock")
    if "\x00" in path:
        raise AddressError(f"{text!r} has a NUL in its path")
    if path == "@":
        raise AddressError(f"{text!r} has no name; write unix:@app")
    if path.startswith("@") and sys.platform != "linux":
        raise AddressError(f"{text!r} is in the abstract namespace, which Linux alone has")
    size = len(path.encode("utf-8", "surrogateescape"))
    if size > UNIX_PATH_BYTES_MAX:
        raise AddressError(f"{text!r} has a path of {size} bytes; the system takes {UNIX_PATH_BYTES_MAX}")
    return Address("", 0, path)


def _parse_fd(text: str) -> Address:
    number = text.removeprefix("fd://")
    if not (number.isascii() and number.isdigit() and len(number) < 8):
        raise AddressError(f"{text!r} has no descriptor's number; write fd://3")
    return Address("", 0, fd=int(number))


def _parse_systemd(text: str) -> Address:
    name = text.partition(":")[2]
    # systemd.socket(5), FileDescriptorName=: up to 255 characters of ASCII, no control character, no colon.
    if text.endswith(":") or re.fullmatch(r"[\x20-\x39\x3b-\x7e]{0,255}", name) is None:
        raise AddressError(f"{text!r} has no name that systemd gives to sockets; write systemd or systemd:NAME")
    return Address("", 0, systemd=name)


def _split_bracketed(text: str) -> tuple[str, str]:
    host, bracket, rest = text[1:].partition("]")
    if not bracket or ":" not in host:
        raise AddressError(f"{text!r} is not an IPv6 address in brackets; write [::1]:{DEFAULT_PORT}")
    if rest and not rest.startswith(":"):
        raise AddressError(f"{text!r} goes on with {rest!r} behind the bracket; write [{host}]:{DEFAULT_PORT}")
    return host, rest[1:] if rest else str(DEFAULT_PORT)


def _parse_port(port: str, text: str) -> int:
    # int() alone would take "+1", "1_0" and other scripts' digits.
    if not (port.isascii() and port.isdigit()):
        raise AddressError(f"{text!r} has the port {port!r}, which is not a number")
    number = int(port[:9])
    if number > 65535:
        raise AddressError(f"{text!r} has the port {port}; ports end at 65535")
    return number
