"""An application may fork: the client gets one answer, the parent's connections stay open, the child ends."""

from __future__ import annotations

import pytest
import wire

pytestmark = pytest.mark.slow  # the waits add up

FORKING = """
import multiprocessing, os, subprocess, sys, time

def reap(pid):
    until = time.monotonic() + 5
    while time.monotonic() < until:
        if os.waitpid(pid, os.WNOHANG) != (0, 0):
            return b"ended"
        time.sleep(0.002)
    os.kill(pid, 9)
    return b"still there"

def in_a_generator():
    yield b"."
    pid = os.fork()
    yield reap(pid) if pid else b"child"

def application(environ, start_response):
    kind = environ["PATH_INFO"][1:].replace("-", " ")
    if kind == "multiprocessing":
        process = multiprocessing.get_context("fork").Process(target=time.monotonic)
        process.start()
        process.join(5)
        until = time.monotonic() + 5
        # Another thread's start() may have waited for this child, and be about to say with what it ended.
        while process.exitcode is None and time.monotonic() < until:
            time.sleep(0.002)
        answer = b"ended" if process.exitcode == 0 else repr(process.exitcode).encode()
    elif kind == "subprocess":
        subprocess.Popen(["sleep", "3"], close_fds=False)
        answer = b"ended"
    elif kind == "generator":
        start_response("200 OK", [])
        return in_a_generator()
    elif kind:
        pid = os.fork()
        if pid == 0:
            if kind == "exit":
                sys.exit(3)
            if kind == "raise":
                raise ValueError("in the child")
            if kind == "os exit":
                os._exit(4)
            if kind == "thread":
                import threading
                threading.Thread(target=time.sleep, args=(0.05,)).start()
            if kind == "several blocks":
                start_response("200 OK", [])
                return [b"child"] * 3
            if kind == "a large block":
                start_response("200 OK", [])
                return [b"child" * 1000000]
            if kind == "write":
                start_response("200 OK", [])(b"child")
                return []
            if kind == "early hints":
                environ["wsgi.early_hints"]([("Link", "</child>")])
            start_response("200 OK", [])
            return [b"child"]
        answer = reap(pid)
    else:
        answer = b"hello"
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]
"""

KINDS = [
    "return",
    "exit",
    "raise",
    "os exit",
    "several blocks",
    "a large block",
    "write",
    "early hints",
    "thread",
    "multiprocessing",
    "generator",
]


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_a_child_ends_and_disturbs_nobody(apart, client_of, threads, kind):
    process = apart(FORKING, "--threads", threads)
    others = [client_of(process) for _ in range(5)]
    for other in others:
        other.exchange(wire.request())
    client = client_of(process)
    client.send(wire.request("/" + kind.replace(" ", "-"), fields=[("Connection", "close")]))
    assert client.read_response().body.lstrip(b".") == b"ended"
    client.assert_closed()  # nothing behind the one answer
    with client_of(process) as again:
        assert again.exchange(wire.request("/" + kind.replace(" ", "-"))).body.lstrip(b".") == b"ended"
        for other in [*others, again]:
            assert other.exchange(wire.request()).body == b"hello"
    assert process.end() == 0


@pytest.mark.parametrize("threads", [1, 4])
def test_a_program_that_the_application_starts_keeps_no_connection_open(apart, client_of, threads):
    process = apart(FORKING, "--threads", threads)
    client = client_of(process)
    client.exchange(wire.request("/subprocess"))
    client.send(wire.request(fields=[("Connection", "close")]))
    client.read_response()
    client.assert_closed(1)
    assert process.end() == 0


@pytest.mark.parametrize("threads", [1, 4])
def test_children_of_several_calls_at_once_end(apart, client_of, threads):
    process = apart(FORKING, "--threads", threads)
    clients = [client_of(process) for _ in range(12)]
    for number, client in enumerate(clients):
        client.send(wire.request("/return") if number % 2 else wire.request("/multiprocessing"))
    for client in clients:
        assert client.read_response().body == b"ended"
    assert process.end() == 0
