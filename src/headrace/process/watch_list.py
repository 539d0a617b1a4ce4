"""Which files count for --reload, and what they look like: loaded modules, sources beside them, and what is configured.

A snapshot says what there is; two snapshots say what has changed, has come, or has gone.
"""

from __future__ import annotations

import fnmatch
import glob
import logging
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

logger = logging.getLogger("headrace")

#: Beyond it the folder is hardly a project; a snapshot of so many takes some tenths of a second.
FILES_MAX = 20_000

#: Folders without sources of the application. A virtual environment has a pyvenv.cfg (PEP 405).
_SKIPPED = ("__pycache__", "node_modules", "site-packages", "dist-packages")


@dataclass(frozen=True)
class Snapshot:
    """files: by path, what each looked like: mtime in ns, size, inode (editors replace files, and some are quicker
    than the clock).  loaded: of these the ones that are there because a module was loaded.  roots: the folders whose
    sources all count."""

    files: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    loaded: frozenset[str] = frozenset()
    roots: tuple[str, ...] = ()


def changed(before: Snapshot, after: Snapshot) -> list[str]:
    """The paths that look otherwise, are gone, or are new, sorted.

    What is there only because the application has imported something more is no change."""
    gone = (path for path in before.files.keys() - after.files.keys() if not os.path.exists(path))
    other = (path for path, look in before.files.items() if after.files.get(path, look) != look)
    new_roots = tuple(os.path.join(root, "") for root in after.roots if root not in before.roots)
    new = (
        path
        for path in after.files.keys() - before.files.keys()
        if path not in after.loaded and not path.startswith(new_roots)
    )
    return sorted({*gone, *other, *new})


class WatchList:
    """All paths are absolute.  One thread at a time."""

    def __init__(
        self,
        project: str | Path = ".",
        extra_files: Iterable[str] = (),
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
    ) -> None:
        """project: the folder whose *.py files all count, also new ones, and from where the patterns start; nothing
        at the root of the file system.  extra_files: single files, there or not.  include: globs ("**" as well) or
        folders, all of whose files count.  exclude: globs or names of what does not count, whatever else says so:
        "test_*.py", "build", "docs/*"."""
        self.project = Path(project).resolve()
        self._extra_files = [os.path.join(self.project, name) for name in extra_files]
        self._include = [os.path.join(self.project, pattern) for pattern in include]
        self._exclude = list(exclude)
        self._libraries = _library_folders()
        self._has_warned = False

    def snapshot(self) -> Snapshot:
        """What there is now."""
        files: dict[str, tuple[int, int, int]] = {}
        loaded, roots = set(self._module_files()), self._roots()
        for path in self._paths(loaded, roots):
            if path in files or self._is_excluded(path):
                continue
            try:
                status = os.stat(path)
            except (OSError, ValueError):
                continue
            files[path] = (status.st_mtime_ns, status.st_size, status.st_ino)
            if len(files) >= FILES_MAX:
                self._warn_of_too_many()
                break
        return Snapshot(files, frozenset(loaded), tuple(roots))

    def folders(self) -> set[str]:
        """Where something can happen that changes the snapshot: each folder for itself, not what is below it."""
        found = {os.path.dirname(path) for path in (*self._module_files(), *self._extra_files)}
        for root in self._roots():
            found.update(folder for folder, _ in self._walk(root))
        for pattern in self._include:
            found.add(_fixed_part(pattern))
            for path in glob.iglob(pattern, recursive=True):
                found.add(os.path.dirname(path))
                found.update(folder for folder, _, _ in os.walk(path))
        return {folder for folder in found if os.path.isdir(folder)}

    def _paths(self, loaded: Iterable[str], roots: Iterable[str]) -> Iterator[str]:
        yield from self._extra_files
        yield from loaded
        for pattern in self._include:
            for path in glob.iglob(pattern, recursive=True):
                if not os.path.isdir(path):
                    yield path
                for folder, _, names in os.walk(path):
                    yield from (os.path.join(folder, name) for name in names)
        for root in roots:
            for folder, names in self._walk(root):
                yield from (os.path.join(folder, name) for name in names if name.endswith(".py"))

    def _module_files(self) -> Iterator[str]:
        """Of the loaded modules but the standard library's; of one that was cached its source."""
        for _, names in _loaded_modules():
            file = names.get("__file__")
            if isinstance(file, str) and not self._libraries.is_standard(file):
                yield os.path.abspath(file)

    def _roots(self) -> list[str]:
        """The project, and the top packages of modules elsewhere that are not installed."""
        roots = {str(self.project)} if self.project != self.project.parent else set()
        for name, names in _loaded_modules():
            if "." not in name and isinstance(names.get("__path__"), Iterable):
                folders = {os.path.abspath(place) for place in names["__path__"] if isinstance(place, str)}
                roots.update(folder for folder in folders if not self._libraries.is_installed(folder))
        return sorted(roots)

    def _walk(self, root: str) -> Iterator[tuple[str, list[str]]]:
        for folder, below, names in os.walk(root):
            below[:] = sorted(
                name
                for name in below
                if not name.startswith(".")
                and name not in _SKIPPED
                and not os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
                and not self._is_excluded(os.path.join(folder, name))
            )
            yield folder, names

    def _is_excluded(self, path: str) -> bool:
        if not self._exclude:
            return False
        inner = os.path.relpath(path, self.project)
        candidates = (path, inner, os.path.basename(path))
        return any(fnmatch.fnmatchcase(text, pattern) for pattern in self._exclude for text in candidates)

    def _warn_of_too_many(self) -> None:
        if not self._has_warned:
            logger.warning("HR915 --reload: more than %d files below %s; the others are not watched",
                           FILES_MAX, self.project)
            self._has_warned = True


class _Libraries:
    def __init__(self, standard: Sequence[str], installed: Sequence[str]) -> None:
        self._standard = tuple(standard)
        self._installed = tuple(installed)

    def is_standard(self, path: str) -> bool:
        return path.startswith(self._standard) and not path.startswith(self._installed)

    def is_installed(self, path: str) -> bool:
        return path.startswith((*self._standard, *self._installed)) or any(
            part in ("site-packages", "dist-packages") for part in Path(path).parts
        )


def _library_folders() -> _Libraries:
    paths = sysconfig.get_paths()
    standard = {os.path.join(paths[name], "") for name in ("stdlib", "platstdlib")}
    standard.add(os.path.join(os.path.dirname(os.__file__), ""))  # of a virtual environment's base
    return _Libraries(sorted(standard), sorted({os.path.join(paths[name], "") for name in ("purelib", "platlib")}))


def _loaded_modules() -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and namespace.  By object's own __getattribute__: others would load lazy modules (importlib.util)."""
    for name, module in list(sys.modules.items()):
        with suppress(AttributeError):  # cffi's libraries pass for modules and have none
            if isinstance(module, ModuleType):
                yield name, object.__getattribute__(module, "__dict__")


def _fixed_part(pattern: str) -> str:
    """The last folder before the first wildcard."""
    folder = pattern
    while glob.has_magic(folder):
        folder = os.path.dirname(folder)
    return folder
