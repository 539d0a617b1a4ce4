"""The options of the command line, as click has them, and what was given as a Layer.

Every setting has its flags.  Hidden behind them stand the flags of other servers (aliases.py) and those of gunicorn
that have no counterpart (gunicorn_options.py).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from headrace.config.aliases import Alias, all_aliases, binds_of
from headrace.config.config import from_text
from headrace.config.given import Layer, value_of_text
from headrace.config.gunicorn_names import believe_unix_peers, lift_limits, take_worker_class
from headrace.config.gunicorn_options import HINTS, REFUSED, SWITCHES
from headrace.config.resolve import Sources
from headrace.config.setting import Setting
from headrace.config.settings import SETTINGS

#: Kinds whose options may be given several times: each is one text, or texts separated by commas.
REPEATED: tuple[str, ...] = ("texts", "list")

#: Parts of a bind, in aliases.
_BIND_PARTS = ("host", "port", "socket", "listen", "fd")


def make_options() -> list[click.Parameter]:
    """All options but --help and --version."""
    taken = {flag for setting in SETTINGS.values() for flag in setting.flags}
    aliases = all_aliases()
    unknown = [flag for flag in HINTS if flag not in taken and flag not in aliases]
    return [
        *(make_option(setting) for setting in SETTINGS.values() if setting.flags),
        *_general_options(),
        *(_hidden("alias", flag, alias.takes_value) for flag, alias in aliases.items()),
        *(_hidden("hint", flag, flag not in SWITCHES) for flag in unknown),
        click.Option(["-k", "--worker-class", "worker_class"], hidden=True),
    ]


def _general_options() -> list[click.Parameter]:
    return [
        click.Option(
            ["-c", "--config", "config"],
            metavar="FILE",
            help="headrace.toml, a pyproject.toml or a gunicorn.conf.py (also python:MODULE).  "
            "[default: the first of these in the working directory]",
        ),
        click.Option(
            ["--print-config"],
            is_flag=True,
            help="Show each setting and where its value comes from, as TOML, and exit.",
        ),
        click.Option(["--check-config"], is_flag=True, help="Check the settings, load the application, and exit."),
    ]


def _parameter_of(kind: str, flag: str) -> str:
    return f"{kind}_{flag.strip('-').replace('-', '_')}"


def _hidden(kind: str, flag: str, takes_value: bool) -> click.Option:
    names = [flag, _parameter_of(kind, flag)]
    return (
        click.Option(names, multiple=True, hidden=True)
        if takes_value
        else click.Option(names, is_flag=True, hidden=True)
    )


def make_option(setting: Setting) -> click.Option:
    """Values stay text here: the table checks them, all at once, in Config."""
    names = [*setting.flags, setting.name]
    if setting.kind == "switch":
        return click.Option(names, is_flag=True, default=False, help=setting.off_help or setting.help)
    text = setting.help
    if setting.choices:
        text += f" One of {', '.join(setting.choices)}."
    shown = default_text(setting)
    if shown:
        text += f"  [default: {shown}]"
    return click.Option(names, multiple=setting.kind in REPEATED, metavar=metavar_of(setting), help=text)


def metavar_of(setting: Setting) -> str:
    """What stands for the value in --help."""
    if setting.metavar:
        return setting.metavar
    if setting.kind == "integer":
        return "BYTES" if setting.unit == "bytes" else "NUMBER"
    if setting.kind == "text" and setting.unit:
        return setting.unit.upper()
    names = {"choice": "NAME", "seconds": "SECONDS", "texts": "TEXT", "list": "LIST", "umask": "MODE"}
    return names.get(setting.kind, "PATH")


def default_text(setting: Setting) -> str:
    """As it can be written: 1073741824 is "1g"; "" for none."""
    if setting.default is None:
        return ""
    if isinstance(setting.default, tuple):
        return (" " if setting.kind == "texts" else ",").join(setting.default)
    return size_text(setting, setting.default)


def size_text(setting: Setting, value: object) -> str:
    if setting.unit == "bytes" and isinstance(value, int):
        for power, letter in ((30, "g"), (20, "m"), (10, "k")):
            if value and value % (1 << power) == 0:
                return f"{value >> power}{letter}"
    return f"{value:g}" if isinstance(value, float) else str(value)


# -- What was given ---------------------------------------------------------------------------------------------------


def layer_of(options: Mapping[str, Any], words: Sequence[str], origin: str = "") -> Layer:
    """What click has found in the words."""
    layer = Layer(origin)
    for setting in SETTINGS.values():
        option = options.get(setting.name)
        if option is None or option is False or option == ():
            continue
        layer.give(setting.name, _value_of_option(setting, option), spelled_as(setting, words))
    if options.get("worker_class") is not None:
        take_worker_class(layer, "-k" if "-k" in words else "--worker-class", options["worker_class"])
    _take_aliases(layer, options)
    for flag in HINTS:
        if options.get(_parameter_of("hint", flag)):
            if flag in REFUSED:
                layer.refuse(flag, f"not available here; {HINTS[flag]}")
            else:
                layer.notice(flag, "has no counterpart here", HINTS[flag])
    return layer


def _value_of_option(setting: Setting, option: Any) -> object:
    if setting.kind == "switch":
        return not setting.default
    if setting.kind == "texts":
        return option
    if isinstance(option, tuple):  # of a list with commas
        return ",".join(option)
    return value_of_text(setting, option) if setting.kind == "choice" else from_text(setting, option)


def spelled_as(setting: Setting, words: Sequence[str]) -> str:
    """The flag that was used for a setting, short ones with their value behind them included (-b8000)."""
    flags = [word.partition("=")[0] for word in words if word.startswith("-")]
    for flag in setting.flags:
        if flag in flags or (len(flag) == 2 and any(word.startswith(flag) for word in flags)):
            return flag
    return setting.flags[0]


def _take_aliases(layer: Layer, options: Mapping[str, Any]) -> None:
    parts: dict[str, list[str]] = {}
    flags: dict[str, str] = {}
    for flag, alias in all_aliases().items():
        texts = options.get(_parameter_of("alias", flag))
        if not texts:
            continue
        if alias.setting in _BIND_PARTS:
            parts.setdefault(alias.setting, []).extend(texts)
            flags[alias.setting] = flag
        else:
            _take_texts(layer, flag, alias, texts)
    if parts:
        host, port, sockets, listens, descriptors = (parts.get(part, []) for part in _BIND_PARTS)
        binds = binds_of((host or [""])[-1], (port or [""])[-1], sockets, listens, descriptors)
        layer.give("bind", tuple(binds), next(flags[part] for part in _BIND_PARTS if part in flags))


def _take_texts(layer: Layer, flag: str, alias: Alias, texts: Sequence[str]) -> None:
    """The last one, or all of them where the setting is several; those of other flags for it add up."""
    setting = SETTINGS.get(alias.setting)
    if setting is None or setting.kind != "texts" or not alias.takes_value:
        take_alias(layer, flag, alias, texts[-1] if alias.takes_value else None)
        return
    before = layer.values.pop(setting.name, None)
    earlier = before.value if before is not None and isinstance(before.value, tuple) else ()
    layer.give(setting.name, (*earlier, *texts), before.spelled if before is not None else flag)


def take_alias(layer: Layer, flag: str, alias: Alias, text: str | None) -> None:
    """One flag of another server, with its value."""
    setting = SETTINGS.get(alias.setting)
    if setting is None and alias.convert is None:
        if alias.refused:
            layer.refuse(flag, f"not available here; {alias.hint}")
        elif alias.hint or alias.setting:  # or else what it asks for is so anyway
            layer.notice(flag, "has no counterpart here", alias.hint)
        return
    try:
        value = _value_of_alias(setting, alias, text)
    except ValueError as error:
        layer.refuse(flag, str(error))
        return
    if setting is not None:
        layer.give(setting.name, value, flag)
    elif alias.setting:
        layer.notice(flag, "has no counterpart here", alias.hint)


def _value_of_alias(setting: Setting | None, alias: Alias, text: str | None) -> object:
    if text is None:
        return alias.value
    if alias.convert is not None:
        return alias.convert(text)
    return value_of_text(setting, text) if setting is not None else text


def sources_of(
    command: click.Command, options: Mapping[str, Any], words: Sequence[str], environ: Mapping[str, str], folder: Path
) -> Sources:
    """Where the configuration is, from a parsed command line.  ``command`` parses GUNICORN_CMD_ARGS, too."""
    arguments: Layer | None = None
    arguments_config = None
    text = environ.get("GUNICORN_CMD_ARGS", "")
    if text.strip():
        arguments, arguments_config = gunicorn_arguments(command, text)
    return Sources(layer_of(options, words), dict(environ), folder, options.get("config"), arguments, arguments_config)


def gunicorn_arguments(command: click.Command, text: str) -> tuple[Layer, str | None]:
    """GUNICORN_CMD_ARGS as a layer, and what -c says in it."""
    layer = Layer("GUNICORN_CMD_ARGS")
    try:
        words = shlex.split(text)
    except ValueError as error:
        layer.problems.append(f"GUNICORN_CMD_ARGS: {str(error).lower()}")
        return layer, None
    try:
        context = command.make_context("GUNICORN_CMD_ARGS", list(words))
    except click.UsageError as error:
        layer.problems.append(f"GUNICORN_CMD_ARGS: {error.format_message()}")
        return layer, None
    layer = layer_of(context.params, words, layer.origin)
    believe_unix_peers(layer)
    lift_limits(layer)
    return layer, context.params.get("config")
