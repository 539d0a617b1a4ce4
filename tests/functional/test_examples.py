"""Each file of examples/ runs with the command that its docstring gives, and does what it says."""

from __future__ import annotations

import hashlib
import re
import shlex
from pathlib import Path

import pytest


def command_lines(examples):
    """`headrace ...` in the docstrings, by file."""
    found = {}
    for path in sorted(examples.glob("*.py")):
        docstring = path.read_text().split('"""')[1]
        found[path.name] = [shlex.split(line) for line in re.findall(r"^ *(headrace examples/.*)$", docstring, re.M)]
    return found


def fetch(process, target="/", method="GET", body=None, headers=None, chunked=False):
    client = process.client()
    try:
        client.request(method, target, body, headers or {}, encode_chunked=chunked)
        answer = client.getresponse()
        return answer, answer.read()
    finally:
        client.close()


@pytest.fixture
def start(command, examples):
    """start("hello.py"): the example as its docstring starts it, on a free port."""

    def start(name):
        (file, *_), attribute = name.split(":"), name.partition(":")[2]
        lines = command_lines(examples)[file]
        line = next(line for line in lines if line[1] == f"examples/{name}")
        assert line[0] == "headrace"
        assert attribute == "" or line[1].endswith(attribute)
        return command(*line[1:], "-b", "127.0.0.1:0", cwd=examples.parent)

    return start


def test_every_example_says_how_it_is_started_and_has_a_test(examples):
    tests = Path(__file__).parents[1].glob("*/test_examples*.py")
    tested = {name for path in tests for name in re.findall(r'start\(f?"(\w+\.py)', path.read_text())}
    tested |= {"cgi_gateway.py", "cgi_handler.py", "without_server.py"}  # in tests/gateway, as CGI programs
    tested |= {"in_place_of_wsgiref.py"}  # in tests/dropin, as a program
    lines = command_lines(examples)
    assert set(lines) == tested
    assert all(lines.values())


def test_hello(start):
    answer, body = fetch(start("hello.py"))
    assert (answer.status, body) == (200, b"Hello from Headrace\n")


@pytest.mark.parametrize(
    ("attribute", "text"), [("function", b"a function\n"), ("Class", b"a class\n"), ("instance", b"an instance\n")]
)
def test_three_forms(start, attribute, text):
    assert fetch(start(f"three_forms.py:{attribute}"))[1] == text


def test_flask(start):
    pytest.importorskip("flask")
    process = start("flask_app.py")
    assert fetch(process)[1] == b"Hello from Flask\n"
    assert fetch(process, "/hello/you")[1] == b'{"hello":"you"}\n'
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert fetch(process, "/greet", "POST", "name=you", form)[1] == b"Hello you\n"


def test_django(start):
    pytest.importorskip("django")
    process = start("django_app.py")
    assert fetch(process)[1].startswith(b"Hello from Django ")
    assert fetch(process, "/hello?name=you")[1] == b'{"hello": "you"}'


def test_download(start, examples):
    process = start("download.py")
    answer, body = fetch(process, "/download.py")
    assert body == (examples / "download.py").read_bytes()
    assert answer.headers["Content-Disposition"] == 'attachment; filename="download.py"'
    for target in ("/", "/../README.md", "/..%2fREADME.md", "/missing"):
        answer, body = fetch(process, target)
        assert answer.status == 404
        assert b"download.py\n" in body


@pytest.mark.parametrize("chunked", [False, True])
def test_upload(start, chunked):
    process = start("upload.py")
    content = b"some content\n" * 100_000
    headers = {"Transfer-Encoding": "chunked"} if chunked else {}
    answer, body = fetch(process, "/", "PUT", iter([content]) if chunked else content, headers, chunked)
    assert answer.status == 200
    assert body.decode() == f"{len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}\n"
    assert fetch(process)[0].status == 405


def test_streaming(start):
    process = start("streaming.py")
    client = process.client()
    client.request("GET", "/")
    with client.getresponse() as answer:
        assert re.fullmatch(rb"\d\d:\d\d:\d\d\n", answer.readline()), "the first line comes at once"
    client.close()


def test_streaming_without_end(start):
    process = start("streaming.py")
    client = process.client()
    client.request("GET", "/primes")
    with client.getresponse() as answer:
        assert [int(answer.readline()) for _ in range(500)][-3:] == [3557, 3559, 3571]
    client.close()
    answer, body = fetch(process, "/primes", "HEAD")
    assert (answer.status, body) == (200, b"")


def test_cgi_gateway(start):
    process = start("cgi_gateway.py")
    assert b"<p>Hello, you!</p>" in fetch(process, "/?name=you")[1]
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert b"<p>Hello, you!</p>" in fetch(process, "/", "POST", "name=you", form)[1]


def test_cgi_handler(start, examples):
    process = start("cgi_handler.py")
    assert fetch(process, "/file/hello.py")[1] == (examples / "hello.py").read_bytes()
    assert fetch(process, "/a?b")[1].endswith(b"/a?b\n")


def test_without_server(start):
    assert fetch(start("without_server.py"), "/", "POST", b"hello")[1] == b"HELLO\n"


def test_balancer(command, start, examples, monkeypatch):
    pytest.importorskip("urllib3")
    backends = [command(examples / "hello.py", "-b", "127.0.0.1:0") for _ in range(2)]
    monkeypatch.setenv("BACKENDS", " ".join(backend.url for backend in backends))
    process = start("balancer.py")
    assert fetch(process)[1] == b"Hello from Headrace\n"
    assert backends[0].end() == 0
    assert [fetch(process)[1] for _ in range(3)] == [b"Hello from Headrace\n"] * 3
    assert backends[1].end() == 0
    answer, body = fetch(process)
    assert answer.status in (502, 503)
    assert b"servers behind this one" in body or b"server behind this one" in body
