"""The settings of a gunicorn.conf.py, and what each means here.

A name that the table of settings has is set, by that name, by its other name in RENAMED, or by the flag that gunicorn
has for it; what is not there is named with its row of gunicorn_options.py, or NAME_HINTS.  Names that gunicorn does not
know are a program's own variables, and left alone, as gunicorn does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.config.given import Given, Layer, Notice, setting_of_flag, value_of_text
from headrace.config.gunicorn_hook_names import HOOKS, hook_problem, resolve_hook
from headrace.config.gunicorn_options import HINTS, REFUSED
from headrace.config.setting import Setting
from headrace.config.settings import SETTINGS
from headrace.networks import EVERYBODY, UNIX

#: gunicorn's name -> ours, where they differ.
RENAMED = {
    "keepalive": "keep_alive",
    "pidfile": "pid",
    "accesslog": "access_logfile",
    "errorlog": "error_logfile",
    "loglevel": "log_level",
    "preload_app": "preload",
    "logconfig": "log_config",
}

#: gunicorn's name -> its flag, where that is not the name with dashes.
FLAGS = {
    "keepalive": "--keep-alive",
    "pidfile": "--pid",
    "accesslog": "--access-logfile",
    "access_log_format": "--access-logformat",
    "errorlog": "--error-logfile",
    "loglevel": "--log-level",
    "logconfig": "--log-config",
    "logconfig_dict": "--log-config-dict",
    "logconfig_json": "--log-config-json",
    "preload_app": "--preload",
    "reload_extra_files": "--reload-extra-file",
    "sendfile": "--no-sendfile",
    "raw_env": "--env",
    "proc_name": "--name",
    "syslog": "--log-syslog",
    "syslog_addr": "--log-syslog-to",
    "syslog_prefix": "--log-syslog-prefix",
    "syslog_facility": "--log-syslog-facility",
    "proxy_allow_ips": "--proxy-allow-from",
    "uwsgi_allow_ips": "--uwsgi-allow-from",
    "raw_paste_global_conf": "--paste-global",
    "dirty_apps": "--dirty-app",
    "control_socket_disable": "--no-control-socket",
}

#: What has no flag in gunicorn, or means something else in a file.
NAME_HINTS = {
    "tmp_upload_dir": "--spool-dir is for the temporary files of request bodies",
    "secure_scheme_headers": "let the proxy set X-Forwarded-Proto or Forwarded; --forwarded-fields says which",
    "ssl_context": "TLS is not spoken here; let a proxy in front do it (nginx, Caddy, HAProxy)",
    "default_proc_name": "--name is for the title of the processes",
    "on_dirty_starting": "there are no such workers",
    "dirty_post_fork": "there are no such workers",
    "dirty_worker_init": "there are no such workers",
    "dirty_worker_exit": "there are no such workers",
}

#: Values that are as good as none, where "off" is not one of False, None, 0 and the empty ones.
HARMLESS: dict[str, tuple[object, ...]] = {
    "sendfile": (True,),
    "suppress_ragged_eofs": (True,),
    "do_handshake_on_connect": (True,),
    "protocol": ("http",),
    "http_protocols": ("h1",),
    "http2_cleartext": ("off",),
    "proxy_protocol": ("off",),
    "header_map": ("drop",),
    "http_parser": ("auto", "python", "fast"),
    "control_socket_disable": (True,),
    "reload_engine": ("auto",),
}

_NAMES = """
    wsgi_app bind backlog workers worker_class threads worker_connections max_requests max_requests_jitter timeout
    graceful_timeout keepalive limit_request_line limit_request_fields limit_request_field_size reload reload_engine
    reload_extra_files spew check_config print_config preload_app sendfile reuse_port chdir daemon raw_env pidfile
    worker_tmp_dir user group umask initgroups tmp_upload_dir secure_scheme_headers forwarded_allow_ips accesslog
    disable_redirect_access_to_syslog access_log_format errorlog loglevel capture_output logger_class logconfig
    logconfig_dict logconfig_json syslog_addr syslog syslog_prefix syslog_facility enable_stdio_inheritance statsd_host
    dogstatsd_tags statsd_prefix enable_backlog_metric proc_name default_proc_name pythonpath paste ssl_context
    proxy_protocol proxy_allow_ips protocol uwsgi_allow_ips keyfile certfile ssl_version cert_reqs ca_certs
    suppress_ragged_eofs do_handshake_on_connect ciphers http_protocols http2_cleartext http2_max_concurrent_streams
    http2_initial_window_size http2_max_frame_size http2_max_header_list_size raw_paste_global_conf
    permit_obsolete_folding strip_header_spaces permit_unconventional_http_method permit_unconventional_http_version
    casefold_http_method forwarder_headers header_map asgi_loop asgi_lifespan asgi_disconnect_grace_period
    websocket_max_message_size http_parser root_path dirty_apps dirty_workers dirty_timeout dirty_threads
    dirty_graceful_timeout on_dirty_starting dirty_post_fork dirty_worker_init dirty_worker_exit control_socket
    control_socket_mode control_socket_disable
