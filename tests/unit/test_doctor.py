"""`headrace doctor` (headrace.doctor): each part by itself, and the command."""

from __future__ import annotations

import importlib.metadata
import json
import os
import resource
import socket
import sys

import pytest
from click.testing import CliRunner

from headrace import __version__
from headrace.cli import main
from headrace.config import Config
from headrace.doctor import build, configuration, examine, machine
from headrace.doctor.findings import LEVELS, Finding, as_json, as_text, worst_of
from headrace.doctor.machine import CgroupLimits, cgroup_limits
from headrace.doctor.rehearsal import answer_of_child


def run(*arguments):
    return CliRunner().invoke(main, ["doctor", *map(str, arguments)])


def levels(findings):
    return [finding.level for finding in findings]


def one(findings):
    (finding,) = findings
    return finding


class TestReport:
    FINDINGS = (Finding("a", "ok", "one"), Finding("a", "warning", "two", "do it"), Finding("b", "note", "three"))

    def test_has_headings_levels_and_what_to_do(self):
        assert as_text(self.FINDINGS) == (
            "a:\n  ok       one\n  warning  two\n           -> do it\nb:\n  note     three\n\n"
            "1 ok, 1 note, 1 warning, 0 errors\n"
        )

    def test_has_one_heading_for_a_topic_that_comes_up_again(self):
        lines = as_text((*self.FINDINGS, Finding("a", "ok", "four"))).splitlines()
        assert lines.index("a:") < lines.index("  ok       four") < lines.index("b:")
        assert lines.count("a:") == 1

    def test_as_json_has_the_same_and_the_worst(self):
        report = json.loads(as_json(self.FINDINGS, "1.2"))
        assert (report["headrace"], report["worst"]) == ("1.2", "warning")
        assert report["findings"][1] == {"topic": "a", "level": "warning", "text": "two", "action": "do it"}

    def test_of_nothing_is_ok(self):
        assert worst_of([]) == "ok"


@pytest.fixture
def low_limits(monkeypatch):
    def set_limits(**values):
        limits = {getattr(resource, name): value for name, value in values.items()}
        monkeypatch.setattr(resource, "getrlimit", lambda which: limits.get(which, (resource.RLIM_INFINITY,) * 2))

    return set_limits


class TestLimits:
    def test_open_files_that_cannot_be_had_are_a_warning_with_the_figures(self, low_limits):
        low_limits(RLIMIT_NOFILE=(1024, 4096))
        found = one(machine.open_files(Config(worker_connections=10_000)))
        assert found.level == "warning"
        assert "4096 allowed, 10256 wanted for 10000 connections" in found.text
        assert "--worker-connections 3840" in found.action

    def test_open_files_that_are_raised_at_the_start_are_ok(self, low_limits):
        low_limits(RLIMIT_NOFILE=(1024, 1 << 20))
        found = one(machine.open_files(Config()))
        assert (found.level, found.text.endswith("1024 now, raised at the start")) == ("ok", True)

    def test_what_is_wanted_is_what_the_server_asks_for(self):
        from headrace.process import worker

        assert machine.DESCRIPTORS_BESIDE_CONNECTIONS == worker.DESCRIPTORS_BESIDE_CONNECTIONS

    def test_a_file_size_below_that_of_bodies_is_a_warning(self, low_limits):
        low_limits(RLIMIT_FSIZE=(1000, 1000))
        assert levels(machine.file_size(Config())) == ["warning"]
        assert levels(machine.file_size(Config(limit_request_body=1000))) == []

    @pytest.mark.parametrize(("somaxconn", "level"), [("128", "warning"), ("4096", "ok")])
    def test_a_backlog_that_the_kernel_cuts_is_a_warning(self, tmp_path, somaxconn, level):
        (tmp_path / "proc/sys/net/core").mkdir(parents=True)
        (tmp_path / "proc/sys/net/core/somaxconn").write_text(f"{somaxconn}\n")
        found = one(machine.backlog(Config(backlog=2048), tmp_path))
        assert (found.level, somaxconn in found.text) == (level, True)

    def test_a_system_without_somaxconn_has_no_finding(self, tmp_path):
        assert list(machine.backlog(Config(), tmp_path)) == []


