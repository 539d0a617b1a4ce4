"""Values of the settings of sockets and proxies: what they may be, before anything is opened."""

from __future__ import annotations

import re
from collections.abc import Iterable

from headrace.networks import parse_network


def networks(texts: Iterable[str]) -> tuple[str, ...]:
    """Raises ValueError for what is no network."""
    texts = tuple(texts)
    for text in texts:
        parse_network(text)
    return texts


def unix_mode(text: str) -> str:
    """ "660", "0660" or "0o660", as "660".  Raises ValueError."""
    match = re.fullmatch(r"0?o?([0-7]{3})", text, re.ASCII)
    if match is None:
        raise ValueError(f"{text!r} is not a mode of three octal digits, such as 660")
    return match[1]


def health_path(text: str) -> str:
    """Raises ValueError for what no request target begins with (RFC 9112 §3.2.1)."""
    if not text.startswith("/") or re.search(r"[?#\x00-\x20\x7f]", text):
        raise ValueError(f"{text!r} is no path that begins with a slash, without a query")
    return text


def root_path(text: str) -> str:
    """ "/shop", or ""; without a slash at the end.  Raises ValueError."""
    path = text.rstrip("/")
    if path and not path.startswith("/"):
        raise ValueError(f"{text!r} does not begin with a slash")
    if re.search(r"[?#%\x00-\x20\x7f]", path) or "//" in path or {".", ".."} & set(path.split("/")):
        raise ValueError(f"{text!r} is no path, decoded and without a query")
    return path
