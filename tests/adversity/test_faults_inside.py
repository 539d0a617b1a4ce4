"""What can go wrong inside the server and is not a client's doing: it is told, and the rest goes on."""

from __future__ import annotations

import functools
import os

import pytest
import verdict
from wire import request, wait_until

import headrace.process.worker


class Watchdog:
    """A notifier whose service manager wants to hear of each turn; `alive` fails as long as `fails`."""

    watchdog_interval_s = 0.02

    def __init__(self):
        self.beats = 0
        self.fails = True

    def alive(self):
        self.beats += 1
        if self.fails:
            raise OSError("nobody listens")

    def stopping(self, *_):
        pass


@pytest.mark.parametrize("threads", [1, 4])
def test_a_beat_that_fails_is_logged_and_the_next_one_comes(serve, caplog, monkeypatch, threads):
    watchdog = Watchdog()
    worker = functools.partial(headrace.process.worker.Worker, notifier=watchdog)
    monkeypatch.setattr(headrace.process.worker, "Worker", worker)
    running = serve(verdict.echo, threads=threads)
    wait_until(lambda: watchdog.beats > 2, "three beats")
    told = [record for record in caplog.records if record.message.startswith("HR410 ")]
    assert told and all(record.message == "HR410 What was to be called every 20 ms failed" for record in told)
    watchdog.fails = False
    beats = watchdog.beats
    assert running.exchange(request()).status == 200
    wait_until(lambda: watchdog.beats > beats + 2, "further beats")


def own_files_of(size):
    """Open descriptors of this process that lead to nameless files of this size."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if "deleted" in os.readlink(f"/proc/self/fd/{name}") and os.stat(int(name)).st_size == size:
                yield int(name)
        except OSError:
            continue


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="asks procfs")
def test_a_temporary_file_that_lost_octets_is_an_error_and_no_end_of_the_body(serve):
    """The application would take what is left for all that was sent."""
    said = []

    def application(environ, start_response):
        (spooled,) = own_files_of(2_000_001)
        os.ftruncate(spooled, 1_000_000)
        try:
            environ["wsgi.input"].read()
        except OSError as error:
            said.append(str(error))
        start_response("200 OK", [])
        return [b"ok"]

    running = serve(application, request_body_memory=1000)
    with running.connect() as client:
        for _ in range(2):
            answer = client.exchange(request(method="POST", body=b"x" * 2_000_001))
            assert (answer.status, answer.body) == (200, b"ok")
    assert said == ["the temporary file of a request body has become shorter"] * 2


class Unprintable:
    def __str__(self):
        raise LookupError("on purpose")

    __repr__ = __str__


@pytest.mark.parametrize("key", ["REMOTE_USER", "HTTP_REFERER", "HTTP_USER_AGENT", "x"])
def test_an_environ_that_cannot_be_logged_costs_no_answer(serve, tmp_path, key):
    def application(environ, start_response):
        environ[key] = Unprintable()
        return verdict.echo(environ, start_response)

    log = tmp_path / "log"
    running = serve(application, access_logfile=str(log), access_logformat='%(u)s %(f)s %(a)s %({x}e)s %(s)s')
    with running.connect() as client:
        for _ in range(3):
            assert client.exchange(request()).status == 200
