"""--timeout: a request that takes too long is shown and ended; what waits for its client, or progresses, is not."""

from __future__ import annotations

import itertools
import logging
import re
import signal
import threading
import time
import traceback
from collections import Counter
from pathlib import Path

import pytest
import wire

from headrace.errors import RequestTimeout

SHORT_S = 0.2
#: For a lock or a processor that others have.
LONG_S = 3 * SHORT_S


def compute_until(is_enough, seconds=4 * wire.PATIENCE_S):
    """Runs lines of Python, which an exception can be raised between."""
    until = time.monotonic() + seconds
    while not is_enough() and time.monotonic() < until:
        time.sleep(0.001)


def never():
    return False


@pytest.fixture(params=[1, 4])
def threads(request):
    return request.param


def answers(body=b"fine"):
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/slow":
            compute_until(never)
        start_response("200 OK", [])
        return [body]

    return application


class TestARequestThatTakesTooLong:
    def test_is_answered_with_500_and_the_next_one_is_served(self, serve, threads):
        running = serve(answers(), timeout=SHORT_S, threads=threads)
        assert running.exchange(wire.request("/slow")).status == 500
        assert running.exchange(wire.request("/")).body == b"fine"

    def test_is_shown_in_the_log_with_its_stack(self, serve, caplog):
        running = serve(answers(), timeout=SHORT_S)
        with caplog.at_level(logging.ERROR, "headrace"):
            running.exchange(wire.request("/slow?password=secret", method="PUT"), method="PUT")
        (told,) = [message for message in caplog.messages if "--timeout" in message]
        assert told.startswith("HR408 PUT /slow has taken 0.")
        assert f"more than --timeout ({SHORT_S:g} s); RequestTimeout is raised in it at its next line of " in told
        assert "s of CPU time in the last" in told
        assert "in compute_until" in told
        assert "password" not in told
        assert "headrace/wsgi.py" not in told

    def test_is_not_ended_by_except_exception_and_cleans_up(self, serve):
        seen = []

        def application(environ, start_response):
            try:
                compute_until(never)
            except Exception as error:  # it must not get here
                seen.append(error)
            finally:
                seen.append("cleaned up")
            return []

        running = serve(application, timeout=SHORT_S)
        assert running.exchange(wire.request()).status == 500
        assert seen == ["cleaned up"]

    def test_is_told_again_when_it_carries_on(self, serve):
        seen = []

        def application(environ, start_response):
            while len(seen) < 3:
                try:
                    compute_until(never)
                except RequestTimeout:
                    seen.append(time.monotonic())
            start_response("200 OK", [])
            return [b"at last"]

        running = serve(application, timeout=SHORT_S)
        assert running.exchange(wire.request()).body == b"at last"
        assert min(later - sooner for sooner, later in itertools.pairwise(seen)) >= SHORT_S * 0.9

    def test_ends_when_it_comes_back_from_c(self, serve, threads):
        """Nothing interrupts what does not run Python; the log is told meanwhile."""
        running = serve(lambda environ, start_response: time.sleep(LONG_S), timeout=SHORT_S, threads=threads)
        since = time.monotonic()
        assert running.exchange(wire.request()).status == 500
        assert time.monotonic() - since >= LONG_S

    def test_that_stays_in_c_is_told_with_growing_pauses_and_its_stack_once(self, serve, caplog):
        running = serve(lambda environ, start_response: time.sleep(10 * SHORT_S), timeout=SHORT_S)
        assert running.exchange(wire.request()).status == 500
        said = [message for message in caplog.messages if message.startswith("HR408")]
        assert 2 <= len(said) <= 4  # after 1, 2, 4 and 8 times that
        assert "; its stack:\n" in said[0]
        assert all(message.endswith("; its stack is still the one that was shown") for message in said[1:])

    def test_asks_for_another_worker_once(self, serve):
        asked = []
        running = serve(answers(), timeout=SHORT_S)
        running.server._worker.on_timeout = lambda: asked.append(threading.current_thread().name)
        running.exchange(wire.request("/slow"))
        wire.wait_until(lambda: asked == ["headrace-watchdog"], "another worker is asked for")

    def test_survives_a_callback_that_fails(self, serve, caplog):
        running = serve(answers(), timeout=SHORT_S)
        running.server._worker.on_timeout = lambda: 1 / 0
        for _ in range(2):
            assert running.exchange(wire.request("/slow")).status == 500
        wire.wait_until(lambda: caplog.messages.count("HR409 on_timeout failed") == 2, "both failures are in the log")

    def test_is_cut_where_its_answer_has_begun(self, serve):
        def application(environ, start_response):
            start_response("200 OK", [])
            yield b"begun"
            compute_until(never)

        running = serve(application, timeout=SHORT_S)
        with running.connect() as client:
            client.send(wire.request())
            assert client.read_until_close().endswith(b"\r\n\r\n5\r\nbegun\r\n")

    def test_in_close_is_ended_there(self, serve):
        closed = []

        class Body:
            def __iter__(self):
                return iter([b"body"])

            def close(self):
                try:
                    compute_until(never)
                finally:
                    closed.append(True)

        def application(environ, start_response):
            start_response("200 OK", [("Content-Length", "4")])
            return Body()

        running = serve(application, timeout=SHORT_S)
        with running.connect() as client:
            assert client.exchange(wire.request()).body == b"body"
        wire.wait_until(lambda: closed == [True], "close() has ended")


    # Where it hits a callback of the garbage collector, Python drops it, and it comes again.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_that_starts_threads_hangs_none_of_them(self, serve, threads):
        """Before CPython 3.12 an exception for a thread may hit one that it has just started, and waits for."""

        def application(environ, start_response):
            while environ["PATH_INFO"] == "/slow":
                thread = threading.Thread(target=int)
                thread.start()
                thread.join()
            start_response("200 OK", [])
            return [b"fine"]

        running = serve(application, timeout=SHORT_S, threads=threads)
        for _ in range(3):
            assert running.exchange(wire.request("/slow")).status == 500
        assert running.exchange(wire.request("/")).body == b"fine"

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
    def test_in_c_does_not_swallow_a_signal(self, command, tmp_path, number):
        """The signal ends the wait; its handler must not be where the exception arrives."""
        (tmp_path / "sleeps.py").write_text(
            "import time\n"
            "def app(environ, start_response):\n"
            "    time.sleep(30)\n"
        )  # fmt: skip
        options = ["--threads", 1, "--timeout", SHORT_S, "--graceful-timeout", 2]
        process = command("sleeps:app", "-b", "127.0.0.1:0", *options, cwd=tmp_path)
        with process.connect() as sock:
            sock.sendall(wire.request())
            process.errors.wait_for("HR408 GET / .*RequestTimeout is raised")
            assert process.end(number) == 0
            assert sock.recv(4096).startswith(b"HTTP/1.1 500 ")
        assert f"HR104 Stopped by {number.name}" in process.errors.text


