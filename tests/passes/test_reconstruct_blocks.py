"""Blocks are found where one tensor carries everything, and rounding them together gains on layer by layer."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autocompress.passes.reconstruct.blocks import Block, find_blocks

sys.path.append(str(Path(__file__).parent))
from quantize_models import FloatGraph, Study
from reconstruct_models import QUICK, W4A8, candidate, correlated, output_error, reconstruct

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
BLOCKS = replace(QUICK, method="block", iterations=60)


def residual_network(seed: int = 1, *, branches: int = 2) -> Study:
    """A stem, residual branches of three convolutions (one depthwise), a classifier."""
    graph = FloatGraph(seed=seed)
    x = graph.op("Relu", graph.conv(graph.input("x", 6, 8, 8), 6, 8))
    for _ in range(branches):
        y = graph.op("Relu", graph.conv(x, 8, 16, 1))
        y = graph.op("Relu", graph.conv(y, 16, 16, group=16))
        x = graph.op("Add", graph.conv(y, 16, 8, 1), x)
    pooled = graph.op("Flatten", graph.op("GlobalAveragePool", x))
    graph.output(graph.op("Gemm", pooled, graph.random(8, 5), graph.random(5)))
    return Study(graph.model(), {"x": correlated(np.random.default_rng(seed), 32, 6, 8, 8)})


def test_residual_branches_are_not_cut() -> None:
    study = residual_network()
    model = study.builder.prepared
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    gemm = next(node.name for node in model.graph.node if node.op_type == "Gemm")
    adds = [node.name for node in model.graph.node if node.op_type == "Add"]
    blocks = find_blocks(model, {*convolutions, gemm})
    assert blocks == [
        Block("", adds[0], tuple(convolutions[:4])),
        Block(adds[0], adds[1], tuple(convolutions[4:])),
        Block(adds[1], gemm, (gemm,)),
    ]


def two_ends() -> Study:
    """Layers that a mask passes by, then two more that give a result each."""
    graph = FloatGraph()
    mask = graph.op("Neg", graph.input("m", 4))
    x = graph.input("x", 4)
    for _ in range(4):
        x = graph.op("Add", graph.op("Gemm", x, graph.random(4, 4)), mask)
    left, right = graph.op("Gemm", x, graph.random(4, 4)), graph.op("Gemm", x, graph.random(4, 4))
    graph.output(left, right)
    rng = np.random.default_rng(0)
    return Study(graph.model(), {name: rng.standard_normal((32, 4)).astype(np.float32) for name in ("m", "x")})


def test_a_mask_may_pass_by_but_two_results_may_not() -> None:
    model = two_ends().builder.prepared
    gemms = [node.name for node in model.graph.node if node.op_type == "Gemm"]
    blocks = find_blocks(model, gemms)
    assert [block.layers for block in blocks] == [tuple(gemms[:3])]


def test_layers_in_no_block_are_rounded_too() -> None:
    study = two_ends()
    found = reconstruct(study, W4A8, replace(BLOCKS, iterations=20))
    assert list(found.errors) == [node.name for node in study.builder.prepared.graph.node if node.op_type == "Gemm"]


@pytest.mark.parametrize("drop", [0.0, 0.5])
def test_blocks_gain_on_layers(drop: float) -> None:
    """Layers that saw hardly any rows leave much to gain."""
    few = replace(BLOCKS, max_rows=8, drop_probability=drop)
    study = residual_network(branches=1)
    (block,) = [node for node in study.builder.prepared.graph.node if node.op_type == "Add"]
    by_layer = reconstruct(study, W4A8, replace(few, method="adaround"))
    by_block = reconstruct(study, W4A8, few)
    before, after = (
        output_error(study, candidate(study, W4A8, found), block.output[0]) for found in (by_layer, by_block)
    )
    assert after < 0.9 * before
    assert by_block.integers.keys() == by_layer.integers.keys()
    assert any(not np.array_equal(by_block.integers[name], by_layer.integers[name]) for name in by_layer.integers)


def test_a_block_that_finds_nothing_better_stays_as_it_was() -> None:
    study = residual_network(branches=1)
    steps = replace(QUICK, iterations=50)
    by_layer = reconstruct(study, W4A8, steps)
    bad = replace(steps, method="block", learning_rate=300.0)
    rough = reconstruct(study, W4A8, replace(steps, learning_rate=300.0))
    by_block = reconstruct(study, W4A8, bad)
    assert by_layer.integers.keys() == by_block.integers.keys()
    for name, integers in rough.integers.items():
        np.testing.assert_array_equal(by_block.integers[name], integers)
