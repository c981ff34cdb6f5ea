"""Applying recipes: the same bytes every time, and only to the model they were made for."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from autocompress.errors import RecipeError
from autocompress.graph.model import fingerprint, load_model, model_bytes, save_model
from autocompress.passes.quantize import FP32, INT8, INT8_DYNAMIC, QuantizeConfig
from autocompress.passes.reconstruct import DISTILL, ReconstructConfig, ReconstructPayload
from autocompress.recipe.builder import CandidateBuilder, apply_recipe, prepare
from autocompress.recipe.files import read_recipe, write_recipe
from autocompress.recipe.recipe import FrozenRecipe, Recipe

sys.path.append(str(Path(__file__).parents[1] / "passes"))
from quantize_models import FloatGraph, Study, collect_statistics, run

CONFIGS = {
    "int8": QuantizeConfig(activation_range="percentile", weight_range="mse"),
    "mixed": QuantizeConfig().with_precisions({"Conv_0": FP32, "MatMul_4": INT8_DYNAMIC}),
    "dynamic": QuantizeConfig(precision=INT8_DYNAMIC),
    "signed": QuantizeConfig(activation_dtype="int8", weight_granularity="per_tensor", bias_correction=False),
}


def network(seed: int = 1) -> onnx.ModelProto:
    graph = FloatGraph(seed)
    x = graph.op("Relu", graph.conv(graph.input("x", 3, 8, 8), 3, 8))
    x = graph.op("Add", graph.conv(x, 8, 8), x)
    x = graph.op("MatMul", x, graph.random(8, 6))
    x = graph.op("Flatten", graph.op("GlobalAveragePool", x))
    graph.output(graph.op("Gemm", x, graph.random(8, 5), graph.random(5)))
    return graph.model()


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(network())


@pytest.mark.parametrize("name", CONFIGS)
def test_the_same_bytes_from_file_without_data(study: Study, tmp_path: Path, name: str) -> None:
    frozen = study.freeze(CONFIGS[name])
    emitted = model_bytes(study.builder.build(frozen))
    write_recipe(frozen, tmp_path / "recipe.json")
    save_model(study.model, tmp_path / "model.onnx")
    again = read_recipe(tmp_path / "recipe.json")
    for _ in range(2):
        assert model_bytes(apply_recipe(again, load_model(tmp_path / "model.onnx"))) == emitted


def test_the_same_bytes_after_other_recipes_were_built(study: Study) -> None:
    first = {name: model_bytes(study.build(config)) for name, config in CONFIGS.items()}
    for name, config in reversed(CONFIGS.items()):
        assert model_bytes(study.build(config)) == first[name]
    assert len(set(first.values())) == len(CONFIGS)


def test_a_recipe_without_steps_is_the_prepared_model(study: Study) -> None:
    frozen = study.builder.freeze(Recipe(), None)
    assert frozen.payload is None
    assert model_bytes(apply_recipe(frozen, study.model)) == model_bytes(prepare(load_model(study.model)))


def test_another_model_is_refused(study: Study) -> None:
    frozen = study.freeze()
    with pytest.raises(RecipeError, match=r"made for a model with fingerprint [0-9a-f]{12}, this one has"):
        apply_recipe(frozen, network(seed=2))


def test_a_recipe_that_names_no_model_needs_units_that_fit(study: Study) -> None:
    anonymous = FrozenRecipe(Recipe(CONFIGS["mixed"]), "", "onnxruntime", study.freeze(CONFIGS["mixed"]).payloads)
    assert model_bytes(apply_recipe(anonymous, study.model)) == model_bytes(study.build(CONFIGS["mixed"]))
    graph = FloatGraph()
    graph.output(graph.op("Sigmoid", graph.input("x", 4)))
    with pytest.raises(RecipeError, match="which this model does not have"):
        apply_recipe(anonymous, graph.model())


def test_ranges_are_found_when_data_are_given(study: Study) -> None:
    bare = FrozenRecipe(Recipe(CONFIGS["int8"]), study.builder.fingerprint, "onnxruntime")
    with pytest.raises(RecipeError, match="give --data"):
        apply_recipe(bare, study.model)
    expected = model_bytes(study.build(CONFIGS["int8"]))
    assert model_bytes(apply_recipe(bare, study.model, study.statistics)) == expected


def test_dynamic_recipes_need_no_data(study: Study) -> None:
    bare = FrozenRecipe(Recipe(CONFIGS["dynamic"]), study.builder.fingerprint, "onnxruntime")
    assert model_bytes(apply_recipe(bare, study.model)) == model_bytes(study.build(CONFIGS["dynamic"]))


def test_frozen_ranges_win_over_other_data(study: Study) -> None:
    frozen = study.freeze()
    louder = {"x": study.feeds["x"] * 10}
    statistics = collect_statistics(study.builder, louder)
    assert model_bytes(apply_recipe(frozen, study.model, statistics)) == model_bytes(study.build())
    assert model_bytes(study.builder.build(study.builder.freeze(frozen.recipe, statistics))) != model_bytes(
        study.build()
    )


def test_statistics_do_not_depend_on_the_order_of_samples(study: Study) -> None:
    builder = CandidateBuilder(prepare(study.model), "onnxruntime", fingerprint(study.model))
    shuffled = {"x": study.feeds["x"][::-1].copy()}
    statistics = collect_statistics(builder, shuffled)
    for range_name in ("min_max", "moving_average", "percentile", "mse", "kl"):
        config = QuantizeConfig(activation_range=range_name, bias_correction=False)
        again = builder.build(builder.freeze(Recipe(config), statistics))
        assert model_bytes(again) == model_bytes(study.build(config))


def test_the_model_that_comes_in_is_not_changed(study: Study) -> None:
    before = study.model.SerializeToString()
    apply_recipe(study.freeze(), study.model)
    assert study.model.SerializeToString() == before


def test_candidates_work(study: Study) -> None:
    (expected,) = study.float_outputs().values()
    for config in CONFIGS.values():
        (found,) = run(study.build(config), study.feeds).values()
        assert 0 < np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)) < 0.1
    assert {unit.options for unit in study.units.values()} == {(FP32, INT8), (FP32, INT8, INT8_DYNAMIC)}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_recipe_gives_its_simulation_in_floating_point(study: Study, name: str) -> None:
    frozen = study.freeze(CONFIGS[name])
    fake = apply_recipe(frozen, study.model, simulate=True)
    integers = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "MatMulIntegerToFloat"}
    assert not integers & {node.op_type for node in fake.graph.node}
    (found,), (deployed,) = run(fake, study.feeds).values(), run(study.builder.build(frozen), study.feeds).values()
    (exact,) = study.float_outputs().values()
    assert np.abs(found - deployed).max() < 0.2 * np.abs(deployed - exact).max() + 0.02 * np.abs(exact).max()
    assert np.abs(found - exact).max() > 0


def test_what_was_distilled_has_no_simulation(study: Study) -> None:
    config = ReconstructConfig(method=DISTILL)
    known = study.freeze()
    trained = ReconstructPayload(trained={"Conv_0_weight_scale": np.ones(8, np.float32)})
    recipe = Recipe(known.recipe.quantize, reconstruct=config)
    frozen = FrozenRecipe(recipe, known.model_fingerprint, known.runtime, {**known.payloads, "reconstruct": trained})
    with pytest.raises(RecipeError, match="distilled candidate has no simulation"):
        apply_recipe(frozen, study.model, simulate=True)
