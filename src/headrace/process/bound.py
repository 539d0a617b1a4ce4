"""Which listener stands for which bind, over reloads: what is there stays, what is missing is made."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.config import SETTINGS, Config
from headrace.process.listeners import Listener, default_binds, open_each, options_of


def listeners_for(config: Config, known: Mapping[str, Listener]) -> dict[str, Listener]:
    """By the bind as it was written.  systemd may pass several sockets for one bind: "systemd", "systemd 2", ...

    Raises ListenError; then nothing new is open."""
    binds = default_binds(config)
    if config.bind == SETTINGS["bind"].default and "systemd" in known:
        binds = ("systemd",)  # it passes its sockets once, at the start
    listeners: dict[str, Listener] = {}
    missing = []
    for bind in binds:
        there = {name: known[name] for name in known if name == bind or name.startswith(f"{bind} ")}
        listeners.update(there)
        if not there:
            missing.append(bind)
    for bind, opened in zip(missing, open_each(missing, options_of(config)), strict=True):
        for number, listener in enumerate(opened, 1):
            listeners[bind if number == 1 else f"{bind} {number}"] = listener
    return listeners
