"""Options of gunicorn that have no counterpart here, and what to do instead.

A row is for a command line, and for the setting of that option in a gunicorn.conf.py (gunicorn_names.py).  A row whose
option is in the table of settings is not used; a test asks for it to go.  The names are those of gunicorn 23 to 27.
"""

from __future__ import annotations

_TLS = "TLS is not spoken here; let a proxy in front do it (nginx, Caddy, HAProxy)"
_FORWARDED = (
    "fields with an underscore never reach the application; let the proxy set X-Forwarded-Prefix, and name it in "
    "--forwarded-fields, or give --root-path"
)
_LOGGING = "lines are made in the server; for handlers of your own name one with --log-config"
_STATSD = "no metrics are sent; count the lines of the access log"
_PASTE = "PasteDeploy is not read; name a callable: MODULE:ATTR or 'MODULE:FACTORY(...)'"
_WSGI = "WSGI over HTTP/1.1 is all that is spoken here"
_STRICT = "requests are read in one strict way only; let a proxy in front repair what must be let in"

#: The option as it is written -> what to do here.
HINTS: dict[str, str] = {
    **dict.fromkeys(
        ("--control-socket", "--control-socket-mode", "--no-control-socket"),
        "there is none; SIGTERM and SIGINT stop the server",
    ),
    **dict.fromkeys(
        ("--dirty-app", "--dirty-workers", "--dirty-timeout", "--dirty-threads", "--dirty-graceful-timeout"),
        "there are no such workers; a task queue does that (Celery, RQ)",
    ),
    "--enable-backlog-metric": _STATSD,
    "--http-parser": "leave it out: there is one parser",
    "--no-sendfile": "to have a file read and not sent by the kernel, let the application return it from a generator",
    "--worker-tmp-dir": "leave it out: nothing is written to tell that it lives (--spool-dir is for request bodies)",
    **dict.fromkeys(
        (
            "--certfile", "--keyfile", "--ca-certs", "--cert-reqs", "--ciphers", "--ssl-version",
            "--do-handshake-on-connect", "--suppress-ragged-eofs",
        ),
        _TLS,
    ),
    "--forwarder-headers": _FORWARDED,
    "--logger-class": _LOGGING,
    **dict.fromkeys(
        ("-R", "--enable-stdio-inheritance"),
        "leave it out: without --daemon stdout and stderr are kept; with it, --capture-output keeps them in a file",
    ),
    **dict.fromkeys(("--statsd-host", "--statsd-prefix", "--dogstatsd-tags"), _STATSD),
    **dict.fromkeys(("--paste", "--paster", "--paste-global"), _PASTE),
    "--spew": "run a tracer instead: python -m trace --trace -m headrace shop.wsgi",
    **dict.fromkeys(
        (
            "--protocol", "--http-protocols", "--http2-cleartext", "--http2-max-concurrent-streams",
            "--http2-initial-window-size", "--http2-max-frame-size", "--http2-max-header-list-size",
            "--uwsgi-allow-from", "--asgi-loop", "--asgi-lifespan", "--asgi-disconnect-grace-period",
            "--websocket-max-message-size",
        ),
        _WSGI,
    ),
    **dict.fromkeys(
        (
            "--permit-obsolete-folding", "--strip-header-spaces", "--permit-unconventional-http-method",
            "--permit-unconventional-http-version", "--casefold-http-method", "--header-map",
        ),
        _STRICT,
    ),
}  # fmt: skip

#: Those that promise security, or another application: without them nothing is served.
REFUSED = frozenset(
    (
        "--certfile", "--keyfile", "--ca-certs", "--cert-reqs", "--paste", "--paster", "--uwsgi-allow-from",
    )
)  # fmt: skip

#: Those without a value behind them.
SWITCHES = frozenset(
    (
        "--no-sendfile", "--reuse-port",
        "--no-control-socket",
        "--suppress-ragged-eofs", "--do-handshake-on-connect",
        "-R", "--enable-stdio-inheritance", "--spew", "--enable-backlog-metric",
        "--permit-obsolete-folding", "--strip-header-spaces", "--permit-unconventional-http-method",
        "--permit-unconventional-http-version", "--casefold-http-method",
    )
)  # fmt: skip
