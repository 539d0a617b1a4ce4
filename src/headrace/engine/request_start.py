"""X-Request-Start: when a proxy in front of us received a request.

There is no standard. nginx sends ``t=1512379200.123`` (``$msec``: seconds), Heroku's router ``1512379200123``
(milliseconds), HAProxy and Apache's mod_headers (``%t``) ``t=1512379200123456`` (microseconds).
"""

from __future__ import annotations

import re

_TIME = re.compile(r"(?:t=)?([0-9]{1,17})(\.[0-9]{1,9})?", re.ASCII)

#: No time of this century that is in seconds has so many digits in front of the point; nor one in milliseconds.
_MILLISECONDS_FROM = 1e11
_MICROSECONDS_FROM = 1e14


def request_age_s(value: str, now_s: float) -> float | None:
    """How long ago that was, in seconds; 0.0 for a clock that is ahead of ours, None when it cannot be told."""
    match = _TIME.fullmatch(value.strip(" \t"))
    if match is None:
        return None
    time_s = float(match[1] + (match[2] or ""))
    if time_s >= _MICROSECONDS_FROM:
        time_s /= 1e6
    elif time_s >= _MILLISECONDS_FROM:
        time_s /= 1e3
    return max(now_s - time_s, 0.0)
