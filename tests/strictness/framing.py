"""The messages that are about lengths, codings, chunks and trailers; see cases.py."""

from __future__ import annotations

from strictness.case import HELLO, OVERFLOWN, SMUGGLED, ZERO, Group, chunked, post


def content_length() -> Group:
    group = Group("Content-Length", "RFC 9110 §8.6")
    for title, value in (
        ("`+5`", b"+5"),
        ("`-5`", b"-5"),
        ("`-0`", b"-0"),
        ("`0x5`, hexadecimal", b"0x5"),
        ("`0_5`, underscored", b"0_5"),
        ("`5.0`", b"5.0"),
        ("`5e0`", b"5e0"),
        ("`5 5`", b"5 5"),
        ("`5;a`", b"5;a"),
        ('`"5"`', b'"5"'),
        ("`,5`", b",5"),
        ("empty", b""),
        ("padded with VT: `\\x0b5`", b"\x0b5"),
        ("padded with NBSP: `\\xa05`", b"\xa05"),
        ("an Arabic five, UTF-8", b"\xd9\xa5"),
        ("5, 6 in a list", b"5, 6"),
    ):
        group.malformed(title, post(b"Content-Length: " + value, body=b"hello"))
    group.malformed(
        "two lines, 5 and 6", post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello"), rule="RFC 9112 §6.3"
    )
    group.malformed(
        "two lines, 0 and a whole request",
        post(b"Content-Length: 0", b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED),
        rule="RFC 9112 §6.3",
    )
    group.open("two lines of 5", post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"), rule="RFC 9112 §6.3")
    overflow = post(b"Content-Length: 18446744073709551621", body=b"hello")
    group.open("2^64 + 5", overflow, "400", shows="body", harm=OVERFLOWN)
    group.open("2^40, a TiB, and no body yet", post(b"Content-Length: 1099511627776"), "413", rule="RFC 9110 §15.5.14")
    group.open("`5, 5` in a list", post(b"Content-Length: 5, 5", body=b"hello"))
    both = (b"Content-Length: 5", b"Transfer-Encoding: chunked")
    group.open("with `Transfer-Encoding: chunked` behind it", post(*both, body=ZERO), rule="RFC 9112 §6.1")
    group.open("with `Transfer-Encoding: chunked` before it", post(*both[::-1], body=ZERO), rule="RFC 9112 §6.1")
    group.open(
        "with chunked, and a request in what is left of it",
        post(b"Content-Length: %d" % len(ZERO + SMUGGLED), both[1], body=ZERO + SMUGGLED),
        rule="RFC 9112 §6.1",
    )
    return group


def transfer_encoding() -> Group:
    group = Group("Transfer-Encoding", "RFC 9112 §6.3")
    length = b"Content-Length: 5"
    for title, value in (
        ("`xchunked`", b"xchunked"),
        ("`chunkedx`", b"chunkedx"),
        ("`chunkedchunked`", b"chunkedchunked"),
        ("`identity`", b"identity"),
        ("`chunked, identity`", b"chunked, identity"),
        ("`chunked, gzip`, chunked not last", b"chunked, gzip"),
        ("`chunked, chunked`", b"chunked, chunked"),
        ("`chunked;a=b`, parameter", b"chunked;a=b"),
        ('`"chunked"`', b'"chunked"'),
        ("`chunk ed`", b"chunk ed"),
        ("`\\x0bchunked`, VT", b"\x0bchunked"),
        ("`\\x0cchunked`, FF", b"\x0cchunked"),
        ("`\\xa0chunked`, NBSP", b"\xa0chunked"),
        ("`chunked\\x00`", b"chunked\0"),
        ("`chun\\xc5\\xbfed`", b"chun\xc5\xbfed"),
        ("empty", b""),
    ):
        group.malformed(title, post(b"Transfer-Encoding: " + value, body=HELLO))
    for title, value in (("`x`", b"x"), ("`identity`", b"identity"), ("empty", b"")):
        group.malformed(f"{title}, with Content-Length", post(b"Transfer-Encoding: " + value, length, body=b"hello"))
    twice = (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked")
    group.malformed("`chunked` on two lines", post(*twice, body=HELLO))
    lines = (b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity")
    group.malformed("`chunked` and `identity` on two lines", post(*lines, body=HELLO))
    group.open("`gzip, chunked`", post(b"Transfer-Encoding: gzip, chunked", body=HELLO), "501", rule="RFC 9112 §6.1")
    group.open("`, chunked`", post(b"Transfer-Encoding: , chunked", body=HELLO), rule="RFC 9110 §5.6.1.2")
    group.open("`chunked,`", post(b"Transfer-Encoding: chunked,", body=HELLO), rule="RFC 9110 §5.6.1.2")
    on_1_0 = post(b"Transfer-Encoding: chunked", body=HELLO).replace(b"1.1", b"1.0", 1)
    group.open("`chunked` on HTTP/1.0", on_1_0, rule="RFC 9112 §6.1")
    group.open(
        "`Transfer_Encoding: chunked`, with Content-Length",
        post(b"Transfer_Encoding: chunked", length, body=ZERO),
        "200 `0\\r\\n\\r\\n`, open",
        rule="RFC 9110 §5.1",
        shows="body",
        harm=("",),
    )
    return group


def chunks() -> Group:
    group = Group("Chunks", "RFC 9112 §7.1")
    for title, size in (
        ("size `+5`", b"+5"),
        ("size `-5`", b"-5"),
        ("size `0x5`", b"0x5"),
        ("size `0_5`", b"0_5"),
        ("size ` 5`", b" 5"),
        ("size `5` and a space", b"5 "),
        ("size `5` and a tab", b"5\t"),
        ("size `5\\x0b`", b"5\x0b"),
        ("size `5 5`", b"5 5"),
        ("size `5g`", b"5g"),
        ("size `5.0`", b"5.0"),
        ("size `\\xb2`", b"\xb2"),
        ("size empty", b""),
    ):
        group.malformed(title, chunked(size + b"\r\nhello\r\n" + ZERO))
    overflow = chunked(b"10000000000000005\r\nhello\r\n" + ZERO)
    group.open("size 2^64 + 5", overflow, "400", shows="body", harm=OVERFLOWN)
    for title, line in (
        ("extension `;a\\n`, bare LF in it", b"5;a\nb\r\n"),
        ("extension `;a\\r`, bare CR in it", b"5;a\rb\r\n"),
        ("extension with NUL", b"5;a=\0\r\n"),
        ("extension with a control octet", b"5;a=\x01\r\n"),
        ("extension without name `;=b`", b"5;=b\r\n"),
        ("extension in an open quote", b'5;a="b\r\n'),
        ("extension without semicolon: `5 a`", b"5 a\r\n"),
        ("size line that ends in LF", b"5\n"),
        ("size line that ends in LF, with extension", b"5;a\n"),
        ("size line that ends in CR", b"5\r"),
        ("size line that ends in CR CR LF", b"5\r\r\n"),
    ):
        rule = "RFC 9112 §7.1.1" if "extension" in title else ""
        group.malformed(title, chunked(line + b"hello\r\n" + ZERO), rule=rule)
    group.malformed(
        "extension in an open quote, a request in the data of who ends it at CR LF",
        chunked(b'1;a="\r\nX\r\n0\r\n\r\n' + SMUGGLED + b'"\r\nY\r\n0\r\n\r\n'),
        rule="RFC 9112 §7.1.1",
    )
    group.malformed("data without CR LF behind it", chunked(b"5\r\nhello" + ZERO))
    group.malformed("data with `XX` for CR LF", chunked(b"5\r\nhelloXX" + ZERO))
    group.malformed("data with LF behind it", chunked(b"5\r\nhello\n" + ZERO))
    group.malformed("data longer than its size", chunked(b"5\r\nhello!\r\n" + ZERO))
    group.malformed("last chunk with `XX` for the last CR LF, a request behind it", chunked(b"0\r\nXX" + SMUGGLED))
    group.malformed(
        "last chunk without the last CR LF, a request behind it", chunked(b"5\r\nhello\r\n0\r\n" + SMUGGLED)
    )
    group.malformed("last chunk `-0`", chunked(b"5\r\nhello\r\n-0\r\n\r\n"))
    group.malformed("end of the connection in the data", chunked(b"5\r\nhel"), "closed", half_close=True)
    group.malformed(
        "end of the connection before the last chunk", chunked(b"5\r\nhello\r\n"), "closed", half_close=True
    )
    group.malformed(
        "end of the connection in the last chunk", chunked(b"5\r\nhello\r\n0\r\n"), "closed", half_close=True
    )
    group.open("extension of 64 KiB", chunked(b"5;a=" + b"b" * 65536 + b"\r\nhello\r\n" + ZERO), rule="RFC 9112 §7.1.1")
    overhead = b"1;abcdefghijklmnopqrstuvwxyz\r\nx\r\n" * 10_000
    group.open("10,000 octets, each with 30 of extension", chunked(overhead + ZERO), rule="RFC 9112 §7.1.1")
    return group


def trailers() -> Group:
    group = Group("Trailers", "RFC 9112 §7.1.2")

    def with_trailer(lines: bytes, *fields: bytes) -> bytes:
        return post(b"Transfer-Encoding: chunked", *fields, body=b"5\r\nhello\r\n0\r\n" + lines + b"\r\n")

    for title, line in (
        ("line without colon", b"X\r\n"),
        ("space before the colon", b"X : y\r\n"),
        ("empty name", b": y\r\n"),
        ("name that is no token", b"X(: y\r\n"),
        ("NUL in the value", b"X: a\0b\r\n"),
        ("bare CR in the value", b"X: a\rb\r\n"),
    ):
        group.malformed(title, with_trailer(line))
    group.open("folded line", with_trailer(b"X: a\r\n b\r\n"), rule="RFC 9112 §5.2")
    group.open("line that ends in LF", with_trailer(b"X: a\n"), rule="RFC 9112 §2.2")
    dropped = "200 `a`, open"
    group.open(
        "`Host: evil`",
        with_trailer(b"Host: evil\r\n"),
        dropped,
        "RFC 9110 §6.5.1",
        shows="HTTP_HOST",
        harm=("evil", "a,evil", "a, evil"),
    )
    group.open(
        "`X-A: evil` over the head's `X-A: a`",
        with_trailer(b"X-A: evil\r\n", b"X-A: a"),
        dropped,
        "RFC 9110 §6.5.1",
        shows="HTTP_X_A",
        harm=("evil", "a,evil", "a, evil", "aevil"),
    )
    for title, line in (
        ("`Content-Length: 35`", b"Content-Length: 35\r\n"),
        ("`Transfer-Encoding: chunked`", b"Transfer-Encoding: chunked\r\n"),
    ):
        group.open(
            title, with_trailer(line), "200 `hello`, open", "RFC 9110 §6.5.1", shows="body"
        )
    group.open("2,000 of them", with_trailer(b"X: y\r\n" * 2000), "431", rule="RFC 6585 §5")
    return group
