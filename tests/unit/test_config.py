"""The table of settings and the checked Config (headrace.config)."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from headrace.config import SETTINGS, AddressError, Config, ConfigError, parse_bind
from headrace.config.config import from_text
from headrace.config.settings import GROUPS


class TestTable:
    def test_every_default_passes_its_own_check(self):
        assert Config() == Config(**{name: setting.default for name, setting in SETTINGS.items()})

    def test_no_flag_is_used_twice(self):
        flags = [flag for setting in SETTINGS.values() for flag in setting.flags]
        assert len(flags) == len(set(flags))

    def test_every_setting_has_a_known_group_and_help_that_ends_as_a_sentence(self):
        for setting in SETTINGS.values():
            assert setting.group in GROUPS
            assert setting.help.endswith((".", ")")), setting.name

    def test_every_number_has_a_range_and_a_unit(self):
        for setting in SETTINGS.values():
            if setting.kind in ("integer", "seconds"):
                assert setting.least is not None, setting.name
                assert setting.most is not None, setting.name
                assert setting.unit, setting.name

    def test_flags_are_the_names_of_the_settings_in_gunicorns_spelling(self):
        for setting in SETTINGS.values():
            if setting.kind == "table":
                continue  # for configuration files
            words = {flag.lstrip("-").removeprefix("no-").replace("-", "_") for flag in setting.flags}
            assert setting.name.removeprefix("proc_") in words or not setting.flags  # gunicorn: proc_name, --name

    @pytest.mark.parametrize(
        ("name", "default"),
        [
            ("limit_request_line", 8190),
            ("limit_request_fields", 100),
            ("limit_request_field_size", 8190),
            ("limit_request_head", 65536),
            ("limit_request_body", 1 << 30),
            ("head_timeout", 10.0),
            ("body_timeout", 30.0),
            ("write_timeout", 30.0),
            ("keep_alive", 75.0),
            ("request_body_memory", 512 * 1024),
            ("backlog", 2048),
        ],
    )
    def test_documented_defaults_hold(self, name, default):
        assert SETTINGS[name].default == default


class TestConfig:
    def test_a_size_that_is_allocated_at_the_start_cannot_be_one_that_no_machine_has(self):
        """One typing slip, 64m for 64k, must not cost what the application needs."""
        for name in ("response_buffer", "limit_request_line", "limit_request_fields"):
            assert SETTINGS[name].most <= 16 << 20, name
        with pytest.raises(ConfigError, match="response_buffer: 67108864 is outside the range 0 to 16777216 bytes"):
            Config(response_buffer=64 << 20)

    def test_is_immutable(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            Config().keep_alive = 1.0

    def test_takes_whole_numbers_for_seconds(self):
        keep_alive = Config(keep_alive=5).keep_alive
        assert keep_alive == 5.0
        assert type(keep_alive) is float

    def test_takes_one_bind_or_several(self):
        assert Config(bind=":80").bind == (":80",)
        assert Config(bind=[":80", "unix:/x"]).bind == (":80", "unix:/x")

    def test_takes_a_path_object_for_a_folder(self):
        assert Config(spool_dir=Path("/tmp")).spool_dir == "/tmp"

    @pytest.mark.parametrize("name", [name for name, row in SETTINGS.items() if row.least is not None])
    def test_both_ends_of_a_range_are_allowed_and_the_next_values_are_not(self, name):
        row = SETTINGS[name]
        for value in (row.least, row.most):
            Config(**{name: int(value) if row.kind == "integer" else value})
        for value in (row.least - 1, row.most + 1):
            with pytest.raises(ConfigError, match=f"^{name}: .* is outside the range"):
                Config(**{name: value})

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("backlog", "5", "'5' is not a whole number of connections"),
            ("backlog", 5.0, "5.0 is not a whole number of connections"),
            ("backlog", True, "True is not a whole number of connections"),
            ("backlog", None, "None is not a whole number of connections"),
            ("keep_alive", "5", "'5' is not a number of seconds"),
            ("keep_alive", float("nan"), "nan is not a number of seconds"),
            ("keep_alive", float("inf"), "inf is not a number of seconds"),
            ("keep_alive", False, "False is not a number of seconds"),
            ("date_header", 1, "1 is not True or False"),
            ("poller", "select", "'select' is not one of auto, epoll, kqueue, poll"),
            ("log_level", None, "None is not a str"),
            ("bind", [], "there is nothing to listen on"),
            ("bind", 8000, "8000 is not a str or a list of str"),
            ("bind", [8000], "8000 is not a str"),
            ("bind", "h:x", "'h:x' has the port 'x', which is not a number"),
        ],
    )
    def test_a_wrong_value_is_shown_with_what_was_expected(self, name, value, message):
        with pytest.raises(ConfigError) as caught:
            Config(**{name: value})
        assert caught.value.problems == (f"{name}: {message}",)

    def test_reports_all_problems_at_once_in_the_spelling_that_was_used(self):
        with pytest.raises(ConfigError) as caught:
            Config.from_values(
                {"keep_alive": -1, "backlog": 0, "log_level": "loud", "keepalive": 3},
                {"keep_alive": "--keep-alive", "log_level": "--log-level"},
            )
        assert caught.value.problems == (
            "keepalive: there is no such setting; did you mean keep_alive?",
            "--keep-alive: -1 is outside the range 0 to 86400 seconds",
            "backlog: 0 is outside the range 1 to 65535 connections",
            "--log-level: 'loud' is not one of debug, info, warning, error, critical",
        )
        assert str(caught.value).count("\n") == 3

    def test_is_a_value_error(self):
        with pytest.raises(ValueError):
            Config(backlog=0)


class TestTextOfTheCommandLine:
    @pytest.mark.parametrize(
        ("name", "text", "value"),
        [
            ("limit_request_body", "0", 0),
            ("limit_request_body", "10k", 10 << 10),
            ("limit_request_body", "10M", 10 << 20),
            ("limit_request_body", "1g", 1 << 30),
            ("backlog", "10", 10),
            ("backlog", "-1", -1),
            ("keep_alive", "2", 2.0),
            ("keep_alive", "0.5", 0.5),
            ("keep_alive", "-3", -3.0),
            ("spool_dir", "/tmp", "/tmp"),
        ],
    )
    def test_reads_numbers_and_sizes(self, name, text, value):
        assert from_text(SETTINGS[name], text) == value

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("backlog", "10k"),  # not bytes
            ("backlog", "1_0"),
            ("backlog", "+1"),
            ("backlog", "٣"),
            ("backlog", ""),
            ("limit_request_body", "10 k"),
            ("limit_request_body", "0x10"),
            ("limit_request_body", "9" * 30),
            ("keep_alive", "1e3"),
            ("keep_alive", "nan"),
            ("keep_alive", "5s"),
        ],
    )
    def test_leaves_what_is_no_number_for_the_check_to_refuse(self, name, text):
        assert from_text(SETTINGS[name], text) == text
        with pytest.raises(ConfigError):
            Config(**{name: text})


class TestBind:
    @pytest.mark.parametrize(
        ("text", "host", "port", "path"),
        [
            ("127.0.0.1:8000", "127.0.0.1", 8000, None),
            ("127.0.0.1", "127.0.0.1", 8000, None),
            (":8080", "0.0.0.0", 8080, None),
            ("8080", "127.0.0.1", 8080, None),
            ("localhost:0", "localhost", 0, None),
            ("example.org", "example.org", 8000, None),
            ("tcp://10.0.0.1:80", "10.0.0.1", 80, None),
            ("[::1]:8000", "::1", 8000, None),
            ("[::]", "::", 8000, None),
            ("[fe80::1%eth0]:65535", "fe80::1%eth0", 65535, None),
            ("unix:/run/app.sock", "", 0, "/run/app.sock"),
            ("unix:app.sock", "", 0, "app.sock"),
            ("unix:///run/app.sock", "", 0, "/run/app.sock"),
        ],
    )
    def test_is_understood(self, text, host, port, path):
        address = parse_bind(text)
        assert (address.host, address.port, address.path) == (host, port, path)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "has no usable host"),
            ("::1", r"needs brackets .*: \[::1\]:8000"),
            ("1.2.3.4:5:6", "needs brackets"),
            ("[::1", "is not an IPv6 address in brackets"),
            ("[host]:80", "is not an IPv6 address in brackets"),
            ("[::1]80", "goes on with '80'"),
            ("host:", "port '', which is not a number"),
            ("host:http", "port 'http', which is not a number"),
            ("host:+80", "not a number"),
            ("host:8_0", "not a number"),
            ("host:٣", "not a number"),
            ("host:65536", "ports end at 65535"),
            ("host:99999999999999999999", "ports end at 65535"),
            ("http://host:80", "is a URL"),
            ("a b:80", "no usable host"),
            ("user@host:80", "no usable host"),
            ("unix:", "has no path"),
            ("unix:a\x00b", "NUL"),
            ("unix:@", "has no name"),
            ("fd://", "has no descriptor's number"),
            ("fd://-1", "has no descriptor's number"),
            ("fd://3x", "has no descriptor's number"),
            ("systemd:", "has no name that systemd gives"),
            ("systemd:a:b", "has no name that systemd gives"),
            ("unix:/" + "a" * 107, "108 bytes; the system takes 107"),
        ],
    )
    def test_that_is_wrong_is_refused_with_the_reason(self, text, message):
        with pytest.raises(AddressError, match=message):
            parse_bind(text)

    @pytest.mark.parametrize(
        "text", ["127.0.0.1:8000", "[::1]:8000", "unix:/run/app.sock", "fd://3", "systemd", "systemd:web"]
    )
    def test_is_written_as_it_was_read(self, text):
        assert str(parse_bind(text)) == text

    @pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has the abstract namespace")
    def test_may_be_an_abstract_name(self):
        address = parse_bind("unix:@app")
        assert address.is_unix and address.is_abstract
        assert str(address) == "unix:@app"
        assert not parse_bind("unix:./@app").is_abstract

    def test_of_what_is_inherited_is_not_open_yet(self):
        assert parse_bind("fd://7").fd == 7
        assert (parse_bind("systemd").systemd, parse_bind("systemd:web").systemd) == ("", "web")
        assert all(parse_bind(text).is_inherited for text in ("fd://7", "systemd", "systemd:web"))
        assert not parse_bind("unix:/x").is_inherited

    def test_gives_a_url_for_people(self):
        assert parse_bind("[::1]:80").url == "http://[::1]:80"
        assert parse_bind("unix:/x").url == "unix:/x"


class TestUmask:
    @pytest.mark.parametrize(("text", "value"), [("0", 0), ("7", 7), ("027", 0o27), ("0o27", 0o27), ("0777", 0o777)])
    def test_is_octal(self, text, value):
        assert Config(umask=text).umask == Config(umask=value).umask == value

    def test_is_left_alone_without_one(self):
        assert Config().umask is None

    @pytest.mark.parametrize("value", ["22", "777", "8", "0x1f", "01777", "-1", "+7", "0_7", "", True, 512, -1, 2.0])
    def test_that_is_none_or_could_be_meant_in_two_ways_is_refused(self, value):
        with pytest.raises(ConfigError, match="^umask: "):
            Config(umask=value)

    def test_tells_how_to_write_it(self):
        with pytest.raises(ConfigError, match="in octal it is 022"):
            Config(umask="22")


class TestEnv:
    def test_is_a_list_of_assignments(self):
        assert Config(env="A=1").env == ("A=1",)
        assert Config(env=["A=1=2", "B="]).env == ("A=1=2", "B=")

    @pytest.mark.parametrize("value", ["A", "=1", "", ["A=1", 2], 3, "A=\0"])
    def test_refuses_what_is_none(self, value):
        with pytest.raises(ConfigError, match="^env: "):
            Config(env=value)
