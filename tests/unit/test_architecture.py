"""Imports run one way (ARCHITECTURE.md): read from the sources, .py, .pyx and .pxd alike."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "src" / "headrace"

#: A module may import from the floors below its own, and from its own room.
FLOORS = [
    ["handlers", "headers", "types", "util", "validate"],  # wsgiref's own
    ["networks", "referee"],
    ["forwarded_fields"],
    ["errors", "config"],
    [
        "wsgi", "engine.csrc", "engine.debug", "engine.interpreter", "engine.slot", "engine.record",
        "engine.request_start", "engine.signal_handler",
    ],
    ["engine.forwarded_rules", "engine.proxy_errors"],
    ["engine.access_lines", "engine.fields", "engine.gateway", "gateway"],
    ["observe"],
    ["engine.environ", "engine.body", "engine.server_environ", "engine.acceptor", "engine.referee"],
    ["engine.response_head", "engine.head"],
    ["engine.response"],
    ["engine.stream"],
    ["engine.thread"],
    ["engine.channel", "engine.sentinel"],
    ["engine.exchange", "engine.connection_table"],
    ["engine.connection"],
    ["engine.crew"],
    ["engine.accepting"],
    ["engine.polling"],
    ["engine.stopping"],
    ["engine.watching"],
    ["engine.working"],
    ["engine.loop"],
    ["dropin"],
    ["simple_server"],
    ["process.owners", "process.systemd", "process.signals"],
    ["middleware"],
    ["process.application", "process.scoreboard", "process.identity", "process.pid_file", "process.daemon"],
    ["process.listeners"],
    ["process.watch_list", "process.broken", "process.logs"],
    ["process.reloader"],
    ["process.development"],
    ["process.worker"],
    ["process.descendant", "process.folders", "process.hooks", "process.messages", "process.preload",
     "process.slots",
     "process.timing", "process.wear"],
    ["process.bound", "process.plan", "process.handover"],
    ["process.supervised"],
    ["process.template"],
    ["process.generation"],
    ["process.process_table", "process.upgrade"],
    ["process.stuck", "process.stopping"],
    ["process.supervisor"],
    ["integrations"],
    ["migrate"],
    ["doctor"],
    ["launch"],
    ["", "cli", "__main__"],
]


SUFFIXES = (".py", ".pyx", ".pxd")


def name_of(path):
    parts = path.relative_to(SOURCES).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


FILES = sorted(path for path in SOURCES.rglob("*.p*") if path.suffix in SUFFIXES)
MODULES = {name_of(path) for path in FILES}


def floor_of(module):
    """The floor, and the room on it: config.settings is on the ground floor in the room config."""
    for number, rooms in enumerate(FLOORS):
        for room in rooms:
            if module == room or (room and module.startswith(room + ".")):
                return number, room
    return None


def python_imports(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def cython_imports(path):
    text = path.read_text(encoding="utf-8")
    for module, names in re.findall(r"^\s*from (headrace[\w.]*) c?import ((?:\([^)]*\))|.*)", text, re.MULTILINE):
        yield from (f"{module}.{name}" for name in re.findall(r"\w+", names))
    yield from re.findall(r"^\s*c?import (headrace[\w.]*)", text, re.MULTILINE)


def imported_modules(path):
    """Ours only, without the leading "headrace."."""
    imports = python_imports(path) if path.suffix == ".py" else cython_imports(path)
    for name in imports:
        if name != "headrace" and not name.startswith("headrace."):
            continue
        inner = name.removeprefix("headrace").removeprefix(".")
        while inner and inner not in MODULES:  # the name of something in the module
            inner = inner.rpartition(".")[0]
        yield inner


def rule_broken(module, imported):
    mine, theirs = floor_of(module), floor_of(imported)
    if mine is None or theirs is None:
        return f"{module} imports {imported}: FLOORS does not know {module if mine is None else imported}"
    if theirs[0] < mine[0]:
        return None
    same_room = mine == theirs and mine[1] != ""
    siblings = module.startswith("engine.") and mine[0] == theirs[0]
    return None if same_room or siblings else f"{module} must not import {imported}"


@pytest.mark.skipif(not SOURCES.is_dir(), reason="no sources beside the tests")
class TestImports:
    def test_every_module_has_its_floor(self):
        homeless = {name for name in MODULES if floor_of(name) is None}
        assert homeless - {"engine", "process", "observe"} == set()

    @pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCES)))
    def test_run_one_way(self, path):
        module = name_of(path)
        allowed_root = module in ("cli", "__main__")
        for imported in imported_modules(path):
            if imported == module or (imported == "" and allowed_root) or (module == "__main__" and imported == "cli"):
                continue
            broken = rule_broken(module, imported)
            assert broken is None, broken

    def test_only_csrc_pxd_declares_the_c_library(self):
        headers = {path.name for path in (SOURCES.parents[1] / "csrc").glob("*.h")}
        for path in FILES:
            if path.suffix == ".py" or path.stem == "csrc":
                continue
            used = set(re.findall(r'cdef extern from "([^"]+)"', path.read_text(encoding="utf-8")))
            assert used & headers == set(), f"{path.name} declares {used & headers} itself"