@pytest.fixture
def root(tmp_path):
    """A tree with files: root({"proc/self/cgroup": "0::/a", ...})."""

    def make(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return make


class TestCgroups:
    def test_of_version_2_the_least_on_the_way_up_counts(self, root):
        tree = root(
            {
                "proc/self/cgroup": "0::/slice/app\n",
                "sys/fs/cgroup/slice/app/cpu.max": "max 100000\n",
                "sys/fs/cgroup/slice/app/memory.max": "536870912\n",
                "sys/fs/cgroup/slice/cpu.max": "150000 100000\n",
                "sys/fs/cgroup/slice/memory.max": "max\n",
            }
        )
        assert cgroup_limits(tree) == CgroupLimits(1.5, 512 << 20)

    def test_of_a_container_its_own_group_is_the_root(self, root):
        tree = root({"proc/self/cgroup": "0::/docker/abc\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"})
        assert cgroup_limits(tree) == CgroupLimits(0.5, None)

    def test_of_version_1_each_controller_has_its_tree(self, root):
        tree = root(
            {
                "proc/self/cgroup": "4:cpu:/app\n3:memory:/app\n",
                "sys/fs/cgroup/cpu/app/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu/app/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/memory/app/memory.limit_in_bytes": "1073741824\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            }
        )
        assert cgroup_limits(tree) == CgroupLimits(2.0, 1 << 30)

    @pytest.mark.parametrize("content", ["", "nonsense", "0::", ":::::\n\n", "\xff"])
    def test_that_cannot_be_read_say_nothing(self, root, content):
        assert cgroup_limits(root({"proc/self/cgroup": content})) == CgroupLimits()

    def test_without_proc_say_nothing(self, tmp_path):
        assert cgroup_limits(tmp_path) == CgroupLimits()

    def test_memory_that_bodies_could_fill_is_a_warning(self):
        found = one(machine.memory(Config(), CgroupLimits(None, 256 << 20)))
        assert (found.level, found.action[:22]) == ("warning", "--total-body-memory 64")
        assert levels(machine.memory(Config(), CgroupLimits(None, 4 << 30))) == ["ok"]
        assert levels(machine.memory(Config(), CgroupLimits())) == ["ok"]

    def test_less_than_a_processor_is_a_note(self):
        assert levels(machine.processors(Config(), CgroupLimits(0.5))) == ["note"]
        assert levels(machine.processors(Config(), CgroupLimits())) == ["ok"]


class TestContainers:
    @pytest.mark.parametrize(
        ("marker", "kind", "action"),
        [(".dockerenv", "Docker", "--graceful-timeout 5"), ("run/.containerenv", "Podman", "--graceful-timeout 5")],
    )
    def test_that_kill_before_the_graceful_timeout_are_a_note(self, root, monkeypatch, marker, kind, action):
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        tree = root({marker: ""})
        first, note, *_ = machine.container(Config(), tree)
        assert first.text == f"container: {kind}"
        assert (note.level, note.action.startswith(action)) == ("note", True)
        assert len(list(machine.container(Config(graceful_timeout=5), tree))) < 2 + (os.getpid() == 1) + 1

    def test_of_kubernetes_are_known_by_their_environment(self, tmp_path, monkeypatch):
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
        assert "container: Kubernetes" in [finding.text for finding in machine.container(Config(), tmp_path)]


class TestSpool:
    def test_on_a_tmpfs_is_a_warning(self, root, tmp_path):
        tree = root({"proc/self/mounts": f"disk / ext4 rw 0 0\nshm {os.path.realpath(tmp_path)} tmpfs rw 0 0\n"})
        found = one(machine.spool_folder(Config(spool_dir=str(tmp_path)), tree))
        assert (found.level, "it is a tmpfs" in found.text) == ("warning", True)

    def test_with_too_little_room_is_a_note(self, root, tmp_path):
        tree = root({"proc/self/mounts": "disk / ext4 rw 0 0\n"})
        for size, level in ((1 << 50, "note"), (1, "ok")):
            config = Config(spool_dir=str(tmp_path), total_body_spool=size)
            assert one(machine.spool_folder(config, tree)).level == level

    def test_that_is_nowhere_is_a_note(self, root):
        assert one(machine.spool_folder(Config(spool_dir="/hr-missing"))).level == "note"


class TestBinds:
    def test_a_free_port_is_ok(self):
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        assert one(configuration.examine_bind(f"127.0.0.1:{port}")) == Finding("binds", "ok", f"127.0.0.1:{port}: free")

    def test_a_port_that_is_in_use_is_an_error(self):
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            sock.listen()
            found = one(configuration.examine_bind(f"127.0.0.1:{sock.getsockname()[1]}"))
        assert (found.level, found.text.endswith(": address already in use")) == ("error", True)
        assert "ss -ltnp" in found.action

    def test_every_interface_is_a_note(self):
        assert one(configuration.examine_bind("0.0.0.0:0")).level == "note"

    @pytest.mark.parametrize("bind", ["hr-missing.invalid:80", "192.0.2.1:8000"])
    def test_an_address_that_is_not_ours_is_an_error(self, bind):
        assert one(configuration.examine_bind(bind)).level == "error"

    def test_a_unix_socket_is_free_stale_or_in_use(self, tmp_path):
        path = tmp_path / "s"
        bind = f"unix:{path}"
        assert one(configuration.examine_bind(bind)).text.endswith(": free")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
            sock.listen()
            found = one(configuration.examine_bind(bind))
            assert (found.level, found.text) == ("error", f"{bind}: in use")
        found = one(configuration.examine_bind(bind))
        assert (found.level, "stale" in found.text) == ("ok", True)
        assert path.exists(), "nothing was removed"

    def test_a_unix_socket_that_cannot_be_made_is_an_error(self, tmp_path):
        (tmp_path / "file").touch()
        for path in ("file", "missing/s"):
            assert one(configuration.examine_bind(f"unix:{tmp_path}/{path}")).level == "error"


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "level", "word"),
        [
            ({"keep_alive": 5}, "note", "--keep-alive"),
            ({"body_timeout": 60}, "note", "--graceful-timeout"),
            ({"drain_delay": 5}, "warning", "--health-path"),
            ({"limit_request_line": 1 << 20}, "warning", "limit_request_line"),
            ({"limit_request_field_size": 1 << 20}, "warning", "limit_request_field_size"),
            ({"total_body_spool": 1}, "warning", "total_body_spool"),
            ({"request_body_memory": 1 << 30}, "warning", "request_body_memory"),
            ({"threads": 8, "worker_connections": 4}, "warning", "worker_connections"),
            ({"threads": 1, "queue_deadline": 1}, "warning", "--queue-deadline"),
            ({"threads": 1, "health_path": "/h"}, "warning", "--health-path"),
        ],
    )
    def test_that_contradict_each_other_are_named(self, settings, level, word):
        config = Config(**settings)
        found = [*configuration.deadlines(config), *configuration.limits(config)]
        (named,) = [finding for finding in found if finding.level != "ok"]
        assert named.level == level
        assert word in named.text + named.action

    def test_that_are_the_defaults_do_not_contradict_each_other(self):
        assert levels(configuration.deadlines(Config())) == ["ok"]
        assert levels(configuration.deadlines(Config(drain_delay=5, health_path="/healthz"))) == ["ok"]
        assert levels(configuration.deadlines(Config(threads=1))) == ["ok"]
        assert levels(configuration.deadlines(Config(threads=2, queue_deadline=1, health_path="/healthz"))) == ["ok"]
        assert levels(configuration.limits(Config())) == ["ok"]

    def test_files_that_cannot_be_written_are_errors(self, tmp_path):
        config = Config(pid=str(tmp_path / "pid"), error_logfile="/hr-missing/log", spool_dir="/hr-missing")
        assert levels(configuration.files(config)) == ["ok", "error"]
        assert levels(configuration.spool_folder(config)) == ["error"]

    def test_a_daemon_without_a_log_is_a_warning(self, tmp_path):
        assert levels(configuration.files(Config(daemon=True))) == ["warning"]

    def test_users_that_nobody_knows_are_errors(self):
        assert levels(configuration.identity(Config(user="hr-missing", group="hr-gone"))) == ["error", "error"]

    def test_to_run_as_root_is_a_warning_and_not_to_be_able_to_change_is_an_error(self, monkeypatch):
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        assert levels(configuration.identity(Config())) == ["warning"]
        assert levels(configuration.identity(Config(user="nobody"))) == ["ok"]
        monkeypatch.setattr(os, "geteuid", lambda: 54321)
        assert levels(configuration.identity(Config())) == ["ok"]
        assert levels(configuration.identity(Config(user="54322", group="54322"))) == ["error"]


