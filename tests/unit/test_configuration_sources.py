"""Where settings come from (headrace.config.resolve): command line, environment, files; what goes before what."""

from __future__ import annotations

import os
import re
import sys

import click
import pytest
from click.testing import CliRunner

from headrace.cli import main
from headrace.config import SETTINGS, ConfigError
from headrace.config.aliases import ALIASES, all_aliases
from headrace.config.command_line import _BIND_PARTS, layer_of, make_options, sources_of
from headrace.config.environment import environment_layer
from headrace.config.given import value_of_text
from headrace.config.gunicorn_hook_names import HOOKS
from headrace.config.gunicorn_names import NAMES, names_layer
from headrace.config.gunicorn_options import HINTS, REFUSED, SWITCHES
from headrace.config.setting import Setting

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    for name in [name for name in os.environ if name.startswith(("HEADRACE_", "GUNICORN_"))] + ["PORT"]:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def resolved(folder, *words, **environ):
    """What the words and the environment come to, in that folder."""
    context = main.make_context("headrace", list(words))
    return sources_of(main, context.params, words, environ, folder).read()


def shown(*words):
    """--print-config: setting -> (value, where it comes from)."""
    result = CliRunner().invoke(main, ["--print-config", *words])
    assert result.exit_code == 0, result.output
    return result


def problems(resolved):
    with pytest.raises(ConfigError) as caught:
        resolved.config()
    return set(caught.value.problems)


class TestPrecedence:
    def test_each_source_goes_before_the_next(self, folder):
        (folder / "gunicorn.conf.py").write_text("backlog = 1\n")
        layers = [
            ({}, [], 1, "gunicorn.conf.py: backlog"),
            ({"GUNICORN_CMD_ARGS": "--backlog=2"}, [], 2, "GUNICORN_CMD_ARGS: --backlog"),
            ({"HEADRACE_BACKLOG": "3"}, [], 3, "HEADRACE_BACKLOG"),
            ({}, ["--backlog", "4"], 4, "--backlog"),
        ]
        environ = {}
        for variables, words, value, spelled in layers:
            environ |= variables
            found = resolved(folder, *words, **environ)
            assert found.config().backlog == value
            assert found.spelled("backlog") == spelled

    def test_what_platforms_set_is_beneath_files(self, folder):
        assert resolved(folder, PORT="5000").config().bind == ("0.0.0.0:5000",)
        (folder / "headrace.toml").write_text('bind = "127.0.0.1:1"\n')
        assert resolved(folder, PORT="5000").config().bind == ("127.0.0.1:1",)

    def test_a_port_that_is_no_number_is_left_alone_and_named(self, folder):
        found = resolved(folder, PORT="tcp://10.0.0.1:80")
        assert found.config().bind == ("127.0.0.1:8000",)
        assert found.notices[0].text == "PORT is not used: 'tcp://10.0.0.1:80' is not a number"

    def test_gunicorns_default_of_one_thread_holds_where_its_configuration_is_read(self, folder):
        assert resolved(folder).config().threads == 8
        assert resolved(folder, GUNICORN_CMD_ARGS="-b :80").config().threads == 1
        (folder / "gunicorn.conf.py").write_text("")
        assert resolved(folder).config().threads == 1
        assert resolved(folder, HEADRACE_THREADS="3").config().threads == 3

    def test_reading_again_finds_what_has_changed_though_the_folder_is_another(self, folder, monkeypatch):
        (folder / "gunicorn.conf.py").write_text("backlog = 1\n")
        sources = sources_of(main, main.make_context("headrace", []).params, [], {}, folder)
        assert sources.read().config().backlog == 1
        monkeypatch.chdir("/")
        (folder / "gunicorn.conf.py").write_text("backlog = 22\n")
        assert sources.read().config().backlog == 22


