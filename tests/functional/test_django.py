"""A Django application (apps/django_site.py) behind the command line, over TCP and a UNIX socket, with http.client."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
from pathlib import Path

import pytest

pytest.importorskip("django")

SOURCE = Path(__file__).parent / "apps" / "django_site.py"
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
    assert (status, body.decode()) == (200, "Grüße aus Django\n")
    assert fields["Content-Type"] == "text/plain; charset=utf-8"


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


@pytest.mark.parametrize("size", [0, 1000, 3_000_000])
def test_uploads_in_memory_and_in_djangos_temporary_files(client, size):
    content = random.Random(size).randbytes(size)
    head = b'--border\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
    body = head + content + b"\r\n--border--\r\n"
    status, _, answer = fetch(client, "POST", "/upload", body, Content_Type="multipart/form-data; boundary=border")
    digest = hashlib.sha256(content).hexdigest()
    assert (status, json.loads(answer)) == (200, [{"name": "a.bin", "size": size, "sha256": digest}])


@pytest.mark.parametrize("size", [1, 100_000, 2_000_000])
def test_chunked_bodies_have_their_length_counted(client, size):
    """Django reads CONTENT_LENGTH octets and no more, so without the count it would see an empty body."""
    content = random.Random(size).randbytes(size)
    blocks = [content[at : at + 50_001] for at in range(0, size, 50_001)]
    client.request("PUT", "/raw", iter(blocks), {"Transfer-Encoding": "chunked"}, encode_chunked=True)
    digest = hashlib.sha256(content).hexdigest()
    assert json.loads(client.getresponse().read()) == {"size": size, "sha256": digest, "content_length": size}


def test_cookies_in_both_directions(client):
    _, fields, body = fetch(client, "GET", "/cookies", Cookie="a=b; c=d")
    assert json.loads(body) == {"a": "b", "c": "d"}
    assert fields.get_all("Set-Cookie") == ["first=1; Path=/", "second=2; HttpOnly; Path=/cookies"]


@pytest.mark.parametrize("accept", ["identity", "gzip"])
def test_streams_are_chunked_compressed_or_not(client, accept):
    _, fields, body = fetch(client, "GET", "/stream", Accept_Encoding=accept)
    assert fields["Transfer-Encoding"] == "chunked"
    text = gzip.decompress(body) if accept == "gzip" else body
    assert text.decode().splitlines() == [f"line {number}" for number in range(1000)]


def test_files_go_through_the_file_wrapper(client):
    status, fields, body = fetch(client, "GET", "/file", Accept_Encoding="identity")
    assert (status, body) == (200, SOURCE.read_bytes())
    assert fields["Content-Length"] == str(len(body))


def test_conditions(client):
    status, fields, body = fetch(client, "GET", "/tagged")
    assert (status, fields["ETag"], body) == (200, '"one"', b"tagged")
    status, fields, body = fetch(client, "GET", "/tagged", If_None_Match='"one"')
    assert (status, fields["ETag"], body) == (304, '"one"', b"")


def test_head_has_no_body(client):
    for target in ("/", "/stream", "/file"):
        status, _, body = fetch(client, "HEAD", target)
        assert (status, body) == (200, b"")


def test_errors_of_the_framework_are_its_own_answers(client):
    assert fetch(client, "GET", "/nowhere")[0] == 404
    assert fetch(client, "GET", "/form")[0] == 405
    assert fetch(client, "GET", "/fails")[0] == 500
    assert fetch(client, "GET", "/", Host="evil.example")[0] == 400
    assert fetch(client, "GET", "/")[0] == 200
