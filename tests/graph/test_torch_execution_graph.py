"""Whole graphs and parts of them: names, sub-graphs, weights written back, operators that are not known."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from autocompress.errors import ModelError
from autocompress.graph.torch_execution.torch_graph import TorchGraph

torch.set_num_threads(1)


def small_network() -> onnx.ModelProto:
    """Conv, Relu, global pool, Gemm with a dynamic batch."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "v", "d"], ["y"], name="gemm", transB=1),
    ]
    shapes = {"w": (16, 3, 3, 3), "b": (16,), "v": (5, 16), "d": (5,)}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(rng.normal(size=s).astype(np.float32), n) for n, s in shapes.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def execute(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, feeds)


X = np.random.default_rng(1).normal(size=(3, 3, 8, 8)).astype(np.float32)


def test_whole_graph_equals_onnx_runtime() -> None:
    model = small_network()
    np.testing.assert_allclose(
        TorchGraph(model)({"x": X})["y"].detach().numpy(), execute(model, {"x": X})[0], rtol=1e-5, atol=1e-6
    )


def test_parameters_have_the_names_of_the_graph() -> None:
    graph = TorchGraph(small_network())
    assert {name: tuple(p.shape) for name, p in graph.weights.items()} == {
        "w": (16, 3, 3, 3), "b": (16,), "v": (5, 16), "d": (5,),
    }  # fmt: skip
    assert {id(p) for p in graph.parameters()} == {id(p) for p in graph.weights.values()}


def test_any_tensor_can_be_given_and_asked_for() -> None:
    graph = TorchGraph(small_network())
    inner = graph.run({"x": X}, ["r", "f"])
    assert inner["r"].shape == (3, 16, 8, 8)
    again = graph.run({"r": inner["r"]}, ["f"])
    assert torch.equal(again["f"], inner["f"])
    other = graph.run({"r": inner["r"] * 2}, ["f"])
    assert torch.allclose(other["f"], inner["f"] * 2)


def test_a_part_shares_the_parameters_that_it_reads() -> None:
    graph = TorchGraph(small_network())
    part = graph.subgraph(["r"], ["y"])
    assert set(part.weights) == {"v", "d"}
    assert part.weights["v"] is graph.weights["v"]
    inner = graph.run({"x": X}, ["r", "y"])
    assert torch.equal(part({"r": inner["r"]})["y"], inner["y"])
    assert graph.weights_between(["x"], ["c"]) == ["w", "b"]
    assert graph.tensors_read(["x", "r"], ["y"]) == {"r"}


def test_a_part_that_lacks_an_input_names_it() -> None:
    with pytest.raises(ModelError, match="'x' is missing"):
        TorchGraph(small_network()).subgraph(["f"], ["r"])


def test_only_named_weights_get_gradients() -> None:
    graph = TorchGraph(small_network())
    assert graph.trainable(["v"]) == [graph.weights["v"]]
    graph({"x": X})["y"].sum().backward()
    assert {name for name, p in graph.weights.items() if p.grad is not None} == {"v"}
    with pytest.raises(ModelError, match="'nothing'"):
        graph.trainable(["nothing"])


def test_changed_weights_are_written_back_and_others_keep_their_bytes() -> None:
    model = small_network()
    before = model.SerializeToString()
    graph = TorchGraph(model)
    with torch.no_grad():
        graph.weights["v"].mul_(2.0)
    changed = graph.write_back(model)
    assert model.SerializeToString() == before
    weights = {w.name: w for w in changed.graph.initializer}
    old = {w.name: w for w in model.graph.initializer}
    np.testing.assert_array_equal(numpy_helper.to_array(weights["v"]), 2 * numpy_helper.to_array(old["v"]))
    assert all(weights[name].SerializeToString() == old[name].SerializeToString() for name in ("w", "b", "d"))
    np.testing.assert_allclose(
        execute(changed, {"x": X})[0], graph({"x": X})["y"].detach().numpy(), rtol=1e-5, atol=1e-6
    )


def test_writing_into_another_model_is_refused() -> None:
    graph = TorchGraph(small_network())
    with torch.no_grad():
        graph.weights["v"].mul_(2.0)
    other = small_network()
    other.graph.initializer[2].CopyFrom(numpy_helper.from_array(np.zeros((5, 15), np.float32), "v"))
    with pytest.raises(ModelError, match=r"\[5, 15\].*\[5, 16\]"):
        graph.write_back(other)
    del other.graph.initializer[2]
    with pytest.raises(ModelError, match="no weight 'v'"):
        graph.write_back(other)


