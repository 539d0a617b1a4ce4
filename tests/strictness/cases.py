"""The messages of docs/strictness.md: malformed, left open by the RFCs, and valid but rare.

Each is one row there.  `ours` is what our server answers, in the words of verdict_of(); test_strictness.py holds it to
that.  Those with a body carry `hello`, framed as the leniently read head would have it, so that a server that reads it
so has a whole message.
"""

from __future__ import annotations

from collections.abc import Iterator

from strictness.case import HELLO, HOST, ZERO, Case, Group, as_code, chunked, get, post, shown
from strictness.framing import chunks, content_length, trailers, transfer_encoding

#: A subject that has a row of its own in the totals.
BEYOND_RFC_3986 = "Target octets beyond RFC 3986"


def fields() -> Group:
    group = Group("Field lines", "RFC 9112 §5.1")
    length = b"Content-Length: 5"
    group.malformed("`X : y`, space before the colon", get(b"/", b"X : y"))
    group.malformed("`X\\t: y`, tab before the colon", get(b"/", b"X\t: y"))
    group.malformed("`Content-Length : 5`", post(b"Content-Length : 5", body=b"hello"))
    group.malformed("`Transfer-Encoding : chunked`", post(b"Transfer-Encoding : chunked", body=HELLO))
    group.malformed(
        "`Transfer-Encoding : chunked`, with Content-Length",
        post(b"Transfer-Encoding : chunked", b"Content-Length: 5", body=ZERO),
    )
    for title, line in (
        ("no colon", b"X"),
        ("no colon, two words", b"X y"),
        ("empty name", b": y"),
        ("name `X(`", b"X(: y"),
        ("name `X A`", b"X A: y"),
        ('name `"X"`', b'"X": y'),
        ("name `X/Y`", b"X/Y: y"),
        ("name with 0x80", b"X\x80: y"),
        ("name with NBSP at its end", b"X\xa0: y"),
        ("name with NUL", b"X\0: y"),
        ("name with a control octet", b"X\x01: y"),
        ("name behind CR: `\\rX`", b"\rX: y"),
    ):
        group.malformed(title, get(b"/", line))
    for title, value, replaced in (  # RFC 9110 §5.5 leaves the choice between refusing, and a space in its place
        ("NUL in the value", b"a\0b", "a b"),
        ("bare CR in the value", b"a\rb", "a b"),
        ("CR before CR LF", b"ab\r", "ab"),
        ("bare CR, then a field", b"a\rContent-Length: 5", "a Content-Length: 5"),
    ):
        octets = get(b"/", b"X-A: " + value)
        group.malformed(title, octets, rule="RFC 9110 §5.5", shows="HTTP_X_A", harmless=(replaced,))
    for title, value in (
        ("0x01 in the value", b"a\x01b"),
        ("0x0b, VT, in the value", b"a\x0bb"),
        ("0x1b, ESC, in the value", b"a\x1b[2Jb"),
        ("0x7f, DEL, in the value", b"a\x7fb"),
    ):
        group.open(title, get(b"/", b"X-A: " + value), rule="RFC 9110 §5.5", shows="HTTP_X_A")
    group.open("bare LF between two lines", get(b"/", b"X: y\nX-A: a"), rule="RFC 9112 §2.2", shows="HTTP_X_A")
    group.open("every line ends in LF", b"GET / HTTP/1.1\nHost: a\n\n", rule="RFC 9112 §2.2")
    group.open("the empty line ends in LF", b"GET / HTTP/1.1\r\nHost: a\r\n\n", rule="RFC 9112 §2.2")
    group.open("folded line", get(b"/", b"X-A: a", b" b"), rule="RFC 9112 §5.2", shows="HTTP_X_A")
    group.open("a line of spaces only", get(b"/", b"  "), rule="RFC 9112 §5.2")
    group.open(
        "folded `Transfer-Encoding:`", post(b"Transfer-Encoding:", b" chunked", body=HELLO), rule="RFC 9112 §5.2"
    )
    group.open(
        "folded, with a tab: `Content-Length:`", post(b"Content-Length:", b"\t5", body=b"hello"), rule="RFC 9112 §5.2"
    )
    start_of_head = b"GET / HTTP/1.1\r\n"
    group.open(
        "space before the first name",
        start_of_head + b" Host: a\r\nHost: b\r\n\r\n",
        rule="RFC 9112 §2.2",
        shows="HTTP_HOST",
    )
    group.open(
        "`Content-Type` twice",
        post(b"Content-Type: a/b", b"Content-Type: c/d", length, body=b"hello"),
        rule="RFC 9110 §5.3",
    )
    for title, lines in (
        ("`X-A: a`, then `X_A: evil`", (b"X-A: a", b"X_A: evil")),
        ("`X_A: evil`, then `X-A: a`", (b"X_A: evil", b"X-A: a")),
    ):
        group.open(
            title,
            get(b"/", *lines),
            "200 `a`, open",
            "RFC 3875 §4.1.18",
            shows="HTTP_X_A",
            harm=("evil", "a,evil", "evil,a", "a, evil", "evil, a"),
        )
    group.open(
        "`Proxy: evil` (httpoxy)",
        get(b"/", b"Proxy: evil"),
        "200, open",
        "CVE-2016-1000110",
        shows="HTTP_PROXY",
        harm=("evil",),
    )
    group.open("a value of 1 MiB", get(b"/", b"X: " + b"y" * (1 << 20)), "431", rule="RFC 6585 §5")
    group.open("10,000 lines", get(b"/", *[b"X: y"] * 10_000), "431", rule="RFC 6585 §5")
    return group


