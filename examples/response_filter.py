"""Post-processing: what the application answers is changed on its way out.

    headrace examples/response_filter.py
    curl -i http://127.0.0.1:8000/              (a length and a tag of its own)
    curl -i http://127.0.0.1:8000/stream

`capitals` gets each block by itself.  `Signature` has a state, and a last word.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from headrace.middleware import Filter, ResponseHead, Transform


def pages(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/stream":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (b"line %d\n" % number for number in range(3))
    body = b"a page\n"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), ("ETag", '"1"')])
    return [body]


def capitals(environ: dict[str, Any], head: ResponseHead) -> Any:
    return bytes.upper if head.media_type == "text/plain" else None


class Signature(Transform):
    """The content, and behind it its digest."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()

    def feed(self, block: bytes) -> bytes:
        self.digest.update(block)
        return block

    def finish(self) -> bytes:
        return f"sha256 {self.digest.hexdigest()}\n".encode()


application = Filter(Filter(pages, capitals), lambda environ, head: Signature())