class TestWhatMeansSomethingElseToGunicorn:
    @pytest.mark.parametrize(
        ("file", "environ"),
        [
            ("forwarded_allow_ips = '127.0.0.1'", {}),
            ("", {"GUNICORN_CMD_ARGS": "--forwarded-allow-ips=127.0.0.1"}),
            ("", {"FORWARDED_ALLOW_IPS": "127.0.0.1"}),
        ],
    )
    def test_peers_at_a_unix_socket_are_believed_whatever_forwarded_allow_ips_says(self, folder, file, environ):
        (folder / "gunicorn.conf.py").write_text(file + "\n")
        assert resolved(folder, **environ).config().forwarded_allow_ips == ("127.0.0.1", "unix")

    def test_nobody_and_everybody_stay_what_they_are_and_our_own_words_mean_what_they_say(self, folder):
        conf = folder / "gunicorn.conf.py"
        for text, expected in (("", ()), ("*", ("*",)), ("unix, ::1", ("unix", "::1"))):
            conf.write_text(f"forwarded_allow_ips = {text!r}\n")
            assert resolved(folder).config().forwarded_allow_ips == expected
        conf.write_text("headrace = {'forwarded_allow_ips': ['10.0.0.0/8']}\n")
        assert resolved(folder).config().forwarded_allow_ips == ("10.0.0.0/8",)
        assert resolved(folder, "--forwarded-allow-ips", "::1").config().forwarded_allow_ips == ("::1",)

    @pytest.mark.parametrize(
        ("text", "kind"),
        [
            ("worker_class = 'gthread'", "gthread"),
            ("threads = 4", "gthread"),
            ("worker_class = 'sync'\nthreads = '4'", "gthread"),
            ("worker_class = 'gevent'", "gevent"),
        ],
    )
    def test_a_timeout_that_limits_no_request_there_is_off_and_named(self, folder, text, kind):
        (folder / "gunicorn.conf.py").write_text(f"timeout = 30\n{text}\n")
        found = resolved(folder)
        assert found.config().timeout == 0
        (notice,) = [notice for notice in found.notices if "timeout" in notice.text]
        assert notice.text.startswith("gunicorn.conf.py: timeout is off here: ")
        assert f"class {kind}" in notice.text
        assert "--timeout 30 " in notice.hint
        assert resolved(folder, "--timeout", "20").config().timeout == 20, "our own limits each request"

    def test_a_timeout_of_sync_workers_limits_each_request_as_there(self, folder):
        (folder / "gunicorn.conf.py").write_text("timeout = 30\nthreads = 1\n")
        found = resolved(folder, "--threads", "4")
        assert (found.config().timeout, found.notices) == (30.0, ())
        found = resolved(folder, GUNICORN_CMD_ARGS="--timeout 9 -k gthread")
        assert found.config().timeout == 0
        assert found.notices[0].text.startswith("GUNICORN_CMD_ARGS: --timeout is off here: ")

    def test_its_arguments_have_gunicorns_0_for_no_limit_and_ours_do_not(self, folder):
        found = resolved(folder, GUNICORN_CMD_ARGS="--limit-request-line 0 --limit-request-field_size 0")
        assert (found.config().limit_request_line, found.config().limit_request_field_size) == (1 << 20, 1 << 20)
        assert problems(resolved(folder, "--limit-request-line", "0"))

    def test_a_timeout_that_is_wrong_is_wrong_in_any_worker(self, folder):
        (folder / "gunicorn.conf.py").write_text("timeout = 'soon'\nthreads = 4\n")
        assert problems(resolved(folder)) == {"gunicorn.conf.py: timeout: 'soon' is not a number of seconds"}

    def test_a_timeout_in_the_files_dict_called_headrace_is_our_own(self, folder):
        (folder / "gunicorn.conf.py").write_text("threads = 4\nheadrace = {'timeout': 30}\n")
        found = resolved(folder)
        assert (found.config().timeout, found.notices) == (30.0, ())

    def test_sockets_that_systemd_has_passed_go_before_a_bind_that_was_written_for_gunicorn(self, folder):
        (folder / "gunicorn.conf.py").write_text("bind = 'unix:/run/shop.sock'\n")
        passed = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
        found = resolved(folder, **passed)
        assert found.config().bind == ("systemd",)
        assert found.notices[0].text.startswith("gunicorn.conf.py: bind is not used: systemd has passed sockets")
        assert resolved(folder, HEADRACE_FD_BINDS='["systemd", "systemd 2"]').config().bind == ("systemd",)
        assert resolved(folder, "-b", "127.0.0.1:1", **passed).config().bind == ("127.0.0.1:1",)
        for others in ({"LISTEN_PID": "1", "LISTEN_FDS": "1"}, passed | {"LISTEN_FDS": "0"}, {}):
            found = resolved(folder, **others)
            assert (found.config().bind, found.notices) == (("unix:/run/shop.sock",), ())