def host() -> Group:
    group = Group("Host", "RFC 9112 §3.2")

    def with_host(*lines: bytes, target: bytes = b"/") -> bytes:
        return b"GET " + target + b" HTTP/1.1\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"

    group.malformed("missing", with_host())
    group.malformed("missing, with an absolute target", with_host(target=b"http://a/"))
    group.malformed("twice, `a` and `b`", with_host(b"Host: a", b"Host: b"))
    group.malformed("twice, the same", with_host(b"Host: a", b"Host: a"))
    for name in ("a, b", "a b", "a/b", "a?b", "a#b", "a\\b", "u@a", "a:b", "a:80:80", "[::1", "::1", "a<b", "%zz"):
        group.malformed(f"`{name}`", with_host(b"Host: " + name.encode()))
    group.malformed("with 0xe9", with_host(b"Host: \xe9"))
    group.open(
        "`a`, with the target `http://b/`",
        with_host(b"Host: a", target=b"http://b/"),
        "200 `b`, open",
        "RFC 9112 §3.2.2",
        shows="HTTP_HOST",
        harm=("a",),
    )
    group.malformed("invalid, with the target `http://b/`", with_host(b"Host: a b", target=b"http://b/"))
    return group


def request_line() -> Group:
    group = Group("Request line", "RFC 9112 §3")

    def line(octets: bytes) -> bytes:
        return octets + b"\r\n" + HOST + b"\r\n"

    for title, octets in (
        ("two spaces before the target", b"GET  / HTTP/1.1"),
        ("two spaces before the version", b"GET /  HTTP/1.1"),
        ("tabs for spaces", b"GET\t/\tHTTP/1.1"),
        ("VT for the first space", b"GET\x0b/ HTTP/1.1"),
        ("a space at the end", b"GET / HTTP/1.1 "),
        ("a space at the start", b" GET / HTTP/1.1"),
        ("CR before CR LF", b"GET / HTTP/1.1\r"),
    ):
        group.open(title, line(octets))
    for title, octets in (
        ("no target", b"GET HTTP/1.1"),
        ("method alone", b"GET"),
        ("a space in the target", b"GET /a b HTTP/1.1"),
        ("four words", b"GET / x HTTP/1.1"),
        ("empty method", b" / HTTP/1.1"),
        ("method `G(T`", b"G(T / HTTP/1.1"),
        ("method `GET,`", b"GET, / HTTP/1.1"),
        ("method with NUL", b"GET\0 / HTTP/1.1"),
        ("method with 0xc9", b"G\xc9T / HTTP/1.1"),
    ):
        group.malformed(title, line(octets))
    group.open("`CONNECT a:80`, of an origin server", line(b"CONNECT a:80 HTTP/1.1"), "501", rule="RFC 9110 §9.3.6")
    group.open("two empty lines before it", b"\r\n\r\n" + get(), rule="RFC 9112 §2.2")
    group.open("LF alone before it", b"\n" + get(), rule="RFC 9112 §2.2")
    group.malformed("CR alone before it", b"\r" + get(), rule="RFC 9112 §2.2")
    group.open("a line of 1 MiB", get(b"/" + b"a" * (1 << 20)), "414", rule="RFC 9110 §15.5.15")
    return group


