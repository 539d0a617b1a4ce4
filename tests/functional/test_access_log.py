"""The access log has a line for each request, also for those whose client did not wait for the answer."""

from __future__ import annotations

import re

import wire


def endless(environ, start_response):
    if environ["PATH_INFO"] == "/whole":
        start_response("200 OK", [("Content-Length", "5")])
        return [b"whole"]
    start_response("200 OK", [])
    return iter(lambda: b"x" * 1000, None)


def test_a_request_that_the_client_broke_off_is_logged_with_what_was_sent(serve, tmp_path):
    path = tmp_path / "access.log"
    running = serve(endless, unix=False, access_logfile=str(path))
    with running.connect() as client:
        client.send(wire.request("/endless"))
        assert client.read_head().status == 200
    running.exchange(wire.request("/whole"))
    wire.wait_until(lambda: path.read_text().count("\n") == 2, "both lines")
    assert re.search(r'"GET /endless HTTP/1\.[01]" 200 [1-9][0-9]*000 ', path.read_text())
    assert '"GET /whole HTTP/1.1" 200 5 ' in path.read_text() or '"GET /whole HTTP/1.0" 200 5 ' in path.read_text()


def test_a_request_whose_body_did_not_come_is_logged_as_499(serve, tmp_path):
    path = tmp_path / "access.log"
    running = serve(endless, unix=False, access_logfile=str(path))
    with running.connect() as client:
        client.send(wire.request("/cut", method="POST", fields=[("Content-Length", "5")]) + b"ab")
    wire.wait_until(lambda: path.read_text().count("\n") == 1, "the line")
    assert '"POST /cut HTTP/1.' in path.read_text()
    assert '" 499 ' in path.read_text()
