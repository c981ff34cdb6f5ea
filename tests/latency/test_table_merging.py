"""Joining tables, and comparing them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autocompress.errors import ConfigError, TableError
from autocompress.graph.signature import OpSignature, TensorType
from autocompress.latency.comparison import compare
from autocompress.latency.families import family_of
from autocompress.latency.merging import PREFERENCES, merge
from autocompress.latency.record import LatencyRecord, better
from autocompress.latency.table import LatencyTable

sys.path.append(str(Path(__file__).parent))
from table_parts import DEVICE, HEADER, MODEL, invalid, keys_in, record, signature


def times(table: LatencyTable) -> dict[int, float | None]:
    """Width -> fastest time; None for an invalid record."""
    return {r.signature.inputs[0].shape[1]: r.minimum_us if r.valid else None for r in table}  # type: ignore[union-attr]


A = LatencyTable(HEADER, [record(1, 3.0), record(2, 2.0), record(3, 5.0), invalid(4), invalid(5), record(6, 1.0)])
B = LatencyTable(HEADER, [record(1, 2.0), record(2, 3.0), invalid(3), record(4, 7.0), invalid(5), record(7, 1.0)])
ALWAYS = {3: 5.0, 4: 7.0, 5: None, 6: 1.0, 7: 1.0}  # a valid record counts before an invalid one


@pytest.mark.parametrize(
    ("prefer", "expected", "taken"),
    [
        ("fastest", {1: 2.0, 2: 2.0}, (4, 3)),
        ("first", {1: 3.0, 2: 2.0}, (5, 2)),
        ("last", {1: 2.0, 2: 3.0}, (2, 5)),
    ],
)
def test_which_record_counts(prefer: str, expected: dict[int, float], taken: tuple[int, int]) -> None:
    merged = merge([("a", A), ("b", B)], prefer=prefer)
    assert times(merged.table) == {**expected, **ALWAYS}
    assert merged.records == taken
    assert sum(merged.records) == len(merged.table)
    assert merged.repeated == 5
    assert len(A) == len(B) == 6


def test_merging_the_fastest_does_not_depend_on_the_order() -> None:
    third = LatencyTable(HEADER, [record(1, 1.0), record(9)])
    one = merge([("a", A), ("b", B), ("c", third)]).table
    two = merge([("c", third), ("b", B), ("a", A)]).table
    assert times(one) == times(two)
    assert times(merge([("a", A), ("a", A)]).table) == times(A)


def test_of_two_records_the_valid_one_then_the_faster_then_the_first() -> None:
    slow, fast, bad = record(1, 3.0), record(1, 2.0), invalid(1)
    assert better(slow, fast) is better(fast, slow) is fast
    assert better(bad, slow) is better(slow, bad) is slow
    assert better(slow, replace(slow)) is slow


def test_whole_models_are_joined_too() -> None:
    quick, lacking = replace(MODEL, latency_us=90.0), replace(MODEL, latency_us=50.0, missing=3)
    a = LatencyTable(HEADER, models={"m": MODEL, "n": MODEL, "o": MODEL})
    b = LatencyTable(HEADER, models={"m": quick, "n": lacking, "p": MODEL})
    merged = merge([("a", a), ("b", b)])
    assert merged.table.models == {"m": quick, "n": MODEL, "o": MODEL, "p": MODEL}
    assert merged.models == (2, 2)
    assert merge([("a", a), ("b", b)], prefer="first").table.models["m"] == MODEL
    assert merge([("a", a), ("b", b)], prefer="last").table.models["n"] == lacking


def test_the_header_of_what_was_merged() -> None:
    early = replace(HEADER, date="2024-12-31", constants={"launch_us": 0.3})
    bare = replace(HEADER, constants={})
    merged = merge([("a", LatencyTable(bare)), ("b", LatencyTable(early))], command="how").table
    assert merged.header == replace(early, command="how")
    assert merge([("a", A)]).table.header == HEADER


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (replace(HEADER, threads=2), "threads is 1 here and 2 there"),
        (replace(HEADER, runtime="openvino"), "runtime is onnxruntime here and openvino there"),
        (replace(HEADER, runtime_version="2"), r"runtime version is 1\.31\.1 here and 2 there"),
        (replace(HEADER, device=replace(DEVICE, isa=("avx2",))), "device is .*fma here and .*avx2 there"),
        (replace(HEADER, clock="wall"), "clock is cpu here and wall there"),
        (replace(HEADER, method="in place"), "method is slope here and in place there"),
    ],
)
def test_tables_of_different_things_are_not_merged(other: object, difference: str) -> None:
    with pytest.raises(TableError, match=rf"b\.jsonl cannot be merged into a\.jsonl: {difference}"):
        merge([("a.jsonl", A), ("b.jsonl", LatencyTable(other))])  # type: ignore[arg-type]


def test_an_unknown_preference_is_refused() -> None:
    with pytest.raises(ConfigError, match=f"'newest' is unknown; choose one of {', '.join(PREFERENCES)}"):
        merge([("a", A)], prefer="newest")


def relu(width: int, minimum_us: float) -> LatencyRecord:
    x = TensorType("float32", (1, width))
    return LatencyRecord(OpSignature("", "Relu", (x,), (x,)), minimum_us, minimum_us, 0.0, 9)


def test_the_numbers_of_a_comparison_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    ours, ratios = rng.uniform(1, 100, 40), rng.lognormal(0.2, 0.5, 40)
    theirs = ours * ratios
    make = [record] * 30 + [relu] * 10
    a = LatencyTable(HEADER, [m(i + 1, float(t)) for i, (m, t) in enumerate(zip(make, ours, strict=True))])
    b = LatencyTable(HEADER, [m(i + 1, float(t)) for i, (m, t) in enumerate(zip(make, theirs, strict=True))])
    found = compare(a, b)
    assert [family.name for family in found.families] == sorted({family_of(signature()), "elementwise_float"})
    assert [family.operators for family in found.families] == [10, 30]
    for summary, part in zip((*found.families, found.overall), (slice(30, 40), slice(0, 30), slice(None)), strict=True):
        assert summary is not None
        expected = [*np.percentile(ratios[part], [50, 10, 90]), theirs[part].sum() / ours[part].sum()]
        np.testing.assert_allclose([summary.median, summary.quantile10, summary.quantile90, summary.total], expected)
    order = np.argsort(-np.abs(np.log(ratios)))
    np.testing.assert_allclose([pair.ratio for pair in found.pairs], ratios[order])
    assert not found.only_a
    assert not found.only_b
    assert not found.header


def test_what_only_one_table_has_and_what_cannot_be_compared() -> None:
    found = compare(A, B)
    assert keys_in(LatencyTable(HEADER, found.only_a)) == {signature(6).key}
    assert keys_in(LatencyTable(HEADER, found.only_b)) == {signature(7).key}
    assert [pair.ratio for pair in found.pairs] == pytest.approx([2 / 3, 1.5], rel=1e-9)
    assert found.unusable == 3


def test_tables_of_different_devices_are_compared_where_signatures_agree() -> None:
    other = replace(
        HEADER,
        device=replace(DEVICE, vendor="arm", cores=8),
        runtime="openvino",
        method="in place",
        constants={"launch_us": 0.4},
    )
    found = compare(A, LatencyTable(other, [record(1, 6.0)], {"m": MODEL}))
    assert found.overall is not None
    assert found.overall.median == 2.0
    assert {name: (a, b) for name, a, b in found.header} == {
        "device": (HEADER.device.fingerprint, other.device.fingerprint),
        "cores": (2, 8),
        "runtime": ("onnxruntime", "openvino"),
        "method": ("slope", "in place"),
        "launch us": (0.2, 0.4),
    }
    assert found.models is None
    nothing = compare(A, LatencyTable(HEADER))
    assert nothing.overall is None
    assert nothing.families == ()


def test_whole_models_are_compared_by_their_names() -> None:
    a = LatencyTable(HEADER, models={"m": MODEL, "n": MODEL, "only": MODEL})
    b = LatencyTable(HEADER, models={"m": replace(MODEL, latency_us=55.0), "n": replace(MODEL, latency_us=165.0)})
    found = compare(a, b).models
    assert found is not None
    assert (found.operators, found.median, found.total) == (2, 1.0, 1.0)