class TestFiles:
    def test_the_first_of_the_default_files_is_read(self, folder):
        (folder / "gunicorn.conf.py").write_text("backlog = 1\nthreads = 5\n")
        (folder / "pyproject.toml").write_text("[tool.other]\nx = 1\n")
        assert resolved(folder).files == ("gunicorn.conf.py",)
        (folder / "pyproject.toml").write_text("[tool.headrace]\nbacklog = 2\n")
        found = resolved(folder)
        assert (found.files, found.config().backlog) == (("pyproject.toml",), 2)
        assert found.notices[0].text == "gunicorn.conf.py is not read: pyproject.toml is there"
        (folder / "headrace.toml").write_text("backlog = 3\n")
        assert resolved(folder).config().backlog == 3

    def test_toml_can_be_laid_over_a_gunicorn_conf_py(self, folder):
        (folder / "conf").mkdir()
        (folder / "conf" / "g.py").write_text("backlog = 1\nthreads = 5\n")
        (folder / "headrace.toml").write_text('config = "conf/g.py"\nbacklog = 2\n')
        found = resolved(folder)
        assert (found.config().backlog, found.config().threads) == (2, 5)
        assert found.spelled("threads").endswith("conf/g.py: threads")

    def test_names_in_toml_are_ours_or_gunicorns_with_either_dash(self, folder):
        (folder / "headrace.toml").write_text(
            'keepalive = 5\nlimit-request-body = "10m"\nlog_level = "WARN"\nfactory = true\nenv = ["A=b,c"]\n'
        )
        config = resolved(folder).config()
        assert (config.keep_alive, config.limit_request_body, config.log_level) == (5.0, 10 << 20, "warning")
        assert config.factory is True
        assert config.env == ("A=b,c",)

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("backlog = 0", "headrace.toml: backlog: 0 is outside the range 1 to 65535 connections"),
            ("baklog = 1", "headrace.toml: baklog: there is no such setting; did you mean backlog?"),
            ('factory = "perhaps"', "headrace.toml: factory: 'perhaps' is not True or False"),
            ("keepalive = 1\nkeep_alive = 2", "headrace.toml: keep_alive: headrace.toml: keepalive says something"),
        ],
    )
    def test_what_is_wrong_is_told_with_the_name_of_the_file(self, folder, text, problem):
        (folder / "headrace.toml").write_text(text)
        assert any(told.startswith(problem) for told in problems(resolved(folder)))

    def test_a_file_that_is_no_toml_or_without_the_section_is_an_error(self, folder):
        for text in ("backlog = \n", "env = " + 5000 * "["):
            (folder / "headrace.toml").write_text(text)
            with pytest.raises(ConfigError, match=r"headrace\.toml: is not TOML: "):
                resolved(folder)
        (folder / "headrace.toml").unlink()
        (folder / "pyproject.toml").write_text("[project]\n")
        with pytest.raises(ConfigError, match=r"there is no \[tool\.headrace\] in it"):
            resolved(folder, "-c", "pyproject.toml")

    def test_a_broken_pyproject_of_somebody_else_keeps_nobody_from_starting(self, folder):
        (folder / "pyproject.toml").write_text("[broken\n")
        assert resolved(folder).files == ()

    def test_the_environment_can_name_the_file(self, folder):
        (folder / "other.toml").write_text("backlog = 7\n")
        assert resolved(folder, HEADRACE_CONFIG="other.toml").config().backlog == 7


