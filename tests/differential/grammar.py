"""Requests out of the grammar of RFC 9112 and RFC 9110, then spoiled.

    cases(seed, block)      BLOCK_CASES of them, always the same for the same two numbers

Two in three fields, targets and bodies are what clients send, the rest is what the grammar allows and nobody sends, or
what it just does not allow.  Most requests are then mutated: octets flipped, replaced, dropped, doubled, inserted, and
parts of the request before put into this one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

BLOCK_CASES = 10_000

_TOKENS = [
    b"a", b"gzip", b"chunked", b"close", b"keep-alive", b"x-1", b"!#$%&'*+-.^_`|~", b"Z9", b"deflate",
    b"100-continue",
]  # fmt: skip
_TEXTS = [
    b"a", b"", b"text/html, */*;q=0.8", b'"quoted, \\"pair\\""', b"caf\xc3\xa9", b"\xff\x80", b"a b\tc", b"1", b"%00",
    b":", b",",
]  # fmt: skip
_METHODS = [b"GET", b"GET", b"POST", b"POST", b"PUT", b"HEAD", b"DELETE", b"PATCH", b"OPTIONS", b"PROPFIND", b"QUERY"]
_ODD_METHODS = [
    b"get", b"X", b"CONNECT", b"PRI", b"M-SEARCH", b"!#$%&'*+-.^_`|~", b"GETS", b"SOURCE", b"DESCRIBE", b"A" * 40,
]  # fmt: skip
_OLD_VERSIONS = [b"HTTP/1.0"]
_ODD_VERSIONS = [b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"HTTP/1.10", b"HTTP/1", b"HTP/1.1"]
_PATHS = [
    b"/", b"/a/b", b"/index.html", b"//", b"/a%20b", b"/%C3%A9", b"/a;p=1", b"/~u/[x]", b"/a|b^c", b"/" + b"p" * 70,
]  # fmt: skip
_ODD_PATHS = [
    b"*", b"", b"a", b"/%", b"/%00", b"/%zz", b"/\xc3\xa9", b'/"', b"/<>", b"/\\", b"/a#b", b"/`", b"http:/a",
    b"a:80",
]  # fmt: skip
_QUERIES = [b"", b"", b"?", b"?a=1&b=2", b"?%zz", b"?{}|\\^`", b"?a?b/", b"?" + b"q" * 40]
_ODD_QUERIES = [b"#f", b"?#", b"?\xff", b'?"', b"?<", b"? a"]
_ABSOLUTES = [b"http://a", b"HTTP://a:80/x", b"https://[::1]:443/?q", b"http://a?q", b"http://a%41/"]
_ODD_ABSOLUTES = [
    b"http://", b"http:///x", b"http://u@a/", b"ftp://a/", b"http://a:b/", b"http://[::g]/", b"http://a b/",
]  # fmt: skip
_HOSTS = [b"a", b"a", b"example.org", b"example.org:8080", b"[::1]", b"127.0.0.1:80", b"", b"a:"]
_ODD_HOSTS = [b"a b", b"a,b", b"u@a", b"a:b", b"a:99999", b"[::1", b"a/b", b"[v1.a]", b"%41", b"\xe9", b"a, a"]
_NAMES = [
    b"Accept", b"User-Agent", b"X-A", b"Cookie", b"accept-language", b"Origin", b"X!#$%&'*+-.^`|~", b"Referer",
    b"Trailer", b"TE",
]  # fmt: skip
_ODD_NAMES = [
    b"X_A", b"", b"X A", b"X\x00", b"Content", b"Content_Length", b"Transfer_Encoding", b"\xe9", b"X-A\t", b"(x)",
    b'"x"', b"Content-Lengths",
]  # fmt: skip
_RULED = [
    b"Connection: close", b"Connection: keep-alive", b"Connection: keep-alive, Upgrade", b"Connection: x, close",
    b"Connection: ,close,", b"Connection: Close", b"connection: close, keep-alive", b"Connection:",
    b"Expect: 100-continue", b"Content-Type: text/plain", b"Content-Type: a/b;c=d", b"Upgrade: websocket",
    b"Proxy: a", b"Proxy-Connection: close", b"Proxy-Connection: keep-alive", b"Keep-Alive: timeout=5",
    b"Accept: " + b"x" * 300, b"X-Empty:", b"X-Tab:\ta\t", b"X-Obs: \x80\xff",
]  # fmt: skip
_ODD_RULED = [
    b"Connection: a b", b"Connection: \"close\"", b"Connection: closed", b"Expect: 101", b"Expect: 100-continue, x",
    b"Upgrade: h2c", b"Connection: Upgrade", b" folded", b"\tfolded", b"X-A : b", b"X-A\t: b", b"no colon",
    b": empty", b"X-A: a\x0bb", b"X-A: \x7f", b"X-A: a\x00b", b"Content-Length : 3", b"Transfer-Encoding : chunked",
]  # fmt: skip
_LENGTH_FORMS = [
    b"Content-Length: %d", b"Content-Length: %d", b"Content-Length: %d", b"content-length:%d",
    b"Content-Length:\t%d \t", b"Content-Length: 0%d", b"Content-Length: 000000000000000000000000%d",
]  # fmt: skip
_ODD_LENGTH_FORMS = [
    b"Content-Length: +%d", b"Content-Length: -%d", b"Content-Length: 0x%d", b"Content-Length: %d, %d",
    b"Content-Length: 1%d", b"Content-Length: %d\r\nContent-Length: %d", b"Content-Length: %d ,", b"Content-Length:",
    b"Content-Length: %d.0", b"Content-Length: 99999999999999999999%d", b"Content-Length: 9223372036854775808",
    b"Content-Length: 1_%d", b"Content-Length: %d\r\nTransfer-Encoding: chunked", b"Content_Length: %d",
    b"Content-Length: \x0b%d", b"Content-Length: %d %d",
]  # fmt: skip
_CODINGS = [
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked",
    b"transfer-encoding:chunked", b"Transfer-Encoding: Chunked", b"Transfer-Encoding: chunked \t",
    b"Transfer-Encoding:\tCHUNKED",
]  # fmt: skip
_ODD_CODINGS = [
    b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding: identity",
    b"Transfer-Encoding: chunked, gzip", b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunked;a=b",
    b"Transfer-Encoding: ,chunked", b"Transfer-Encoding: chunked,", b"Transfer-Encoding:",
    b"Transfer-Encoding: \"chunked\"", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: \x0bchunked",
    b"Transfer-Encoding: chunk", b"Transfer_Encoding: chunked", b"Transfer-Encoding: c hunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding:", b"Transfer-Encoding:\r\n chunked",
    b"Transfer-Encoding: chunked\x00",
]  # fmt: skip
_EXTENSIONS = [b"", b"", b"", b"", b";a", b";a=b", b';a="b;\\"c"', b";a;b=c", b';a=""']
_ODD_EXTENSIONS = [
    b";", b"; a", b" ", b"\t", b" ;a", b";a=", b';a="', b";a\n", b";\x00", b";a=\xff", b";a =b", b',a', b";a=b ",
    b';a="\xff\t"',
]  # fmt: skip
_TRAILERS = [
    b"", b"", b"", b"", b"X-T: a\r\n", b"X-T:\r\nX-U: b\r\n", b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Host: b\r\n", b"Connection: close\r\n",
]  # fmt: skip
_ODD_TRAILERS = [
    b"X-T\r\n", b"X-T : a\r\n", b" X-T: a\r\n", b"X-T: a\n", b"X-T: a\r\n b\r\n", b": a\r\n", b"X-T: \x00\r\n",
    b"Content-Length: x\r\n", b"Upgrade: x\r\nConnection: upgrade\r\n", b"X_T: a\r\n",
]  # fmt: skip

#: What is put in or over: octets and words that mean something somewhere.
_INSERTED = [
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\n\n", b"\r\r\n", b"\x00", b" ", b"\t", b":", b",", b";", b"=", b'"', b"\\",
    b"%", b"/", b"?", b"#", b"_", b"-", b"+", b"0", b"1", b"f", b"0x", b"\x0b", b"\x0c", b"\x1f", b"\x7f", b"\x80",
    b"\x85", b"\xa0", b"\xff", b"\xc3\xa9", b"chunked", b"HTTP/1.1", b"HTTP/1.0", b" HTTP/1.1\r\n", b"Host: b\r\n",
    b"Content-Length: 3\r\n", b"\r\nContent-Length: 3", b"Transfer-Encoding: chunked\r\n",
    b"\r\nTransfer-Encoding: chunked", b"\r\n ", b"0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"Connection: close\r\n", b"Upgrade: a\r\n", b"\r\nX: y",
]  # fmt: skip
#: Where something is done to a request, half of the time: beside one of these.
_JOINTS = [b"\r\n", b"\r\n", b": ", b" ", b":", b",", b";", b"HTTP", b"chunked", b"ength", b"\r\n\r\n", b"ost"]

_FIXED = [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"]

class Builder:
    """One block's requests.  odd_share: how many of the parts come from the odd half of the grammar."""

    def __init__(self, rng: random.Random, odd_share: float = 0.02) -> None:
        self._random = rng.random
        self._odd_share = odd_share

    def below(self, n: int) -> int:
        return int(self._random() * n)

    def pick(self, usual: Sequence[bytes], odd: Sequence[bytes]) -> bytes:
        chosen = odd if self._random() < self._odd_share else usual
        return chosen[int(self._random() * len(chosen))]

    def target(self) -> bytes:
        if self._random() < 0.9:
            return self.pick(_PATHS, _ODD_PATHS) + self.pick(_QUERIES, _ODD_QUERIES)
        return self.pick(_ABSOLUTES, _ODD_ABSOLUTES)

    def field(self) -> bytes:
        if self._random() < 0.4:
            return self.pick(_RULED, _ODD_RULED)
        name = self.pick(_NAMES, _ODD_NAMES)
        if self._random() < 0.3:
            name += b"-%d" % self.below(50)
        if self._random() < 0.7:
            value = self.pick(_TEXTS, _TOKENS)
        else:
            value = b", ".join((self.pick(_TOKENS, _TEXTS), self.pick(_TOKENS, _TEXTS)))
        return name + (b": " if self._random() < 0.8 else b":") + value

    def chunks(self) -> bytes:
        parts = []
        for _ in range(self.below(4)):
            size = 1 + self.below(20)
            form = b"%x" if self._random() < 0.7 else (b"%X", b"0%x", b"0000000000000000%x", b"00000%x")[self.below(4)]
            data = b"0123456789\r\nabcdef\x00\xff"[:size].ljust(size, b"x")
            parts += (form % size, self.pick(_EXTENSIONS, _ODD_EXTENSIONS), b"\r\n", data, b"\r\n")
        last = b"0" if self._random() < 0.8 else b"000"
        parts += (last, self.pick(_EXTENSIONS, _ODD_EXTENSIONS), b"\r\n", self.pick(_TRAILERS, _ODD_TRAILERS), b"\r\n")
        return b"".join(parts)

    def request(self) -> bytes:
        chance = self._random
        method, target = self.pick(_METHODS, _ODD_METHODS), self.target()
        version = b"HTTP/1.1" if chance() < 0.85 else self.pick(_OLD_VERSIONS, _ODD_VERSIONS)
        lines = [b" ".join((method, target, version))]
        if chance() < 0.96:
            lines.append(b"Host: " + self.pick(_HOSTS, _ODD_HOSTS))
        lines += [self.field() for _ in range(self.below(6))]
        body = b""
        kind = chance()
        if kind < 0.3:
            size = self.below(30)
            form = self.pick(_LENGTH_FORMS, _ODD_LENGTH_FORMS)
            lines.insert(1 + self.below(len(lines)), form.replace(b"%d", b"%d" % size))
            body = (b"body\r\nGET / HTTP/1.1\r\n\r\n" * 2)[:size]
        elif kind < 0.6:
            lines.insert(1 + self.below(len(lines)), self.pick(_CODINGS, _ODD_CODINGS))
            body = self.chunks()
        start = b"" if chance() < 0.97 else (b"\r\n", b"\n", b"\r\n\r\n", b" ")[self.below(4)]
        return b"".join((start, b"\r\n".join(lines), b"\r\n\r\n", body))


