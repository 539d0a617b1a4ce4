"""The package as it is imported: light, typed, and clear about what is missing."""

from __future__ import annotations

import importlib.metadata
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
