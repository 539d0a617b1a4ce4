"""The access log's lines, and where they go (headrace.observe.access_log)."""

from __future__ import annotations

import errno
import json
import logging
import os
import random
import re
import socket
import time

import pytest
from wire import wait_until

from headrace.config import Config, ConfigError
from headrace.config.access_format import PRESETS, parse_access_format
from headrace.config.syslog_address import SyslogAddress
from headrace.engine.access_lines import AccessLines, basic_user
from headrace.observe import access_log as access_log_module
from headrace.observe.access_log import AccessLog, open_access_log
from headrace.observe.syslog import Syslog

#: The common way to take such a line apart; a hostile client must not be able to break it.
COMBINED = re.compile(r'(\S+) (\S+) (\S+) \[([^\]]+)\] "([^"]*)" (\d{3}) (\d+|-) "([^"]*)" "([^"]*)"')

BEGAN_NS = 1_795_000_000_250_000_000


def environ(**changes):
    values = {
        "REMOTE_ADDR": "192.0.2.7",
        "REQUEST_METHOD": "GET",
        "RAW_URI": "/a?b=c",
        "PATH_INFO": "/a",
        "QUERY_STRING": "b=c",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_USER_AGENT": "curl/8.5",
    }
    return {key: value for key, value in {**values, **changes}.items() if value is not None}


def line(text="combined", status=200, body_bytes=5, duration_ns=1_234_567, headers=None, began_ns=BEGAN_NS, **changes):
    """One line in this format, without its end."""
    lines = []
    made = AccessLines(parse_access_format(text), lambda: True, print, lines.append, False)
    made.log(environ(**changes), status, body_bytes, began_ns, duration_ns, headers)
    (one,) = lines
    return one


@pytest.fixture
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


class TestCombined:
    def test_has_the_fields_of_the_format(self, utc):
        assert line() == '192.0.2.7 - - [18/Nov/2026:11:06:40 +0000] "GET /a?b=c HTTP/1.1" 200 5 "-" "curl/8.5"'

    def test_has_a_time_that_changes_with_the_second(self, utc):
        first, same, next_one = (line(began_ns=int(at * 1e9)) for at in (1000.0, 1000.9, 1001.0))
        assert first == same
        assert "[01/Jan/1970:00:16:40 +0000]" in first
        assert "[01/Jan/1970:00:16:41 +0000]" in next_one

    def test_has_a_dash_for_an_empty_body(self):
        assert ' 304 - "' in line(status=304, body_bytes=0)

    def test_shows_a_request_line_that_was_not_understood_as_it_came(self):
        assert r'] "\x00 x" 400 ' in line(status=400, REQUEST_METHOD=None, RAW_URI="\0 x", SERVER_PROTOCOL=None)

    def test_has_a_dash_for_a_request_line_that_did_not_come(self):
        assert '] "-" 408 ' in line(status=408, REQUEST_METHOD=None, RAW_URI="", SERVER_PROTOCOL=None)

    def test_has_a_dash_for_a_unix_client(self):
        assert line(REMOTE_ADDR="").startswith("- - - [")

    def test_has_the_user_that_the_client_says_it_is(self):
        assert " - me [" in line(HTTP_AUTHORIZATION="Basic bWU6c2VjcmV0")
        assert "secret" not in line(HTTP_AUTHORIZATION="Basic bWU6c2VjcmV0")

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
    def test_escapes_hostile_octets(self, text, escaped):
        parts = COMBINED.fullmatch(line(RAW_URI=f"/{text}", HTTP_REFERER=text, HTTP_USER_AGENT=text))
        assert parts is not None
        assert parts[5] == f"GET /{escaped} HTTP/1.1"
        assert parts[8] == parts[9] == escaped

    def test_has_one_field_for_a_user_name_with_a_space(self):
        parts = COMBINED.fullmatch(line(HTTP_AUTHORIZATION="Basic YSBiXTp4"))
        assert parts is not None
        assert parts[3] == r"a\x20b]"

    def test_is_taken_apart_whatever_octets_come(self):
        chance = random.Random(7)
        for _ in range(500):
            text = "".join(chr(chance.randrange(256)) for _ in range(chance.randrange(1, 60)))
            shown = line(RAW_URI=text, HTTP_REFERER=text, HTTP_USER_AGENT=text)
            assert shown.isascii()
            assert COMBINED.fullmatch(shown), text


