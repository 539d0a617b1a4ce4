"""``headrace.util`` is ``wsgiref.util`` of the running interpreter: the very same module object.

The names below are for type checkers; private ones and later additions are there as well.
"""

from __future__ import annotations

import sys
import wsgiref.util
from wsgiref.util import (
    FileWrapper,
    application_uri,
    guess_scheme,
    is_hop_by_hop,
    request_uri,
    setup_testing_defaults,
    shift_path_info,
)

__all__ = [
    "FileWrapper",
    "application_uri",
    "guess_scheme",
    "is_hop_by_hop",
    "request_uri",
    "setup_testing_defaults",
    "shift_path_info",
]

sys.modules[__name__] = wsgiref.util  # one object: what a program patches in one of the two is patched in both
