"""Every coupled pattern: removing channels agrees with zeroing them, and what is left runs everywhere."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from autocompress.graph.channels import analyse_channels
from autocompress.passes.prune.removal import with_zeroed_units, without_units
from autocompress.runtimes import get_runtime
from autocompress.runtimes.protocol import SessionOptions

sys.path.append(str(Path(__file__).parent))
from layer_graphs import LayerGraph, run, samples
from prune_patterns import PATTERNS

# Removing leaves sums of fewer, equal numbers in another order: a few roundings of float32.
ROUNDING = {"rtol": 2e-5, "atol": 2e-6}


def build(name: str) -> onnx.ModelProto:
    graph = LayerGraph(seed=len(name))
    PATTERNS[name][0](graph)
    return graph.model()


def some_units(analysis, seed: int) -> dict[str, np.ndarray]:
    """Of each group a third, at least one."""
    rng = np.random.default_rng(seed)
    return {group.name: np.sort(rng.permutation(group.size)[: max(1, group.size // 3)]) for group in analysis.groups}


@pytest.mark.parametrize("name", PATTERNS)
def test_removing_agrees_with_zeroing(name: str) -> None:
    model = build(name)
    analysis = analyse_channels(model)
    assert [group.size for group in analysis.groups] == PATTERNS[name][1], [b.reason for b in analysis.blocked]
    feeds = samples(model, 2)
    before = run(model, feeds)
    choices = [{group.name: np.array([group.size - 1])} for group in analysis.groups if group.readers]
    for removed in [*choices, some_units(analysis, 0)]:
        zeroed, smaller = with_zeroed_units(model, analysis, removed), without_units(model, analysis, removed)
        onnx.checker.check_model(smaller, full_check=True)
        np.testing.assert_allclose(run(smaller, feeds), run(zeroed, feeds), **ROUNDING)
        assert np.abs(run(zeroed, feeds) - before).max() > 1e-4, "the units removed did something"
        assert weight_elements(smaller) < weight_elements(model)
        # Channels whose weights are zero change nothing: removing them from the zeroed model gives its output.
        again = without_units(zeroed, analyse_channels(zeroed), removed)
        np.testing.assert_allclose(run(again, feeds), run(zeroed, feeds), **ROUNDING)


def test_pruned_models_run_in_openvino() -> None:
    openvino = get_runtime("openvino")
    for name in ("residual", "channel shuffle", "attention", "grouped", "counted attention", "recurrent"):
        model = build(name)
        analysis = analyse_channels(model)
        smaller = without_units(model, analysis, some_units(analysis, 1))
        feeds = samples(model, 2)
        session = openvino.load(smaller.SerializeToString(), SessionOptions(threads=1))
        found = next(iter(session.run(feeds).values()))
        np.testing.assert_allclose(found, run(smaller, feeds), rtol=1e-3, atol=1e-4)


def weight_elements(model: onnx.ModelProto) -> int:
    return sum(int(np.prod(weight.dims)) for weight in model.graph.initializer)
