"""The interpreter's own tests of wsgiref, with headrace in wsgiref's place, on each Python that the suite runs on.

They replace the socket by objects in memory, send bare LF and compare whole answers: the standard path answers them.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

WITH_HEADRACE = """
import unittest
import alias, headrace.simple_server
from test import test_wsgiref
assert test_wsgiref.WSGIServer is headrace.simple_server.WSGIServer
assert test_wsgiref.make_server is headrace.simple_server.make_server
unittest.main(module=test_wsgiref, argv=["test_wsgiref"], verbosity=2)
"""
ALIAS = Path(__file__).parents[1] / "dropin"


def has_tests_of_wsgiref() -> bool:
    try:
        return importlib.util.find_spec("test.test_wsgiref") is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.skipif(
    not has_tests_of_wsgiref(), reason=f"{sys.executable} ships without its tests: no test.test_wsgiref to run"
)
def test_wsgirefs_own_tests_pass_with_headrace_in_its_place():
    outcome = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITH_HEADRACE],
        env={**os.environ, "PYTHONPATH": str(ALIAS)},
        capture_output=True,
        text=True,
        timeout=55,
    )
    assert outcome.returncode == 0, outcome.stderr
    ran = re.search(r"^Ran (\d+) tests", outcome.stderr, re.MULTILINE)
    assert ran and int(ran[1]) >= 30, outcome.stderr