"""
#: Of secure_scheme_headers: what --forwarded-fields has by default, and gunicorn's own companions of it.
SCHEME_FIELDS = {"X-FORWARDED-PROTO", "X-FORWARDED-PROTOCOL", "X-FORWARDED-SSL"}

#: All of gunicorn 27's settings but the hooks.
NAMES = frozenset(_NAMES.split())

#: Limits that gunicorn does not have where they are 0.
LIFTED_BY_0 = ("limit_request_line", "limit_request_field_size")

#: gunicorn's own defaults that an application may depend on; whoever brings gunicorn's configuration keeps them. One
#: request at a time: what runs in sync workers need not be thread-safe. One worker is a supervisor with one worker.
DEFAULTS: dict[str, object] = {"workers": 1, "threads": 1, "preload": False}

#: A greenlet waits for next to nothing, a thread for some memory: so many in place of gunicorn's 1000 greenlets.
THREADS_FOR_GREENLETS = 64


def setting_of_name(name: str) -> Setting | None:
    """The setting that is meant by gunicorn's name for it; None when there is none here (yet)."""
    return SETTINGS.get(name) or SETTINGS.get(RENAMED.get(name, "")) or _setting_of_its_flag(name)


def flag_of(name: str) -> str:
    """gunicorn's flag for its setting: "--keep-alive" for keepalive."""
    return FLAGS.get(name) or "--" + name.replace("_", "-")


def _setting_of_its_flag(name: str) -> Setting | None:
    """Not of switches that are on by default: their flags say the opposite."""
    if name not in NAMES:
        return None
    setting = setting_of_flag(flag_of(name))
    return setting if setting is not None and setting.default is not True else None


def implied_by_gunicorn(said: Mapping[str, Given]) -> dict[str, Given]:
    """What gunicorn would do where neither file nor flags say anything.

    Its umask is 0 unless it is set, which lets a proxy of any user connect to a UNIX socket."""
    umask = said["umask"].value if "umask" in said else 0
    mode = f"{0o777 & ~umask:o}" if isinstance(umask, int) else None
    defaults = {**DEFAULTS, "unix_socket_mode": mode}
    return {
        name: Given(value, f"gunicorn's default of {name}")
        for name, value in defaults.items()
        if name in SETTINGS and value is not None
    }


def names_layer(names: Mapping[str, Any], origin: str) -> Layer:
    """The variables of a gunicorn.conf.py as a layer.  A dict called ``headrace`` may hold what gunicorn lacks."""
    layer = Layer(origin)
    for name, value in names.items():
        if name in HOOKS:
            _take_hook(layer, name, value)
        elif name == "worker_class":
            take_worker_class(layer, name, value)
        elif name in NAMES and name not in ("check_config", "print_config"):
            _take(layer, name, value)
    own = names.get("headrace")
    if isinstance(own, dict):
        for name, value in own.items():
            if name in SETTINGS:
                layer.values[name] = Given(value, layer.spelled(f"headrace[{name!r}]"))
            else:
                layer.refuse(f"headrace[{name!r}]", "there is no such setting")
    return layer


def _take(layer: Layer, name: str, value: Any) -> None:
    setting = setting_of_name(name)
    if setting is None:
        if value and not _is_harmless(name, value):
            _take_unknown(layer, name, value)
    elif value is not None:
        layer.give(setting.name, value_of_gunicorn(setting, name, value), name)
        if name == "forwarded_allow_ips":
            believe_unix_peers(layer)


def _is_harmless(name: str, value: Any) -> bool:
    if name == "secure_scheme_headers" and isinstance(value, dict) and "forwarded_fields" in SETTINGS:
        return {str(field).upper() for field in value} <= SCHEME_FIELDS
    return value in HARMLESS.get(name, ())


def _take_unknown(layer: Layer, name: str, value: Any) -> None:
    flag = flag_of(name)
    hint = NAME_HINTS.get(name) or HINTS.get(flag, "")
    if flag in REFUSED or name == "ssl_context" or (name == "protocol" and value != "http"):
        layer.refuse(name, f"not available here; {hint}")
    else:
        layer.notice(name, "has no counterpart here", hint)


def _take_hook(layer: Layer, name: str, value: Any) -> None:
    try:
        hook = resolve_hook(value)
    except Exception as error:  # the import of user's code
        layer.refuse(name, f"cannot be imported: {type(error).__name__}: {error}")
        return
    problem = hook_problem(name, hook)
    if problem:
        layer.refuse(name, problem)
    else:
        layer.hooks[name] = hook


