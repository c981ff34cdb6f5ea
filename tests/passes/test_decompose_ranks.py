"""Ranks: the energy they keep, and which of them a latency staircase makes worth a trial."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autocompress.graph.index import GraphIndex
from autocompress.passes.decompose import METHODS, candidate_ranks, decomposable_layers, why_not, worthwhile_ranks
from autocompress.passes.decompose.energy import rank_energy, rank_for_energy
from autocompress.passes.decompose.layers import kernel_of

sys.path.append(str(Path(__file__).parent))
from layer_graphs import LayerGraph


def convolution(inputs, outputs, seed=0):
    g = LayerGraph(seed)
    g.output(g.op("Conv", g.input("x", inputs, 8, 8), g.random(outputs, inputs, 3, 3)))
    model = g.model()
    (layer,) = decomposable_layers(model)[0].values()
    return model, layer


@settings(max_examples=25, deadline=None)
@given(
    inputs=st.integers(2, 6),
    outputs=st.integers(2, 6),
    seed=st.integers(0, 9),
    method=st.sampled_from(list(METHODS)),
    whitened=st.booleans(),
)
def test_energy_rises_to_one(inputs, outputs, seed, method, whitened):
    model, layer = convolution(inputs, outputs, seed)
    rows = np.random.default_rng(seed).standard_normal((200, inputs * 9)) * np.geomspace(1, 0.1, inputs * 9)
    curves = rank_energy(model, layer, method, rows.T @ rows if whitened else None)
    assert [len(curve) for curve in curves] == list(METHODS[method].full_ranks(layer))
    for curve in curves:
        assert (np.diff(curve) >= 0).all()
        assert curve[-1] == pytest.approx(1)
        for energy in (0.5, 0.9, 1.0):
            rank = rank_for_energy(curve, energy)
            assert curve[rank - 1] >= energy - 1e-9
            assert rank == 1 or curve[rank - 2] < energy


def test_energy_is_what_the_output_keeps():
    model, layer = convolution(6, 8)
    kernel = kernel_of(layer, GraphIndex(model))
    rows = np.random.default_rng(1).standard_normal((300, 54))
    gram = rows.T @ rows
    (curve,) = rank_energy(model, layer, "svd", gram)
    for rank in (1, 3, 6):
        first, last = METHODS["svd"].factorize(kernel, (rank,), gram)
        left_over = kernel.reshape(8, -1) - last.reshape(8, rank) @ first.reshape(rank, -1)
        total = np.sum((kernel.reshape(8, -1) @ gram) * kernel.reshape(8, -1))
        assert 1 - np.sum((left_over @ gram) * left_over) / total == pytest.approx(curve[rank - 1], rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_candidates_save_and_fall(method):
    _, layer = convolution(48, 32)
    candidates = candidate_ranks(layer, method)
    assert len(candidates) > 2
    assert all(not why_not(layer, method, ranks) for ranks in candidates)
    assert all(max(ranks) % 8 == 0 for ranks in candidates)
    shares = [METHODS[method].relative_macs(layer, ranks) for ranks in candidates]
    assert shares == sorted(shares, reverse=True)


def test_only_the_highest_rank_of_each_step_is_proposed():
    prices = {40: 9.9, 32: 5.0, 28: 6.0, 24: 5.0, 16: 3.0, 12: 2.99, 8: 2.0}
    steps = worthwhile_ranks([(rank,) for rank in prices], lambda ranks: prices[ranks[0]], 9.0)
    assert [(step.ranks[0], step.latency_ms) for step in steps] == [(32, 5.0), (16, 3.0), (8, 2.0)]
    assert worthwhile_ranks([(8,)], lambda ranks: 9.5, 9.0) == ()
