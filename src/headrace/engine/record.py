"""The access record: what happened to one request."""

from __future__ import annotations

from typing import Any


class AccessRecord:
    """Made when the head is complete, before the application may change environ; the outcome is filled in later.

    time_s: when it began, seconds since the epoch.  duration_s: until its last octet was handed to the kernel or
    left waiting for the client.  response_bytes: octets of the body.  method, target, protocol: as sent (latin-1),
    "" when the request was refused before they were known.
    """

    __slots__ = (
        "duration_s",
        "method",
        "protocol",
        "referer",
        "remote_addr",
        "remote_user",
        "response_bytes",
        "status",
        "target",
        "time_s",
        "user_agent",
    )

    def __init__(self, environ: dict[str, Any], remote_addr: str, time_s: float) -> None:
        self.remote_addr = remote_addr
        self.remote_user: str | None = None
        self.time_s = time_s
        self.method: str = environ.get("REQUEST_METHOD", "")
        self.target: str = environ.get("RAW_URI", "")
        self.protocol: str = environ.get("SERVER_PROTOCOL", "")
        self.referer: str | None = environ.get("HTTP_REFERER")
        self.user_agent: str | None = environ.get("HTTP_USER_AGENT")
        self.status = 0
        self.response_bytes = 0
        self.duration_s = 0.0