class TestBasicUser:
    @pytest.mark.parametrize(
        ("credentials", "user"),
        [
            ("Basic bWU6c2VjcmV0", "me"),
            ("basic  bWU6c2VjcmV0 ", "me"),
            ("Basic bWU=", "me"),
            ("Basic OnNlY3JldA==", None),
            ("Basic", None),
            ("Basic !!!!", None),
            ("Basic bWU6c2VjcmV", None),
            ("Bearer bWU6c2VjcmV0", None),
            ("Basic " + "YQ" * 10_000, None),
            ("Basic w6k6eA==", "\xc3\xa9"),
        ],
    )
    def test_is_read_from_credentials(self, credentials, user):
        assert basic_user(credentials) == user


class TestAtoms:
    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("%(h)s %(l)s %(u)s", "192.0.2.7 - -"),
            ("%(r)s", "GET /a?b=c HTTP/1.1"),
            ("%(m)s %(U)s %(q)s %(H)s", "GET /a b=c HTTP/1.1"),
            ("%(target)s %(version)s", "/a?b=c 1.1"),
            ("%(s)s %(B)s %(b)s", "200 5 5"),
            ("%(f)s %(a)s", "- curl/8.5"),
            ("%(T)s %(M)s %(D)s %(L)s %(N)s", "3 3004 3004005 3.004005 3004005006"),
            ("%(time)s", "2026-11-18T11:06:40.250000Z"),
            ("%(t)s", "[18/Nov/2026:11:06:40 +0000]"),
            ("%({User-Agent}i)s %({x-none}i)s", "curl/8.5 -"),
            ("%({Content-Type}o)s %({x-two}o)s %({x-none}o)s", "text/plain 1,\\x202 -"),
            ("%({REMOTE_ADDR}e)s %({wsgi.none}e)s %({number}e)s", "192.0.2.7 - 7"),
            ("100%% %(s)s", "100% 200"),
        ],
    )
    def test_show_what_they_are_for(self, utc, text, shown):
        headers = [("content-type", "text/plain"), ("X-Two", "1"), ("x-two", "2")]
        assert line(text, duration_ns=3_004_005_006, headers=headers, number=7) == shown

    def test_show_the_process_as_gunicorn_does(self):
        assert line("%(p)s") == f"<{os.getpid()}>"

    def test_are_escaped_for_the_place_where_they_stand(self):
        assert line("%(f)s|\"%(f)s\"|'%(f)s'", HTTP_REFERER="a b'\"") == (
            r"a\x20b\x27\x22" + '|"' + r"a b'\x22" + '"|' + r"'a\x20b\x27\x22'"
        )

    def test_are_cut_when_they_are_very_long(self):
        assert line("%(a)s", HTTP_USER_AGENT="x" * 9000) == "x" * 8192 + "..."

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("fancy", "none of common, combined, json, json-ecs, json-otel, and has no atoms"),
            ("%h", "'%h' is no atom; they are written %(h)s"),
            ("%(z)s", "there is no atom %(z)s; there are h l u"),
            ("%(h)d", "%(h)d is no atom; it is written %(h)s"),
            ("%(h", "'%(' is no atom"),
            ("%({a b}i)s", "'a b' is not the name of a header field"),
            ("%(h)s\n", "contains a control character"),
        ],
    )
    def test_that_are_wrong_are_refused_with_the_settings(self, text, problem):
        with pytest.raises(ConfigError, match="access_logformat: ") as error:
            Config(access_logformat=text)
        assert problem in str(error.value)


JSON_FORMATS = [name for name in PRESETS if name.startswith("json")]
OWN_JSON = '{"agent": "%(a)s", "status": %(s)s, "user": %(u)s, "line": %(r)s, "at": %(t)s, "p": %(p)s, "l": %(l)s}'


