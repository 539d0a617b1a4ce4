"""Clients that people use: requests, curl, http.client, wrk, over TCP (IPv4, IPv6) and UNIX sockets."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import pytest
import requests
from command import WAIT_S

APPLICATION = Path(__file__).parent / "apps" / "showing.py"


def curl(*arguments, stdin=None):
    """Exit code, stdout and stderr of curl."""
    path = shutil.which("curl")
    if path is None:
        pytest.skip("no curl on PATH")
    done = subprocess.run(
        [path, "--silent", "--show-error", "--max-time", str(WAIT_S), *arguments],
        input=stdin,
        capture_output=True,
        timeout=2 * WAIT_S,
    )
    return done.returncode, done.stdout, done.stderr.decode()


def where(address):
    """The part of curl's command line that says where."""
    return ["--unix-socket", address.removeprefix("unix:")] if address.startswith("unix:") else []


def url(address, target="/"):
    return ("http://localhost" if address.startswith("unix:") else address) + target


# -- requests ---------------------------------------------------------------------------------------------------------


class TestRequests:
    @pytest.fixture
    def session(self):
        with requests.Session() as session:
            yield session

    @pytest.fixture
    def base(self, site):
        return site.urls[0]

    def test_a_session_uses_one_connection(self, session, base):
        ports = {session.get(f"{base}/environ", timeout=WAIT_S).json()["REMOTE_PORT"] for _ in range(10)}
        assert len(ports) == 1

    def test_parameters_headers_and_cookies_arrive(self, session, base):
        answer = session.get(
            f"{base}/environ/é €",
            params={"a": ["1", "2"], "é": "&"},
            headers={"X-One": "1", "X-Latin": "é".encode("latin-1")},
            cookies={"a": "b"},
            timeout=WAIT_S,
        ).json()
        assert answer["PATH_INFO"].encode("latin-1").decode() == "/environ/é €"
        assert answer["QUERY_STRING"] == "a=1&a=2&%C3%A9=%26"
        assert (answer["HTTP_X_ONE"], answer["HTTP_X_LATIN"], answer["HTTP_COOKIE"]) == ("1", "é", "a=b")

    @pytest.mark.parametrize("size", [0, 1, 600_000, 5_000_000])
    def test_bodies_are_posted_and_come_back(self, session, base, size):
        content = random.Random(size).randbytes(size)
        assert session.post(f"{base}/echo", data=content, timeout=WAIT_S).content == content

    def test_generators_are_posted_in_chunks(self, session, base):
        blocks = [b"one ", b"two ", b"x" * 100_000]
        assert session.post(f"{base}/echo", data=iter(blocks), timeout=WAIT_S).content == b"".join(blocks)

    def test_files_are_posted(self, session, base):
        answer = session.post(f"{base}/echo", files={"file": ("a.txt", b"content")}, timeout=WAIT_S)
        assert b'filename="a.txt"' in answer.content
        assert b"content" in answer.content

    def test_streams_are_read_as_they_come(self, session, base):
        with session.get(f"{base}/stream", stream=True, timeout=WAIT_S) as answer:
            assert next(answer.iter_lines()) == b"line 0"
        with session.get(f"{base}/stream", stream=True, timeout=WAIT_S) as answer:
            assert len(list(answer.iter_lines())) == 5000

    def test_redirects_are_followed(self, session, base):
        answer = session.get(f"{base}/redirect", timeout=WAIT_S)
        assert answer.json()["PATH_INFO"] == "/environ"
        assert [step.status_code for step in answer.history] == [302]

    def test_all_methods(self, session, base):
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            answer = session.request(method, f"{base}/environ", timeout=WAIT_S)
            assert answer.json()["REQUEST_METHOD"] == method
        assert session.head(f"{base}/environ", timeout=WAIT_S).content == b""

    def test_many_clients_at_a_time(self, base):
        def work(number):
            with requests.Session() as session:
                for turn in range(10):
                    content = random.Random(number * 100 + turn).randbytes(number * 1000)
                    assert session.post(f"{base}/echo", data=content, timeout=WAIT_S).content == content
            return number

        with ThreadPoolExecutor(16) as pool:
            assert list(pool.map(work, range(32))) == list(range(32))


# -- curl -------------------------------------------------------------------------------------------------------------


