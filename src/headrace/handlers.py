"""``headrace.handlers`` is ``wsgiref.handlers`` of the running interpreter: the very same module object.

The names below are for type checkers; private ones and later additions are there as well.
"""

from __future__ import annotations

import sys
import wsgiref.handlers
from wsgiref.handlers import (
    BaseCGIHandler,
    BaseHandler,
    CGIHandler,
    IISCGIHandler,
    SimpleHandler,
    format_date_time,
    read_environ,
)
from wsgiref.headers import Headers
from wsgiref.util import FileWrapper, guess_scheme, is_hop_by_hop

__all__ = [
    "BaseCGIHandler",
    "BaseHandler",
    "CGIHandler",
    "FileWrapper",
    "Headers",
    "IISCGIHandler",
    "SimpleHandler",
    "format_date_time",
    "guess_scheme",
    "is_hop_by_hop",
    "read_environ",
]

sys.modules[__name__] = wsgiref.handlers  # one object: what a program patches in one of the two is patched in both
