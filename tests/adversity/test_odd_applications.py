"""Applications that do to themselves, or to what they were given, what nobody should: the next request is answered, and
after many of them the process has as many descriptors, threads and objects as before.

One server process for all of them, with 1 thread and with 16.  What comes of an error in an answer is in
pep3333/test_misuse_and_the_next_request.py and pep3333/test_error_handling.py.
"""

from __future__ import annotations

import json
import signal
import sys

import pytest
import wire
from command import WAIT_S, Command

SOURCE = '''
import _thread, gc, io, json, logging, os, socket, sys, tempfile, threading

from headrace.engine import debug

ODD = {}
RELEASED = threading.Event()


def odd(function):
    ODD[function.__name__] = function
    return function


def app(environ, start_response):
    name = environ["PATH_INFO"].removeprefix("/")
    return (ODD.get(name) or PLAIN[name])(environ, start_response)


# -- what the test asks --

def fine(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def stats(environ, start_response):
    gc.collect()
    found = {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "objects": debug.object_counts(),
        "blocks": sys.getallocatedblocks(),
    }
    start_response("200 OK", [])
    return [json.dumps(found).encode()]


def release(environ, start_response):
    RELEASED.set()
    start_response("204 No Content", [])
    return []


PLAIN = {"fine": fine, "stats": stats, "release": release}


def ok(start_response, body=b"done"):
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


# -- threads --

@odd
def leaves_a_thread_with_all_that_it_was_given(environ, start_response):
    """... and that uses it when the request is long over."""
    def later():
        RELEASED.wait()
        for use in (environ["wsgi.input"].read, lambda: start_response("200 OK", []), lambda: write(b"late"),
                    lambda: environ["wsgi.early_hints"]([("Link", "</a>")])):
            try:
                use()
            except Exception:
                continue

    write = start_response("200 OK", [("Content-Length", "4")])
    threading.Thread(target=later, daemon=True).start()
    return [b"done"]


@odd
def reads_its_input_in_two_threads(environ, start_response):
    threads = [threading.Thread(target=environ["wsgi.input"].read, args=(1000,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ok(start_response)


@odd
def exits_its_thread(environ, start_response):
    _thread.exit()


@odd
def raises_in_a_finalizer(environ, start_response):
    class Heavy:
        def __del__(self):
            raise SystemExit(3)

    environ["heavy"] = Heavy()
    return ok(start_response)


@odd
def ties_a_knot(environ, start_response):
    environ["environ"] = environ
    environ["start_response"] = start_response
    blocks = ok(start_response)
    environ["blocks"] = blocks
    return blocks


@odd
def sets_a_time_limit_for_sockets(environ, start_response):
    socket.setdefaulttimeout(0.001)
    return ok(start_response)


@odd
def silences_all_logs(environ, start_response):
    logging.disable(logging.CRITICAL)
    try:
        raise LookupError("on purpose")
    finally:
        logging.disable(logging.NOTSET)


# -- environ --

@odd
def empties_environ(environ, start_response):
    environ.clear()
    return ok(start_response)


@odd
def deletes_all_but_the_method(environ, start_response):
    for key in [key for key in environ if key != "REQUEST_METHOD"]:
        del environ[key]
    gc.collect()
    raise LookupError("on purpose")


@odd
def makes_all_of_environ_none(environ, start_response):
    for key in environ:
        environ[key] = None
    return ok(start_response)


@odd
def fills_environ(environ, start_response):
    environ.update({f"HTTP_X_{number}": "x" * 100 for number in range(10_000)})
    return ok(start_response)


@odd
def puts_keys_that_are_no_text(environ, start_response):
    environ.update({1: 2, None: None, b"HTTP_HOST": b"x", ("a",): {}})
    return ok(start_response)


# -- input and errors --

@odd
def closes_its_input(environ, start_response):
    environ["wsgi.input"].close()
    return ok(start_response)


@odd
def closes_its_input_half_read_and_reads_on(environ, start_response):
    environ["wsgi.input"].read(2)
    environ["wsgi.input"].close()
    environ["wsgi.input"].read()


@odd
def closes_its_errors_and_fails(environ, start_response):
    try:
        environ["wsgi.errors"].close()
    except Exception:
        pass
    raise LookupError("on purpose")


@odd
def keeps_its_input_for_the_next(environ, start_response, kept=[]):
    kept[:] = [environ["wsgi.input"]]
    return ok(start_response)


# -- what it returns --

@odd
def returns_itself(environ, start_response):
    start_response("200 OK", [])
    return app


@odd
def returns_environ(environ, start_response):
    start_response("200 OK", [])
    return environ


@odd
def returns_start_response(environ, start_response):
    start_response("200 OK", [])
    return start_response


@odd
def returns_its_errors(environ, start_response):
    start_response("200 OK", [])
    return environ["wsgi.errors"]


@odd
def returns_its_input(environ, start_response):
    start_response("200 OK", [])
    return environ["wsgi.input"]


@odd
def returns_its_input_as_a_file(environ, start_response):
    start_response("200 OK", [])
    return environ["wsgi.file_wrapper"](environ["wsgi.input"])


@odd
def returns_what_yields_itself(environ, start_response):
    class Self:
        def __iter__(self):
            return self

        def __next__(self):
            return self

    start_response("200 OK", [])
    return Self()


@odd
def returns_a_list_that_contains_itself(environ, start_response):
    start_response("200 OK", [])
    blocks = [b"some"]
    blocks.append(blocks)
    return blocks


@odd
def calls_the_server_from_its_iterable(environ, start_response):
    start_response("200 OK", [])
    yield b"some"
    start_response("200 OK", [])(b"more")
    yield from app(environ, start_response)


@odd
def changes_its_list_while_it_is_sent(environ, start_response):
    class Blocks(list):
        def __iter__(self):
            for number in range(5):
                self.clear()
                yield b"x" * 10

    start_response("200 OK", [])
    return Blocks([b"a", b"b"])


@odd
def returns_a_closed_file(environ, start_response):
    start_response("200 OK", [])
    with tempfile.TemporaryFile() as file:
        pass
    return environ["wsgi.file_wrapper"](file)


@odd
def returns_a_file_that_cannot_be_read(environ, start_response):
    class Unreadable:
        def __init__(self): self.fd = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
        def fileno(self): return self.fd
        def read(self, size=-1): return os.read(self.fd, 10)
        def close(self): os.close(self.fd)

    start_response("200 OK", [])
    return environ["wsgi.file_wrapper"](Unreadable())


@odd
def returns_a_folder_as_a_file(environ, start_response):
    class Folder:
        def __init__(self): self.fd = os.open("/", os.O_RDONLY | os.O_CLOEXEC)
        def fileno(self): return self.fd
        def read(self, size=-1): return os.read(self.fd, 10)
        def close(self): os.close(self.fd)

    start_response("200 OK", [])
    return environ["wsgi.file_wrapper"](Folder())


@odd
def deletes_the_file_that_is_sent(environ, start_response):
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(b"x" * 100_000)
    opened = open(file.name, "rb")
    os.unlink(file.name)
    start_response("200 OK", [])
    return environ["wsgi.file_wrapper"](opened)
'''

