"""Units that stay in float: by a choice of the configuration, for want of a kernel, or because of measured damage."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autocompress.errors import RecipeError
from autocompress.passes.quantize import (
    FP16_WEIGHTS,
    FP32,
    INT4_WEIGHT_ONLY,
    INT8,
    INT8_DYNAMIC,
    INT8_WEIGHT_ONLY,
    QuantizeConfig,
)
from autocompress.passes.quantize.exclusion import units_to_keep_float

sys.path.append(str(Path(__file__).parent))
from quantize_models import FloatGraph, Study, executed


def network() -> FloatGraph:
    graph = FloatGraph(seed=1)
    x = graph.conv(graph.input("x", 4, 6, 6), 4, 8)
    x = graph.op("Add", x, graph.conv(x, 8, 8))
    x = graph.op("Flatten", graph.op("GlobalAveragePool", graph.conv(x, 8, 8)))
    graph.output(graph.op("MatMul", x, graph.random(8, 4)))
    return graph


@pytest.mark.parametrize(("ends", "floats"), [("none", []), ("first", [0]), ("last", [3]), ("both", [0, 3])])
def test_ends_of_the_model_stay_float(ends: str, floats: list[int]) -> None:
    study = Study(network().model())
    config = QuantizeConfig(float_ends=ends)
    precisions = study.builder.quantizer.precisions(config)
    weighted = [name for name, unit in study.units.items() if unit.weight is not None]
    assert [i for i, name in enumerate(weighted) if precisions[name] == FP32] == floats
    assert executed(study.build(config), study.feeds)["QLinearConv"] == 3 - (0 in floats)


def test_scope_leaves_out_what_has_no_weights() -> None:
    study = Study(network().model())
    every = dict.fromkeys(study.units, INT8)
    config = QuantizeConfig(precision=FP32, scope="weighted").with_precisions(every)
    precisions = study.builder.quantizer.precisions(config)
    assert {name for name, p in precisions.items() if p == INT8} == {
        name for name, unit in study.units.items() if unit.weight is not None
    }


def test_options_follow_the_kernels_of_the_runtime() -> None:
    model = network().model()
    ours = Study(model).builder.quantizer.options(QuantizeConfig())
    product = next(name for name in ours if name.startswith("MatMul"))
    assert ours["Conv_0"] == (FP32, INT8, FP16_WEIGHTS)
    assert ours[product] == (FP32, INT8, INT8_DYNAMIC, INT8_WEIGHT_ONLY, INT4_WEIGHT_ONLY, FP16_WEIGHTS)
    quantizer = Study(model, runtime="openvino").builder.quantizer
    for dtype, expected in (("int8", True), ("int4", True), ("uint8", False), ("uint4", False)):
        options = quantizer.options(QuantizeConfig(weight_dtype=dtype))
        assert (INT8 in options["Conv_0"]) is expected
        assert INT8_DYNAMIC not in options[product]
    blocks = quantizer.options(QuantizeConfig(weight_granularity="per_block"))
    assert INT8 not in blocks["Conv_0"]
    # What brings no speed may still be asked for.
    assert quantizer.precisions(QuantizeConfig(weight_dtype="uint8"))["Conv_0"] == INT8


def test_a_precision_that_a_unit_cannot_have_is_refused() -> None:
    study = Study(network().model())
    with pytest.raises(RecipeError, match="'Conv_0' \\(Conv\\) cannot be int4_weight_only"):
        study.build(QuantizeConfig().with_precisions({"Conv_0": INT4_WEIGHT_ONLY}))


@pytest.mark.parametrize(
    ("field", "value"), [("block_size", 48), ("float_ends", "middle"), ("scope", True), ("product_results", None)]
)
def test_choices_that_do_not_exist_are_refused(field: str, value: object) -> None:
    with pytest.raises(RecipeError, match=field):
        QuantizeConfig.from_dict({field: value})


def test_the_most_damaging_units_stay_float() -> None:
    damages = {"a": 0.1, "b": 0.5, "c": 0.01, "broken": math.nan, "endless": math.inf, "better": -0.2}
    assert units_to_keep_float(damages, 0.2) == ("broken", "endless", "b")
    assert units_to_keep_float(damages, 0.05) == ("broken", "endless", "b", "a")
    assert units_to_keep_float(damages, 10) == ("broken", "endless")
    assert units_to_keep_float(damages, 0.0, floor=0.2) == ("broken", "endless", "b")


def test_damage_is_weighed_against_what_is_gained() -> None:
    damages = {"fast": 0.3, "slow": 0.2, "idle": 0.01}
    gains = {"fast": 3.0, "slow": 0.1, "idle": 0.0}
    assert units_to_keep_float(damages, 0.4, gains=gains) == ("idle", "slow")


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.text(max_size=3), st.floats(0, 10), max_size=8),
    st.floats(0, 20),
)
def test_what_is_left_is_within_the_limit_and_no_unit_was_taken_in_vain(
    damages: dict[str, float], limit: float
) -> None:
    kept = units_to_keep_float(damages, limit)
    left = {name: damage for name, damage in damages.items() if name not in kept}
    assert sum(left.values()) <= limit + 1e-9 * (1 + limit)
    if kept:
        assert sum(left.values()) + damages[kept[-1]] > limit - 1e-9 * (1 + limit)
        assert min(damages[name] for name in kept) >= max(left.values(), default=0.0)
