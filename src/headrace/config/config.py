"""Config: the settings of one server, checked once and immutable afterwards."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from headrace.config.address import AddressError, parse_bind
from headrace.config.settings import SETTINGS, Setting, Settings


class ConfigError(ValueError):
    """One or more settings are wrong.  ``problems`` has a sentence for each; the message is all of them."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Settings with their units as settings.py says.  Config(keep_alive=5) raises ConfigError for wrong values, for
    all of them at once.  A single str is taken for bind, and whole numbers for seconds."""

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in SETTINGS}
        values, problems = checked(given, {})
        if problems:
            raise ConfigError(problems)
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_values(cls, values: Mapping[str, object], spelled: Mapping[str, str] | None = None) -> Config:
        """A Config from what somebody wrote.  ``spelled`` gives, for a setting's name, the word that was used for it
        (a flag, say), which the messages then use as well.  Raises ConfigError, also for unknown names."""
        known = {name: value for name, value in values.items() if name in SETTINGS}
        problems = [unknown_name(name) for name in values if name not in SETTINGS]
        checked_values, more = checked(known, spelled or {})
        if problems or more:
            raise ConfigError([*problems, *more])
        return cls(**checked_values)  # type: ignore[arg-type]  # the table has checked them


def unknown_name(name: str) -> str:
    near = difflib.get_close_matches(name, SETTINGS, n=1)
    return f"{name}: there is no such setting" + (f"; did you mean {near[0]}?" if near else "")


def checked(values: Mapping[str, object], spelled: Mapping[str, str]) -> tuple[dict[str, object], list[str]]:
    """The values in the types of the table, and what is wrong with them."""
    good: dict[str, object] = {}
    problems: list[str] = []
    for name, value in values.items():
        try:
            good[name] = convert(SETTINGS[name], value)
        except ValueError as error:
            problems.append(f"{spelled.get(name, name)}: {error}")
    return good, problems


def convert(setting: Setting, value: object) -> object:
    """The value in the type of the table.  Raises ValueError whose message goes behind "NAME: "."""
    if value is None and setting.optional:
        return None
    if setting.kind == "integer":
        return _integer(setting, value)
    if setting.kind == "seconds":
        return _seconds(setting, value)
    if setting.kind == "switch":
        if not isinstance(value, bool):
            raise ValueError(f"{value!r} is not True or False")
        return value
    if setting.kind == "texts":
        return _binds(value)
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str):
        raise ValueError(f"{value!r} is not a str")
    if setting.kind == "choice" and text not in setting.choices:
        raise ValueError(f"{text!r} is not one of {', '.join(setting.choices)}")
    return text


def _integer(setting: Setting, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is not a whole number of {setting.unit}")
    _check_range(setting, value)
    return value


def _seconds(setting: Setting, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a number of {setting.unit}")
    _check_range(setting, value)
    return float(value)


def _check_range(setting: Setting, value: float) -> None:
    if (setting.least is not None and value < setting.least) or (setting.most is not None and value > setting.most):
        raise ValueError(f"{value} is outside the range {setting.range_text}")


def _binds(value: object) -> tuple[str, ...]:
    binds = [value] if isinstance(value, str) else value
    if not isinstance(binds, Iterable):
        raise ValueError(f"{value!r} is not a str or a list of str")
    binds = list(binds)
    for bind in binds:
        if not isinstance(bind, str):
            raise ValueError(f"{bind!r} is not a str")
        try:
            parse_bind(bind)
        except AddressError as error:
            raise ValueError(str(error)) from None
    if not binds:
        raise ValueError("there is nothing to listen on")
    return tuple(binds)


_SIZE = re.compile(r"(-?[0-9]{1,20})([kmg]?)", re.ASCII | re.IGNORECASE)
_SECONDS = re.compile(r"-?[0-9]{1,15}(\.[0-9]{0,15})?", re.ASCII)
_POWERS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def from_text(setting: Setting, text: str) -> object:
    """A value as it is written on a command line: sizes in bytes may end in k, m or g (of 1024).

    What is no number comes back as it is, for convert() to refuse together with everything else that is wrong."""
    if setting.kind == "integer" and (match := _SIZE.fullmatch(text)):
        number, power = match.groups()
        return int(number) * _POWERS[power.lower()] if setting.unit == "bytes" or not power else text
    if setting.kind == "seconds" and _SECONDS.fullmatch(text):
        return float(text)
    return text
