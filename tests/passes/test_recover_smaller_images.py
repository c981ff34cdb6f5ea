"""Recovery of a student that computes with smaller images than its teacher."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from autocompress.graph.torch_execution.torch_graph import TorchGraph
from autocompress.passes.recover import RecoverConfig, RecoverPayload, closed_form, recover, resolve
from autocompress.passes.recover.losses import feature_loss
from autocompress.passes.recover.resampling import resampled
from autocompress.progress import NullProgress

sys.path.append(str(Path(__file__).parent))
from quantize_models import FloatGraph

torch.set_num_threads(1)
SMOOTH = torch.nn.functional.interpolate(
    torch.tensor(np.random.default_rng(2).normal(size=(96, 3, 6, 6)), dtype=torch.float32), (16, 16), mode="bicubic"
).numpy()
CLOSED_FORM = RecoverConfig(level="closed_form", held_out=0.25)


def network() -> onnx.ModelProto:
    graph = FloatGraph(1)
    x = graph.op("Relu", graph.op("Conv", graph.input("x", 3, 16, 16), *layer(graph, 3), pads=[1] * 4))
    for _ in range(2):
        inner = graph.op("Relu", graph.op("Conv", x, *layer(graph, 8), pads=[1] * 4))
        x = graph.op("Relu", graph.op("Add", x, graph.op("Conv", inner, *layer(graph, 8), pads=[1] * 4)))
    x = graph.op("Flatten", graph.op("GlobalAveragePool", x))
    graph.output(graph.op("Gemm", x, graph.random(8, 5), graph.random(5)))
    return graph.model()


def layer(graph: FloatGraph, inputs: int) -> tuple[str, str]:
    weight = graph.rng.normal(size=(8, inputs, 3, 3), scale=(2 / (9 * inputs)) ** 0.5)
    return graph.constant(weight.astype(np.float32)), graph.constant(graph.rng.normal(size=8).astype(np.float32) / 5)


def with_smaller_images(model: onnx.ModelProto, size: int) -> onnx.ModelProto:
    small = onnx.ModelProto()
    small.CopyFrom(model)
    for node in small.graph.node:
        node.input[:] = ["small" if name == "x" else name for name in node.input]
    small.graph.initializer.append(numpy_helper.from_array(np.array([1, 1, size / 16, size / 16], np.float32), "scale"))
    resize = helper.make_node(
        "Resize", ["x", "", "scale"], ["small"], mode="linear", coordinate_transformation_mode="half_pixel"
    )
    small.graph.node.insert(0, resize)
    return small


TEACHER = network()
STUDENT = with_smaller_images(TEACHER, 12)


def batches() -> Iterator[dict[str, np.ndarray]]:
    for start in range(0, 64, 16):
        yield {"x": SMOOTH[start : start + 16]}


@torch.no_grad()
def tensors(model: onnx.ModelProto, names: list[str]) -> dict[str, np.ndarray]:
    """On images that recovery has not seen."""
    graph = TorchGraph(model)
    return {k: v.numpy() for k, v in graph.run({"x": SMOOTH[64:]}, names or list(graph.outputs)).items()}


def error(model: onnx.ModelProto) -> float:
    (own,), (wanted,) = tensors(model, []).values(), tensors(TEACHER, []).values()
    return float(np.square(own - wanted).mean())


class Notes(NullProgress):
    def __init__(self) -> None:
        self.notices: list[str] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)


def test_closed_form_moves_the_means_of_channels_to_the_teachers() -> None:
    payload = resolve(STUDENT, TEACHER, CLOSED_FORM, batches)
    recovered = recover(STUDENT, CLOSED_FORM, payload)
    convolutions = [node for node in TEACHER.graph.node if node.op_type == "Conv"]
    # Kernels stay: least squares on maps of another size would fit what the interpolation does.
    assert not {node.input[1] for node in convolutions} & set(payload.weights)
    assert {node.input[2] for node in convolutions} <= set(payload.weights)
    names = [node.output[0] for node in convolutions]
    before, after, wanted = (tensors(model, names) for model in (STUDENT, recovered, TEACHER))
    apart, left = (
        sum(np.abs(t[name].mean((0, 2, 3)) - wanted[name].mean((0, 2, 3))).mean() for name in names)
        for t in (before, after)
    )
    assert left < 0.6 * apart
    assert error(recovered) < 0.8 * error(STUDENT)


def test_closed_form_leaves_everything_alone_where_outputs_get_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(pair, layer, *_):
        layer.bias.add_(3.0)
        return True

    monkeypatch.setattr(closed_form, "shift_means", spoil)
    notes = Notes()
    payload = resolve(STUDENT, TEACHER, CLOSED_FORM, batches, progress=notes)
    assert (payload.weights, payload.history["reconstructed_layers"]) == ({}, [])
    assert "held-out loss" in notes.notices[0]


@pytest.mark.parametrize("distillation", ["end_to_end", "block_wise", "layer_wise"])
def test_training_compares_maps_at_the_students_size(distillation: str) -> None:
    config = RecoverConfig(
        steps=40, batch_size=16, held_out=0.25, augment=False, bfloat16=False, distillation=distillation, ema_decay=0.9
    )
    payload = resolve(STUDENT, TEACHER, config, batches)
    adds = {node.output[0] for node in TEACHER.graph.node if node.op_type == "Relu"}
    if distillation != "layer_wise":
        assert set(payload.history["features"]) & adds
    assert payload.history["loss_after"] < payload.history["loss_before"]
    assert error(recover(STUDENT, config, RecoverPayload(payload.weights))) < error(STUDENT)


def test_a_ramp_stays_a_ramp_when_it_is_resampled() -> None:
    """Half-pixel coordinates: pixel i of 12 lies at (i + 0.5) * 16 / 12 - 0.5 of 16."""
    ramp = torch.arange(16.0).expand(1, 2, 16, 16)
    found = resampled(ramp, torch.zeros(1, 2, 12, 12))
    expected = (torch.arange(12.0) + 0.5) * 16 / 12 - 0.5
    torch.testing.assert_close(found[0, 1, 5, 2:-2], expected[2:-2])
    stripes = (torch.arange(16) % 2).float().expand(1, 2, 16, 16)
    assert resampled(stripes, torch.zeros(1, 2, 4, 4)).std() < 0.1  # no aliasing
    assert resampled(ramp, torch.zeros(1, 2, 16, 16)) is ramp
    assert resampled(ramp, torch.zeros(1, 3, 12, 12)) is ramp  # other channels: no twin
    volume = resampled(torch.ones(1, 2, 4, 4, 4), torch.zeros(1, 2, 2, 2, 2))
    torch.testing.assert_close(volume, torch.ones(1, 2, 2, 2, 2))


def test_a_feature_at_another_size_is_compared_with_some_of_the_channels() -> None:
    """A student that is pruned too: channels are chosen first, then resampled."""
    teacher = torch.randn(4, 6, 16, 16, generator=torch.Generator().manual_seed(0))
    kept = torch.tensor([1, 4])
    loss = feature_loss(teacher, 1.0, kept)
    student = resampled(teacher[:, kept], torch.zeros(4, 2, 12, 12))
    assert float(loss(student, teacher)) == 0.0
    assert float(loss(student + 1.0, teacher)) == pytest.approx(1.0, rel=0.05)