def target() -> Group:
    group = Group("Request target", "RFC 9112 §3.2")
    for title, octets in (
        ("`/#a`, a fragment", b"/#a"),
        ("`/a\\x00b`", b"/a\0b"),
        ("`/a\\x01b`", b"/a\x01b"),
        ("`/a\\x7fb`", b"/a\x7fb"),
        ("`/a\\tb`", b"/a\tb"),
        ("`/a\\rb`", b"/a\rb"),
        ("`/\\xe9`, not ASCII", b"/\xe9"),
        ("`/\\xc3\\xa9`, UTF-8", b"/\xc3\xa9"),
        ("`\\a`, a backslash first", b"\\a"),
        ("`a/b`, relative", b"a/b"),
        ("`?a`", b"?a"),
        ("`GET *`", b"*"),
        ("`GET a:80`, authority form", b"a:80"),
        ("`http://`, no authority", b"http://"),
        ("`http:///a`", b"http:///a"),
        ("`http://a b/`", b"http://a b/"),
    ):
        group.malformed(title, get(octets), shows="PATH_INFO")
    return group


def beyond_rfc_3986() -> Group:
    """Visible ASCII that has to be percent-encoded, and "%" that begins no such code: alike for all servers, taken or
    not.  Ours takes what browsers send so; csrc/char_rules.h."""
    group = Group(BEYOND_RFC_3986, "")
    for octets in (b"|", b"^", b"[b]", b'"', b"<b>", b"{b}", b"\\", b"`", b"%", b"%zz", b"%2"):
        target = b"/a" + octets
        rule = "RFC 3986 §2.1" if b"%" in octets else "RFC 3986 §3.3"
        ours = f"200 `{target.decode()}`, open" if octets in (b"|", b"^", b"[b]") else "400"
        group.open(as_code(target.decode()), get(target), ours, rule, shows="PATH_INFO")
    for octets in (b"|", b"^", b"[b]", b"`", b"{b}", b"\\", b"%", b"%zz", b'"', b"<b>"):
        target = b"/?" + octets
        rule = "RFC 3986 §2.1" if b"%" in octets else "RFC 3986 §3.4"
        ours = "400" if octets in (b'"', b"<b>") else f"200 {as_code(shown(octets.decode()))}, open"
        group.open(as_code(target.decode()), get(target), ours, rule, shows="QUERY_STRING")
    return group


def path_info() -> Group:
    group = Group("What becomes of PATH_INFO", "RFC 3986 §6.2.2")

    def way(title: str, octets: bytes, ours: str, rule: str = "", harm: tuple[str, ...] = ()) -> None:
        group.open(title, get(octets), ours, rule, shows="PATH_INFO", harm=harm)

    way("`/a%2Fb`", b"/a%2Fb", "200 `/a/b`, open", "RFC 3875 §4.1.5")
    way("`/%00`", b"/a%00b", "400", "RFC 3986 §7.3")
    way("`/%0d%0a`", b"/a%0d%0ab", "200 `/a\\r\\nb`, open")
    way("`/%c3%a9`", b"/%c3%a9", "200 `/\\xc3\\xa9`, open", "PEP 3333")
    way("`/%ff`", b"/%ff", "200 `/\\xff`, open", "PEP 3333")
    way("`/a%5cb`", b"/a%5cb", "200 `/a\\\\b`, open")
    way("`/%252e`", b"/%252e", "200 `/%2e`, open", harm=("/.",))
    way("`/a/../b`", b"/a/../b", "200 `/a/../b`, open")
    way("`/%2e%2e/b`", b"/%2e%2e/b", "200 `/../b`, open")
    way("`//a/b`", b"//a/b", "200 `//a/b`, open", harm=("/b",))
    way("`/a;b=c`", b"/a;b=c", "200 `/a;b=c`, open")
    way("`http://a/b%2Fc`", b"http://a/b%2Fc", "200 `/b/c`, open")
    way("`ftp://a/b`", b"ftp://a/b", "400", "RFC 9112 §3.2.2")
    way("`http://u@a/b`, userinfo", b"http://u@a/b", "400", "RFC 9110 §4.2.4")
    return group


