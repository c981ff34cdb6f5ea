"""Pruning in rounds: what is judged in each, and that the numbers of channels stay those of the model given."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from autocompress.errors import RecipeError
from autocompress.graph.channels import ChannelAnalysis, analyse_channels
from autocompress.passes.prune import PruneConfig, prune, resolve
from autocompress.passes.prune.removal import without_units
from autocompress.passes.prune.rounds import kept_after_rounds
from autocompress.passes.prune.select import most_important

sys.path.append(str(Path(__file__).parent))
from layer_graphs import LayerGraph, run, samples
from prune_patterns import PATTERNS, chain

Kept = dict[str, np.ndarray]


def build(name: str) -> onnx.ModelProto:
    graph = LayerGraph(seed=len(name))
    PATTERNS[name][0](graph)
    return graph.model()


def gone(sizes: Mapping[str, int], kept: Kept) -> Kept:
    return {name: np.setdiff1d(np.arange(sizes[name]), own) for name, own in kept.items()}


@pytest.mark.parametrize("name", PATTERNS)
def test_rounds_end_at_the_model_that_their_choice_gives_at_once(name: str) -> None:
    model = build(name)
    analysis = analyse_channels(model)
    sizes = {group.name: group.size for group in analysis.groups}
    counts = {group: size - size // 3 for group, size in sizes.items() if size >= 3}
    if not counts:
        pytest.skip("no group is wide enough")
    rng = np.random.default_rng(3)
    last: list[onnx.ModelProto] = []

    def select(current: onnx.ModelProto, channels: ChannelAnalysis, wanted: Mapping[str, int]) -> Kept:
        groups = [group for group in channels.groups if group.name in wanted]
        assert len(groups) == len(wanted)
        found = {g.name: most_important(channels, g, rng.random(g.size), wanted[g.name]) for g in groups}
        last.append(without_units(current, channels, gone({g.name: g.size for g in groups}, found)))
        return found

    kept = kept_after_rounds(model, analysis, counts, 2, select, lambda smaller: smaller)
    assert {group: len(own) for group, own in kept.items()} == {g: n for g, n in counts.items() if n < sizes[g]}
    at_once = without_units(model, analysis, gone(sizes, kept))
    feeds = samples(model, 2)
    np.testing.assert_array_equal(run(last[-1], feeds), run(at_once, feeds))


def two_layers() -> onnx.ModelProto:
    graph = LayerGraph(seed=5)
    chain(graph)
    return graph.model()


def test_each_round_judges_the_recovered_weights() -> None:
    model = two_layers()
    name = analyse_channels(model).groups[0].name
    norms = np.abs(weight_of(model, name)).sum(axis=(1, 2, 3))
    order = np.argsort(norms)
    config = PruneConfig(((name, 0.25),), "l1", rounds=2)
    # Between the rounds the strongest channel loses its weights, so that it is the next to go.
    found = resolve(model, config, recovered=lambda smaller: without_the_strongest(smaller, name))
    assert set(found.kept[name].tolist()) == set(range(8)) - {int(order[0]), int(order[-1])}
    at_once = resolve(model, PruneConfig(((name, 0.25),), "l1"))
    assert set(at_once.kept[name].tolist()) == set(range(8)) - set(order[:2].tolist())
    smaller = prune(model, config, found)
    np.testing.assert_array_equal(weight_of(smaller, name), weight_of(model, name)[found.kept[name]])


def test_channels_go_in_equal_shares() -> None:
    model = two_layers()
    groups = analyse_channels(model).groups
    seen: list[list[int]] = []

    def select(current: onnx.ModelProto, channels: ChannelAnalysis, wanted: Mapping[str, int]) -> Kept:
        seen.append(list(wanted.values()))
        return {group: np.arange(count) for group, count in wanted.items()}

    counts = {groups[0].name: 2, groups[1].name: 5}  # of 8 and 6
    kept = kept_after_rounds(model, analyse_channels(model), counts, 3, select, lambda smaller: smaller)
    assert seen == [[6], [4], [2, 5]]
    assert [own.tolist() for own in kept.values()] == [[0, 1], [0, 1, 2, 3, 4]]


def test_a_model_that_does_not_keep_its_groups_is_refused() -> None:
    model = two_layers()
    name = analyse_channels(model).groups[0].name
    config = PruneConfig(((name, 0.5),), rounds=2)
    with pytest.raises(RecipeError, match=f"group '{name}' belong together in another way"):
        resolve(model, config, recovered=lambda smaller: model)
    with pytest.raises(RecipeError, match="rounds need samples"):
        resolve(model, config)


def test_one_round_is_what_recipes_had_before() -> None:
    plain = PruneConfig((("a", 0.5),))
    assert "rounds" not in plain.to_dict() and PruneConfig.from_dict(plain.to_dict()) == plain
    several = PruneConfig((("a", 0.5),), rounds=3)
    assert several.to_dict()["rounds"] == 3 and PruneConfig.from_dict(several.to_dict()) == several
    for broken in ({"rounds": 0}, {"rounds": True}, {"rounds": 2.0}, {"rounds": 101}):
        with pytest.raises(RecipeError, match="rounds is"):
            PruneConfig.from_dict(broken)
    with pytest.raises(RecipeError, match="says the same in every round"):
        PruneConfig((("a", 0.5),), "batch_norm_scale", rounds=2)


def weight_of(model: onnx.ModelProto, layer: str) -> np.ndarray:
    name = next(node.input[1] for node in model.graph.node if node.name == layer)
    return next(numpy_helper.to_array(w) for w in model.graph.initializer if w.name == name)


def without_the_strongest(model: onnx.ModelProto, layer: str) -> onnx.ModelProto:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    name = next(node.input[1] for node in changed.graph.node if node.name == layer)
    tensor = next(w for w in changed.graph.initializer if w.name == name)
    values = numpy_helper.to_array(tensor).copy()
    values[np.abs(values).sum(axis=(1, 2, 3)).argmax()] = 1e-6
    tensor.CopyFrom(numpy_helper.from_array(values, name))
    return changed
