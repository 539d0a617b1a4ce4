"""uWSGI's options, on its command line and in its ini files: what each becomes.

An ini file of uWSGI is not Python's: a key may come several times, %(name) is the value of another key, %d and the like
stand for parts of the file's own path, $(NAME) for the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.config.given import value_of_text
from headrace.config.settings import SETTINGS
from headrace.migrate.plan import Plan

_TLS = "TLS is not spoken here; let a proxy in front do it (nginx, Caddy, HAProxy)"
_PROTOCOL = (
    "the uwsgi protocol is not spoken here; let the proxy speak HTTP (nginx: proxy_pass instead of uwsgi_pass, "
    "proxy_set_header instead of uwsgi_params)"
)
_VENV = "run the headrace of that environment: {}/bin/headrace"
_CHEAPER = "the number of workers does not follow the load"
_TASKS = "there are no tasks beside requests; a task queue does that (Celery, RQ), or cron"
_ROUTER = (
    "it is the router's, between client and worker; --timeout limits a call, --body-timeout and --write-timeout what a "
    "client may take"
)
_STATIC = "let the proxy in front serve files, or an application (WhiteNoise)"
_ROUTES = "routing is the proxy's business, or the application's (headrace.middleware.Router)"
_LOOPS = "greenlets become threads: --threads NUMBER, and nothing is patched"


@dataclass(frozen=True, slots=True)
class Rule:
    """One option of uWSGI.  ``setting``: of ours.  ``convert``: its text as our value, where they differ.  ``hint``:
    what to do if there is none, or what to know beside.  ``refused``: it promised security."""

    setting: str = ""
    convert: Callable[[str], object] | None = None
    hint: str = ""
    refused: bool = False


def _mebibytes(text: str) -> object:
    return int(text) << 20 if text.isdigit() else text


def _socket(text: str) -> object:
    """ ":8000", "127.0.0.1:8000", "/run/a.sock", "@abstract", "fd://3"."""
    return (text if ":" in text or text.isdigit() else f"unix:{text}",)


def _mode(text: str) -> object:
    return "666" if text in ("", "true") else text


def _off(_text: str) -> object:
    return False


def _all_of(names: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


RULES: dict[str, Rule] = {
    **_all_of("http http-socket http11-socket", Rule("bind", _socket)),
    **_all_of("socket s uwsgi-socket fastcgi-socket scgi-socket", Rule("bind", _socket, _PROTOCOL)),
    **_all_of("https https-socket suwsgi-socket https2", Rule(hint=_TLS, refused=True)),
    **_all_of("processes workers p", Rule("workers")),
    "threads": Rule("threads"),
    "gevent": Rule(hint=_LOOPS),
    **_all_of("asyncio async ugreen greenlet", Rule(hint=_LOOPS)),
    "harakiri": Rule("timeout"),
    "http-timeout": Rule(hint=_ROUTER),
    "max-requests": Rule("max_requests"),
    **_all_of("max-requests-delta max-requests-jitter", Rule("max_requests_jitter")),
    **_all_of("reload-on-rss evil-reload-on-rss", Rule("max_rss", _mebibytes)),
    "max-worker-lifetime": Rule("max_age"),
    **_all_of("worker-reload-mercy reload-mercy", Rule("graceful_timeout")),
    **_all_of("lazy-apps lazy", Rule("preload", _off)),
    **_all_of("chdir chdir2", Rule("chdir")),
    **_all_of("env", Rule("env", lambda text: (text,))),
    "uid": Rule("user"),
    "gid": Rule("group"),
    "umask": Rule("umask"),
    **_all_of("pidfile pidfile2 safe-pidfile", Rule("pid")),
    **_all_of("daemonize d daemonize2", Rule("daemon", lambda _text: True)),
    **_all_of("procname procname-prefix procname-prefix-spaced", Rule("proc_name")),
    **_all_of("logto logto2", Rule("error_logfile")),
    **_all_of("req-logger", Rule("access_logfile", lambda text: text.removeprefix("file:"))),
    **_all_of("listen l", Rule("backlog")),
    **_all_of("buffer-size b", Rule("limit_request_head")),
    "limit-post": Rule("limit_request_body"),
    **_all_of("chmod-socket chmod C", Rule("unix_socket_mode", _mode)),
    **_all_of("chown-socket", Rule("unix_socket_owner")),
    "reuse-port": Rule("reuse_port", lambda _text: True),
    **_all_of("py-autoreload python-autoreload", Rule("reload", lambda _text: True)),
    **_all_of("http-keepalive http-auto-chunked", Rule()),
    "post-buffering": Rule(hint="bodies are always received first; --request-body-memory says how much in memory"),
    "post-buffering-bufsize": Rule(),
    **_all_of("static-map static-map2 check-static static-index static-expires", Rule(hint=_STATIC)),
    **_all_of("cheaper cheaper-initial cheaper-step cheaper-algo cheaper-overload cheap idle", Rule(hint=_CHEAPER)),
    **_all_of(
        "cron mule mules farm spooler spooler-processes timer attach-daemon smart-attach-daemon", Rule(hint=_TASKS)
    ),
    **_all_of("route route-host route-uri", Rule(hint=_ROUTES)),
    **_all_of("emperor vassals", Rule(hint="start each application as a service of its own (systemd)")),
    **_all_of("stats stats-server", Rule(hint="there are no statistics; count the lines of the access log")),
    **_all_of("log-format logformat", Rule(hint="--access-logformat has gunicorn's atoms")),
    **_all_of("touch-reload touch-chain-reload", Rule(hint="send SIGHUP for a reload")),
    **_all_of("virtualenv home venv H pyhome", Rule(hint=_VENV)),
    "wsgi-disable-file-wrapper": Rule(hint="to have a file read, let the application return it from a generator"),
}

#: What is so anyway, or tunes what is not there.
WITHOUT_EFFECT = frozenset(
    _all_of(
        "master M vacuum die-on-term need-app strict single-interpreter enable-threads T thunder-lock no-orphans "
        "auto-procname disable-logging L log-date memory-report ignore-sigpipe ignore-write-errors "
        "disable-write-exception plugin plugins plugins-dir binary-path harakiri-verbose offload-threads "
        "so-keepalive socket-timeout http-to http-chunked-input log-master show-config py-call-osafterfork "
        "threads-stacksize hook-master-start log-x-forwarded-for master-fifo no-site http-raw-body "
        "catch-exceptions log-maxsize autoload close-on-exec",
        Rule(),
    )
)

#: Of those, what has a value behind it.
WITH_VALUE = frozenset(
    _all_of(
        "plugin plugins plugins-dir binary-path offload-threads socket-timeout http-to threads-stacksize "
        "hook-master-start master-fifo log-maxsize",
        Rule(),
    )
)

#: Of RULES, what has none.
SWITCHES = frozenset(
    _all_of("lazy-apps lazy reuse-port http-keepalive http-auto-chunked cheap wsgi-disable-file-wrapper", Rule())
)

_TARGETS = ("module", "w", "wsgi", "wsgi-file", "file", "callable", "mount", "manage-script-name")


def plan_for_uwsgi(words: Sequence[str]) -> Plan:
    """``words`` are those behind `uwsgi`, the path of an ini file among them, perhaps."""
    return _plan(list(_options_of_words(words)))


def _plan(options: list[tuple[str, str]]) -> Plan:
    plan = Plan("uwsgi")
    found: dict[str, list[str]] = {}
    for name, text in options:
        found.setdefault(name, []).append(text)
    plan.target = _target(found)
    folders = [folder for name in ("pythonpath", "python-path", "pp") for folder in found.get(name, [])]
    if folders:
        plan.layer.give("pythonpath", ",".join(folders), "pythonpath")
    for name, texts in found.items():
        if name not in (*_TARGETS, "pythonpath", "python-path", "pp") and not name.startswith("set-"):
            _take(plan, name, texts)
    _take_mounts(plan, found)
    _take_logs(plan, found)
    plan.implied["threads"] = (1, "as there without threads; leave it out if the application is thread-safe")
    plan.implied["bind"] = (("127.0.0.1:8000",), "uWSGI listens nowhere unless it is told to")
    return plan


def _target(found: dict[str, list[str]]) -> str | None:
    module = next((found[name][-1] for name in ("module", "w", "wsgi", "wsgi-file", "file") if name in found), None)
    attribute = found["callable"][-1] if "callable" in found else ""
    if module is None and "mount" in found:
        module = found["mount"][-1].partition("=")[2] or None
    if module is None or not attribute or ":" in module:
        return module
    return f"{module}:{attribute}"


def _take_mounts(plan: Plan, found: dict[str, list[str]]) -> None:
    """ "/api=app.py": one of them is a root path; more are several applications."""
    mounts = [text.partition("=")[0] for text in found.get("mount", [])]
    if len(mounts) > 1:
        plan.layer.notice("mount", f"{', '.join(mounts)} are several applications", _ROUTES)
    elif mounts and mounts[0].rstrip("/"):
        if not mounts[0].startswith("/"):
            plan.layer.notice("mount", f"{mounts[0]} has no counterpart here", _ROUTES)
            return
        plan.layer.give("root_path", mounts[0].rstrip("/"), "mount")
        plan.layer.notice("mount", "differs: what is asked for outside of it reaches the application, too, with all of "
                          "its path in PATH_INFO")


def _take_logs(plan: Plan, found: dict[str, list[str]]) -> None:
    """--daemonize names the log, unless another option does; requests are logged there unless it is told not to."""
    folders = [text for name in ("daemonize", "d", "daemonize2") for text in found.get(name, [])]
    if folders and folders[-1] not in ("true", "1") and not {"logto", "logto2"} & set(found):
        if re.match(r"[a-z]+:|[^/]*:[0-9]+", folders[-1]):
            plan.layer.notice("daemonize", f"{folders[-1]} is no file", "--error-logfile FILE, or --log-syslog")
        else:
            plan.layer.give("error_logfile", folders[-1], "daemonize")
    if not {"disable-logging", "L", "req-logger"} & set(found):
        plan.layer.notice("uWSGI's line for each request", "is not written", "--access-logfile FILE, or - for stdout")


def _take(plan: Plan, name: str, texts: list[str]) -> None:
    rule = RULES.get(name)
    if name in WITHOUT_EFFECT or (texts[-1].lower() in ("false", "0") and name not in ("max-requests", "cheaper")):
        return
    if rule is None:
        plan.layer.notice(name, "is not known here", "look for it in headrace --help")
        return
    setting = SETTINGS.get(rule.setting)
    if setting is None and rule.refused:
        plan.layer.refuse(name, f"not available here; {rule.hint}")
    elif setting is None:
        if rule.hint or rule.setting:
            plan.layer.notice(name, "has no counterpart here", rule.hint.format(texts[-1]))
    else:
        if rule.hint and setting.name == "bind":
            plan.layer.notice(name, "differs", rule.hint)
        _give(plan, setting.name, rule, name, texts)


def _give(plan: Plan, setting_name: str, rule: Rule, name: str, texts: list[str]) -> None:
    setting = SETTINGS[setting_name]
    values = [rule.convert(text) if rule.convert is not None else value_of_text(setting, text) for text in texts]
    if setting.kind == "texts":
        before = plan.layer.values.pop(setting_name, None)
        earlier = before.value if before is not None and isinstance(before.value, tuple) else ()
        several = tuple(text for value in values if isinstance(value, tuple) for text in value)
        plan.layer.give(setting_name, earlier + several, name)
    else:
        plan.layer.give(setting_name, values[-1], name)


# -- Reading ----------------------------------------------------------------------------------------------------------


def _options_of_words(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """`--name value`, `--name=value`, `-p 4`, `--master`, `FILE.ini`, `--ini FILE`."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            yield from (_options_of_file(Path(word)) if word.endswith(".ini") else [("module", word)])
            continue
        name, equals, text = word.lstrip("-").partition("=")
        if not equals:
            takes_value = rest and not rest[0].startswith("-") and not _is_switch(name)
            text = rest.pop(0) if takes_value else "true"
        yield from (_options_of_file(Path(text)) if name == "ini" else [(name, text)])


