"""The error log (headrace.observe.log_setup), and the page of its messages."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
from pathlib import Path

import pytest

from headrace.config import Config, ConfigError
from headrace.observe.error_stream import ERROR_STREAM
from headrace.observe.log_setup import LogConfigError, model_line, reopen_logs, set_up_logging

ROOT = Path(__file__).parents[2]
NAMES = ("headrace", "headrace.access", "gunicorn.error", "gunicorn.access")


@pytest.fixture
def unconfigured():
    """Call it for the logger "headrace" as in a program that has set up no logging; see test_error_stream.py."""
    states = {name: (logging.getLogger(name).level, logging.getLogger(name).propagate) for name in NAMES}

    def clear():
        for name in NAMES:
            logging.getLogger(name).handlers[:] = []
        logging.getLogger("headrace").propagate = False
        return logging.getLogger("headrace")

    yield clear
    ERROR_STREAM.follow(None)
    for name, (level, propagate) in states.items():
        logger = logging.getLogger(name)
        for handler in logger.handlers:
            handler.close()
        logger.handlers[:] = []
        logger.setLevel(level)
        logger.propagate = propagate


def dict_config(path, name="headrace"):
    handler = {"class": "logging.FileHandler", "filename": str(path)}
    loggers = {name: {"handlers": ["file"], "level": "INFO", "propagate": False}}
    return {"version": 1, "handlers": {"file": handler}, "loggers": loggers}


class TestJsonLines:
    def test_have_the_code_and_the_traceback_as_fields(self, unconfigured, tmp_path):
        logger = unconfigured()
        set_up_logging(Config(error_logfile=str(tmp_path / "log"), log_format="json"))
        logger.info("HR101 Listening at: %s", "http://x\n\u2028")
        try:
            raise ValueError("why")
        except ValueError:
            logger.exception("of somebody else")
        first, second = map(json.loads, (tmp_path / "log").read_text().splitlines())
        assert (first["code"], first["message"], first["level"]) == ("HR101", "Listening at: http://x\n\u2028", "INFO")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["time"])
        assert second["code"] is None
        assert second["exception"].endswith("ValueError: why")


class TestLogConfig:
    def test_is_taken_from_a_dict(self, unconfigured, tmp_path):
        logger = unconfigured()
        set_up_logging(Config(logconfig_dict=dict_config(tmp_path / "log")))
        logger.info("heard")
        assert (tmp_path / "log").read_text() == "heard\n"

    def test_is_taken_from_a_json_file(self, unconfigured, tmp_path):
        logger = unconfigured()
        (tmp_path / "json").write_text(json.dumps(dict_config(tmp_path / "log")))
        set_up_logging(Config(log_config_json=str(tmp_path / "json")))
        logger.info("heard")
        assert (tmp_path / "log").read_text() == "heard\n"

    def test_is_taken_from_an_ini_file(self, unconfigured, tmp_path):
        logger = unconfigured()
        root, other = logging.getLogger().handlers[:], logging.getLogger("hr.other")
        (tmp_path / "ini").write_text(
            "[loggers]\nkeys=root,ours\n[handlers]\nkeys=file\n[formatters]\nkeys=\n[logger_root]\nhandlers=\n"
            "[logger_ours]\nqualname=gunicorn.error\nhandlers=file\nlevel=INFO\npropagate=0\n"
            f"[handler_file]\nclass=FileHandler\nargs=({str(tmp_path / 'log')!r},)\n"
        )
        try:
            set_up_logging(Config(log_config=str(tmp_path / "ini")))
        finally:
            logging.getLogger().handlers[:] = root
        logger.info("heard")
        assert (tmp_path / "log").read_text() == "heard\n"
        assert not other.disabled

    @pytest.mark.parametrize(
        ("theirs", "ours"), [("gunicorn.error", "headrace"), ("gunicorn.access", "headrace.access")]
    )
    def test_for_gunicorn_serves_as_it_is(self, unconfigured, tmp_path, theirs, ours):
        unconfigured()
        set_up_logging(Config(logconfig_dict=dict_config(tmp_path / "log", theirs)))
        logging.getLogger(ours).info("heard")
        assert (tmp_path / "log").read_text() == "heard\n"

    def test_that_is_wrong_is_an_error_with_its_reason(self, unconfigured, tmp_path):
        unconfigured()
        wrong = {"version": 1, "handlers": {"file": {"class": "no.such.Handler"}}}
        with pytest.raises(LogConfigError, match=r"Unable to configure handler 'file': .*no"):
            set_up_logging(Config(logconfig_dict=wrong))
        for setting in ("log_config", "log_config_json"):
            with pytest.raises(LogConfigError, match=r"cannot read the logging configuration '.*': No such file"):
                set_up_logging(Config(**{setting: str(tmp_path / "missing")}))
        with pytest.raises(ConfigError, match="logconfig_dict: 'x' is not a table"):
            Config(logconfig_dict="x")


class TestReopening:
    def test_writes_to_the_file_that_has_the_name_now(self, unconfigured, tmp_path):
        logger = unconfigured()
        set_up_logging(Config(error_logfile=str(tmp_path / "log")))
        logger.info("HR000 one")
        (tmp_path / "log").rename(tmp_path / "log.1")
        reopen_logs()
        logger.info("HR000 two")
        assert (tmp_path / "log.1").read_text().endswith("INFO HR000 one\n")
        assert [line.partition(" INFO ")[2] for line in (tmp_path / "log").read_text().splitlines()] == [
            "HR109 The logs have been reopened", "HR000 two",
        ]  # fmt: skip

    def test_keeps_the_file_when_the_new_one_cannot_be_had(self, unconfigured, tmp_path):
        logger = unconfigured()
        (tmp_path / "folder").mkdir()
        set_up_logging(Config(error_logfile=str(tmp_path / "folder" / "log")))
        (tmp_path / "folder").rename(tmp_path / "moved")
        reopen_logs()
        logger.info("HR000 still here")
        text = (tmp_path / "moved" / "log").read_text()
        assert "ERROR HR110 cannot reopen the log" in text
        assert text.endswith("HR000 still here\n")


    def test_does_not_wait_for_the_reader_of_a_named_pipe(self, unconfigured, tmp_path):
        logger = unconfigured()
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(OSError, match="No such device or address"):
            set_up_logging(Config(error_logfile=str(tmp_path / "pipe")))
        reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
        set_up_logging(Config(error_logfile=str(tmp_path / "pipe")))
        logger.info("HR000 heard")
        assert os.read(reader, 1000).endswith(b"INFO HR000 heard\n")
        reopen_logs()
        assert b"HR109" in os.read(reader, 1000)
        os.close(reader)


class TestSyslog:
    def test_gets_messages_with_their_severity(self, unconfigured, tmp_path):
        logger = unconfigured()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
            daemon.bind(str(tmp_path / "s"))
            daemon.settimeout(20)
            settings = {"log_syslog_facility": "local3", "log_syslog_prefix": "shop"}
            log = str(tmp_path / "log")
            set_up_logging(Config(log_syslog=True, log_syslog_to=f"unix://{tmp_path}/s", error_logfile=log, **settings))
            logger.error("HR000 first\nsecond")
            message = daemon.recv(9000).decode()
        assert re.fullmatch(
            r"<155>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d headrace\.shop\[\d+\]: HR000 first \| second", message
        )
        logger.error("HR000 nobody hears this, and nothing breaks")

    @pytest.mark.parametrize("text", ["tcp://a:1", "udp://", "unix://relative", "/dev/log", "udp://a:0", "udp://::1:5"])
    def test_addresses_that_are_none_are_refused(self, text):
        with pytest.raises(ConfigError, match="log_syslog_to: .*is neither unix:///PATH"):
            Config(log_syslog_to=text)


@pytest.mark.parametrize(
    ("workers", "threads", "text"),
    [
        (None, 8, "1 process x 8 threads: at most 8 requests inside the application"),
        (2, 8, "2 workers x 8 threads: at most 16 requests inside the application"),
        (1, 1, "1 worker x 1 thread: at most 1 request inside the application"),
    ],
)
def test_the_model_is_told_in_one_line(workers, threads, text):
    assert model_line(threads, workers) == text


SOURCES = ROOT / "src" / "headrace"
CALL = re.compile(
    r"\b(?:log|logger|_log|logging\.getLogger\(\"headrace\"\))\.(?:debug|info|warning|error|critical|exception)\(\s*"
    r"(?P<first>[^\n]*)"
)


@pytest.mark.skipif(not SOURCES.is_dir(), reason="no sources beside the tests")
class TestMessages:
    """Of the logger "headrace"; its children (headrace.balancer) are middleware's."""

    def calls(self):
        for path in sorted(SOURCES.rglob("*.py*")):
            if path.suffix in (".py", ".pyx") and "middleware" not in path.parts:
                for found in CALL.finditer(path.read_text(encoding="utf-8")):
                    yield f"{path.name}: {found['first']}", found["first"]

    def test_all_begin_with_a_code(self):
        calls = list(self.calls())
        assert len(calls) > 30
        assert [place for place, first in calls if not re.match(r'"HR\d{3} [^ ]', first)] == []

    def test_have_a_row_each_on_the_page_and_the_page_has_no_other(self):
        used = set()
        for path in SOURCES.rglob("*.py*"):
            if path.suffix in (".py", ".pyx"):
                used |= set(re.findall(r'"(HR\d{3}) ', path.read_text(encoding="utf-8")))
        page = (ROOT / "docs" / "messages.md").read_text(encoding="utf-8")
        rows = re.findall(r"^\| (HR\d{3}) \| (\w+) \|([^|]+)\|([^|]+)\|([^|]+)\|$", page, re.MULTILINE)
        assert sorted(row[0] for row in rows) == sorted(used)
        assert all(cell.strip() for row in rows for cell in row)
