"""The access log has a line for each request, also for those whose client did not wait for the answer."""

from __future__ import annotations

import json
import os
import re
import threading

import pytest
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


@pytest.mark.parametrize(
    ("sent", "logged"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\xff\"\\\x1b[31m\r\nmore\r\n\r\n",
         r"\x16\x03\x01\x02\x00\x01\x00\xff\x22\x5c\x1b[31m"),
        (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a b HTTP/1.1"),
        (b"\r\nGET /a\r\n\r\n", "GET /a"),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "CONNECT a:1 HTTP/1.1"),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", "GET /" + "x" * 251 + "..."),
        (b"GET /fields HTTP/1.1\r\nHost : a\r\n\r\n", "GET /fields HTTP/1.1"),
    ],
    ids=["binary", "space in the target", "no version", "CONNECT", "too long", "understood"],
)  # fmt: skip
@pytest.mark.parametrize("cut", ["whole", 1, 2])
def test_a_request_line_that_was_refused_is_logged_as_it_came_and_escaped(serve, tmp_path, sent, logged, cut):
    path = tmp_path / "access.log"
    running = serve(endless, unix=True, access_logfile=str(path))
    with running.connect() as client:
        client.send(sent, cut, may_break=True)
        status = client.read_response().status
    wire.wait_until(lambda: path.read_text().count("\n") == 1, "the line")
    if cut == "whole":
        assert f'] "{logged}" {status} ' in path.read_text()
    else:  # the refusal comes with the octet that shows it, and only what has come by then is there
        shown = path.read_text().partition('] "')[2].rpartition(f'" {status} ')[0]
        assert shown
        assert logged.startswith(shown.removesuffix("..."))


@pytest.mark.parametrize(
    ("sent", "method", "target", "protocol"),
    [
        (b"GET /?q=\xe4 HTTP/1.1", "GET", "/?q=\u00e4", "HTTP/1.1"),
        (b"GET /a HTTP/2.0", "GET", "/a", "HTTP/2.0"),
        (b"GET /a b HTTP/1.1", None, "GET /a b HTTP/1.1", None),
        (b"GET /a", None, "GET /a", None),
    ],
)
def test_a_request_line_that_was_refused_is_taken_apart_where_it_has_three_parts(
    serve, tmp_path, sent, method, target, protocol
):
    path = tmp_path / "access.log"
    running = serve(endless, unix=True, access_logfile=str(path), access_logformat="json")
    with running.connect() as client:
        client.send(sent + b"\r\nHost: a\r\n\r\n", may_break=True)
        client.read_response()
    wire.wait_until(lambda: path.read_text().count("\n") == 1, "the line")
    logged = json.loads(path.read_text())
    assert (logged["method"], logged["protocol"]) == (method, protocol)
    assert logged["target"] in (target, target.replace("\u00e4", "\\xe4"))


@pytest.mark.parametrize("sent", [b"GET /slow HT", b"GET /slow HTTP/1.1\r\nHost: a\r\nX"])
def test_a_head_that_did_not_come_in_time_is_logged_as_far_as_it_came(serve, tmp_path, sent):
    path = tmp_path / "access.log"
    running = serve(endless, unix=True, access_logfile=str(path), head_timeout=0.1)
    with running.connect() as client:
        client.send(sent)
        assert client.read_response().status == 408
    wire.wait_until(lambda: path.read_text().count("\n") == 1, "the line")
    assert f'"{sent.decode().partition(chr(13))[0]}" 408 ' in path.read_text()


def test_a_head_that_did_not_come_in_time_took_that_time_and_others_that_were_refused_none(serve, tmp_path):
    path = tmp_path / "access.log"
    running = serve(endless, unix=True, access_logfile=str(path), access_logformat="json", head_timeout=0.1)
    for sent, status in ((b"GET /late?" + b"q" * 300 + b" HTTP/1.1\r\nX", 408), (b"nonsense\r\n", 400)):
        with running.connect() as client:
            client.send(sent, may_break=True)
            assert client.read_response().status == status
    wire.wait_until(lambda: path.read_text().count("\n") == 2, "both lines")
    late, nonsense = map(json.loads, path.read_text().splitlines())
    assert late["duration_us"] >= 100_000
    assert (late["method"], late["target"]) == ("GET", "/late?" + "q" * 300), "a line that was understood is not cut"
    assert nonsense["duration_us"] == 0
    assert late["time"] <= nonsense["time"]


