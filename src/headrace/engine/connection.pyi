from typing import Any

class AccessRecord:
    """What happened to one request, for the access log; see observe/access_log.py for its formats."""

    remote_addr: str
    remote_user: str | None
    time_s: float
    method: str
    target: str
    protocol: str
    status: int
    response_bytes: int
    referer: str | None
    user_agent: str | None
    duration_s: float

    def __init__(self, environ: dict[str, Any], remote_addr: str, time_s: float) -> None:
        """Made when the head is complete, before the application may change environ; the rest is filled in later."""
