"""When has a worker served long enough?  --max-requests and --max-rss are looked at between requests."""

from __future__ import annotations

import itertools
import os
import random
import resource
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from headrace.config import Config
from headrace.wsgi import Application

#: Reading the size takes some microseconds.
RSS_EVERY_REQUESTS = 8


def resident_bytes() -> int:
    """Of this process; where the system does not tell, the most that it has ever been."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


def with_wear(application: Application, config: Config, worn: Callable[[str], object]) -> Application:
    """The application, counted; ``worn`` is called once with the reason.  As it is when there is nothing to count."""
    if not config.max_requests and not config.max_rss:
        return application
    most = sys.maxsize
    if config.max_requests:
        # jitter, so that workers that started together do not leave together
        most = config.max_requests + random.randint(0, config.max_requests_jitter)  # noqa: S311
    return _Counted(application, most, config.max_rss, worn)


class _Counted:
    def __init__(
        self, application: Application, requests_max: int, rss_bytes_max: int, worn: Callable[[str], object]
    ) -> None:
        self._application = application
        self._requests_max = requests_max
        self._rss_bytes_max = rss_bytes_max
        self._worn: Callable[[str], object] | None = worn
        self._next = itertools.count(1).__next__  # one step, for threads without an interpreter lock

    def __call__(self, environ: dict[str, Any], start_response: Any, /) -> Iterable[bytes]:
        number = self._next()
        if self._worn is not None:
            if number >= self._requests_max:
                self._tell(f"{number} requests (--max-requests)")
            elif self._rss_bytes_max and number % RSS_EVERY_REQUESTS == 0:
                size = resident_bytes()
                if size > self._rss_bytes_max:
                    self._tell(f"{size} bytes of memory (--max-rss is {self._rss_bytes_max})")
        return self._application(environ, start_response)

    def _tell(self, reason: str) -> None:
        worn, self._worn = self._worn, None
        if worn is not None:
            worn(reason)
