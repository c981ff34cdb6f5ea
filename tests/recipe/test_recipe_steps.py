"""Recipes of several steps: hashes, files with arrays beside them, and what their payloads are good for."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from autocompress.errors import RecipeError
from autocompress.graph.model import model_bytes, save_model
from autocompress.passes.downsample import DownsampleConfig
from autocompress.passes.equalize.step import EQUALIZATIONS, EqualizeConfig
from autocompress.passes.quantize import FP32, QuantizeConfig
from autocompress.passes.reconstruct import ReconstructConfig
from autocompress.recipe.builder import apply_recipe
from autocompress.recipe.calibration import CalibrationSamples
from autocompress.recipe.files import arrays_path, read_recipe, write_recipe
from autocompress.recipe.freezer import Freezer
from autocompress.recipe.packed import digest_of
from autocompress.recipe.recipe import FrozenRecipe, Recipe
from autocompress.recipe.steps import STEPS
from autocompress.runtimes import get_runtime

sys.path.append(str(Path(__file__).parents[1] / "passes"))
from quantize_models import ArraySource, FloatGraph, Study, collect_statistics, run

SMOOTH, CROSS_LAYER = EqualizeConfig("smooth"), EqualizeConfig("cross_layer")
INSERTING = EqualizeConfig("smooth", alpha=0.7, where=("insert",))


def uneven_network() -> onnx.ModelProto:
    """Convolutions whose channels differ a hundredfold, and a product behind a tensor that is read twice."""
    graph = FloatGraph(3)
    x = graph.input("x", 3, 8, 8)
    weight = graph.rng.standard_normal((8, 3, 3, 3)) * 10.0 ** graph.rng.uniform(-1, 1, (8, 1, 1, 1))
    x = graph.op("Conv", x, graph.constant(weight.astype(np.float32)), graph.random(8), pads=[1] * 4)
    x = graph.op("Relu", x)
    x = graph.op("Relu", graph.conv(x, 8, 8))
    x = graph.op("Flatten", graph.op("GlobalAveragePool", x))
    graph.output(graph.op("Add", graph.op("MatMul", x, graph.random(8, 8)), x))
    return graph.model()


class Calibrated:
    """A study, and how its samples are seen."""

    def __init__(self, folder: Path | None) -> None:
        self.study = Study(uneven_network())
        self.builder = self.study.builder
        self.passes = 0
        self.samples = CalibrationSamples(self._load, lambda: ArraySource(self.study.feeds), range(8))
        self.freezer = Freezer(self.builder, self.samples, folder)

    def _load(self, model: onnx.ModelProto) -> object:
        self.passes += 1
        return get_runtime("onnxruntime").load(model_bytes(model))


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Calibrated:
    return Calibrated(tmp_path_factory.mktemp("study"))


@pytest.mark.parametrize("name", EQUALIZATIONS)
def test_every_equalization_is_a_step_that_comes_back(name: str) -> None:
    recipe = Recipe(QuantizeConfig(), equalize=EQUALIZATIONS[name])
    assert Recipe.from_steps(json.loads(json.dumps(recipe.to_steps()))) == recipe
    assert len(recipe.to_steps()) == (2 if name == "none" else 3)


def test_every_step_is_a_field_of_recipes_in_order() -> None:
    configs = {step.name: step.config() for step in STEPS if step.name not in ("equalize", "downsample")}
    full = Recipe(**configs, equalize=SMOOTH, downsample=DownsampleConfig(6, 5))
    assert [row["step"] for row in full.to_steps()] == ["fold", *(step.name for step in STEPS)]
    assert all(
        full.config_of(step.name) == step.config.from_dict(full.config_of(step.name).to_dict()) for step in STEPS
    )


def test_parts_of_recipes() -> None:
    full = Recipe(QuantizeConfig(), equalize=SMOOTH, reconstruct=ReconstructConfig())
    assert full.float_part == Recipe()
    assert full.quantized_part == Recipe(QuantizeConfig(), False, SMOOTH, ReconstructConfig())
    assert full.unquantized == Recipe(equalize=SMOOTH)
    assert full.before("reconstruct") == full.up_to("quantize") == Recipe(QuantizeConfig(), equalize=SMOOTH)
    assert full.last == "reconstruct"
    assert len({full.hash, full.unquantized.hash, full.float_part.hash, full.up_to("quantize").hash}) == 4


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({}, "kind is missing"),
        ({"kind": "rough"}, "kind is 'rough'"),
        ({"kind": "smooth", "clips": "skip"}, "clips does not belong"),
        ({"kind": "cross_layer", "alpha": 0.5}, "alpha does not belong"),
        ({"kind": "cross_layer", "clips": "often"}, "clips is 'often'"),
        ({"kind": "cross_layer", "absorb": 1}, "absorb is 1"),
        ({"kind": "smooth", "alpha": 2}, "alpha is 2"),
        ({"kind": "smooth", "alpha": "much"}, "equalize step"),
        ({"kind": "smooth", "where": ["roof"]}, "where names 'roof'"),
        ({"kind": "smooth", "where": "norm"}, "must be a list"),
        ({"kind": "smooth", "beta": 1}, "unknown field 'beta'"),
        ({"kind": "awq", "alpha": 0.5}, "alpha does not belong"),
        ({"kind": "awq", "block_size": 0}, "block_size must be at least 1"),
        ({"kind": "awq", "block_size": "many"}, "equalize step"),
        ({"kind": "awq", "weight_dtype": "int2"}, "weight_dtype is .int2."),
        ({"kind": "smooth", "block_size": 64}, "block_size does not belong"),
    ],
)
def test_choices_that_cannot_be_are_refused(row: dict[str, object], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        Recipe.from_steps([{"step": "fold"}, {"step": "equalize", "config": row}])


@pytest.mark.parametrize(
    "names",
    [
        ["equalize"],
        ["quantize", "equalize"],
        ["fold", "equalize", "equalize"],
        ["fold", "reconstruct"],
        ["fold", "prun"],
    ],
)
def test_steps_out_of_order_are_refused(names: list[str]) -> None:
    configs = {"equalize": SMOOTH.to_dict(), "quantize": {}, "reconstruct": {}}
    rows = [{"step": name} | ({"config": configs.get(name, {})} if name != "fold" else {}) for name in names]
    with pytest.raises(RecipeError, match=r"the recipe.s (steps are|reconstruct step rounds)"):
        Recipe.from_steps(rows)


def test_a_recipe_without_steps_leaves_the_model_alone() -> None:
    assert Recipe.from_steps([]) == Recipe(fold=False)
    model = uneven_network()
    assert model_bytes(apply_recipe(FrozenRecipe(Recipe(fold=False), "", "onnxruntime"), model)) == model_bytes(model)


@pytest.mark.parametrize("equalize", [SMOOTH, CROSS_LAYER, INSERTING], ids=["smooth", "cross_layer", "insert"])
def test_the_same_bytes_from_files_without_data(
    calibrated: Calibrated, tmp_path: Path, equalize: EqualizeConfig
) -> None:
    frozen = calibrated.freezer.freeze(Recipe(QuantizeConfig(), equalize=equalize))
    assert frozen.missing == ()
    expected = model_bytes(calibrated.builder.build(frozen))
    write_recipe(frozen, tmp_path / "recipe.json")
    save_model(calibrated.study.model, tmp_path / "model.onnx")
    again = read_recipe(tmp_path / "recipe.json")
    for _ in range(2):
        assert model_bytes(apply_recipe(again, onnx.load(tmp_path / "model.onnx"))) == expected
    assert expected != model_bytes(calibrated.study.build())


@pytest.mark.parametrize("equalize", [SMOOTH, CROSS_LAYER, INSERTING], ids=["smooth", "cross_layer", "insert"])
def test_statistics_are_those_of_the_equalized_model(calibrated: Calibrated, equalize: EqualizeConfig) -> None:
    recipe = Recipe(QuantizeConfig(), equalize=equalize)
    found = calibrated.freezer.statistics(recipe)
    form = calibrated.builder.form(recipe, calibrated.freezer.payloads(recipe))
    anew = calibrated.samples.collect(form.model, form.quantizer.tensors)
    assert set(form.quantizer.tensors) <= set(found)
    for name, statistics in anew.items():
        assert found[name].maximum == pytest.approx(statistics.maximum, rel=1e-4, abs=1e-5), name
        assert found[name].minimum == pytest.approx(statistics.minimum, rel=1e-4, abs=1e-5), name
    before = calibrated.freezer.statistics(Recipe())
    assert any(name not in before or found[name].maximum != before[name].maximum for name in anew)


def test_equalization_keeps_the_float_function_and_the_units(calibrated: Calibrated) -> None:
    (expected,) = run(calibrated.study.model, calibrated.study.feeds).values()
    for equalize in (SMOOTH, CROSS_LAYER, INSERTING):
        recipe = Recipe(equalize=equalize)
        form = calibrated.builder.form(recipe, calibrated.freezer.payloads(recipe))
        (found,) = run(form.model, calibrated.study.feeds).values()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        assert [unit.name for unit in form.quantizer.units] == [u.name for u in calibrated.builder.quantizer.units]
    assert len(form.model.graph.node) > len(calibrated.builder.prepared.graph.node)


def test_equalizing_helps_per_tensor_weights(calibrated: Calibrated) -> None:
    (expected,) = run(calibrated.study.model, calibrated.study.feeds).values()
    config = QuantizeConfig(weight_granularity="per_tensor")
    errors = []
    for equalize in (None, CROSS_LAYER):
        frozen = calibrated.freezer.freeze(Recipe(config, equalize=equalize))
        (found,) = run(calibrated.builder.build(frozen), calibrated.study.feeds).values()
        errors.append(float(np.mean((found - expected) ** 2)))
    assert errors[1] < 0.8 * errors[0]


def test_samples_are_looked_at_once_per_equalization(tmp_path: Path) -> None:
    first = Calibrated(tmp_path)
    recipes = [Recipe(QuantizeConfig(activation_range=r), equalize=SMOOTH) for r in ("min_max", "mse", "percentile")]
    expected = [model_bytes(first.builder.build(first.freezer.freeze(recipe))) for recipe in recipes]
    assert first.passes == 2
    without_samples = Freezer(first.builder, folder=tmp_path)
    assert [model_bytes(first.builder.build(without_samples.freeze(recipe))) for recipe in recipes] == expected
    with pytest.raises(RecipeError, match="still has to learn"):
        without_samples.freeze(Recipe(QuantizeConfig(), equalize=CROSS_LAYER))


def test_what_a_recipe_carries_is_kept_when_the_rest_is_learnt(calibrated: Calibrated) -> None:
    recipe = Recipe(QuantizeConfig(), equalize=SMOOTH)
    frozen = calibrated.freezer.freeze(recipe)
    louder = CalibrationSamples(
        lambda model: get_runtime("onnxruntime").load(model_bytes(model)),
        lambda: ArraySource({"x": calibrated.study.feeds["x"] * 10}),
        range(8),
    )
    part = FrozenRecipe(recipe, frozen.model_fingerprint, frozen.runtime, {"equalize": frozen.payloads["equalize"]})
    assert part.missing == ("quantize",)
    learnt = Freezer(calibrated.builder, louder, known=part).freeze(recipe)
    assert learnt.payloads["equalize"] is part.payloads["equalize"]
    assert learnt.payload is not None and frozen.payload is not None
    assert learnt.payload.ranges["x"][1] == pytest.approx(10 * frozen.payload.ranges["x"][1])
    kept = Freezer(calibrated.builder, louder, known=frozen).freeze(recipe)
    assert model_bytes(calibrated.builder.build(kept)) == model_bytes(calibrated.builder.build(frozen))


def test_a_recipe_that_needs_data_says_so(calibrated: Calibrated) -> None:
    bare = FrozenRecipe(Recipe(equalize=SMOOTH), "", "onnxruntime")
    with pytest.raises(RecipeError, match="equalize step still has to learn from samples; give --data"):
        apply_recipe(bare, calibrated.study.model)
    with pytest.raises(RecipeError, match="give --data"):
        calibrated.builder.freeze(
            Recipe(QuantizeConfig(), equalize=SMOOTH), collect_statistics(calibrated.builder, calibrated.study.feeds)
        )


def test_old_recipes_are_written_as_before(calibrated: Calibrated, tmp_path: Path) -> None:
    plain = calibrated.freezer.freeze(Recipe(QuantizeConfig().with_precisions({"Conv_0": FP32})))
    assert [path.name for path in write_recipe(plain, tmp_path / "recipe.json")] == ["recipe.json"]
    document = json.loads((tmp_path / "recipe.json").read_text())
    assert document["autocompress_recipe"] == 1
    assert set(document["data"]) == {"ranges", "biases"}


def test_arrays_are_beside_the_text_and_checked(calibrated: Calibrated, tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    frozen = calibrated.freezer.freeze(Recipe(QuantizeConfig(), equalize=CROSS_LAYER))
    assert [p.name for p in write_recipe(frozen, path)] == ["recipe.npz", "recipe.json"]
    arrays = dict(np.load(arrays_path(path)))

    def refusal() -> str:
        with pytest.raises(RecipeError) as caught:
            read_recipe(path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    name = next(iter(arrays))
    np.savez(arrays_path(path), **{**arrays, name: arrays[name] * 1.01})
    assert "does not belong to this recipe" in refusal()
    arrays_path(path).write_bytes(b"PK rubbish")
    assert "recipe.npz" in refusal()
    arrays_path(path).unlink()
    assert "recipe.npz is missing beside it" in refusal()
    np.savez(arrays_path(path), **arrays)
    assert read_recipe(path).missing == ()
    write_recipe(calibrated.freezer.freeze(Recipe(QuantizeConfig())), path)
    assert not arrays_path(path).exists()


def test_the_digest_tells_arrays_apart() -> None:
    zeros = np.zeros((2, 3), np.float32)
    different = [{"a": zeros}, {"b": zeros}, {"a": zeros.T}, {"a": zeros.astype(np.float64)}, {"a": zeros + 1}, {}]
    assert len({digest_of(arrays) for arrays in different}) == len(different)
    assert digest_of({"a": zeros, "b": zeros}) == digest_of({"b": zeros, "a": zeros.astype(">f4")})


def test_reconstructed_weights_are_applied_without_data(calibrated: Calibrated, tmp_path: Path) -> None:
    config = ReconstructConfig(method="gptq")
    frozen = calibrated.freezer.freeze(Recipe(QuantizeConfig(), reconstruct=config))
    assert frozen.payloads["reconstruct"].integers
    expected = model_bytes(calibrated.builder.build(frozen))
    assert expected != model_bytes(calibrated.study.build())
    write_recipe(frozen, tmp_path / "recipe.json")
    assert model_bytes(apply_recipe(read_recipe(tmp_path / "recipe.json"), calibrated.study.model)) == expected
