"""The task loss on labels: what it is measured on, and that it also judges."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from autocompress.passes.recover import RecoverConfig
from autocompress.passes.recover.end_to_end import Distillation
from autocompress.passes.recover.pair import Pair
from autocompress.passes.recover.samples import Samples

torch.set_num_threads(1)
ROWS = np.random.default_rng(2).normal(size=(32, 6)).astype(np.float32)
LABELS = np.random.default_rng(3).integers(0, 4, len(ROWS))
CONFIG = RecoverConfig(
    level="light", batch_size=16, feature_weight=0.0, label_weight=1.0, augment=False, bfloat16=False, held_out=0.25
)


def classifier(softmax: bool) -> onnx.ModelProto:
    weight = np.random.default_rng(0).normal(size=(6, 4), scale=2.0).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["s"], name="classify")]
    nodes += [helper.make_node("Softmax", ["s"], ["p"], name="softmax", axis=-1)] if softmax else []
    value = helper.make_tensor_value_info
    output = value("p" if softmax else "s", TensorProto.FLOAT, ["N", 4])
    stored = [numpy_helper.from_array(weight, "w")]
    graph = helper.make_graph(nodes, "classifier", [value("x", TensorProto.FLOAT, ["N", 6])], [output], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def batches() -> Iterator[dict[str, np.ndarray]]:
    yield {"x": ROWS}


@pytest.mark.parametrize("softmax", [False, True])
def test_the_task_loss_is_cross_entropy_in_training_and_in_judgement(softmax: bool) -> None:
    """Of a student that equals its teacher it is the whole loss; by the formula, on the same samples."""
    model = classifier(softmax)
    pair = Pair(model, model, CONFIG)
    task = Distillation(pair, Samples(batches, pair.specs, LABELS), CONFIG)
    task.problem()
    samples = Samples(batches, pair.specs)
    train, held_out = samples.split(CONFIG.held_out, CONFIG.seed)
    scores = ROWS.astype(np.float64) @ numpy_helper.to_array(model.graph.initializer[0])
    losses = np.log(np.exp(scores).sum(1)) - scores[np.arange(len(ROWS)), LABELS]
    assert task.judge() == pytest.approx(losses[held_out].mean(), rel=1e-4)
    assert min(losses[train]) < task.learn(0) < max(losses[train])
    gradient = pair.student.weights["w"].grad
    assert gradient is not None and float(gradient.abs().max()) > 1e-3


def test_labels_count_only_where_they_are_asked_for() -> None:
    config = RecoverConfig(**{**CONFIG.to_dict(), "label_weight": 0.0})
    model = classifier(False)
    pair = Pair(model, model, config)
    task = Distillation(pair, Samples(batches, pair.specs, LABELS), config)
    task.problem()
    assert task.judge() == pytest.approx(0.0, abs=1e-6)
    assert task.learn(0) == pytest.approx(0.0, abs=1e-6)
