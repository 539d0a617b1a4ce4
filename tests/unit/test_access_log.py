"""The access log's lines (headrace.observe.access_log)."""

from __future__ import annotations

import logging
import re
import time
from types import SimpleNamespace

import pytest

from headrace.observe.access_log import AccessLog, format_combined

#: The common way to take such a line apart; a hostile client must not be able to break it.
COMBINED = re.compile(r'(\S+) (\S+) (\S+) \[([^\]]+)\] "([^"]*)" (\d{3}) (\d+|-) "([^"]*)" "([^"]*)"')


def record(**changes):
    values = {
        "remote_addr": "192.0.2.7",
        "remote_user": None,
        "time_s": 1_795_000_000.25,
        "method": "GET",
        "target": "/a?b=c",
        "protocol": "HTTP/1.1",
        "status": 200,
        "response_bytes": 5,
        "referer": None,
        "user_agent": "curl/8.5",
        "duration_s": 0.001,
    }
    return SimpleNamespace(**{**values, **changes})


@pytest.fixture
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_a_line_is_in_the_combined_format(utc):
    assert (
        format_combined(record())
        == '192.0.2.7 - - [18/Nov/2026:11:06:40 +0000] "GET /a?b=c HTTP/1.1" 200 5 "-" "curl/8.5"'
    )


def test_the_time_changes_with_the_second(utc):
    first, same, next_one = (format_combined(record(time_s=at)) for at in (1000.0, 1000.9, 1001.0))
    assert first == same
    assert "[01/Jan/1970:00:16:40 +0000]" in first
    assert "[01/Jan/1970:00:16:41 +0000]" in next_one


def test_an_empty_body_is_a_dash():
    assert ' 304 - "' in format_combined(record(status=304, response_bytes=0))


def test_a_request_line_that_was_not_understood_is_a_dash():
    assert '] "-" 400 ' in format_combined(record(method="", target="", status=400))


def test_a_unix_client_is_a_dash():
    assert format_combined(record(remote_addr="")).startswith("- - - [")


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ('"', r"\x22"),
        ("\\", r"\x5c"),
        ("\n", r"\x0a"),
        ("\r\n", r"\x0d\x0a"),
        ("\x00", r"\x00"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\x7f", r"\x7f"),
        ("\x85", r"\x85"),
        ("\xff", r"\xff"),
        ("\u20ac", r"\xe2\x82\xac"),
        ("\ud800", r"\xed\xa0\x80"),
        ("a b", "a b"),
    ],
)
def test_hostile_octets_are_escaped(text, escaped):
    line = format_combined(record(target=f"/{text}", referer=text, user_agent=text))
    parts = COMBINED.fullmatch(line)
    assert parts is not None
    assert parts[5] == f"GET /{escaped} HTTP/1.1"
    assert parts[8] == parts[9] == escaped


def test_a_space_in_a_user_name_does_not_begin_the_next_field():
    parts = COMBINED.fullmatch(format_combined(record(remote_user="a b]")))
    assert parts is not None
    assert parts[3] == r"a\x20b]"


def test_lines_are_appended_to_a_file_and_are_there_at_once(tmp_path):
    path = tmp_path / "access.log"
    path.write_text("before\n")
    log = AccessLog(str(path))
    log(record())
    log(record(target="/second"))
    lines = path.read_text().splitlines()
    log.close()
    assert lines[0] == "before"
    assert ["/a?b=c" in lines[1], "/second" in lines[2]] == [True, True]


def test_a_dash_is_the_present_stdout(capsys):
    AccessLog("-")(record())
    assert capsys.readouterr().out.endswith('"curl/8.5"\n')


def test_a_full_disk_is_reported_once_and_does_not_stop_serving(caplog):
    log = AccessLog("/dev/full")
    with caplog.at_level(logging.ERROR, "headrace"):
        log(record())
        log(record())
    assert [entry.message.partition(": ")[0] for entry in caplog.records] == ["cannot write the access log"]
    log.close()


def test_a_file_that_cannot_be_opened_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        AccessLog(str(tmp_path / "missing" / "access.log"))
