"""The parts of a training: the optimizer, sizes of weights, memory, mixing, and what ends a bad run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from autocompress.errors import RecipeError
from autocompress.graph.torch_execution.torch_graph import TorchGraph
from autocompress.passes.recover import RecoverConfig, end_to_end, recover, resolve, saved_memory
from autocompress.passes.recover.augmentation import augmented
from autocompress.passes.recover.bfloat16 import has_fast_bfloat16
from autocompress.passes.recover.end_to_end import Distillation
from autocompress.passes.recover.optimizer import Descent
from autocompress.passes.recover.orthogonal import orthogonalized
from autocompress.passes.recover.pair import Pair
from autocompress.passes.recover.samples import Samples
from autocompress.passes.recover.saved_memory import samples_at_once, saved_bytes
from autocompress.passes.recover.training import Problem, Training
from autocompress.passes.recover.weight_scales import weight_scales
from autocompress.progress import NullProgress

torch.set_num_threads(1)
IMAGES = np.random.default_rng(2).normal(size=(48, 3, 8, 8)).astype(np.float32)
CONFIG = RecoverConfig(level="light", steps=40, batch_size=12, augment=False, bfloat16=False, held_out=0.25)


def network(scale: float = 1.0, to_maps: bool = False) -> onnx.ModelProto:
    """Two convolutions, the second of them depthwise and without a bias, then a classifier unless ``to_maps``."""
    rng = np.random.default_rng(0)
    weights = {
        "w1": rng.normal(size=(4, 3, 3, 3)) * np.array([1.0, 10.0, 0.1, 1.0])[:, None, None, None] * 0.2,
        "b1": np.zeros(4),
        "w2": rng.normal(size=(4, 1, 3, 3)) * scale,
        "fc": rng.normal(size=(4, 5)),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"], name="first", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["r"], name="relu"),
        helper.make_node("Conv", ["r", "w2"], ["m"], name="second", pads=[1] * 4, group=4),
    ]
    if not to_maps:
        nodes += [
            helper.make_node("GlobalAveragePool", ["m"], ["p"], name="pool"),
            helper.make_node("Flatten", ["p"], ["f"], name="flat"),
            helper.make_node("MatMul", ["f", "fc"], ["y"], name="classify"),
        ]
    output = helper.make_tensor_value_info("m" if to_maps else "y", TensorProto.FLOAT, None)
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [output],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items() if k != "fc" or not to_maps],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def batches() -> Iterator[dict[str, np.ndarray]]:
    yield {"x": IMAGES}


def distillation(config: RecoverConfig, student: onnx.ModelProto | None = None, **kind: bool) -> Distillation:
    teacher = network(**kind)
    pair = Pair(student or network(0.5, **kind), teacher, config)
    return Distillation(pair, Samples(batches, pair.specs), config)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_the_optimizer_is_adamw_where_all_scales_are_one(decay: float) -> None:
    """By the formulas of the papers, in double precision."""
    rng = np.random.default_rng(0)
    values = [rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=7).astype(np.float32)]
    own = [torch.nn.Parameter(torch.from_numpy(value.copy())) for value in values]
    optimizer = Descent(own, [torch.ones(())] * 2, decay)
    wanted = [value.astype(np.float64) for value in values]
    first, second = ([np.zeros_like(value) for value in wanted] for _ in range(2))
    for step in range(1, 6):
        for i, parameter in enumerate(own):
            parameter.grad = torch.sin(parameter.detach() * step)
            gradient = np.sin(wanted[i] * step)
            first[i] = 0.9 * first[i] + 0.1 * gradient
            second[i] = 0.999 * second[i] + 0.001 * gradient**2
            move = first[i] / (1 - 0.9**step) / (np.sqrt(second[i] / (1 - 0.999**step)) + 1e-8)
            wanted[i] = wanted[i] * (1 - 0.01 * decay) - 0.01 * move
        optimizer.step(0.01)
    for parameter, value in zip(own, wanted, strict=True):
        np.testing.assert_allclose(parameter.detach().numpy(), value, rtol=1e-4, atol=1e-6)


def test_steps_are_in_proportion_to_scales_and_parameters_without_gradient_stay() -> None:
    weight, idle = torch.nn.Parameter(torch.zeros(2, 3)), torch.nn.Parameter(torch.ones(2))
    optimizer = Descent([weight, idle], [torch.tensor([[1.0], [100.0]]), torch.ones(())])
    weight.grad = torch.full((2, 3), -0.3)
    optimizer.step(0.01)
    torch.testing.assert_close(weight.detach(), torch.tensor([[0.01] * 3, [1.0] * 3]))
    assert torch.equal(idle.detach(), torch.ones(2))


def test_gradients_are_clipped_together() -> None:
    a, b = torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(1))
    a.grad, b.grad = torch.tensor([3.0, 0.0, 0.0]), torch.tensor([4.0])
    optimizer = Descent([a, b], [torch.ones(())] * 2)
    assert optimizer.clip(1.0) == pytest.approx(5.0)
    assert a.grad[0] == pytest.approx(0.6)
    assert optimizer.gradient_norm() == pytest.approx(1.0)
    b.grad[0] = torch.nan
    assert not np.isfinite(optimizer.clip(1.0))


def test_scales_follow_the_size_of_each_channel() -> None:
    model = network()
    graph = TorchGraph(model)
    sizes = weight_scales(model, graph, ["w1", "b1", "w2", "fc"])
    kernel = graph.weights["w1"].detach()
    wanted = kernel.square().mean((1, 2, 3)).sqrt()
    torch.testing.assert_close(sizes["w1"].reshape(-1)[[0, 1, 3]], wanted[[0, 1, 3]])
    assert wanted[2] < sizes["w1"].reshape(-1)[2] < wanted[1]  # a channel that is all but zero can grow
    assert sizes["w1"].shape == (4, 1, 1, 1) and sizes["w2"].shape == (4, 1, 1, 1)
    assert sizes["fc"].shape == (1, 5)
    norms = kernel.square().sum((1, 2, 3)).sqrt()
    assert float(sizes["b1"]) == pytest.approx(0.1 * float(norms.mean()), rel=1e-5)  # the bias itself is zero


def test_portions_of_a_batch_add_up_to_its_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    gradients = []
    for most in (2**30, 1):
        monkeypatch.setattr(saved_memory, "_MOST_BYTES", most)
        task = distillation(CONFIG)
        parameters = task.problem().parameters
        loss = task.learn(3)
        gradients.append((loss, [p.grad.clone() for p in parameters]))
    assert gradients[0][0] == pytest.approx(gradients[1][0], rel=1e-5)
    for whole, parts in zip(gradients[0][1], gradients[1][1], strict=True):
        torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-6)


def test_memory_is_counted_once_per_piece_and_limits_the_portion(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.nn.Parameter(torch.ones(1000))
    assert saved_bytes(lambda: (weight * torch.ones(1000)).exp().sum()) == 2 * 4000  # a factor and the result
    monkeypatch.setattr(saved_memory, "_MOST_BYTES", 1000)
    assert samples_at_once(lambda n: 100 + 90 * n, 32) == 10
    assert samples_at_once(lambda n: 100 + 90 * n, 4) == 4
    assert samples_at_once(lambda n: 5000 * n, 32) == 1
    assert samples_at_once(lambda n: 1 // 0, 1) == 1


def test_losses_of_outputs_and_features_weigh_the_same_at_the_start() -> None:
    config = replace(CONFIG, features=("m",), output_loss="mse", batch_size=36, feature_weight=3.0)
    task = distillation(config)
    task.problem()
    assert list(task.losses) == ["y", "m"]
    assert task.learn(0) == pytest.approx(4.0, rel=0.6)
    plain = distillation(replace(config, feature_weight=0.0, features=None))
    plain.problem()
    assert plain.learn(0) == pytest.approx(1.0, rel=0.6)
    # What judges is the output alone, as it is.
    assert task.judge() == pytest.approx(plain.judge(), rel=1e-5)


def test_a_model_without_real_outputs_is_named() -> None:
    model = network()
    model.graph.node.append(helper.make_node("ArgMax", ["y"], ["best"], name="best", axis=1))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("best", TensorProto.INT64, None))
    config = replace(CONFIG, feature_weight=0.0)
    pair = Pair(model, model, config)
    with pytest.raises(RecipeError, match="no real numbers"):
        Distillation(pair, Samples(batches, pair.specs), config)


def test_images_for_maps_are_turned_but_not_blended() -> None:
    image = np.arange(64, dtype=np.float32).reshape(1, 1, 8, 8)
    images = np.concatenate([image + 100 * i for i in range(6)])
    for step in range(12):
        made = augmented({"x": images}, (0, step), to_maps=True)["x"]
        assert np.isin(made, images).all()  # every value comes from somewhere, none is a mean
    blended = [augmented({"x": images}, (0, step))["x"] for step in range(12)]
    assert not all(np.isin(made, images).all() for made in blended)
    single = [augmented({"x": images}, (0, step), to_maps=True, mix=False)["x"] for step in range(12)]
    assert all(len(np.unique(made[0] // 100)) == 1 for made in single)
    columns = [made[0, 0, 0] for made in single]
    assert any(np.ptp(column) >= 40 for column in columns)  # rows became columns
    assert any(np.ptp(column) < 8 for column in columns)


def test_pictures_of_pictures_are_recognized(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    real = end_to_end.augmented

    def watched(feeds, seed, *, to_maps, mix):  # type: ignore[no-untyped-def]
        seen.append(to_maps)
        return real(feeds, seed, to_maps=to_maps, mix=mix)

    monkeypatch.setattr(end_to_end, "augmented", watched)
    for to_maps in (False, True):
        task = distillation(replace(CONFIG, augment=True), to_maps=to_maps)
        task.problem()
        task.learn(0)
    assert seen == [False, True]


def test_labels_belong_to_images_that_are_not_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[bool, bool]] = []
    config = replace(CONFIG, augment=True, label_weight=1.0)
    pair = Pair(network(0.5), network(), config)
    task = Distillation(pair, Samples(batches, pair.specs, np.zeros(len(IMAGES), np.int64)), config)
    task.problem()
    real, used = end_to_end.augmented, end_to_end.task_loss
    labelled: list[int] = []
    monkeypatch.setattr(end_to_end, "augmented", lambda *a, **k: (given.append((k["mix"], True)), real(*a, **k))[1])
    monkeypatch.setattr(end_to_end, "task_loss", lambda *a: (labelled.append(len(given)), used(*a))[1])
    for step in range(4):
        task.learn(step)
    assert [mix for mix, _ in given] == [False, True, False, True]
    assert labelled == [1, 3]


class Notes(NullProgress):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def notice(self, text: str) -> None:
        self.texts.append(text)


def test_a_rate_that_loses_ground_is_halved_and_the_best_weights_stay() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0]))

    def learn(step: int) -> float:
        # A gradient that leads away for as long as steps are long.
        (-weight).sum().backward()
        return 1.0

    notes = Notes()
    problem = Problem([weight], [torch.ones(())], learn, lambda: float(weight.detach().square()))
    training = Training(problem, replace(CONFIG, learning_rate=10.0, ema_decay=0.0), 40, notes)
    training.run()
    assert float(weight.detach()) == 1.0
    assert any("lost ground" in text for text in notes.texts)
    assert "ends with the best weights" in notes.texts[-1]
    assert training.step < 40


def test_bfloat16_is_near_float32() -> None:
    if not has_fast_bfloat16():
        pytest.skip("this processor has no instructions for bfloat16")
    losses = []
    for fast in (False, True):
        task = distillation(replace(CONFIG, bfloat16=fast))
        parameters = task.problem().parameters
        losses.append(task.learn(0))
        assert all(p.grad.dtype == torch.float32 for p in parameters)
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert losses[1] != losses[0]


def chain(widths: tuple[int, ...], kept: tuple[tuple[int, ...], ...] | None = None) -> onnx.ModelProto:
    """Convolutions one after the other, as in a denoiser; ``kept`` are the channels that stay of the first ones."""
    rng = np.random.default_rng(4)
    nodes, weights, into = [], [], np.arange(3)
    for i, width in enumerate((*widths, 3)):
        kernel = rng.normal(size=(width, 3 if i == 0 else widths[i - 1], 3, 3)) * 0.2
        bias = rng.normal(size=width) * 0.1
        out = np.array(kept[i]) if kept is not None and i < len(widths) else np.arange(width)
        weights += [
            numpy_helper.from_array(kernel[np.ix_(out, into)].astype(np.float32), f"w{i}"),
            numpy_helper.from_array(bias[out].astype(np.float32), f"b{i}"),
        ]
        nodes.append(helper.make_node("Conv", [f"h{i}", f"w{i}", f"b{i}"], [f"c{i}"], name=f"conv{i}", pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"h{i + 1}"], name=f"relu{i}"))
        into = out
    nodes.pop()
    given = helper.make_tensor_value_info("h0", TensorProto.FLOAT, ["N", 3, 8, 8])
    output = helper.make_tensor_value_info(f"c{len(widths)}", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "chain", [given], [output], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def chain_batches() -> Iterator[dict[str, np.ndarray]]:
    yield {"h0": IMAGES}


def test_channels_that_stayed_are_recognized_and_reconstructed() -> None:
    teacher, student = chain((8, 8)), chain((8, 8), ((0, 2, 3, 5, 6, 7), (1, 2, 4, 5, 6, 7)))
    pair = Pair(student, teacher, CONFIG)
    assert {name: channels.tolist() for name, channels in pair.twins.items()} == {
        "c0": [0, 2, 3, 5, 6, 7],
        "c1": [1, 2, 4, 5, 6, 7],
        "c2": [0, 1, 2],
    }
    closed = RecoverConfig(level="closed_form")
    payload = resolve(student, teacher, closed, chain_batches)
    # The first layer's inputs are whole, so nothing has to be made up for there.
    assert payload.history["reconstructed_layers"] == ["conv1", "conv2"]
    feeds = {"h0": np.random.default_rng(9).normal(size=(16, 3, 8, 8)).astype(np.float32)}

    def error(model: onnx.ModelProto) -> float:
        with torch.no_grad():
            return float((TorchGraph(model)(feeds)["c2"] - TorchGraph(teacher)(feeds)["c2"]).square().mean())

    assert error(recover(student, closed, payload)) < 0.6 * error(student)


def test_layers_of_a_chain_are_compared_by_the_channels_that_stayed() -> None:
    teacher, student = chain((8, 8)), chain((8, 8), ((0, 2, 3, 5, 6, 7), (1, 2, 4, 5, 6, 7)))
    pair = Pair(student, teacher, CONFIG)
    task = Distillation(pair, Samples(chain_batches, pair.specs), CONFIG)
    assert task.features == ["c0", "c1"]
    assert task.losses["c1"].channels.tolist() == [1, 2, 4, 5, 6, 7]
    task.problem()
    assert np.isfinite(task.learn(0))


def test_channels_are_not_guessed_where_biases_do_not_tell() -> None:
    teacher, student = chain((8, 8)), chain((8, 8), ((0, 2, 3, 5, 6, 7), (1, 2, 4, 5, 6, 7)))
    for model, name in ((student, "b0"), (teacher, "b1")):
        tensor = next(weight for weight in model.graph.initializer if weight.name == name)
        values = numpy_helper.to_array(tensor).copy()
        values[:2] = 0.25
        tensor.CopyFrom(numpy_helper.from_array(values, name))
    assert list(Pair(student, teacher, CONFIG).twins) == ["c2"]


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (16, 16)])
def test_orthogonal_parts_are_those_of_the_singular_value_decomposition(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    least = min(shape)
    left, right = (np.linalg.qr(rng.normal(size=(size, least)))[0] for size in shape)
    matrix = (left * np.logspace(0, -2, least)) @ right.T  # singular values of 1 to 0.01
    found = orthogonalized(torch.from_numpy(1000 * matrix.astype(np.float32))).numpy()
    inner = left.T @ found @ right
    np.testing.assert_allclose(inner - np.diag(np.diag(inner)), 0, atol=1e-3)
    assert 0.6 < np.diag(inner).min() <= np.diag(inner).max() < 1.3
    assert not orthogonalized(torch.zeros(shape)).any()


def test_matrices_move_by_the_orthogonal_part_of_their_momentum() -> None:
    rng = np.random.default_rng(0)
    kernel = torch.nn.Parameter(torch.zeros(16, 4, 3, 3))
    depthwise = torch.nn.Parameter(torch.zeros(16, 1, 3, 3))
    gradients = [torch.from_numpy(rng.normal(size=p.shape).astype(np.float32)) for p in (kernel, depthwise)]
    optimizer = Descent([kernel, depthwise], [torch.full((16, 1, 1, 1), 3.0), torch.ones(())])
    kernel.grad, depthwise.grad = gradients
    optimizer.step(0.01)
    wanted = -0.03 * 0.5 * 36**0.5 * orthogonalized(gradients[0].reshape(16, 36)).reshape(16, 4, 3, 3)
    torch.testing.assert_close(kernel.detach(), wanted, rtol=1e-4, atol=1e-6)
    assert float(kernel.detach().square().mean().sqrt()) == pytest.approx(0.015, rel=0.3)
    torch.testing.assert_close(depthwise.detach(), -0.01 * gradients[1].sign(), rtol=1e-4, atol=1e-6)


def test_weights_that_stay_zero_have_no_say_in_where_others_go() -> None:
    kernel = torch.nn.Parameter(torch.ones(8, 8, 1, 1))
    mask = torch.ones(8, 8, 1, 1)
    mask[3] = 0
    seen = []

    def learn(step: int) -> float:
        kernel.grad = torch.ones(8, 8, 1, 1)
        return 1.0

    problem = Problem([kernel], [torch.ones(())], learn, lambda: 1.0, {0: mask})
    training = Training(problem, CONFIG, 4, NullProgress())
    training.advance()
    seen.append(kernel.grad.clone())
    assert not seen[0][3].any() and seen[0][0].all()
    assert not kernel.detach()[3].any()
