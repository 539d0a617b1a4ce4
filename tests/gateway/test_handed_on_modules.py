"""headrace.handlers, .headers, .util, .validate and .types are the running interpreter's own wsgiref modules."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

HANDED_ON = ["handlers", "headers", "util", "validate"]

#: Names that programs use although __all__ does not have them (or there is none).
USED = {
    "handlers": ["BaseCGIHandler", "IISCGIHandler", "SimpleHandler", "format_date_time", "read_environ"],
    "headers": ["Headers", "tspecials", "_formatparam"],
    "util": ["FileWrapper", "is_hop_by_hop", "shift_path_info", "_hoppish"],
    "validate": ["WSGIWarning", "InputWrapper", "assert_", "check_environ", "check_headers", "check_status"],
}


def run(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20)


def public_names(module):
    return [name for name in vars(module) if not name.startswith("_")]


@pytest.mark.parametrize("name", HANDED_ON)
class TestHandedOnModule:
    def test_has_every_name_of_wsgirefs(self, name):
        own = importlib.import_module(f"wsgiref.{name}")
        ours = importlib.import_module(f"headrace.{name}")
        assert public_names(own)
        assert {key: getattr(ours, key) for key in public_names(own)} == {
            key: getattr(own, key) for key in public_names(own)
        }

    def test_has_the_names_that_are_used_though_they_are_not_public(self, name):
        program = f"from headrace.{name} import {', '.join(USED[name])}"
        assert run(program).stderr == ""

    def test_is_patched_together_with_wsgirefs(self, name):
        program = (
            f"import headrace.{name}, wsgiref.{name}\n"
            f"headrace.{name}.patched = 1\n"
            f"assert wsgiref.{name}.patched == 1\n"
            f"from headrace import {name}\n"
            f"assert {name}.patched == 1"
        )
        assert run(program).stderr == ""

    def test_gives_the_same_to_a_star(self, name):
        program = (
            f"from headrace.{name} import *\n"
            "ours = set(globals()) - {'ours'}\n"
            f"from wsgiref.{name} import *\n"
            "assert set(globals()) == ours | {'ours'}"
        )
        assert run(program).stderr == ""

    def test_can_be_imported_before_and_after_wsgirefs(self, name):
        for first, second in (("headrace", "wsgiref"), ("wsgiref", "headrace")):
            assert run(f"import {first}.{name}, {second}.{name}").stderr == ""

    def test_needs_nothing_compiled(self, name):
        program = f"import headrace.{name}, sys; assert 'headrace.engine' not in sys.modules"
        assert run(program).stderr == ""

    def test_says_that_it_goes_in_circles_when_wsgiref_already_is_an_alias(self, name):
        """Silence would give the program an empty module."""
        program = f"import headrace, sys; sys.modules['wsgiref'] = headrace; import wsgiref.{name}"
        assert "partially initialized module" in run(program).stderr


@pytest.mark.skipif(sys.version_info < (3, 11), reason="wsgiref.types came with Python 3.11")
def test_types_are_wsgirefs():
    import wsgiref.types

    import headrace.types

    assert headrace.types is wsgiref.types
    assert headrace.types.WSGIApplication is wsgiref.types.WSGIApplication


@pytest.mark.skipif(sys.version_info >= (3, 11), reason="wsgiref.types is there on this Python")
def test_types_are_missing_where_wsgirefs_are():
    with pytest.raises(ModuleNotFoundError, match=r"'headrace\.types'.*Python 3\.11") as caught:
        importlib.import_module("headrace.types")
    assert caught.value.name == "headrace.types"


class TestTypeChecker:
    """mypy reads the names above out of our modules, strictly."""

    @pytest.mark.parametrize("version", ["3.10", "3.13"])
    def test_knows_the_names(self, version, tmp_path):
        pytest.importorskip("mypy")
        program = tmp_path / "program.py"
        lines = [
            "from headrace.handlers import BaseHandler, CGIHandler, IISCGIHandler, SimpleHandler, read_environ",
            "from headrace.headers import Headers",
            "from headrace.util import FileWrapper, is_hop_by_hop, setup_testing_defaults, shift_path_info",
            "from headrace.validate import WSGIWarning, validator",
            "from headrace.gateway import run_with_cgi",
            "class Handler(CGIHandler):",
            "    wsgi_run_once = False",
            "first: str | None = shift_path_info({'PATH_INFO': '/a'})",
        ]
        if version != "3.10":
            lines += [
                "from headrace.types import StartResponse, WSGIApplication, WSGIEnvironment",
                "def application(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:",
                "    start_response('200 OK', [])",
                "    return [b'']",
                "checked: WSGIApplication = validator(application)",
                "run_with_cgi(application)",
            ]
        program.write_text("from __future__ import annotations\n" + "\n".join(lines) + "\n")
        command = [sys.executable, "-m", "mypy", "--strict", "--python-version", version, "--cache-dir", tmp_path]
        result = subprocess.run([*command, program], capture_output=True, text=True, timeout=60, cwd=tmp_path)
        assert (result.stdout, result.returncode) == ("Success: no issues found in 1 source file\n", 0)
