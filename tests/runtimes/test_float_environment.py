from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from autocompress.runtimes import get_runtime
from autocompress.runtimes.float_environment import _libm, flushed_denormals, kept_float_environment

TINY = np.float32(1e-40)


def _doubled() -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def test_the_callers_arithmetic_stays_as_it_was():
    session = get_runtime("onnxruntime").load(_doubled())
    assert TINY + TINY > 0
    session.run({"x": np.full(4, TINY)})
    session.time_runs({"x": np.full(4, TINY)}, 3)
    assert TINY + TINY > 0
    assert np.full(4, TINY).sum() > 0


def test_denormals_are_flushed_while_a_model_runs():
    result = get_runtime("onnxruntime").load(_doubled()).run({"x": np.full(4, TINY)})["y"]
    flushed = _libm() is not None
    assert (result.view(np.uint32) == 0).all() == flushed


def test_environments_nest():
    with kept_float_environment():
        with flushed_denormals():
            assert (TINY + TINY == 0) == (_libm() is not None)
        assert TINY + TINY > 0
    assert TINY + TINY > 0
