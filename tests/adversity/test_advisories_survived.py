"""Advisories of other servers about what is no malformed message: legal ones misread, responses, logs, and load.
Each test has the identifier of the advisory in its name; test_advisories.py has the messages that must be refused.
"""

from __future__ import annotations

import gzip
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import verdict
import wire

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def head(*lines: bytes, body: bytes = b"") -> bytes:
    return HEAD + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


class TestAccepted:
    """Messages that are legal, and what must not come of them."""

    def test_gunicorn_23_0_0_names_with_an_underscore_are_not_merged(self, accepts):
        accepted = accepts(b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: ::1\r\nX_Forwarded_For: ::2\r\n\r\n")
        assert accepted.environ["HTTP_X_FORWARDED_FOR"] == "::1"

    @pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Client-IP"])
    def test_CVE_2022_2255_an_untrusted_peers_word_for_its_client_is_removed(self, serve, name):
        running = serve(verdict.echo, referee=False, forwarded_allow_ips="192.0.2.0/24")
        assert running.exchange(wire.request(fields=[(name, "192.0.2.9")])).status == 200
        (environ,) = running.environs
        assert environ["REMOTE_ADDR"] == "127.0.0.1"
        assert [key for key in environ if "CLIENT_IP" in key or "FORWARDED" in key] == []

    def test_gunicorn_25_forbidden_trailer_fields_come_to_nothing(self, accepts):
        trailer = b"Host: evil\r\nContent-Length: 9\r\nAuthorization: evil\r\n"
        accepted = accepts(CHUNKED + b"3\r\nabc\r\n0\r\n" + trailer + b"\r\n")
        assert accepted.environ["HTTP_HOST"] == "a"
        assert accepted.environ["CONTENT_LENGTH"] == "3"
        assert "HTTP_AUTHORIZATION" not in accepted.environ

    def test_CVE_2016_1000110_proxy_does_not_become_http_proxy(self, accepts):
        assert "HTTP_PROXY" not in accepts(b"GET / HTTP/1.1\r\nHost: a\r\nProxy: http://evil/\r\n\r\n").environ

    def test_CVE_2026_42544_octets_beyond_ascii_reach_the_application(self, accepts):
        accepted = accepts(b"GET / HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Protocol: \xff\xe9\r\n\r\n")
        assert accepted.environ["HTTP_SEC_WEBSOCKET_PROTOCOL"] == "\xff\xe9"

    def test_CVE_2025_58068_the_trailer_section_is_consumed(self, serve):
        running = serve(verdict.echo)
        with running.connect() as client:
            client.send(CHUNKED + b"3\r\nabc\r\n0\r\nX: y\r\nZ: " + b"w" * 100 + b"\r\n\r\n" + verdict.GOOD)
            assert client.read_response().body == b"abc"
            assert client.read_response().status == 200
        assert running.targets == ["/", "/good"]


def test_gunicorn_25_a_body_cut_behind_the_last_chunk_line_is_not_run(serve):
    running = serve(verdict.echo)
    with running.connect() as client:
        client.send(CHUNKED + b"3\r\nabc\r\n0\r\n")
        client.half_close()
        client.assert_closed()
    assert running.calls == 0


def test_gunicorn_25_the_body_of_a_finished_request_is_not_entered_again(serve):
    """An application that keeps wsgi.input and reads it during the next request."""
    kept = []

    def application(environ, start_response):
        seen = [input_.read() for input_ in kept]
        kept.append(environ["wsgi.input"])
        start_response("200 OK", [])
        return [b"|".join(seen)]

    running = serve(application)
    with running.connect() as client:
        assert client.exchange(head(b"Content-Length: 3", body=b"abc")).body == b""
        assert client.exchange(head(b"Content-Length: 3", body=b"def")).body == b"abc"
        assert client.exchange(verdict.GOOD).body == b"|def"
    kept.clear()


@pytest.mark.parametrize(
    "line", [b"X-" + b"a " * 4000 + b"\x10", b"X: " + b" \t" * 4000 + b"\x10", b"X: " + b"," * 8000 + b"\0"]
)
def test_CVE_2020_5236_a_bad_octet_behind_a_long_line_takes_no_time(serve, line):
    running = serve(verdict.echo)
    since = time.monotonic()
    for _ in range(20):
        assert running.exchange(head(line)).status == 400
    assert time.monotonic() - since < 1


def test_CVE_2022_31015_sockets_that_close_at_any_time_do_not_end_the_server(serve):
    running = serve(verdict.echo)
    for number in range(200):
        client = running.connect()
        client.send(verdict.GOOD[: number % len(verdict.GOOD)])
        client.reset() if number % 2 else client.close()
    assert running.exchange(verdict.GOOD).status == 200
    assert running.thread.is_alive()


def test_CVE_2024_49769_peers_that_are_gone_when_they_are_accepted_do_not_keep_the_loop_busy(serve_apart):
    apart = serve_apart()
    for number in range(50):
        client = apart.connect()
        if number % 2:
            client.send(b"GET")
        client.reset()
    with apart.connect() as client:
        assert client.exchange(verdict.GOOD).status == 200
        busy_since = apart.cpu_s()
        assert not client.has_input(0.3)
        assert apart.cpu_s() - busy_since < 0.1


def test_CVE_2022_29361_an_unread_body_is_not_the_next_request(serve):
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"ok"]

    running = serve(application)
    with running.connect() as client:
        client.send(head(b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED) + verdict.GOOD)
        assert [client.read_response().status for _ in range(2)] == [200, 200]
        client.assert_open()
    assert running.targets == ["/", "/good", "/still-open"]


