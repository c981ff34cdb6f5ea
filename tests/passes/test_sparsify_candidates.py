"""What patterns would do to layers: bytes by really compressing them, errors by really running them."""

from __future__ import annotations

import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper

from autocompress.passes.sparsify import SparsifyConfig, resolve, sparsifiable_layers, sparsify
from autocompress.passes.sparsify.candidates import candidates, compressed_bytes
from autocompress.passes.sparsify.norms import input_norms
from autocompress.recipe.builder import prepare

sys.path.append(str(Path(__file__).parent))
from layer_graphs import batches_of, run
from quantize_models import FloatGraph

PATTERNS = ("unstructured@0.3", "unstructured@0.5", "unstructured@0.8", "2:4", "1:4")


def network():
    graph = FloatGraph(3)
    x = graph.op("Relu", graph.conv(graph.input("x", 8, 6, 6), 8, 32))
    graph.output(graph.op("Gemm", graph.op("Flatten", graph.op("GlobalAveragePool", x)), graph.random(32, 24)))
    return prepare(graph.model())


MODEL = network()
FEEDS = {"x": np.random.default_rng(0).standard_normal((24, 8, 6, 6)).astype(np.float32)}
LAYERS, _ = sparsifiable_layers(MODEL)
NORMS = input_norms(MODEL, LAYERS, batches_of(FEEDS))


@pytest.mark.parametrize("criterion", ["magnitude", "wanda"])
def test_from_mild_to_strong_and_none_is_beaten_in_both(criterion):
    found = candidates(LAYERS, PATTERNS, criterion, NORMS, int8=True)
    assert {c.layer for c in found} == set(LAYERS)
    for name in LAYERS:
        own = [c for c in found if c.layer == name]
        assert [c.error for c in own] == sorted(c.error for c in own)
        assert [c.saved_bytes for c in own] == sorted({c.saved_bytes for c in own})
        # Zeros at any place lose less than the same number in fixed places, and compress alike.
        assert own[-1].pattern == "unstructured@0.8"


def test_patterns_with_a_colon_are_all_there_where_nothing_else_is_asked_for():
    found = candidates(LAYERS, ("2:4", "1:4"), "wanda", NORMS, int8=True)
    assert [c.pattern for c in found] == ["2:4", "1:4"] * len(LAYERS)


def test_saved_bytes_are_those_of_the_quantized_weights():
    found = candidates(LAYERS, ("unstructured@0.8",), "wanda", NORMS, int8=True)
    (candidate,) = (c for c in found if LAYERS[c.layer].node.op_type == "Conv")
    config = SparsifyConfig(((candidate.layer, candidate.pattern),), "wanda")
    sparse = sparsify(MODEL, config, resolve(MODEL, config, batches_of(FEEDS)))

    def packed(model):
        weight = next(w for w in model.graph.initializer if w.name == LAYERS[candidate.layer].weight)
        values = numpy_helper.to_array(weight).astype(np.float64)
        scale = np.abs(values).max(axis=(1, 2, 3), keepdims=True) / 127
        return len(zlib.compress(np.rint(values / scale).astype(np.int8).tobytes(), 6))

    assert candidate.saved_bytes == packed(MODEL) - packed(sparse)
    assert compressed_bytes(LAYERS[candidate.layer], None, int8=False) > 2 * packed(MODEL)


def test_errors_are_near_those_of_the_layers_output():
    # The last layer's own error is that of the model's output, but for inputs that go together.
    name = list(LAYERS)[-1]
    found = [c for c in candidates(LAYERS, PATTERNS[:3], "wanda", NORMS, int8=True) if c.layer == name]
    wanted = run(MODEL, FEEDS)
    for candidate in found:
        config = SparsifyConfig(((name, candidate.pattern),), "wanda")
        sparse = sparsify(MODEL, config, resolve(MODEL, config, batches_of(FEEDS)))
        got = run(sparse, FEEDS)
        assert 0.1 * candidate.error < ((got - wanted) ** 2).sum() / (wanted**2).sum() < 10 * candidate.error


def test_known_norms_give_the_same_masks():
    config = SparsifyConfig(tuple((name, "2:4") for name in LAYERS), "wanda")
    own, given = resolve(MODEL, config, batches_of(FEEDS)), resolve(MODEL, config, batches_of(FEEDS), norms=NORMS)
    assert all((own.masks[name] == given.masks[name]).all() for name in LAYERS)
