"""Content codings (RFC 9110 §8.4) for responses: gzip, and br and zstd where their packages are installed.

Whoever serves secrets over TLS in the same pages that repeat what a client sent should know of BREACH
(https://breachattack.com): the length of the compressed page tells something of the secret.  Such responses say
Cache-Control: no-transform, or are kept out of `media_types`.
"""

from __future__ import annotations

import fnmatch
import importlib
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from headrace.middleware.filter import Filter, ResponseHead, Transform
from headrace.middleware.grammar import list_members
from headrace.middleware.plain_text import answer

if TYPE_CHECKING:
    from headrace.wsgi import Application

#: In the order of preference between codings that the client likes equally: zstd takes the least time for its size.
CODINGS = ("zstd", "br", "gzip")

#: zstd stays below 20: a window of more than 8 MiB is not for HTTP (RFC 9659 §3).
LEVELS: Mapping[str, range] = {"gzip": range(1, 10), "br": range(12), "zstd": range(1, 20)}

#: For content made for one request: gzip's own default, brotli's and zstd's that take no longer than it.
DEFAULT_LEVELS: Mapping[str, int] = {"gzip": 6, "br": 4, "zstd": 3}

#: What is text in one form or another.  Pictures, sound, films, archives and woff fonts are compressed already.
MEDIA_TYPES = (
    "text/*",
    "*/*+json",
    "*/*+text",
    "*/*+xml",
    "*/*+yaml",
    "application/ecmascript",
    "application/graphql",
    "application/javascript",
    "application/json",
    "application/ld+json",
    "application/rtf",
    "application/sql",
    "application/toml",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/x-javascript",
    "application/x-ndjson",
    "application/xml",
    "application/xml-dtd",
    "application/yaml",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/vnd.microsoft.icon",
    "image/x-icon",
)


class Compress(Filter):
    """A WSGI application that compresses what another one answers, where the client accepts that.

    Accept-Encoding decides (RFC 9110 §12.5.3): the coding with the highest q, and among equals the first of `codings`;
    without the field nothing is compressed.  What could be compressed gets Vary: Accept-Encoding, compressed or not.

    Left as they are: other media types, small content, content that has a coding already, parts (206),
    Cache-Control: no-transform in the request or the response.  To a client that refuses identity (identity;q=0) also
    small content and other media types are sent compressed.  If it accepts no coding at all, GET and HEAD get 406, and
    other methods what the application sends; so does whoever accepts codings that are not ours, for the application
    may have them.

    A stream is flushed at each block, so that what has been sent can be read.  Everything else is as in Filter: ETag
    becomes weak, and If-None-Match with the weak tag gets a 304 with the same tag.  If-Match with it never holds
    (RFC 9110 §13.1.1): what clients are to change under that condition says Cache-Control: no-transform.
    """

    def __init__(
        self,
        application: Application,
        *,
        codings: Sequence[str] | None = None,
        size_min_bytes: int = 500,
        media_types: Iterable[str] = MEDIA_TYPES,
        levels: Mapping[str, int] | None = None,
    ) -> None:
        """codings: some of "zstd", "br" and "gzip", the preferred first; by default those whose packages are there.
        size_min_bytes: content that is known to be shorter stays as it is; in less than half a packet there is nothing
        to gain.  media_types: such as "text/html", with * for anything.  levels: of compression, by coding; gzip 1-9
        (6), br 0-11 (4), zstd 1-19 (3).

        Raises ValueError for an unknown coding or level, ImportError when a coding that was named lacks its package.
        """
        super().__init__(application, self._select_coding, ranges=True)
        levels = {**DEFAULT_LEVELS, **(levels or {})}
        for coding in (*(codings or ()), *levels):
            if coding not in LEVELS:
                raise ValueError(f"{coding!r} is none of the codings {', '.join(CODINGS)}")
        for coding, level in levels.items():
            if level not in LEVELS[coding]:
                least, most = LEVELS[coding][0], LEVELS[coding][-1]
                raise ValueError(f"{coding} has the levels {least} to {most}; this is {level}")
        if codings is None:
            codings = _installed()
        self._encoders = {coding: partial(_ENCODERS[coding], levels[coding]) for coding in codings}
        for coding, make in self._encoders.items():
            try:
                make()  # now and not with the first request
            except ImportError as error:
                raise ImportError(f"the coding {coding!r} needs a package: pip install 'headrace[compress]'") from error
        self._codings = tuple(self._encoders)
        self._size_min_bytes = size_min_bytes
        self._is_compressible = re.compile("|".join(map(fnmatch.translate, media_types)) or "(?!)").match

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        choice = choose_coding(environ.get("HTTP_ACCEPT_ENCODING"), self._codings)
        if choice.refuses_all and environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            text = f"Not Acceptable: this server has the content codings {', '.join(self._codings)}"
            return answer(environ, start_response, "406 Not Acceptable", text, [("Vary", "Accept-Encoding")])
        return super().__call__(environ, start_response)

    def _select_coding(self, environ: dict[str, Any], head: ResponseHead) -> Transform | None:
        asked = list_members([environ.get("HTTP_CACHE_CONTROL", "")])
        if head.is_encoded or head.forbids_transform or "no-transform" in asked:
            return None
        choice = choose_coding(environ.get("HTTP_ACCEPT_ENCODING"), self._codings)
        is_compressible = self._is_compressible(head.media_type) is not None
        # A 304 has the Vary of the 200, and does not say of what media type that was (RFC 9110 §15.4.5).
        if is_compressible or head.code == 304 or (choice.refuses_identity and head.is_transformable):
            head.add_vary("Accept-Encoding")
        if choice.coding is None or not head.is_transformable:
            return None
        is_small = head.content_length is not None and head.content_length < self._size_min_bytes
        if not choice.refuses_identity and (is_small or not is_compressible):
            return None
        head.headers["Content-Encoding"] = choice.coding
        return self._encoders[choice.coding]()