class TestJson:
    def test_has_numbers_as_numbers_and_null_for_nothing(self):
        assert json.loads(line("json")) == {
            "time": "2026-11-18T11:06:40.250000Z",
            "remote_addr": "192.0.2.7",
            "user": None,
            "method": "GET",
            "target": "/a?b=c",
            "protocol": "HTTP/1.1",
            "status": 200,
            "body_bytes": 5,
            "duration_us": 1234,
            "referer": None,
            "user_agent": "curl/8.5",
        }

    def test_has_the_names_of_ecs(self):
        shown = json.loads(line("json-ecs"))
        assert shown["@timestamp"] == "2026-11-18T11:06:40.250000Z"
        assert shown["event.duration"] == 1_234_567
        assert shown["http.response.status_code"] == 200
        assert shown["url.path"] == "/a"
        assert shown["http.version"] == "1.1"

    def test_has_the_names_of_opentelemetry(self):
        shown = json.loads(line("json-otel"))
        assert shown["http.server.request.duration"] == 0.001234
        assert shown["network.protocol.version"] == "1.1"
        assert shown["client.address"] == "192.0.2.7"

    def test_of_ones_own_is_noticed_and_kept_valid(self):
        shown = json.loads(line(OWN_JSON, HTTP_USER_AGENT='"\\\n'))
        assert shown["agent"] == '"\\\n'
        assert shown["user"] is shown["l"] is None
        assert shown["line"] == "GET /a?b=c HTTP/1.1"
        assert shown["status"] == 200

    def test_shows_utf_8_as_text_and_other_octets_escaped(self):
        shown = json.loads(line("json", HTTP_USER_AGENT="caf\xc3\xa9 \xff"))
        assert shown["user_agent"] == "café \\xff"

    @pytest.mark.parametrize("name", [*JSON_FORMATS, OWN_JSON])
    def test_is_valid_and_one_line_whatever_octets_come(self, name):
        chance = random.Random(11)
        pieces = [*map(chr, range(256)), "\xe2\x80\xa8", "\xc2\x85", "\xed\xa0\x80", "\xf0\x9f\x98\x80", "\xc0\xaf"]
        for _ in range(300):
            text = "".join(chance.choice(pieces) for _ in range(chance.randrange(60)))
            fields = {"RAW_URI": text, "PATH_INFO": text, "QUERY_STRING": text, "HTTP_REFERER": text}
            shown = line(name, HTTP_USER_AGENT=text, REMOTE_ADDR=text, **fields)
            assert isinstance(json.loads(shown), dict)
            assert len(shown.splitlines()) == 1


