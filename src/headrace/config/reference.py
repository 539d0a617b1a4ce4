"""docs/settings.md and --print-config, made from the table.

python -m headrace.config.reference > docs/settings.md
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator

from headrace.config.aliases import ALIASES
from headrace.config.command_line import default_text, metavar_of
from headrace.config.config import Config
from headrace.config.environment import PLATFORM_VARIABLES, variable_of
from headrace.config.gunicorn_hook_names import HOOKS
from headrace.config.gunicorn_names import DEFAULTS, NAMES, RENAMED, THREADS_FOR_GREENLETS, setting_of_name
from headrace.config.resolve import Resolved
from headrace.config.setting import Setting
from headrace.config.settings import COMMAND_GROUPS, GROUPS, SETTINGS

INTRODUCTION = """# Settings

<!-- Made by `python -m headrace.config.reference > docs/settings.md` from src/headrace/config/settings.py. -->

Each setting has one name. It is a flag of the command line, a variable of the environment, a key of `headrace.toml` or
of `[tool.headrace]` in `pyproject.toml`, and, but for the groups {command_groups}, a keyword of `headrace.serve()` and
`headrace.Server`. `headrace --print-config` shows each value and where it comes from; `headrace --check-config
APPLICATION` tells what is wrong, all of it at once.

## What goes before what

From the strongest:

1. the command line
2. the environment: `HEADRACE_` and the name; lists are separated by commas, switches are `true` or `false`; an empty
   variable counts as not set
3. `GUNICORN_CMD_ARGS`, the words of a command line
4. the configuration file
5. what platforms set: {platform}
6. gunicorn's defaults, where a `gunicorn.conf.py` or `GUNICORN_CMD_ARGS` is read: {gunicorn_defaults}, and
   `unix_socket_mode = 777` (less the file's `umask`; gunicorn's own umask is 0). gunicorn's `timeout = 30` is not among
   them: a `timeout` that is not set is off
7. the defaults below

There is one configuration file: the one that `-c FILE` names (or `HEADRACE_CONFIG`, or `-c` in `GUNICORN_CMD_ARGS`), or
else the first of these that is in the working directory: `headrace.toml`, `pyproject.toml` with `[tool.headrace]`,
`gunicorn.conf.py`. `config = "gunicorn.conf.py"` in a TOML file has it laid over that one.

