"""The one table of settings: each with type, default, unit, range, flags and help, and beside it the reason why.

The command line, the environment (HEADRACE_*), the configuration files, the keywords of serve() and Server, the checks
and docs/settings.md all come from here.  Neighbours' values in the comments are those of gunicorn 23, waitress 3,
uvicorn 0.3x, granian 2, nginx and Apache httpd 2.4.  Rows about processes are in process_settings.py.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from headrace.config.behind import PRESETS
from headrace.config.process_settings import ProcessSettings
from headrace.config.proxies import networks, root_path, unix_mode
from headrace.config.setting import GIB, KIB, MIB, Setting, setting
from headrace.forwarded_fields import DEFAULT_FIELDS, DEFAULT_TRUSTED, HOPS_MAX, known_fields

#: Headings of --help, in their order.
GROUPS = (
    "Sockets", "Proxies", "Application", "Workers", "Threads", "Limits", "Deadlines", "Bodies", "Responses",
    "Operations", "Logging", "Process", "Development",
)  # fmt: skip

#: Of these nothing can be had by serve() and Server: they are for a command that owns its processes.
COMMAND_GROUPS = ("Application", "Workers", "Process", "Development")


@dataclass(frozen=True, kw_only=True)
class ServingSettings:
    """What concerns clients and their requests.  Units: bytes, seconds, or a count, as each row says."""

    # -- Sockets ------------------------------------------------------------------------------------------------

    # 127.0.0.1, not every interface: who wants the network in says so (gunicorn, uvicorn, granian: the same;
    # waitress 0.0.0.0).
    bind: tuple[str, ...] = setting(
        ("127.0.0.1:8000",),
        "Sockets",
        "-b",
        "--bind",
        help="Where to listen: HOST:PORT, :PORT, [IPV6]:PORT, unix:PATH, unix:@NAME (abstract), fd://NUMBER "
        "(inherited), systemd or systemd:NAME (socket activation). May be repeated. Port 0 picks a free one.",
        metavar="ADDRESS",
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
    # Accept stops here, unless idle ones make room (engine/polling.pyx), so that descriptors are left for files and
    # databases. gunicorn 1000, waitress 100, nginx 512 (768 in Debian). An idle connection costs under 1 KiB here, so
    # we can afford more.
    worker_connections: int = setting(
        10_000,
        "Sockets",
        "--worker-connections",
        help="Connections that are open at the same time. For more the oldest make room that have idled for 2 s, or "
        "half of --keep-alive; without such they wait in the backlog.",
        unit="connections",
        least=1,
        most=1_000_000,
    )
    # gunicorn gthread 1, waitress 4, granian and peregrine 1. Threads cost less than 5 % while calls are quick: see
    # engine/crew.pxd. An application that is not thread-safe wants 1.
    threads: int = setting(
        8,
        "Threads",
        "--threads",
        help="Threads that run the application; one that is not thread-safe wants 1.",
        unit="threads",
        least=1,
        most=4096,
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

    # So that several servers can listen at one port and the kernel deals connections out among them (SO_REUSEPORT,
    # socket(7)). gunicorn, granian: the same option. What waits in the backlog of one that ends is lost.
    reuse_port: bool = setting(
        False, "Sockets", "--reuse-port", help="Let other servers, of the same user, listen at the same port as well."
    )
    # gunicorn makes it 0777 unless --umask says otherwise, waitress 600 (unix_socket_perms), uvicorn 666.
    unix_socket_mode: str | None = setting(
        None,
        "Sockets",
        "--unix-socket-mode",
        help="Permissions of UNIX sockets, octal; 660 with a group lets a proxy in (default: what the umask leaves).",
        unit="mode",
        check=unix_mode,
    )
    # gunicorn: --user and --group; systemd: SocketUser=, SocketGroup=.
    unix_socket_owner: str | None = setting(
        None,
        "Sockets",
        "--unix-socket-owner",
        help="Owner of UNIX sockets: USER, USER:GROUP or :GROUP, by name or number.",
        unit="owner",
    )

    # -- Proxies ------------------------------------------------------------------------------------------------

    behind: str | None = setting(
        None,
        "Proxies",
        "--behind",
        help="Set what this balancer in front needs: --keep-alive and --forwarded-*, where they are not given.",
        kind="choice",
        choices=tuple(PRESETS),
    )
    # gunicorn 127.0.0.1,::1 and every UNIX peer, for the scheme alone; uvicorn 127.0.0.1; waitress nobody. Who is not
    # in it has X-Forwarded-* and the like removed, as with waitress (clear_untrusted_proxy_headers).
    forwarded_allow_ips: tuple[str, ...] = setting(
        DEFAULT_TRUSTED,
        "Proxies",
        "--forwarded-allow-ips",
        help="Networks of proxies whose --forwarded-fields are believed, separated by commas; also unix, and * for "
        "everybody. From others they are removed.",
        kind="list",
        check=networks,
    )
    # gunicorn X-Forwarded-Proto and its like, uvicorn -For and -Proto, waitress none.
    forwarded_fields: tuple[str, ...] = setting(
        DEFAULT_FIELDS,
        "Proxies",
        "--forwarded-fields",
        help="Fields that the nearest proxy sets: Forwarded, or some of X-Forwarded-For, -Proto, -Host, -Port and "
        "-Prefix. Name none that it passes on as the client sent it.",
        kind="list",
        check=known_fields,
    )
    # waitress 1 (trusted_proxy_count), Werkzeug's ProxyFix 1; gunicorn and uvicorn have none.
    forwarded_hops: int = setting(
        0,
        "Proxies",
        "--forwarded-hops",
        help="Number of proxies, each of which adds an address: the client's is the so many-th from the end. 0: "
        f"addresses are skipped as long as they are in --forwarded-allow-ips, up to the {HOPS_MAX}th.",
        unit="proxies",
        least=0,
        most=HOPS_MAX,
    )
    # Off: a client could say anything. gunicorn: the same option; there the header may be left out.
    proxy_protocol: bool = setting(
        False,
        "Proxies",
        "--proxy-protocol",
        help="Connections from --proxy-allow-from begin with a PROXY header, version 1 or 2; those without are closed.",
    )
    # gunicorn 127.0.0.1,::1 and every UNIX peer.
    proxy_allow_from: tuple[str, ...] = setting(
        DEFAULT_TRUSTED,
        "Proxies",
        "--proxy-allow-from",
        help="Networks whose connections begin so, separated by commas; also unix and *. Others speak HTTP alone.",
        kind="list",
        check=networks,
    )
    # uvicorn: --root-path, gunicorn: SCRIPT_NAME in the environment.
    root_path: str = setting(
        "",
        "Proxies",
        "--root-path",
        help="Where the application is mounted: SCRIPT_NAME. PATH_INFO goes without it where a path begins with it.",
        check=root_path,
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

    # Nobody has it. A second parser makes no mistake that the first one has made; it costs some microseconds for each
    # request. What is refused then, and what is not: docs/referee.md.
    referee: bool = setting(
        False,
        "Limits",
        "--referee",
        help="Have each request head read a second time, by llhttp, and refuse with 400 what the two read differently; "
        "needs headrace[referee].",
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
        help="Time that requests in flight may take after SIGTERM (without --workers SIGINT, too), or once their "
        "worker is to leave.",
        unit="seconds",
        least=0,
        most=86400,
    )

    # Nobody has it. A proxy's own time-out for us, or what users wait for, less what the application needs.
    queue_deadline: float = setting(
        0.0,
        "Threads",
        "--queue-deadline",
        help="Requests that have waited so long for a thread, from when they were complete and the answer before them "
        "was made (or from a trusted proxy's X-Request-Start), get 503, and the newest goes first; 0: off.",
        unit="seconds",
        least=0,
        most=3600,
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
    # One that is named has to be there and writable at the start; for the default place there is anonymous memory.
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
    # watermark), Node 16 KiB, asyncio 64 KiB. At most waitress's 16 MiB: scratch of this size is allocated at the
    # start, and each connection that does not read may come to keep as much. The kernel's own send buffer, which ends
    # at 4 MiB (net.ipv4.tcp_wmem), comes on top, so that more would not make any client faster.
    response_buffer: int = setting(
        64 * KIB,
        "Responses",
        "--response-buffer",
        help="Finished responses that may wait for a slow client before its next requests are left unread.",
        unit="bytes",
        least=0,
        most=16 * MIB,
    )
    date_header: bool = setting(
        True, "Responses", "--no-date-header", help="Send a Date field.", off_help="Send no Date field."
    )
    server_header: bool = setting(
        True, "Responses", "--no-server-header", help="Send a Server field.", off_help="Send no Server field."
    )


@dataclass(frozen=True, kw_only=True)
class Settings(ProcessSettings, ServingSettings):
    """The table; dataclasses take the rows of the last base first."""


SETTINGS: dict[str, Setting] = {
    field.name: Setting(name=field.name, default=field.default, **field.metadata)
    for field in dataclasses.fields(Settings)
}
