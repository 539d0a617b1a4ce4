"""Requests that Hypothesis builds: from the grammar of RFC 9112 and RFC 9110, or spoiled; derandomised, so that a run
is the same everywhere.  CI runs 20,000 of them, the quick suite one in twenty."""

from __future__ import annotations

import string

import ours
import pytest
import run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = {"quick": 250, "slow": 5_000}  # of each of the four properties

slow = pytest.param("slow", marks=[pytest.mark.slow, pytest.mark.timeout(600)])
numbers = pytest.mark.parametrize("number", ["quick", slow])

# -- the grammar ------------------------------------------------------------------------------------------------------

TCHAR = (string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~").encode()
VCHAR = bytes(range(0x21, 0x7F)) + bytes(range(0x80, 0x100))


def octets_of(alphabet, least=0, most=20):
    """Of this alphabet: quicker made of binary() than of a list."""
    table = (alphabet * (256 // len(alphabet) + 1))[:256]
    return st.binary(min_size=least, max_size=most).map(lambda octets: octets.translate(table))


token = octets_of(TCHAR, 1, 16)
blanks = octets_of(b" \t", 0, 3)
value = octets_of(VCHAR + b" \t", 0, 20).map(lambda octets: octets.strip(b" \t"))
RULED = {
    b"host", b"connection", b"expect", b"content-type", b"content-length", b"transfer-encoding", b"upgrade",
    b"proxy-connection",
}  # fmt: skip
names = token.map(lambda name: name if name.lower() not in RULED else b"X-" + name)
field = st.tuples(names, blanks, value, blanks)
path = octets_of((string.ascii_letters + string.digits + "-._~!$&'()*+,;=:@/|[]^").encode(), 0, 30)
query = octets_of((string.ascii_letters + string.digits + "-._~!$&'()*+,;=:@/|[]^?`{}\\%").encode(), 0, 20)
target = st.builds(lambda path, query: b"/" + path + (b"?" + query if query else b""), path, query)
method = token.map(lambda method: method if method != b"CONNECT" else b"GET")
printable = octets_of(bytes(range(0x20, 0x7F)), 0, 6)
quoted = printable.map(lambda text: b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"')
extension_value = st.just(b"") | (token | quoted).map(lambda value: b"=" + value)
extension = st.builds(lambda name, value: b";" + name + value, token, extension_value)
extensions = st.just(b"") | extension | st.builds(bytes.__add__, extension, extension)
chunk = st.tuples(st.binary(min_size=1, max_size=40), extensions, st.integers(0, 20), st.booleans())
trailer = st.lists(field, max_size=2)


def line(parts):
    name, before, value, behind = parts
    return name + b":" + before + value + behind + b"\r\n"


def in_chunks(chunks, last_extension, trailer):
    parts = []
    for data, extension, zeros, capitals in chunks:
        size = (b"%X" if capitals else b"%x") % len(data)
        parts += [b"0" * zeros, size, extension, b"\r\n", data, b"\r\n"]
    return b"".join([*parts, b"0", last_extension, b"\r\n", *map(line, trailer), b"\r\n"])


@st.composite
def requests(draw):
    """(octets, method, target, fields, body, trailer fields): a request that must be accepted, and what it says."""
    made_method, made_target = draw(method), draw(target)
    fields = draw(st.lists(field, max_size=4))
    version = draw(st.sampled_from([b"1.1", b"1.1", b"1.0"]))
    fields.insert(draw(st.integers(0, len(fields))), (b"Host", b" ", b"a", b""))
    framing = draw(st.sampled_from(["none", "length"] + ["chunked"] * (version == b"1.1")))
    content = body = b""
    trailers = 0
    if framing == "length":
        content = body = draw(st.binary(max_size=60))
        zeros = b"0" * draw(st.integers(0, 3))
        fields.insert(draw(st.integers(0, len(fields))), (b"Content-Length", b"", zeros + b"%d" % len(body), b" "))
    elif framing == "chunked":
        chunks, fields_behind = draw(st.lists(chunk, max_size=3)), draw(trailer)
        body, trailers = in_chunks(chunks, draw(extension | st.just(b"")), fields_behind), len(fields_behind)
        content = b"".join(data for data, *_ in chunks)
        fields.insert(draw(st.integers(0, len(fields))), (b"Transfer-Encoding", b" ", b"chunked", b""))
    head = b"%s %s HTTP/%s\r\n%s\r\n" % (made_method, made_target, version, b"".join(map(line, fields)))
    return head + body, made_method, made_target, [(name, value) for name, _, value, _ in fields], content, trailers


KINDS = ["flip", "set", "drop", "double", "insert", "splice"]
mutation = st.tuples(st.sampled_from(KINDS), st.integers(0, 1 << 16), st.integers(0, 255))
INSERTED = [b"\r", b"\n", b"\r\n", b"\x00", b" ", b"\t", b":", b",", b"chunked", b"\r\n ", b"0\r\n\r\n"]


def spoiled(octets, other, mutations):
    for kind, place, number in mutations:
        at = place % (len(octets) + 1)
        if kind == "flip" and at < len(octets):
            octets = octets[:at] + bytes([octets[at] ^ 1 << number % 8]) + octets[at + 1 :]
        elif kind == "set":
            octets = octets[:at] + bytes([number]) + octets[at + 1 :]
        elif kind == "drop":
            octets = octets[:at] + octets[at + 1 + number % 8 :]
        elif kind == "double":
            octets = octets[: at + 1 + number % 8] + octets[at:]
        elif kind == "insert":
            octets = octets[:at] + INSERTED[number % len(INSERTED)] + octets[at:]
        elif kind == "splice":
            octets = octets[:at] + other[number % (len(other) + 1) :]
    return octets


CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

# -- the properties ---------------------------------------------------------------------------------------------------


def examples_of(number, *strategies):
    """The decorator of a property that is called with one example after the other."""
    made = settings(
        max_examples=EXAMPLES[number],
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    return lambda check: made(given(*strategies)(check))


def assert_agreed(court, octets):
    """We, however the octets are cut, llhttp and h11."""
    figures = run.Figures()
    court.judge(octets, len(octets) * 16, True, figures)
    assert not figures.disagreements
    return figures


@numbers
def test_what_the_grammar_makes_is_accepted_and_read_as_it_was_meant(court, number):
    @examples_of(number, requests())
    def check(made):
        octets, method, target, fields, body, trailers = made
        request = court.reader.read(octets, len(octets), by_octet=True)
        assert (request.stage, request.used) == (ours.COMPLETE, len(octets)), request
        assert (request.method, request.target, request.body) == (method, target, body)
        assert request.trailer_fields == trailers
        read = [(octets[name : name + n], octets[value : value + v]) for name, n, value, v, _ in request.fields]
        assert read == fields
        assert_agreed(court, octets)

    check()


@numbers
def test_what_becomes_of_a_spoiled_request_is_the_same_for_all_who_accept_it(court, number):
    others = requests().map(lambda made: made[0]) | st.binary(max_size=40)

    @examples_of(number, requests(), others, st.lists(mutation, min_size=1, max_size=4))
    def check(made, other, mutations):
        assert_agreed(court, spoiled(made[0], other, mutations))

    check()


@numbers
def test_any_octets_are_judged_alike_however_they_are_cut(court, number):
    """Behind a beginning that is right, so that every state of head and body is met."""
    beginnings = st.sampled_from(
        [
            b"",
            b"GET ",
            b"GET / HTTP/1.1\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n",
            CHUNKED,
            CHUNKED + b"0\r\n",
            CHUNKED + b"3",
        ]
    )
    likely = octets_of(b"\r\n\t :;=,\"\\%/?aAfF01\x00\x7f\xff", 0, 24)

    @examples_of(number, beginnings, likely | st.binary(max_size=60))
    def check(beginning, rest):
        assert_agreed(court, beginning + rest)

    check()


@numbers
def test_a_prefix_of_a_good_request_is_never_refused_and_never_complete(court, number):
    """So what is refused is refused for an octet that came, and the end of a request is its last octet."""

    @examples_of(number, requests(), st.integers(0, 1 << 16))
    def check(made, place):
        octets = made[0]
        upto = place % len(octets)
        request = court.reader.read(octets[:upto], place)
        assert request.stage in (ours.IN_HEAD, ours.IN_BODY), (octets[:upto], request)
        assert_agreed(court, octets[:upto])

    check()
