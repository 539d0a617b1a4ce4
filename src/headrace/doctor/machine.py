"""The machine: limits of the process, the kernel's queue, cgroups, containers, disks, languages.

What is read from /proc and /sys is looked for below ``root``, so that a test can have its own.
"""

from __future__ import annotations

import locale
import os
import resource
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headrace.config import Config
from headrace.doctor.findings import Finding

ROOT = Path("/")

#: As in process/worker.py, which cannot be imported where the compiled part is missing; a test compares them.
DESCRIPTORS_BESIDE_CONNECTIONS = 256


def examine_machine(config: Config, root: Path = ROOT) -> Iterator[Finding]:
    """All that follows here, in this order."""
    yield from open_files(config)
    yield from file_size(config)
    yield from backlog(config, root)
    limits = cgroup_limits(root)
    yield from processors(config, limits)
    yield from memory(config, limits)
    yield from connections(config, limits, installed_memory_bytes())
    yield from container(config, root)
    yield from encodings()
    yield from spool_folder(config, root)


# -- Limits of the process (getrlimit(2)) and the kernel --------------------------------------------------------------


def open_files(config: Config) -> Iterator[Finding]:
    """RLIMIT_NOFILE against --worker-connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = config.worker_connections + DESCRIPTORS_BESIDE_CONNECTIONS
    text = f"open files: {_limit(hard)} allowed, {wanted} wanted for {config.worker_connections} connections"
    if hard != resource.RLIM_INFINITY and hard < wanted:
        yield Finding(
            "limits", "warning", text,
            f"raise the hard limit (ulimit -Hn, systemd: LimitNOFILE={wanted}), or "
            f"--worker-connections {max(1, hard - DESCRIPTORS_BESIDE_CONNECTIONS)}",
        )  # fmt: skip
    else:
        enough = soft == resource.RLIM_INFINITY or soft >= wanted
        yield Finding("limits", "ok", text if enough else f"{text}; {soft} now, raised at the start")


def file_size(config: Config) -> Iterator[Finding]:
    """RLIMIT_FSIZE against the longest request body."""
    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if soft != resource.RLIM_INFINITY and soft < config.limit_request_body:
        text = f"file size: {soft} bytes, and bodies may have {config.limit_request_body}"
        yield Finding("limits", "warning", text, f"--limit-request-body {soft}, or raise it (ulimit -f)")


def backlog(config: Config, root: Path = ROOT) -> Iterator[Finding]:
    """net.core.somaxconn against --backlog (listen(2))."""
    somaxconn = _number(root / "proc/sys/net/core/somaxconn")
    if somaxconn is None:
        return
    text = f"backlog: {config.backlog}, and net.core.somaxconn is {somaxconn}"
    if somaxconn < config.backlog:
        yield Finding(
            "limits", "warning", f"{text}: the kernel cuts it", f"sysctl -w net.core.somaxconn={config.backlog}"
        )
    else:
        yield Finding("limits", "ok", text)


# -- cgroups (cgroups(7)) ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CgroupLimits:
    """Of this process's group and those above it, the least.  None: no limit, or none that can be seen."""

    cpus: float | None = None
    memory_bytes: int | None = None


def cgroup_limits(root: Path = ROOT) -> CgroupLimits:
    """From cgroups of either version, of this process's group and those above it."""
    cpus: list[float] = []
    memory_bytes: list[int] = []
    for folder in _cgroup_folders(root):
        quota, period = _words(folder / "cpu.max", 2) or (
            *(_words(folder / "cpu.cfs_quota_us", 1) or ("max",)),
            *(_words(folder / "cpu.cfs_period_us", 1) or ("100000",)),
        )
        if quota.isdigit() and period.isdigit() and int(period):
            cpus.append(int(quota) / int(period))
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = _number(folder / name)
            if limit is not None and limit < 1 << 62:  # version 1 says "none" with a number near 2**63
                memory_bytes.append(limit)
    return CgroupLimits(min(cpus, default=None), min(memory_bytes, default=None))