def _is_switch(name: str) -> bool:
    return name in SWITCHES or name == "manage-script-name" or (name in WITHOUT_EFFECT and name not in WITH_VALUE)


_LINE = re.compile(r"\s*([^#;=\s][^=]*?)\s*=\s*(.*?)\s*")


def _options_of_file(path: Path, depth: int = 0) -> Iterator[tuple[str, str]]:
    """The [uwsgi] section, files that it includes among it.  Raises OSError."""
    keys: dict[str, str] = {}
    in_section = False
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.strip().startswith("["):
            in_section = line.strip() == "[uwsgi]"
            continue
        match = _LINE.fullmatch(line) if in_section else None
        if match is None:
            continue
        name, text = match[1].replace("_", "-"), _expanded(match[2], keys, path)
        keys[match[1]] = text
        if name in ("ini", "include", "inherit") and depth < 8:
            yield from _options_of_file(path.parent / text, depth + 1)
        elif name in RULES or name in WITHOUT_EFFECT or name in _TARGETS or not _is_placeholder(match[1], path):
            yield name, text


def _is_placeholder(name: str, path: Path) -> bool:
    """A key of the user's own, which other lines use as %(name)."""
    return f"%({name})" in path.read_text(encoding="utf-8", errors="replace")


def _expanded(text: str, keys: dict[str, str], path: Path) -> str:
    text = re.sub(r"%\(([^)]+)\)", lambda match: keys.get(match[1], match[0]), text)
    text = re.sub(r"\$\((\w+)\)", lambda match: os.environ.get(match[1], match[0]), text)
    whole = path.absolute()
    parts = {"d": f"{whole.parent}/", "p": str(whole), "s": whole.name, "n": whole.stem, "c": whole.parent.name}
    return re.sub(r"%([dpsnc])", lambda match: parts[match[1]], text)