def with_node(op: str, domain: str = "") -> onnx.ModelProto:
    model = small_network()
    model.graph.node.append(helper.make_node(op, ["y"], ["z"], name="strange", domain=domain))
    model.graph.output[0].name = "z"
    return model


@pytest.mark.parametrize(("op", "domain", "shown"), [("Bernoulli", "", "Bernoulli"), ("Own", "my", "my.Own")])
def test_an_unknown_operator_is_named_once_it_is_needed(op: str, domain: str, shown: str) -> None:
    graph = TorchGraph(with_node(op, domain))
    assert graph.run({"x": X}, ["y"])["y"].shape == (3, 5)
    with pytest.raises(ModelError, match=f"operator {shown} of node 'strange'"):
        graph({"x": X})


def test_intermediate_tensors_do_not_pile_up() -> None:
    """What nobody reads any more is let go, or inference would need the memory of training."""
    from autocompress.graph.torch_execution.plan import plan_steps

    graph = TorchGraph(small_network())
    steps = plan_steps(graph._calls, {"x"}, set(graph.weights), ["y"])
    assert [step.last_read for step in steps] == [(), ("c",), ("r",), ("p",), ("f",)]


def fake_quantized() -> onnx.ModelProto:
    """y = DQ(Q(x)) w', with w' stored in int8."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "sx", "zx"], ["xq"], name="q"),
        helper.make_node("DequantizeLinear", ["xq", "sx", "zx"], ["xd"], name="dq"),
        helper.make_node("DequantizeLinear", ["w", "sw"], ["wd"], name="dqw", axis=1),
        helper.make_node("MatMul", ["xd", "wd"], ["y"], name="product"),
    ]
    rng = np.random.default_rng(0)
    weights = {
        "sx": np.array(0.05, np.float32),
        "zx": np.array(120, np.uint8),
        "w": rng.integers(-128, 128, (4, 3)).astype(np.int8),
        "sw": np.array([0.01, 0.02, 0.03], np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "quantized",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_fake_quantization_equals_the_integers_of_onnx_runtime() -> None:
    model = fake_quantized()
    x = np.random.default_rng(2).normal(scale=4, size=(9, 4)).astype(np.float32)
    graph = TorchGraph(model)
    np.testing.assert_allclose(graph({"x": x})["y"].detach().numpy(), execute(model, {"x": x})[0], rtol=1e-5, atol=1e-5)
    assert graph.write_back(model).SerializeToString() == model.SerializeToString()


def test_a_trained_quantized_weight_is_rounded_and_written_as_integers() -> None:
    model = fake_quantized()
    graph = TorchGraph(model)
    with torch.no_grad():
        graph.weights["w"].add_(0.4 * graph.weights["sw"])  # less than half a step: nothing changes
    assert graph.changed_weights() == {}
    with torch.no_grad():
        graph.weights["w"].add_(0.2 * graph.weights["sw"])
    integers = graph.changed_weights()["w"]
    old = numpy_helper.to_array(model.graph.initializer[2])
    np.testing.assert_array_equal(integers, np.minimum(old.astype(int) + 1, 127))
    written = graph.write_back(model)
    assert numpy_helper.to_array(written.graph.initializer[2]).dtype == np.int8


def test_gradients_of_step_sizes_are_those_of_lsq() -> None:
    """Equation 3 of arXiv 1902.08153, with a zero point; the gradient to the data is that of the clipped identity."""
    graph = TorchGraph(fake_quantized(), dtype=torch.float64)
    graph.trainable(["sx"])
    x = torch.tensor([[0.031, 3.0, -100.0, 100.0]], dtype=torch.float64, requires_grad=True)
    graph.run({"x": x}, ["xd"])["xd"].sum().backward()
    s = float(graph.weights["sx"])
    inside = [round(v / s) - v / s for v in (0.031, 3.0)]
    assert float(graph.weights["sx"].grad) == pytest.approx(sum(inside) + (0 - 120) + (255 - 120), rel=1e-9)
    assert x.grad[0].tolist() == pytest.approx([1.0, 1.0, 0.0, 0.0])
    graph.trainable(["sw", "w"])
    graph.run({}, ["wd"])["wd"].sum().backward()
    # The stored weights lie on the grid, where the rounding error is zero, except at its ends.
    assert graph.weights["w"].grad.shape == (4, 3)
    assert torch.allclose(graph.weights["sw"].grad, torch.zeros(3, dtype=torch.float64), atol=1e-9)
