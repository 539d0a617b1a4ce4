"""Servers in a process of their own, which tests may stop, fork in and end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wire
from command import Command


@pytest.fixture
def default_settings() -> dict[str, Any]:
    """Many tests stop a server while clients are there, which would wait for them to close."""
    return {"linger_timeout": 0.2}


@pytest.fixture
def apart(tmp_path: Path, command: Callable[..., Command]) -> Callable[..., Command]:
    """apart(source, *options): `headrace` serves the application of this Python source."""

    def start(source: str, *options: object) -> Command:
        path = tmp_path / "served.py"
        path.write_text(source)
        return command(path, "-b", "127.0.0.1:0", *options)

    return start


@pytest.fixture
def client_of() -> Iterator[Callable[..., wire.Client]]:
    """client_of(process): a wire.Client that closes when the test ends."""
    made: list[wire.Client] = []

    def connect(process: Command, **options: object) -> wire.Client:
        host, _, port = process.url.removeprefix("http://").rpartition(":")
        made.append(wire.Client((host, int(port)), watched=False, **options))  # type: ignore[arg-type]
        return made[-1]

    yield connect
    for client in made:
        client.close()
