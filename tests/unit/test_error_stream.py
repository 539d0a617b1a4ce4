"""wsgi.errors and the error log (headrace.observe)."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from headrace.config import Config
from headrace.observe.error_stream import ERROR_STREAM
from headrace.observe.log_setup import set_up_logging


def test_writes_to_the_sys_stderr_of_the_moment(monkeypatch):
    first, second = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", first)
    assert ERROR_STREAM.write("one\n") == 4
    monkeypatch.setattr(sys, "stderr", second)
    ERROR_STREAM.writelines(["two\n", "three\n"])
    ERROR_STREAM.flush()
    assert (first.getvalue(), second.getvalue()) == ("one\n", "two\nthree\n")


def test_print_can_use_it(capsys):
    print("hello", file=ERROR_STREAM, flush=True)
    assert capsys.readouterr().err == "hello\n"


def test_nothing_breaks_without_a_stderr(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    ERROR_STREAM.write("lost")
    ERROR_STREAM.writelines(["lost"])
    ERROR_STREAM.flush()


@pytest.fixture
def unconfigured():
    """Call it for the logger "headrace" as in a program that has set up no logging.

    A call and not the fixture's value: pytest puts its own handlers on when the test itself begins."""
    logger = logging.getLogger("headrace")
    state = logger.level, logger.propagate

    def clear(propagate=False):
        logger.handlers[:] = []
        logger.propagate = propagate
        return logger

    yield clear
    ERROR_STREAM.follow(None)
    for handler in logger.handlers:
        handler.close()
    logger.handlers[:] = []
    logger.level, logger.propagate = state


def test_messages_go_to_stderr_with_time_process_and_level(unconfigured, capsys):
    logger = unconfigured()
    set_up_logging(Config(log_level="info"))
    logger.info("Listening at: %s", "http://127.0.0.1:8000")
    logger.debug("unheard")
    line = capsys.readouterr().err
    assert line.endswith("INFO Listening at: http://127.0.0.1:8000\n")
    assert line.count("\n") == 1


def test_messages_go_to_a_file(unconfigured, tmp_path):
    logger = unconfigured()
    set_up_logging(Config(error_logfile=str(tmp_path / "error.log"), log_level="warning"))
    logger.info("unheard")
    logger.warning("heard \ud800")
    assert (tmp_path / "error.log").read_text().endswith("WARNING heard \\ud800\n")


def test_logging_that_the_application_has_configured_is_left_alone(unconfigured):
    logger = unconfigured(propagate=True)  # pytest has handlers on the root logger
    set_up_logging(Config(log_level="info"))
    assert logger.handlers == []
    assert logger.propagate
