"""What a generation of workers is made from: sent by the supervisor to a template that has just been started."""

from __future__ import annotations

import base64
import pickle
from collections.abc import Callable
from dataclasses import dataclass

from headrace.config import Config
from headrace.process.hooks import Hooks, no_hooks
from headrace.process.slots import Shared

EXIT_RUNTIME = 1
EXIT_USAGE = 2
EXIT_APPLICATION = 3


@dataclass(frozen=True)
class Plan:
    """``make_hooks`` and what it refers to are found by name in the new process, so they are functions of modules.

    listeners: descriptor and bind of each.  turns_every_s: how often workers say that their loops turn; None: never."""

    target: str
    config: Config
    preload: bool
    generation: int
    supervisor_pid: int
    num_workers: int
    folder: str  # the working directory by its name, and what that was when the search path was made
    folder_known_as: str
    search_path: tuple[str, ...]
    arguments: tuple[str, ...]
    listeners: tuple[tuple[int, str], ...]
    make_hooks: Callable[[Config], Hooks] = no_hooks
    scoreboard: Shared | None = None
    turns_every_s: float | None = None

    def as_text(self) -> str:
        return base64.b64encode(pickle.dumps(self)).decode()

    @staticmethod
    def from_text(text: str) -> Plan:
        """Only for what our own parent has sent."""
        plan = pickle.loads(base64.b64decode(text))  # noqa: S301
        assert isinstance(plan, Plan)  # noqa: S101
        return plan
