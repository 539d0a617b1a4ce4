"""X-Request-Start as proxies send it, and as nobody should."""

from __future__ import annotations

import pytest

from headrace.engine.request_start import request_age_s

NOW_S = 1_790_000_000.5


@pytest.mark.parametrize("prefix", ["", "t="])
@pytest.mark.parametrize("padding", ["", " \t"])
@pytest.mark.parametrize(
    ("value", "age_s"),
    [
        ("1789999998.5", 2.0),
        ("1789999998", 2.5),
        ("1789999998.250000000", 2.25),
        ("1789999998500", 2.0),
        ("1789999998500.25", 1.99975),
        ("1789999998500000", 2.0),
        ("1790000000.5", 0.0),
    ],
)
def test_seconds_milliseconds_and_microseconds_are_told_by_their_size(value, age_s, prefix, padding):
    assert request_age_s(padding + prefix + value + padding, NOW_S) == pytest.approx(age_s, abs=1e-5)


@pytest.mark.parametrize("value", ["1790000001", "t=1790000001500", "99999999999999999"])
def test_a_time_in_the_future_is_now(value):
    assert request_age_s(value, NOW_S) == 0.0


@pytest.mark.parametrize(
    "value",
    [
        "", "t", "t=", "=1789999998", "T=1789999998", "t=t=1789999998", "t= 1789999998", "1789999998.", ".5",
        "-1789999998", "+1789999998", "1e9", "0x6ab0", "1_789_999_998", "1789999998,5", "1789999998, 1789999999", "nan",
        "inf", "now", "1789999998s", "\u0661789999998", "1789999998\n", "1" * 18, "1789999998.1234567890",
        "1789999998 1",
    ],
)  # fmt: skip
def test_what_is_no_time_tells_nothing(value):
    assert request_age_s(value, NOW_S) is None
