"""What fields are made of, for all middleware: tokens, values and lists (RFC 9110 §5.5, §5.6).  Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def is_token(text: str) -> bool:
    """RFC 9110 §5.6.2: names of fields and methods are tokens."""
    return _TOKEN.fullmatch(text) is not None


def has_control_character(text: str) -> bool:
    """Anything that RFC 9110 §5.5 keeps out of a field value, CR, LF and NUL above all."""
    return _CONTROL.search(text) is not None


def list_members(values: Iterable[str]) -> set[str]:
    """The members of a list-based field, from all its lines, in lower case (RFC 9110 §5.6.1)."""
    return {member.strip(" \t").lower() for value in values for member in value.split(",")}
