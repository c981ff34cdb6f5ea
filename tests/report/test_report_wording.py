from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocompress.measurement import Interval
from autocompress.report import wording
from autocompress.report.wording import MINUS, MISSING, Scale

FRACTION, DECIBEL, PLAIN = Scale("fraction"), Scale("dB"), Scale("")


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (FRACTION.value(0.7231), "72.31 %"),
        (FRACTION.drop(0.0062), "+0.62 points"),
        (FRACTION.drop(-0.001), f"{MINUS}0.10 points"),
        (FRACTION.drop(-0.00001), "0.00 points"),
        (FRACTION.drop(0.0), "0.00 points"),
        (FRACTION.amount(-0.01), "1.00 points"),
        (FRACTION.interval([-0.0014, 0.01]), f"{MINUS}0.14 to +1.00 points"),
        (FRACTION.interval(Interval(0.001, 0.002)), "+0.10 to +0.20 points"),
        (FRACTION.value(None), MISSING),
        (FRACTION.drop(math.nan), MISSING),
        (FRACTION.interval(Interval(math.nan, math.nan)), MISSING),
        (FRACTION.interval(None), MISSING),
        (DECIBEL.value(31.4159), "31.42 dB"),
        (DECIBEL.drop(0.031), "+0.03 dB"),
        (PLAIN.value(0.00012346), "0.0001235"),
        (PLAIN.drop(0.00012346), "+0.0001235"),
        (wording.times(2.046), "2.05×"),
        (wording.times_interval([2.0, 2.1]), "2.00 to 2.10×"),
        (wording.times(None), MISSING),
        (wording.milliseconds(3.7149), "3.71 ms"),
        (wording.milliseconds(0.06523), "0.0652 ms"),
        (wording.milliseconds(76.04), "76.0 ms"),
        (wording.milliseconds(1234.5), "1234 ms"),
        (wording.milliseconds_interval([3.5, 4.0]), "3.50 to 4.00 ms"),
        (wording.size(0), "0 B"),
        (wording.size(999), "999 B"),
        (wording.size(999_999), "1.00 MB"),
        (wording.size(13_964_571), "14.0 MB"),
        (wording.size(2_147_483_648), "2.15 GB"),
        (wording.size(None), MISSING),
        (wording.count(640), "640"),
        (wording.count(12_345), "12.3 k"),
        (wording.count(300_774_272), "301 M"),
        (wording.percent(0.1234), "12.3 %"),
        (wording.seconds(0.414), "0.41 s"),
        (wording.seconds(72.3), "72 s"),
        (wording.seconds(303), "5 min 03 s"),
        (wording.seconds(119.6), "2 min 00 s"),
        (wording.significant(0.0000123), "1.23e-05"),
        (wording.significant(0), "0"),
        (wording.significant(0.9999), "1.00"),
        (wording.significant(math.inf), "inf"),
        (wording.plural(1, "trial"), "1 trial"),
        (wording.plural(0, "trial"), "0 trials"),
        (wording.sentence("it stopped"), "It stopped."),
        (wording.sentence("Why?"), "Why?"),
    ],
)
def test_numbers_read_well(shown, text):
    assert shown == text


@given(st.floats(1e-3, 1e5))
def test_significant_digits_are_true(value):
    assert float(wording.significant(value)) == pytest.approx(value, rel=0.005)
    assert "e" not in wording.significant(value)


@pytest.mark.parametrize(
    ("metric", "unit"),
    [("top1", "fraction"), ("top1 against the labels", "fraction"), ("psnr", "dB"), ("mse", ""), ("mine:map50", "")],
)
def test_units_of_metrics(metric, unit):
    assert wording.metric_unit(metric) == unit
