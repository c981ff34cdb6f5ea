"""Recovery of fake-quantized students: weights behind integers, step sizes, biases."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from autocompress.graph.torch_execution.torch_graph import TorchGraph
from autocompress.passes.recover import RecoverConfig, recover, resolve
from autocompress.passes.recover.pair import Pair

torch.set_num_threads(1)
RNG = np.random.default_rng(3)
DATA = RNG.normal(size=(256, 6)).astype(np.float32)
WEIGHTS = RNG.normal(size=(5, 6)).astype(np.float32)
BIAS = RNG.normal(size=5).astype(np.float32)
CONFIG = RecoverConfig(
    level="light",
    steps=150,
    learning_rate=3e-3,
    closed_form=False,
    augment=False,
    output_loss="mse",
    held_out=0.25,
    step_size_rate=10.0,
)


def network(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def teacher() -> onnx.ModelProto:
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="fc", transB=1)]
    return network(nodes, {"w": WEIGHTS, "b": BIAS})


def student(bits_lost: float = 2.0) -> onnx.ModelProto:
    """The layer in int8, with steps ``bits_lost`` bits coarser than the data ask for."""
    coarse = np.float32(2.0**bits_lost)
    sx = np.float32(np.abs(DATA).max() / 127) * coarse
    sw = (np.abs(WEIGHTS).max(1) / 127).astype(np.float32)
    weights = {
        "sx": np.array(sx, np.float32),
        "zx": np.array(128, np.uint8),
        "wq": np.clip(np.rint(WEIGHTS / sw[:, None]), -127, 127).astype(np.int8),
        "sw": sw,
        "bq": np.rint(BIAS / (sx * sw)).astype(np.int32),
        "sb": (sx * sw).astype(np.float32),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "sx", "zx"], ["xq"], name="q"),
        helper.make_node("DequantizeLinear", ["xq", "sx", "zx"], ["xd"], name="dq"),
        helper.make_node("DequantizeLinear", ["wq", "sw"], ["wd"], name="dqw", axis=0),
        helper.make_node("DequantizeLinear", ["bq", "sb"], ["bd"], name="dqb", axis=0),
        helper.make_node("Gemm", ["xd", "wd", "bd"], ["y"], name="fc", transB=1),
    ]
    return network(nodes, weights)


def batches() -> Iterator[dict[str, np.ndarray]]:
    for start in range(0, len(DATA), 64):
        yield {"x": DATA[start : start + 64]}


def executed(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})[0]


def stored(model: onnx.ModelProto, name: str) -> np.ndarray:
    return next(numpy_helper.to_array(w) for w in model.graph.initializer if w.name == name)


def test_learned_steps_halve_the_error_in_the_runtime() -> None:
    model = student()
    recovered = recover(model, CONFIG, resolve(model, teacher(), CONFIG, batches))
    unseen = np.random.default_rng(4).normal(size=(500, 6)).astype(np.float32)
    wanted = executed(teacher(), unseen)
    before, after = (np.square(executed(m, unseen) - wanted).mean() for m in (model, recovered))
    assert after < 0.5 * before
    assert stored(recovered, "sx") < stored(model, "sx")


def test_integers_stay_integers_and_the_bias_step_is_the_product() -> None:
    model = student()
    recovered = recover(model, CONFIG, resolve(model, teacher(), CONFIG, batches))
    assert stored(recovered, "wq").dtype == np.int8
    assert stored(recovered, "bq").dtype == np.int32
    assert [w.dims for w in recovered.graph.initializer] == [w.dims for w in model.graph.initializer]
    np.testing.assert_allclose(stored(recovered, "sb"), stored(recovered, "sx") * stored(recovered, "sw"), rtol=1e-6)
    np.testing.assert_array_equal(stored(recovered, "zx"), 128)


def test_quantized_weights_start_from_the_floats_behind_them() -> None:
    pair = Pair(student(), teacher(), CONFIG)
    np.testing.assert_array_equal(pair.student.weights["wq"].detach().numpy(), WEIGHTS)
    other = network([helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="fc", transB=1)], {"w": -WEIGHTS, "b": BIAS})
    pair = Pair(student(), other, CONFIG)
    rounded = stored(student(), "wq") * stored(student(), "sw")[:, None]
    np.testing.assert_allclose(pair.student.weights["wq"].detach().numpy(), rounded, rtol=1e-6)


def test_forward_of_the_trained_student_is_what_the_runtime_computes() -> None:
    model = student()
    recovered = recover(model, CONFIG, resolve(model, teacher(), CONFIG, batches))
    with torch.no_grad():
        own = TorchGraph(recovered)({"x": DATA})["y"].numpy()
    # One step of the output: the runtime may round a value that lies between two integers the other way.
    step = float(stored(recovered, "sx") * np.abs(WEIGHTS).max())
    np.testing.assert_allclose(own, executed(recovered, DATA), atol=1.01 * step)
    assert np.mean(np.abs(own - executed(recovered, DATA)) > 1e-4) < 0.02