def version() -> Group:
    group = Group("Version", "RFC 9112 §2.3")
    for title, octets in (
        ("`http/1.1`", b"http/1.1"),
        ("`Http/1.1`", b"Http/1.1"),
        ("`HTTP/1.10`", b"HTTP/1.10"),
        ("`HTTP/01.1`", b"HTTP/01.1"),
        ("`HTTP/1`", b"HTTP/1"),
        ("`HTTP/1.`", b"HTTP/1."),
        ("`HTTP/.1`", b"HTTP/.1"),
        ("`HTTP/1,1`", b"HTTP/1,1"),
        ("`HTTP/1x1`", b"HTTP/1x1"),
        ("`HTTP/+1.1`", b"HTTP/+1.1"),
        ("`HTTP/1.1a`", b"HTTP/1.1a"),
        ("`HTTP/1.\\xb9`", b"HTTP/1.\xb9"),
        ("`HTTP /1.1`", b"HTTP /1.1"),
        ("`HTTPS/1.1`", b"HTTPS/1.1"),
        ("`ICY/1.1`", b"ICY/1.1"),
    ):
        group.malformed(title, get(version=octets))
    group.malformed("none, as HTTP/0.9 had it: `GET /`", b"GET /\r\n", rule="RFC 9112 §3")
    for digits in ("2.0", "3.0", "0.9", "1.2", "1.9"):  # well-formed; 505 is for who wishes to refuse them
        name = f"HTTP/{digits}"
        group.open(f"`{name}`", get(version=name.encode()), "505", rule="RFC 9110 §2.5")
    return group


