"""``server.cfg`` and ``worker.cfg`` of gunicorn's server hooks."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from headrace.config import Config, parse_bind
from headrace.config.gunicorn_hook_names import HOOKS
from headrace.config.gunicorn_names import NAMES, setting_of_name
from headrace.process.identity import identity_of

#: What gunicorn 27 has where nothing is set, of settings that have no counterpart here.
DEFAULTS: dict[str, Any] = {
    "asgi_disconnect_grace_period": 3,
    "asgi_lifespan": "auto",
    "asgi_loop": "auto",
    "cert_reqs": ssl.CERT_NONE,
    "control_socket_disable": True,  # there is none
    "control_socket_mode": 0o600,
    "default_proc_name": "headrace",
    "dirty_apps": [],
    "dirty_graceful_timeout": 30,
    "dirty_threads": 1,
    "dirty_timeout": 300,
    "dirty_workers": 0,
    "dogstatsd_tags": "",
    "forwarder_headers": ["SCRIPT_NAME", "PATH_INFO"],
    "header_map": "drop",
    "http2_cleartext": "off",
    "http2_initial_window_size": 65535,
    "http2_max_concurrent_streams": 100,
    "http2_max_frame_size": 16384,
    "http2_max_header_list_size": 65536,
    "http_parser": "auto",
    "http_protocols": ["h1"],
    "logger_class": "gunicorn.glogging.Logger",
    "protocol": "http",
    "raw_paste_global_conf": [],
    "secure_scheme_headers": {
        "X-FORWARDED-PROTOCOL": "ssl", "X-FORWARDED-PROTO": "https", "X-FORWARDED-SSL": "on",
    },
    "sendfile": True,
    "ssl_version": ssl.PROTOCOL_TLS,
    "statsd_prefix": "",
    "suppress_ragged_eofs": True,
    "uwsgi_allow_ips": ["127.0.0.1", "::1"],
    "websocket_max_message_size": 1 << 24,
    **dict.fromkeys(
        (
            "ca_certs", "certfile", "ciphers", "control_socket", "dirty_post_fork", "dirty_worker_exit",
            "dirty_worker_init", "keyfile", "on_dirty_starting", "paste", "ssl_context", "statsd_host",
            "tmp_upload_dir", "worker_tmp_dir",
        )
    ),
    **dict.fromkeys(
        (
            "casefold_http_method", "check_config", "do_handshake_on_connect", "enable_backlog_metric",
            "enable_stdio_inheritance", "permit_obsolete_folding", "permit_unconventional_http_method",
            "permit_unconventional_http_version", "print_config", "spew", "strip_header_spaces",
        ),
        False,
    ),
}  # fmt: skip


class GunicornConfig:
    """Settings under gunicorn's names, and beneath them the variables of the gunicorn.conf.py, then gunicorn's defaults
    of what has no counterpart here.  What is neither raises AttributeError."""

    is_ssl = False
    ssl_options: Mapping[str, Any] = {}

    def __init__(self, config: Config, names: Mapping[str, Any]) -> None:
        self._config = config
        self._names = names

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        setting = setting_of_name(name)
        if setting is not None:
            return getattr(self._config, setting.name)
        if name in self._names:
            return self._names[name]
        if name in DEFAULTS:
            return DEFAULTS[name]
        raise AttributeError(f"there is no setting {name!r} here")

    @property
    def settings(self) -> dict[str, Any]:
        """By gunicorn's name an object with ``name``, ``value`` and ``get()``."""
        found = {}
        for name in sorted(NAMES | (set(HOOKS) & set(self._names))):
            value = getattr(self, name)
            found[name] = SimpleNamespace(name=name, value=value, get=lambda value=value: value)
        return found

    @property
    def address(self) -> list[Any]:
        """(host, port), or the path of a UNIX socket."""
        addresses = [parse_bind(bind) for bind in self._config.bind]
        return [address.path if address.is_unix else (address.host, address.port) for address in addresses]

    @property
    def env(self) -> dict[str, str]:
        """raw_env as a dict."""
        return dict(variable.split("=", 1) for variable in self._config.env)

    @property
    def proc_name(self) -> str:
        return self._config.proc_name or str(DEFAULTS["default_proc_name"])

    @property
    def uid(self) -> int:
        """The number of --user, or of who started the server."""
        identity = identity_of(self._config)
        return os.geteuid() if identity is None else identity.uid

    @property
    def gid(self) -> int:
        identity = identity_of(self._config)
        return os.getegid() if identity is None else identity.gid

    @property
    def worker_class(self) -> Any:
        """As the file has it; there are no classes of workers here."""
        return self._names.get("worker_class") or self.worker_class_str

    @property
    def worker_class_str(self) -> str:
        return "gthread" if self._config.threads > 1 else "sync"
