"""From everything that says something of the settings to one Config, and where each value came from.

What goes before what, from the strongest: the command line; HEADRACE_*; GUNICORN_CMD_ARGS; the configuration file; what
platforms set (PORT, WEB_CONCURRENCY, FORWARDED_ALLOW_IPS); what is implied (gunicorn's defaults where gunicorn's
configuration is read); the defaults of the table.

There is one configuration file: the one that -c names, on the command line, in HEADRACE_CONFIG or in
GUNICORN_CMD_ARGS; or else, in the working directory, headrace.toml, a pyproject.toml that has [tool.headrace], or
gunicorn.conf.py, whichever is found first.  A TOML file may say ``config = "gunicorn.conf.py"`` and is laid over that.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.config.config import Config, ConfigError
from headrace.config.environment import environment_layer, platform_layer
from headrace.config.given import Given, Hook, Layer, Notice, merged
from headrace.config.gunicorn_file import read_gunicorn_config
from headrace.config.gunicorn_names import implied_by_gunicorn, names_layer, timeout_without_limit
from headrace.config.toml_file import SECTION, section_of, toml_layer

#: Looked for in this order.
DEFAULT_FILES = ("headrace.toml", "pyproject.toml", "gunicorn.conf.py")

NO_HEALTH_PATH = "--drain-delay without --health-path: nothing tells the balancer that the server is about to end"
NO_HEALTH_PATH_HINT = "give --health-path, unless it learns of that otherwise, as from Kubernetes"


@dataclass(frozen=True)
class Resolved:
    """All sources together.  ``files``: those that were read, the strongest first.  ``from_gunicorn``: some of it was
    written for gunicorn.  ``gunicorn_location``: its gunicorn.conf.py, absolute, or python:MODULE; ``gunicorn_names``:
    all its variables."""

    layer: Layer
    files: tuple[str, ...]
    from_gunicorn: bool
    gunicorn_location: str | None
    gunicorn_names: Mapping[str, Any]

    @property
    def hooks(self) -> Mapping[str, Hook]:
        """gunicorn's server hooks, by name."""
        return self.layer.hooks

    @property
    def notices(self) -> tuple[Notice, ...]:
        """What was said of the sources one by one, and what goes ill together."""
        given = self.layer.values
        found = list(self.layer.notices)
        if "drain_delay" in given and given["drain_delay"].value and "health_path" not in given:
            found.append(Notice(NO_HEALTH_PATH, NO_HEALTH_PATH_HINT))
        return tuple(found)

    def config(self) -> Config:
        """The checked settings.  Raises ConfigError with all that is wrong, in the words that the user used."""
        values = {name: given.value for name, given in self.layer.values.items()}
        spelled = {name: given.spelled for name, given in self.layer.values.items()}
        try:
            config = Config.from_values(values, spelled)
        except ConfigError as error:
            raise ConfigError([*self.layer.problems, *error.problems]) from None
        if self.layer.problems:
            raise ConfigError(self.layer.problems)
        return config

    def spelled(self, name: str) -> str:
        """What the user wrote for this setting, and where; "default" when nobody did."""
        given = self.layer.values.get(name)
        return given.spelled if given is not None else "default"


@dataclass(frozen=True)
class Sources:
    """Where to look, as it was at the start: read() may be called again, for a reload, whatever has become of the
    working directory and the environment.

    ``command_line`` and ``gunicorn_args`` (GUNICORN_CMD_ARGS; None when not set) are layers already; ``config`` and
    ``gunicorn_args_config`` what -c says in them."""

    command_line: Layer
    environ: Mapping[str, str]
    folder: Path
    config: str | None = None
    gunicorn_args: Layer | None = None
    gunicorn_args_config: str | None = None

    def read(self) -> Resolved:
        """Read the file, if there is one.  Raises ConfigError when it cannot be read, or fails."""
        files = _Files(self.folder)
        named = self.config or self.environ.get("HEADRACE_CONFIG") or self.gunicorn_args_config
        if named:
            files.read(named)
        else:
            files.find()
        from_gunicorn = files.from_gunicorn or self.gunicorn_args is not None
        said = merged(
            [
                platform_layer(self.environ),
                *reversed(files.layers),
                *([self.gunicorn_args] if self.gunicorn_args is not None else []),
                environment_layer(self.environ),
                self.command_line,
            ]
        )
        gunicorns = [layer for layer in (files.gunicorn_layer, self.gunicorn_args) if layer is not None]
        _take_gunicorns_meaning(said, merged(gunicorns))
        if self._sockets_are_passed(said):
            _take_passed_sockets(said, gunicorns)
        implied = implied_by_gunicorn(said.values) if from_gunicorn else {}
        said.values = {**implied, **said.implied, **said.values}
        return Resolved(said, tuple(files.names), from_gunicorn, files.gunicorn_location, files.gunicorn_names)

    def _sockets_are_passed(self, said: Layer) -> bool:
        """By systemd to this process, or by the elder one at an upgrade (process/systemd.py, process/handover.py).

        Asked of the environment of the start: a reload finds them again.  Going to the background loses them."""
        daemon = said.values.get("daemon")
        if daemon is not None and daemon.value:
            return False
        to_us = self.environ.get("LISTEN_PID") == str(os.getpid()) and self.environ.get("LISTEN_FDS", "0") != "0"
        return to_us or '"systemd' in self.environ.get("HEADRACE_FD_BINDS", "")


