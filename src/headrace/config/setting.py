"""One row of the table of settings: see settings.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

T = TypeVar("T")

Kind = Literal["text", "texts", "integer", "seconds", "switch", "choice", "list", "umask", "table"]

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table. ``name`` is the keyword; ``flags`` are the spellings on the command line, the first of
    which is the primary one; without flags it is for configuration files and the environment (of kind "table", a dict,
    for files alone).  A switch whose default is on has flags that turn it off, which ``off_help`` describes.
    ``metavar`` stands for the value in --help.  ``check``, for a text or a list (a tuple of str), gives the value as it
    is to be, or raises ValueError."""

    name: str
    kind: Kind
    default: Any
    group: str
    flags: tuple[str, ...]
    help: str
    unit: str = ""
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    optional: bool = False
    metavar: str = ""
    check: Callable[[Any], Any] | None = None
    off_help: str = ""

    @property
    def range_text(self) -> str:
        """ "64 to 1048576 bytes", for messages and help; "" when there is no range."""
        if self.least is None or self.most is None:
            return ""
        return f"{self.least:g} to {int(self.most)} {self.unit}".rstrip()


def setting(
    default: T,
    group: str,
    *flags: str,
    help: str,
    kind: Kind | None = None,
    unit: str = "",
    least: float | None = None,
    most: float | None = None,
    choices: tuple[str, ...] = (),
    metavar: str = "",
    check: Callable[[Any], Any] | None = None,
    off_help: str = "",
) -> T:
    """A dataclass field with its row as metadata; typed as its value, as dataclasses.field is."""
    row = {
        "kind": kind or _kind_of(default),
        "group": group,
        "flags": flags,
        "help": help,
        "unit": unit,
        "least": least,
        "most": most,
        "choices": choices,
        "optional": default is None,
        "metavar": metavar,
        "check": check,
        "off_help": off_help,
    }
    return dataclasses.field(default=default, metadata=row)


def unchanged(parse: Callable[[str], object]) -> Callable[[Any], Any]:
    """A check by a function that raises ValueError; the text stays as it is."""

    def check(text: str) -> str:
        parse(text)
        return text

    return check


def _kind_of(default: object) -> Kind:
    kinds: dict[type, Kind] = {bool: "switch", int: "integer", float: "seconds", tuple: "texts"}
    return kinds.get(type(default), "text")
