"""``headrace.types`` is ``wsgiref.types`` of the running interpreter: the very same module object, from Python 3.11 on.

Importing it raises ModuleNotFoundError on Python 3.10, as ``import wsgiref.types`` does there.
"""

from __future__ import annotations

import sys

if sys.version_info >= (3, 11):
    import wsgiref.types
    from wsgiref.types import ErrorStream, FileWrapper, InputStream, StartResponse, WSGIApplication, WSGIEnvironment

    __all__ = ["ErrorStream", "FileWrapper", "InputStream", "StartResponse", "WSGIApplication", "WSGIEnvironment"]

    sys.modules[__name__] = wsgiref.types
else:
    raise ModuleNotFoundError(
        f"No module named {__name__!r}: it hands on wsgiref.types, which came with Python 3.11", name=__name__
    )
