"""The part of the table of settings that is about processes: application, workers, operations, logs, identity.

See settings.py, which has the rest and puts the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headrace.config.access_format import parse_access_format
from headrace.config.proxies import health_path
from headrace.config.setting import setting, unchanged
from headrace.config.syslog_address import DEFAULT_ADDRESS, FACILITIES, parse_syslog_address


@dataclass(frozen=True, kw_only=True)
class ProcessSettings:
    """Units: bytes, seconds, or a count, as each row says."""

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

    # For configuration files, as gunicorn has it; the APPLICATION of the command line goes before it.
    wsgi_app: str | None = setting(None, "Application", help="The application, where the command line names none.")
    # Set before the application is loaded. gunicorn the same (raw_env).
    env: tuple[str, ...] = setting(
        (),
        "Application",
        "-e",
        "--env",
        help="A variable for the environment of the process. May be repeated.",
        metavar="NAME=VALUE",
    )

    # -- Workers ------------------------------------------------------------------------------------------------

    # Without it one process, and no supervisor. gunicorn, uvicorn and granian 1; $WEB_CONCURRENCY is gunicorn's, too.
    workers: int = setting(
        0,
        "Workers",
        "-w",
        "--workers",
        help="Worker processes, which a supervisor starts and replaces; 0: one process without supervisor, unless "
        "$WEB_CONCURRENCY says otherwise.",
        unit="workers",
        least=0,
        most=1024,
    )
    # On, where gunicorn's is off: the memory is shared, a reload gets new code all the same, and an import that leaves
    # threads or connections behind is noticed.
    preload: bool = setting(
        True,
        "Workers",
        "--no-preload",
        help="One process imports the application, and all workers are forked from it.",
        off_help="Each worker imports the application, instead of one process from which all of them are forked.",
    )
    # gunicorn 0, uvicorn (--limit-max-requests) and granian none.
    max_requests: int = setting(
        0,
        "Workers",
        "--max-requests",
        help="A worker is replaced after so many requests; 0: never.",
        unit="requests",
        least=0,
        most=1 << 60,
    )
    # gunicorn 0.
    max_requests_jitter: int = setting(
        0,
        "Workers",
        "--max-requests-jitter",
        help="At most so many more, at random, so that workers do not leave together.",
        unit="requests",
        least=0,
        most=1 << 60,
    )
    # gunicorn none, granian --workers-max-rss (MiB), uWSGI reload-on-rss (MiB).
    max_rss: int = setting(
        0,
        "Workers",
        "--max-rss",
        help="A worker is replaced when its resident memory is more, looked at between requests; 0: never.",
        unit="bytes",
        least=0,
        most=1 << 60,
    )
    # gunicorn none, granian --workers-lifetime, uWSGI max-worker-lifetime.
    max_age: float = setting(
        0.0,
        "Workers",
        "--max-age",
        help="A worker is replaced after this time; 0: never.",
        unit="seconds",
        least=0,
        most=366 * 86400,
    )

    # -- Operations ---------------------------------------------------------------------------------------------

    # Off by default.  gunicorn has 30, but means a worker that shows no sign of life: with threads a request may take
    # as long as it likes there.  Here it is a limit on each request, which would break exports and reports that work
    # today, by an exception at any line, and only their owner can weigh that.  uWSGI's harakiri and mod_wsgi's
    # request-timeout are off by default, too; waitress, uvicorn and granian have none.
    timeout: float = setting(
        0.0,
        "Operations",
        "-t",
        "--timeout",
        help="Time that the application may take without progress: until it returns, or between two blocks of its "
        "response. Waiting for the client does not count. Later the log shows its stack, and RequestTimeout is raised "
        "in its thread at its next line of Python, so a call that blocks in C ends late. A worker is replaced then and "
        "cuts what still goes on after --graceful-timeout; a server without --workers does not. 0: off.",
        unit="seconds",
        least=0,
        most=86400,
    )

    # gunicorn, uvicorn and waitress have none: there a health check takes a thread, and fails when all are busy.
    health_path: str | None = setting(
        None,
        "Operations",
        "--health-path",
        help="Target that the server answers by itself, to GET and HEAD: 200, or 503 once SIGTERM has come. "
        "It is compared with what was sent, --root-path included. Such requests are not in the access log. With "
        "--threads 1 they wait for a call that runs.",
        check=health_path,
    )
    # Balancers look every 5 to 30 s and go by two or three failures: Kubernetes 10 s and three, ALB 30 s and two.
    # Envoy has --drain-time-s, 600; gunicorn and nginx nothing of the kind.
    drain_delay: float = setting(
        0.0,
        "Operations",
        "--drain-delay",
        help="Time after SIGTERM in which the server goes on serving and accepting while --health-path fails; then "
        "--graceful-timeout begins.",
        unit="seconds",
        least=0,
        most=3600,
    )
    # nginx sends it where it is set (keepalive_timeout's second value), Apache and Node.js do by themselves. Clients
    # that read it (Node's agents, Apache's HttpClient) do not use a connection that is about to be closed.
    keep_alive_header: bool = setting(
        True,
        "Operations",
        "--no-keep-alive-header",
        help="Tell clients how long an idle connection is kept (Keep-Alive).",
        off_help="Do not tell clients how long an idle connection is kept.",
    )

    # -- Logging ------------------------------------------------------------------------------------------------

    # Lines are written by a thread of their own (engine/access_lines.pxd), 0.1 s after the first of a batch at the
    # latest; up to 1 MiB of them wait for a slow disk or reader. gunicorn and granian write each line in the request.
    access_logfile: str | None = setting(
        None, "Logging", "--access-logfile", help='Access log: a file, or "-" for stdout.'
    )
    # gunicorn's atoms and spelling. uvicorn and waitress have one format each, granian atoms of its own.
    access_logformat: str = setting(
        "combined",
        "Logging",
        "--access-logformat",
        help="common, combined, json, json-ecs (Elastic's names), json-otel (OpenTelemetry's), or a text with "
        "gunicorn's atoms: '%(h)s \"%(r)s\" %(s)s'.",
        check=unchanged(parse_access_format),
        metavar="FORMAT",
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
    log_format: str = setting(
        "text",
        "Logging",
        "--log-format",
        help="What a message of the error log is: a line of text, or a JSON object with its code as a field.",
        kind="choice",
        choices=("text", "json"),
    )
    # gunicorn: the same three; the dict comes from configuration files.
    log_config: str | None = setting(
        None, "Logging", "--log-config", help="Logging configuration for the error log: an ini file (logging.config)."
    )
    log_config_json: str | None = setting(
        None, "Logging", "--log-config-json", help="The same as a JSON file (logging.config.dictConfig)."
    )
    logconfig_dict: dict[str, Any] | None = setting(  # noqa: RUF009  # the default is None
        None, "Logging", kind="table", help="The same in a configuration file, as a table."
    )
    log_syslog: bool = setting(
        False, "Logging", "--log-syslog", help="Send the error log and the access log to syslog, too."
    )
    # The local daemon by default, who is there on every Linux; gunicorn: udp://localhost:514.
    log_syslog_to: str = setting(
        DEFAULT_ADDRESS,
        "Logging",
        "--log-syslog-to",
        help="Where syslog listens: unix:///PATH or udp://HOST:PORT.",
        check=unchanged(parse_syslog_address),
        metavar="ADDRESS",
    )
    log_syslog_prefix: str | None = setting(
        None,
        "Logging",
        "--log-syslog-prefix",
        help="Messages are from headrace.PREFIX instead of headrace.",
        metavar="PREFIX",
    )
    # gunicorn: user.
    log_syslog_facility: str = setting(
        "user",
        "Logging",
        "--log-syslog-facility",
        help="Facility of messages to syslog.",
        kind="choice",
        choices=tuple(FACILITIES),
    )
    disable_redirect_access_to_syslog: bool = setting(
        False, "Logging", "--disable-redirect-access-to-syslog", help="Keep the access log out of syslog."
    )

    # -- Process ------------------------------------------------------------------------------------------------

    # For a start as root. gunicorn keeps root's groups unless told otherwise, nginx and Apache take those of the user.
    user: str | None = setting(
        None,
        "Process",
        "-u",
        "--user",
        help="Become this user (name or number) before the application is loaded.",
        metavar="USER",
    )
    group: str | None = setting(
        None,
        "Process",
        "-g",
        "--group",
        help="Become this group (name or number; default: the user's).",
        metavar="GROUP",
    )
    initgroups: bool = setting(
        False, "Process", "--initgroups", help="Take the user's supplementary groups as well; without it: none."
    )
    # gunicorn 0, which makes UNIX sockets that everybody may connect to; here it stays what it is (022 mostly).
    umask: int | None = setting(
        None,
        "Process",
        "-m",
        "--umask",
        kind="umask",
        help="Mode bits, in octal (027), that files and UNIX sockets do not get (default: left as it is).",
    )
    pid: str | None = setting(
        None, "Process", "-p", "--pid", help="File for the pid; there while the server runs, and refused if it runs."
    )
    proc_name: str | None = setting(
        None,
        "Process",
        "-n",
        "--name",
        kind="text",
        help="Name in the process title (default: APPLICATION); needs headrace[title].",
        metavar="NAME",
    )
    # gunicorn's parent exits with 0 before anything was tried. Service managers and containers want it off.
    daemon: bool = setting(
        False,
        "Process",
        "-D",
        "--daemon",
        help="Go to the background; the command ends with 0 once the server serves.",
    )
    # gunicorn has it, too; with error_logfile "-" it has nothing to do.
    capture_output: bool = setting(
        False,
        "Process",
        "--capture-output",
        help="Standard output and error of the application go to the error log's file.",
    )

    # -- Development --------------------------------------------------------------------------------------------

    # gunicorn, uvicorn and granian have it by this name.
    reload: bool = setting(
        False, "Development", "--reload", help="Load the application anew when one of its files has changed."
    )
    # gunicorn calls its library inotify, too; ours is watchfiles. Polling is for folders that tell nothing (NFS, a
    # virtual machine's shared folders).
    reload_engine: str = setting(
        "auto",
        "Development",
        "--reload-engine",
        help="How changes are noticed; inotify needs headrace[reload], and auto takes it where it is installed.",
        kind="choice",
        choices=("auto", "poll", "inotify"),
    )
    reload_extra_file: tuple[str, ...] = setting(
        (), "Development", "--reload-extra-file", help="Another file to watch. May be repeated.", metavar="FILE"
    )
    # uvicorn's --reload-include, granian's --reload-paths.
    reload_include: tuple[str, ...] = setting(
        (),
        "Development",
        "--reload-include",
        help="Files to watch by pattern ('templates/**/*.html'), or a folder. May be repeated.",
        metavar="GLOB",
    )
    reload_exclude: tuple[str, ...] = setting(
        (),
        "Development",
        "--reload-exclude",
        help="Files and folders not to watch, by name or pattern. May be repeated.",
        metavar="GLOB",
    )
