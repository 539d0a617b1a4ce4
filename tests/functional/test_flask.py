"""A Flask application (apps/flask_site.py) behind the command line, over TCP and a UNIX socket, with http.client."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest

pytest.importorskip("flask")

SOURCE = Path(__file__).parent / "apps" / "flask_site.py"
APPLICATION = SOURCE


@pytest.fixture
def client(site, address):
    client = site.client(address)
    yield client
    client.close()


def fetch(client, method, target, body=None, **headers):
    """Status, fields and body; the connection stays open for the next one."""
    client.request(method, target, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = client.getresponse()
    return answer.status, answer.headers, answer.read()


def test_text_in_utf_8(client):
    status, fields, body = fetch(client, "GET", "/")
    assert (status, body.decode()) == (200, "Grüße aus Flask\n")
    assert fields["Content-Type"] == "text/html; charset=utf-8"
    assert int(fields["Content-Length"]) == len(body)


def test_paths_and_queries_in_utf_8(client):
    _, _, body = fetch(client, "GET", "/hello/J%C3%B6rg%20%F0%9F%8C%8A?a=1&a=2&%E2%82%AC=%26")
    assert json.loads(body) == {"name": "Jörg 🌊", "arguments": {"a": ["1", "2"], "€": ["&"]}}


def test_many_requests_on_one_connection(client):
    for number in range(200):
        _, _, body = fetch(client, "GET", f"/hello/{number}")
        assert json.loads(body)["name"] == str(number)


def test_forms(client):
    _, _, body = fetch(client, "POST", "/form", "a=1&a=2&b=%C3%A9", Content_Type="application/x-www-form-urlencoded")
    assert json.loads(body) == {"a": ["1", "2"], "b": ["é"]}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_json(client, method):
    _, _, body = fetch(client, method, "/json", '{"a": [1, null, "é"]}'.encode(), Content_Type="application/json")
    assert json.loads(body) == {"method": method, "json": {"a": [1, None, "é"]}}


def test_a_wrong_method_is_405(client):
    status, fields, _ = fetch(client, "DELETE", "/json")
    assert status == 405
    assert set(fields["Allow"].split(", ")) == {"OPTIONS", "PATCH", "POST", "PUT"}


def multipart(*files):
    parts = [
        f'--border\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode() + content
        for name, content in files
    ]
    return b"\r\n".join([*parts, b"--border--\r\n"])


@pytest.mark.parametrize("size", [0, 1000, 3_000_000])
def test_uploads(client, size):
    content = random.Random(size).randbytes(size)
    body = multipart(("a.bin", content), ("b.bin", b"second"))
    status, _, answer = fetch(client, "POST", "/upload", body, Content_Type="multipart/form-data; boundary=border")
    assert status == 200
    assert json.loads(answer) == [
        {"name": "a.bin", "size": size, "sha256": hashlib.sha256(content).hexdigest()},
        {"name": "b.bin", "size": 6, "sha256": hashlib.sha256(b"second").hexdigest()},
    ]


@pytest.mark.parametrize("size", [1, 100_000, 2_000_000])
def test_chunked_bodies_have_their_length_counted(client, size):
    content = random.Random(size).randbytes(size)
    blocks = [content[at : at + 50_001] for at in range(0, size, 50_001)]
    client.request("PUT", "/raw", iter(blocks), {"Transfer-Encoding": "chunked"}, encode_chunked=True)
    assert json.loads(client.getresponse().read()) == {
        "size": size,
        "sha256": hashlib.sha256(content).hexdigest(),
        "content_length": size,
        "transfer_encoding": None,
    }


def test_cookies_in_both_directions(client):
    _, fields, body = fetch(client, "GET", "/cookies", Cookie="a=b; c=d")
    assert json.loads(body) == {"a": "b", "c": "d"}
    assert fields.get_all("Set-Cookie") == ["first=1; Path=/", "second=2; HttpOnly; Path=/cookies"]


def test_sessions(client):
    cookie = ""
    for number in range(1, 4):
        _, fields, body = fetch(client, "GET", "/count", Cookie=cookie)
        assert body == str(number).encode()
        cookie = fields["Set-Cookie"].partition(";")[0]


def test_redirects(client):
    status, fields, _ = fetch(client, "GET", "/elsewhere")
    assert (status, fields["Location"]) == (302, "/hello/redirected")


def test_streams_are_chunked(client):
    _, fields, body = fetch(client, "GET", "/stream")
    assert fields["Transfer-Encoding"] == "chunked"
    assert body.decode().splitlines() == [f"line {number}" for number in range(1000)]


def test_files_with_ranges_and_conditions(client):
    source = SOURCE.read_bytes()
    status, fields, body = fetch(client, "GET", "/file")
    assert (status, body) == (200, source)
    status, _, body = fetch(client, "GET", "/file", Range="bytes=10-19")
    assert (status, body) == (206, source[10:20])
    status, fields, body = fetch(client, "GET", "/file", If_None_Match=fields["ETag"])
    assert (status, body) == (304, b"")
    assert fields["Content-Length"] is None
    assert fetch(client, "HEAD", "/file")[1]["Content-Length"] == str(len(source))
    assert fetch(client, "GET", "/memory-file")[2] == b"from memory" * 10_000


def test_head_has_no_body(client):
    for target in ("/", "/stream", "/hello/x"):
        status, _, body = fetch(client, "HEAD", target)
        assert (status, body) == (200, b"")


def test_answers_without_a_body(client):
    status, fields, body = fetch(client, "DELETE", "/thing")
    assert (status, fields["Content-Length"], body) == (204, None, b"")


def test_errors_of_the_framework_are_its_own_answers(client):
    assert fetch(client, "GET", "/nowhere")[0] == 404
    assert fetch(client, "GET", "/teapot")[0] == 418
    status, _, body = fetch(client, "GET", "/fails")
    assert status == 500
    assert b"ZeroDivisionError" not in body
    assert fetch(client, "GET", "/")[0] == 200


def test_where_flask_thinks_it_is(site, client, address):
    host = "example.com:8080"
    _, _, body = fetch(client, "GET", "/where?x=y", Host=host)
    unix = address.startswith("unix:")
    assert json.loads(body) == {
        "url": f"http://{host}/where?x=y",
        "remote_addr": "" if unix else "127.0.0.1",
        "scheme": "http",
        "path": "/where",
    }
