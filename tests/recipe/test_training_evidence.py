"""What steps of a recipe may see besides unlabelled samples: class labels, and the model before it was folded."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

from autocompress.data import data_spec, open_source
from autocompress.errors import DataError, RecipeError
from autocompress.graph.channels import analyse_channels
from autocompress.graph.model import input_specs, model_bytes, save_model
from autocompress.graph.normalize import normalize
from autocompress.passes.prune import PruneConfig
from autocompress.passes.recover import RecoverConfig
from autocompress.recipe.builder import apply_recipe
from autocompress.recipe.calibration import CalibrationSamples
from autocompress.recipe.class_labels import class_labels
from autocompress.recipe.files import read_recipe, write_recipe
from autocompress.recipe.freezer import Freezer
from autocompress.recipe.recipe import Recipe
from autocompress.runtimes import get_runtime

sys.path.append(str(Path(__file__).parents[1] / "passes"))
from quantize_models import ArraySource, FloatGraph, Study, run

IMAGES = np.random.default_rng(0).standard_normal((24, 3, 8, 8)).astype(np.float32)
CALIBRATING, FURTHER = [3, 1, 7, 20, 5, 2, 9, 11], [0, 4]


def normalized_network() -> onnx.ModelProto:
    """A convolution with batch normalization, and one without."""
    graph = FloatGraph(7)
    x = graph.conv(graph.input("x", 3, 8, 8), 3, 6, bias=False)
    scale = graph.constant(np.array([3, -0.1, 2, 0.5, 4, 0.2], np.float32))
    ones = graph.constant(np.ones(6, np.float32))
    x = graph.op("BatchNormalization", x, scale, graph.random(6), graph.random(6), ones)
    x = graph.op("Relu", graph.conv(graph.op("Relu", x), 6, 8))
    x = graph.op("Flatten", graph.op("GlobalAveragePool", x))
    graph.output(graph.op("Gemm", x, graph.random(8, 4)))
    return graph.model()


class Labels:
    """Answers for labels and remembers which were asked for."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def __call__(self, indices: Sequence[int]) -> np.ndarray:
        self.asked.append(list(indices))
        return np.asarray(indices) % 4


def freezer(labels: Labels | None = None, *, knows_the_original: bool = True) -> Freezer:
    study = Study(normalized_network(), {"x": IMAGES})
    samples = CalibrationSamples(
        lambda model: get_runtime("onnxruntime").load(model_bytes(model)),
        lambda: ArraySource(study.feeds),
        CALIBRATING,
        FURTHER,
        labels,
    )
    unfolded = (lambda: normalize(study.model)) if knows_the_original else None
    return Freezer(study.builder, samples, unfolded=unfolded)


def trained(weight: float, known: Freezer) -> Recipe:
    group = analyse_channels(known.builder.prepared).groups[0].name
    config = RecoverConfig(steps=20, batch_size=4, closed_form=False, label_weight=weight, augment=False, ema_decay=0.0)
    return Recipe(prune=PruneConfig(((group, 0.5),)), recover=config)


def weights(known: Freezer, weight: float) -> dict[str, np.ndarray]:
    return dict(known.freeze(trained(weight, known)).payloads["recover"].weights)


def test_labels_are_those_of_the_samples_that_train_and_are_asked_for_only_then() -> None:
    labels = Labels()
    plain = weights(freezer(labels), 0.0)
    assert not labels.asked
    told = weights(freezer(labels), 0.5)
    assert labels.asked == [[*CALIBRATING, *FURTHER]]
    assert told and plain and told.keys() == plain.keys()
    assert any(not np.array_equal(values, plain[name]) for name, values in told.items())
    # Samples without labels are trained with as they are.
    without = weights(freezer(), 0.5)
    assert all(np.array_equal(values, without[name]) for name, values in plain.items())


def test_labels_outside_the_classes_are_refused() -> None:
    with pytest.raises(DataError, match="outside the model's 4 classes"):
        weights(freezer(lambda indices: np.asarray(indices)), 1.0)  # type: ignore[arg-type]


def source_of(labels: np.ndarray | None):
    arrays = {"x": IMAGES} if labels is None else {"x": IMAGES, "labels": labels}
    inputs = input_specs(normalized_network())
    return open_source(data_spec(arrays, model_inputs=inputs), inputs)


def test_class_labels_are_read_by_index() -> None:
    classes = np.arange(24) % 4
    assert class_labels(source_of(classes), [5, 2]).tolist() == [1, 2]
    assert class_labels(source_of(np.eye(4)[classes]), [5, 2]).tolist() == [1, 2]
    assert class_labels(source_of(None), [5, 2]) is None
    with pytest.raises(DataError, match=r"one class number per sample, not labels of float\d+ \(2, 3\)"):
        class_labels(source_of(np.random.default_rng(1).random((24, 3))), [5, 2])


def test_batch_norm_scales_are_read_from_the_model_that_came_in(tmp_path: Path) -> None:
    known = freezer()
    first, second = (group.name for group in analyse_channels(known.builder.prepared).groups)
    recipe = Recipe(prune=PruneConfig(((first, 0.5),), "batch_norm_scale"))
    frozen = known.freeze(recipe)
    assert frozen.payloads["prune"].kept[first].tolist() == [0, 2, 4]
    with pytest.raises(RecipeError, match=f"group '{first}' have no batch normalization left"):
        freezer(knows_the_original=False).freeze(recipe)
    with pytest.raises(RecipeError, match=f"group '{second}' have no batch normalization left"):
        known.freeze(Recipe(prune=PruneConfig(((second, 0.5),), "batch_norm_scale")))


def test_rounds_are_resolved_once_and_applied_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = freezer()
    ratios = tuple((group.name, 0.5) for group in analyse_channels(known.builder.prepared).groups)
    recipe = Recipe(prune=PruneConfig(ratios, "activation", rounds=2))
    frozen = known.freeze(recipe)
    made = known.builder.build(frozen)
    write_recipe(frozen, tmp_path / "recipe.json")
    save_model(normalized_network(), tmp_path / "model.onnx")
    monkeypatch.setitem(sys.modules, "torch", None)
    read = read_recipe(tmp_path / "recipe.json")
    assert read.recipe == recipe
    again = apply_recipe(read, onnx.load(tmp_path / "model.onnx"))
    assert model_bytes(again) == model_bytes(made)
    (values,) = run(again, {"x": IMAGES}).values()
    assert values.shape == (24, 4) and np.isfinite(values).all()