class TestTrust:
    @pytest.mark.parametrize(
        ("values", "found"),
        [
            ({"forwarded_allow_ips": ("*",), "bind": ("0.0.0.0:0",)}, ["warning"]),
            ({"forwarded_allow_ips": ("*",), "bind": ("127.0.0.1:0", "fd://3")}, ["warning"]),
            ({"forwarded_allow_ips": ("*",), "bind": ("127.0.0.1:0", "[::1]:0", "unix:/s")}, []),
            ({"forwarded_allow_ips": ("10.0.0.0/8",), "bind": ("0.0.0.0:0",)}, []),
            ({"proxy_protocol": True, "proxy_allow_from": ("*",), "bind": ("[::]:0",)}, ["warning"]),
            ({"proxy_protocol": False, "proxy_allow_from": ("*",), "bind": ("[::]:0",)}, []),
            ({"behind": "heroku", "forwarded_allow_ips": ("*",), "bind": ("0.0.0.0:0",)}, ["note"]),
        ],
    )
    def test_in_everybody_is_told_where_others_than_this_machine_can_connect(self, values, found):
        assert levels(configuration.trust(Config(**values))) == found


class TestExposure:
    @pytest.mark.parametrize(
        ("values", "found"),
        [
            ({}, ["ok"]),
            ({"reload": True, "bind": ("0.0.0.0:0",)}, ["warning"]),
            ({"reload": True, "bind": ("127.0.0.1:0", "unix:/s")}, ["ok"]),
            ({"stream_request_body": True}, ["note"]),
            ({"body_min_rate": 0}, ["warning"]),
            ({"head_timeout": 3600}, ["warning"]),
            ({"head_timeout": 60, "body_timeout": 600, "write_timeout": 600}, ["ok"]),
            ({"body_timeout": 3600, "write_timeout": 3600}, ["warning", "warning"]),
            ({"unix_socket_mode": "666", "bind": ("unix:/s",)}, ["note"]),
            ({"unix_socket_mode": "660", "bind": ("unix:/s",)}, ["ok"]),
            ({"unix_socket_mode": "666", "bind": ("127.0.0.1:0", "unix:@s")}, ["ok"]),
        ],
    )
    def test_of_the_server_by_its_settings_is_told(self, values, found):
        assert levels(configuration.exposure(Config(**values))) == found

    def test_of_the_memory_by_all_connections_is_told(self):
        few, many = Config(worker_connections=10), Config(worker_connections=10_000)
        assert levels(machine.connections(few, CgroupLimits(), 1 << 30)) == ["ok"]
        assert levels(machine.connections(few, CgroupLimits(None, 1 << 20), 1 << 30)) == ["warning"]
        assert levels(machine.connections(many, CgroupLimits(), None)) == []
        found = one(machine.connections(many, CgroupLimits(), 1 << 30))
        assert (found.level, found.action.startswith("--worker-connections 1147,")) == ("warning", True)
        assert one(machine.connections(Config(workers=200, worker_connections=10), CgroupLimits(), 1 << 29)).level == (
            "warning"
        )

    def test_of_the_memory_is_what_security_md_says(self):
        """"some 460 KiB" for each connection, "4.4 GiB for 10,000 of them"; test_documents.py reads the figures."""
        assert round(machine.connection_bytes(Config()) / 1024, -1) == 460
        assert round(machine.connection_bytes(Config()) * 10_000 / (1 << 30), 1) == 4.4


