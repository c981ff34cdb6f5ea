"""How good predictors are said to be: by leaving families out, with nothing of them left in."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from autocompress.api.predictors import evaluate_table, train
from autocompress.errors import TableError
from autocompress.latency.evaluation import Share, evaluate, model_errors
from autocompress.latency.held_out_models import score
from autocompress.latency.table import LatencyTable
from autocompress.measurement import EstimatedLatency, Interval

sys.path.append(str(Path(__file__).parent))
from forest_parts import HEADER, families_table, law_us


@pytest.mark.parametrize(("hits", "n"), [(0, 7), (3, 7), (7, 7), (180, 200)])
def test_wilson_against_scipy(hits: int, n: int) -> None:
    expected = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(Share(hits, n).interval95.to_list(), (expected.low, expected.high), atol=1e-6)


def test_nothing_is_anywhere() -> None:
    assert Share(0, 0).interval95 == Interval(0.0, 1.0)


@pytest.mark.parametrize(("measured", "expected"), [(2.2, 0.5), (1.8, np.log(2 / 1.8) / np.log(2 / 1.5)), (2.0, 0.0)])
def test_a_score_is_the_error_over_its_side_of_the_interval(measured: float, expected: float) -> None:
    high = 2.0 * (1.1**2)
    estimate = EstimatedLatency(2.0, Interval(1.5, high), 1.0, 3)
    assert score(estimate, measured) == pytest.approx(expected)


def test_families_that_follow_the_law_of_the_others_are_estimated_well() -> None:
    found = evaluate(families_table(), "a table")
    for models in (found.by_forest, found.no_hits, found.by_table):
        assert len(models) == 24
        errors = model_errors(models)
        assert errors.within_10_percent.share > 0.9
        assert abs(errors.bias) < 0.05
    assert {m.coverage for m in found.by_table} == {1.0}
    assert {m.coverage for m in found.no_hits} == {0.0}
    assert found.operators["conv_dense_float"].mape < 0.1


def test_a_family_of_its_own_kind_is_found_out() -> None:
    """Nothing that is stated of a family rests on its own records: one twice as slow is estimated at half."""
    found = evaluate(families_table(odd="family3"), "a table")
    odd = [m.relative_error for m in found.by_forest if m.family == "family3"]
    usual = [abs(m.relative_error) for m in found.by_forest if m.family != "family3"]
    assert np.mean(odd) == pytest.approx(-0.5, abs=0.15)
    assert np.median(usual) < 0.1
    worst = sorted(found.by_forest, key=lambda m: -abs(m.relative_error))[:3]
    assert {m.family for m in worst} == {"family3"}


def test_intervals_are_calibrated_on_other_families() -> None:
    rng = np.random.default_rng(0)
    found = evaluate(families_table(12, lambda s: law_us(s) * float(np.exp(rng.normal(0, 0.1)))), "a table")
    assert model_errors(found.by_forest).intervals.share >= 0.85


def test_the_document_names_the_worst_operators_readably(tmp_path: Path) -> None:
    folder = tmp_path / "latency_tables"
    path = folder / f"{HEADER.stem}.jsonl"
    families_table(4).save(path)
    document = evaluate_table(path)
    assert document["predictors"] == "none are beside the table"
    (row,) = [row for row in document["operators"] if row["family"] == "conv_dense_float"]
    assert row["worst"][0]["op_type"] == "Conv"
    assert "x" in row["worst"][0]["work"]
    assert document["models"]["by_forest"]["n"] == 12
    assert {g["family"] for g in document["models"]["by_forest"]["by_family"]} == {f"family{i}" for i in range(4)}
    assert {g["variant"] for g in document["models"]["by_forest"]["by_variant"]} == {"fp32", "int8", "pruned"}
    assert evaluate_table(path) == document
    train(path)
    assert evaluate_table(path)["predictors"] == f"{HEADER.stem} was trained on this table"
    table = LatencyTable.load(path)
    LatencyTable(table.header, list(table)[1:], table.models).save(path)
    assert "were not trained on" in evaluate_table(path)["predictors"]


def test_a_table_of_nothing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / f"{HEADER.stem}.jsonl"
    LatencyTable(HEADER).save(path)
    with pytest.raises(TableError, match="too few records"):
        evaluate_table(path)