def test_gevent_2075_a_body_behind_100_continue_that_nobody_reads_is_not_the_next_request(serve):
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"ok"]

    for streamed in (False, True):
        running = serve(application, stream_request_body=streamed)
        with running.connect() as client:
            client.send(head(b"Expect: 100-continue", b"Content-Length: %d" % len(SMUGGLED)))
            first = client.read_response()
            client.send(SMUGGLED, may_break=True)
            if first.status == 100:
                assert client.read_response().status == 200
                client.assert_open(verdict.GOOD)
            else:
                assert first.status == 200
                client.assert_gone()
        assert "/smuggled" not in running.targets


@pytest.mark.parametrize("advisory", ["CVE-2023-46137", "CVE-2024-41671"])
def test_pipelined_answers_stay_in_order(serve, advisory):
    """The first takes many blocks, the second none, the third is a refusal."""

    def application(environ, start_response):
        start_response("200 OK", [])
        return (b"x" * 10_000 for _ in range(100)) if environ["PATH_INFO"] == "/slow" else []

    running = serve(application)
    with running.connect(receive_buffer_bytes=4096) as client:
        client.send(wire.request("/slow") + verdict.GOOD + b"BAD\r\n")
        assert len(client.read_response().body) == 1_000_000
        assert client.read_response().body == b""
        assert client.read_response().status == 400
        client.assert_closed()


def test_CVE_2025_69223_to_69230_many_chunks_cost_little(serve):
    running = serve(verdict.echo)
    since = time.monotonic()
    body = wire.chunked(*[b"x" * 10] * 50_000)
    assert running.exchange(CHUNKED + body).body == b"x" * 500_000
    assert time.monotonic() - since < 3


def test_CVE_2025_69223_a_coded_body_is_not_decoded(serve):
    """Nothing is inflated here, so there is no bomb: the application gets what was sent."""
    running = serve(verdict.echo)
    bomb = gzip.compress(b"\0" * 1_000_000)
    coded = head(b"Content-Encoding: gzip", b"Content-Length: %d" % len(bomb), body=bomb)
    assert running.exchange(coded).body == bomb


@pytest.mark.parametrize("advisory", ["CVE-2025-69230", "CVE-2025-47287"])
def test_what_a_client_sends_cannot_flood_the_log(serve, caplog, advisory):
    """Bad cookies, bad multipart: a request makes no line above debug, whether the application sees it or not."""
    caplog.set_level("INFO", "headrace")
    running = serve(verdict.echo)
    caplog.clear()  # of what says that it has started
    cookies = b"Cookie: " + b"; ".join(b"a b=\xe9" for _ in range(500))
    parts = b"--x\r\nContent-Disposition: nonsense\r\n\r\n" * 500
    messages = [
        head(cookies, b"Content-Length: 0"),
        head(b"Content-Type: multipart/form-data; boundary=x", b"Content-Length: %d" % len(parts), body=parts),
        head(*[b"X: \x01"] * 50),
    ]
    assert [running.exchange(message).status for message in messages] == [200, 200, 400]
    assert caplog.messages == []


