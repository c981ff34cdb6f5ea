"""Steps that make another float model: in recipes, in files, and applied without torch and data."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from autocompress.errors import RecipeError
from autocompress.graph.model import model_bytes, save_model
from autocompress.passes.decompose import DecomposeConfig
from autocompress.passes.downsample import DownsampleConfig
from autocompress.passes.equalize.step import EqualizeConfig
from autocompress.passes.prune import PruneConfig
from autocompress.passes.quantize import QuantizeConfig
from autocompress.passes.recover import RecoverConfig, RecoverPayload
from autocompress.passes.sparsify import SparsifyConfig
from autocompress.recipe import stem_codecs
from autocompress.recipe.builder import apply_recipe
from autocompress.recipe.calibration import CalibrationSamples
from autocompress.recipe.files import read_recipe, write_recipe
from autocompress.recipe.freezer import Freezer
from autocompress.recipe.recipe import Recipe
from autocompress.recipe.steps import Effort
from autocompress.runtimes import get_runtime

sys.path.append(str(Path(__file__).parents[1] / "passes"))
from quantize_models import ArraySource, FloatGraph, Study, run


def network() -> onnx.ModelProto:
    graph = FloatGraph(7)
    x = graph.op("Relu", graph.conv(graph.input("x", 3, 8, 8), 3, 16))
    x = graph.op("Relu", graph.conv(x, 16, 16))
    x = graph.op("Flatten", graph.op("GlobalAveragePool", x))
    graph.output(graph.op("Gemm", x, graph.random(16, 8)))
    return graph.model()


class World:
    """The model, its samples, and a freezer over them."""

    def __init__(self, folder: Path, stems: Path | None = None) -> None:
        self.study = Study(network())
        self.layers = [node.name for node in self.study.builder.prepared.graph.node if node.op_type == "Conv"]
        samples = CalibrationSamples(
            lambda model: get_runtime("onnxruntime").load(model_bytes(model)),
            lambda: ArraySource(self.study.feeds),
            range(8),
        )
        self.freezer = Freezer(self.study.builder, samples, folder, stems=stems)

    def stem(self, **recovery: object) -> Recipe:
        first, second = self.layers
        return Recipe(
            decompose=DecomposeConfig(((second, "spatial", 8),)),
            prune=PruneConfig(((first, 0.5),)),
            sparsify=SparsifyConfig(((first, "unstructured@0.25"),)),
            recover=RecoverConfig(**{"level": "closed_form", **recovery}),  # type: ignore[arg-type]
        )


def output_of(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> np.ndarray:
    (values,) = run(model, feeds).values()
    return np.asarray(values, np.float64)


def test_a_combined_recipe_gives_the_same_bytes_without_torch_and_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    recipe = replace(world.stem(), quantize=QuantizeConfig(), equalize=EqualizeConfig("cross_layer"))
    recipe = replace(recipe, downsample=DownsampleConfig(6, 6))
    frozen = world.freezer.freeze(recipe)
    made = world.study.builder.build(frozen)
    write_recipe(frozen, tmp_path / "recipe.json")
    save_model(network(), tmp_path / "model.onnx")
    monkeypatch.setitem(sys.modules, "torch", None)
    read = read_recipe(tmp_path / "recipe.json")
    assert read.recipe == recipe and not read.missing
    again = apply_recipe(read, onnx.load(tmp_path / "model.onnx"))
    assert model_bytes(again) == model_bytes(made)
    steps = [row["step"] for row in recipe.to_steps()]
    assert steps == ["fold", "downsample", "decompose", "prune", "sparsify", "recover", "equalize", "quantize"]


def test_the_stem_is_what_comes_before_quantization(tmp_path: Path) -> None:
    stem = World(tmp_path).stem()
    recipe = replace(stem, quantize=QuantizeConfig(), equalize=EqualizeConfig("cross_layer"))
    assert recipe.float_part == stem
    assert Recipe(QuantizeConfig(), equalize=recipe.equalize).on(stem) == recipe
    assert recipe.on(Recipe()).float_part == Recipe()
    assert Recipe.from_steps(recipe.to_steps()) == recipe


def test_recovery_brings_the_output_back_and_keeps_zeros(tmp_path: Path) -> None:
    world = World(tmp_path)
    recovered = world.stem()
    plain = replace(recovered, recover=None)
    feeds = world.study.feeds
    wanted = output_of(network(), feeds)

    def error(recipe: Recipe) -> float:
        model = world.study.builder.build(world.freezer.freeze(recipe))
        return float(((output_of(model, feeds) - wanted) ** 2).sum())

    assert error(recovered) < 0.8 * error(plain)
    weights = world.freezer.payloads(recovered)["recover"].weights
    before = world.study.builder.form(plain, world.freezer.payloads(plain)).model
    sparse = next(w for w in before.graph.initializer if list(w.dims) == [8, 3, 3, 3])
    zeros = onnx.numpy_helper.to_array(sparse) == 0
    assert zeros.mean() == 0.25
    assert (weights.get(sparse.name, np.where(zeros, 0, 1))[zeros] == 0).all()


def test_training_that_diverges_is_rolled_back(tmp_path: Path) -> None:
    world = World(tmp_path)
    feeds = world.study.feeds
    wanted = output_of(network(), feeds)
    errors = {}
    for name, rate in (("closed", 0), ("wild", 10.0)):
        changes = {} if not rate else {"level": "light", "steps": 4, "learning_rate": rate, "clip_norm": 0.0}
        recipe = world.stem(**changes)
        model = world.study.builder.build(world.freezer.freeze(recipe))
        errors[name] = float(((output_of(model, feeds) - wanted) ** 2).sum())
    assert np.isfinite(errors["wild"])
    assert errors["wild"] <= 1.5 * errors["closed"]


def test_stems_are_kept_in_a_folder_of_their_own_and_not_learnt_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stems = tmp_path / "stems"
    scratch = tmp_path / "scratch"
    for folder in (stems, scratch):
        folder.mkdir()
    world = World(scratch, stems)
    stem = world.stem()
    world.freezer.payloads(stem, Effort(deadline_s=5.0))
    assert (stems / f"payloads-{stem.hash}.json").is_file() and not list(scratch.glob("payloads-*"))
    monkeypatch.setattr("autocompress.passes.recover.resolve", lambda *given, **more: pytest.fail("learnt twice"))
    again = World(tmp_path, stems)
    recovered = again.freezer.payloads(stem)["recover"]
    assert all((recovered.weights[n] == w).all() for n, w in world.freezer.payloads(stem)["recover"].weights.items())


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    packed = stem_codecs.pack_recover(RecoverPayload({"w": np.array([1.0, np.nan], np.float32)}))
    with pytest.raises(ValueError, match="'w' holds something else than finite numbers"):
        stem_codecs.unpack_recover(packed)


def test_a_stem_that_does_not_fit_the_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no group 'nowhere'"):
        World(tmp_path).freezer.freeze(Recipe(prune=PruneConfig((("nowhere", 0.5),))))
