"""Zeros of a sparse model are still zeros after its weights were rounded by what that does to outputs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from autocompress.passes.quantize import QuantizeConfig
from autocompress.passes.reconstruct import ReconstructConfig
from autocompress.passes.sparsify import SparsifyConfig, resolve, sparsify

sys.path.append(str(Path(__file__).parent))
from quantize_models import FloatGraph, Study
from reconstruct_models import correlated, in_batches, reconstruct

CONFIG = QuantizeConfig(weight_dtype="int4")


def sparse_study() -> tuple[Study, dict[str, np.ndarray]]:
    """A model with 2:4 weights, and which weights of it are zero."""
    graph = FloatGraph(9)
    x = graph.op("Relu", graph.conv(graph.input("x", 8, 6, 6), 8, 16))
    graph.output(graph.op("Relu", graph.conv(x, 16, 16)))
    model = Study(graph.model()).builder.prepared
    layers = tuple((node.name, "2:4") for node in model.graph.node if node.op_type == "Conv")
    config = SparsifyConfig(layers)
    payload = resolve(model, config, in_batches({}))
    study = Study(sparsify(model, config, payload), {"x": correlated(np.random.default_rng(0), 16, 8, 6, 6)})
    weights = {node.input[1]: ~payload.masks[node.name] for node in model.graph.node if node.op_type == "Conv"}
    return study, weights


@pytest.mark.parametrize("method", ["adaround", "gptq", "block"])
def test_zeros_stay_zero(method: str) -> None:
    study, zeros = sparse_study()
    found = reconstruct(study, CONFIG, ReconstructConfig(method=method, iterations=100, batch_rows=64))
    assert set(found.integers) == set(zeros)
    for name, integers in found.integers.items():
        assert (np.asarray(integers)[zeros[name]] == 0).all()
        assert np.count_nonzero(np.asarray(integers)) > 0.25 * integers.size
