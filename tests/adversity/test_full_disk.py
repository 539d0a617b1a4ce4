"""The folder for request bodies is on a file system that is full: a tmpfs of 2 MiB that the server alone sees.

What happens beyond RLIMIT_FSIZE, where no file system can be mounted, is in test_request_bodies.py.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading

import pytest
import verdict
import wire

from headrace.errors import REFUSALS

SIZE = 2 << 20
NO_ROOM = REFUSALS["REQUEST_NO_ROOM_FOR_BODY"]

#: Mount namespaces are a thread's own: this runs before there are others.
MOUNT = """
import ctypes, os, sys
def mount(folder):
    libc = ctypes.CDLL(None, use_errno=True)
    CLONE_NEWNS, CLONE_NEWUSER, MS_PRIVATE, MS_REC = 0x20000, 0x10000000, 1 << 18, 1 << 14
    if libc.unshare(CLONE_NEWNS) and libc.unshare(CLONE_NEWNS | CLONE_NEWUSER):
        sys.exit("no mount namespace: " + os.strerror(ctypes.get_errno()))
    if libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
        sys.exit("not private: " + os.strerror(ctypes.get_errno()))
    if libc.mount(b"tmpfs", folder.encode(), b"tmpfs", 0, b"size={size}"):
        sys.exit("no tmpfs: " + os.strerror(ctypes.get_errno()))
mount({folder!r})
"""


@pytest.fixture
def disk(tmp_path):
    """Python that gives its process a small disk of its own at this folder."""
    if sys.platform != "linux":
        pytest.skip("namespaces are Linux's")
    code = MOUNT.format(size=SIZE, folder=str(tmp_path))
    tried = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"nothing can be mounted here: {tried.stderr.strip()}")
    return code


@pytest.fixture
def start(disk, serve_apart, tmp_path, prompt_release):
    return lambda **settings: serve_apart(disk, spool_dir=str(tmp_path), **{**settings, **prompt_release})


def free_bytes(apart, folder):
    found = os.statvfs(f"/proc/{apart.process.pid}/root{folder}")
    return found.f_bavail * found.f_bsize


def wait_until_free(apart, folder, expected=SIZE):
    wire.wait_until(lambda: free_bytes(apart, folder) == expected, "the room being given back")


def open_files(apart, folder):
    """Descriptors of bodies.  Of others there may be more: a loop under load opens what wakes it."""
    found = 0
    for entry in os.scandir(f"/proc/{apart.process.pid}/fd"):
        with contextlib.suppress(OSError):  # closed meanwhile
            found += str(folder) in os.readlink(entry.path)
    return found


def upload(apart, size, **how):
    with apart.connect() as client:
        client.send(wire.request(method="POST", body=b"x" * size, **how), may_break=True)
        return client.read_response()


@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_a_body_for_which_there_is_no_room_gets_503_and_the_next_one_is_served(start, tmp_path, coding):
    apart = start()
    assert upload(apart, 1_000_000).body == b"x" * 1_000_000
    wait_until_free(apart, tmp_path)
    for _ in range(3):
        with apart.connect() as client:
            if coding == "length":
                message = wire.request(method="POST", body=b"x" * 2 * SIZE)
            else:
                message = wire.request(method="POST", fields=[("Transfer-Encoding", "chunked")])
                message += wire.chunked(*[b"x" * 50_000] * (2 * SIZE // 50_000))
            client.send(message, may_break=True)
            verdict.assert_refusal(client.read_response(), NO_ROOM)
            client.assert_gone()
        wait_until_free(apart, tmp_path)
        assert upload(apart, 1_000_000).body == b"x" * 1_000_000
    wire.wait_until(lambda: not open_files(apart, tmp_path), "the files being closed")
    apart.stop()
    told = re.findall(
        rf"HR501 the body of POST / of 127\.0\.0\.1:\d+ could not be written to a temporary file in "
        rf"{re.escape(str(tmp_path))}: .*No space left",
        apart.errors,
    )
    assert len(told) == 3


def test_no_room_for_what_was_in_memory_so_far_is_told_as_that(start, tmp_path):
    """The file can be made; what has been received does not fit into it."""
    apart = start(request_body_memory=2 * SIZE)
    verdict.assert_refusal(upload(apart, 3 * SIZE), NO_ROOM)
    wait_until_free(apart, tmp_path)
    assert upload(apart, 3 * SIZE // 2).body == b"x" * (3 * SIZE // 2)
    apart.stop()
    assert f"could not be written to a temporary file in {tmp_path}: [Errno 28]" in apart.errors
    assert "HR502" not in apart.errors


def test_of_many_at_once_those_that_fit_are_served_and_those_that_are_cut_give_back_their_room(start, tmp_path):
    apart = start(request_body_memory=1000)
    statuses = []

    def one(number):
        if number % 4:
            statuses.append(upload(apart, 600_000).status)
        else:
            with apart.connect() as client:
                client.send(wire.request(method="POST", body=b"x" * 600_000)[:-1000], may_break=True)
                client.reset()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(4 * wire.PATIENCE_S)
    assert len(statuses) == 18 and set(statuses) <= {200, 503}
    wait_until_free(apart, tmp_path)
    assert upload(apart, 1_500_000).status == 200
    wire.wait_until(lambda: not open_files(apart, tmp_path), "the files being closed")


def test_what_is_served_without_a_file_is_served_while_the_disk_is_full(start, tmp_path):
    apart = start()
    with apart.connect() as holder:
        holder.send(wire.request(method="POST", body=b"x" * 1_900_000)[:-1])
        wire.wait_until(lambda: free_bytes(apart, tmp_path) < 300_000, "the disk being nearly full")
        assert open_files(apart, tmp_path) == 1
        assert upload(apart, 100_000).body == b"x" * 100_000
        assert upload(apart, 1_000_000).status == 503
        holder.send(b"x")
        assert holder.read_response().body == b"x" * 1_900_000
    wait_until_free(apart, tmp_path)
