"""Reading a gunicorn.conf.py: a Python program whose variables are the settings."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from headrace.config.config import ConfigError

#: gunicorn's name for the module, under which a configuration may look itself up in sys.modules.
MODULE_NAME = "__config__"


class ConfigFileError(ConfigError):
    """The configuration is a program, and it failed.  ``details``: its traceback, from its own first frame on."""

    def __init__(self, message: str, details: str) -> None:
        super().__init__([message])
        self.details = details


def read_gunicorn_config(location: str) -> dict[str, Any]:
    """The variables after running it: ``location`` is a path, "file:PATH" or "python:MODULE".

    The working directory comes first on the module search path, as under gunicorn.  Raises ConfigError when it is not
    there and ConfigFileError when it fails."""
    if sys.path[:1] != [str(Path.cwd())]:
        sys.path.insert(0, str(Path.cwd()))
    module_name = location.removeprefix("python:")
    if module_name != location:
        return _variables_of_module(module_name)
    return _variables_of_file(Path(location.removeprefix("file:")))


def _variables_of_module(name: str) -> dict[str, Any]:
    sys.modules.pop(name, None)  # read anew at a reload
    try:
        return vars(importlib.import_module(name))
    except (Exception, SystemExit) as error:
        raise _failed(f"python:{name}", error) from None


def _variables_of_file(path: Path) -> dict[str, Any]:
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {(error.strerror or str(error)).lower()}"]) from None
    module = ModuleType(MODULE_NAME)
    module.__file__ = str(path.absolute())
    sys.modules[MODULE_NAME] = module  # dataclasses and pickle look there
    try:
        exec(compile(source, str(path), "exec"), vars(module))  # noqa: S102  # it is the user's own program
    except (Exception, SystemExit) as error:
        raise _failed(str(path), error) from None
    return vars(module)


def _failed(what: str, error: BaseException) -> ConfigFileError:
    report = traceback.TracebackException.from_exception(error)
    own = [frame for frame in report.stack if frame.filename != __file__ and "importlib" not in frame.filename]
    report.stack = traceback.StackSummary.from_list(own)
    last = "".join(report.format_exception_only()).strip().splitlines()[-1]
    return ConfigFileError(f"{what} failed: {last}", "".join(report.format()))