ODDITIES = [line.split()[1].partition("(")[0] for line in SOURCE.split("@odd\n")[1:]]
THREADS_MAX = 16
ROUND = 40


@pytest.fixture(scope="module", params=[1, THREADS_MAX])
def odd(request, tmp_path_factory):
    if sys.platform != "linux":
        pytest.skip("asks procfs")
    folder = tmp_path_factory.mktemp("odd")
    (folder / "odd.py").write_text(SOURCE)
    arguments = ["odd:app", "-b", "127.0.0.1:0", "--threads", request.param, "--request-body-memory", "1k"]
    process = Command(*arguments, cwd=folder, program=("-B", "-m", "headrace"))
    yield process
    assert process.end() == 0


def connect(process):
    host, _, port = process.url.removeprefix("http://").rpartition(":")
    return wire.Client((host, int(port)), watched=False, timeout=WAIT_S)


def stats(process):
    with connect(process) as client:
        return json.loads(client.exchange(wire.request("/stats")).body)


def ask(process, name, times):
    """On one connection as long as it lasts; another request stands behind each, with its own answer or none."""
    client = connect(process)
    for number in range(times):
        body = b"x" * (0, 5, 5000)[number % 3]
        client.send(wire.request(f"/{name}", method="POST", body=body), may_break=True)
        try:
            response = client.read_final_response("POST")
            assert response.status in (200, 500)
            client.send(wire.request("/fine", method="POST", body=b"%d" % number), may_break=True)
            assert client.read_response("POST").body == b"%d" % number
        except (wire.WireError, ConnectionResetError):  # cut, or closed with or behind its answer
            client.close()
            client = connect(process)
    client.close()


@pytest.mark.parametrize("name", ODDITIES)
def test_takes_nothing_from_others_and_leaves_nothing_behind(odd, name, has_interpreter_lock):
    ask(odd, name, 5)
    assert is_as_before_after_a_round(odd, name)
    if has_interpreter_lock:
        assert grows_less_than_a_block_for_each(odd, name)
    with connect(odd) as client:
        assert client.exchange(wire.request("/fine", method="POST", body=b"x" * 9000)).body == b"x" * 9000


def is_as_before_after_a_round(process, name):
    """After one of a few: a thread of the server's own that starts when it is first needed may come in one of them."""
    for _ in range(3):
        process.get("/release")
        before = stats(process)
        ask(process, name, ROUND)
        process.get("/release")
        try:
            wire.wait_until(lambda before=before: not left_behind(before, stats(process)), "", WAIT_S / 4)
            return True
        except AssertionError:
            print(name, "has left behind:", left_behind(before, stats(process)))
    return False


def left_behind(before, now):
    """What there is more of; of objects, each thread that has served keeps one of each kind for its next request."""
    more = {what: now[what] - before[what] for what in ("descriptors", "threads") if now[what] > before[what]}
    for kind, count in now["objects"].items():
        if count > before["objects"][kind] + THREADS_MAX:
            more[kind] = count - before["objects"][kind]
    return more


def grows_less_than_a_block_for_each(process, name):
    """In one of a few rounds: what is kept for later (lines of source for tracebacks, say) is there some time."""
    for _ in range(5):
        before = stats(process)["blocks"]
        ask(process, name, ROUND)
        process.get("/release")
        if stats(process)["blocks"] - before < ROUND:
            return True
    return False


@pytest.mark.parametrize("threads", [1, 16])
def test_daemon_threads_that_never_end_do_not_keep_the_server_from_ending(command, tmp_path, threads):
    (tmp_path / "leaks.py").write_text(
        "import threading\n"
        "def app(environ, start_response):\n"
        "    threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "    start_response('200 OK', [])\n"
        "    return [b'done']\n"
    )
    process = command("leaks:app", "-b", "127.0.0.1:0", "--threads", threads, cwd=tmp_path)
    for _ in range(50):
        assert process.get() == "done"
    assert process.end(signal.SIGTERM) == 0
