from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocompress.config.quantities import (
    SizeTarget,
    format_duration,
    parse_count,
    parse_counts,
    parse_drop,
    parse_duration_s,
    parse_latency_ms,
    parse_positive,
    parse_size,
    parse_speedup,
)
from autocompress.errors import ConfigError

PARSERS = [
    parse_speedup,
    parse_latency_ms,
    parse_size,
    parse_drop,
    parse_duration_s,
    lambda value: parse_positive("x", value),
    lambda value: parse_count("x", value),
]


@pytest.mark.parametrize(
    ("text", "factor"),
    [("2", 2.0), ("2x", 2.0), ("2.5X", 2.5), (" 3 x ", 3.0), ("1x", 1.0), (2, 2.0), (1.5, 1.5), ("1e1", 10.0)],
)
def test_speedup(text, factor):
    assert parse_speedup(text) == factor


@pytest.mark.parametrize(
    "text",
    ["0", "0x", "-1", "-2x", "nan", "inf", "-inf", "fast", "", "x", "2xx", "2ms", "0.5", "0.99x", "1_0", "２", "2%"],
)
def test_speedup_refuses(text):
    with pytest.raises(ConfigError, match="target speedup"):
        parse_speedup(text)


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, True, None, [2], {"x": 2}, 1e-5, 2j])
def test_speedup_refuses_values_of_yaml(value):
    with pytest.raises(ConfigError, match="target speedup"):
        parse_speedup(value)


def test_speedup_below_one_says_what_it_would_mean():
    with pytest.raises(ConfigError, match="asks for a slower model; 2x means twice as fast"):
        parse_speedup("0.5x")


def test_numpy_numbers_are_numbers():
    assert parse_speedup(np.float32(2.5)) == 2.5
    assert parse_speedup(np.float64(2.5)) == 2.5
    assert parse_count("threads", np.int64(3)) == 3


@pytest.mark.parametrize(
    ("text", "latency_ms"),
    [("5ms", 5.0), ("800us", 0.8), ("1.2s", 1200.0), ("7 µs", 0.007), ("7μs", 0.007), ("3NS", 3e-6), (".5ms", 0.5)],
)
def test_latency(text, latency_ms):
    assert parse_latency_ms(text) == latency_ms


@pytest.mark.parametrize("text", ["0ms", "-5ms", "nanms", "5m", "5 minutes", "ms", "5ms5ms", "5x", "1e400s"])
def test_latency_refuses(text):
    with pytest.raises(ConfigError, match="target latency"):
        parse_latency_ms(text)


@pytest.mark.parametrize("bare", ["5", 5, 5.0])
def test_latency_without_a_unit_is_refused_with_advice(bare):
    with pytest.raises(ConfigError, match=r"has no unit; write 5(\.0)?ms, 5(\.0)?us"):
        parse_latency_ms(bare)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("4x", SizeTarget(factor=4.0)),
        ("1.5X", SizeTarget(factor=1.5)),
        ("10MB", SizeTarget(size_bytes=10_000_000)),
        ("10MiB", SizeTarget(size_bytes=10 * 2**20)),
        ("500kB", SizeTarget(size_bytes=500_000)),
        ("0.5 GiB", SizeTarget(size_bytes=2**29)),
        ("12B", SizeTarget(size_bytes=12)),
    ],
)
def test_size(text, target):
    assert parse_size(text) == target


@pytest.mark.parametrize("text", ["4", "0x", "0.5x", "-4x", "0MB", "-1MB", "10 apples", "nanMB", "inf", "0.4B", "MB"])
def test_size_refuses(text):
    with pytest.raises(ConfigError, match="target size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "drop"), [("1%", 0.01), ("0.7%", 0.007), ("0.2", 0.2), ("0", 0.0), (0, 0.0), ("1.5", 1.5), (0.05, 0.05)]
)
def test_drop(text, drop):
    assert parse_drop(text) == drop


@pytest.mark.parametrize("text", ["-1%", "-0.1", "nan", "1 point", "1x", "101%", "one", "%", math.nan, math.inf, True])
def test_drop_refuses(text):
    with pytest.raises(ConfigError, match="max accuracy drop"):
        parse_drop(text)


def test_negative_zero_is_no_negative_drop():
    assert math.copysign(1, parse_drop("-0")) == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10m", 600), ("90s", 90), ("1h30m", 5400), ("1h 30m 5s", 5405), ("1.5H", 5400), ("2d", 172800), ("45", 45)],
)
def test_duration(text, seconds):
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["0", "0s", "-10m", "", "m", "10x", "1m1h", "1m1m", "soon", "nan", "inf", "10 m m"])
def test_duration_refuses(text):
    with pytest.raises(ConfigError, match="duration"):
        parse_duration_s(text)


@pytest.mark.parametrize("value", ["0", 0, -1, 1.0, "1.5", True, "two", None, 2**31, "9" * 50])
def test_count_refuses(value):
    with pytest.raises(ConfigError, match=r"threads .* whole number"):
        parse_count("threads", value)


@given(st.floats(min_value=1, max_value=1e12))
def test_speedup_reads_back_what_it_means(factor):
    assert parse_speedup(f"{factor!r}x") == factor
    assert parse_speedup(parse_speedup(factor)) == factor


@given(st.floats(min_value=1e-6, max_value=1e9))
def test_latency_reads_back_exactly(latency_ms):
    assert parse_latency_ms(f"{latency_ms!r}ms") == latency_ms


@given(st.floats(min_value=1e-3, max_value=1e7) | st.integers(1, 10**6).map(float))
def test_duration_reads_back_exactly(seconds):
    assert parse_duration_s(format_duration(seconds)) == seconds


@given(st.builds(SizeTarget, factor=st.floats(1, 1e6)) | st.builds(SizeTarget, size_bytes=st.integers(1, 10**12)))
def test_size_reads_back_exactly(target):
    assert parse_size(str(target)) == target
    assert parse_size(target) == target


@given(
    st.text(max_size=20)
    | st.from_regex(r"[+-]?[0-9.]{0,6}(e[0-9]{1,6})?\s*(x|ms|us|s|MB|%|h|m)?", fullmatch=True)
    | st.floats()
    | st.integers()
    | st.none()
    | st.booleans()
)
def test_anything_is_a_number_or_one_sentence(value):
    for parse in PARSERS:
        try:
            parsed = parse(value)
        except ConfigError as error:
            sentence = str(error)
        else:
            number = (parsed.factor or parsed.size_bytes) if isinstance(parsed, SizeTarget) else parsed
            sentence = "" if math.isfinite(number) and number >= 0 else repr(number)
            assert sentence == ""
        assert "\n" not in sentence


@pytest.mark.parametrize(
    ("value", "counts"), [("1,2", (1, 2)), (" 4 , 2 ", (4, 2)), ("2,2,1", (2, 1)), ("8", (8,)), (3, (3,))]
)
def test_counts_in_a_list(value, counts):
    assert parse_counts("threads", value) == counts


@pytest.mark.parametrize("value", ["", "1,", "0,1", "1;2", "1.5", "1,9", None])
def test_a_list_with_anything_else_in_it_is_refused(value):
    with pytest.raises(ConfigError, match=r"threads .* must be a whole number from 1 to 8"):
        parse_counts("threads", value, at_most=8)