class TestBuild:
    def test_of_this_python_has_no_error(self):
        assert "error" not in levels(build.examine_build(Config()))

    def test_says_how_requests_are_read(self):
        assert "reads requests with" in next(build.compiled_part(Config())).text

    def test_has_the_libraries_of_users_each_once(self, monkeypatch):
        requirements = [
            "click>=8.1",
            'brotli>=1.1; extra == "compress"',
            'brotli>=1.2; extra == "compress"',
            'pytest>=8; extra == "test-free-threaded"',
            'brotli>=1.1; extra == "test-free-threaded"',
            'headrace[test-free-threaded]; extra == "test"',
            'mypy>=1.13; extra == "dev"',
        ]
        monkeypatch.setattr(importlib.metadata, "requires", lambda name: requirements)
        named = [finding.text.split()[0] for finding in build.libraries() if "PYTHONPATH" not in finding.text]
        assert named == ["click", "brotli"]

    def test_that_is_missing_is_an_error_with_what_to_do(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "headrace.engine", None)
        monkeypatch.delitem(sys.modules, "headrace.engine.debug", raising=False)
        assert one(build.compiled_part(Config())).level == "error"

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kqueue may be there")
    def test_a_poller_that_is_not_there_is_an_error(self):
        assert levels(build.compiled_part(Config(poller="kqueue")))[-1] == "error"
        assert levels(build.compiled_part(Config(poller="poll")))[-1] == "note"

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("click>=8.1", ("click", "")),
            ('brotli>=1.1; extra == "compress"', ("brotli", "compress")),
            ("urllib3<3,>=2.3 ; extra == 'balancer'", ("urllib3", "balancer")),
            ('zstandard>=0.23; python_version < "3.14" and extra == "compress"', ("zstandard", "compress")),
            ('old>=1; python_version < "3.5" and extra == "x"', ("", "")),
            ("", ("", "")),
        ],
    )
    def test_requirements_are_read(self, text, expected):
        assert build.parse_requirement(text) == expected


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    (tmp_path / "hr_checked.py").write_text("def application(environ, start_response): ...\n")
    yield tmp_path
    sys.modules.pop("hr_checked", None)


