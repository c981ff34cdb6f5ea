import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from autocompress.data import ModelInput, spool


@pytest.fixture(autouse=True)
def cache_dir(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv(spool.CACHE_VARIABLE, str(folder))
    return folder


class OrtSession:
    """A model in the real ONNX Runtime."""

    def __init__(self, model):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._names = [output.name for output in self._session.get_outputs()]
        self.inputs = [ModelInput(i.name, "float32", tuple(i.shape)) for i in self._session.get_inputs()]
        self.runs = 0

    def run(self, feeds):
        self.runs += 1
        return dict(zip(self._names, self._session.run(None, dict(feeds)), strict=True))


@pytest.fixture
def linear():
    """Makes a session of y = x W (and more outputs), x of shape (batch, features)."""

    def make(*weights, batch="N"):
        features = weights[0].shape[0]
        nodes, outputs, constants = [], [], []
        for k, weight in enumerate(weights):
            constants.append(numpy_helper.from_array(weight.astype(np.float32), f"w{k}"))
            nodes.append(helper.make_node("MatMul", ["x", f"w{k}"], [f"y{k}"]))
            outputs.append(helper.make_tensor_value_info(f"y{k}", TensorProto.FLOAT, [batch, weight.shape[1]]))
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, features])
        graph = helper.make_graph(nodes, "linear", [x], outputs, constants)
        return OrtSession(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))

    return make


@pytest.fixture
def nonzero():
    """A session of y = NonZero(x)^T, whose output's size depends on the sample."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 6])
    y = helper.make_tensor_value_info("y", TensorProto.INT64, ["k", 2])
    nodes = [helper.make_node("NonZero", ["x"], ["t"]), helper.make_node("Transpose", ["t"], ["y"])]
    graph = helper.make_graph(nodes, "nonzero", [x], [y])
    return OrtSession(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
