"""The PROXY protocol in words: why a header is refused, and what environ gets of one."""

from __future__ import annotations

#: One for each ``enum proxy_header_error`` of csrc/proxy_header.h, in its order (a test compares the numbers).
PROXY_ERRORS = (
    "",
    "the connection begins with something else",
    "malformed line of version 1",
    "a line of version 1 that is longer than 107 octets",
    "neither version 2 nor a command that is known",
    "a family or protocol that version 2 does not know, or too short for its addresses",
    "longer than 4096 octets",
)

_FAMILIES = {1: "TCP4", 2: "TCP6"}


def environ_of(source: int, address: str, port: int) -> dict[str, str]:
    """The keys that gunicorn has, too: what the client connected to.  source: of ``enum proxy_source``."""
    return {"PROXY_PROTOCOL": _FAMILIES[source], "PROXY_ADDR": address, "PROXY_PORT": str(port)}
