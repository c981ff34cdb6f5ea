"""Models that offer nothing to compress come out as they came in, with the reason, a document and exit code 3."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from small_world import digest, images, save_graph


def quantized_outside(home) -> str:
    """A quantized model whose weights lie in a file of their own."""
    path = home.folder / "q.onnx"
    scale, zero = (numpy_helper.from_array(np.array(v), n) for v, n in ((np.float32(0.05), "s"), (np.uint8(128), "z")))
    weight = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.uint8), "w")
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["f"]),
        helper.make_node("Conv", ["d", "f"], ["y"]),
    ]
    save_graph(path, nodes, [scale, zero, weight], {"x": (1, 3, 16, 16)}, {"y": (1, 4, 14, 14)})
    onnx.save(onnx.load(path), path, save_as_external_data=True, size_threshold=0, location="weights/w.bin")
    return "quantized already"


def without_weights(home) -> str:
    pool = helper.make_node("GlobalAveragePool", ["x"], ["y"])
    save_graph(home.folder / "q.onnx", [pool], [], {"x": (1, 3, 16, 16)}, {"y": (1, 3, 1, 1)})
    return "no weights"


def without_quantizable_operator(home) -> str:
    weight = numpy_helper.from_array(np.ones((3, 8, 4, 4), np.float32), "w")
    grow = helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2])
    save_graph(home.folder / "q.onnx", [grow], [weight], {"x": (1, 3, 16, 16)}, {"y": (1, 8, 34, 34)})
    return "no operator"


@pytest.mark.parametrize(
    "make",
    [quantized_outside, without_weights, pytest.param(without_quantizable_operator, marks=pytest.mark.slow)],
)
def test_comes_out_unchanged(home, make):
    (home.folder / "weights").mkdir()
    reason = make(home)
    np.savez(home.folder / "d.npz", x=images(20))
    done = home.shell.call_here("run", "q.onnx", *home.short()[1:], "--quiet", "--workers", "0")
    assert done.code == 3, done.err
    assert reason in done.out
    assert "unchanged" in done.out
    result = home.old_result
    assert digest(result / "best.onnx") == digest(home.folder / "q.onnx")
    onnxruntime.InferenceSession(result / "best.onnx", providers=["CPUExecutionProvider"])
    summary = (result / "summary.json").read_text()
    assert '"target_met": false' in summary
    assert reason in summary
