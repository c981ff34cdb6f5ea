"""From operators to whole models."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from autocompress.errors import TableError
from autocompress.latency.composition import (
    KINDS,
    ORDINARY,
    Composition,
    ModelWork,
    fit_composition,
    fit_without,
    kind_of,
    model_work,
)
from autocompress.latency.held_out_models import whole_models
from autocompress.latency.table import LatencyTable

sys.path.append(str(Path(__file__).parent))
from forest_parts import conv, families_table, relu

Observed = tuple[str, ModelWork, float]


def drawn(count: int, law: dict[str, float], seed: int = 0) -> list[Observed]:
    """Models that follow ``law`` (scale of each kind, then "node", "model", "mbyte" beyond 4, "moved") exactly."""
    rng = np.random.default_rng(seed)
    models = []
    for i in range(count):
        kind_us = {kind: float(rng.uniform(0, 100)) for kind in KINDS}
        kind_us[KINDS[i % len(KINDS)]] = 5000.0  # most models are mostly of one kind
        nodes, streamed, moved = int(rng.integers(5, 200)), float(rng.uniform(0.1, 30)), float(rng.uniform(0, 20))
        us = sum(law.get(kind, 1.0) * t for kind, t in kind_us.items()) + law["node"] * nodes + law["model"]
        us += law["mbyte"] * max(streamed - 4.0, 0.0) + law["moved"] * moved
        models.append((f"family{i % 6}", ModelWork(kind_us, nodes, streamed, {"float": moved}), us))
    return models


LAW = {"conv_int8": 1.1, "product_int8": 1.2, "node": 2.0, "model": 5.0, "mbyte": 40.0, "moved": 3.0}


def test_the_terms_are_recovered_from_models_that_follow_them() -> None:
    fitted = fit_composition(drawn(60, LAW))
    assert fitted.cached_mbytes == 4.0
    assert fitted.models == 60
    assert fitted.scales["conv_float"] / ORDINARY == pytest.approx(1.0, abs=0.05)
    assert 1.12 < fitted.scales["product_int8"] / ORDINARY < 1.22  # drawn towards one
    assert fitted.per_node_us / ORDINARY == pytest.approx(2.0, rel=0.3)
    assert fitted.per_mbyte_us / ORDINARY == pytest.approx(40.0, rel=0.1)
    assert fitted.relative_error90 < 0.02
    for _, work, us in drawn(20, LAW, seed=1):
        assert fitted.latency_us(work) == pytest.approx(ORDINARY * us, rel=0.02)


def test_one_odd_model_does_not_bend_the_rest() -> None:
    models = drawn(60, LAW)
    family, work, us = models[0]
    bent = fit_composition([(family, work, 3 * us), *models[1:]])
    straight = fit_composition(models)
    assert bent.scales["conv_float"] == pytest.approx(straight.scales["conv_float"], abs=0.02)


def test_a_kind_that_no_model_has_keeps_its_scale() -> None:
    models = [(f, ModelWork({**w.kind_us, "conversion": 0.0}, w.nodes, w.streamed_mbytes, w.activation_mbytes), us)
              for f, w, us in drawn(40, {**LAW, "conversion": 0.0})]  # fmt: skip
    assert fit_composition(models).scales["conversion"] == pytest.approx(ORDINARY, abs=1e-3)


def test_a_family_is_judged_without_itself() -> None:
    models = drawn(60, LAW)
    doubled = [(f, w, 2 * us if f == "family0" else us) for f, w, us in models]
    assert fit_without(doubled, "family0") == fit_without(models, "family0")


def test_few_models_fit_nothing() -> None:
    assert fit_composition(drawn(11, LAW)) == Composition()


def test_no_term_is_negative() -> None:
    fitted = fit_composition([(f, w, 0.5 * us) for f, w, us in drawn(40, LAW)])
    assert min(fitted.per_node_us, fitted.per_model_us, fitted.per_mbyte_us, *fitted.scales.values()) >= 0


def test_what_stands_on_the_card_comes_back() -> None:
    fitted = fit_composition(drawn(40, LAW))
    again = Composition.from_dict(fitted.to_dict())
    for _, work, _ in drawn(5, LAW, seed=2):
        assert again.latency_us(work) == pytest.approx(fitted.latency_us(work), rel=1e-3)
    with pytest.raises(TableError, match="composition terms"):
        Composition.from_dict({"nonsense": 1})


def test_every_operator_is_of_one_kind() -> None:
    assert kind_of(conv(8, 8, 7)) == "conv_float"
    assert kind_of(relu(1, 8)) == "elementwise_float"
    work = model_work([(conv(8, 8, 7), 10.0, 2), (relu(1, 8), 1.0, 3)])
    assert work.kind_us["conv_float"] == 20.0
    assert work.kind_us["elementwise_float"] == 3.0
    assert work.nodes == 5
    assert work.streamed_mbytes == pytest.approx(2 * 4 * 8 * 8 * 9 / 1e6)


def test_models_are_put_together_from_the_records_of_today() -> None:
    table = families_table(2)
    model = table.models["family0/fp32"]
    (found,) = [m for m in whole_models(table) if m.name == "family0/fp32"]
    assert found.complete
    assert sum(found.work.kind_us.values()) == pytest.approx(model.operators_us)


def test_what_the_table_lacks_of_a_model_is_made_up_for() -> None:
    table = families_table(2)
    model = table.models["family0/fp32"]
    gone = conv(16, 16, 7).key
    assert gone in model.operators
    shorter = LatencyTable(table.header, [r for r in table if r.signature.key != gone], table.models)
    (found,) = [m for m in whole_models(shorter) if m.name == "family0/fp32"]
    assert not found.complete
    assert sum(found.work.kind_us.values()) == pytest.approx(model.operators_us)
    assert found.work.nodes == model.nodes
    most = LatencyTable(table.header, [r for r in table if r.signature.op_type != "Conv"], table.models)
    assert whole_models(most) == []
