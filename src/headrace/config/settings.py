"""The one table of settings: each with type, default, unit, range, flags and help, and beside it the reason why.

The command line, the keywords of serve() and Server, and the checks all come from here.  Neighbours' values in the
comments are those of gunicorn 23, waitress 3, uvicorn 0.3x, granian 2, nginx and Apache httpd 2.4.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

T = TypeVar("T")

#: Headings of --help, in their order.
GROUPS = ("Sockets", "Application", "Limits", "Deadlines", "Bodies", "Responses", "Logging")

Kind = Literal["text", "texts", "integer", "seconds", "switch", "choice"]

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table. ``name`` is the keyword; ``flags`` are the spellings on the command line, the first of
    which is the primary one.  A switch whose default is on has flags that turn it off."""

    name: str
    kind: Kind
    default: Any
    group: str
    flags: tuple[str, ...]
    help: str
    unit: str = ""
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    optional: bool = False

    @property
    def range_text(self) -> str:
        """ "64 to 1048576 bytes", for messages and help; "" when there is no range."""
        if self.least is None or self.most is None:
            return ""
        return f"{self.least:g} to {int(self.most)} {self.unit}".rstrip()


def setting(
    default: T,
    group: str,
    *flags: str,
    help: str,
    kind: Kind | None = None,
    unit: str = "",
    least: float | None = None,
    most: float | None = None,
    choices: tuple[str, ...] = (),
) -> T:
    """A dataclass field with its row as metadata; typed as its value, as dataclasses.field is."""
    row = {
        "kind": kind or _kind_of(default),
        "group": group,
        "flags": flags,
        "help": help,
        "unit": unit,
        "least": least,
        "most": most,
        "choices": choices,
        "optional": default is None,
    }
    return dataclasses.field(default=default, metadata=row)


