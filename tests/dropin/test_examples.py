"""examples/in_place_of_wsgiref.py: run as a program, and served by the command."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "in_place_of_wsgiref.py"
pytestmark = pytest.mark.skipif(not EXAMPLE.is_file(), reason="no examples beside the tests")


def test_serves_by_the_engine_until_ctrl_c():
    program = [sys.executable, str(EXAMPLE), "0"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().split()[-1]
        assert urlopen(url, timeout=10).read().decode() == f"WSGIServer/0.2 serves {url}/\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read().startswith("Ends; the engine was native: ")
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_is_an_application_for_the_command_as_well(command):
    client = command("examples/in_place_of_wsgiref.py", "-b", "127.0.0.1:0", cwd=EXAMPLE.parents[1]).client()
    client.request("GET", "/")
    assert client.getresponse().read().startswith(b"headrace")
    client.close()
