"""The package as it is imported: light, typed, and clear about what is missing."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import headrace
from headrace.engine import check_is_built


def modules_after(statement):
    """What a fresh interpreter has imported after the statement, beyond what it starts with."""
    program = f"import sys; before = set(sys.modules); {statement}; print(*sorted(set(sys.modules) - before))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    return result.stdout.split()


def test_the_version_is_the_distributions():
    assert headrace.__version__ == importlib.metadata.version("headrace")


def test_importing_headrace_imports_nothing_else_of_ours():
    modules = modules_after("import headrace")
    assert [name for name in modules if name.startswith("headrace")] == ["headrace"]
    assert "click" not in modules
    assert "socket" not in modules


def test_a_server_needs_no_command_line():
    assert "click" not in modules_after("import headrace; headrace.Server(lambda e, s: [], port=0).stop()")


def test_the_command_line_imports_nothing_that_serving_does_not_need():
    """Each worker would keep it in memory."""
    modules = modules_after("import headrace.cli, headrace.process.worker")
    for package in ("doctor", "migrate", "integrations", "middleware", "dropin", "config.reference"):
        assert f"headrace.{package}" not in modules


def test_nor_does_a_supervisor_keep_what_only_workers_or_rare_settings_need():
    modules = modules_after("import headrace.cli, headrace.process.supervisor")
    for name in ("headrace.engine.loop", "logging.config", "tempfile", "hashlib", "multiprocessing", "ssl", "tomllib"):
        assert name not in modules


def test_the_package_says_that_it_is_typed():
    assert (Path(headrace.__file__).parent / "py.typed").is_file()


class TestMissingExtensions:
    def test_nothing_is_said_when_they_are_there(self, tmp_path):
        (tmp_path / f"environ{EXTENSION_SUFFIXES[0]}").touch()
        check_is_built(tmp_path)

    def test_another_pythons_build_is_named_beside_ours(self, tmp_path):
        (tmp_path / "environ.cpython-37m-x86_64-linux-gnu.so").touch()
        with pytest.raises(ImportError) as caught:
            check_is_built(tmp_path)
        assert EXTENSION_SUFFIXES[0] in str(caught.value)
        assert "environ.cpython-37m-x86_64-linux-gnu.so" in str(caught.value)
        assert "hint: install Headrace with this interpreter" in str(caught.value)

    def test_a_checkout_that_was_not_built_is_told_how(self, tmp_path):
        (tmp_path / "environ.pyx").touch()
        with pytest.raises(ImportError, match="holds the sources only\nhint: build it, which takes a C compiler"):
            check_is_built(tmp_path)

    def test_an_incomplete_installation_is_told_so(self, tmp_path):
        with pytest.raises(ImportError, match=f"missing from {tmp_path}\nhint: install a wheel"):
            check_is_built(tmp_path)


WHEELS = Path(__file__).parents[2] / ".github" / "workflows" / "wheels.yml"


@pytest.mark.skipif(not WHEELS.is_file(), reason="no workflow beside the tests")
def test_wheels_are_built_for_both_kinds_of_linux_and_of_macos_on_runners_that_exist():
    """macos-13, the last plain name for Intel, went in December 2025; macos-15 is arm64."""
    (matrix,) = re.findall(r"^ +os: \[(.*)\]$", WHEELS.read_text(), re.MULTILINE)
    assert matrix.split(", ") == ["ubuntu-24.04", "ubuntu-24.04-arm", "macos-15-intel", "macos-15"]
