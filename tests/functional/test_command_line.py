"""What a `headrace` process does from its start to its end: signals, what is in flight, its log lines, exit codes.

Options and errors of the command line one by one: see unit/test_cli.py.
"""

from __future__ import annotations

import contextlib
import json
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import WAIT_S

APPS = Path(__file__).parent / "apps"
SHOWING = APPS / "showing.py"

WAITING = """
import os, time

def wait_for(name):
    for _ in range(2000):
        if os.path.exists(name):
            return
        time.sleep(0.005)

def application(environ, start_response):
    path = environ["PATH_INFO"]
    start_response("200 OK", [])
    if path == "/call":
        open("entered", "w").close()
        wait_for("go on")
        return [b"called"]
    if path == "/stream":
        return stream()
    if path == "/large":
        return (bytes(1 << 20) for _ in range(32))
    if path == "/read":
        return [read_all_of(environ["wsgi.input"])]
    return [environ["wsgi.input"].read() or b"quick"]

def read_all_of(body):
    open("entered", "w").close()
    try:
        return body.read()
    except Exception as error:
        open("error", "w").write(f"{type(error).__name__}: {error}")
        raise

def stream():
    yield b"first "
    open("entered", "w").close()
    wait_for("go on")
    yield b"last"
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "waiting.py").write_text(WAITING)
    return tmp_path


def read_all(sock):
    return b"".join(iter(lambda: sock.recv(65536), b""))


def idle_connection(process):
    """A connection that has had its answer and waits for nothing: when it is closed, the server is stopping."""
    sock = process.connect()
    sock.sendall(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    received = b""
    while not received.endswith(b"\r\n\r\n"):
        received += sock.recv(65536)
    return sock


# -- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("target", ["/call", "/stream"])
def test_an_answer_in_flight_is_finished_and_the_exit_code_is_0(command, folder, wait_until, target, number):
    process = command("waiting.py", "-b", "127.0.0.1:0", cwd=folder)
    with process.connect() as sock:
        sock.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        wait_until((folder / "entered").exists, "the application's call")
        process.process.send_signal(number)
        (folder / "go on").touch()
        answer = read_all(sock)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"called" if target == "/call" else b"4\r\nlast\r\n0\r\n\r\n")
    assert process.wait() == 0
    assert "Traceback" not in process.errors.text


def test_a_large_answer_to_a_client_that_reads_slowly_is_finished(command, folder):
    process = command("waiting.py", "-b", "127.0.0.1:0", cwd=folder)
    with process.connect() as sock, idle_connection(process) as idle:
        sock.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert sock.recv(15) == b"HTTP/1.1 200 OK"
        process.process.send_signal(signal.SIGTERM)
        assert idle.recv(1) == b"", "a connection without a request is closed at once"
        assert len(read_all(sock)) > 32 << 20
    assert process.wait() == 0


def test_a_body_that_is_on_its_way_is_received_and_answered(command, folder):
    process = command("waiting.py", "-b", "127.0.0.1:0", cwd=folder)
    with process.connect() as sock, idle_connection(process) as idle:
        sock.sendall(b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 8\r\n\r\n")
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        process.process.send_signal(signal.SIGTERM)
        assert idle.recv(1) == b""
        sock.sendall(b"the body")
        answer = read_all(sock)
    assert b"Connection: close\r\n" in answer
    assert answer.endswith(b"the body")
    assert process.wait() == 0


def test_what_does_not_finish_is_cut_off_after_the_graceful_timeout(command, folder):
    process = command("waiting.py", "-b", "127.0.0.1:0", "--graceful-timeout", "0.3", cwd=folder)
    with process.connect() as sock:
        sock.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        assert sock.recv(15) == b"HTTP/1.1 200 OK"
        process.process.send_signal(signal.SIGTERM)
        assert process.wait() == 0


def test_a_second_signal_does_not_wait(command, folder):
    process = command("waiting.py", "-b", "127.0.0.1:0", cwd=folder)
    with process.connect() as sock, idle_connection(process) as idle:
        sock.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        assert sock.recv(15) == b"HTTP/1.1 200 OK"
        process.process.send_signal(signal.SIGTERM)
        assert idle.recv(1) == b"", "the first one has been heard"
        process.process.send_signal(signal.SIGINT)
        assert process.wait() == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_sigquit_cuts_a_call_at_once_and_says_so(command, folder, wait_until, threads):
    process = command("waiting.py", "-b", "unix:app.sock", "--threads", str(threads), cwd=folder)
    with process.connect() as sock:
        sock.sendall(b"GET /call HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until((folder / "entered").exists, "the application's call")
        process.process.send_signal(signal.SIGQUIT)
        with contextlib.suppress(ConnectionResetError):
            answer = read_all(sock)
            assert answer == b"" if threads > 1 else answer.startswith(b"HTTP/1.1 500 ")
        assert process.wait() == 0
    assert "HR106 1 request was cut, for this process was told to stop at once: GET /call" in process.errors.text
    assert "HR301" not in process.errors.text, "the application is not to blame"
    assert not (folder / "app.sock").exists()


@pytest.mark.parametrize("framing", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("bind", ["127.0.0.1:0", "unix:app.sock"])
def test_a_streamed_body_that_drips_is_cut_off_after_the_graceful_timeout(command, folder, wait_until, framing, bind):
    process = command("waiting.py", "-b", bind, "--stream-request-body", "--graceful-timeout", "0.5", cwd=folder)
    with process.connect() as sock:
        sock.sendall(f"POST /read HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n".encode())
        wait_until((folder / "entered").exists, "the call")
        since = time.monotonic()
        process.process.send_signal(signal.SIGTERM)
        assert drip(sock, b"1\r\nx\r\n" if "chunked" in framing else b"x") == b"", "nothing was answered"
        assert process.wait() == 0
        assert 0.4 < time.monotonic() - since < 5, "the rest of the time belongs to the request"
    assert (folder / "error").read_text() == "ClientDisconnected: the server has stopped"
    assert "KeyboardInterrupt" not in process.errors.text, "no second signal was needed"
    assert process.errors.text.endswith("Stopped by SIGTERM\n")


def test_a_streamed_body_that_is_complete_within_the_graceful_timeout_is_answered(command, folder, wait_until):
    process = command("waiting.py", "-b", "127.0.0.1:0", "--stream-request-body", cwd=folder)
    with process.connect() as sock:
        sock.sendall(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n")
        wait_until((folder / "entered").exists, "the call")
        process.process.send_signal(signal.SIGTERM)
        for octet in b"the body":
            assert not select.select([sock], [], [], 0.02)[0], "it was given up"
            sock.sendall(bytes([octet]))
        assert read_all(sock).endswith(b"\r\n\r\nthe body")
        assert process.wait() == 0
    assert not (folder / "error").exists()


def drip(sock, drop):
    """Send the drop again and again until the server has something to say, or closes: what that is."""
    until = time.monotonic() + WAIT_S
    with contextlib.suppress(ConnectionError):
        while not select.select([sock], [], [], 0.02)[0]:
            assert time.monotonic() < until, "it may drip for ever"
            sock.sendall(drop)
        return read_all(sock)
    return b""


def test_nothing_is_left_of_a_unix_socket(command, folder):
    process = command("waiting.py", "-b", "unix:app.sock", cwd=folder)
    assert (folder / "app.sock").is_socket()
    assert process.end() == 0
    assert not (folder / "app.sock").exists()


def test_a_stale_unix_socket_is_taken_over(command, folder):
    process = command("waiting.py", "-b", "unix:app.sock", cwd=folder)
    process.process.kill()
    process.wait()
    assert (folder / "app.sock").is_socket()
    again = command("waiting.py", "-b", "unix:app.sock", cwd=folder)
    with again.connect(f"unix:{folder}/app.sock") as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert read_all(sock).endswith(b"quick")


# -- what is written --------------------------------------------------------------------------------------------------


def exchange(process, *messages):
    with process.connect() as sock:
        for message in messages:
            sock.sendall(message)
        return read_all(sock)


def test_access_log_lines(command):
    process = command(SHOWING, "-b", "127.0.0.1:0", "--access-logfile", "-")
    exchange(process, b'GET /echo?a=%20b HTTP/1.0\r\nUser-Agent: t "1"\r\nReferer: http://r/\xe9\r\n\r\n')
    exchange(process, b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
    exchange(process, b"HEAD /environ HTTP/1.0\r\n\r\n")
    exchange(process, b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\nGET /redirect HTTP/1.0\r\n\r\n")
    exchange(process, b"GET /stream HTTP/1.0\r\n\r\n")
    exchange(process, b"GET /file HTTP/1.0\r\n\r\n")
    exchange(process, b"GET / HTTP/1.1\r\n\r\n")
    exchange(process, b"not http\r\n\r\n")
    assert process.end() == 0
    stream_bytes = sum(len(f"line {number}\n") for number in range(5000))
    time = r"\[\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "
    lines = process.output.text.splitlines()
    assert [line.partition("] ")[2] for line in lines] == [
        r'"GET /echo?a=%20b HTTP/1.0" 200 - "http://r/\xe9" "t \x221\x22"',
        '"POST /echo HTTP/1.1" 200 5 "-" "-"',
        '"HEAD /environ HTTP/1.0" 200 - "-" "-"',
        '"GET /nowhere HTTP/1.1" 404 13 "-" "-"',
        '"GET /redirect HTTP/1.0" 302 - "-" "-"',
        f'"GET /stream HTTP/1.0" 200 {stream_bytes} "-" "-"',
        f'"GET /file HTTP/1.0" 200 {SHOWING.stat().st_size} "-" "-"',
        f'"GET / HTTP/1.1" 400 {len("Bad Request: Host is missing") + 1} "-" "-"',
        f'"not http" 400 {len("Bad Request: malformed request line, or one that does not end in CRLF") + 1} "-" "-"',
    ]
    for line in lines:
        assert re.match(r"127\.0\.0\.1 - - " + time, line)


def test_the_access_log_shows_the_request_as_it_came_whatever_the_application_made_of_environ(command, tmp_path):
    (tmp_path / "changing.py").write_text(
        "def application(environ, start_response):\n"
        "    environ.update(REQUEST_METHOD='PUT', RAW_URI='/changed', PATH_INFO='/x', SERVER_PROTOCOL='X/1')\n"
        "    start_response('200 OK', [])\n"
        "    return [b'x']\n"
    )
    process = command("changing.py", "-b", "127.0.0.1:0", "--access-logfile", "-", cwd=tmp_path)
    exchange(process, b"POST /sent HTTP/1.0\r\n\r\n")
    assert process.end() == 0
    assert '"POST /sent HTTP/1.0" 200 1' in process.output.text


def test_an_answer_that_was_cut_is_in_the_access_log_and_its_traceback_in_the_error_log(command):
    process = command(SHOWING, "-b", "127.0.0.1:0", "--access-logfile", "-")
    with pytest.raises(ConnectionResetError):
        exchange(process, b"GET /cut HTTP/1.0\r\n\r\n")
    assert process.end() == 0
    assert '"GET /cut HTTP/1.0" 200 9 "-" "-"' in process.output.text
    assert "RuntimeError: on purpose, in the middle of a response" in process.errors.text
    assert "the application failed on GET /cut: RuntimeError" in process.errors.text


def test_stdout_is_for_data_and_stderr_for_words(command):
    process = command(SHOWING, "-b", "127.0.0.1:0")
    exchange(process, b"GET /environ HTTP/1.0\r\n\r\n")
    assert process.end() == 0
    assert process.output.text == ""
    assert "Listening at: " in process.errors.text
    assert "Stopped by SIGTERM" in process.errors.text


def test_an_access_log_that_cannot_be_written_does_not_stop_the_server(command):
    process = command(SHOWING, "-b", "127.0.0.1:0", "--access-logfile", "/dev/full")
    for _ in range(3):
        assert b"200 OK" in exchange(process, b"GET /environ HTTP/1.0\r\n\r\n")
    assert process.end() == 0
    assert process.errors.text.count("cannot write the access log") == 1


# -- settings that reach the engine -----------------------------------------------------------------------------------


def environ_of(answer):
    return json.loads(answer.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize(
    ("options", "message", "start"),
    [
        (["--limit-request-line", "64"], b"GET /" + b"x" * 60 + b" HTTP/1.0\r\n\r\n", b"HTTP/1.1 414 "),
        (["--limit-request-fields", "2"], b"GET / HTTP/1.0\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n", b"HTTP/1.1 431 "),
        (["--limit-request-body", "3"], b"PUT / HTTP/1.0\r\nContent-Length: 4\r\n\r\n", b"HTTP/1.1 413 "),
        (["--head-timeout", "0.1"], b"GET / HT", b"HTTP/1.1 408 "),
        (["--body-timeout", "0.1"], b"PUT / HTTP/1.0\r\nContent-Length: 4\r\n\r\nabc", b"HTTP/1.1 408 "),
        (["--keep-alive", "0.1"], b"GET /redirect HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 302 "),
        (["--keep-alive", "0"], b"GET /redirect HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 302 "),
        (["--poller", "poll"], b"GET /redirect HTTP/1.0\r\n\r\n", b"HTTP/1.1 302 "),
        (["--no-date-header", "--no-server-header"], b"GET /redirect HTTP/1.0\r\n\r\n", b"HTTP/1.1 302 Found\r\nLoc"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_settings_reach_the_engine(command, options, message, start):
    process = command(SHOWING, "-b", "127.0.0.1:0", *options)
    answer = exchange(process, message)
    assert answer.startswith(start)
    if "--no-date-header" in options:
        assert b"Date:" not in answer
        assert b"Server:" not in answer


def test_a_body_beyond_the_memory_mark_is_in_the_spool_folder_only_while_it_is_needed(command, tmp_path):
    process = command(SHOWING, "-b", "127.0.0.1:0", "--request-body-memory", "1k", "--spool-dir", tmp_path)
    body = b"b" * 100_000
    message = b"PUT /echo HTTP/1.0\r\nContent-Length: 100000\r\n\r\n" + body
    assert exchange(process, message).endswith(body)
    assert list(tmp_path.iterdir()) == []


def test_the_process_environment_does_not_reach_applications(command, monkeypatch):
    monkeypatch.setenv("HEADRACE_TEST_SECRET", "secret")
    monkeypatch.setenv("HTTP_HOST", "secret")
    environ = environ_of(exchange(command(SHOWING, "-b", "127.0.0.1:0"), b"GET /environ HTTP/1.0\r\n\r\n"))
    assert "secret" not in environ.values()


# -- failures ---------------------------------------------------------------------------------------------------------


def test_a_worker_outlives_everything_that_an_application_raises(command, tmp_path):
    (tmp_path / "raising.py").write_text(
        "import sys\n"
        "def application(environ, start_response):\n"
        "    name = environ['PATH_INFO'][1:]\n"
        "    if name == 'exit':\n"
        "        sys.exit(7)\n"
        "    if name:\n"
        "        raise getattr(__builtins__, name, None) or __builtins__[name]\n"
        "    start_response('200 OK', [])\n"
        "    return [b'alive']\n"
    )
    process = command("raising.py", "-b", "127.0.0.1:0", cwd=tmp_path)
    for name in ("SystemExit", "KeyboardInterrupt", "GeneratorExit", "MemoryError", "ValueError", "exit"):
        assert exchange(process, f"GET /{name} HTTP/1.0\r\n\r\n".encode()).startswith(b"HTTP/1.1 500 "), name
    assert exchange(process, b"GET / HTTP/1.0\r\n\r\n").endswith(b"alive")
    assert process.end() == 0


def test_in_json_a_traceback_is_part_of_its_message(command, tmp_path):
    (tmp_path / "raising.py").write_text("def application(environ, start_response):\n    1 / 0\n")
    process = command("raising.py", "-b", "127.0.0.1:0", "--log-format", "json", cwd=tmp_path)
    assert exchange(process, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 500 ")
    assert process.end() == 0
    messages = [json.loads(line) for line in process.errors.text.splitlines()]
    (failed,) = (message for message in messages if message["code"] == "HR301")
    assert failed["exception"].splitlines()[1].endswith('raising.py", line 2, in application')
    assert failed["exception"].endswith("ZeroDivisionError: division by zero")


def test_an_application_that_needs_what_is_not_installed_is_told_apart_from_a_missing_one(tmp_path):
    (tmp_path / "needs.py").write_text("import hr_not_installed\n")
    for target, words in (("needs", "importing needs failed"), ("absent", "there is no module named 'absent'")):
        done = subprocess.run(
            [sys.executable, "-m", "headrace", target], cwd=tmp_path, capture_output=True, text=True, timeout=20
        )
        assert done.returncode == 3
        assert words in done.stderr
        assert ("hr_not_installed" in done.stderr) == (target == "needs")
        assert done.stdout == ""
