"""Counts of work by hand, and rooflines that are fitted to them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from autocompress.errors import TableError
from autocompress.graph.signature import OpSignature, TensorType
from autocompress.latency.families import dispatch_class
from autocompress.latency.fitted_roofline import FittedRoofline, fit_roofline
from autocompress.latency.operator_rows import OperatorRows
from autocompress.latency.work_terms import COMMON, WORK_TERMS, padded, work_terms

sys.path.append(str(Path(__file__).parent))
from forest_parts import ROOFLINE, conv, relu

FIRST = len(COMMON)


def rows_of(*signatures: OpSignature) -> OperatorRows:
    return OperatorRows.of(signatures, ROOFLINE)


def fitted_to(signatures: list[OpSignature], latency_us: np.ndarray) -> FittedRoofline:
    return fit_roofline(rows_of(*signatures), latency_us, np.ones(len(signatures)))


def transpose(shape: tuple[int, ...], permutation: tuple[int, ...]) -> OpSignature:
    result = tuple(shape[axis] for axis in permutation)
    return OpSignature(
        "", "Transpose", (TensorType("uint8", shape),), (TensorType("uint8", result),), (("perm", permutation),)
    )


def pool(size: int, window: int, pad: int) -> OpSignature:
    x = TensorType("float32", (1, 2, size, size))
    attributes = (("kernel_shape", (window, window)), ("pads", (pad,) * 4))
    return OpSignature("", "MaxPool", (x,), (x,), attributes)


def test_common_counts() -> None:
    (row,) = work_terms([conv(8, 12, 10)])
    assert row[0] == 1
    assert row[1] == 10 * 10 * 12 * 8 * 9
    assert row[2] == 12 * 100
    assert row[3] == 8 * 100
    assert row[6] == 4 * 12 * 8 * 9


def test_a_convolution_is_counted_in_blocks_of_channels() -> None:
    (row,) = work_terms([conv(8, 20, 10)])
    assert row[FIRST] == 100 * 72 * padded(20, 16) == 100 * 72 * 32
    rest = work_terms([conv(8, 20, 10), conv(8, 32, 10)])[:, FIRST + 7]
    assert rest[0] == 100 * 72 * 20
    assert rest[1] == 0


def test_windows_are_cut_at_the_borders() -> None:
    size, window, pad = 5, 7, 3
    taps = sum(
        max(min(o - pad + window, size) - max(o - pad, 0), 0) * max(min(p - pad + window, size) - max(p - pad, 0), 0)
        for o in range(size)
        for p in range(size)
    )
    assert work_terms([pool(size, window, pad)])[0, FIRST] == 2 * taps


def test_neighbours_that_share_a_cache_set_are_counted() -> None:
    aligned, unaligned = transpose((1, 24, 64, 64), (0, 2, 3, 1)), transpose((1, 24, 56, 56), (0, 2, 3, 1))
    rows = work_terms([aligned, unaligned])
    assert rows[0, FIRST + 14] == 24 * 64 * 64
    assert rows[1, FIRST + 14] == 0


@pytest.mark.parametrize(
    "signature",
    [
        OpSignature("my.domain", "Strange", (TensorType("float32", (0,)),), (TensorType("float32", (0,)),)),
        OpSignature("", "Shape", (TensorType("float32", (2, 3)),), (TensorType("int64", (2,)),)),
        OpSignature("", "If", (), ()),
        relu(),
    ],
)
def test_every_operator_has_counts(signature: OpSignature) -> None:
    row = work_terms([signature])
    assert row.shape == (1, WORK_TERMS)
    assert np.isfinite(row).all()
    assert (row >= 0).all()
    assert row[0, 0] == 1


def law_us(signature: OpSignature) -> float:
    """Half a microsecond, 20 ps per multiply-add in blocks of 16, 100 ps per result."""
    row = work_terms([signature])[0]
    return float(0.5 + 2e-5 * row[FIRST] + 1e-4 * row[2])


def test_rates_are_recovered_and_reach_beyond_what_was_seen() -> None:
    rng = np.random.default_rng(0)
    seen = [conv(int(c), int(k), int(s)) for c, k, s in rng.integers((8, 8, 6), (64, 64, 28), (60, 3))]
    fitted = fitted_to([*seen], np.asarray([law_us(s) for s in seen]))
    larger = [conv(128, 128, 28), conv(96, 200, 40)]
    expected = [law_us(s) for s in larger]
    np.testing.assert_allclose(fitted.latency_us(rows_of(*larger)), expected, rtol=0.05)


def test_a_kernel_of_few_records_keeps_the_proportions_of_its_relatives() -> None:
    many = [conv(c, k, s) for c in (8, 16, 48) for k in (16, 32, 64) for s in (7, 14, 28)]
    few = [conv(16, 32, 14, domain="com.microsoft.nchwc"), conv(32, 32, 14, domain="com.microsoft.nchwc")]
    times = [law_us(s) for s in many] + [2 * law_us(s) for s in few]
    fitted = fitted_to([*many, *few], np.asarray(times))
    asked = conv(48, 64, 28, domain="com.microsoft.nchwc")
    (found,) = fitted.latency_us(rows_of(asked))
    assert 1.2 * law_us(asked) < found < 2.1 * law_us(asked)


def test_what_nothing_was_seen_of_stays_within_the_ratios_seen() -> None:
    seen = [relu(1, c, s, s) for c in (8, 16, 32) for s in (7, 14, 28)]
    fitted = fitted_to([*seen], np.asarray([3 * ROOFLINE.bound_us(s) for s in seen]))
    strange = OpSignature("x", "Erf", (TensorType("float32", (1, 1)),), (TensorType("float32", (1, 1)),))
    (found,) = fitted.latency_us(rows_of(strange))
    assert 3 * np.exp(-0.2) < found / ROOFLINE.bound_us(strange) < 3 * np.exp(0.2)


def test_what_stands_on_the_card_is_what_was_fitted() -> None:
    seen = [conv(c, 32, s) for c in (8, 16, 48) for s in (7, 14, 28)]
    fitted = fitted_to([*seen], np.asarray([law_us(s) for s in seen]))
    again = FittedRoofline.from_dict(fitted.to_dict())
    np.testing.assert_array_equal(again.latency_us(rows_of(*seen)), fitted.latency_us(rows_of(*seen)))


@pytest.mark.parametrize("row", [{}, {"rates": {"": [1.0]}, "ranges": {"": [0, 1]}}, {"rates": {}, "ranges": {}}])
def test_malformed_rates_are_refused(row: dict[str, object]) -> None:
    with pytest.raises(TableError, match="train them again"):
        FittedRoofline.from_dict(row)


def test_what_is_fused_is_counted_for_each_result() -> None:
    x, kernel = TensorType("float32", (1, 16, 10, 10)), TensorType("float32", (32, 16, 1, 1), True)
    y = TensorType("float32", (1, 32, 10, 10))

    def counts(*fused: str) -> list[float]:
        signature = OpSignature("openvino", "Convolution", (x, kernel), (y,), (("fused", fused), ("kernel", "k")))
        return work_terms([signature])[0].tolist()

    plain, relu, gelu = counts(), counts("Relu"), counts("Div", "Erf", "Mul")
    assert plain[:-2] == relu[:-2] == gelu[:-2]
    assert (plain[-2:], relu[-2:], gelu[-2:]) == ([0, 0], [0, 3200], [6400, 9600])


def test_reorders_between_other_layouts_are_of_other_classes() -> None:
    x = TensorType("float32", (1, 16, 10, 10))

    def reorder(*layouts: str) -> str:
        return dispatch_class(OpSignature("openvino", "Reorder", (x,), (x,), (("layouts", layouts),)))

    assert len({reorder("abcd", "acdb"), reorder("acdb", "abcd"), reorder("abcd", "aBcd16b")}) == 3
