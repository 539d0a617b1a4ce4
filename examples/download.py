"""A file download: wsgi.file_wrapper lets the kernel send the file, and no octet of it passes through Python.

headrace examples/download.py
curl -O http://127.0.0.1:8000/download.py
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
FILES = {f"/{path.name}": path for path in FOLDER.iterdir() if path.is_file()}


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    # A table of what may be had, not a path made of what the client sent.
    path = FILES.get(environ["PATH_INFO"])
    if path is None:
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [f"{name}\n".encode() for name in sorted(FILES)]
    start_response(
        "200 OK",
        [
            ("Content-Type", "application/octet-stream"),
            ("Content-Length", str(path.stat().st_size)),
            ("Content-Disposition", f'attachment; filename="{path.name}"'),
        ],
    )
    # The server closes the file when the response is over, however it ends.
    return environ["wsgi.file_wrapper"](path.open("rb"))  # type: ignore[no-any-return]