class TestCurl:
    def test_get(self, address):
        code, output, _ = curl(*where(address), url(address, "/environ?q=1"))
        assert code == 0
        assert json.loads(output)["QUERY_STRING"] == "q=1"

    def test_several_urls_use_one_connection(self, address):
        code, _, errors = curl("--verbose", *where(address), *[url(address, "/environ")] * 3)
        assert code == 0
        assert len(re.findall(r"Re-?using existing", errors)) == 2

    def test_head(self, address):
        code, output, _ = curl("--head", *where(address), url(address, "/environ"))
        assert code == 0
        assert output.startswith(b"HTTP/1.1 200 OK\r\n")

    @pytest.mark.parametrize("target", ["/environ", "/stream", "/echo"])
    def test_http_1_0(self, address, target):
        code, output, errors = curl("--http1.0", "--verbose", *where(address), url(address, target))
        assert code == 0
        assert "Transfer-Encoding" not in errors
        assert len(output) == 0 if target == "/echo" else len(output) > 100

    @pytest.mark.parametrize("size", [10, 100_000, 3_000_000])
    def test_upload_with_a_length_and_with_chunks(self, address, size, tmp_path):
        """curl sends "Expect: 100-continue" for the larger ones, and waits a second if nobody answers it."""
        content = random.Random(size).randbytes(size)
        file = tmp_path / "upload"
        file.write_bytes(content)
        code, output, _ = curl("--upload-file", str(file), *where(address), url(address, "/echo"))
        assert (code, output) == (0, content)
        code, output, _ = curl("--upload-file", "-", *where(address), url(address, "/echo"), stdin=content)
        assert (code, output) == (0, content)

    def test_continue_is_given_without_a_wait(self, address):
        body = "x" * 100
        started = ["--header", "Expect: 100-continue", "--expect100-timeout", str(WAIT_S), "--data", body]
        code, output, errors = curl("--verbose", *started, *where(address), url(address, "/echo"))
        assert (code, output.decode()) == (0, body)
        assert "< HTTP/1.1 100 Continue" in errors

    def test_raw_chunks(self, address):
        code, output, _ = curl("--raw", *where(address), url(address, "/stream"))
        assert code == 0
        assert output.startswith(b"7\r\nline 0\n\r\n7\r\nline 1\n\r\n")
        assert output.endswith(b"\r\n0\r\n\r\n")

    def test_large_download(self, address):
        code, output, _ = curl(*where(address), url(address, "/large"))
        assert code == 0
        assert hashlib.sha256(output).digest() == hashlib.sha256(b"0123456789abcdef" * (1 << 20)).digest()

    def test_a_slow_download_of_a_file(self, address):
        code, output, _ = curl("--limit-rate", "20M", *where(address), url(address, "/file"))
        assert code == 0
        assert output == APPLICATION.read_bytes()

    def test_a_refusal_is_read_whole(self, address):
        code, output, _ = curl("--header", "Host: a b", *where(address), url(address))
        assert (code, output) == (0, b"Bad Request: Host is invalid\n")
        code, output, _ = curl("--include", *where(address), url(address, "/" + "x" * 9000))
        assert code == 0
        assert output.startswith(b"HTTP/1.1 414 URI Too Long\r\n")

    def test_an_answer_that_is_cut_is_seen_as_one(self, address):
        code, _, _ = curl(*where(address), url(address, "/cut"))
        assert code in (18, 56), "partial file, or reset"


# -- http.client ------------------------------------------------------------------------------------------------------


def test_http_client_over_ipv6(command):
    if not socket.has_ipv6:
        pytest.skip("Python without IPv6")
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 here")
    process = command(APPLICATION, "-b", "[::1]:0")
    client = process.client()
    client.request("GET", "/environ")
    environ = json.loads(client.getresponse().read())
    client.close()
    assert environ["REMOTE_ADDR"] == "::1"
    # RFC 3875 §4.1.14: in brackets, for SERVER_NAME is a part of a URL (PEP 3333, "URL Reconstruction").
    assert environ["SERVER_NAME"] == "[::1]"


def test_http_client_reads_trailing_answers_of_a_pipeline(site, address):
    with site.connect(address) as sock:
        sock.sendall(b"GET /environ HTTP/1.1\r\nHost: a\r\n\r\n" * 10 + b"GET /stream HTTP/1.0\r\n\r\n")
        received = b"".join(iter(lambda: sock.recv(65536), b""))
    assert received.count(b"HTTP/1.1 200 OK\r\n") == 11
    assert received.endswith(b"line 4999\n")


# -- wrk --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("target", ["/environ", "/stream"])
def test_wrk_sees_no_errors(site, target):
    wrk = shutil.which("wrk")
    if wrk is None:
        pytest.skip("no wrk on PATH")
    done = subprocess.run(
        [wrk, "-t1", "-c20", "-d1s", site.urls[0] + target], capture_output=True, text=True, timeout=WAIT_S
    )
    assert done.returncode == 0
    assert "Socket errors" not in done.stdout
    assert "Non-2xx" not in done.stdout
    assert int(re.search(r"(\d+) requests in", done.stdout)[1]) > 0


# -- clients that behave badly ----------------------------------------------------------------------------------------


def test_clients_that_come_and_go_leave_nothing_behind(site):
    """Connections that say nothing, half a head, half a body, or go away before their answer."""
    beginnings = [
        b"",
        b"GET / HT",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc",
        b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n" * 50,
    ]
    descriptors = f"/proc/{site.process.pid}/fd"
    if not os.path.isdir(descriptors):
        pytest.skip("no /proc")
    before = len(os.listdir(descriptors))

    def come_and_go(number):
        for beginning in beginnings:
            with site.connect(site.urls[number % 2]) as sock:
                sock.sendall(beginning)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(come_and_go, range(40)))
    client = site.client()
    client.request("GET", "/environ")
    assert client.getresponse().read()
    client.close()
    done = threading.Event()
    for _ in range(400):
        if len(os.listdir(descriptors)) <= before:
            done.set()
            break
        done.wait(0.05)
    assert len(os.listdir(descriptors)) <= before


def test_an_http_client_gives_its_requests_to_a_server_that_restarts_in_between(command):
    """keep_alive of a client against a server that has gone: it gets an error, and connects again."""
    first = command(APPLICATION, "-b", "127.0.0.1:0")
    port = int(first.url.rpartition(":")[2])
    client = HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
    client.request("GET", "/environ")
    assert client.getresponse().read()
    assert first.end() == 0
    command(APPLICATION, "-b", f"127.0.0.1:{port}")
    client.close()
    client.request("GET", "/environ")
    assert client.getresponse().status == 200
    client.close()
