"""Compressed answers, for clients that accept them: gzip, and with the extra `compress` br and zstd.

headrace examples/compress.py
curl -i --compressed http://127.0.0.1:8000/
curl --no-buffer --compressed http://127.0.0.1:8000/clock       (each line comes at once)
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from headrace.middleware import Compress


def clock() -> Iterator[bytes]:
    for _ in range(10):
        yield time.strftime("%H:%M:%S\n").encode()
        time.sleep(1)


def pages(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/clock":
        return clock()
    return [b"the same words again and again\n" * 1000]


application = Compress(pages)
