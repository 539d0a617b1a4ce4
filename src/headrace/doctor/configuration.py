"""What the settings would do here: binds, files, users, and numbers that contradict each other."""

from __future__ import annotations

import configparser
import errno
import json
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import asdict
from importlib import import_module
from ipaddress import ip_address
from pathlib import Path

from headrace.config import Address, AddressError, Config, ConfigError, check_referee, parse_bind, with_usable_spool_dir
from headrace.config.resolve import NO_HEALTH_PATH, NO_HEALTH_PATH_HINT
from headrace.doctor.findings import Finding
from headrace.doctor.rehearsal import answer_of_child, can_become, told_of_user
from headrace.networks import EVERYBODY
from headrace.process.application import ApplicationError, load_application
from headrace.process.identity import Identity, PrivilegeError, drop_privileges, identity_of, set_environment


def examine_configuration(config: Config) -> Iterator[Finding]:
    """Binds, files, logs, users, and settings that contradict each other."""
    for bind in config.bind:
        yield from examine_bind(bind)
    yield from files(config)
    yield from spool_folder(config)
    yield from referee(config)
    yield from log_configuration(config)
    yield from identity(config)
    yield from trust(config)
    yield from exposure(config)
    yield from deadlines(config)
    yield from limits(config)


def examine_application(target: str, config: Config) -> Iterator[Finding]:
    """Imports it, as the server would: with its environment, and as the user that it becomes."""
    try:
        found = identity_of(config)
    except ConfigError:
        return  # identity() says so
    if found is None:
        yield from _load(target, config)
    elif not can_become(found):
        text = f"{target} is not imported: it would not be as user {found.name or found.uid}"
        yield Finding("application", "note", text, "look as root")
    else:
        code, answer = answer_of_child(lambda: [asdict(one) for one in _load_as(found, target, config)])
        if answer is None:
            text = f"importing {target} has ended its process with exit code {code}"
            yield Finding("application", "error", text, "headrace shows more at the start")
        else:
            yield from (Finding(**fields) for fields in answer)


def _load_as(found: Identity, target: str, config: Config) -> Iterator[Finding]:
    """In a child process."""
    import_module("headrace.process.worker")  # as at a start: the new user might not be able to read our own modules
    try:
        drop_privileges(found)
    except PrivilegeError as error:
        yield Finding("user", "error", str(error), error.hint)
        return
    reason = told_of_user(found)
    if reason:
        yield Finding("user", "warning", reason)
    try:
        with_usable_spool_dir(config, "--spool-dir")
    except ConfigError as error:
        yield Finding("user", "error", error.problems[0], "give it to that user, or leave the option out")
    yield from _load(target, config)


def _load(target: str, config: Config) -> Iterator[Finding]:
    set_environment(config.env)
    try:
        load_application(target, config.factory)
    except ApplicationError as error:
        yield Finding("application", "error", str(error), error.hint or "headrace shows the traceback at the start")
    else:
        yield Finding("application", "ok", f"{target} can be loaded")


# -- Binds ------------------------------------------------------------------------------------------------------------


def examine_bind(bind: str) -> Iterator[Finding]:
    """What binding would say, without listening: nobody's request can come here meanwhile."""
    try:
        address = parse_bind(bind)
    except AddressError as error:
        yield Finding("binds", "note", f"{bind}: {error}", "it is looked at when the server starts")
        return
    yield from _unix(address) if address.path is not None else _tcp(address)


def _tcp(address: Address) -> Iterator[Finding]:
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )
    except (socket.gaierror, UnicodeError) as error:
        yield Finding("binds", "error", f"{address}: {address.host!r} does not resolve ({error})", "check the name")
        return
    family, kind, _, _, sockaddr = next((entry for entry in found if entry[0] == socket.AF_INET), found[0])
    try:
        with socket.socket(family, kind) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(sockaddr)
    except OSError as error:
        yield Finding("binds", "error", f"{address}: {(error.strerror or str(error)).lower()}", _advice(error, address))
        return
    if address.host in ("0.0.0.0", "::"):
        yield Finding(
            "binds", "note", f"{address}: free, and open to every network that this machine is in",
            "127.0.0.1 or a UNIX socket, where a proxy on this machine is the only client",
        )  # fmt: skip
    else:
        yield Finding("binds", "ok", f"{address}: free")


