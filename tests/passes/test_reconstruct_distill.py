"""Training of quantized models: what is deployed is what was trained, and never worse than before."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from autocompress.errors import ModelError, RecipeError
from autocompress.graph.model import model_bytes, save_model
from autocompress.passes.quantize import QuantizeConfig
from autocompress.passes.reconstruct import ReconstructConfig, ReconstructPayload, distill
from autocompress.passes.recover import RecoverConfig
from autocompress.passes.recover.training import Training
from autocompress.progress import NullProgress
from autocompress.recipe.builder import apply_recipe
from autocompress.recipe.calibration import CalibrationSamples
from autocompress.recipe.files import read_recipe, write_recipe
from autocompress.recipe.freezer import Freezer
from autocompress.recipe.recipe import Recipe
from autocompress.runtimes import get_runtime

sys.path.append(str(Path(__file__).parent))
from quantize_models import ArraySource, FloatGraph, Study, largest_step, run, weights_of
from reconstruct_models import reconstruct

torch.set_num_threads(1)
COARSE = QuantizeConfig(weight_granularity="per_tensor", bias_correction=False)
QUICK = ReconstructConfig(
    "distill", training=RecoverConfig(steps=60, batch_size=16, augment=False, output_loss="mse", ema_decay=0.9)
)


def uneven(zeros: float = 0.0) -> onnx.ModelProto:
    """Channels of very different size, which one scale per weight cannot hold; a part of the second layer is zero."""
    graph = FloatGraph(4)
    weight = graph.rng.standard_normal((8, 3, 3, 3)) * 10.0 ** graph.rng.uniform(-1.0, 0.5, (8, 1, 1, 1))
    x = graph.op("Conv", graph.input("x", 3, 8, 8), graph.constant(weight.astype(np.float32)), pads=[1] * 4)
    second = (graph.rng.standard_normal((8, 8, 3, 3)) * 0.3).astype(np.float32)
    second[graph.rng.random(second.shape) < zeros] = 0.0
    x = graph.op("Conv", graph.op("Relu", x), graph.constant(second), graph.random(8), pads=[1] * 4)
    x = graph.op("Flatten", graph.op("GlobalAveragePool", graph.op("Relu", x)))
    graph.output(graph.op("Gemm", x, graph.random(8, 6), graph.random(6)))
    return graph.model()


def images(count: int, seed: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).standard_normal((count, 3, 8, 8)).astype(np.float32)}


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(uneven(zeros=0.5), images(64, 1))


@pytest.fixture(scope="module")
def learnt(study: Study) -> tuple[ReconstructPayload, Any]:
    """What was learnt, and the torch graph that learnt it."""
    graphs: list[Any] = []
    tie = distill.tie_bias_steps
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distill, "tie_bias_steps", lambda graph, model: (graphs.append(graph), tie(graph, model)))
        found = reconstruct(study, COARSE, QUICK)
    return found, graphs[0]


def emitted(study: Study, payload: ReconstructPayload | None = None) -> onnx.ModelProto:
    quantizer = study.builder.quantizer
    model = quantizer.emit(COARSE, quantizer.resolve(COARSE, study.statistics))
    return model if payload is None else payload.finished(model)


def error(study: Study, model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> float:
    (wanted,), (found,) = run(study.model, feeds).values(), run(model, feeds).values()
    return float(((found - wanted) ** 2).mean() / wanted.var())


def test_training_brings_unseen_outputs_nearer(study: Study, learnt: tuple[ReconstructPayload, Any]) -> None:
    payload, _ = learnt
    unseen = images(200, 7)
    before, after = error(study, emitted(study), unseen), error(study, emitted(study, payload), unseen)
    assert after < 0.7 * before, (before, after)
    kinds = {weights_of(emitted(study))[name].dtype.name for name in payload.trained}
    assert {"int8", "float32", "int32"} <= kinds  # weights, step sizes, biases
    onnx.checker.check_model(emitted(study, payload), full_check=True)


def test_the_emitted_model_is_the_trained_student(study: Study, learnt: tuple[ReconstructPayload, Any]) -> None:
    payload, student = learnt
    model, feeds = emitted(study, payload), images(100, 8)
    with torch.no_grad():
        (trained,) = (values.numpy() for values in student(feeds).values())
    (deployed,) = run(model, feeds).values()
    assert np.abs(deployed - trained).max() <= 1.001 * largest_step(model)
    # A value between two integers may be rounded the other way; nearly all are equal to float rounding.
    assert np.mean(np.abs(deployed - trained) > 1e-4) < 0.1


def test_zeros_stay_zero(study: Study, learnt: tuple[ReconstructPayload, Any]) -> None:
    payload, _ = learnt
    before, after = weights_of(emitted(study)), weights_of(emitted(study, payload))
    name = next(n for n, v in before.items() if v.shape == (8, 8, 3, 3))
    zeros = weights_of(study.builder.prepared)
    dense = next(v for v in zeros.values() if v.shape == (8, 8, 3, 3))
    assert 0.3 < (dense == 0).mean() < 0.7
    assert (after[name][dense == 0] == 0).all()
    assert (after[name] != before[name]).any()


class Told(NullProgress):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def notice(self, text: str) -> None:
        self.said.append(text)


def test_what_is_no_better_is_refused(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(self: Training) -> None:
        with torch.no_grad():
            for parameter in self._problem.parameters:
                parameter.mul_(1.5)

    monkeypatch.setattr(Training, "run", spoil)
    told = Told()
    payload = reconstruct(study, COARSE, QUICK, progress=told)
    assert not payload.trained
    assert model_bytes(emitted(study, payload)) == model_bytes(emitted(study))
    assert len(told.said) == 1 and "is not below" in told.said[0]


def test_a_step_size_below_zero_is_refused(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    def negate(self: Training) -> None:
        with torch.no_grad():
            for parameter in self._problem.parameters:
                parameter.neg_()

    monkeypatch.setattr(Training, "run", negate)
    told = Told()
    assert not reconstruct(study, COARSE, QUICK, progress=told).trained
    assert "left the numbers that integer kernels have" in told.said[0]


def test_steps_that_kernels_need_stay() -> None:
    graph = FloatGraph(2)
    x = graph.op("Softmax", graph.op("MatMul", graph.input("x", 4, 6), graph.random(6, 6)), axis=-1)
    graph.output(graph.op("MatMul", x, graph.random(6, 5)))
    built = Study(graph.model())
    quantizer = built.builder.quantizer
    config = QuantizeConfig()
    model = quantizer.emit(config, quantizer.resolve(config, built.statistics))
    producers = {name: node for node in model.graph.node for name in node.output}
    behind = [
        node.input[1]
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and getattr(producers.get(node.input[0]), "op_type", "") == "Softmax"
    ]
    assert behind and quantizer.rigid_results == {"Softmax"}
    assert distill._fixed_steps(model, quantizer.rigid_results) == set(behind)
    found = reconstruct(built, config, replace(QUICK, training=replace(QUICK.training, steps=5)))
    assert not set(behind) & set(found.trained)


def freezer_of(study: Study, folder: Path) -> Freezer:
    samples = CalibrationSamples(
        lambda model: get_runtime("onnxruntime").load(model_bytes(model)), lambda: ArraySource(study.feeds), range(64)
    )
    return Freezer(study.builder, samples, folder)


def test_a_frozen_recipe_gives_the_same_bytes_without_torch_and_data(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "study").mkdir()
    freezer = freezer_of(study, tmp_path / "study")
    training = replace(QUICK.training, steps=10)
    recipe = Recipe(COARSE, reconstruct=replace(QUICK, training=training))
    frozen = freezer.freeze(recipe)
    assert frozen.payloads["reconstruct"].trained
    made = study.builder.build(frozen)
    write_recipe(frozen, tmp_path / "recipe.json")
    save_model(study.model, tmp_path / "model.onnx")
    monkeypatch.setitem(sys.modules, "torch", None)
    read = read_recipe(tmp_path / "recipe.json")
    assert read.recipe == recipe and not read.missing
    assert model_bytes(apply_recipe(read, onnx.load(tmp_path / "model.onnx"))) == model_bytes(made)
    # Whoever comes later finds it in the folder.
    again = freezer_of(study, tmp_path / "study").freeze(recipe)
    assert model_bytes(study.builder.build(again)) == model_bytes(made)


def test_trained_values_of_another_model_are_refused(study: Study) -> None:
    with pytest.raises(RecipeError, match=r"^reconstruct step: the model has no weight 'nonesuch'"):
        ReconstructPayload(trained={"nonesuch": np.ones(2, np.float32)}).finished(emitted(study))


def test_payloads_survive_arrays() -> None:
    payload = ReconstructPayload(trained={"w": np.ones((2, 2), np.int8), "s": np.ones(2, np.float32)})
    found = ReconstructPayload.from_arrays(payload.to_arrays())
    assert list(found.trained) == ["s", "w"]
    assert {name: values.dtype.name for name, values in found.trained.items()} == {"s": "float32", "w": "int8"}


def test_only_distillation_has_a_training() -> None:
    config = ReconstructConfig("distill", seed=3)
    assert config.training is not None and config.training.seed == 3
    assert not config.training.closed_form and not config.training.bfloat16
    assert ReconstructConfig.from_dict(config.to_dict()) == config
    assert "training" not in ReconstructConfig().to_dict()
    for row, told in (
        ({"method": "gptq", "training": {}}, "method 'gptq' does not train"),
        ({"method": "distill", "training": {"level": "closed_form"}}, "has the level closed_form"),
        ({"method": "distill", "training": {"distillation": "layer_wise"}}, "is layer_wise"),
        ({"method": "distill", "training": 3}, "training is 3"),
        ({"method": "distill", "training": {"speed": 3}}, "unknown field 'speed'"),
    ):
        with pytest.raises(RecipeError, match=told):
            ReconstructConfig.from_dict(row)


def test_operators_that_cannot_be_trained_are_named(study: Study) -> None:
    config = QuantizeConfig(precision="int8_dynamic")
    graph = FloatGraph(1)
    graph.output(graph.op("MatMul", graph.input("x", 4, 6), graph.random(6, 6)))
    with pytest.raises(ModelError):
        reconstruct(Study(graph.model()), config, QUICK)
