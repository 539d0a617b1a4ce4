"""Servers that take turns: which are there, and in which order they go."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TypeVar

from harness import environments
from harness.servers import MORE_SERVERS, SERVERS, Missing, Server, Venvs

T = TypeVar("T")
Versions = dict[str, dict[str, str]]  # by server, then by package


def present(names: Sequence[str], venvs: Venvs) -> tuple[list[Server], Versions]:
    """The servers of these names that are installed; the others are named on stderr and skipped."""
    found, versions = [], {}
    for server in ((SERVERS | MORE_SERVERS)[name] for name in names):
        try:
            venvs.command(server, "", "", 0)
            installed = environments.versions(venvs, server)
        except Missing as error:
            print(f"skipped: {error}", file=sys.stderr)
            continue
        if server.package and server.package not in installed:
            print(f"skipped: {server.name}: {server.package} is not installed", file=sys.stderr)
            continue
        versions[server.name] = installed
        found.append(server)
    return found, versions


def in_turn(entries: Sequence[T], number: int) -> list[T]:
    """The order of a round: every round begins with another one, so that none is always behind the same one."""
    shift = number % len(entries)
    return [*entries[shift:], *entries[:shift]]
