"""``headrace.validate`` is ``wsgiref.validate`` of the running interpreter: the very same module object.

The names below are for type checkers: those that typeshed knows of wsgiref's.  ``check_environ`` and its like are there
as well, and private names, and later additions.
"""

from __future__ import annotations

import sys
import wsgiref.validate
from wsgiref.validate import (
    ErrorWrapper,
    InputWrapper,
    IteratorWrapper,
    PartialIteratorWrapper,
    WriteWrapper,
    WSGIWarning,
    validator,
)

__all__ = [
    "ErrorWrapper",
    "InputWrapper",
    "IteratorWrapper",
    "PartialIteratorWrapper",
    "WSGIWarning",
    "WriteWrapper",
    "validator",
]

sys.modules[__name__] = wsgiref.validate  # one object: what a program patches in one of the two is patched in both
