"""Advisories of other servers and parsers about request heads and framing: each mechanism, and that such messages are
refused here.  The identifier of a test is that of the advisory; those without a CVE have the server and its version or
issue.  test_advisories_survived.py has the others: of what is legal, of responses, logs and load.
"""

from __future__ import annotations

import pytest

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def head(*lines: bytes, body: bytes = b"") -> bytes:
    return HEAD + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def lengths(*values: bytes) -> list[tuple[bytes, str]]:
    return [(head(b"Content-Length: " + value, body=SMUGGLED), "REQUEST_CONTENT_LENGTH_INVALID") for value in values]


def sizes(*values: bytes) -> list[tuple[bytes, str]]:
    return [(CHUNKED + value + b"\r\nabc\r\n0\r\n\r\n", "REQUEST_CHUNK_SIZE_INVALID") for value in values]


def values_refused(*values: bytes) -> list[tuple[bytes, str]]:
    return [(head(b"X: " + value), "REQUEST_FIELD_VALUE_INVALID") for value in values]


#: identifier -> (the mechanism, (message, the error that it must be refused with)...)
REFUSED: dict[str, tuple[str, list[tuple[bytes, str]]]] = {
    # gunicorn
    "CVE-2024-1135": (
        "several or conflicting Transfer-Encoding lines: chunked, whatever the last coding",
        [
            (head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"), "REQUEST_TRANSFER_CODING_INVALID"),
            (head(b"Transfer-Encoding: chunked, identity"), "REQUEST_TRANSFER_CODING_INVALID"),
            (head(b"Transfer-Encoding: chunked, gzip"), "REQUEST_TRANSFER_CODING_INVALID"),
        ],
    ),
    "CVE-2024-6827": (
        "an unknown Transfer-Encoding ignored, Content-Length used",
        [
            (head(b"Transfer-Encoding: x", b"Content-Length: 35", body=SMUGGLED), "REQUEST_FRAMING_CONFLICT"),
            (head(b"Transfer-Encoding: x", body=SMUGGLED), "REQUEST_TRANSFER_CODING_INVALID"),
        ],
    ),
    "gunicorn-22.0.0": (
        "int() for lengths and sizes, empty field names, 0x85 and 0xa0 stripped from names, an empty coding",
        [
            *lengths(b"0x23", b"3_5", b"+35", b"-35"),
            *sizes(b"0x3", b"3_0", b"+3", b"-3"),
            (head(b": x"), "REQUEST_FIELD_NAME_INVALID"),
            (head(b"\x85X: y"), "REQUEST_FIELD_NAME_INVALID"),
            (head(b"X\xa0: y"), "REQUEST_FIELD_NAME_INVALID"),
            (head(b"Transfer-Encoding: ,chunked"), "REQUEST_TRANSFER_CODING_INVALID"),
        ],
    ),
    "gunicorn-23.0.0": (
        "NUL, CR and LF in field values, folded lines",
        [
            *values_refused(b"a\0b", b"a\rb", b"a\nb"),
            (head(b"X: a", b" b"), "REQUEST_FIELD_FOLDED"),
        ],
    ),
    "gunicorn-25": (
        "Host and Content-Type repeated, control octets in values, forms of the target unchecked",
        [
            (head(b"Host: a"), "REQUEST_HOST_REPEATED"),
            (head(b"Content-Type: a/b", b"Content-Type: a/b"), "REQUEST_CONTENT_TYPE_REPEATED"),
            *values_refused(b"\x01", b"\x08", b"\x7f"),
            (b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", "REQUEST_TARGET_INVALID"),
            (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", "REQUEST_TARGET_INVALID"),
            (b"GET a/b HTTP/1.1\r\nHost: a\r\n\r\n", "REQUEST_TARGET_INVALID"),
        ],
    ),
    # waitress
    "CVE-2019-16785": (
        "a bare LF taken for the end of a line",
        [
            (b"GET / HTTP/1.1\nHost: a\n\n", "REQUEST_LINE_MALFORMED"),
            (head(b"X: y\nTransfer-Encoding: chunked"), "REQUEST_FIELD_VALUE_INVALID"),
        ],
    ),
    "CVE-2019-16786": (
        "Transfer-Encoding compared as one string, Content-Length used if it is another",
        [
            (head(b"Transfer-Encoding: gzip, chunked", b"Content-Length: 9"), "REQUEST_FRAMING_CONFLICT"),
            (head(b"Transfer-Encoding: gzip, chunked", body=SMUGGLED), "REQUEST_TRANSFER_CODING_UNSUPPORTED"),
        ],
    ),
    "CVE-2019-16789": (
        "VT, FF and their like stripped around values",
        [
            (head(b"Transfer-Encoding: \x0bchunked"), "REQUEST_FIELD_VALUE_INVALID"),
            (head(b"Transfer-Encoding: \x0cchunked"), "REQUEST_FIELD_VALUE_INVALID"),
            (head(b"Content-Length: 5\x0b"), "REQUEST_FIELD_VALUE_INVALID"),
        ],
    ),
    "CVE-2019-16792": (
        "two Content-Length lines made one list, which int() refused, and length 0 of that",
        [
            (head(b"Content-Length: 35", b"Content-Length: 35", body=SMUGGLED), "REQUEST_CONTENT_LENGTH_REPEATED"),
            *lengths(b"35, 35"),
        ],
    ),
    "CVE-2022-24761": (
        "+ and 0x in lengths and sizes, chunk extensions unchecked",
        [
            *lengths(b"+10", b"0x01"),
            *sizes(b"+3", b"0x3"),
            (CHUNKED + b"3;\x01\r\nabc\r\n0\r\n\r\n", "REQUEST_CHUNK_EXTENSION_INVALID"),
        ],
    ),
    "CVE-2024-49768": (
        "a request pipelined behind a bad one run in the moment before the close",
        [(b"BAD\r\n\r\n", "REQUEST_LINE_MALFORMED")],
    ),
    # cheroot
    "cheroot-714": (
        "a space before the colon, int() for lengths, control octets and bare CR in values",
        [
            (head(b"Content-Length : 35", body=SMUGGLED), "REQUEST_FIELD_NAME_INVALID"),
            *lengths(b"+35", b"3_5"),
            *values_refused(b"a\x01b", b"a\rb"),
        ],
    ),
    # h11
    "CVE-2025-43859": (
        "the two octets behind chunk data not looked at",
        [(CHUNKED + b"3\r\nabcXX0\r\n\r\n" + SMUGGLED, "REQUEST_CHUNK_DATA_UNTERMINATED")],
    ),
    # gevent
    "CVE-2023-41419": (
        "what is left of a malformed chunk or trailer read as a request",
        [
            (CHUNKED + b"3\r\nabc\r\nx" + SMUGGLED, "REQUEST_CHUNK_SIZE_INVALID"),
            (CHUNKED + b"0\r\n" + SMUGGLED, "REQUEST_TRAILER_INVALID"),
        ],
    ),
    # meinheld
    "CVE-2020-7658": (
        "Content-Length before Transfer-Encoding, and pipelining",
        [
            (
                head(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + SMUGGLED),
                "REQUEST_FRAMING_CONFLICT",
            )
        ],
    ),
    # Twisted
    "CVE-2020-10108": (
        "the second Content-Length wins",
        [
            (head(b"Content-Length: 0", b"Content-Length: 35", body=SMUGGLED), "REQUEST_CONTENT_LENGTH_REPEATED")
        ],
    ),
    "CVE-2020-10109": (
        "Content-Length beats chunked",
        [
            (head(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), "REQUEST_FRAMING_CONFLICT")
        ],
    ),
    "CVE-2022-24801": (
        "+, 0x and _ in lengths and sizes, spaces around them and behind the version",
        [
            *lengths(b"+35", b"0x23", b"3_5"),
            *sizes(b"0x3", b"3 "),
            (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "REQUEST_LINE_MALFORMED"),
        ],
    ),
    # Tornado
    "GHSA-qppv-j76h-2rpx": (
        "int() for lengths and sizes",
        [*lengths(b"-1", b"+1", b"1_0"), *sizes(b"-3", b"+3", b"3_0")],
    ),
    "GHSA-753j-mpmx-qq6g": (
        "two Transfer-Encoding lines, both ignored",
        [
            (head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), "REQUEST_TRANSFER_CODING_INVALID")
        ],
    ),
    # aiohttp and llhttp
    "CVE-2023-37276": (
        "a bare CR ends a field line (llhttp as aiohttp had it)",
        [(head(b"X: y\rTransfer-Encoding: chunked"), "REQUEST_FIELD_VALUE_INVALID")],
    ),
    "CVE-2023-30589": (
        "a bare CR ends a field line (llhttp)",
        [(head(b"X:\rTransfer-Encoding: chunked"), "REQUEST_FIELD_VALUE_INVALID")],
    ),
    "CVE-2023-47627": (
        "int() for lengths and sizes, digits of other scripts, names that are no tokens",
        [
            *lengths(b"+35", b"3_5", b"\xd9\xa3"),
            *sizes(b"\xd9\xa3"),
            (head(b"X(: y"), "REQUEST_FIELD_NAME_INVALID"),
        ],
    ),
    "CVE-2024-23829": (
        "any character for the dot of the version, digits of other scripts, white space in names",
        [
            (b"GET / HTTP/1a1\r\nHost: a\r\n\r\n", "REQUEST_VERSION_INVALID"),
            (b"GET / HTTP/\xd9\xa1.1\r\nHost: a\r\n\r\n", "REQUEST_VERSION_INVALID"),
            (head(b"X\x0b: y"), "REQUEST_FIELD_NAME_INVALID"),
        ],
    ),
    "CVE-2023-47641": (
        "Content-Length with Transfer-Encoding",
        [
            (head(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), "REQUEST_FRAMING_CONFLICT")
        ],
    ),
    "CVE-2025-53643": (
        "the trailer section not parsed",
        [(CHUNKED + b"0\r\nX y\r\n\r\n", "REQUEST_TRAILER_INVALID")],
    ),
    "CVE-2025-69223 to 69230": (
        "octets beyond ASCII in lengths, sizes and names",
        [
            *lengths(b"\xb2", b"\xef\xbc\x93"),
            *sizes(b"\xb3"),
            (head(b"X\xc5\xbf: y"), "REQUEST_FIELD_NAME_INVALID"),
        ],
    ),
    "CVE-2026-22815": (
        "trailer fields without limit",
        [(CHUNKED + b"0\r\n" + b"X: y\r\n" * 101, "REQUEST_TRAILERS_TOO_LONG")],
    ),
    "CVE-2026-34520": (
        "NUL and control octets in fields",
        [*values_refused(b"\0", b"a\x1fb"), (head(b"X\0: y"), "REQUEST_FIELD_NAME_INVALID")],
    ),
    "CVE-2021-22959": (
        "a space before the colon",
        [(head(b"Transfer-Encoding : chunked"), "REQUEST_FIELD_NAME_INVALID")],
    ),
    "CVE-2022-32213": (
        "a coding that only begins with chunked",
        [(head(b"Transfer-Encoding: chunkedchunked"), "REQUEST_TRANSFER_CODING_INVALID")],
    ),
    "CVE-2022-32214": (
        "a bare LF ends a field line",
        [(head(b"X: y\nContent-Length: 5"), "REQUEST_FIELD_VALUE_INVALID")],
    ),
    "CVE-2022-32215": (
        "a folded Transfer-Encoding",
        [
            (head(b"Transfer-Encoding: chunked,", b" identity"), "REQUEST_FIELD_FOLDED"),
            (head(b"Transfer-Encoding:", b" chunked"), "REQUEST_FIELD_FOLDED"),
        ],
    ),
    "CVE-2022-35256": (
        "a field line that does not end in CR LF",
        [(head(b"X: y\rZ: w"), "REQUEST_FIELD_VALUE_INVALID")],
    ),
    "CVE-2024-27982": (
        "a space in front of Content-Length hides it",
        [
            (b"GET / HTTP/1.1\r\nHost: a\r\n Content-Length: 35\r\n\r\n" + SMUGGLED, "REQUEST_FIELD_FOLDED"),
            (b"GET / HTTP/1.1\r\n Content-Length: 35\r\nHost: a\r\n\r\n" + SMUGGLED, "REQUEST_FIELD_FOLDED"),
        ],
    ),
    "CVE-2024-22019": (
        "a chunk extension without end",
        [(CHUNKED + b"3;" + b"a" * 5000, "REQUEST_CHUNK_OVERHEAD_TOO_LONG")],
    ),
    # Kestrel, Netty and others
    "CVE-2025-55315": (
        "a bare LF in a chunk extension ends the line for one side only",
        [(CHUNKED + b"3;\nxx\r\nabc\r\n0\r\n\r\n", "REQUEST_CHUNK_EXTENSION_INVALID")],
    ),
    "CVE-2025-58056": (
        "a bare LF or CR in a chunk extension ends the line for one side only",
        [
            (CHUNKED + b"3;a\nabc\r\n0\r\n\r\n", "REQUEST_CHUNK_EXTENSION_INVALID"),
            (CHUNKED + b"3;a\rabc\r\n0\r\n\r\n", "REQUEST_CHUNK_SIZE_INVALID"),
        ],
    ),
    # Mongoose
    "CVE-2023-34188": (
        "a negative Content-Length, and a loop without end",
        lengths(b"-1", b"-9223372036854775808"),
    ),
    # found since: other servers, the same mechanisms
    "CVE-2021-22960": (
        "chunk extensions not parsed (llhttp)",
        [
            (CHUNKED + b"3;\rx\r\nabc\r\n0\r\n\r\n", "REQUEST_CHUNK_EXTENSION_INVALID"),
            (CHUNKED + b"3;a=\"\r\nabc\r\n0\r\n\r\n", "REQUEST_CHUNK_EXTENSION_INVALID"),
        ],
    ),
    "CVE-2025-23167": (
        "CR LF CR X ends the head (llhttp)",
        [
            (head(b"\rX"), "REQUEST_FIELD_NAME_INVALID"),
            (HEAD + b"\r\r\n" + SMUGGLED, "REQUEST_FIELD_NAME_INVALID"),
        ],
    ),
    "CVE-2024-52304": (
        "an LF in a chunk extension (aiohttp)",
        [(CHUNKED + b"3;a\nb\r\nabc\r\n0\r\n\r\n", "REQUEST_CHUNK_EXTENSION_INVALID")],
    ),
    "CVE-2026-34525": (
        "several Host lines accepted (aiohttp)",
        [
            (head(b"Host: b"), "REQUEST_HOST_REPEATED"),
            (b"GET http://a/ HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", "REQUEST_HOST_REPEATED"),
        ],
    ),
    "CVE-2026-111750": (
        "ambiguous framing accepted (aiohttp's parser in Python)",
        [
            (head(b"Content-Length: 3", b"Content-Length: 3", body=b"abc"), "REQUEST_CONTENT_LENGTH_REPEATED"),
            (head(b"Transfer-Encoding: chunked", b"Content-Length: 3"), "REQUEST_FRAMING_CONFLICT"),
            (head(b"Transfer-Encoding: chunked, chunked"), "REQUEST_TRANSFER_CODING_INVALID"),
            (head(b"Transfer-Encoding: chun\xe2\x84\xaaed"), "REQUEST_TRANSFER_CODING_INVALID"),
            (
                b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                "REQUEST_TRANSFER_CODING_ON_1_0",
            ),
        ],
    ),
    "CVE-2026-2332": (
        "a quoted string in a chunk extension ends at CR LF (Jetty; CVE-2026-33870 Netty, -24033 Traffic Server)",
        [
            (CHUNKED + b'1;a="\r\nX\r\n0\r\n\r\n' + SMUGGLED + b'"\r\n', "REQUEST_CHUNK_EXTENSION_INVALID"),
            (CHUNKED + b'1;a="b\\\r\nX\r\n0\r\n\r\n', "REQUEST_CHUNK_EXTENSION_INVALID"),
        ],
    ),
    "CVE-2025-22871": (
        "a bare LF ends a chunk-size line (Go's net/http)",
        [
            (CHUNKED + b"3\nabc\r\n0\r\n\r\n", "REQUEST_CHUNK_SIZE_INVALID"),
            (CHUNKED + b"3\r\nabc\r\n0\n\r\n", "REQUEST_CHUNK_SIZE_INVALID"),
        ],
    ),
    "CVE-2023-38697": (
        "+ and 0x in lengths and sizes, an LF in chunk extensions (protocol-http1, Falcon)",
        [
            *lengths(b"+3", b"0x3"),
            *sizes(b"+3", b"0x3"),
            (CHUNKED + b"3;a\n\r\nabc\r\n0\r\n\r\n", "REQUEST_CHUNK_EXTENSION_INVALID"),
        ],
    ),
    "CVE-2023-39326": (
        "a large extension on each chunk of one octet is read, and thrown away (Go's net/http)",
        [(CHUNKED + (b"1;a=" + b"b" * 2000 + b"\r\nx\r\n") * 100, "REQUEST_CHUNK_OVERHEAD_TOO_LONG")],
    ),
    "cheroot-275": (
        "of two Content-Length lines the last wins",
        [(head(b"Content-Length: 1", b"Content-Length: 0", body=b"a"), "REQUEST_CONTENT_LENGTH_REPEATED")],
    ),
    "fasthttp-1899": (
        "an LF between a chunk size and its CR LF",
        [(CHUNKED + b"3\n\r\nabc\r\n0\r\n\r\n", "REQUEST_CHUNK_SIZE_INVALID")],
    ),
    "cpp-httplib-2585": (
        "control octets behind a chunk size",
        [
            (CHUNKED + b"3\x01\r\nabc\r\n0\r\n\r\n", "REQUEST_CHUNK_SIZE_INVALID"),
            (CHUNKED + b"3;a=\x7f\r\nabc\r\n0\r\n\r\n", "REQUEST_CHUNK_EXTENSION_INVALID"),
        ],
    ),
    "CVE-2026-66752": (
        "values of Transfer-Encoding not parsed (tiny_http)",
        [
            (head(b"Transfer-Encoding: xchunked", body=SMUGGLED), "REQUEST_TRANSFER_CODING_INVALID"),
            (head(b"Transfer-Encoding: chunked;q=1", body=SMUGGLED), "REQUEST_TRANSFER_CODING_INVALID"),
        ],
    ),
    "bun-29732": (
        "the two octets behind the last chunk consumed unseen",
        [
            (CHUNKED + b"0\r\nXX" + SMUGGLED, "REQUEST_TRAILER_INVALID"),
            (CHUNKED + b"0\r\n\rX" + SMUGGLED, "REQUEST_TRAILER_INVALID"),
        ],
    ),
    "pound-43": (
        "chunk data longer than its size handed on",
        [(CHUNKED + b"3\r\nabcdef\r\n0\r\n\r\n", "REQUEST_CHUNK_DATA_UNTERMINATED")],
    ),
    "gunicorn-26.2.1": (
        "chunk framing without bound",
        [(CHUNKED + b"1;abcdefghijklmnop\r\nx\r\n" * 10_000, "REQUEST_CHUNK_OVERHEAD_TOO_LONG")],
    ),
    "aiohttp-13136": (
        "a head without end is buffered for ever",
        [
            (b"GET /" + b"a" * 10_000, "REQUEST_LINE_TOO_LONG"),
            (HEAD + b"X: " + b"a" * 10_000, "REQUEST_FIELD_TOO_LONG"),
        ],
    ),
}


@pytest.mark.parametrize("advisory", REFUSED)
def test_is_refused(refuses, advisory):
    _, messages = REFUSED[advisory]
    for message, error in messages:
        refuses(message, error)