def take_worker_class(layer: Layer, name: str, value: object) -> None:
    """What gunicorn's kinds of worker mean where there is one kind.

    sync and gthread are what it is.  Greenlets become threads.  A class of somebody's own is not used."""
    text = (
        value if isinstance(value, str) else f"{getattr(value, '__module__', '')}.{getattr(value, '__name__', value)}"
    )
    word = text.lower()
    layer.worker_class = text if value else ""
    if not value or word == "gthread" or word.endswith("threadworker"):
        return
    if _is_sync(text):
        _imply_threads(layer, name, 1)
        return
    if "asgi" in word or "uvicorn" in word or "aiohttp" in word:
        layer.refuse(
            name, f"{text!r} is for ASGI; Headrace serves WSGI (a framework's WSGI application, or an adapter)"
        )
    elif any(kind in word for kind in ("gevent", "eventlet", "tornado", "greenlet")):
        _imply_threads(layer, name, THREADS_FOR_GREENLETS)
        layer.notice(
            name,
            f"{text!r} means threads here: {THREADS_FOR_GREENLETS}, unless threads says otherwise",
            "leave out what patches the standard library (monkey.patch_all); each long wait holds one thread",
        )
    else:
        layer.notice(
            name, f"{text!r} is not used", "there is one kind of worker, which runs the application in threads"
        )


def _imply_threads(layer: Layer, name: str, threads: int) -> None:
    layer.implied["threads"] = Given(threads, layer.spelled(name))


# -- What means something else there ----------------------------------------------------------------------------------


def believe_unix_peers(layer: Layer) -> None:
    """gunicorn believes whoever connects to a UNIX socket, whatever forwarded_allow_ips says (gunicorn.http.message);
    here they are named.  A list of nobody stays one."""
    given = layer.values.get("forwarded_allow_ips")
    if given is None or not isinstance(given.value, (str, tuple, list)):
        return
    texts = given.value.split(",") if isinstance(given.value, str) else given.value
    names = [text.strip() if isinstance(text, str) else text for text in texts]
    if any(names) and UNIX not in names and EVERYBODY not in names:
        layer.values["forwarded_allow_ips"] = Given((*filter(None, names), UNIX), given.spelled)


def lift_limits(layer: Layer) -> None:
    """gunicorn's 0 is "no limit": the most that there can be here takes its place."""
    for name in LIFTED_BY_0:
        given = layer.values.get(name)
        if given is not None and given.value == 0:
            layer.values[name] = Given(int(SETTINGS[name].most or 0), given.spelled)


def timeout_without_limit(gunicorns: Layer) -> tuple[Given, Notice] | None:
    """gunicorn's timeout limits a request in sync workers alone; in others a thread of the worker says that it lives,
    however long a request takes.  A timeout for one of those, and what to say of it; None where there is none.

    ``gunicorns``: all that was written for gunicorn, laid over one another."""
    given = gunicorns.values.get("timeout")
    threads = gunicorns.values.get("threads")
    kind = gunicorns.worker_class
    if not kind or _is_sync(kind):  # gunicorn takes gthread instead, where there are threads
        kind = "gthread" if threads is not None and isinstance(threads.value, int) and threads.value > 1 else "sync"
    if given is None or kind == "sync" or "headrace[" in given.spelled:
        return None
    if isinstance(given.value, bool) or not isinstance(given.value, (int, float)) or given.value <= 0:
        return None
    return given, Notice(
        f"{given.spelled} is off here: gunicorn limits no request by it in workers of class {kind}, and replaces those "
        "that are stuck",
        f"--timeout {given.value:g} (HEADRACE_TIMEOUT, or headrace = {{'timeout': {given.value:g}}} in the file) does "
        "both, and limits each request",
    )


def _is_sync(worker_class: str) -> bool:
    word = worker_class.lower()
    return word == "sync" or word.endswith("syncworker")


# -- Values -----------------------------------------------------------------------------------------------------------


def value_of_gunicorn(setting: Setting, name: str, value: Any) -> object:
    """gunicorn's value in the terms of our table; what is neither is left for the check of the table."""
    if name == "proxy_protocol" and setting.kind == "switch":
        return value not in (False, "off")  # gunicorn 27 has off, auto, v1 and v2
    if isinstance(value, str):
        if setting.kind == "integer":
            return _whole_number(value)
        return value_of_text(setting, value)
    if name in LIFTED_BY_0 and value == 0:
        return int(setting.most or 0)
    if setting.kind == "texts" and setting.name == "bind" and isinstance(value, (list, tuple)):
        return [part.strip() if isinstance(part, str) else part for part in value]
    if setting.kind == "texts" and isinstance(value, (list, tuple)):
        return list(value)
    if setting.kind == "text" and name in ("user", "group") and isinstance(value, int):
        return str(value)
    if setting.kind == "text" and name == "umask" and isinstance(value, int):
        return f"{value:o}"
    return value


def _whole_number(text: str) -> object:
    """gunicorn takes "0o22" and "0x12", too."""
    try:
        return int(text, 0)
    except ValueError:
        return text
