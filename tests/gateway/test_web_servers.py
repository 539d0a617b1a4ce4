"""The gateways under real web servers: headrace.gateway, and the CGI classes of headrace.handlers."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import closing
from http.client import IncompleteRead

import pytest

APPLICATION = """
import hashlib, json, sys

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/error":
        raise LookupError("before-the-response")
    if path == "/late":
        start_response("200 OK", [("Content-Length", "100")])
        return late()
    if path == "/unmodified":
        start_response("304 Not Modified", [("ETag", '"1"')])
        return []
    if path == "/lines":
        write = start_response("201 Made", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Latin", "\\xe9")])
        write(b"one\\n")
        return (line for line in (b"two\\n", environ["wsgi.input"].readline()))
    if path == "/digest":
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = hashlib.sha256(environ["wsgi.input"].read(length)).hexdigest().encode()
    else:
        body = json.dumps({key: value for key, value in environ.items() if type(value) in (str, bool)}).encode()
    environ["wsgi.errors"].write("a-line-for-the-error-log\\n")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]

def late():
    yield b"part"
    raise LookupError("after-the-first-block")
"""

GATEWAYS = {
    "run_with_cgi": "from headrace.gateway import run_with_cgi\nrun_with_cgi(application)",
    "CGIHandler": "from headrace.handlers import CGIHandler\nCGIHandler().run(application)",
    "IISCGIHandler": "from headrace.handlers import IISCGIHandler\nIISCGIHandler().run(application)",
    "BaseCGIHandler": (
        "from headrace.handlers import BaseCGIHandler, read_environ\n"
        "streams = sys.stdin.buffer, sys.stdout.buffer, sys.stderr\n"
        "BaseCGIHandler(*streams, read_environ(), multithread=False, multiprocess=True).run(application)"
    ),
}


@pytest.fixture(params=GATEWAYS)
def gateway(request):
    return request.param


@pytest.fixture
def running(site, gateway):
    return site(APPLICATION + GATEWAYS[gateway])


def test_the_environ_is_the_requests(running):
    answer = running.request("GET", "/caf%C3%A9?a=b%20c", headers={"X-Field": "value"})
    environ = json.loads(answer.body)
    expected = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "/cgi-bin/program",
        "PATH_INFO": "/caf\xc3\xa9",
        "QUERY_STRING": "a=b%20c",
        "HTTP_X_FIELD": "value",
        "REMOTE_ADDR": "127.0.0.1",
        "SERVER_PORT": str(running.port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
    }
    assert {key: environ.get(key) for key in expected} == expected
    assert (answer.status, answer.reason) == (200, "OK")
    assert answer.headers["Content-Length"] == str(len(answer.body))
    running.wait_for_log("a-line-for-the-error-log")


def test_a_body_of_a_megabyte_arrives_whole(running):
    content = bytes(range(256)) * 4096
    assert running.request("POST", "/digest", content).body == hashlib.sha256(content).hexdigest().encode()


def test_a_chunked_body_arrives_whole(running):
    headers = {"Transfer-Encoding": "chunked"}
    with closing(running.connect()) as connection:
        connection.request("POST", "/cgi-bin/program/digest", iter([b"1234", b"56789"]), headers, encode_chunked=True)
        with connection.getresponse() as response:
            assert response.read() == hashlib.sha256(b"123456789").hexdigest().encode()


def test_a_response_without_length_has_all_its_fields_and_blocks(running):
    answer = running.request("POST", "/lines", b"three\n")
    assert answer.status == 201
    assert answer.headers.get_all("Set-Cookie") == ["a=1", "b=2"]
    assert answer.headers["X-Latin"] == "\xe9"
    assert answer.body == b"one\ntwo\nthree\n"


def test_head_has_fields_and_no_content(running):
    answer = running.request("HEAD", "/digest")
    assert (answer.status, answer.headers["Content-Length"], answer.body) == (200, "64", b"")


def test_an_unmodified_response_has_no_content(running):
    answer = running.request("GET", "/unmodified")
    assert (answer.status, answer.headers["ETag"], answer.body) == (304, '"1"', b"")


def test_an_error_before_the_response_is_a_500_and_its_traceback_is_in_the_error_log(running):
    answer = running.request("GET", "/error")
    assert answer.status == 500
    assert b"before-the-response" not in answer.body
    running.wait_for_log("LookupError: before-the-response")


def test_an_error_within_the_response_does_not_pass_for_its_end(running):
    with pytest.raises(IncompleteRead) as caught:
        running.request("GET", "/late")
    assert caught.value.partial == b"part"
    running.wait_for_log("LookupError: after-the-first-block")


def test_the_validator_has_nothing_to_say(site):
    """Of run_with_cgi; web servers set HTTP_CONTENT_TYPE, which wsgiref's classes hand on and the validator refuses."""
    program = "from headrace.validate import validator\napplication = validator(checked)\n"
    checked = """
def checked(environ, start_response):
    body = environ["wsgi.input"].read(10)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
"""
    running = site(checked + program + GATEWAYS["run_with_cgi"])
    for target, body in (("", b"content"), ("/path", b"")):
        answer = running.request("POST", target, body, {"Content-Type": "text/plain", "Proxy": "http://elsewhere"})
        assert (answer.status, answer.body) == (200, body), running.log


def test_blocks_leave_one_by_one(site):
    program = """
from headrace.gateway import run_with_cgi
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"first"
    with open(environ["PATH_INFO"], "rb") as fifo:
        yield fifo.read()
run_with_cgi(application)
"""
    running = site(program)
    fifo = running.folder / "fifo"
    os.mkfifo(fifo)
    with closing(running.connect()) as connection:
        connection.request("GET", f"/cgi-bin/program{fifo}")
        with connection.getresponse() as response:
            assert response.read1(100) == b"first"
            fifo.write_bytes(b"second")
            assert response.read() == b"second"
