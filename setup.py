"""Builds the compiled half: csrc/*.c as one static library, linked into each Cython extension of headrace.engine.

Everything else about the package stands in pyproject.toml.  Switches, all read from the environment:

    HEADRACE_DEBUG=1                       assertions, object counters, poisoned buffers, few events at a time; -O0 -g
    HEADRACE_SANITIZE=address,undefined    GCC's or clang's sanitizers; -O1 -g (start Python with libasan preloaded)
    HEADRACE_COVERAGE=1                    gcov's counters, for tests/covered.py; -O0
    HEADRACE_LTO=0 or 1                    off or on without trying whether the tool chain can do it
"""

from __future__ import annotations

import functools
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_clib import build_clib
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
os.chdir(ROOT)  # setuptools wants relative paths, and they are relative to this file

DEBUG = os.environ.get("HEADRACE_DEBUG", "0") not in ("", "0")
COVERAGE = os.environ.get("HEADRACE_COVERAGE", "0") not in ("", "0")
SANITIZERS = os.environ.get("HEADRACE_SANITIZE", "")

SWITCHES = "headrace-switches.txt"  # in the folder of objects: the flags that they were made with

CSRC = sorted(str(path) for path in Path("csrc").glob("*.c"))
CSRC_HEADERS = sorted(str(path) for pattern in ("*.h", "*.inc") for path in Path("csrc").glob(pattern))


def compiler_flags() -> list[str]:
    flags = ["-std=c11", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-unused-parameter"]
    if SANITIZERS:
        flags += [f"-fsanitize={SANITIZERS}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-O1", "-g"]
    elif DEBUG:
        flags += ["-O0", "-g"]
    elif COVERAGE:
        flags += ["-O0"]
    else:
        flags += ["-O3"]
    if COVERAGE:
        # Threads count, some without the interpreter lock; a branch counts once, wherever it is inlined.
        flags += ["--coverage", "-fprofile-update=atomic", "-Dalways_inline=unused"]
    if DEBUG:
        # -DNDEBUG comes from the flags that Python itself was built with.
        flags += ["-UNDEBUG", "-DHEADRACE_DEBUG=1"]
    return flags


def linker_flags() -> list[str]:
    return [f"-fsanitize={SANITIZERS}"] if SANITIZERS else ["--coverage"] if COVERAGE else []


# Fat objects carry machine code too, so that an `ar` without the compiler's plugin still makes a usable library.
LTO_FLAGS = ["-flto=auto", "-ffat-lto-objects"]


@functools.cache
def lto_flags() -> list[str]:
    """Link-time optimization lets csrc's small functions be inlined into the extensions that call them."""
    wish = os.environ.get("HEADRACE_LTO")
    if wish is not None:
        return LTO_FLAGS if wish not in ("", "0") else []
    if DEBUG or SANITIZERS or COVERAGE or sys.platform != "linux":
        return []
    return LTO_FLAGS if lto_works() else []


def lto_works() -> bool:
    """Does this tool chain take a library's function through -flto?  Tried with what the build will use."""
    cc = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    ar = shlex.split(os.environ.get("AR") or sysconfig.get_config_var("AR") or "ar")
    with tempfile.TemporaryDirectory(prefix="headrace-lto-") as folder:
        inner, outer = Path(folder, "inner.c"), Path(folder, "outer.c")
        inner.write_text("int inner(int n) { return n + 1; }\n")
        outer.write_text("int inner(int n);\nint outer(int n) { return inner(n); }\n")
        steps = [
            [*cc, *LTO_FLAGS, "-O2", "-fPIC", "-c", "inner.c", "-o", "inner.o"],
            [*ar, "rcs", "libinner.a", "inner.o"],
            [*cc, *LTO_FLAGS, "-O2", "-fPIC", "-shared", "outer.c", "-L.", "-linner", "-Wl,-z,defs", "-o", "outer.so"],
        ]
        try:
            return all(subprocess.run(step, cwd=folder, capture_output=True).returncode == 0 for step in steps)
        except OSError:
            return False  # no compiler: let the build itself say so


def all_flags() -> list[str]:
    return compiler_flags() + lto_flags()


class BuildLibrary(build_clib):
    """csrc/*.c with our flags.  Runs before BuildExtensions, whoever asks first."""

    def run(self) -> None:
        # Objects made with other switches look up to date by their time stamps.
        made_with = Path(self.build_temp, SWITCHES)
        if not made_with.is_file() or made_with.read_text() != " ".join(all_flags()):
            shutil.rmtree(self.build_temp, ignore_errors=True)
        for _, library in self.libraries:
            library["cflags"] = all_flags()
        super().run()


class BuildExtensions(build_ext):
    """Runs Cython only when something is built, and builds csrc first (also for `build_ext --inplace`)."""

    def run(self) -> None:
        self.run_command("build_clib")
        made_with = Path(self.build_temp, SWITCHES)
        if not made_with.is_file():
            self.force = True
        for extension in self.extensions:
            extension.extra_compile_args = all_flags()
            extension.extra_link_args = linker_flags() + lto_flags()
        if self.parallel is None:
            self.parallel = os.cpu_count()
        super().run()
        made_with.write_text(" ".join(all_flags()))

    def build_extensions(self) -> None:
        run_cython(self.extensions, force=bool(self.force))
        super().build_extensions()


def run_cython(extensions: list[Extension], force: bool) -> None:
    """Turn each extension's .pyx into C, in place: setuptools has marks of its own on these objects."""
    from Cython.Build import cythonize
    from Cython.Compiler import Options

    # Warnings are errors in a checkout. From an sdist (it has a PKG-INFO) a newer Cython's new warning should not
    # stop somebody's installation.
    Options.warning_errors = not Path("PKG-INFO").exists()
    cythonized = cythonize(
        extensions,
        force=force,
        include_path=["src", "csrc"],
        build_dir="build/cython",
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "embedsignature": True,
            # Where CPython has no interpreter lock: the loop has one of its own (channel.pxd, LoopBase), a connection
            # has one owner at a time, and everything else belongs to a thread.
            "freethreading_compatible": True,
        },
    )
    of_name = {extension.name: extension for extension in cythonized}
    for extension in extensions:
        extension.sources = of_name[extension.name].sources


def engine_extensions() -> list[Extension]:
    return [
        Extension(f"headrace.engine.{source.stem}", [str(source)], include_dirs=["csrc"], depends=CSRC + CSRC_HEADERS)
        for source in sorted(Path("src/headrace/engine").glob("*.pyx"))
    ]


setup(
    ext_modules=engine_extensions(),
    # `depends` above relinks an extension when a C file changes; obj_deps recompiles a C file when a header does.
    libraries=[("headrace_csrc", {"sources": CSRC, "include_dirs": ["csrc"], "obj_deps": {"": CSRC_HEADERS}})],
    cmdclass={"build_ext": BuildExtensions, "build_clib": BuildLibrary},
)