def _advice(error: OSError, address: Address) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"another program listens there; ss -ltnp 'sport = :{address.port}' names it"
    if error.errno == errno.EACCES:
        return "a port below 1024 takes root (see --user), CAP_NET_BIND_SERVICE, or systemd's socket activation"
    if error.errno == errno.EADDRNOTAVAIL:
        return "no interface of this machine has this address"
    return ""


def _unix(address: Address) -> Iterator[Finding]:
    path = Path(address.path or "")
    folder = path.parent
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        if not folder.is_dir():
            yield Finding("binds", "error", f"{address}: the folder {folder} is not there", f"mkdir {folder}")
        elif not os.access(folder, os.W_OK | os.X_OK):
            text = f"{address}: {folder} may not be written to"
            yield Finding("binds", "error", text, "another folder, or its owner")
        else:
            yield Finding("binds", "ok", f"{address}: free")
        return
    except OSError as error:
        yield Finding("binds", "error", f"{address}: {(error.strerror or str(error)).lower()}", "another path")
        return
    if not stat.S_ISSOCK(mode):
        text = f"{address}: a file is there that is no socket"
        yield Finding("binds", "error", text, "another path; it is left as it is")
    elif _somebody_accepts(str(path)):
        action = f"another program listens there; ss -lxp src {path} names it"
        yield Finding("binds", "error", f"{address}: in use", action)
    else:
        yield Finding("binds", "ok", f"{address}: a stale socket is there, which will be replaced")


