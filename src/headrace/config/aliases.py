"""Spellings of other servers: uvicorn's, granian's and waitress's options, with their units, as settings of ours.

Where a flag means different things, gunicorn's meaning goes before all others (--log-config, --root-path, --threads,
--workers, --reload), and these are not in the table.  Versions: uvicorn 0.3x, granian 2, waitress 3.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from headrace.config.given import value_of_text
from headrace.config.setting import Setting
from headrace.config.settings import SETTINGS

MIB = 1 << 20

_TLS = "TLS is not spoken here; let a proxy in front do it (nginx, Caddy, HAProxy)"
_NOTHING = "leave it out: it tunes what is not there"
_HTTP2 = "HTTP/2 is not spoken here; let a proxy in front do it"
_WSGI = "WSGI over HTTP/1.1 is all that is spoken here"
_STATIC = "let a proxy in front serve files, or an application (WhiteNoise)"
_METRICS = "no metrics are exported; an application can (prometheus-client)"
_UNTRUSTED = "fields of peers that are not in --forwarded-allow-ips are removed, and the log says so once"
_COLOURS = "leave it out: logs have no colours"
_TRACEBACKS = "leave it out: tracebacks go to the error log, clients that leave do not"
_RELOAD = "leave it out: there is nothing to tune in when a reload comes"
_PATTERNS = "--reload-exclude takes names and patterns of a shell ('build*'), no regular expressions"
_ENV_FILE = "set the variables before the start (systemd: EnvironmentFile=; set -a; . FILE), or with --env"
_RESPAWN = "leave it out: a worker that dies is replaced"


@dataclass(frozen=True, slots=True)
class Alias:
    """One flag of another server.

    ``setting``: the name of ours, or "host", "port", "socket" and "listen", which make a bind together.  ``convert``:
    its text as a value of ours, ValueError with the words behind "FLAG: ".  ``value``: of a flag that takes none.
    ``hint``: what to do where it has no setting.  ``refused``: it promised what cannot be gone without."""

    servers: tuple[str, ...]
    setting: str = ""
    convert: Callable[[str], object] | None = None
    value: object = None
    takes_value: bool = True
    hint: str = ""
    refused: bool = False


def _milliseconds(text: str) -> object:
    return int(text) / 1000 if text.isascii() and text.isdigit() else text


def _mebibytes(text: str) -> object:
    return int(text) * MIB if text.isascii() and text.isdigit() else text


_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", re.ASCII)


def _duration(text: str) -> object:
    """granian's: seconds, or "1d2h30m5s"."""
    if match := _DURATION.fullmatch(text):
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        if text:
            return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
    return value_of_text(SETTINGS["keep_alive"], text)


def _fields(text: str) -> object:
    """waitress separates them by spaces, in any case."""
    return ",".join(name.title() for name in text.split())


def _interface(text: str) -> object:
    if text in ("wsgi", "auto", "wsgi-server"):
        return None
    raise ValueError(f"{text!r} is not served here: {_WSGI}")


def _http(text: str) -> object:
    if text in ("auto", "1", "h11", "httptools", "zttp"):
        return None
    raise ValueError(f"{text!r} is not served here: {_HTTP2}")


_UVICORN, _GRANIAN, _WAITRESS = ("uvicorn",), ("granian",), ("waitress",)
_ALL = ("uvicorn", "granian", "waitress")