class Mutator:
    """Does something to octets, once for each call."""

    def __init__(self, rng: random.Random) -> None:
        self._random = rng.random

    def below(self, n: int) -> int:
        return int(self._random() * n)

    def place(self, octets: bytes) -> int:
        """Anywhere, or at a joint."""
        at = self.below(len(octets) + 1)
        if self._random() < 0.5:
            found = octets.find(_JOINTS[self.below(len(_JOINTS))], at)
            if found >= 0:
                return found + self.below(4)
        return at

    def mutate(self, octets: bytes, other: bytes) -> bytes:
        at = min(self.place(octets), len(octets))
        kind = self.below(12)
        if kind < 2:  # a bit
            return octets[:at] + bytes(byte ^ 1 << self.below(8) for byte in octets[at : at + 1]) + octets[at + 1 :]
        if kind == 2:  # an octet becomes any other
            return octets[:at] + bytes((self.below(256),)) + octets[at + 1 :]
        if kind == 3:
            return octets[:at] + octets[at + 1 :]
        if kind == 4:
            return octets[:at] + octets[at + 1 + self.below(20) :]
        if kind == 5:
            return octets[: at + 1] + octets[at:]
        if kind == 6:
            end = at + 1 + self.below(30)
            return octets[:end] + octets[at:]
        if kind < 9:
            return octets[:at] + _INSERTED[self.below(len(_INSERTED))] + octets[at:]
        if kind == 9:
            inserted = _INSERTED[self.below(len(_INSERTED))]
            return octets[:at] + inserted + octets[at + len(inserted) :]
        start = min(self.place(other), len(other))
        if kind == 10:  # a part of the other one, put in
            return octets[:at] + other[start : start + 1 + self.below(60)] + octets[at:]
        return octets[:at] + other[start:]


def cases(seed: int, block: int) -> Iterator[bytes]:
    """The octets of each case of one block."""
    rng = random.Random(f"{seed}:{block}")
    chance = rng.random
    builder, mutator = Builder(rng), Mutator(rng)
    other = _FIXED[0]
    for _ in range(BLOCK_CASES):
        built = octets = builder.request()
        # As it was built, one in seven; else with one mutation, and three in ten of what has been mutated are again.
        while chance() < 0.85 if octets is built else chance() < 0.3:
            octets = mutator.mutate(octets, other)
        other = built
        yield octets
