"""Several that accept on one listening socket: threads, forked processes, calls within calls.  Nobody waits for ever.

Whoever is frozen in accept(2) with the interpreter lock answers nobody, and no thread of his process goes on: so what
could freeze runs in a process of its own, which can be ended from here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import wire

from headrace.dropin.serving import duplicate
from headrace.simple_server import make_server

PROGRAM = """
import os, signal, socket, sys, threading
from headrace.simple_server import WSGIRequestHandler, make_server

class Quiet(WSGIRequestHandler):
    def log_message(self, *arguments):
        pass

def path(environ, start_response):
    start_response("200 OK", [])
    return [environ["PATH_INFO"].encode()]

def ask(number):
    with socket.create_connection(server.server_address) as client:
        client.sendall(b"GET /%d HTTP/1.0\\r\\n\\r\\n" % number)
        assert client.makefile("rb").read().endswith(b"/%d" % number)

def in_thread(function):
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread

server = make_server("127.0.0.1", 0, path, handler_class=Quiet)
"""


def goes_through(program):
    text = f"{PROGRAM}{program}\nassert server.engine == 'native', server.engine_reason\nprint('went through')\n"
    ended = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=4 * wire.PATIENCE_S, check=False
    )
    return ended.stdout == "went through\n" or ended.stderr


def test_a_duplicate_does_not_make_a_listener_block_again():
    """A loop that accepts just then would be frozen."""
    with make_server("127.0.0.1", 0, None) as server:
        os.set_blocking(server.fileno(), False)
        with duplicate(server.socket):
            assert not os.get_blocking(server.fileno())


def test_serve_forever_goes_on_when_another_one_of_the_same_server_ends():
    assert goes_through("""
serving = [in_thread(server.serve_forever) for _ in range(2)]
while len(vars(server).get("_headrace_runs", [])) < 2:  # one that came after shutdown() would go on
    pass
for number in range(4):
    ask(number)
server.shutdown()
for thread in serving:
    thread.join()
serving = in_thread(server.serve_forever)
ask(4)
server.shutdown()
serving.join()
""") is True


def test_serve_forever_goes_on_after_a_handle_request_of_another_thread():
    assert goes_through("""
serving = in_thread(server.serve_forever)
ask(0)
server.timeout = 0.01
for number in range(8):
    other = in_thread(server.handle_request)
    ask(number)
    ask(number)
    other.join()
ask(9)
server.shutdown()
serving.join()
""") is True


def test_serve_forever_goes_on_after_a_handle_request_of_its_own_application():
    assert goes_through("""
def nests(environ, start_response):
    if environ["PATH_INFO"] == "/1":
        with socket.create_connection(server.server_address) as inner:
            inner.sendall(b"GET /2 HTTP/1.0\\r\\n\\r\\n")
            server.handle_request()
            assert inner.makefile("rb").read().endswith(b"/2")
    return path(environ, start_response)

server.set_app(nests)
serving = in_thread(server.serve_forever)
for number in (1, 1, 3):
    ask(number)
server.shutdown()
serving.join()
with socket.create_connection(server.server_address) as outer:
    outer.sendall(b"GET /1 HTTP/1.0\\r\\n\\r\\n")
    server.handle_request()
    assert outer.makefile("rb").read().endswith(b"/1")
""") is True


def test_a_process_goes_on_when_its_sibling_has_ended():
    assert goes_through("""
children = []
for number in range(2):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        serving = in_thread(server.serve_forever)
        while server.engine is None:
            pass
        os.read(reading, 1)
        server.shutdown()
        os._exit(0)
    children.append((child, writing))
for number in range(8):
    ask(number)
for child, writing in children:
    os.write(writing, b".")
    os.waitpid(child, 0)
    if child == children[0][0]:
        for number in range(3):
            ask(number)
server.engine = "native"
""") is True


def test_a_listener_that_the_program_makes_blocking_freezes_nothing():
    assert goes_through("""
serving = in_thread(server.serve_forever)
for number in range(3):
    ask(number)
    server.socket.setblocking(True)
    ask(number)
server.shutdown()
serving.join()
""") is True


def test_ctrl_c_is_heard_on_a_listener_that_the_program_makes_blocking():
    assert goes_through("""
def interrupt():
    ask(1)
    server.socket.setblocking(True)
    ask(2)
    os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
in_thread(interrupt)
try:
    server.serve_forever()
except KeyboardInterrupt:
    pass
else:
    raise AssertionError("not interrupted")
""") is True


def test_shutdown_and_server_close_end_every_serve_forever_of_a_server():
    for end in ("shutdown", "server_close"):
        server = make_server("127.0.0.1", 0, lambda _environ, _start_response: [])
        serving = [threading.Thread(target=server.serve_forever, daemon=True) for _ in range(3)]
        for thread in serving:
            thread.start()
        while len(vars(server).get("_headrace_runs", [])) < 3:
            pass
        getattr(server, end)()
        for thread in serving:
            thread.join(wire.PATIENCE_S)
            assert not thread.is_alive()
        server.server_close()


def test_a_process_that_has_forked_leaves_the_listener_as_it_may_be_used():
    with make_server("127.0.0.1", 0, lambda _environ, _start_response: []) as server:
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        wire.wait_until(lambda: not os.get_blocking(server.fileno()), "the loop")
        server.shutdown()
        thread.join(wire.PATIENCE_S)
        assert not os.get_blocking(server.fileno())
