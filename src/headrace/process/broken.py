"""What is served under --reload, and only there, when there is no code yet that loads: the traceback."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

from headrace.middleware import plain_text

STATUS = "500 Internal Server Error"

_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{message}</title>
<style>
body {{ font: 16px/1.5 sans-serif; margin: 2em }}
pre {{ overflow: auto; padding: 1em; background: #f4f4f4 }}
</style>
<h1>The application cannot be loaded</h1>
<p><strong>{message}</strong></p>
{hint}{details}<p>It is loaded again when one of its files changes; then load this page again.</p>
</html>
"""

#: A traceback quotes sources and file names: nothing in it is to be run, fetched, kept or shown in somebody's frame.
_HEADERS = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
)


class BrokenApplication:
    """A WSGI application that answers every request with 500 and what went wrong: as a page where the client asks for
    HTML, else as text.

    message, hint and details are those of an ApplicationError.  Sources, paths and values are in a traceback, so this
    is for development alone."""

    def __init__(self, message: str, hint: str = "", details: str = "") -> None:
        text = "\n".join(part for part in (details.rstrip("\n"), f"error: {message}", hint and f"hint: {hint}") if part)
        self._text = f"The application cannot be loaded.\n\n{text}"
        self._page = _PAGE.format(
            message=escape(message),
            hint=f"<p>{escape(hint)}</p>\n" if hint else "",
            details=f"<pre>{escape(details)}</pre>\n" if details else "",
        ).encode("utf-8", "backslashreplace")

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        if not wants_html(environ.get("HTTP_ACCEPT", "")):
            return plain_text.answer(environ, start_response, STATUS, self._text, _HEADERS)
        fields = [
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(self._page))),
            ("X-Content-Type-Options", "nosniff"),
            *_HEADERS,
        ]
        start_response(STATUS, fields)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [self._page]


def wants_html(accept: str) -> bool:
    """Is HTML named, and not liked less than plain text (RFC 9110 §12.5.1)?

    Wildcards do not name it: curl sends */*."""
    weights = {"text/html": 0.0, "text/plain": 0.0}
    for part in accept.split(","):
        media_type, *parameters = (word.strip().lower() for word in part.split(";"))
        if media_type in weights:
            weights[media_type] = _weight(parameters)
    return weights["text/html"] > 0 and weights["text/html"] >= weights["text/plain"]


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