def _somebody_accepts(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True


# -- Files and users --------------------------------------------------------------------------------------------------


def files(config: Config) -> Iterator[Finding]:
    """Can the pid file and the logs be written, as who looks?  They are not made."""
    for option, name in (
        ("--pid", config.pid),
        ("--error-logfile", config.error_logfile),
        ("--access-logfile", config.access_logfile),
    ):
        if name is None or name == "-":
            continue
        path = Path(name)
        if path.exists():
            usable = os.access(path, os.W_OK) and not path.is_dir()
        else:
            usable = os.access(path.parent, os.W_OK | os.X_OK)
        if usable:
            yield Finding("files", "ok", f"{option} {name}")
        else:
            action = f"make the folder {path.parent}, or give it to who starts the server"
            yield Finding("files", "error", f"{option} {name} cannot be written", action)
    if config.daemon and config.error_logfile == "-":
        text = "--daemon without --error-logfile: messages go nowhere once the server serves"
        yield Finding("files", "warning", text, "--error-logfile PATH")


def spool_folder(config: Config) -> Iterator[Finding]:
    """--spool-dir, as who looks."""
    try:
        with_usable_spool_dir(config, "--spool-dir")
    except ConfigError as error:
        yield Finding("files", "error", error.problems[0], "make the folder, or leave the option out")


def referee(config: Config) -> Iterator[Finding]:
    """Is --referee asked for, and can it be had?  That its library is there does not turn it on."""
    try:
        check_referee(config, "--referee")
    except ConfigError as error:
        yield Finding("libraries", "error", error.problems[0], "install it, or leave the option out")
    else:
        yield Finding("libraries", "ok", f"the referee is {'on' if config.referee else 'off without --referee'}")


def log_configuration(config: Config) -> Iterator[Finding]:
    """--log-config or --log-config-json: is it there, and is it what it should be?  It is not applied, which would open
    the files that it names."""
    if config.logconfig_dict or (config.log_config is None and config.log_config_json is None):
        return
    option, name = ("--log-config-json", config.log_config_json) if config.log_config_json is not None else (
        "--log-config", config.log_config
    )  # fmt: skip
    assert name is not None  # noqa: S101
    try:
        text = Path(name).read_text(encoding="utf-8")
        _parse_log_configuration(option, text)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        yield Finding("files", "error", f"{option} {name} cannot be read: {reason}", "give the path of a file")
    except (ValueError, configparser.Error) as error:
        text = f"{option} {name} is no logging configuration: {' '.join(str(error).split())}"
        yield Finding("files", "error", text, "logging.config describes them")
    else:
        yield Finding("files", "ok", f"{option} {name}")


def _parse_log_configuration(option: str, text: str) -> None:
    """Raises ValueError and configparser.Error."""
    if option == "--log-config-json":
        if not isinstance(json.loads(text), dict):
            raise ValueError("it is no object")
        return
    parser = configparser.ConfigParser(None)
    parser.read_string(text)
    for section in ("formatters", "handlers", "loggers"):
        parser.get(section, "keys")


def identity(config: Config) -> Iterator[Finding]:
    """Who the application would run as, and whether this process can become it."""
    try:
        found = identity_of(config)
    except ConfigError as error:
        for problem in error.problems:
            yield Finding("user", "error", problem, "getent passwd and getent group list who there is")
        return
    if found is None:
        if os.geteuid() == 0:
            text = "the application runs as root"
            yield Finding("user", "warning", text, "--user, or another user from the start (systemd: User=)")
        else:
            yield Finding("user", "ok", f"it runs as user {os.geteuid()}, group {os.getegid()}")
    elif os.geteuid() != 0 and not found.is_present():
        text = f"it cannot become user {found.name or found.uid} (group {found.gid}) from user {os.geteuid()}"
        yield Finding("user", "error", text, "start it as root, or as that user and without --user")
    else:
        groups = ", ".join(map(str, sorted({found.gid, *found.groups})))
        yield Finding("user", "ok", f"it becomes user {found.name or found.uid}, in the groups {groups}")


def trust(config: Config) -> Iterator[Finding]:
    """Who is believed to be a proxy.  Everybody is too many where others than this machine can connect."""
    if not _others_can_connect(config):
        return
    for option, name in (("--forwarded-allow-ips", "forwarded_allow_ips"), ("--proxy-allow-from", "proxy_allow_from")):
        if EVERYBODY not in getattr(config, name) or (name == "proxy_allow_from" and not config.proxy_protocol):
            continue
        text = f"{option} has {EVERYBODY!r}: whoever can connect says who the client is"
        action = "the proxies' networks, if others can connect"
        # --behind heroku has to have it: nobody but the balancer can connect there.
        yield Finding("proxies", "note" if config.behind else "warning", text, action)


#: Seconds above which a deadline holds up nobody who means harm: nginx's, which are between two reads; ten times those.
LONGEST_S = {"head_timeout": 60.0, "body_timeout": 600.0, "write_timeout": 600.0}
OTHERS_MAY_WRITE = 0o002


def exposure(config: Config) -> Iterator[Finding]:
    """What gives clients more than the defaults do; SECURITY.md has the list."""
    found = list(_exposure(config))
    yield from found or [Finding("exposure", "ok", "no setting takes a bound away")]


def _exposure(config: Config) -> Iterator[Finding]:
    if config.reload and _others_can_connect(config):
        text = "--reload, and others than this machine can connect: tracebacks are shown to whoever asks"
        yield Finding("exposure", "warning", text, "bind to 127.0.0.1, or leave --reload out: it is for development")
    if config.stream_request_body:
        text = f"--stream-request-body: a client that sends slowly holds a thread ({config.said('threads')})"
        yield Finding("exposure", "note", text, "a proxy in front that buffers requests, or leave it out")
    if not config.body_min_rate:
        text = "--body-min-rate 0: a body may take for ever, with a byte within each --body-timeout"
        yield Finding("exposure", "warning", text, "a rate that honest clients have; the default is 240")
    for name, longest_s in LONGEST_S.items():
        value = getattr(config, name)
        if value > longest_s:
            text = f"--{name.replace('_', '-')} {value:g}: so long a client may hold a connection with next to nothing"
            yield Finding("exposure", "warning", text, f"at most {longest_s:g}")
    if config.unix_socket_mode is not None and int(config.unix_socket_mode, 8) & OTHERS_MAY_WRITE and _has_path(config):
        text = f"--unix-socket-mode {config.unix_socket_mode}: every user of this machine can connect"
        yield Finding("exposure", "note", text, "660, with the proxy's group in --unix-socket-owner")


def _others_can_connect(config: Config) -> bool:
    return not all(_is_of_this_machine(bind) for bind in config.bind)


def _has_path(config: Config) -> bool:
    return any(bind.startswith("unix:") and not bind.startswith("unix:@") for bind in config.bind)


def _is_of_this_machine(bind: str) -> bool:
    try:
        address = parse_bind(bind)
        return address.is_unix or ip_address(address.host).is_loopback
    except (AddressError, ValueError):  # a name, or what is inherited: nobody knows
        return False


# -- Numbers that contradict each other -------------------------------------------------------------------------------


def deadlines(config: Config) -> Iterator[Finding]:
    """Times, in seconds, of which one makes another pointless."""
    found = list(_deadlines(config))
    yield from found or [Finding("deadlines", "ok", "no two contradict each other")]


def _deadlines(config: Config) -> Iterator[Finding]:
    timeout = float(getattr(config, "timeout", 0) or 0)
    graceful = config.graceful_timeout
    if timeout > graceful:
        yield Finding(
            "deadlines", "warning",
            f"--timeout {timeout:g} allows requests that --graceful-timeout {graceful:g} cuts at a stop",
            f"--graceful-timeout {timeout:g} or more",
        )  # fmt: skip
    if timeout and config.queue_deadline >= timeout:
        text = f"--queue-deadline {config.queue_deadline:g} is not below --timeout {timeout:g}"
        yield Finding("deadlines", "warning", text, "whoever has waited so long has no time left")
    if 0 < config.keep_alive <= 60:
        yield Finding(
            "deadlines", "note",
            f"--keep-alive {config.keep_alive:g}: a proxy that keeps idle connections longer (nginx and AWS: 60 s) "
            "meets closed ones",
            "longer here than at the proxy (the default is 75)",
        )  # fmt: skip
    if config.drain_delay and config.health_path is None:
        yield Finding("deadlines", "warning", NO_HEALTH_PATH, NO_HEALTH_PATH_HINT)
    if config.threads == 1 and (config.queue_deadline or config.health_path is not None):
        given = "--queue-deadline" if config.queue_deadline else "--health-path"
        text = f"--threads 1 and {given}: while a call runs nobody is refused and no health check is answered"
        yield Finding("deadlines", "warning", text, "--threads 2 or more, with a lock where the application needs it")
    if config.body_timeout > graceful:
        text = f"--body-timeout {config.body_timeout:g} is above --graceful-timeout {graceful:g}: a stop cuts uploads"
        yield Finding("deadlines", "note", text, f"--graceful-timeout {config.body_timeout:g}, if they matter")


def limits(config: Config) -> Iterator[Finding]:
    """Sizes and counts of which one makes another pointless."""
    found = list(_limits(config))
    yield from found or [Finding("sizes", "ok", "no two contradict each other")]


def _limits(config: Config) -> Iterator[Finding]:
    for name in ("limit_request_line", "limit_request_field_size"):
        if getattr(config, name) > config.limit_request_head:
            said = f"{config.said(name)}, and {config.said('limit_request_head')}"
            action = f"a greater --limit-request-head than {getattr(config, name)}"
            yield Finding("sizes", "warning", f"{said}: the former is never reached", action)
    if config.limit_request_body > max(config.total_body_spool, config.total_body_memory):
        said = f"{config.said('limit_request_body')}, and {config.said('total_body_spool')}"
        text = f"{said}: the longest get 503, not 413"
        yield Finding("sizes", "warning", text, "a greater --total-body-spool")
    if config.request_body_memory > config.total_body_memory:
        said = f"{config.said('request_body_memory')}, and {config.said('total_body_memory')}"
        text = f"{said}: the former is never reached"
        yield Finding("sizes", "warning", text, "a greater --total-body-memory")
    if config.threads > config.worker_connections:
        text = f"{config.said('threads')}, and {config.said('worker_connections')}: some have nothing to do"
        yield Finding("sizes", "warning", text, f"--worker-connections {config.threads} or more")
