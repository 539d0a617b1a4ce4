"""The plain WSGI workloads, one callable each.  They use nothing but PEP 3333, so any server can run them.

Nothing is cached between requests that a real application would have to work out for each of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

BIG_BYTES = 1 << 20
STREAM_BLOCKS = 64
STREAM_BLOCK_BYTES = 16 * 1024
FILE_BYTES = 10 << 20
FILE_BLOCK_BYTES = 64 * 1024


OCTETS = "application/octet-stream"


def pattern(size: int) -> bytes:
    """`size` bytes of numbered 16-byte lines, so that a block out of place or lost shows."""
    return b"".join([b"%015d\n" % line for line in range((size + 15) // 16)])[:size]


BIG_BLOCK = pattern(BIG_BYTES)
STREAM = [
    BIG_BLOCK[at : at + STREAM_BLOCK_BYTES]
    for at in range(0, STREAM_BLOCKS * STREAM_BLOCK_BYTES, STREAM_BLOCK_BYTES)
]


def post(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Read the body and send it back."""
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    start_response("200 OK", [("Content-Type", environ["CONTENT_TYPE"]), ("Content-Length", str(len(body)))])
    return [body]


def big(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """One block of 1 MiB."""
    start_response("200 OK", [("Content-Type", OCTETS), ("Content-Length", str(BIG_BYTES))])
    return [BIG_BLOCK]


def stream(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    """64 blocks of 16 KiB from a generator, and no length."""
    start_response("200 OK", [("Content-Type", OCTETS)])
    yield from STREAM


def file(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """A file of 10 MiB through wsgi.file_wrapper where the server has one."""
    source = open(os.environ["BENCHMARK_FILE"], "rb")  # noqa: SIM115 (the server closes it)
    start_response("200 OK", [("Content-Type", OCTETS), ("Content-Length", str(FILE_BYTES))])
    wrapper: Any = environ.get("wsgi.file_wrapper", read_blocks)
    blocks: Iterable[bytes] = wrapper(source, FILE_BLOCK_BYTES)
    return blocks


def read_blocks(source: Any, block_bytes: int) -> Iterator[bytes]:
    with source:
        yield from iter(lambda: source.read(block_bytes), b"")


TITLES = {"en": "Water wheels", "de": "Alte Mahlwerke", "nl": "Oude molens"}
ORDERS = {"name": "name", "price": "price, lowest first", "size": "size"}


def page(language: str, theme: str, order: str) -> str:
    title = TITLES[language]
    return f"""\
<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<title>{title} - The Mill Shop</title>
<link rel="stylesheet" href="/static/site.css">
<script src="/static/site.js" defer></script>
</head>
<body class="{theme}">
<header><a href="/">The Mill Shop</a> <nav><a href="/wheels">Wheels</a> <a href="/stones">Stones</a>
<a href="/sluices">Sluices</a></nav> <p>Signed in (<a href="/leave">leave</a>)</p></header>
<main>
<h1>{title}</h1>
<p>All that we have, by {order}</p>
<ol>
<li><a href="/wheels/overshot">Overshot wheel</a>, oak, 4.2 m, 36 buckets</li>
<li><a href="/wheels/undershot">Undershot wheel</a>, larch, 3.6 m, 24 paddles</li>
<li><a href="/wheels/breastshot">Breastshot wheel</a>, iron rim, 5.0 m, 48 buckets</li>
<li><a href="/wheels/pitchback">Pitchback wheel</a>, oak, 4.8 m, 40 buckets</li>
</ol>
</main>
<footer><p>The water comes first. <a href="/imprint">Imprint</a> <a href="/privacy">Privacy</a></p></footer>
</body>
</html>
"""


def browser(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """What a small page does: cookies, query and language in, 1 KiB of HTML and five response fields out."""
    # What comes from the client only ever picks one of our own words, so nothing needs escaping.
    theme = "night" if "theme=dark" in environ.get("HTTP_COOKIE", "") else "day"
    order = ORDERS.get(environ["QUERY_STRING"].rpartition("sort=")[2], "name")
    language = environ.get("HTTP_ACCEPT_LANGUAGE", "")[:2]
    if language not in TITLES:
        language = "en"
    body = page(language, theme, order).encode()
    start_response(
        "200 OK",
        [
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Content-Language", language),
            ("Cache-Control", "private, max-age=0"),
            ("Vary", "Cookie, Accept-Language"),
        ],
    )
    return [body]
