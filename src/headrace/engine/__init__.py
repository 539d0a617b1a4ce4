"""The hot path, compiled: sockets in, environ dicts out, response heads and bodies sent.

Modules, each a .pyx with its .pxd (the true header) and .pyi (docstrings), importing one way only:
environ, body, response <- head, stream <- channel <- connection, sentinel <- loop.
"""

from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path


def check_is_built(folder: Path) -> None:
    """Raise an ImportError that says why the compiled modules cannot be imported, and what to do about it.

    Python's own message would be "No module named ...", which sends everybody to the wrong place."""
    if any((folder / f"environ{suffix}").is_file() for suffix in EXTENSION_SUFFIXES):
        return
    present = sorted(path.name for pattern in ("environ*.so", "environ*.pyd") for path in folder.glob(pattern))
    if present:
        why = f"built for another Python: this one loads environ{EXTENSION_SUFFIXES[0]}, here is {', '.join(present)}"
        todo = "install Headrace with this interpreter: python -m pip install --force-reinstall headrace"
    elif (folder / "environ.pyx").is_file():
        why = f"not built: {folder} holds the sources only"
        todo = "build it, which takes a C compiler and Cython: python -m pip install -e ."
    else:
        why = f"missing from {folder}"
        todo = "install a wheel, or build one with a C compiler: python -m pip install --force-reinstall headrace"
    raise ImportError(f"Headrace's compiled part is {why}\nhint: {todo}", name=__name__, path=str(folder))


check_is_built(Path(__file__).parent)