class TestEnvironment:
    def test_every_setting_has_a_variable(self):
        for setting in SETTINGS.values():
            layer = environment_layer({f"HEADRACE_{setting.name.upper()}": "1"})
            assert list(layer.values) == [setting.name]

    def test_switches_lists_and_sizes_are_read(self, folder):
        config = resolved(
            folder,
            HEADRACE_DATE_HEADER="false",
            HEADRACE_BIND="127.0.0.1:1, unix:/x",
            HEADRACE_LIMIT_REQUEST_BODY="2k",
            HEADRACE_BACKLOG="",
        ).config()
        assert (config.date_header, config.bind, config.limit_request_body) == (False, ("127.0.0.1:1", "unix:/x"), 2048)
        assert config.backlog == 2048

    def test_names_of_no_setting_are_told_but_for_what_kubernetes_sets(self):
        of_a_service = {"HEADRACE_PORT": "tcp://1", "HEADRACE_SERVICE_HOST": "h", "HEADRACE_PORT_80_TCP_PROTO": "tcp"}
        ours = {"HEADRACE_DEBUG": "1", "HEADRACE_CONFIG": "x"}
        mistaken = {"HEADRACE_BAKLOG": "1", "HEADRACE_ACCESSLOG": "-", "HEADRACE_NOSUCH": "1"}
        layer = environment_layer(of_a_service | ours | mistaken)
        assert [(notice.text, notice.hint) for notice in layer.notices] == [
            ("HEADRACE_BAKLOG is no setting", "did you mean HEADRACE_BACKLOG?"),
            ("HEADRACE_ACCESSLOG is no setting", "did you mean HEADRACE_ACCESS_LOGFILE?"),
            ("HEADRACE_NOSUCH is no setting", "see docs/settings.md, or headrace --help"),
        ]

    def test_all_problems_of_all_sources_come_at_once_in_the_words_that_were_used(self, folder):
        (folder / "gunicorn.conf.py").write_text("keepalive = -1\ncertfile = 'x'\n")
        found = resolved(folder, "-b", "::1", HEADRACE_BACKLOG="many", GUNICORN_CMD_ARGS="--threads 0 --nonsense")
        told = {problem.split(": ")[0] + ": " + problem.split(": ")[1] for problem in problems(found)}
        assert {"gunicorn.conf.py: keepalive", "gunicorn.conf.py: certfile"} <= told
        assert any(problem.startswith("-b: '::1' needs brackets") for problem in problems(found))
        assert "HEADRACE_BACKLOG: 'many' is not a whole number of connections" in problems(found)
        assert any(re.match("GUNICORN_CMD_ARGS: .*--nonsense", problem) for problem in problems(found))


class TestShowing:
    def test_print_config_is_toml_with_where_each_value_comes_from(self, folder):
        (folder / "headrace.toml").write_text("keep-alive = 5\n")
        text = shown("-b", "127.0.0.1:9").output
        values = tomllib.loads(text)
        assert values["keep_alive"] == 5.0
        assert values["bind"] == ["127.0.0.1:9"]
        assert set(values) <= set(SETTINGS)
        lines = {line.split(" ")[0]: line.rpartition("# ")[2] for line in text.splitlines()}
        assert lines["keep_alive"] == "headrace.toml: keep-alive"
        assert lines["bind"] == "-b"
        assert lines["backlog"] == "default"

    def test_what_is_printed_can_be_read_back(self, folder):
        text = shown("--threads", "3", "--no-date-header").output
        (folder / "headrace.toml").write_text(text)
        config = resolved(folder).config()
        assert (config.threads, config.date_header) == (3, False)

    def test_check_config_loads_the_application_and_serves_nothing(self, folder):
        (folder / "hr_checked.py").write_text("def app(environ, start_response): ...\n")
        assert CliRunner().invoke(main, ["--check-config", "hr_checked"]).exit_code == 0
        assert CliRunner().invoke(main, ["--check-config", "hr_checked:none"]).exit_code == 3
        result = CliRunner().invoke(main, ["--check-config", "hr_checked", "--backlog=0"])
        assert (result.exit_code, result.output[:16]) == (2, "error: --backlog")


    def test_check_config_names_every_log_and_pid_file_that_could_not_be_written(self, folder):
        (folder / "hr_checked.py").write_text("def app(environ, start_response): ...\n")
        words = ["--log-config", "nothere.ini", "--access-logfile", "/no/such/dir/a", "--pid", "/no/such/p"]
        result = CliRunner().invoke(main, ["--check-config", "hr_checked", *words])
        assert result.exit_code == 1
        assert result.output.splitlines() == [
            "error: --pid /no/such/p cannot be written",
            "error: --access-logfile /no/such/dir/a cannot be written",
            "error: --log-config nothere.ini cannot be read: no such file or directory",
        ]


