"""Config: the settings of one server, checked once and immutable afterwards."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from headrace.config.address import AddressError, parse_bind
from headrace.config.behind import with_preset
from headrace.config.setting import Setting
from headrace.config.settings import SETTINGS, Settings


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
        (a flag, say), which the messages then use as well.  ``behind`` fills in what is not there.

        Raises ConfigError, also for unknown names."""
        values = with_preset(values)
        known = {name: value for name, value in values.items() if name in SETTINGS}
        problems = [unknown_name(name) for name in values if name not in SETTINGS]
        checked_values, more = checked(known, spelled or {})
        if problems or more:
            raise ConfigError([*problems, *more])
        return cls(**checked_values)  # type: ignore[arg-type]  # the table has checked them

    def said(self, name: str) -> str:
        """ "limit_request_body is 1073741824 bytes", for the log."""
        return f"{name} is {getattr(self, name)} {SETTINGS[name].unit}".rstrip()


def with_usable_spool_dir(config: Config, spelled: str = "spool_dir") -> Config:
    """The Config with its spool_dir, where one is set, as an absolute path at which a file has been made just now.

    Apart from the other checks, for it looks at the disk, and from the folder that --chdir has changed to.  Whoever
    names a folder does not want bodies in memory instead, and should not learn at the first upload that it is missing.
    Raises ConfigError."""
    if config.spool_dir is None:
        return config
    folder = Path(os.path.abspath(config.spool_dir))  # noqa: PTH100  # no resolving of links: messages show it
    try:
        if not folder.exists():
            raise ConfigError([f"{spelled}: there is no folder {str(folder)!r}"])
        if not folder.is_dir():
            raise ConfigError([f"{spelled}: {str(folder)!r} is not a folder"])
        import tempfile  # with all that it imports a third of a megabyte

        tempfile.TemporaryFile(dir=folder).close()  # access(2) would not tell of all that can be in the way
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError([f"{spelled}: no file can be made in {str(folder)!r}: {reason}"]) from None
    return replace(config, spool_dir=str(folder))


def check_referee(config: Config, spelled: str = "referee") -> None:
    """Is what ``referee`` needs installed?  Apart from the other checks, for it loads a library.  Who asks for a second
    reading is not to go without it.  Raises ConfigError."""
    if config.referee:
        try:
            import_module("headrace.referee")
        except ImportError as error:
            raise ConfigError([f"{spelled}: {error}"]) from None


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
        return _binds(value) if setting.name == "bind" else _texts(setting, value)
    if setting.kind == "umask":
        return _umask(value)
    if setting.kind == "list":
        return _list(setting, value)
    if setting.kind == "table":
        return _table(value)
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str):
        raise ValueError(f"{value!r} is not a str")
    if setting.kind == "choice" and text not in setting.choices:
        raise ValueError(f"{text!r} is not one of {', '.join(setting.choices)}")
    return text if setting.check is None else setting.check(text)


def _table(value: object) -> dict[str, object]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{value!r} is not a table (a dict with str keys)")
    return dict(value)


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


def _list(setting: Setting, value: object) -> tuple[str, ...]:
    """Separated by commas in one str, or a list of them."""
    texts = value.split(",") if isinstance(value, str) else value
    if not isinstance(texts, Iterable):
        raise ValueError(f"{value!r} is not a str or a list of str")
    texts = tuple(texts)
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(f"{text!r} is not a str")
    texts = tuple(filter(None, (text.strip() for text in texts)))
    return texts if setting.check is None else tuple(setting.check(texts))


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


def _texts(setting: Setting, value: object) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, Iterable) or isinstance(texts, (bytes, Mapping)):
        raise ValueError(f"{value!r} is not a str or a list of str")
    texts = tuple(texts)
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(f"{text!r} is not a str")
        if setting.name == "env" and ("=" not in text[1:] or "\x00" in text):
            raise ValueError(f"{text!r} is not {setting.metavar}")
    return texts


def _umask(value: object) -> int:
    """An int, or octal text.  "22" could be meant in octal, as umask(1) has it, or not, as gunicorn takes it."""
    umask = value
    if isinstance(value, str):
        if re.fullmatch("[1-7][0-7]{1,2}", value, re.ASCII):
            raise ValueError(f"{value!r} does not begin with 0; in octal it is 0{value}")
        if not re.fullmatch("0o?[0-7]{1,3}|[0-7]", value, re.ASCII):
            raise ValueError(f"{value!r} is not a number in octal, such as 027")
        umask = int(value.replace("o", ""), 8)
    if isinstance(umask, bool) or not isinstance(umask, int):
        raise ValueError(f"{value!r} is not a whole number")
    if not 0 <= umask <= 0o777:
        raise ValueError(f"{value!r} is outside the range 0 to 0777")
    return umask


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
