"""Python, the compiled part, and the libraries beside it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import select
import sys
import sysconfig
from collections.abc import Iterator

from headrace.config import Config
from headrace.doctor.findings import Finding, Level

TESTED = ((3, 10), (3, 13))
#: Extras for those who work on Headrace itself.
NOT_SHOWN = frozenset({"test", "test-free-threaded", "dev"})


def examine_build(config: Config) -> Iterator[Finding]:
    """Python, the compiled part, optional libraries."""
    yield from python()
    yield from compiled_part(config)
    yield from libraries()


def python() -> Iterator[Finding]:
    """The interpreter: its version, how it was built, and what it was started with."""
    text = f"{platform.python_implementation()} {platform.python_version()}"
    first, last = TESTED
    tested = first <= sys.version_info[:2] <= last
    action = "" if tested else f"it is tested with {first[0]}.{first[1]} to {last[0]}.{last[1]}"
    yield Finding("python", "ok" if tested else "note", text, action)
    if sysconfig.get_config_var("Py_DEBUG"):
        yield Finding("python", "warning", "a debug build, several times slower", "use a release build in production")
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        if getattr(sys, "_is_gil_enabled", lambda: True)():
            action = "find the extension module that asks for the lock (python -X importtime), or PYTHON_GIL=0"
            yield Finding("python", "warning", "built without interpreter lock, and yet it is on", action)
        else:
            yield Finding("python", "ok", "without interpreter lock: threads use all processors")
    arguments = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    if "--enable-optimizations" in arguments:
        yield Finding("python", "ok", "built with profile-guided optimization")
    elif arguments:
        action = "a Python built with --enable-optimizations runs applications some 10-20 % faster"
        yield Finding("python", "note", "built without profile-guided optimization", action)
    if sys.flags.dev_mode:
        yield Finding("python", "warning", "development mode (-X dev): slower, and it prints more", "leave it out")
    if sys.flags.optimize:
        yield Finding("python", "note", f"-O{sys.flags.optimize}: assert statements of the application do nothing")
    if sys.gettrace() is not None or sys.getprofile() is not None:
        yield Finding("python", "warning", "a tracer or profiler is on: each line or call costs", "turn it off")


def compiled_part(config: Config) -> Iterator[Finding]:
    """Is it there, and which of its variants are used?"""
    try:
        from headrace.engine import debug
    except ImportError as error:
        what, _, hint = str(error).partition("\nhint: ")
        yield Finding("compiled part", "error", what, hint)
        return
    variant = debug.parser_variant()
    machine = platform.machine()
    vectors = variant != "plain C" or machine not in ("x86_64", "amd64", "AMD64", "arm64", "aarch64")
    action = "" if vectors else "the processor (or the virtual machine's model of it) has no AVX2 and BMI"
    yield Finding("compiled part", "ok" if vectors else "note", f"reads requests with {variant}, on {machine}", action)
    if debug.is_debug_build():
        yield Finding("compiled part", "warning", "a debug build: slow", "build it without HEADRACE_DEBUG")
    poller = config.poller
    if poller == "auto":
        poller = next((name for name in ("epoll", "kqueue") if hasattr(select, name)), "poll")
    there = poller == "poll" or hasattr(select, poller)
    level: Level = "error" if not there else "note" if poller == "poll" else "ok"
    action = {"ok": "", "note": "it costs time for each connection; leave --poller out"}.get(level, "--poller auto")
    text = f"poller: {poller}" if there else f"poller: {poller}, which this system has not"
    yield Finding("compiled part", level, text, action)


def libraries() -> Iterator[Finding]:
    """click, and what the extras bring, by the package's own metadata."""
    try:
        requirements = importlib.metadata.requires("headrace") or []
    except importlib.metadata.PackageNotFoundError:
        text = "headrace is not installed as a package, so what it can use is not known"
        yield Finding("libraries", "note", text, "pip install headrace")
        return
    for name, extra in dict.fromkeys(map(parse_requirement, requirements)):
        if extra in NOT_SHOWN or not name:
            continue
        try:
            yield Finding("libraries", "ok", f"{name} {importlib.metadata.version(name)}" + (extra and f" ({extra})"))
        except importlib.metadata.PackageNotFoundError:
            action = f"pip install 'headrace[{extra}]', if you want what it is for" if extra else "pip install headrace"
            yield Finding("libraries", "ok" if extra else "error", f"{name} is not installed", action)
    if "PYTHONPATH" in os.environ:
        yield Finding("libraries", "note", f"PYTHONPATH is {os.environ['PYTHONPATH']!r}: modules come from there first")


def parse_requirement(text: str) -> tuple[str, str]:
    """'brotli>=1.1; extra == "compress"' is ("brotli", "compress"); ("", "") where another marker rules it out here."""
    requirement, _, marker = text.partition(";")
    match = re.match(r"\s*([A-Za-z0-9._-]+)", requirement)
    extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", marker)
    version = re.search(r"python_version\s*<\s*['\"](\d+)\.(\d+)['\"]", marker)
    if match is None or (version and sys.version_info[:2] >= (int(version[1]), int(version[2]))):
        return "", ""
    return match[1], extra[1] if extra else ""
