"""What has been found out of another server's command, and the command that comes of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from headrace.config.aliases import opposites
from headrace.config.command_line import size_text
from headrace.config.config import ConfigError, checked
from headrace.config.given import Given, Layer, Notice
from headrace.config.setting import Setting
from headrace.config.settings import SETTINGS


@dataclass
class Plan:
    """``layer``: settings, problems, notices.  ``implied``: the other server's defaults that matter, each with why it
    is there.  ``environment``: variables that stood in front of the command.  ``config``: a gunicorn.conf.py that has
    to be named; ``read``: one that was read, named or not."""

    server: str
    layer: Layer = field(default_factory=Layer)
    target: str | None = None
    config: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    read: str | None = None
    implied: dict[str, tuple[object, str]] = field(default_factory=dict)

    def command(self) -> str:
        """As a shell takes it."""
        words = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        words += ["headrace", shlex.quote(self.target or "APPLICATION")]
        if self.config is not None:
            words += ["-c", shlex.quote(self.config)]
        for flag, value in self._options():
            words.append(flag if value is None else f"{flag} {shlex.quote(value)}")
        return " ".join(words)

    def problems(self) -> list[str]:
        """What cannot be had, wrong values included."""
        values = {name: given.value for name, given in self._given().items()}
        _, wrong = checked(values, {name: given.spelled for name, given in self.layer.values.items()})
        return [*self.layer.problems, *wrong]

    def notices(self) -> list[Notice]:
        """What differs, with what to do."""
        implied = [
            Notice(f"{' '.join(filter(None, option))}: {self.implied[name][1]}")
            for name in self._implied_names()
            for option in _words_of(SETTINGS[name], self.implied[name][0])
        ]
        return [*implied, *self.layer.notices]

    def _implied_names(self) -> list[str]:
        said = {**self.layer.implied, **self.layer.values}
        return [name for name in self.implied if name in SETTINGS and name not in said]

    def _given(self) -> Mapping[str, Given]:
        implied = {name: Given(self.implied[name][0], name) for name in self._implied_names()}
        return {**implied, **self.layer.implied, **self.layer.values}

    def _options(self) -> Iterator[tuple[str, str | None]]:
        given = self._given()
        for setting in SETTINGS.values():
            if setting.name in given and setting.name != "wsgi_app":
                yield from _words_of(setting, given[setting.name].value)


def _words_of(setting: Setting, value: object) -> Iterator[tuple[str, str | None]]:
    """Flag and value as they are written; nothing where the value is none."""
    flag = next((flag for flag in setting.flags if flag.startswith("--")), "")
    if not flag or value is None:
        return
    if setting.kind == "switch":
        if value != setting.default:
            yield flag, None
        else:
            yield from ((opposite, None) for opposite in opposites([setting]))
    elif setting.kind == "texts" and isinstance(value, (tuple, list)):
        yield from ((flag, str(text)) for text in value)
    elif isinstance(value, (tuple, list)):
        yield flag, ",".join(map(str, value))
    else:
        yield flag, size_text(setting, value)


def text_of_error(error: ConfigError) -> str:
    """All of its problems in one line."""
    return "; ".join(error.problems)
