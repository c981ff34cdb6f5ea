from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocompress.cli.time_left import clock, time_left_s


@pytest.mark.parametrize(
    ("done", "total", "elapsed_s", "limit_s", "left_s"),
    [
        (0, None, 5.0, None, None),
        (0, 10, 5.0, None, None),
        (5, 10, 5.0, None, 5.0),
        (5, 10, 5.0, 7.0, 2.0),
        (5, 10, 5.0, 60.0, 5.0),
        (0, None, 5.0, 60.0, 55.0),
        (3, None, 70.0, 60.0, 0.0),
        (12, 10, 5.0, None, 0.0),
    ],
)
def test_by_rate_but_never_past_the_limit(done, total, elapsed_s, limit_s, left_s):
    assert time_left_s(done=done, total=total, elapsed_s=elapsed_s, limit_s=limit_s) == left_s


@given(st.integers(0, 10**6), st.floats(0, 1e6), st.floats(0, 1e6))
def test_never_negative(done, elapsed_s, limit_s):
    left_s = time_left_s(done=done, total=1000, elapsed_s=elapsed_s, limit_s=limit_s)
    assert left_s is not None
    assert 0 <= left_s <= limit_s


def test_clock():
    assert [clock(s) for s in (0, 9.6, 75.2, 3599.7, 3675)] == ["0:00", "0:10", "1:15", "1:00:00", "1:01:15"]