In TOML sizes are numbers of bytes or text as on the command line (`"10m"`), times are seconds. Python 3.10 needs
the extra `toml` ([how to install it](../README.md#using-it)) for it.
"""

GUNICORN = """## From gunicorn

`gunicorn.conf.py` is read as it is (`-c FILE`, `-c file:FILE`, `-c python:MODULE`): its variables, and its hooks:

{hooks}

| hook | runs in |
| --- | --- |
| `on_starting`, `when_ready`, `on_reload`, `nworkers_changed`, `pre_exec`, `child_exit`, `on_exit` | the supervisor |
| `pre_fork` | the template: a new program for each reading of code, from which workers are forked |
| `post_fork`, `post_worker_init`, `worker_int`, `worker_abort`, `worker_exit` | the worker |
| `pre_request`, `post_request` | the worker, in the thread of the request |

gunicorn's master is two processes here: the supervisor, which keeps its rights and never imports the application, and
the template. So the file runs once in the supervisor, at the start and at each HUP, and once in each template, there
before it becomes `user`. Hooks share less than in gunicorn:

- Variables of the file, and what a hook stores on `server` or on `worker`: those of `pre_fork` are found in the worker,
  and nothing passes between the supervisor and the others. A folder or a file with a known name does.
- The environment: what the file sets in the supervisor holds in the template and its workers, where a second reading
  does not change it. `os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", "/run/shop/metrics")` is one folder for all,
  over reloads, too; with `tempfile.mkdtemp()` guard it by `if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:`.
  What `raw_env` names is set in templates and workers, and not in the supervisor, where `child_exit` runs.
- `server.LISTENERS`, `server.WORKERS`: in the supervisor alone. `worker.sockets` is empty.

`worker_abort` runs once in a worker whose request has taken longer than `timeout`, before a successor is asked for.

A variable that gunicorn does not know is left alone. What has no counterpart is named in a warning with what to do, and
the start goes on; what promised security (TLS, another user) is an error. A dict called `headrace` in it may hold
settings that gunicorn lacks:
`headrace = {{"head_timeout": 5}}`.

`worker_class`: `sync` is one thread, `gthread` as many as `threads` says; `gevent`, `eventlet` and `tornado` are
{greenlets} threads, unless `threads` says otherwise, and nothing is patched. Classes for ASGI are an error.

What means something else there keeps gunicorn's meaning, where it stands in `gunicorn.conf.py` or `GUNICORN_CMD_ARGS`:

- `timeout` limits a request in `sync` workers. In all others (`gthread`, which `threads` above 1 makes of `sync`, and
  greenlets) gunicorn only replaces workers that hang as a whole, so there it is off, with a warning. Our own
  `--timeout`, `HEADRACE_TIMEOUT` or `headrace = {{"timeout": 30}}` limits each request of any worker.
- `forwarded_allow_ips` (and `$FORWARDED_ALLOW_IPS`): gunicorn believes whoever connects to a UNIX socket, whatever is
  named; so `unix` is added, unless it names nobody.
- `bind` does not count where systemd has passed sockets; a warning says so.

In TOML, too, gunicorn's names stand for ours:

| gunicorn | here |
| --- | --- |
"""

OTHERS = """## From uvicorn, granian and waitress

Their flags are understood in their units (granian counts milliseconds and MiB). Where a flag means different things,
gunicorn's meaning goes before theirs. `--port` without `--host` is 127.0.0.1, also where waitress would
take all interfaces.
`headrace migrate COMMAND` writes the command anew and says what differs.

| flag | server | setting |
| --- | --- | --- |
"""


def toml_text(value: object) -> str:
    """The value as TOML has it; dicts inline."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(toml_text, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(str(key))} = {toml_text(item)}' for key, item in value.items())}}}"
    if isinstance(value, (int, float)):
        return repr(value)
    return json.dumps(str(value), ensure_ascii=False)


def print_config(resolved: Resolved, config: Config) -> str:
    """All settings with where they come from; the text can be saved as a headrace.toml."""
    lines = []
    for name in SETTINGS:
        value = getattr(config, name)
        row = f"# {name} is not set" if value is None else f"{name} = {toml_text(value)}"
        lines.append(f"{row:<48}  # {resolved.spelled(name)}" if value is not None else row)
    if resolved.hooks:
        lines.append(f"# hooks: {', '.join(resolved.hooks)}")
    return "\n".join(lines) + "\n"


def page() -> str:
    """docs/settings.md."""
    platform = ", ".join(
        f"`{name}` ({setting})" for name, (setting, _) in PLATFORM_VARIABLES.items() if setting in SETTINGS
    )
    defaults = ", ".join(f"`{name} = {value}`" for name, value in DEFAULTS.items() if name in SETTINGS)
    parts = [INTRODUCTION.format(
        platform=platform, gunicorn_defaults=defaults, command_groups=", ".join(COMMAND_GROUPS))]
    for group in GROUPS:
        parts.append("\n".join(_group(group)))
    parts.append("\n".join(_gunicorn()))
    parts.append(OTHERS + "\n".join(_others()) + "\n")
    return "\n".join(parts)


def _group(group: str) -> Iterator[str]:
    yield f"## {group}\n"
    for setting in SETTINGS.values():
        if setting.group == group:
            yield from _setting(setting)


def _setting(setting: Setting) -> Iterator[str]:
    yield f"### `{setting.name}`\n"
    yield f"{setting.help}\n"
    metavar = "" if setting.kind == "switch" else f" {metavar_of(setting)}"
    if setting.flags:
        does = f": {setting.off_help}" if setting.off_help else ""
        yield "- command line: " + ", ".join(f"`{flag}{metavar}`" for flag in setting.flags) + does
    if setting.kind == "table":
        yield "- in configuration files only"
    else:
        yield f"- environment: `{variable_of(setting.name)}`"
    shown = toml_text(setting.default) if setting.kind == "switch" else default_text(setting)
    yield f"- default: `{shown}`" if shown else "- default: none"
    if setting.range_text:
        yield f"- range: {setting.range_text}"
    if setting.choices:
        yield "- one of " + ", ".join(f"`{choice}`" for choice in setting.choices)
    names = sorted(name for name in NAMES if name != setting.name and setting_of_name(name) is setting)
    if names:
        yield "- in gunicorn: " + ", ".join(f"`{name}`" for name in names)
    yield ""


def _gunicorn() -> Iterator[str]:
    hooks = textwrap.fill(", ".join(f"`{name}`" for name in HOOKS), 118)
    yield GUNICORN.format(hooks=hooks, greenlets=THREADS_FOR_GREENLETS).rstrip("\n")
    for name in sorted(set(RENAMED) | NAMES):
        setting = setting_of_name(name)
        if setting is not None and setting.name != name:
            yield f"| `{name}` | `{setting.name}` |"
    yield ""


def _others() -> Iterator[str]:
    for flag, alias in ALIASES.items():
        target = "bind" if alias.setting in ("host", "port", "socket", "listen", "fd") else alias.setting
        if target in SETTINGS and not any(flag in setting.flags for setting in SETTINGS.values()):
            yield f"| `{flag}` | {', '.join(alias.servers)} | `{target}` |"


if __name__ == "__main__":
    sys.stdout.write(page())