def _cgroup_folders(root: Path) -> Iterator[Path]:
    """From the group of this process up; each controller of version 1 has a tree of its own."""
    mount = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    for line in lines:
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        tree = mount / controllers if controllers else mount
        folder = tree / path.lstrip("/")
        while folder != tree and tree in folder.parents:
            yield folder
            folder = folder.parent
        yield tree  # in a container this is its own group, whatever the path says


def processors(config: Config, limits: CgroupLimits) -> Iterator[Finding]:
    """Processors that may be used, and the quota, against --workers."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = int(getattr(config, "workers", None) or 1)
    text = f"processors: {affinity}"
    if limits.cpus is not None:
        text += f", and a quota of {limits.cpus:g}"
    allowed = min(affinity, limits.cpus or affinity)
    if workers > 2 * allowed + 1:
        action = f"--workers {max(1, int(allowed))}: more of them share the same processors, and each has its memory"
        yield Finding("machine", "warning", f"{text}, for {workers} workers", action)
    elif limits.cpus is not None and limits.cpus < 1:
        yield Finding(
            "machine", "note", f"{text}: when it is used up, the whole process stands still for some tens of ms",
            "expect that in the slowest answers, or give it a whole processor",
        )  # fmt: skip
    else:
        yield Finding("machine", "ok", f"{text}, for {workers} x {config.threads} threads")


def memory(config: Config, limits: CgroupLimits) -> Iterator[Finding]:
    """The cgroup's limit against what request bodies may take."""
    if limits.memory_bytes is None:
        yield Finding("machine", "ok", "memory: no limit by a cgroup")
        return
    workers = int(getattr(config, "workers", None) or 1)
    bodies = workers * config.total_body_memory
    text = f"memory: the cgroup allows {_mib(limits.memory_bytes)}"
    if bodies > limits.memory_bytes // 2:
        yield Finding(
            "machine", "warning", f"{text}, and request bodies may take {_mib(bodies)} of it",
            f"--total-body-memory {max(1, limits.memory_bytes // 4 // workers >> 20)}m, or a higher limit",
        )  # fmt: skip
    else:
        yield Finding("machine", "ok", f"{text}; request bodies take {_mib(bodies)} of it at most")


