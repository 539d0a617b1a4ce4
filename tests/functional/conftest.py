"""One `headrace` process for all tests of a module.  The `command` fixture of tests/conftest.py starts others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wire
from command import Command

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """The application that the module names in APPLICATION, on a TCP and on a UNIX socket, by one process."""
    path = tmp_path_factory.mktemp("site") / "app.sock"
    site = Command(request.module.APPLICATION, "-b", "127.0.0.1:0", "-b", f"unix:{path}", binds=2)
    yield site
    assert site.end() == 0


@pytest.fixture(params=["tcp", "unix"])
def address(request: pytest.FixtureRequest, site: Command) -> str:
    """The URL of one of the two sockets of `site`."""
    return site.urls[0 if request.param == "tcp" else 1]


@pytest.fixture(scope="session")
def examples() -> Path:
    return EXAMPLES


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    """wait_until(condition, what)"""
    return wire.wait_until
