"""What one source of configuration says, and how several are laid one over the other.

A source (the command line, the environment, a file) becomes a Layer: values with the words that the user used for
them, what is wrong, what has no counterpart here.  Values are checked later, all at once, by Config.from_values().
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from headrace.config.config import from_text
from headrace.config.setting import Setting
from headrace.config.settings import SETTINGS

Hook = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Given:
    """One value. ``spelled``: the name that the user wrote, as messages repeat it: "--keep-alive", "HEADRACE_BIND"."""

    value: object
    spelled: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that does not stop the start.  ``hint`` says what to do; it has no full stop."""

    text: str
    hint: str = ""


@dataclass
class Layer:
    """One source.  ``origin`` is its name: "gunicorn.conf.py"; "" where each spelling says it all.  ``implied``: what
    follows from something else that was said, and gives way to all that was said.  ``worker_class``: gunicorn's, as it
    was written; "" where none was."""

    origin: str = ""
    values: dict[str, Given] = field(default_factory=dict)
    implied: dict[str, Given] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    hooks: dict[str, Hook] = field(default_factory=dict)
    worker_class: str = ""

    def spelled(self, name: str) -> str:
        return f"{self.origin}: {name}" if self.origin else name

    def give(self, setting: str, value: object, name: str) -> None:
        """The setting has this value, written under that name.  Two names for one setting must not contradict."""
        before = self.values.get(setting)
        if before is not None and before.spelled != self.spelled(name):
            if before.value != value:
                self.problems.append(
                    f"{self.spelled(name)}: {before.spelled} says something else; leave one of them out"
                )
            return
        self.values[setting] = Given(value, self.spelled(name))

    def refuse(self, name: str, why: str) -> None:
        self.problems.append(f"{self.spelled(name)}: {why}")

    def notice(self, name: str, what: str, hint: str = "") -> None:
        self.notices.append(Notice(f"{self.spelled(name)} {what}", hint))


def merged(layers: Iterable[Layer]) -> Layer:
    """All layers in one: later ones go before earlier ones; problems, notices and hooks add up."""
    whole = Layer()
    for layer in layers:
        whole.values.update(layer.values)
        whole.implied.update(layer.implied)
        whole.problems += layer.problems
        whole.notices += layer.notices
        whole.hooks.update(layer.hooks)
        whole.worker_class = layer.worker_class or whole.worker_class
    return whole


# -- Values as other notations have them ------------------------------------------------------------------------------

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")
#: Levels that other servers have. gunicorn takes any case.
_LEVELS = {"warn": "warning", "fatal": "critical", "trace": "debug", "notset": "debug"}


def value_of_text(setting: Setting, text: str) -> object:
    """Text of a command line, the environment or a str in a file, as the table wants it.

    What cannot be understood comes back as it is, for convert() to refuse together with everything else."""
    if setting.kind == "switch":
        word = text.strip().lower()
        return True if word in _TRUE else False if word in _FALSE else text
    if setting.kind == "texts":
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if setting.kind == "choice":
        word = text.lower()
        return _LEVELS.get(word, word) if setting.name == "log_level" else word if word in setting.choices else text
    return from_text(setting, text)


def value_of_object(setting: Setting, value: object) -> object:
    """A value of a TOML file: text stands for whatever it stands for on the command line ("10m")."""
    if isinstance(value, str):
        return (value,) if setting.kind == "texts" else value_of_text(setting, value)
    return value


def normalized(name: str) -> str:
    """keep-alive and keep_alive are one name."""
    return name.replace("-", "_")


def setting_of_flag(flag: str) -> Setting | None:
    """The setting that has this flag."""
    return next((setting for setting in SETTINGS.values() if flag in setting.flags), None)
