"""Sparse operators that no table has: priced from their dense twin, and cheaper only where somebody has seen that."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from autocompress.graph.signature import OpSignature
from autocompress.latency.estimator import FOREST, TABLE, LatencyEstimator
from autocompress.latency.record import LatencyRecord
from autocompress.latency.roofline import Roofline
from autocompress.latency.serving import Prediction
from autocompress.latency.table import LatencyTable

sys.path.append(str(Path(__file__).parent))
from table_parts import HEADER, record, signature

DENSE = signature()
SPARSE = replace(DENSE, sparsity=0.75)


class Forests:
    """Say twice what the table says, times what a runtime executes of the weights."""

    def __init__(self, skips: bool) -> None:
        self._skips = skips

    def predict(self, signatures: Sequence[OpSignature]) -> list[Prediction | None]:
        found = [4.0 * (1.0 - self._skips * s.sparsity) for s in signatures]
        return [Prediction(us, 0.8 * us, 1.3 * us) for us in found]


ROOFLINE = Roofline(20.0, 40.0, 10.0, 1.0)


def prices(table: LatencyTable | None, skips: bool | None = None) -> dict[str, tuple[float, str]]:
    forests = None if skips is None else Forests(skips)
    estimator = LatencyEstimator(table, forests, roofline=ROOFLINE)
    found = estimator.price([DENSE, SPARSE])
    return {name: (p.latency_us, p.source) for name, p in zip(("dense", "sparse"), found, strict=True)}


def dense_us(minimum_us: float) -> float:
    """What the dense operator costs in a model where its row says so many microseconds."""
    return prices(LatencyTable(HEADER, [record(minimum_us=minimum_us)]))["dense"][0]


@pytest.mark.parametrize("skips", [None, False])
def test_zeros_that_nobody_saw_help_cost_what_the_dense_twin_costs(skips: bool | None) -> None:
    found = prices(LatencyTable(HEADER, [record()]), skips)
    assert found["sparse"][0] == pytest.approx(found["dense"][0])
    # It is no exact hit, and does not count as one.
    assert (found["dense"][1], found["sparse"][1]) == (TABLE, FOREST)


def test_forests_that_know_zeros_scale_the_row_of_the_dense_twin() -> None:
    found = prices(LatencyTable(HEADER, [record()]), skips=True)
    assert found["sparse"][0] == pytest.approx(dense_us(0.25 * 2.0))


def test_a_row_of_its_own_wins() -> None:
    own = LatencyRecord(SPARSE, 1.6, 1.5, 0.1, 20)
    found = prices(LatencyTable(HEADER, [record(), own]), skips=True)
    assert found["sparse"][1] == TABLE
    assert found["sparse"][0] == pytest.approx(dense_us(1.5))


def test_without_a_twin_forests_alone_speak() -> None:
    found = prices(None, skips=True)
    assert found["sparse"][0] == pytest.approx(dense_us(0.25 * 4.0))
    assert found["sparse"][1] == FOREST