def _kind_of(default: object) -> Kind:
    kinds: dict[type, Kind] = {bool: "switch", int: "integer", float: "seconds", tuple: "texts"}
    return kinds.get(type(default), "text")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The table.  Units: bytes, seconds, or a count, as each row says."""

    # -- Sockets ------------------------------------------------------------------------------------------------

    # 127.0.0.1, not every interface: who wants the network in says so (gunicorn, uvicorn, granian: the same;
    # waitress 0.0.0.0).
    bind: tuple[str, ...] = setting(
        ("127.0.0.1:8000",),
        "Sockets",
        "-b",
        "--bind",
        help="Where to listen: HOST:PORT, :PORT, [IPV6]:PORT or unix:PATH. May be repeated. Port 0 picks a free one.",
    )
    # Connections that the kernel keeps ready for accept; it cuts this to net.core.somaxconn. gunicorn and uvicorn
    # 2048, waitress 1024, nginx 511.
    backlog: int = setting(
        2048,
        "Sockets",
        "--backlog",
        help="Connections that may wait to be accepted.",
        unit="connections",
        least=1,
        most=65535,
    )
    # Accept stops here and goes on when one closes, so that descriptors are left for files and databases. gunicorn
    # 1000, waitress 100, nginx 512 (768 in Debian). An idle connection costs under 1 KiB here, so we can afford more.
    worker_connections: int = setting(
        10_000,
        "Sockets",
        "--worker-connections",
        help="Connections that are open at the same time; more wait in the backlog.",
        unit="connections",
        least=1,
        most=1_000_000,
    )
    # "poll" is there to test the fall-back that systems without epoll and kqueue would use.
    poller: str = setting(
        "auto",
        "Sockets",
        "--poller",
        help="Which interface of the kernel reports events.",
        kind="choice",
        choices=("auto", "epoll", "kqueue", "poll"),
    )

    # -- Application --------------------------------------------------------------------------------------------

    factory: bool = setting(
        False,
        "Application",
        "--factory",
        help="ATTR is called without arguments and returns the application (default ATTR: create_app, make_app).",
    )
    chdir: str | None = setting(
        None, "Application", "--chdir", help="Change to this folder before the application is loaded."
    )
    pythonpath: str | None = setting(
        None, "Application", "--pythonpath", help="Folders to put on the module search path, separated by commas."
    )

    # -- Limits -------------------------------------------------------------------------------------------------

    # Method, target and version without CRLF. RFC 9112 §3 asks for at least 8000. gunicorn 4094, Apache 8190, nginx
    # 8 KiB (one large_client_header_buffer), h11 and uvicorn 64 KiB for the whole head.
    limit_request_line: int = setting(
        8190,
        "Limits",
        "--limit-request-line",
        help="Longest request line; a longer one gets 414.",
        unit="bytes",
        least=64,
        most=MIB,
    )
    # gunicorn and Apache 100, Node 2000, browsers send about 20.
    limit_request_fields: int = setting(
        100,
        "Limits",
        "--limit-request-fields",
        help="Most header fields; more get 431.",
        unit="fields",
        least=1,
        most=32768,
    )
    # Name, colon and value without CRLF. gunicorn and Apache 8190, nginx 8 KiB.
    limit_request_field_size: int = setting(
        8190,
        "Limits",
        "--limit-request-field_size",
        "--limit-request-field-size",
        help="Longest header field line; a longer one gets 431.",
        unit="bytes",
        least=64,
        most=MIB,
    )
    # All of it, from the method to the empty line: what one connection can make us keep before we know who asks.
    # waitress 256 KiB, h11 and uvicorn 64 KiB, Node 16 KiB, nginx 32 KiB, gunicorn up to 819 KiB (fields x size).
    limit_request_head: int = setting(
        64 * KIB,
        "Limits",
        "--limit-request-head",
        help="Longest request line and header fields together; more gets 431.",
        unit="bytes",
        least=128,
        most=16 * MIB,
    )
    # Decoded octets of one body. nginx 1 MiB, waitress 1 GiB, Apache 1 GiB, gunicorn and uvicorn without limit.
    limit_request_body: int = setting(
        GIB,
        "Limits",
        "--limit-request-body",
        help="Longest request body; a longer one gets 413.",
        unit="bytes",
        least=0,
        most=1 << 60,
    )

    # -- Deadlines ----------------------------------------------------------------------------------------------

    # From the first octet of a head to its last, so that a client that drips (Slowloris) gains nothing by dripping.
    # nginx 60 between reads, Apache 20 to 40 (mod_reqtimeout), gunicorn with threads: none.
    head_timeout: float = setting(
        10.0,
        "Deadlines",
        "--head-timeout",
        help="Time for a whole request head; later is 408.",
        unit="seconds",
        least=0.1,
        most=3600,
    )
    # Between two reads of a body. nginx 60, Apache 20 and then 500 bytes a second, waitress 120 (channel_timeout).
    body_timeout: float = setting(
        30.0,
        "Deadlines",
        "--body-timeout",
        help="Time without a byte of the request body; later is 408.",
        unit="seconds",
        least=0.1,
        most=3600,
    )
    # After the first body_timeout, on average. Apache 500 bytes/s; ASP.NET Kestrel 240 after 5 s, from where the
    # number comes: a 2G telephone manages more.
    body_min_rate: int = setting(
        240,
        "Deadlines",
        "--body-min-rate",
        help="Least average rate of a request body that has taken longer than --body-timeout; 0 allows any.",
        unit="bytes a second",
        least=0,
        most=GIB,
    )
    # Without progress. nginx 60 (send_timeout), Apache 60, gunicorn 30 (its worker timeout).
    write_timeout: float = setting(
        30.0,
        "Deadlines",
        "--write-timeout",
        help="Time in which the client takes no byte of a response; then the connection is closed.",
        unit="seconds",
        least=0.1,
        most=3600,
    )
    # Longer than the 60 s of AWS load balancers and nginx's upstream keep-alive, so that they close first and no
    # request meets a closing socket. nginx 75, gunicorn 2, uvicorn 5, waitress 120.
    keep_alive: float = setting(
        75.0,
        "Deadlines",
        "--keep-alive",
        help="Time that an idle connection is kept for a next request; 0 closes after each response.",
        unit="seconds",
        least=0,
        most=86400,
    )
    # After a refused request the client's last octets are read and dropped, so that it sees the answer and not a
    # reset (RFC 9112 §9.6). nginx 5 between reads (30 in all), Apache 2 (30 in all).
    linger_timeout: float = setting(
        2.0,
        "Deadlines",
        "--linger-timeout",
        help="Time to read and drop what a client still sends behind the last answer it gets.",
        unit="seconds",
        least=0,
        most=60,
    )
    # gunicorn 30, uvicorn none, Kubernetes kills after 30 (terminationGracePeriodSeconds).
    graceful_timeout: float = setting(
        30.0,
        "Deadlines",
        "--graceful-timeout",
        help="Time that requests in flight may take after SIGTERM or SIGINT.",
        unit="seconds",
        least=0,
        most=86400,
    )

    # -- Bodies -------------------------------------------------------------------------------------------------

    # Up to here a body costs no system call but its receives. waitress 512 KiB (inbuf_overflow), nginx 16 KiB,
    # Django keeps 2.5 MiB.
    request_body_memory: int = setting(
        512 * KIB,
        "Bodies",
        "--request-body-memory",
        help="Part of one request body that is kept in memory; a longer one goes to a temporary file.",
        unit="bytes",
        least=0,
        most=GIB,
    )
    # With 10,000 connections the mark above alone would allow 5 GiB. Neighbours have no such total.
    total_body_memory: int = setting(
        256 * MIB,
        "Bodies",
        "--total-body-memory",
        help="Memory for all request bodies together; beyond it they go to temporary files at once.",
        unit="bytes",
        least=0,
        most=1 << 60,
    )
    # Sixteen bodies of the largest size that limit_request_body allows. Neighbours fill the disk.
    total_body_spool: int = setting(
        16 * GIB,
        "Bodies",
        "--total-body-spool",
        help="Temporary files of all request bodies together; a body beyond it gets 503.",
        unit="bytes",
        least=0,
        most=1 << 60,
    )
    spool_dir: str | None = setting(
        None, "Bodies", "--spool-dir", help="Folder for these temporary files (default: where tempfile puts them)."
    )
    # Off by default: with it a slow client holds a thread for as long as it likes to send.
    stream_request_body: bool = setting(
        False,
        "Bodies",
        "--stream-request-body",
        help="Call the application before the body has come; it reads as the body arrives. "
        "A slow client then holds a thread.",
    )

    # -- Responses ----------------------------------------------------------------------------------------------

    # Answers to pipelined requests that a client does not fetch must not pile up. waitress 16 MiB (outbuf_high_
    # watermark), Node 16 KiB, asyncio 64 KiB.
    response_buffer: int = setting(
        64 * KIB,
        "Responses",
        "--response-buffer",
        help="Finished responses that may wait for a slow client before its next requests are left unread.",
        unit="bytes",
        least=0,
        most=GIB,
    )
    date_header: bool = setting(True, "Responses", "--no-date-header", help="Send no Date field.")
    server_header: bool = setting(True, "Responses", "--no-server-header", help="Send no Server field.")

    # -- Logging ------------------------------------------------------------------------------------------------

    access_logfile: str | None = setting(
        None, "Logging", "--access-logfile", help='Access log in the combined format: a file, or "-" for stdout.'
    )
    error_logfile: str = setting(
        "-",
        "Logging",
        "--error-logfile",
        "--log-file",
        help='Messages and tracebacks: a file, or "-" for stderr.',
    )
    log_level: str = setting(
        "info",
        "Logging",
        "--log-level",
        help="Least severe message that is logged.",
        kind="choice",
        choices=("debug", "info", "warning", "error", "critical"),
    )


SETTINGS: dict[str, Setting] = {
    field.name: Setting(name=field.name, default=field.default, **field.metadata)
    for field in dataclasses.fields(Settings)
}