# -- Accept-Encoding --------------------------------------------------------------------------------------------------


class Choice(NamedTuple):
    """coding: the one to use, or None for identity.  refuses_identity: the client does not want content as it is.
    refuses_all: nor in any coding that an application could have."""

    coding: str | None
    refuses_identity: bool
    refuses_all: bool


#: Members of Accept-Encoding that are looked at: the registry has ten codings, and a head has room for 28,000 members.
MEMBERS_MAX = 100

_MEMBER = re.compile(
    r"(?P<coding>[!#$%&'*+\-.^_`|~0-9A-Za-z]+)(?:[ \t]*;[ \t]*[qQ]=(?P<q>0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?"
)


@lru_cache(maxsize=128)  # clients send few different ones
def choose_coding(accept_encoding: str | None, available: tuple[str, ...]) -> Choice:
    """RFC 9110 §12.5.3.  accept_encoding: the field's value, or None without one; available: the preferred first.

    A member that does not follow the grammar is passed over, and so is what comes behind MEMBERS_MAX of them.
    """
    weights: dict[str, float] = {}
    for member in (accept_encoding or "").split(",", MEMBERS_MAX)[:MEMBERS_MAX]:
        match = _MEMBER.fullmatch(member.strip(" \t"))
        if match is not None:
            coding = match["coding"].lower()
            # §8.4.1.3: x-gzip is another name of gzip.
            weights.setdefault("gzip" if coding == "x-gzip" else coding, float(match["q"] or 1))
    others = weights.get("*", 0.0)
    best = max(available, key=lambda coding: weights.get(coding, others), default=None)
    weight = weights.get(best, others) if best is not None else 0.0
    identity = weights.get("identity", weights.get("*"))
    if weight == 0 or weight < (identity or 0):
        best = None
    return Choice(best, identity == 0, refuses_all=identity == 0 and not any(weights.values()))


# -- the encoders -----------------------------------------------------------------------------------------------------


class _Encoder(Transform):
    """Three functions of a library's compressor as a Transform."""

    def __init__(
        self, compress: Callable[[bytes], bytes], flush: Callable[[], bytes], finish: Callable[[], bytes]
    ) -> None:
        self._compress, self._flush, self._finish = compress, flush, finish

    def feed(self, block: bytes) -> bytes:
        return self._compress(block)

    def flush(self) -> bytes:
        return self._flush()

    def finish(self) -> bytes:
        return self._finish()


def _gzip(level: int) -> Transform:
    compressor = zlib.compressobj(level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return _Encoder(compressor.compress, partial(compressor.flush, zlib.Z_SYNC_FLUSH), compressor.flush)


def _brotli(level: int) -> Transform:
    compressor = importlib.import_module("brotli").Compressor(quality=level)
    return _Encoder(compressor.process, compressor.flush, compressor.finish)


def _zstandard(level: int) -> Transform:
    if sys.version_info >= (3, 14):
        compressor = importlib.import_module("compression.zstd").ZstdCompressor(level=level)
        block, frame = compressor.FLUSH_BLOCK, compressor.FLUSH_FRAME
    else:
        zstandard = importlib.import_module("zstandard")
        compressor = zstandard.ZstdCompressor(level=level).compressobj()
        block, frame = zstandard.COMPRESSOBJ_FLUSH_BLOCK, zstandard.COMPRESSOBJ_FLUSH_FINISH
    return _Encoder(compressor.compress, partial(compressor.flush, block), partial(compressor.flush, frame))


_ENCODERS: Mapping[str, Callable[[int], Transform]] = {"gzip": _gzip, "br": _brotli, "zstd": _zstandard}


def _installed() -> list[str]:
    """The codings whose packages are there."""
    found = []
    for coding in CODINGS:
        try:
            _ENCODERS[coding](DEFAULT_LEVELS[coding])
        except ImportError:
            continue
        found.append(coding)
    return found
