"""wsgi.errors: a text stream that writes to whatever sys.stderr is at that moment.

PEP 3333, "environ Variables": write, writelines and flush.  A proxy and not sys.stderr itself, because tests, daemons
and notebooks put another stream there after the server has started.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable


class ErrorStream:
    """Stateless; one instance serves every request and every thread."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def write(self, text: str, /) -> int:
        stream = sys.stderr
        if stream is None:  # no console (a service started without descriptors)
            return len(text)
        return stream.write(text)

    def writelines(self, lines: Iterable[str], /) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if sys.stderr is not None:
            sys.stderr.flush()


ERROR_STREAM = ErrorStream()
