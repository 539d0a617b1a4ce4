"""How a forked child ends that comes back from its call, and what one does not keep that stays."""

from __future__ import annotations

import os
import select
import signal
import socket

import pytest
import wire

pytestmark = pytest.mark.slow  # the waits add up

any_threads = pytest.mark.parametrize("threads", [1, 4, 16])

FORKING = """
import os, signal, sys, threading, time

children = []
asked = 0

def come_back(how):
    if how == "none":
        sys.stdout = None
    elif how == "closed":
        sys.stdout.close()
    elif how == "pipe":
        reader, writer = os.pipe()
        os.close(reader)
        sys.stdout = open(writer, "w")
        sys.stdout.write("nobody reads this")
    elif how == "exit":
        sys.exit(3)
    elif how == "raise":
        raise ValueError("in the child")

def fork(how):
    pid = os.fork()
    if pid:
        children.append(pid)
        print("forked", flush=True)
        return pid
    signal.alarm(8)  # whatever happens, it does not outlive the test for long
    if how.startswith("/"):
        stay(how)
    come_back(how)
    return 0

def stay(fifo):
    for number in (0, 1, 2):
        os.dup2(os.open(os.devnull, os.O_RDWR), number)
    os.write(os.open(fifo, os.O_WRONLY), b"%d" % os.getpid())
    while True:
        time.sleep(0.02)  # Python acts on a signal that came just before a sleep when that is over

class Unending:
    def __init__(self, how):
        self.how = how

    def __iter__(self):
        return self

    def __next__(self):
        global asked
        asked += 1
        return b"x" * 65536

    def close(self):
        fork(self.how)

def statuses():
    until = time.monotonic() + 3
    while children and time.monotonic() < until:
        pid, status = os.waitpid(children[0], os.WNOHANG)
        if pid:
            del children[0]
            yield str(os.waitstatus_to_exitcode(status))
        else:
            time.sleep(0.002)
    for pid in children:
        os.kill(pid, 9)
        yield "still there"

def application(environ, start_response):
    answer = str(os.getpid())
    how = environ["QUERY_STRING"]
    if environ["PATH_INFO"] == "/close":
        start_response("200 OK", [])
        return Unending(how)
    if environ["PATH_INFO"] == "/call":
        if not fork(how):
            answer = "the child's"
    elif environ["PATH_INFO"] == "/generator":
        start_response("200 OK", [("Content-Length", str(len(answer)))])
        return (answer.encode() for _ in range(1) if fork(how) or True)
    elif environ["PATH_INFO"] == "/asked":
        answer = str(asked)
    elif environ["PATH_INFO"] == "/statuses":
        answer = " ".join(statuses())
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer.encode()]
"""

#: How the child comes back, and what it ends with.
ENDS = {"none": "0", "closed": "0", "pipe": "0", "exit": "3", "raise": "1"}


def assert_only_the_parent_answers(process, client_of, known):
    pid = str(process.process.pid).encode()
    for _ in range(10):
        with client_of(process, timeout=2) as fresh:
            assert fresh.exchange(wire.request()).body == pid
        for client in known:
            assert client.exchange(wire.request()).body == pid


def statuses(process, client_of):
    return client_of(process).exchange(wire.request("/statuses")).body.decode()


@any_threads
@pytest.mark.parametrize("where", ["call", "generator"])
def test_a_child_that_comes_back_from_a_call_ends_whatever_it_did_to_its_streams(apart, client_of, threads, where):
    process = apart(FORKING, "--threads", threads)
    known = [client_of(process) for _ in range(3)]
    for client in known:
        client.exchange(wire.request())
    for how, status in ENDS.items():
        answer = client_of(process).exchange(wire.request(f"/{where}?{how}"))
        assert answer.body == str(process.process.pid).encode()
        assert_only_the_parent_answers(process, client_of, known)
        assert statuses(process, client_of) == status, how
    assert process.end() == 0


@any_threads
def test_a_child_forked_in_close_after_the_client_reset_ends_as_well(apart, client_of, threads):
    process = apart(FORKING, "--threads", threads)
    known = [client_of(process) for _ in range(3)]
    for client in known:
        client.exchange(wire.request())
    for number, (how, status) in enumerate({"": "0", **ENDS}.items(), 1):
        with client_of(process, receive_buffer_bytes=4096) as client:
            client.send(wire.request(f"/close?{how}"))
            client.read_head()
            wire.wait_until_still(lambda: known[0].exchange(wire.request("/asked")).body, "what is asked for")
            client.reset()
        process.output.wait_for("forked", number)
        assert_only_the_parent_answers(process, client_of, known)
        assert statuses(process, client_of) == status, how
    assert process.end() == 0


@pytest.fixture
def child_that_stays(tmp_path, apart, client_of):
    """start(threads): the server, the pid of a child that stays inside its call, and what tells that it has ended."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    pids = []

    def read():
        assert select.select([reader], [], [], wire.PATIENCE_S)[0], "nothing came from the child"
        return os.read(reader, 100)

    def start(threads):
        process = apart(FORKING, "--threads", threads)
        client_of(process).exchange(wire.request(f"/call?{fifo}"))
        pids.append(int(read()))
        return process, pids[0], lambda: read() == b""

    yield start
    for pid in pids:
        if not select.select([reader], [], [], 0)[0]:
            os.kill(pid, signal.SIGKILL)
    os.close(reader)


@any_threads
def test_a_child_that_stays_does_not_keep_the_port_of_a_server_that_has_ended(child_that_stays, client_of, threads):
    process, pid, has_ended = child_that_stays(threads)
    address = client_of(process).sock.getpeername()
    assert process.end() == 0
    with socket.socket() as late, pytest.raises(ConnectionRefusedError):
        late.connect(address)
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(address)
        again.listen()
    os.kill(pid, signal.SIGTERM)
    assert has_ended()


@any_threads
def test_sigterm_ends_a_child_that_stays_and_not_the_server(child_that_stays, client_of, threads):
    process, pid, has_ended = child_that_stays(threads)
    os.kill(pid, signal.SIGTERM)
    assert has_ended()
    assert statuses(process, client_of) == "-15"
    assert_only_the_parent_answers(process, client_of, [])
    assert process.end() == 0