class TestFile:
    def test_is_appended_to(self, tmp_path):
        path = tmp_path / "access.log"
        path.write_text("before\n")
        log = AccessLog("combined", str(path))
        log.lines.log(environ(), 200, 5)
        log.lines.log(environ(RAW_URI="/second"), 200, 5)
        assert log.flush()
        lines = path.read_text().splitlines()
        log.close()
        assert lines[0] == "before"
        assert ["/a?b=c" in lines[1], "/second" in lines[2]] == [True, True]

    def test_has_a_line_soon_though_nobody_asks(self, tmp_path):
        log = AccessLog("combined", str(tmp_path / "log"))
        log.lines.log(environ(), 200, 5)
        wait_until(lambda: (tmp_path / "log").read_text().endswith('"curl/8.5"\n'), "the line")
        log.close()

    def test_has_all_lines_when_it_is_closed(self, tmp_path):
        log = AccessLog("combined", str(tmp_path / "log"))
        for _ in range(5000):
            log.lines.log(environ(), 200, 5)
        log.close()
        assert len((tmp_path / "log").read_text().splitlines()) == 5000
        log.lines.log(environ(), 200, 5)  # too late, and no harm
        log.close()

    def test_that_cannot_be_opened_is_an_os_error(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            AccessLog("combined", str(tmp_path / "missing" / "access.log"))

    def test_that_is_a_pipe_which_nobody_reads_is_an_os_error(self, tmp_path):
        os.mkfifo(tmp_path / "log")
        with pytest.raises(OSError) as error:
            AccessLog("combined", str(tmp_path / "log"))
        assert error.value.errno == errno.ENXIO

    def test_is_opened_anew_by_its_name(self, tmp_path):
        path = tmp_path / "log"
        log = AccessLog("%(target)s", str(path))
        log.lines.log(environ(RAW_URI="/1"), 200, 5)
        assert log.flush()
        path.rename(tmp_path / "log.1")
        log.reopen()
        log.lines.log(environ(RAW_URI="/2"), 200, 5)
        log.close()
        assert (tmp_path / "log.1").read_text() + path.read_text() == "/1\n/2\n"
        assert path.exists()

    def test_that_cannot_be_opened_anew_stays(self, tmp_path, caplog):
        (tmp_path / "folder").mkdir()
        log = AccessLog("%(target)s", str(tmp_path / "folder" / "log"))
        (tmp_path / "folder").rename(tmp_path / "moved")
        log.reopen()
        log.lines.log(environ(RAW_URI="/1"), 200, 5)
        log.close()
        assert (tmp_path / "moved" / "log").read_text() == "/1\n"
        assert "HR604 cannot reopen the access log" in caplog.text

    def test_that_is_full_is_reported_once_and_does_not_stop_serving(self, caplog):
        log = AccessLog("combined", "/dev/full")
        for _ in range(3):
            log.lines.log(environ(), 200, 5)
            assert log.flush()
        wait_until(lambda: "HR601" in caplog.text, "the message")
        log.close()
        codes = [entry.getMessage()[:5] for entry in caplog.records]
        assert codes == ["HR601", "HR605"]
        assert "3 lines" in caplog.records[1].getMessage()


class TestFullPipe:
    """A reader that does not read: neither a request nor the end of the process waits for it."""

    @pytest.fixture
    def pipe(self, tmp_path, monkeypatch):
        monkeypatch.setattr(access_log_module, "CLOSE_PATIENCE_S", 0.2)
        os.mkfifo(tmp_path / "log")
        reader = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
        yield str(tmp_path / "log"), reader
        os.close(reader)

    def test_loses_lines_says_so_and_ends(self, pipe, caplog):
        path, _ = pipe
        log = AccessLog("combined", path)
        count = 0
        while log.lines.lost() < 10 and count < 100_000:
            log.lines.log(environ(HTTP_USER_AGENT="x" * 1000), 200, 5)
            count += 1
        assert log.lines.lost() == 10
        log.close()
        told = [entry.getMessage() for entry in caplog.records]
        assert [message[:5] for message in told] == ["HR602", "HR605"]
        assert int(told[1].split()[1]) > 10  # those that were never written count, too

    def test_goes_on_when_it_is_read_again_and_every_line_is_whole(self, pipe):
        path, reader = pipe
        log = AccessLog("%(target)s %(a)s.", path)
        for number in range(300):
            log.lines.log(environ(RAW_URI=f"/{number}", HTTP_USER_AGENT="x" * 1000), 200, 5)
        got = b""
        os.set_blocking(reader, True)
        while got.count(b"\n") < 300:
            got += os.read(reader, 65536)
        log.close()
        assert got.decode().splitlines() == [f"/{number} {'x' * 1000}." for number in range(300)]
        assert log.lines.lost() == 0


class TestStdout:
    def test_is_the_present_one(self, capsys):
        log = open_access_log(Config(access_logfile="-"))
        assert log is not None
        log.lines.log(environ(), 200, 5)
        log.close()
        assert capsys.readouterr().out.endswith('"curl/8.5"\n')

    def test_may_be_missing(self, monkeypatch):
        monkeypatch.setattr("sys.stdout", None)
        log = AccessLog("combined", "-")
        log.lines.log(environ(), 200, 5)
        log.close()


class TestLogger:
    def test_gets_the_lines_when_it_has_a_handler(self, caplog):
        logger = logging.getLogger("headrace.access")
        handler = logging.NullHandler()
        logger.addHandler(handler)
        try:
            with caplog.at_level(logging.INFO, "headrace"):
                log = open_access_log(Config(access_logformat="%(m)s 100%% %(target)s"))
                assert log is not None
                log.lines.log(environ(RAW_URI="/%s"), 200, 5)
                log.close()
        finally:
            logger.removeHandler(handler)
        assert caplog.messages == ["GET 100% /%s"]

    def test_is_not_there_without_one(self):
        assert open_access_log(Config()) is None


@pytest.mark.parametrize("family", ["unix", "udp"])
class TestSyslog:
    @pytest.fixture
    def daemon(self, family, tmp_path):
        kind = socket.AF_UNIX if family == "unix" else socket.AF_INET
        with socket.socket(kind, socket.SOCK_DGRAM) as made:
            made.bind(str(tmp_path / "log") if family == "unix" else ("127.0.0.1", 0))
            made.settimeout(20)
            yield made

    def address(self, daemon):
        name = daemon.getsockname()
        return SyslogAddress(path=name) if isinstance(name, str) else SyslogAddress(host=name[0], port=name[1])

    def test_gets_a_datagram_for_each_line(self, daemon, family):
        log = AccessLog("%(target)s", None, Syslog(self.address(daemon), 1, "headrace"))
        for number in range(3):
            log.lines.log(environ(RAW_URI=f"/{number}"), 200, 5)
        got = [daemon.recv(9000).decode() for _ in range(3)]
        log.close()
        host = "" if family == "unix" else r"\S+ "
        for number, message in enumerate(got):
            assert re.fullmatch(
                rf"<14>[A-Z][a-z]{{2}} [ \d]\d \d\d:\d\d:\d\d {host}headrace\[{os.getpid()}\]: /{number}", message
            )

    def test_is_found_again_when_it_was_started_anew(self, daemon, family, tmp_path):
        if family == "udp":
            pytest.skip("UDP does not know")
        log = AccessLog("%(target)s", None, Syslog(self.address(daemon), 1, "headrace"))
        daemon.close()
        (tmp_path / "log").unlink()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as second:
            second.bind(str(tmp_path / "log"))
            second.settimeout(20)
            log.lines.log(environ(RAW_URI="/again"), 200, 5)
            assert second.recv(9000).endswith(b": /again")
        log.close()
        assert log.lines.lost() == 0


def test_a_syslog_that_is_not_there_is_an_os_error(tmp_path):
    with pytest.raises(OSError):
        open_access_log(Config(log_syslog=True, log_syslog_to=f"unix://{tmp_path}/missing"))
