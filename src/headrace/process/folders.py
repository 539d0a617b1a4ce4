"""The working directory by its name: a release may be a symbolic link that shows elsewhere when the next one comes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def start_folder() -> str:
    """The working directory as it was named, where the environment says, for getcwd(3) follows links."""
    folder = Path.cwd()
    named = os.environ.get("PWD", "")
    try:
        return named if named and Path(named).samefile(folder) else str(folder)
    except OSError:
        return str(folder)


def enter(folder: str, search_path: Sequence[str], known_as: str) -> list[str]:
    """Make it the working directory: the search path with what it is now in place of what it was then.

    Raises OSError when it is gone."""
    os.chdir(folder)
    now = str(Path.cwd())
    return [now if entry == known_as else entry for entry in search_path]