class TestCommand:
    def test_ends_with_0_and_a_summary_where_the_server_would_start(self, folder):
        result = run("hr_checked", "-b", "unix:s")
        assert result.exit_code == 0, result.output
        assert "  ok       hr_checked can be loaded\n" in result.output
        assert result.output.endswith(" 0 errors\n")
        assert not (folder / "s").exists()

    def test_ends_with_1_where_it_would_not(self, folder):
        (folder / "hr_bad.py").write_text("1 / 0")
        result = run("hr_bad", "-b", "unix:missing/s")
        assert result.exit_code == 1
        assert "importing hr_bad failed: ZeroDivisionError" in result.output
        assert "unix:missing/s: the folder missing is not there" in result.output

    def test_needs_no_application(self, folder):
        assert run("-b", "unix:s").exit_code == 0

    def test_as_json_is_nothing_but_json(self, folder):
        report = json.loads(run("--json", "-b", "unix:s").output)
        assert report["headrace"] == __version__
        assert {finding["level"] for finding in report["findings"]} <= set(LEVELS)
        assert {"python", "compiled part", "libraries", "limits", "machine", "spool", "binds", "user"} <= {
            finding["topic"] for finding in report["findings"]
        }

    def test_with_wrong_options_is_a_usage_error(self, folder):
        result = run("--keep-alive", "soon")
        assert (result.exit_code, result.output) == (2, "error: --keep-alive: 'soon' is not a number of seconds\n")

    def test_has_its_own_help_with_the_servers_options(self):
        text = run("--help").output
        assert text.startswith("Usage: headrace doctor [OPTIONS] [APPLICATION]")
        assert "--worker-connections" in text

    def test_each_finding_that_is_not_ok_says_what_to_do(self):
        for finding in examine(Config()):
            assert finding.level in ("ok", "note") or finding.action, finding


class TestLogConfiguration:
    @pytest.mark.parametrize(
        ("option", "text", "expected"),
        [
            ("log_config", "[formatters]\nkeys=\n[handlers]\nkeys=\n[loggers]\nkeys=root\n", "ok"),
            ("log_config", "[formatters]\nkeys=\n", "error"),
            ("log_config", '{"version": 1}', "error"),
            ("log_config", None, "error"),
            ("log_config_json", '{"version": 1}', "ok"),
            ("log_config_json", "[1]", "error"),
            ("log_config_json", "[loggers]", "error"),
        ],
    )
    def test_is_read_and_not_applied(self, tmp_path, option, text, expected):
        if text is not None:
            (tmp_path / "l").write_text(text)
        found = one(configuration.log_configuration(Config(**{option: str(tmp_path / "l")})))
        assert (found.level, found.topic) == (expected, "files")
        assert found.text.startswith(f"--{option.replace('_', '-')} {tmp_path}/l")

    def test_without_one_there_is_nothing_to_say(self):
        assert list(configuration.log_configuration(Config())) == []


class TestRehearsal:
    def test_the_work_is_done_in_another_process_and_its_answer_comes_back_whatever_its_size(self):
        code, answer = answer_of_child(lambda: [os.getpid(), "x" * (1 << 20)])
        assert code == 0
        assert answer[0] != os.getpid()
        assert len(answer[1]) == 1 << 20

    def test_one_that_ends_without_an_answer_has_an_exit_code(self):
        assert answer_of_child(lambda: os._exit(7)) == (7, None)
        assert answer_of_child(lambda: os.kill(os.getpid(), 9)) == (137, None)
