"""One pass of real models through ONNX Runtime, against running them tensor by tensor."""

from __future__ import annotations

import gc
import resource
from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from autocompress.calibration.collect import collect
from autocompress.calibration.observer import TensorObserver
from autocompress.calibration.outputs import ActivationSessions, with_tensor_outputs
from autocompress.calibration.statistics import Statistics
from autocompress.errors import ConfigError, DataError, ModelError
from autocompress.runtimes import get_runtime
from autocompress.runtimes.protocol import Feeds, SessionOptions


class Arrays:
    """Samples in memory; remembers what was asked for."""

    def __init__(self, **arrays: np.ndarray) -> None:
        self.arrays = arrays
        self.asked: list[int] = []

    def inputs(self, indices: Sequence[int]) -> Feeds:
        self.asked.extend(indices)
        return {name: array[list(indices)] for name, array in self.arrays.items()}


class Sentences:
    """Samples of different lengths."""

    def inputs(self, indices: Sequence[int]) -> Feeds:
        return {"ids": np.arange(4 + indices[0] % 3, dtype=np.int64)[None] % 10}


def weight(name: str, *shape: int) -> TensorProto:
    rng = np.random.default_rng(list(name.encode()))
    return numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32) * 0.3, name)


def model_of(nodes: list[onnx.NodeProto], inputs: list, outputs: list, weights: list[TensorProto]) -> ModelProto:
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def conv_net(batch: str | int = "n", size: int = 8) -> ModelProto:
    return model_of(
        [
            helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c1"], ["r1"]),
            helper.make_node("Conv", ["r1", "w2"], ["c2"], pads=[1, 1, 1, 1]),
            helper.make_node("Add", ["c2", "r1"], ["sum"]),
            helper.make_node("GlobalAveragePool", ["sum"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("Gemm", ["flat", "w3"], ["y"]),
            helper.make_node("ArgMax", ["y"], ["label"], axis=1),
        ],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 5])],
        [weight("w1", 6, 3, 3, 3), weight("b1", 6), weight("w2", 6, 6, 3, 3), weight("w3", 6, 5)],
    )


