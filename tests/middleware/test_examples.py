"""The examples of middleware, started as their docstrings say."""

from __future__ import annotations

import gzip
import hashlib
import re
import shlex
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="no examples beside the tests")


@pytest.fixture
def start(command):
    """start("router.py"): the example as its docstring starts it, on a free port."""

    def start(name):
        (line,) = re.findall(r"^ *(headrace examples/.*)$", (EXAMPLES / name).read_text(), re.M)
        return command(*shlex.split(line)[1:], "-b", "127.0.0.1:0", cwd=EXAMPLES.parent)

    return start


def fetch(process, target="/", method="GET", **fields):
    client = process.client()
    try:
        client.request(method, target, headers={name.replace("_", "-"): value for name, value in fields.items()})
        answer = client.getresponse()
        return answer, answer.read()
    finally:
        client.close()


def test_router(start):
    process = start("router.py")
    assert fetch(process, "/hello")[1] == b"Hello\n"
    assert fetch(process, "/files/a/b")[1] == b"under /files: /a/b\n"
    answer, _ = fetch(process, "/hello", "DELETE")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
    assert fetch(process, "/nowhere")[0].status == 404


def test_side_by_side(start):
    pytest.importorskip("flask")
    pytest.importorskip("django")
    process = start("side_by_side.py")
    assert fetch(process)[1] == b"Flask; an article is at /articles/3\n"
    assert fetch(process, "/articles/3")[1] == b"Flask: article 3\n"
    for target in ("/admin", "/admin/"):
        assert fetch(process, target)[1] == b"Django; a user is at /admin/users/7\n"
    assert fetch(process, "/admin/users/7")[1] == b"Django: user 7\n"
    assert fetch(process, "/administration")[0].status == 404


def test_response_filter(start):
    process = start("response_filter.py")
    answer, body = fetch(process)
    assert body.decode() == f"A PAGE\nsha256 {hashlib.sha256(b'A PAGE' + bytes([10])).hexdigest()}\n"
    assert (answer.headers["Content-Length"], answer.headers["ETag"]) == (str(len(body)), 'W/"1"')
    answer, body = fetch(process, "/stream")
    assert body.startswith(b"LINE 0\nLINE 1\nLINE 2\nsha256 ")
    assert answer.headers["Content-Length"] is None


def test_compress(start):
    process = start("compress.py")
    answer, body = fetch(process, Accept_Encoding="gzip")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body) == b"the same words again and again\n" * 1000
    client = process.client()
    client.request("GET", "/clock", headers={"Accept-Encoding": "gzip"})
    with client.getresponse() as answer:
        assert answer.read1(), "the first line comes at once"
    client.close()


def test_behind_proxy(start):
    process = start("behind_proxy.py")
    answer, body = fetch(
        process, "/a%20b?c", X_Forwarded_For="6.6.6.6, 192.0.2.7", X_Forwarded_Proto="https", Host="shop.example"
    )
    assert body == b"192.0.2.7 asked for https://shop.example/a%20b?c\n"
    answer, body = fetch(process, X_Forwarded_For="nobody")
    assert (answer.status, body) == (400, b"Bad Request: Forwarded or X-Forwarded-* from a trusted proxy is invalid\n")
