"""Our reading of a request: csrc, built for the tests into a library of one function (ours.c), without a socket.

    reader = Reader(build(folder))
    request = reader.read(octets, seed)      # Request; AssertionError where the reading depends on cuts or scanner

What HeadReader adds to csrc, the memo of the head before, is tested over sockets: see test_properties.py.
"""

from __future__ import annotations

import ctypes
import os
import re
import shlex
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CSRC = HERE.parent.parent / "csrc"

IN_HEAD, IN_BODY, COMPLETE, REFUSED_IN_HEAD, REFUSED_IN_BODY = range(5)

#: The names of enum request_error, in its order.
ERRORS = tuple(re.findall(r"^    (REQUEST_\w+)", (CSRC / "request_head.h").read_text(), re.MULTILINE))

_HEAD = struct.Struct("18I")
_FIELD = struct.Struct("5I")
_FIELDS_MAX = 100
_BODY_BYTES_MAX = 1 << 17
_WHAT_DIFFERED = {1: "the scanner", 2: "random cuts", 3: "feeding it octet by octet"}


def build(folder: Path) -> Path:
    """The library, made in `folder` with $CC (cc) and $CFLAGS_EXTRA.  CalledProcessError when that fails."""
    made = folder / "ours.so"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    flags = ["-std=c11", "-O2", "-g", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"]
    flags += shlex.split(os.environ.get("CFLAGS_EXTRA", ""))
    names = "chars", "percent", "request_head", "request_lines_*", "request_rules", "framing", "chunked"
    sources = [str(HERE / "ours.c"), *(str(path) for name in names for path in sorted(CSRC.glob(f"{name}.c")))]
    subprocess.run([*compiler, *flags, f"-I{CSRC}", *sources, "-o", str(made)], check=True)
    return made


@dataclass(slots=True)
class Request:
    """stage: see above.  error: a name of enum request_error.  Offsets are of the octets that were read; fields are
    (name_at, name_len, value_at, value_len, id).  used: how many octets are this request; of one that is not complete,
    how many were taken.  length: of the body, where Content-Length said it."""

    stage: int
    error: str
    used: int
    head_bytes: int
    chunked: bool
    length: int
    body: bytes
    trailer_bytes: int
    trailer_fields: int
    method_at: int
    method: bytes
    target: bytes
    minor_version: int
    keep_alive: bool
    fields: list[tuple[int, int, int, int, int]]


class Reader:
    """One library, for one thread."""

    def __init__(self, library: Path) -> None:
        self._judge = ctypes.CDLL(str(library)).judge
        self._judge.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint64,
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
        self._reading = ctypes.create_string_buffer(_HEAD.size + _FIELDS_MAX * _FIELD.size)
        self._body = ctypes.create_string_buffer(_BODY_BYTES_MAX)
        self._reading_at = ctypes.addressof(self._reading)
        self._body_at = ctypes.addressof(self._body)

    def read(self, octets: bytes, seed: int, cut_rounds: int = 2, by_octet: bool = False) -> Request:
        """Whole, and `cut_rounds` times cut at random places by `seed`, by each scanner of this processor."""
        result = self._judge(octets, len(octets), seed, cut_rounds, by_octet, self._reading_at, self._body_at)
        if result:
            raise AssertionError(f"{_WHAT_DIFFERED.get(result, 'no memory:')} makes a difference, seed {seed}")
        (
            stage,
            error,
            used,
            head_bytes,
            framing,
            length_low,
            length_high,
            body_bytes,
            trailer_bytes,
            trailer_fields,
            method_at,
            method_len,
            target_at,
            target_len,
            minor_version,
            keep_alive,
            _expect_continue,
            field_count,
        ) = _HEAD.unpack_from(self._reading)
        return Request(
            stage,
            ERRORS[error],
            used,
            head_bytes,
            framing == 2,
            length_low | length_high << 32,
            ctypes.string_at(self._body_at, body_bytes) if body_bytes else b"",
            trailer_bytes,
            trailer_fields,
            method_at,
            octets[method_at : method_at + method_len],
            octets[target_at : target_at + target_len],
            minor_version,
            bool(keep_alive),
            list(_FIELD.iter_unpack(ctypes.string_at(self._reading_at + _HEAD.size, field_count * _FIELD.size))),
        )