def installed_memory_bytes() -> int | None:
    """Of the machine; None where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def connection_bytes(config: Config) -> int:
    """What one client can make a connection hold at the most: the table in SECURITY.md, "Memory"."""
    kib = 1024
    received = config.limit_request_head + 128 * kib
    environ = config.limit_request_head + 2 * config.limit_request_line + 200 * config.limit_request_fields
    answers = config.response_buffer + 80 * kib + kib // 4
    return kib + received + environ + 20 * kib + answers


def connections(config: Config, limits: CgroupLimits, installed_bytes: int | None) -> Iterator[Finding]:
    """What all connections together can be made to hold, against the memory that there is."""
    there = min((size for size in (limits.memory_bytes, installed_bytes) if size is not None), default=None)
    if there is None:
        return
    workers = max(1, config.workers)
    each = connection_bytes(config)
    at_most = workers * config.worker_connections * each
    text = f"memory: {workers * config.worker_connections} connections of clients that mean harm take {_mib(at_most)}"
    if at_most > there:
        yield Finding(
            "machine", "warning", f"{text} at most, {each // 1024} KiB each, and there are {_mib(there)}",
            f"--worker-connections {max(1, there // 2 // workers // each)}, or lower --limit-request-head",
        )  # fmt: skip
    else:
        yield Finding("machine", "ok", f"{text} at most, of {_mib(there)}")


# -- Containers -------------------------------------------------------------------------------------------------------


def container_kind(root: Path = ROOT) -> str:
    """ "" outside of one, as far as can be told."""
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return "Kubernetes"
    if (root / ".dockerenv").exists():
        return "Docker"
    if (root / "run/.containerenv").exists():
        return "Podman"
    return os.environ.get("container", "")  # noqa: SIM112  # systemd's convention


def container(config: Config, root: Path = ROOT) -> Iterator[Finding]:
    """Which one, and whether its stop leaves the time that --graceful-timeout wants."""
    kind = container_kind(root)
    grace_s = {"Kubernetes": 30, "Docker": 10, "Podman": 10}.get(kind)
    yield Finding("machine", "ok", f"container: {kind or 'none that can be seen'}")
    if grace_s is not None and config.graceful_timeout >= grace_s:
        option = "terminationGracePeriodSeconds" if kind == "Kubernetes" else "the time of its stop command (-t)"
        yield Finding(
            "machine", "note",
            f"{kind} kills {grace_s} s after SIGTERM unless told otherwise; --graceful-timeout is "
            f"{config.graceful_timeout:g} s",
            f"--graceful-timeout {grace_s - 5}, or raise {option}",
        )  # fmt: skip
    if os.getpid() == 1:
        yield Finding(
            "machine", "note", "pid 1: what the application's subprocesses leave behind becomes our child",
            "docker run --init, where the application starts subprocesses of its own",
        )  # fmt: skip
    if os.statvfs(root).f_flag & os.ST_RDONLY:
        yield Finding("machine", "ok", "read-only root: bodies go to a folder for temporary files, or to memory")


# -- Disk and languages -----------------------------------------------------------------------------------------------


def spool_folder(config: Config, root: Path = ROOT) -> Iterator[Finding]:
    """Free space and kind of the file system that request bodies go to."""
    try:
        folder = Path(config.spool_dir or tempfile.gettempdir())
        status = os.statvfs(folder)
    except OSError as error:
        text = f"no folder for temporary files ({error}): bodies stay in anonymous memory"
        yield Finding("spool", "note", text, "--spool-dir PATH")
        return
    free = status.f_bavail * status.f_frsize
    text = f"spool folder {folder}: {_mib(free)} free, {_mib(config.total_body_spool)} may be asked for"
    kind = _file_system(folder, root)
    if kind in ("tmpfs", "ramfs"):
        action = "--spool-dir with a folder on a disk"
        yield Finding("spool", "warning", f"{text}; it is a {kind}: what is there takes memory", action)
    elif free < config.total_body_spool:
        size = max(1, free // 2 >> 20)
        yield Finding("spool", "note", text, f"--total-body-spool {size}m: then it is 503 before the disk is full")
    else:
        yield Finding("spool", "ok", text)


def _file_system(folder: Path, root: Path) -> str:
    """Of the mount that the folder is in, by the longest name (proc(5), mounts)."""
    best, kind = "", ""
    path = os.path.realpath(folder)
    try:
        lines = (root / "proc/self/mounts").read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        _, mount, file_system, *_ = [*line.split(" "), "", "", ""]
        mount = mount.replace("\\040", " ")
        inside = path == mount or path.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, file_system
    return kind


def encodings() -> Iterator[Finding]:
    """Those of file names and files: UTF-8, or a warning."""
    files, texts = sys.getfilesystemencoding(), locale.getpreferredencoding(False)
    text = f"encoding: {files} for file names, {texts} for files"
    if {files.lower().replace("-", ""), texts.lower().replace("-", "")} != {"utf8"}:
        action = "PYTHONUTF8=1, or LC_ALL=C.UTF-8: the application's open() and print() depend on it"
        yield Finding("machine", "warning", text, action)
    else:
        yield Finding("machine", "ok", text)


def _limit(value: int) -> str:
    return "any number" if value == resource.RLIM_INFINITY else str(value)


def _mib(value: int) -> str:
    return f"{value / (1 << 20):,.0f} MiB"


def _words(path: Path, count: int) -> tuple[str, ...] | None:
    try:
        words = path.read_text().split()
    except (OSError, UnicodeDecodeError):
        return None
    return tuple(words) if len(words) == count else None


def _number(path: Path) -> int | None:
    words = _words(path, 1)
    return int(words[0]) if words and words[0].isdigit() else None