class TestOthers:
    def test_never_meet_an_exception_that_was_meant_for_the_one_before(self, serve, threads, monkeypatch, caplog):
        """Calls that last as long as the limit, under load: the exception comes at the very end, or after it.

        The watchdog dawdles between seeing that the time is up and interrupting the call, which often ends meanwhile.
        """
        extract_stack = traceback.extract_stack

        def dawdle(*arguments, **named):
            time.sleep(0.003)
            return extract_stack(*arguments, **named)

        monkeypatch.setattr(traceback, "extract_stack", dawdle)
        limit_s = 0.02

        def application(environ, start_response):
            if environ["PATH_INFO"] == "/edge":
                began = time.monotonic()
                compute_until(lambda: time.monotonic() > began + limit_s - 0.0005)
            start_response("200 OK", [])
            return [b"fine"]

        running = serve(application, timeout=limit_s, threads=threads, referee=False)
        served = []

        def ask(target):
            for _ in range(150):
                with running.connect() as client:
                    client.send(wire.request(target) + wire.request("/quick") + wire.request("/quick"), may_break=True)
                    for _ in range(3):
                        status = client.read_response().status
                        served.append(status)
                        if status != 200:
                            break

        with caplog.at_level(logging.ERROR, "headrace"):
            clients = [threading.Thread(target=ask, args=(target,)) for target in ("/edge", "/edge", "/quick")]
            for thread in clients:
                thread.start()
            for thread in clients:
                thread.join()
            running.stop()
        assert len(served) >= 450
        raised = told(caplog, r"GET (\S+) has taken .* RequestTimeout is raised")
        failed = told(caplog, r"the application failed on GET (\S+): RequestTimeout")
        assert failed - raised == Counter(), "a request failed that had not been too long"

    def test_that_only_wait_for_a_thread_are_served(self, serve):
        running = serve(answers(), timeout=2 * SHORT_S, threads=1)
        with running.connect() as slow, running.connect() as quick:
            slow.send(wire.request("/slow"))
            wire.wait_until(lambda: running.calls == 1, "the slow call is inside")
            quick.send(wire.request("/"))
            assert slow.read_response().status == 500
            assert quick.read_response().body == b"fine"