def _take_gunicorns_meaning(said: Layer, gunicorns: Layer) -> None:
    """A timeout that limits no request there does not here."""
    found = timeout_without_limit(gunicorns)
    if found is not None and said.values.get("timeout") is found[0]:
        said.values["timeout"] = Given(0.0, found[0].spelled)
        said.notices.append(found[1])


def _take_passed_sockets(said: Layer, gunicorns: Sequence[Layer]) -> None:
    """gunicorn listens at what systemd has passed, whatever its bind says; a bind that was written for it does not
    count here, either."""
    given = said.values.get("bind")
    if given is None or not any(layer.values.get("bind") is given for layer in gunicorns):
        return
    if "headrace[" in given.spelled or "systemd" in str(given.value):
        return
    said.values["bind"] = Given(("systemd",), f"{given.spelled}, and sockets that systemd has passed")
    said.notices.append(Notice(
        f"{given.spelled} is not used: systemd has passed sockets, and gunicorn listens at those alone",
        "-b, HEADRACE_BIND or headrace = {'bind': [...]} in the file goes before them",
    ))


@dataclass
class _Files:
    """The configuration files, the strongest first."""

    folder: Path
    layers: list[Layer] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    gunicorn_location: str | None = None
    gunicorn_names: Mapping[str, Any] = field(default_factory=dict)
    gunicorn_layer: Layer | None = None

    @property
    def from_gunicorn(self) -> bool:
        return self.gunicorn_location is not None

    def find(self) -> None:
        """The first of DEFAULT_FILES that is there and meant for us."""
        for name in DEFAULT_FILES:
            path = self.folder / name
            if not path.is_file():
                continue
            if self.layers:
                if path.suffix == ".py" and not self.from_gunicorn:
                    hint = f'config = "{name}" in {self.names[0]} reads both'
                    self.layers[0].notices.append(Notice(f"{name} is not read: {self.names[0]} is there", hint))
            elif path.suffix == ".py":
                self._read_gunicorn(name, str(path))
            else:
                section = section_of(path)
                if section is not None:
                    self._read_toml(name, path, section)

    def read(self, location: str) -> None:
        """A file by its path, "file:PATH" or "python:MODULE"."""
        if location.startswith("python:"):
            self._read_gunicorn(location, location)
            return
        path = self.folder / location.removeprefix("file:")
        if path.suffix != ".toml":
            self._read_gunicorn(location, str(path))
            return
        section = section_of(path)
        if section is None:
            raise ConfigError([f"{location}: there is no [{SECTION}] in it"])
        self._read_toml(location, path, section)

    def _read_gunicorn(self, name: str, location: str) -> None:
        self.gunicorn_location = location
        self.gunicorn_names = read_gunicorn_config(location)
        self.names.append(name)
        self.gunicorn_layer = names_layer(self.gunicorn_names, name)
        self.layers.append(self.gunicorn_layer)

    def _read_toml(self, name: str, path: Path, section: Mapping[str, object]) -> None:
        if self.layers:
            raise ConfigError([f"{self.names[0]}: config: {name} is TOML as well; it can name a gunicorn.conf.py"])
        layer = toml_layer(section, name)
        self.layers.append(layer)
        self.names.append(name)
        below = section.get("config")
        if below is None:
            return
        if not isinstance(below, str):
            layer.refuse("config", f"{below!r} is not a str")
            return
        self.read(below if below.startswith("python:") else str(path.parent / below.removeprefix("file:")))
