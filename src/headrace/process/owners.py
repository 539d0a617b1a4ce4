"""USER:GROUP, by name or number, as chown(1) reads it."""

from __future__ import annotations

import grp
import pwd


class OwnerError(ValueError):
    """No such user or group; the message says which."""


def parse_owner(text: str) -> tuple[int, int]:
    """User and group id; -1 where nothing is said.  Raises OwnerError."""
    user, _, group = text.partition(":")
    if not user and not group:
        raise OwnerError(f"{text!r} names nobody; write USER, USER:GROUP or :GROUP")
    return _user_id(user) if user else -1, _group_id(group) if group else -1


def _user_id(text: str) -> int:
    if _is_number(text):
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError:
        raise OwnerError(f"there is no user {text!r}") from None


def _group_id(text: str) -> int:
    if _is_number(text):
        return int(text)
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise OwnerError(f"there is no group {text!r}") from None


def _is_number(text: str) -> bool:
    """Of those that the kernel takes; its largest one means "as it is" (chown(2))."""
    return text.isascii() and text.isdigit() and len(text) < 11 and int(text) < (1 << 32) - 1
