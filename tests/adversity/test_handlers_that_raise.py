"""Handlers of signals that an application has set, and that raise when no call of its own is going on."""

from __future__ import annotations

import pytest

SOURCE = """
import signal, time

class TooLate(Exception):
    pass

def handler(number, frame):
    raise TooLate

signal.signal(signal.SIGALRM, handler)

def app(environ, start_response):
    if environ["PATH_INFO"] == "/alarm":
        signal.setitimer(signal.ITIMER_REAL, 0.05)
    start_response("200 OK", [("Content-Length", "4")])
    return [b"fine"]
"""


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("options", [[], ["--workers", 1]], ids=["one process", "a worker"])
def test_the_server_goes_on(command, tmp_path, threads, options):
    """An alarm that is set for a call, and comes a moment behind it."""
    (tmp_path / "alarms.py").write_text(SOURCE)
    process = command("alarms:app", "-b", "127.0.0.1:0", "--threads", threads, *options, cwd=tmp_path)
    for count in (1, 2):
        assert process.get("/alarm") == "fine"
        process.errors.wait_for("HR411 ", count)
        assert process.get("/") == "fine"
    assert process.end() == 0