class TestOtherServersFlags:
    @pytest.mark.parametrize(
        ("words", "name", "value"),
        [
            (["--host", "::1", "--port", "80"], "bind", ("[::1]:80",)),
            (["--port", "80"], "bind", ("127.0.0.1:80",)),
            (["--uds", "/x"], "bind", ("unix:/x",)),
            (["--listen=*:80", "--listen", "h:1"], "bind", ("0.0.0.0:80", "[::]:80", "h:1")),
            (["--timeout-keep-alive", "3"], "keep_alive", 3.0),
            (["--channel-timeout=60"], "keep_alive", 60.0),
            (["--no-http1-keep-alive"], "keep_alive", 0.0),
            (["--http1-header-read-timeout", "1500"], "head_timeout", 1.5),
            (["--workers-kill-timeout", "1m30s"], "graceful_timeout", 90.0),
            (["--timeout-graceful-shutdown", "9"], "graceful_timeout", 9.0),
            (["--blocking-threads", "2"], "threads", 2),
            (["--connection-limit", "50"], "worker_connections", 50),
            (["--max-request-body-size", "1000"], "limit_request_body", 1000),
            (["--inbuf-overflow", "1000"], "request_body_memory", 1000),
            (["--app-dir", "src"], "pythonpath", "src"),
            (["--working-dir", "/"], "chdir", "/"),
            (["--call"], "factory", True),
            (["--access-log"], "access_logfile", "-"),
            (["--no-access-log"], "access_logfile", None),
            (["--log-level", "WARN"], "log_level", "warning"),
            (["--date-header"], "date_header", True),
            (["--no-factory"], "factory", False),
        ],
    )
    def test_are_understood_in_their_units(self, folder, words, name, value):
        assert getattr(resolved(folder, *words).config(), name) == value

    def test_several_values_and_flags_for_one_list_add_up(self, folder):
        words = ["--reload", "--reload-dir", "a", "--reload-dir=b", "--reload-include", "c/*.x", "--reload-paths", "d"]
        assert resolved(folder, *words).config().reload_include == ("c/*.x", "a", "b", "d")

    def test_variables_of_uvicorn_and_granian_are_named_and_those_of_services_are_not(self, folder):
        environ = {"UVICORN_PORT": "80", "UVICORN_HOST": "h", "GRANIAN_SERVICE_HOST": "10.0.0.1", "GRANIAN_PORT": "tcp://h"}
        (notice,) = resolved(folder, **environ).notices
        assert notice.text == "UVICORN_HOST, UVICORN_PORT: variables of uvicorn are not read"

    def test_no_alias_takes_the_place_of_a_flag_of_gunicorns(self):
        gunicorns = set(HINTS) | {flag for setting in SETTINGS.values() for flag in setting.flags}
        assert not set(all_aliases()) & {flag for flag in gunicorns if flag != "--preload"}

    def test_every_alias_leads_somewhere_or_says_what_to_do(self):
        for flag, alias in ALIASES.items():
            assert alias.servers
            assert not alias.hint.endswith("."), flag
            assert not alias.refused or alias.hint, flag
            assert alias.setting in SETTINGS or alias.setting in ("", *_BIND_PARTS), flag
            assert not alias.setting or not alias.hint, f"{flag}: nobody sees the hint"
            assert not any(flag in setting.flags for setting in SETTINGS.values()), f"{flag} is our own"

    def test_two_spellings_of_one_setting_must_not_contradict(self, folder):
        found = resolved(folder, "--keep-alive", "5", "--timeout-keep-alive", "6")
        assert problems(found) == {"--timeout-keep-alive: --keep-alive says something else; leave one of them out"}
        assert resolved(folder, "--keep-alive", "5", "--timeout-keep-alive", "5").config().keep_alive == 5

    def test_tls_and_asgi_are_errors_and_tuning_is_a_warning(self, folder):
        found = resolved(folder, "--ssl-keyfile", "k", "--interface", "asgi", "--send-bytes", "1", "--http", "2")
        assert {problem.split(":")[0] for problem in problems(found)} == {"--ssl-keyfile", "--interface", "--http"}
        assert [notice.text for notice in found.notices] == ["--send-bytes has no counterpart here"]


