"""gunicorn's server hooks: their names, how many arguments each is called with, and how one is named by text."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

#: Hook -> the numbers of arguments that gunicorn allows; it calls with the first that fits.
HOOKS: dict[str, tuple[int, ...]] = {
    "on_starting": (1,),
    "on_reload": (1,),
    "when_ready": (1,),
    "pre_fork": (2,),
    "post_fork": (2,),
    "post_worker_init": (1,),
    "worker_int": (1,),
    "worker_abort": (1,),
    "pre_exec": (1,),
    "pre_request": (2,),
    "post_request": (4, 3, 2),
    "child_exit": (2,),
    "worker_exit": (2,),
    "nworkers_changed": (3,),
    "on_exit": (1,),
}


def resolve_hook(value: Any) -> Any:
    """A hook may be the text "package.module.function".  Raises what the import raises, or ImportError."""
    if not isinstance(value, str):
        return value
    module, _, name = value.rpartition(".")
    if not module:
        raise ImportError(f"{value!r} is not MODULE.FUNCTION")
    return getattr(importlib.import_module(module), name)


def arguments_taken(name: str, hook: Callable[..., Any]) -> int | None:
    """How many of its arguments the hook wants; None when none of gunicorn's numbers fits."""
    for count in HOOKS[name]:
        try:
            inspect.signature(hook).bind(*[None] * count)
        except TypeError:
            continue
        except ValueError:
            pass  # compiled, tells nothing
        return count
    return None


def arguments_of(name: str) -> tuple[str, ...]:
    """What a hook is called with, as gunicorn's documentation calls it."""
    special = {
        "pre_request": ("worker", "req"),
        "post_request": ("worker", "req", "environ", "resp"),
        "nworkers_changed": ("server", "new_value", "old_value"),
    }
    if name in special:
        return special[name]
    if HOOKS[name] == (2,):
        return "server", "worker"
    return ("worker",) if "worker" in name else ("server",)


def hook_problem(name: str, hook: object) -> str:
    """What is wrong with a hook, as the part behind "NAME: "; "" when it can be called."""
    if not callable(hook):
        return f"{hook!r} is not callable"
    if arguments_taken(name, hook) is None:
        fewer = " or ".join(map(str, HOOKS[name][1:]))
        fewer = fewer and f", or the first {fewer} of these"
        return f"{hook!r} has to take the arguments ({', '.join(arguments_of(name))}){fewer}"
    return ""