ALIASES: dict[str, Alias] = {
    # -- where to listen
    "--host": Alias(_ALL, "host"),
    "--port": Alias(_ALL, "port"),
    "--uds": Alias(("uvicorn", "granian"), "socket"),
    "--unix-socket": Alias(_WAITRESS, "socket"),
    "--listen": Alias(_WAITRESS, "listen"),
    "--fd": Alias(_UVICORN, "fd"),
    **dict.fromkeys(
        ("--uds-permissions", "--unix-socket-perms"),
        Alias(("granian", "waitress"), "unix_socket_mode"),
    ),
    "--ipv4": Alias(_WAITRESS, hint="name the addresses: -b 0.0.0.0:8080", takes_value=False),
    "--ipv6": Alias(_WAITRESS, hint="name the addresses: -b '[::]:8080'", takes_value=False),
    "--no-ipv4": Alias(_WAITRESS, hint="name the addresses: -b '[::]:8080'", takes_value=False),
    "--no-ipv6": Alias(_WAITRESS, hint="name the addresses: -b 0.0.0.0:8080", takes_value=False),
    # -- the application
    "--app-dir": Alias(_UVICORN, "pythonpath"),
    "--working-dir": Alias(_GRANIAN, "chdir"),
    "--call": Alias(_WAITRESS, "factory", value=True, takes_value=False),
    "--env-file": Alias(_UVICORN, hint=_ENV_FILE),
    "--env-files": Alias(_GRANIAN, hint=_ENV_FILE),
    "--interface": Alias(("uvicorn", "granian"), convert=_interface),
    "--http": Alias(("uvicorn", "granian"), convert=_http),
    **dict.fromkeys(("--ws", "--lifespan"), Alias(_UVICORN, hint=_WSGI)),
    "--no-ws": Alias(_GRANIAN, takes_value=False),
    "--reset-contextvars": Alias(_UVICORN, takes_value=False),  # each request has a context of its own here
    **dict.fromkeys(("--loop", "--task-impl"), Alias(("uvicorn", "granian"), hint=_NOTHING)),
    "--url-path-prefix": Alias(_GRANIAN, "root_path"),
    "--url-prefix": Alias(_WAITRESS, "root_path"),
    # -- processes and threads
    "--blocking-threads": Alias(_GRANIAN, "threads"),
    **dict.fromkeys(
        (
            "--runtime-threads", "--runtime-blocking-threads", "--runtime-mode", "--blocking-threads-idle-timeout",
        ),
        Alias(_GRANIAN, hint=_NOTHING),
    ),
    "--limit-max-requests": Alias(_UVICORN, "max_requests"),
    "--limit-max-requests-jitter": Alias(_UVICORN, "max_requests_jitter"),
    "--workers-lifetime": Alias(_GRANIAN, "max_age", _duration),
    "--workers-max-rss": Alias(_GRANIAN, "max_rss", _mebibytes),
    "--workers-kill-timeout": Alias(_GRANIAN, "graceful_timeout", _duration),
    **dict.fromkeys(("--rss-sample-interval", "--rss-samples"), Alias(_GRANIAN, hint=_NOTHING)),
    "--respawn-interval": Alias(_GRANIAN, hint=_RESPAWN),
    **dict.fromkeys(
        ("--respawn-failed-workers", "--no-respawn-failed-workers"), Alias(_GRANIAN, hint=_RESPAWN, takes_value=False)
    ),
    "--timeout-worker-healthcheck": Alias(_UVICORN, hint=_NOTHING),
    "--process-name": Alias(_GRANIAN, "proc_name"),
    "--pid-file": Alias(_GRANIAN, "pid"),
    # -- limits
    "--limit-concurrency": Alias(_UVICORN, hint="--queue-deadline gives 503 to requests that wait for too long"),
    "--backpressure": Alias(_GRANIAN, hint="--threads is the number of requests inside the application"),
    "--connection-limit": Alias(_WAITRESS, "worker_connections"),
    "--max-request-header-size": Alias(_WAITRESS, "limit_request_head"),
    "--max-request-body-size": Alias(_WAITRESS, "limit_request_body"),
    "--h11-max-incomplete-event-size": Alias(_UVICORN, "limit_request_head"),
    "--http1-buffer-size": Alias(_GRANIAN, hint="--limit-request-head limits a request head"),
    "--inbuf-overflow": Alias(_WAITRESS, "request_body_memory"),
    **dict.fromkeys(
        ("--outbuf-overflow", "--outbuf-high-watermark"),
        Alias(_WAITRESS, hint="leave it out: each block leaves before the next is asked for"),
    ),
    **dict.fromkeys(
        (
            "--recv-bytes", "--send-bytes", "--cleanup-interval", "--asyncore-loop-timeout",
            "--channel-request-lookahead",
        ),
        Alias(_WAITRESS, hint=_NOTHING),
    ),
    "--asyncore-use-poll": Alias(_WAITRESS, hint=_NOTHING, takes_value=False),
    # -- deadlines
    "--timeout-keep-alive": Alias(_UVICORN, "keep_alive"),
    "--timeout-graceful-shutdown": Alias(_UVICORN, "graceful_timeout"),
    "--channel-timeout": Alias(_WAITRESS, "keep_alive"),
    "--http1-header-read-timeout": Alias(_GRANIAN, "head_timeout", _milliseconds),
    "--http1-keep-alive": Alias(_GRANIAN, takes_value=False),
    "--no-http1-keep-alive": Alias(_GRANIAN, "keep_alive", value=0.0, takes_value=False),
    **dict.fromkeys(("--http1-pipeline-flush", "--no-http1-pipeline-flush"), Alias(_GRANIAN, takes_value=False)),
    # -- HTTP/2
    "--http2": Alias(_UVICORN, hint=_HTTP2, takes_value=False),
    **dict.fromkeys(
        (
            "--http2-initial-connection-window-size", "--http2-initial-stream-window-size",
            "--http2-keep-alive-interval", "--http2-keep-alive-timeout", "--http2-max-headers-size",
            "--http2-max-send-buffer-size", "--ws-max-size", "--ws-max-queue", "--ws-ping-interval",
            "--ws-ping-timeout", "--ws-per-message-deflate",
        ),
        Alias(("uvicorn", "granian"), hint=_WSGI),
    ),
    **dict.fromkeys(
        ("--http2-adaptive-window", "--no-http2-adaptive-window"), Alias(_GRANIAN, hint=_HTTP2, takes_value=False)
    ),
    # -- logs
    "--access-log": Alias(("uvicorn", "granian"), "access_logfile", value="-", takes_value=False),
    "--no-access-log": Alias(("uvicorn", "granian"), "access_logfile", value=None, takes_value=False),
    "--access-log-fmt": Alias(_GRANIAN, hint="--access-logformat has gunicorn's atoms, where granian has names"),
    "--log": Alias(_GRANIAN, takes_value=False),
    "--no-log": Alias(_GRANIAN, "log_level", value="critical", takes_value=False),
    **dict.fromkeys(
        ("--use-colors", "--no-use-colors"), Alias(_UVICORN, hint=_COLOURS, takes_value=False)
    ),
    **dict.fromkeys(
        ("--log-socket-errors", "--no-log-socket-errors", "--expose-tracebacks", "--no-expose-tracebacks"),
        Alias(_WAITRESS, hint=_TRACEBACKS, takes_value=False),
    ),
    # -- what is sent, and believed
    "--ident": Alias(_WAITRESS, hint="the Server field is ours, or none (--no-server-header)"),
    "--header": Alias(_UVICORN, hint="let the application or the proxy add fields"),
    "--url-scheme": Alias(_WAITRESS, hint="the scheme is what a trusted proxy says, or http"),
    "--proxy-headers": Alias(_UVICORN, takes_value=False),
    "--no-proxy-headers": Alias(_UVICORN, "forwarded_allow_ips", value="", takes_value=False),
    "--trusted-proxy": Alias(_WAITRESS, "forwarded_allow_ips"),
    "--trusted-proxy-count": Alias(_WAITRESS, "forwarded_hops"),
    "--trusted-proxy-headers": Alias(_WAITRESS, "forwarded_fields", _fields),
    **dict.fromkeys(
        ("--clear-untrusted-proxy-headers", "--log-untrusted-proxy-headers"), Alias(_WAITRESS, takes_value=False)
    ),
    **dict.fromkeys(
        ("--no-clear-untrusted-proxy-headers", "--no-log-untrusted-proxy-headers"),
        Alias(_WAITRESS, hint=_UNTRUSTED, takes_value=False),
    ),
    # -- development
    "--reload-dir": Alias(_UVICORN, "reload_include"),
    "--reload-delay": Alias(_UVICORN, hint=_RELOAD),
    "--reload-paths": Alias(_GRANIAN, "reload_include"),
    **dict.fromkeys(("--reload-ignore-dirs", "--reload-ignore-paths"), Alias(_GRANIAN, "reload_exclude")),
    "--reload-ignore-patterns": Alias(_GRANIAN, hint=_PATTERNS),
    "--reload-tick": Alias(_GRANIAN, hint=_RELOAD),
    **dict.fromkeys(
        ("--reload-ignore-worker-failure", "--no-reload-ignore-worker-failure"),
        Alias(_GRANIAN, hint=_RELOAD, takes_value=False),
    ),
    # -- what a proxy does
    **dict.fromkeys(
        (
            "--ssl-certificate", "--ssl-certfile", "--ssl-keyfile", "--ssl-keyfile-password", "--ssl-protocol-min",
            "--ssl-ca", "--ssl-ca-certs", "--ssl-cert-reqs", "--ssl-ciphers", "--ssl-crl",
        ),
        Alias(("uvicorn", "granian"), hint=_TLS, refused=True),
    ),
    "--ssl-client-verify": Alias(_GRANIAN, hint=_TLS, refused=True, takes_value=False),
    "--no-ssl-client-verify": Alias(_GRANIAN, takes_value=False),
    **dict.fromkeys(
        ("--static-path-route", "--static-path-mount", "--static-path-dir-to-file", "--static-path-expires"),
        Alias(_GRANIAN, hint=_STATIC),
    ),
    **dict.fromkeys(("--metrics", "--no-metrics"), Alias(_GRANIAN, hint=_METRICS, takes_value=False)),
    **dict.fromkeys(
        ("--metrics-scrape-interval", "--metrics-address", "--metrics-port"), Alias(_GRANIAN, hint=_METRICS)
    ),
}  # fmt: skip


