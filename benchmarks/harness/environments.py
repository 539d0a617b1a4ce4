"""Makes the venvs (--setup), says which versions are in them, and prepares the folder that servers run in."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.servers import Server, Venvs
from harness.workloads import BENCHMARKS, FILE_BYTES, pattern

REQUIREMENTS = BENCHMARKS / "requirements-peers.txt"
FRAMEWORKS = ("flask", "django")
INSTALL_S = 900
VERSIONS = """\
import importlib.metadata, json, platform, sys
found = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def required(*names: str) -> list[str]:
    """The lines of the requirements file, or those of some packages."""
    lines = [line.strip() for line in REQUIREMENTS.read_text().splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    return [line for line in lines if not names or line.lower().startswith(names)]


def make_venv(python: str, folder: Path) -> Path:
    subprocess.run([python, "-m", "venv", str(folder)], check=True, timeout=INSTALL_S)
    return folder / "bin" / "python"


def install(python: Path, requirement: str) -> bool:
    """Whether pip installed it; why not goes to stderr, and the others go on."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=INSTALL_S)
    if done.returncode:
        print(f"not installed: {requirement}\n{done.stderr[-600:]}", file=sys.stderr)
    return done.returncode == 0


def setup(folder: Path, newer_python: str | None) -> None:
    """Three venvs: headrace (from this source tree), peers, and weft on CPython 3.12 or newer."""
    headrace = make_venv(sys.executable, folder / "headrace")
    for requirement in [f"{BENCHMARKS.parent}[referee]", *required(*FRAMEWORKS)]:
        install(headrace, requirement)
    peers = make_venv(sys.executable, folder / "peers")
    for requirement in required():
        install(peers, requirement)
    newer = newer_python or find_newer_python()
    if newer is None:
        print("weft-server is left out: no CPython 3.12 or newer found, see --newer-python", file=sys.stderr)
        return
    weft = make_venv(newer, folder / "weft")
    for requirement in required("weft", *FRAMEWORKS):
        install(weft, requirement)


def find_newer_python() -> str | None:
    for name in ("python3.12", "python3.13", "python3.14"):
        path = shutil.which(name)
        # A version manager may put a program of that name on the path that only says "not selected".
        if path and subprocess.run([path, "-c", ""], check=False, capture_output=True).returncode == 0:
            return path
    return None


def versions(venvs: Venvs, server: Server) -> dict[str, str]:
    """The version of Python, the server's package and the frameworks in the server's venv."""
    python = venvs.program(server, "python")
    names = [name for name in (server.package, *FRAMEWORKS) if name]
    done = subprocess.run([str(python), "-c", VERSIONS, *names], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    congestion = Path("/proc/sys/net/ipv4/tcp_congestion_control")
    return {
        "processor": model,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "tcp_congestion_control": congestion.read_text().strip() if congestion.exists() else "unknown",
    }


@contextmanager
def workspace() -> Iterator[Path]:
    """A temporary folder with the file of the file workload; servers run and log here."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        (folder / "file.bin").write_bytes(pattern(FILE_BYTES))
        yield folder
