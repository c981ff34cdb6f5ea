"""The size for transfer is what a decompressor would be sent, by an independent compressor."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from autocompress.graph.transfer_size import deflated_bytes, deflated_file_bytes

GZIP_WRAPPER, ZLIB_WRAPPER = 18, 6


def model(values: np.ndarray) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, values.shape[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, values.shape[1]])],
        [numpy_helper.from_array(values, "w")],
    )
    return helper.make_model(graph, ir_version=8)


def test_bytes_are_really_compressed() -> None:
    content = np.random.default_rng(0).integers(-3, 4, 40_000).astype(np.int8).tobytes()
    unwrapped = len(gzip.compress(content, 6, mtime=0)) - GZIP_WRAPPER
    assert deflated_bytes(content) - ZLIB_WRAPPER == unwrapped
    assert deflated_bytes(content) < 0.6 * len(content)


def test_external_data_counts(tmp_path: Path) -> None:
    values = np.random.default_rng(1).standard_normal((64, 96)).astype(np.float32)
    values[np.abs(values) < 1] = 0
    inside, outside = tmp_path / "inside.onnx", tmp_path / "outside.onnx"
    onnx.save(model(values), inside)
    onnx.save(model(values), outside, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert deflated_file_bytes(inside) == len(zlib.compress(inside.read_bytes(), 6))
    parts = [outside.read_bytes(), (tmp_path / "weights.bin").read_bytes()]
    assert deflated_file_bytes(outside) == sum(len(zlib.compress(part, 6)) for part in parts)
