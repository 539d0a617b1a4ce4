"""Answers that middleware gives itself: a status and a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def answer(
    environ: dict[str, Any],
    start_response: Callable[..., Any],
    status: str,
    text: str,
    headers: Iterable[tuple[str, str]] = (),
) -> list[bytes]:
    """A complete answer with ``text`` as its content, in place of the application's.

    status: with its reason, such as "404 Not Found".  headers: further ones.  A HEAD request gets the same head and no
    content (RFC 9110 §9.3.2), also from servers that send what they are given.
    """
    body = f"{text}\n".encode("utf-8", "backslashreplace")
    fields = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("X-Content-Type-Options", "nosniff"),  # the text may quote what the client sent
        *headers,
    ]
    start_response(status, fields)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
