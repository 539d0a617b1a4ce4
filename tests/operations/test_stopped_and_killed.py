"""SIGSTOP, SIGCONT, SIGKILL and SIGTERM, to a worker and to a server that is one process, under the hands of clients.

What else becomes of a killed worker is in test_supervisor.py; ends in order, under load, are in test_hand_over.py and
concurrency/test_stopping_with_threads.py.
"""

from __future__ import annotations

import signal
import time

import pytest
import wire
from command import WAIT_S, stands_still
from load import Load

STREAM = """
def app(environ, start_response):
    if environ["PATH_INFO"] == "/stream":
        start_response("200 OK", [])
        return (b"x" * 65536 for _ in range(10000))
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def connect(running):
    return wire.Client(running.address, watched=False, timeout=WAIT_S)


def stop(running, waits, pid):
    running.signal("SIGSTOP", pid)
    waits(lambda: stands_still(pid), "the process to stand still")


@pytest.mark.parametrize("threads", [1, 16])
@pytest.mark.parametrize("workers", [0, 1])
def test_what_comes_while_the_process_stands_still_is_answered_when_it_goes_on(server, waits, workers, threads):
    running = server("--threads", threads, workers=workers, application=STREAM)
    pid = running.workers()[0] if workers else running.process.pid
    kept, partial, body = (connect(running) for _ in range(3))
    assert kept.exchange(wire.request()).status == 200
    partial.send(b"GET / HTTP/1.1\r\n")
    body.send(wire.request(method="POST", fields=[("Content-Length", "6")]) + b"abc")
    for _ in range(3):
        stop(running, waits, pid)
        kept.send(wire.request() * 3)
        new = [connect(running) for _ in range(10)]
        for number, client in enumerate(new):
            client.send(wire.request(method="POST", body=b"%d" % number))
        gone = connect(running)
        gone.send(wire.request())
        gone.reset()
        running.signal("SIGCONT", pid)
        assert [kept.read_response().status for _ in range(3)] == [200] * 3
        for number, client in enumerate(new):
            assert client.read_response().body == b"%d" % number
            client.close()
    partial.send(b"Host: a\r\n\r\n")
    body.send(b"def")
    assert partial.read_response().status == 200
    assert body.read_response().body == b"abcdef"
    for client in (kept, partial, body):
        client.close()


def test_new_connections_go_to_the_others_while_one_worker_stands_still(server, waits):
    running = server("--threads", 4, workers=2)
    with Load(running.address, connections=16) as load:
        load.wait_for(100)
        stopped, other = running.workers()
        stop(running, waits, stopped)
        for _ in range(30):
            with connect(running) as client:
                assert client.exchange(wire.request(fields=[("Connection", "close")])).body == b"%d" % other
        running.signal("SIGCONT", stopped)
        load.wait_for(300)
    assert not load.failures


def test_a_worker_that_is_full_takes_connections_all_the_same_while_the_only_other_one_stands_still(server, waits):
    """It leaves them to one that says that it accepts, but not for long when nobody does."""
    running = server("--threads", 2, "--health-path", "/health", workers=2)
    stopped, _ = running.workers()
    stop(running, waits, stopped)
    inside = [connect(running) for _ in range(2)]
    for client in inside:
        client.send(wire.request("/sleep/5"))
    running.output.wait_for("inside", 2)
    for _ in range(3):  # the first may have come before it turned away
        with connect(running) as client:
            assert client.exchange(wire.request("/health")).body == b"ok\n"
        time.sleep(0.1)
    assert not any(client.has_input(0) for client in inside)
    running.signal("SIGCONT", stopped)
    for client in inside:
        assert client.read_response().status == 200
        client.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_sigterm_to_what_stands_still_ends_it_in_order_when_it_goes_on(server, waits, workers):
    running = server(workers=workers)
    pid = running.process.pid
    stop(running, waits, pid)
    running.signal("SIGTERM", pid)
    running.signal("SIGCONT", pid)
    assert running.wait() == 0


def test_a_worker_that_stands_still_does_not_keep_the_server_from_ending(server, waits):
    running = server("--graceful-timeout", 0.2, workers=2)
    stop(running, waits, running.workers()[0])
    assert running.end() == 0
    assert "HR808" in running.errors.text
    assert "was killed by SIGKILL\n" in running.errors.text, "no guess at who has done it"


@pytest.mark.parametrize("threads", [1, 16])
def test_after_a_kill_nothing_passes_for_whole_and_another_server_starts_at_once(server, tmp_path, threads):
    path = tmp_path / "s"
    (tmp_path / "spool").mkdir()
    options = ["--threads", threads, "--spool-dir", "spool", "-b", f"unix:{path}"]
    first = server(*options, workers=0, binds=2, application=STREAM)
    chunks, upload = connect(first), connect(first)
    chunks.send(wire.request("/stream"))
    chunks.read_head()
    upload.send(wire.request(method="POST", body=b"x" * 2_000_000)[:-1])
    first.end(signal.SIGKILL)
    try:
        rest = chunks.read_until_close()
    except ConnectionResetError:
        rest = b""
    assert not rest.endswith(b"0\r\n\r\n")
    upload.assert_gone()
    assert not list((tmp_path / "spool").iterdir())
    port = first.address[1]
    second = server("-b", f"127.0.0.1:{port}", *options, workers=0, binds=3, application=STREAM)
    for url in (f"http://127.0.0.1:{port}", f"unix:{path}"):
        assert second.get(url=url) == ""
    for client in (chunks, upload):
        client.close()
