"""The workloads: the request as it goes over the wire, and the answer that counts as right.

The bytes here are the only copy: wrk (through replay.lua), the check before each timing and the instruction
counts all send exactly these.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent.parent
APPS = BENCHMARKS / "apps"
EXPECTED = BENCHMARKS / "expected"

BIG_BYTES = 1 << 20
FILE_BYTES = 10 << 20
PIPELINE_DEPTH = 16


@cache
def pattern(size: int) -> bytes:
    """The content of the big, stream and file answers; made here a second time, as a check of the first."""
    lines = "\n".join(str(line).zfill(15) for line in range((size + 15) // 16))
    return (lines + "\n").encode()[:size]


@dataclass(frozen=True)
class Workload:
    name: str
    app: str  # MODULE:ATTRIBUTE below apps/
    request: bytes  # what one call of send() sends; `answers` requests
    make_body: Callable[[], bytes]  # the answer's; called late, as some are large
    fields: Mapping[str, str] = field(default_factory=dict)  # that the answer must have, names in lower case
    answers: int = 1
    closes: bool = False  # the server is to close after the answer
    # wrk counts whole answers only, so what is on its way at the end must be little beside what was answered.
    connections_max: int = 1 << 16
    varies: bool = False  # no two requests have the same field lines

    def numbered(self, number: int) -> bytes:
        """The request, or the `number`th of those that vary; all of one length."""
        return self.request.replace(NUMBER, b"%016x" % number) if self.varies else self.request

    @property
    def body(self) -> bytes:
        return self.make_body()


def head(request_line: str, *fields: str) -> bytes:
    return "\r\n".join([request_line, *fields, "", ""]).encode("latin-1")


NUMBER = b"0f2d9a6be1c84d07"  # what a workload that varies has another number in place of
HOST = "Host: mill.example"
HELLO = head("GET / HTTP/1.1", HOST)
HELLO_CLOSE = head("GET / HTTP/1.1", HOST, "Connection: close")
BROWSER = head(
    "GET /wheels/overshot?q=oak+water+wheel&page=2&sort=price HTTP/1.1",
    HOST,
    "Connection: keep-alive",
    "Cache-Control: max-age=0",
    'Sec-CH-UA: "Chromium";v="130", "Google Chrome";v="130", "Not?A_Brand";v="99"',
    'Sec-CH-UA-Platform: "Linux"',
    "Upgrade-Insecure-Requests: 1",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0"
    " Safari/537.36",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Referer: http://mill.example/wheels?page=1&sort=name",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: de-DE,de;q=0.9,en;q=0.8",
    f"Cookie: session={NUMBER.decode()}; user=miller; theme=dark; basket=3; seen=1731000000",
)
FRAMEWORK = head(
    "GET /wheels/42?sort=price HTTP/1.1",
    HOST,
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0",
    "Accept: text/html",
    "Accept-Language: en",
    "Cookie: user=miller; theme=dark",
)


def json_4k() -> bytes:
    """4 KiB of JSON, to the byte."""
    rows = [{"wheel": number, "kind": "overshot", "width_m": 1.5} for number in range(80)]
    text = json.dumps({"rows": rows, "pad": ""})
    return text.replace('"pad": ""', '"pad": "%s"' % ("x" * (4096 - len(text)))).encode()


JSON = json_4k()
JSON_FIELDS = ("Content-Type: application/json", f"Content-Length: {len(JSON)}")
POST = head("POST /echo HTTP/1.1", HOST, *JSON_FIELDS) + JSON


def constant(body: bytes) -> Callable[[], bytes]:
    return lambda: body


def page(name: str) -> Callable[[], bytes]:
    return (EXPECTED / name).read_bytes


def patterned(size: int) -> Callable[[], bytes]:
    return lambda: pattern(size)


HELLO_WORLD = constant(b"Hello, World!\n")
PLAIN = {"content-type": "text/plain", "content-length": "14"}
HTML = {"content-type": "text/html; charset=utf-8"}
PRIVATE = {"cache-control": "private, max-age=0"}
BROWSER_FIELDS = {**HTML, **PRIVATE, "content-language": "de", "vary": "Cookie, Accept-Language"}
WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("hello", "hello:app", HELLO, HELLO_WORLD, PLAIN),
        Workload("browser", "plain:browser", BROWSER, page("browser.html"), BROWSER_FIELDS),
        Workload("varied", "plain:browser", BROWSER, page("browser.html"), BROWSER_FIELDS, varies=True),
        Workload("pipeline", "hello:app", HELLO * PIPELINE_DEPTH, HELLO_WORLD, PLAIN, answers=PIPELINE_DEPTH),
        Workload("post", "plain:post", POST, constant(JSON), {"content-type": "application/json"}),
        Workload("big", "plain:big", HELLO, patterned(BIG_BYTES), {"content-length": str(BIG_BYTES)}),
        Workload("stream", "plain:stream", HELLO, patterned(BIG_BYTES)),
        Workload(
            "file",
            "plain:file",
            HELLO,
            patterned(FILE_BYTES),
            {"content-length": str(FILE_BYTES)},
            connections_max=8,
        ),
        Workload("close", "hello:app", HELLO_CLOSE, HELLO_WORLD, PLAIN, closes=True),
        Workload("flask", "flask_app:app", FRAMEWORK, page("flask.html"), PRIVATE | HTML),
        Workload("django", "django_app:app", FRAMEWORK, page("django.html"), PRIVATE | HTML),
    )
}