def opposites(settings: Iterable[Setting]) -> dict[str, Alias]:
    """For each switch the flag that turns it back: --no-factory, --date-header.  A file may have set it otherwise."""
    taken = {flag for setting in SETTINGS.values() for flag in setting.flags} | set(ALIASES)
    found = {}
    for setting in settings:
        for flag in setting.flags if setting.kind == "switch" else ():
            other = "--" + flag.removeprefix("--no-") if flag.startswith("--no-") else "--no-" + flag.removeprefix("--")
            if flag.startswith("--") and other not in taken:
                found[other] = Alias((), setting.name, value=setting.default, takes_value=False)
    return found


def all_aliases() -> dict[str, Alias]:
    """Flag -> what it means, without those that a setting has for itself."""
    taken = {flag for setting in SETTINGS.values() for flag in setting.flags}
    table = {**ALIASES, **opposites(SETTINGS.values())}
    return {flag: alias for flag, alias in table.items() if flag not in taken}


def binds_of(
    host: str, port: str, sockets: Iterable[str], listens: Iterable[str], descriptors: Iterable[str]
) -> list[str]:
    """--host, --port, --uds, --listen and --fd together, as binds.  A port alone is 127.0.0.1, as everywhere here."""
    binds = []
    for listen in listens:
        for part in listen.split():
            name, _, number = part.rpartition(":")
            binds += [f"0.0.0.0:{number}", f"[::]:{number}"] if name == "*" else [part]
    binds += [f"unix:{path}" for path in sockets]
    binds += [f"fd://{number}" for number in descriptors]
    if host or port:
        name = "0.0.0.0" if host == "*" else host or "127.0.0.1"
        name = f"[{name}]" if ":" in name and not name.startswith("[") else name
        binds.append(f"{name}:{port or '8000'}")
    return binds