def test_a_request_whose_body_did_not_come_is_logged_as_499(serve, tmp_path):
    path = tmp_path / "access.log"
    running = serve(endless, unix=False, access_logfile=str(path))
    with running.connect() as client:
        client.send(wire.request("/cut", method="POST", fields=[("Content-Length", "5")]) + b"ab")
    wire.wait_until(lambda: path.read_text().count("\n") == 1, "the line")
    assert '"POST /cut HTTP/1.' in path.read_text()
    assert '" 499 ' in path.read_text()


def answering(environ, start_response):
    environ["shop.user"] = "miller"
    environ["HTTP_USER_AGENT"] = environ["REMOTE_ADDR"] = environ["RAW_URI"] = "changed"
    start_response("200 OK", [("Content-Length", "5"), ("X-Request-Id", environ["QUERY_STRING"])])
    return [b"whole"]


def test_a_line_says_what_the_client_sent_and_what_the_application_added(serve, tmp_path):
    path = tmp_path / "access.log"
    text = '%(target)s "%(a)s" %({shop.user}e)s %({x-request-id}o)s %({x-own}i)s'
    running = serve(answering, access_logfile=str(path), access_logformat=text)
    with running.connect() as client:
        for number, agent in enumerate(["first", "first", "first", "other", "first", "first"]):
            client.exchange(wire.request(f"/?{number}", fields=[("User-Agent", agent), ("X-Own", f"{number // 2}")]))
    wire.wait_until(lambda: path.read_text().count("\n") == 6, "the lines")
    assert path.read_text().splitlines() == [
        f'/?{number} "{agent}" miller {number} {number // 2}'
        for number, agent in enumerate(["first", "first", "first", "other", "first", "first"])
    ]


def test_path_and_query_are_those_of_each_request_on_a_connection(serve, tmp_path):
    path = tmp_path / "access.log"
    running = serve(answering, access_logfile=str(path), access_logformat="%(U)s %(q)s")
    targets = ["/a?b", "/a?b", "/a?b", "/c?d", "/c?d", "/c", "/a?b"]
    with running.connect() as client:
        for target in targets:
            client.exchange(wire.request(target))
    wire.wait_until(lambda: path.read_text().count("\n") == len(targets), "the lines")
    assert path.read_text().split("\n")[:-1] == [
        f"{target.partition('?')[0]} {target.partition('?')[2] or '-'}" for target in targets
    ]


@pytest.mark.parametrize("threads", [1, 8])
def test_lines_of_several_threads_stay_whole_while_the_file_is_rotated(serve, tmp_path, threads):
    """Each line is in one of the files, whole, whatever the moment of the rotation."""
    path = tmp_path / "access.log"
    running = serve(answering, threads=threads, access_logfile=str(path), access_logformat="json")
    clients, requests = 4, 150

    def ask(client_number):
        with running.connect() as client:
            for number in range(requests):
                client.exchange(wire.request(f"/{client_number}/{number}"))

    asking = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    for thread in asking:
        thread.start()
    rotations = 0
    while any(thread.is_alive() for thread in asking):
        if os.path.exists(path):
            rotations += 1
            os.rename(path, tmp_path / f"access.{rotations}.log")
        running.server._worker._access_log.reopen()
        asking[0].join(0.01)
    running.stop()
    lines = [line for one in tmp_path.glob("access*.log") for line in one.read_text().splitlines()]
    targets = [json.loads(line)["target"] for line in lines]
    assert rotations > 1
    assert sorted(targets) == sorted(f"/{client}/{number}" for client in range(clients) for number in range(requests))
