"""The examples for gateways, as their docstrings start them and under real web servers."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def run_as_documented(name):
    """The command line `... python examples/NAME` of the docstring."""
    lines = (EXAMPLES / name).read_text(encoding="utf-8").split('"""')[1].splitlines()
    (line,) = [line for line in lines if f"python examples/{name}" in line]
    words = shlex.split(line)
    variables = dict(word.split("=", 1) for word in words[: words.index("python")])
    command = [sys.executable, *words[words.index("python") + 1 :]]
    result = subprocess.run(command, env=variables, cwd=EXAMPLES.parent, capture_output=True, timeout=20)
    assert result.returncode == 0, result.stderr
    head, _, body = result.stdout.partition(b"\r\n\r\n")
    return head.decode().split("\r\n"), body.decode(), result.stderr.decode()


def test_cgi_gateway_without_a_web_server():
    head, body, errors = run_as_documented("cgi_gateway.py")
    assert head == ["Status: 200 OK", "Content-Type: text/html; charset=utf-8", f"Content-Length: {len(body)}"]
    assert "<p>Hello, you!</p>" in body
    assert errors == "greeted 'you'\n"


def test_cgi_handler_without_a_web_server():
    head, body, errors = run_as_documented("cgi_handler.py")
    assert head[0] == "Status: 200 OK"
    assert 'Content-Disposition: attachment; filename="cgi_handler.py"' in head
    assert body == (EXAMPLES / "cgi_handler.py").read_text()
    assert errors == ""


def test_without_server():
    head, body, errors = run_as_documented("without_server.py")
    assert head[0] == "HTTP/1.0 200 OK"
    assert body == "HELLO\n"
    assert errors == ""


def test_cgi_gateway_under_a_web_server(site):
    running = site((EXAMPLES / "cgi_gateway.py").read_text())
    assert "<p>Hello, stranger!</p>" in running.request("GET", "").body.decode()
    assert "<p>Hello, Zo\xeb!</p>" in running.request("GET", "/?name=Zo%C3%AB").body.decode()
    assert "<p>Hello, &lt;b&gt;!</p>" in running.request("POST", "/", b"name=%3Cb%3E", FORM).body.decode()
    running.wait_for_log("greeted '<b>'")


def test_cgi_handler_under_a_web_server(site):
    program = (EXAMPLES / "cgi_handler.py").read_text()
    running = site(program)
    here = f"http://127.0.0.1:{running.port}/cgi-bin/program"
    answer = running.request("GET", "/a%20b?c")
    assert answer.body.decode() == f"You are at {here}/a%20b?c\n"
    (running.folder / "cgi-bin" / "file.py").write_text("content")
    answer = running.request("GET", "/file/file.py")
    assert (answer.headers.get_filename(), answer.body) == ("file.py", b"content")
    assert running.request("GET", "/file/missing.py").status == 404
