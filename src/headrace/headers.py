"""``headrace.headers`` is ``wsgiref.headers`` of the running interpreter: the very same module object.

The names below are for type checkers; private ones and later additions are there as well.
"""

from __future__ import annotations

import sys
import wsgiref.headers
from wsgiref.headers import Headers, tspecials

__all__ = ["Headers", "tspecials"]

sys.modules[__name__] = wsgiref.headers  # one object: what a program patches in one of the two is patched in both
