"""Middleware: WSGI applications that stand between a server and other WSGI applications (PEP 3333, "Middleware").

Router hosts several applications side by side, Filter changes what they answer, Compress compresses it,
ForwardedHeaders tells them what a trusted proxy says of the client, and Balancer forwards requests to backends over
the network (it needs urllib3: ``pip install 'headrace[balancer]'``).  They ask nothing of the server but PEP 3333.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from headrace.middleware.compress import Compress
from headrace.middleware.filter import Filter, ResponseHead, Transform
from headrace.middleware.forwarded import ForwardedHeaders
from headrace.middleware.router import Router

if TYPE_CHECKING:
    from headrace.middleware.balancer import Balancer

__all__ = ["Balancer", "Compress", "Filter", "ForwardedHeaders", "ResponseHead", "Router", "Transform"]

#: Imported when asked for: what they need is not always installed.
_LAZY = {"Balancer": "headrace.middleware.balancer"}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