class TestGunicornNames:
    def test_all_are_taken_named_or_harmless(self):
        for name in NAMES - {"check_config", "print_config", "worker_class"}:
            layer = names_layer({name: "x"}, "g")
            assert layer.values or layer.problems or layer.notices, name

    def test_values_that_say_off_are_not_mentioned(self):
        for value in (None, False, 0, "", [], {}):
            names = {name: value for name in NAMES if name not in SETTINGS and name != "wsgi_app"}
            assert names_layer(names, "g").notices == []

    def test_a_programs_own_variables_are_left_alone(self):
        layer = names_layer({"poller": "x", "host": "h", "head_timeout": "soon", "__name__": "x"}, "g")
        assert not layer.values
        assert not layer.problems

    def test_a_dict_called_headrace_holds_what_gunicorn_lacks(self):
        layer = names_layer({"headrace": {"head_timeout": 3, "nonsense": 1}}, "g")
        assert layer.values["head_timeout"].value == 3
        assert layer.problems == ["g: headrace['nonsense']: there is no such setting"]

    def test_workers_for_asgi_are_refused(self):
        assert names_layer({"worker_class": "uvicorn.workers.UvicornWorker"}, "g").problems[0].startswith(
            "g: worker_class: 'uvicorn.workers.UvicornWorker' is for ASGI"
        )

    def test_no_limit_is_the_largest_here(self):
        assert names_layer({"limit_request_line": 0}, "g").values["limit_request_line"].value == 1 << 20

    def test_rows_of_the_tables_are_rows_of_hints(self):
        assert set(HINTS) >= REFUSED
        assert set(HINTS) >= SWITCHES - {flag for setting in SETTINGS.values() for flag in setting.flags}
        assert len(HOOKS) == 15


def test_every_option_has_a_parameter_of_its_own():
    names = [option.name for option in make_options()]
    assert len(names) == len(set(names))


def test_options_that_are_not_given_are_in_no_layer():
    context = main.make_context("headrace", [])
    assert layer_of(context.params, []).values == {}


@pytest.mark.parametrize(("text", "value"), [("on", True), ("No", False), ("maybe", "maybe")])
def test_a_switch_is_a_word(text, value):
    assert value_of_text(SETTINGS["factory"], text) == value


class TestSettingsToCome:
    """A row of the table is all that an option needs: names, flags, aliases and hints follow."""

    @pytest.fixture
    def table(self, monkeypatch):
        rows = [
            Setting("hr_tmp", "text", None, "Limits", ("--worker-tmp-dir",), "Help.", optional=True),
            Setting("sendfile", "switch", True, "Limits", ("--no-sendfile",), "Help."),
        ]
        for row in rows:
            monkeypatch.setitem(SETTINGS, row.name, row)

    def test_gunicorns_names_find_them_by_name_or_by_flag(self, table):
        names = {"worker_tmp_dir": "/dev/shm", "sendfile": False, "preload_app": False, "proc_name": "shop"}
        values = names_layer(names, "g").values
        found = {name: given.value for name, given in values.items()}
        assert found == {"hr_tmp": "/dev/shm", "sendfile": False, "preload": False, "proc_name": "shop"}

    def test_their_hints_go_and_other_servers_flags_lead_to_them(self, table):
        command = click.Command("x", params=make_options())
        words = ["--worker-tmp-dir=t", "--no-sendfile", "--preload", "--workers-max-rss", "2", "--process-name", "n"]
        layer = layer_of(command.make_context("x", words).params, words)
        assert not layer.notices
        found = {name: given.value for name, given in layer.values.items()}
        assert found == {"hr_tmp": "t", "sendfile": False, "preload": True, "max_rss": 2 << 20, "proc_name": "n"}