def other_protocols() -> Group:
    group = Group("Not HTTP/1", "RFC 9112 §3")
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
    group.malformed("preface of HTTP/2", preface, "505", rule="RFC 9113 §3.4")
    hello = b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03" + bytes(range(32)) + b"\0\0\2\x13\x01\1\0"
    group.malformed("hello of TLS", hello, "400", rule="RFC 8446 §5.1")
    group.malformed("a response", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    group.malformed("banner of SSH", b"SSH-2.0-OpenSSH_9.9\r\n", rule="RFC 4253 §4.2")
    group.malformed("PROXY protocol, version 1", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 80\r\n" + get())
    group.malformed("JSON", b'{"a": 1}\r\n\r\n')
    group.malformed("NULs", b"\0" * 64 + b"\r\n\r\n")
    group.open(
        "`Expect: 200-ok`", post(b"Expect: 200-ok", b"Content-Length: 5", body=b"hello"), "417", rule="RFC 9110 §10.1.1"
    )
    return group


def cut_short() -> Group:
    group = Group("Cut short by the end of the connection", "RFC 9112 §8")
    group.malformed("in the request line", b"GET / HT", "closed", half_close=True)
    group.malformed("in the head", b"GET / HTTP/1.1\r\nHost: a\r\n", "closed", half_close=True)
    group.malformed("in a field line", b"GET / HTTP/1.1\r\nHost: a", "closed", half_close=True)
    group.malformed("in the body", post(b"Content-Length: 5", body=b"hel"), "closed", half_close=True)
    group.malformed("before the body", post(b"Content-Length: 5"), "closed", half_close=True)
    return group


def valid() -> Group:
    group = Group("Valid, and rare", "")
    length = b"Content-Length: 5"

    def posted(title: str, octets: bytes, rule: str, ours: str = "200, open", body: str = "hello") -> None:
        group.valid(title, octets, rule, ours, body=body)

    posted("`Content-Length:5`, no white space", post(b"Content-Length:5", body=b"hello"), "RFC 9112 §5")
    posted("`Content-Length: \\t 5 \\t `", post(b"Content-Length: \t 5 \t ", body=b"hello"), "RFC 9112 §5")
    posted("`Content-Length: 005`", post(b"Content-Length: 005", body=b"hello"), "RFC 9110 §8.6")
    posted(
        "`CONTENT-LENGTH`, `transfer-encoding: CHUNKED`", post(b"transfer-encoding: CHUNKED", body=HELLO), "RFC 9112 §7"
    )
    posted(
        "chunks of one octet", chunked(b"".join(b"1\r\n%c\r\n" % octet for octet in b"hello") + ZERO), "RFC 9112 §7.1"
    )
    posted("chunk sizes `0005` and `000`", chunked(b"0005\r\nhello\r\n000\r\n\r\n"), "RFC 9112 §7.1")
    posted("chunk extension `;a=b`", chunked(b"5;a=b\r\nhello\r\n" + ZERO), "RFC 9112 §7.1.1")
    posted('chunk extension `;a="b;\\"c"`', chunked(b'5;a="b;\\"c"\r\nhello\r\n' + ZERO), "RFC 9112 §7.1.1")
    posted("chunk extension ` ; a = b`", chunked(b"5 ; a = b\r\nhello\r\n" + ZERO), "RFC 9112 §7.1.1", ours="400")
    posted("trailers", chunked(b"5\r\nhello\r\n0\r\nX-T: y\r\nX-U: z\r\n\r\n"), "RFC 9112 §7.1.2")
    expecting = post(b"Expect: 100-Continue", length, body=b"hello")
    posted("`Expect: 100-Continue`, with the body at once", expecting, "RFC 9110 §10.1.1")
    posted("a body with GET", post(length, body=b"hello").replace(b"POST", b"GET", 1), "RFC 9110 §9.3.1")
    posted("a body with the method `query`", post(length, body=b"hello").replace(b"POST", b"query", 1), "RFC 9110 §9.1")
    group.valid("an empty line before", b"\r\n" + get(), "RFC 9112 §2.2", PATH_INFO="/")
    group.valid("HTTP/1.0 without Host", b"GET / HTTP/1.0\r\n\r\n", "RFC 9112 §3.2", "200, closed", PATH_INFO="/")
    group.valid("empty Host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", "RFC 9112 §3.2", PATH_INFO="/")
    group.valid("`Host: [::1]:80`", b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "RFC 9112 §3.2", HTTP_HOST="[::1]:80")
    group.valid("`http://a/b?c`", get(b"http://a/b?c"), "RFC 9112 §3.2.2", PATH_INFO="/b", QUERY_STRING="c")
    group.valid("`http://a?c`, no path", get(b"http://a?c"), "RFC 9112 §3.2.2", QUERY_STRING="c")
    group.valid("`OPTIONS *`", get(b"*", method=b"OPTIONS"), "RFC 9112 §3.2.4", REQUEST_METHOD="OPTIONS")
    group.valid("`/a?b?c/d`", get(b"/a?b?c/d"), "RFC 3986 §3.4", PATH_INFO="/a", QUERY_STRING="b?c/d")
    group.valid("a target of 8,000 octets", get(b"/?" + b"a" * 7998), "RFC 9112 §3", PATH_INFO="/")
    group.valid("the method `get`", get(method=b"get"), "RFC 9110 §9.1", REQUEST_METHOD="get")
    group.valid("the method `M-S!#$%&'*+.^_~`", get(method=b"M-S!#$%&'*+.^_~"), "RFC 9110 §9.1", PATH_INFO="/")
    group.valid("the name `!#$%&'*+-.^|~9`", get(b"/", b"!#$%&'*+-.^|~9: y"), "RFC 9110 §5.6.2", PATH_INFO="/")
    group.valid("an empty value", get(b"/", b"X-A:"), "RFC 9110 §5.5", HTTP_X_A="")
    group.valid("a tab in the value", get(b"/", b"X-A: a\tb"), "RFC 9110 §5.5", HTTP_X_A="a\tb")
    group.valid("0xe9 in the value", get(b"/", b"X-A: \xe9"), "RFC 9110 §5.5", HTTP_X_A="\xe9")
    group.valid("`Connection: , x ,, y`", get(b"/", b"Connection: , x ,, y"), "RFC 9110 §5.6.1.2", PATH_INFO="/")
    upgrade = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__")
    group.valid("`Upgrade: h2c`", get(b"/", *upgrade), "RFC 9110 §7.8", PATH_INFO="/")
    group.valid(
        "`Upgrade: x`, a body with it",
        post(b"Connection: upgrade", b"Upgrade: x", length, body=b"hello"),
        "RFC 9110 §7.8",
        body="hello",
    )
    group.valid("90 fields", get(b"/", *[b"X-%d: y" % number for number in range(89)]), "RFC 9110 §5.4", PATH_INFO="/")
    return group


SUBJECTS = (
    content_length,
    transfer_encoding,
    chunks,
    trailers,
    fields,
    host,
    request_line,
    target,
    beyond_rfc_3986,
    path_info,
    version,
    other_protocols,
    cut_short,
    valid,
)


def every() -> Iterator[Case]:
    for subject in SUBJECTS:
        yield from subject().cases


CASES = tuple(every())
