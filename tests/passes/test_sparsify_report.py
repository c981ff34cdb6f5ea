"""What a sparse model reports: zeros by part, and bytes."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from autocompress.calibration.scheme import Scheme, dequantize, quantize
from autocompress.calibration.weights import weight_scales
from autocompress.graph.model import load_model, model_bytes, save_model
from autocompress.graph.normalize import normalize
from autocompress.passes.sparsify import report, stored_size, with_sparse_storage
from autocompress.passes.sparsify.report import total_sparsity

sys.path.append(str(Path(__file__).parent))
from layer_graphs import LayerGraph, run, samples


def sparse_model(share=0.9):
    g = LayerGraph()
    weight = g.rng.standard_normal((64, 32, 3, 3)).astype(np.float32)
    weight[g.rng.random(weight.shape) < share] = 0
    weight[:4] = 0
    g.output(g.op("Conv", g.input("x", 32, 8, 8), g.constant(weight), g.random(64)))
    return g.model()


def test_zeros_by_part():
    g = LayerGraph()
    weight = np.ones((4, 8, 3, 3), np.float32)
    weight[1] = 0  # an output channel
    weight[:, 2] = 0  # an input channel
    weight[0, 0] = 0  # a kernel
    weight[3, 7, 1, 1] = 0  # an element
    g.output(g.op("Conv", g.input("x", 8, 5, 5), g.constant(weight)))
    (row,) = report(g.model())
    assert (row.elements, row.nonzero) == (288, int(np.count_nonzero(weight)))
    assert row.element == pytest.approx(1 - np.count_nonzero(weight) / 288)
    assert (row.row, row.channel) == (0.25, 0.125)
    assert row.kernel == pytest.approx((8 + 3 + 1) / 32)
    assert (row.block, row.patterns) == (0.0, ())


def test_patterns_and_blocks():
    g = LayerGraph()
    weight = np.zeros((8, 8), np.float32)
    weight[::4, 4:] = 1
    g.output(g.op("MatMul", g.input("x", 8), g.constant(weight)))
    (row,) = report(g.model())
    assert row.patterns == ("2:4", "1:4")
    assert row.block == 0.5


def test_quantized_zeros_are_those_at_the_zero_point():
    g = LayerGraph()
    quantized = g.constant(np.array([[3, 7, 3], [0, 5, 5]], np.uint8))
    weight = g.op(
        "DequantizeLinear",
        quantized,
        g.constant(np.ones(2, np.float32)),
        g.constant(np.array([3, 5], np.uint8)),
        axis=0,
    )
    g.output(g.op("Gemm", g.input("x", 3), weight, transB=1))
    (row,) = report(normalize(load_model(g.raw())))
    assert (row.nonzero, row.elements) == (2, 6)
    assert total_sparsity((row, row)) == pytest.approx(4 / 6)


def test_sizes_are_those_of_files(tmp_path):
    model = sparse_model()
    size = stored_size(model)
    save_model(model, tmp_path / "plain.onnx")
    assert size.file_bytes == (tmp_path / "plain.onnx").stat().st_size
    save_model(with_sparse_storage(model), tmp_path / "sparse.onnx")
    assert size.sparse_file_bytes == (tmp_path / "sparse.onnx").stat().st_size
    assert size.deflate_bytes == pytest.approx(len(gzip.compress(model_bytes(model), 6)), abs=30)
    weight = numpy_helper.to_array(next(w for w in model.graph.initializer if len(w.dims) == 4))
    packed = np.packbits(weight != 0).tobytes() + weight[weight != 0].tobytes()
    assert size.bitmask_bytes == size.file_bytes - weight.nbytes + len(packed)
    assert size.bitmask_bytes < size.deflate_bytes < size.file_bytes
    assert size.sparse_file_bytes < 0.4 * size.file_bytes


def test_a_sparse_file_runs_and_is_the_same_model():
    model = sparse_model()
    stored = with_sparse_storage(model)
    onnx.checker.check_model(stored)
    assert len(stored.graph.sparse_initializer) == 1
    feeds = samples(model)
    np.testing.assert_array_equal(run(stored, feeds), run(model, feeds))
    dense = normalize(load_model(stored))
    for weight in model.graph.initializer:
        found = next(w for w in dense.graph.initializer if w.name == weight.name)
        np.testing.assert_array_equal(numpy_helper.to_array(found), numpy_helper.to_array(weight))


def test_dense_weights_are_not_stored_sparse():
    model = sparse_model(share=0.3)
    assert model_bytes(with_sparse_storage(model)) == model_bytes(model)
    size = stored_size(model)
    assert size.sparse_file_bytes == size.file_bytes


@pytest.mark.parametrize("granularity", ["per_tensor", "per_channel"])
@pytest.mark.parametrize(("dtype", "symmetric"), [("int8", True), ("uint8", False), ("int4", True), ("uint4", False)])
def test_zeros_survive_quantization(dtype, symmetric, granularity):
    (weight,) = (numpy_helper.to_array(w) for w in sparse_model().graph.initializer if len(w.dims) == 4)
    axis = 0 if granularity == "per_channel" else None
    scheme = Scheme(dtype=dtype, symmetric=symmetric, granularity=granularity, axis=axis)
    for algorithm in ("abs_max", "min_max", "mse", "percentile"):
        scales, zero_points = weight_scales(weight, scheme, algorithm)
        values = quantize(weight, scales, zero_points, scheme)
        restored = dequantize(values, scales, zero_points, scheme)
        assert (restored[weight == 0] == 0).all()
        assert np.count_nonzero(restored) > 0.5 * np.count_nonzero(weight)
