"""headrace.toml, and [tool.headrace] in pyproject.toml: the settings under their own names, or under gunicorn's."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace.config.config import ConfigError
from headrace.config.given import Layer, normalized, value_of_object
from headrace.config.gunicorn_names import setting_of_name
from headrace.config.settings import SETTINGS

SECTION = "tool.headrace"


def read_toml(path: Path) -> dict[str, Any]:
    """The whole file.  Raises ConfigError when it cannot be read, or when Python 3.10 has no tomli."""
    try:
        toml: Any = importlib.import_module("tomllib")
    except ImportError:
        try:
            toml = importlib.import_module("tomli")
        except ImportError:
            raise ConfigError([f"{path}: reading TOML on Python 3.10 needs tomli: pip install tomli"]) from None
    try:
        return dict(toml.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {(error.strerror or str(error)).lower()}"]) from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise ConfigError([f"{path}: is not TOML: {error}"]) from None


def section_of(path: Path) -> Mapping[str, Any] | None:
    """The settings in a TOML file; None when it is a pyproject.toml without a section for Headrace.

    Its text is looked at first, so that nobody else's pyproject.toml can keep a server from starting."""
    if path.name != "pyproject.toml":
        return read_toml(path)
    try:
        if "headrace" not in path.read_text(encoding="utf-8", errors="replace"):
            return None
    except OSError:
        return None
    tool = read_toml(path).get("tool", {})
    section = tool.get("headrace") if isinstance(tool, dict) else None
    return section if isinstance(section, dict) else None


def toml_layer(section: Mapping[str, Any], origin: str) -> Layer:
    """The layer of such a section.  ``config`` is resolve.py's business."""
    layer = Layer(origin)
    for name, value in section.items():
        if name == "config":
            continue
        setting = SETTINGS.get(normalized(name)) or setting_of_name(normalized(name))
        if setting is None:
            near = difflib.get_close_matches(normalized(name), SETTINGS, n=1)
            layer.refuse(name, "there is no such setting" + (f"; did you mean {near[0]}?" if near else ""))
        else:
            layer.give(setting.name, value_of_object(setting, value), name)
    return layer