class TestDoesNotCount:
    def test_the_wait_for_a_body_that_is_streamed(self, serve, threads):
        def application(environ, start_response):
            body = environ["wsgi.input"].read()
            start_response("200 OK", [])
            return [body]

        running = serve(application, timeout=SHORT_S, threads=threads, stream_request_body=True)
        with running.connect() as client:
            client.send(wire.request(fields=[("Content-Length", "8")]) + b"half")
            wire.wait_until(lambda: running.calls == 1, "the call is inside")
            time.sleep(LONG_S)
            client.send(b"half")
            assert client.read_response().body == b"halfhalf"

    def test_the_wait_for_a_client_that_reads_late(self, serve, threads):
        size, count = 65536, 200

        def application(environ, start_response):
            write = start_response("200 OK", [("Content-Length", str(size * count))])
            for _ in range(count):
                write(b"x" * size)
            return []

        running = serve(application, timeout=SHORT_S, threads=threads)
        with running.connect() as client:
            client.send(wire.request())
            wire.wait_until(lambda: running.calls == 1, "the call is inside")
            time.sleep(LONG_S)
            assert len(client.read_response().body) == size * count

    def test_a_stream_that_progresses(self, serve, threads):
        def application(environ, start_response):
            start_response("200 OK", [])
            for _ in range(8):
                time.sleep(limit_s / 6)
                yield b"tick"

        limit_s = 5 * SHORT_S
        running = serve(application, timeout=limit_s, threads=threads)
        assert running.exchange(wire.request()).body == 8 * b"tick"


def told(caplog, pattern):
    """How often each target is told of."""
    return Counter(match[1] for message in caplog.messages if (match := re.match(pattern, message)))


def test_without_it_nothing_is_watched(serve):
    running = serve(answers())
    running.exchange(wire.request())
    assert "headrace-watchdog" not in {thread.name for thread in threading.enumerate()}


def test_it_sleeps_while_nothing_is_inside(serve_apart):
    """Under 0.2 wake-ups a second."""
    apart = serve_apart(timeout=SHORT_S)
    with apart.connect() as client:
        client.exchange(wire.request())
        time.sleep(2 * SHORT_S)
        counted = wire.wait_until_still(lambda: switches(apart.process.pid), "what its threads do", 0.5)
        time.sleep(3)
        assert switches(apart.process.pid) - counted <= 1


def switches(pid):
    """How often threads of the process went to sleep."""
    count = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        count += int(status.read_text().partition("voluntary_ctxt_switches:")[2].split()[0])
    return count
