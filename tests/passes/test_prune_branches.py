"""Residual branches: which there are, and what is left without them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from autocompress.errors import RecipeError
from autocompress.graph.channels import analyse_channels
from autocompress.passes.prune import PruneConfig, PrunePayload, prune, resolve
from autocompress.passes.prune.branches import find_branches, without_branches

sys.path.append(str(Path(__file__).parent))
from layer_graphs import LayerGraph, batches_of, run, samples
from prune_patterns import conv, image, neurons


def blocks(graph: LayerGraph, count: int = 3) -> None:
    """Blocks whose branches add to what a Relu gave."""
    x = graph.op("Relu", conv(graph, image(graph), 3, 8))
    for _ in range(count):
        y = conv(graph, graph.op("Relu", conv(graph, x, 8, 6)), 6, 8)
        x = graph.op("Relu", graph.op("Add", y, x))
    graph.output(conv(graph, x, 8, 2))


def model_of(make: object) -> onnx.ModelProto:
    graph = LayerGraph()
    make(graph)  # type: ignore[operator]
    return graph.model()


def with_silent_branches(model: onnx.ModelProto, names: set[str]) -> onnx.ModelProto:
    """The same model, in which what branches add is zero."""
    silent = onnx.ModelProto()
    silent.CopyFrom(model)
    adds = {node.input[0] for node in silent.graph.node if node.name in names}
    last = {name for node in silent.graph.node if set(node.output) & adds for name in node.input[1:]}
    for weight in silent.graph.initializer:
        if weight.name in last:
            weight.CopyFrom(onnx.numpy_helper.from_array(np.zeros(weight.dims, np.float32), weight.name))
    return silent


def test_branches_are_found_with_what_goes_with_them() -> None:
    model = model_of(blocks)
    found = find_branches(model)
    adds = [node.name for node in model.graph.node if node.op_type == "Add"]
    assert list(found) == adds and len(adds) == 3
    kinds = {node.name: node.op_type for node in model.graph.node}
    assert sorted(kinds[name] for name in found[adds[1]].nodes) == ["Add", "Conv", "Conv", "Relu"]


@pytest.mark.parametrize("chosen", [(1,), (0, 2), (0, 1, 2)])
def test_without_a_branch_it_adds_nothing(chosen: tuple[int, ...]) -> None:
    model = model_of(blocks)
    names = [list(find_branches(model))[i] for i in chosen]
    left = without_branches(model, names)
    onnx.checker.check_model(left, full_check=True)
    feeds = samples(model)
    np.testing.assert_allclose(
        run(left, feeds), run(with_silent_branches(model, set(names)), feeds), rtol=1e-5, atol=1e-6
    )
    count = {kind: sum(node.op_type == kind for node in left.graph.node) for kind in ("Conv", "Relu")}
    # The Relu behind the sum goes too: its input has been through one.
    assert count == {"Conv": 8 - 2 * len(names), "Relu": 7 - 2 * len(names)}


def test_a_transformer_block_is_a_branch() -> None:
    model = model_of(lambda graph: (neurons(graph), graph.output(graph.op("Relu", graph.outputs.pop()))))
    (branch,) = find_branches(model).values()
    left = without_branches(model, [branch.name])
    assert not [node for node in left.graph.node if node.op_type == "MatMul"]


def test_sums_of_other_things_are_no_branches() -> None:
    def parallel(graph: LayerGraph) -> None:
        x = image(graph)
        y = graph.op("Add", conv(graph, x, 3, 8), conv(graph, x, 3, 8))
        graph.output(conv(graph, y, 8, 2))

    def broadcast(graph: LayerGraph) -> None:
        x = graph.op("Relu", conv(graph, image(graph), 3, 8))
        y = graph.op("Add", x, graph.op("GlobalAveragePool", conv(graph, x, 8, 8)))
        graph.output(conv(graph, y, 8, 2))

    def at_the_output(graph: LayerGraph) -> None:
        x = conv(graph, image(graph), 3, 8)
        graph.output(graph.op("Add", x, conv(graph, x, 8, 8)))

    for make in (parallel, broadcast, at_the_output):
        assert not find_branches(model_of(make))


def test_branches_go_before_channels() -> None:
    model = model_of(blocks)
    add = next(iter(find_branches(model)))
    gone = find_branches(model)[add].nodes
    stream = next(g for g in analyse_channels(model).groups if len(g.layers) > 1)
    config = PruneConfig(((stream.name, 0.25),), "l2", branches=(add, add))
    assert config.branches == (add,) and PruneConfig.from_dict(config.to_dict()) == config
    assert "branches" not in PruneConfig().to_dict()
    payload = resolve(model, config, batches_of(samples(model)))
    smaller = prune(model, config, payload)
    assert not gone & {node.name for node in smaller.graph.node}
    assert [w.dims[0] for w in smaller.graph.initializer if list(w.dims)[1:] == [3, 3, 3]] == [6]
    inside = next(g.name for g in analyse_channels(model).groups if set(g.layers) <= gone)
    with pytest.raises(RecipeError, match="no group"):
        resolve(model, PruneConfig(((inside, 0.5),), "l2", branches=(add,)))


def test_what_is_no_branch_is_refused() -> None:
    model = model_of(blocks)
    with pytest.raises(RecipeError, match="adds no residual branch"):
        prune(model, PruneConfig(branches=("nothing",)), PrunePayload())
    for broken in ("Add_1", [1], {"a": 1}, None):
        with pytest.raises(RecipeError, match="branches"):
            PruneConfig.from_dict({"branches": broken})