@pytest.mark.parametrize("target", [b"//evil.example/%2e%2e", b"//evil.example"])
def test_CVE_2020_28724_two_slashes_stay_a_path(accepts, target):
    """Not taken for an authority: neither Host nor the path changes, so what is built of them stays on this host."""
    accepted = accepts(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert accepted.environ["PATH_INFO"].startswith("//evil.example")
    assert (accepted.environ["HTTP_HOST"], accepted.environ["SCRIPT_NAME"]) == ("a", "")


class TestResponses:
    """CR, LF and other control octets in what an application says."""

    #: identifier and what it was about -> (status, headers)
    SPLIT = (
        ("CVE-2018-1000164, gunicorn: values", "200 OK", [("X", "a\r\nSet-Cookie: evil=1")]),
        ("CVE-2020-7695, uvicorn: values", "200 OK", [("X", "a\nSet-Cookie: evil=1")]),
        ("CVE-2026-42545, granian: the worker dies", "200 OK", [("X", "a\0evil")]),
        ("CVE-2026-0865, wsgiref: names", "200 OK", [("X\r\nSet-Cookie: evil=1;", "a")]),
        ("gh-143916, wsgiref: values", "200 OK", [("X", "a\rSet-Cookie: evil=1")]),
        ("gh-144370, wsgiref: the status", "200 OK\r\nSet-Cookie: evil=1", []),
        ("CVE-2026-34519, aiohttp: a bare CR in the reason", "200 OK\rSet-Cookie: evil=1", []),
        ("CVE-2025-67724, Tornado: the reason", "200 OK\nSet-Cookie: evil=1", []),
        ("CVE-2025-67724, Tornado: control octets in the reason", "200 \x1bevil", []),
    )

    @pytest.mark.parametrize(("status", "headers"), [case[1:] for case in SPLIT], ids=[case[0] for case in SPLIT])
    def test_cannot_be_split_and_the_server_lives_on(self, serve, status, headers):
        def application(environ, start_response):
            good = environ["PATH_INFO"] == "/good"
            start_response("200 OK" if good else status, [] if good else headers)
            return [b"body"]

        running = serve(application)
        with running.connect() as client:
            client.send(wire.request("/"))
            refused = client.read_response()
            assert refused.status == 500
            assert "evil" not in f"{refused.reason}{refused.fields}{refused.body!r}"
            client.assert_closed() if refused.says_close else client.assert_open(verdict.GOOD)
        assert running.exchange(verdict.GOOD).body == b"body"

    def test_gh_150726_are_checked_with_assertions_switched_off(self):
        """python -O: a check that sits in `if __debug__` or in an assert disappears."""
        program = """
import http.client, headrace
def application(environ, start_response):
    start_response("200 OK", [("X", "a" + chr(13) + chr(10) + "Set-Cookie: evil=1")])
    return []
with headrace.Server(application, port=0) as server:
    connection = http.client.HTTPConnection(server.host, server.port)
    connection.request("GET", "/")
    answer = connection.getresponse()
    print(answer.status, answer.getheader("Set-Cookie"))
"""
        done = subprocess.run([sys.executable, "-O", "-c", program], capture_output=True, text=True, timeout=30)
        assert done.stdout == "500 None\n", done.stderr

    def test_CVE_2018_1000164_early_hints_cannot_be_split_either(self, serve):
        raised = []

        def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            try:
                environ["wsgi.early_hints"]([("Link", "</a>\r\nSet-Cookie: evil=1")])
            except ValueError as error:
                raised.append(str(error))
            start_response("200 OK", [])
            return [b"ok"]

        assert serve(application).exchange(verdict.GOOD).status == 200
        assert "control character" in raised[0]


@pytest.mark.parametrize("advisory", ["CVE-2012-0053", "gunicorn-1858"])
def test_a_refusal_says_nothing_back_of_what_was_sent(serve, advisory):
    """Apache's error page had the fields in it, HttpOnly cookies with them."""
    running = serve(verdict.echo)
    for message in (
        head(b"Cookie: secret=1", b"Bad secret line"),
        head(b"Cookie: secret=1", b"X: " + b"secret" * 2000),
        b"GET /secret<script>\x01 HTTP/1.1\r\nHost: secret\r\n\r\n",
        b"secret / HTTP/9.9\r\n\r\n",
    ):
        answer = running.exchange(message)
        assert answer.status >= 400
        assert "secret" not in f"{answer.reason}{answer.fields}{answer.body!r}"


def test_CVE_2020_7694_escape_sequences_do_not_reach_the_access_log(serve, tmp_path):
    """Neither decoded from the target, nor from a field, nor from a request line that is refused."""
    path = tmp_path / "log"
    running = serve(verdict.echo, access_logfile=str(path))
    escape = b"%1b[31m"
    running.exchange(b"GET /" + escape + b"?" + escape + b" HTTP/1.1\r\nHost: a\r\nReferer: \x9b31m\r\n\r\n")
    running.exchange(b"GET /\x1b[31m HTTP/1.1\r\nHost: a\r\n\r\n")
    running.stop()
    logged = path.read_bytes()
    assert logged.count(b"\n") == 2
    assert [octet for octet in logged if (octet < 0x20 and octet != 0x0A) or octet >= 0x7F] == []


def test_waitress_3_0_2_fields_of_proxies_that_are_not_trusted_leave_environ(serve):
    running = serve(verdict.echo, referee=False, forwarded_allow_ips="192.0.2.0/24")
    names = [f"X-Forwarded-{name}" for name in ("For", "Host", "Proto", "Port", "By")] + ["Forwarded"]
    assert running.exchange(wire.request(fields=[(name, "192.0.2.9") for name in names])).status == 200
    (environ,) = running.environs
    assert [key for key in environ if "FORWARDED" in key] == []
    assert environ["wsgi.url_scheme"] == "http"