def encoder() -> ModelProto:
    return model_of(
        [
            helper.make_node("Gather", ["table", "ids"], ["embedded"]),
            helper.make_node("LayerNormalization", ["embedded", "gain"], ["normal"]),
            helper.make_node("MatMul", ["normal", "q"], ["query"]),
            helper.make_node("Transpose", ["normal"], ["keys"], perm=[0, 2, 1]),
            helper.make_node("MatMul", ["normal", "keys"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["attention"]),
            helper.make_node("MatMul", ["attention", "query"], ["y"]),
        ],
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", "length"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "length", 6])],
        [weight("table", 10, 6), weight("gain", 6), weight("q", 6, 6)],
    )


def sessions(model: ModelProto) -> ActivationSessions:
    runtime = get_runtime("onnxruntime")
    return ActivationSessions(model, lambda m: runtime.load(m.SerializeToString(), SessionOptions()))


def images(count: int = 7) -> Arrays:
    return Arrays(x=np.random.default_rng(1).standard_normal((count, 3, 8, 8)).astype(np.float32))


def assert_equal(a: Statistics, b: Statistics) -> None:
    assert list(a) == list(b)
    for name, tensor in a.items():
        other = b[name]
        for field in ("count", "samples", "zeros", "minimum", "maximum", "sum_of_minima", "sum_of_maxima"):
            assert getattr(tensor, field) == getattr(other, field), (name, field)
        assert (tensor.histogram.counts == other.histogram.counts).all(), name


CONV_TENSORS = ["x", "r1", "sum", "flat", "y"]


def test_statistics_are_those_of_the_tensors() -> None:
    model, data = conv_net(), images()
    found = collect(sessions(model), data, range(7), CONV_TENSORS)
    assert list(found) == CONV_TENSORS
    assert found.samples == 7
    runtime = get_runtime("onnxruntime")
    for name in CONV_TENSORS:
        observer = TensorObserver(name, 1)
        if name != "x":
            single = runtime.load(with_tensor_outputs(model, [name]).SerializeToString(), SessionOptions())
        for i in range(7):
            array = data.arrays["x"][[i]] if name == "x" else single.run({"x": data.arrays["x"][[i]]})[name]
            observer.update(array, 1)
        expected = observer.statistics()
        assert found[name].minimum == pytest.approx(expected.minimum, rel=1e-5, abs=1e-6)
        assert found[name].maximum == pytest.approx(expected.maximum, rel=1e-5)
        assert found[name].count == expected.count
        assert found[name].mean_maximum == pytest.approx(expected.mean_maximum, rel=1e-5)
        assert found[name].channels is not None
        np.testing.assert_allclose(found[name].channel_mean, expected.channel_mean, rtol=1e-3, atol=1e-5)
    # By hand for one tensor: nothing is negative behind Relu, and a third of this one is zero.
    assert found["r1"].minimum == 0.0
    assert 0.2 < found["r1"].zeros / found["r1"].count < 0.8


def test_groups_give_the_same_and_keep_the_bound() -> None:
    model = conv_net()
    opened: list[list[str]] = []
    runtime = get_runtime("onnxruntime")

    def load(changed: ModelProto) -> object:
        opened.append([output.name for output in changed.graph.output])
        return runtime.load(changed.SerializeToString(), SessionOptions())

    splitting = ActivationSessions(model, load)  # type: ignore[arg-type]
    calls: list[tuple[int, int]] = []
    whole = collect(splitting, images(), range(7), CONV_TENSORS)
    assert opened == [["r1", "sum", "flat", "y"]]
    opened.clear()
    bound = 6 * 8 * 8 * 4
    split = collect(
        splitting, images(), range(7), CONV_TENSORS, max_activation_bytes=bound, progress=lambda *c: calls.append(c)
    )
    assert opened == [["r1"], ["sum"], ["flat", "y"]]
    assert calls[0] == (1, 21)
    assert calls[-1] == (21, 21)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    for name in CONV_TENSORS:
        assert split[name].count == whole[name].count
        assert split[name].maximum == pytest.approx(whole[name].maximum, rel=1e-5)


def test_batches_and_shards_give_the_same() -> None:
    whole = collect(sessions(conv_net()), images(), range(7), ["x", "r1"])
    for size in (2, 7, 50):
        batched = collect(sessions(conv_net()), images(), range(7), ["x", "r1"], batch_size=size)
        assert batched["r1"].samples == 7
        assert batched["r1"].maximum == pytest.approx(whole["r1"].maximum, rel=1e-5)
        assert batched["r1"].mean_maximum == pytest.approx(whole["r1"].mean_maximum, rel=1e-5)
    parts = [collect(sessions(conv_net()), images(), chosen, ["x", "r1"]) for chosen in ([6, 1, 3], [0, 2], [4, 5])]
    assert_equal(parts[2].merge(parts[0]).merge(parts[1]), whole)


def test_only_the_named_samples_are_read() -> None:
    data = images()
    collect(sessions(conv_net()), data, [5, 2], ["y"])
    assert set(data.asked) == {2, 5}


def test_inputs_alone_need_no_session() -> None:
    def load(_: ModelProto) -> object:
        raise AssertionError("nothing to run")

    found = collect(ActivationSessions(conv_net(), load), images(), range(7), ["x"])  # type: ignore[arg-type]
    assert found["x"].count == 7 * 3 * 8 * 8


def test_variable_length_and_channel_axes() -> None:
    names = ["embedded", "query", "scores", "attention", "y"]
    found = collect(sessions(encoder()), Sentences(), range(6), names)
    for name in ("embedded", "query", "y"):
        channels = found[name].channels
        assert channels is not None
        assert (channels.axis, channels.sum.shape) == (2, (6,))
    # As many scores per position as positions, which differ.
    assert found["scores"].channels is None
    assert found["attention"].maximum <= 1.0
    assert found["attention"].count == 2 * (4 * 4 + 5 * 5 + 6 * 6)
    asked = collect(sessions(encoder()), Sentences(), [0, 3], ["scores"], channel_axes={"scores": 1})
    assert asked["scores"].channels is not None


def test_default_channel_axes() -> None:
    axes = sessions(encoder()).channel_axes()
    assert axes["normal"] == axes["query"] == -1
    assert sessions(conv_net()).channel_axes()["r1"] == 1


def test_nan_in_the_data_names_the_tensor() -> None:
    data = images()
    data.arrays["x"][3, 0, 0, 0] = np.nan
    with pytest.raises(DataError, match="'x' holds NaN"):
        collect(sessions(conv_net()), data, range(7), ["x", "y"])
    collect(sessions(conv_net()), data, [0, 1], ["x", "y"])


def test_refusals() -> None:
    with pytest.raises(DataError, match="at least one sample"):
        collect(sessions(conv_net()), images(), [], ["y"])
    with pytest.raises(ConfigError, match="batch size"):
        collect(sessions(conv_net()), images(), [0], ["y"], batch_size=0)
    with pytest.raises(ModelError, match="'nosuch'"):
        collect(sessions(conv_net()), images(), [0], ["nosuch"])
    with pytest.raises(ModelError, match="'w1'"):
        collect(sessions(conv_net()), images(), [0], ["w1"])
    with pytest.raises(ModelError, match="'label' is int64"):
        collect(sessions(conv_net()), images(), [0], ["label"])
    with pytest.raises(ModelError, match="'ids' is int64"):
        collect(sessions(encoder()), Sentences(), [0], ["ids"])
    with pytest.raises(DataError, match="lacks the model input 'x'"):
        collect(sessions(conv_net()), Arrays(z=np.ones((1, 2))), [0], ["x"])


def test_with_tensor_outputs_changes_only_the_outputs() -> None:
    model = conv_net()
    before = model.SerializeToString()
    changed = with_tensor_outputs(model, ["sum", "c1"])
    assert [(o.name, o.type.tensor_type.elem_type) for o in changed.graph.output] == [("sum", 1), ("c1", 1)]
    assert model.SerializeToString() == before
    assert list(changed.graph.node) == list(model.graph.node)
    assert list(changed.graph.initializer) == list(model.graph.initializer)


def test_types_behind_foreign_operators_are_left_to_the_runtime() -> None:
    nodes = [
        helper.make_node("FusedMatMul", ["x", "w"], ["product"], domain="com.microsoft"),
        helper.make_node("Relu", ["product"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [weight("w", 4, 3)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    found = collect(sessions(model), Arrays(x=np.ones((3, 4), np.float32)), range(3), ["product"])
    assert found["product"].count == 9


def test_memory_does_not_grow_with_the_number_of_samples() -> None:
    model = conv_net(size=128)

    class Endless:
        def inputs(self, indices: Sequence[int]) -> Feeds:
            return {"x": np.full((len(indices), 3, 128, 128), 0.5 + indices[0] * 1e-3, np.float32)}

    def peak_mb(samples: int) -> float:
        collect(sessions(model), Endless(), range(samples), ["c1", "r1", "sum"])
        gc.collect()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    few = peak_mb(3)
    # 200 samples of 1.2 MB of activations each.
    assert peak_mb(200) - few < 20
