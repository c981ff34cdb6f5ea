"""The pruning step: configuration, criteria, what is refused, widths, and random graphs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from autocompress.errors import ConfigError, RecipeError
from autocompress.graph.channels import analyse_channels, macs_shares
from autocompress.graph.cost import model_cost
from autocompress.graph.index import GraphIndex
from autocompress.graph.model import model_bytes
from autocompress.graph.normalize import normalize
from autocompress.graph.shapes import bind
from autocompress.passes.fold import fold
from autocompress.passes.prune import (
    CRITERIA,
    PruneConfig,
    PrunePayload,
    candidate_widths,
    executed_prices,
    mask,
    prune,
    resolve,
    width_steps,
    worthwhile_widths,
)
from autocompress.passes.prune.criteria import Scoring
from autocompress.passes.prune.removal import with_zeroed_units, without_units
from autocompress.runtimes import get_runtime

sys.path.append(str(Path(__file__).parent))
from layer_graphs import LayerGraph, batches_of, run, samples
from prune_patterns import conv, image, linear, residual, shuffled, tokens

ROUNDING = {"rtol": 2e-5, "atol": 2e-6}


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    graph = LayerGraph()
    residual(graph)
    return graph.model()


def test_config_survives_its_form_and_refuses_nonsense() -> None:
    config = PruneConfig((("b", 0.5), ("a", 0.25), ("c", 0.0)), "l1")
    assert config.ratios == (("a", 0.25), ("b", 0.5))
    assert PruneConfig.from_dict(config.to_dict()) == config
    for broken in (
        {"ratios": {"a": 1.0}}, {"ratios": {"a": -0.1}}, {"ratios": {"a": float("nan")}}, {"criterion": "best"},
        {"ratio": 1}, {"ratios": [1]},
    ):  # fmt: skip
        with pytest.raises(RecipeError, match="prune step"):
            PruneConfig.from_dict(broken)
    with pytest.raises(RecipeError, match="twice"):
        PruneConfig((("a", 0.5), ("a", 0.25)))


def test_payload_survives_its_form() -> None:
    payload = PrunePayload({"a": np.array([0, 2, 5])})
    np.testing.assert_array_equal(PrunePayload.from_arrays(payload.to_arrays()).kept["a"], [0, 2, 5])
    for broken in (np.array([2, 1]), np.array([0.5]), np.array([-1, 3])):
        with pytest.raises(RecipeError, match="malformed"):
            PrunePayload.from_arrays({"a": broken})


@pytest.mark.parametrize("criterion", [name for name in CRITERIA if name != "batch_norm_scale"])
def test_every_criterion_drops_the_channel_that_does_nothing(model: onnx.ModelProto, criterion: str) -> None:
    if criterion == "taylor":
        import torch

        torch.set_num_threads(1)
    analysis = analyse_channels(model)
    dead = {group.name: np.array([2]) for group in analysis.groups}
    zeroed = with_zeroed_units(model, analysis, dead)
    config = PruneConfig(tuple((group.name, 1 / group.size) for group in analysis.groups), criterion)
    feeds = samples(zeroed, 4)
    payload = resolve(zeroed, config, batches_of(feeds))
    if criterion == "geometric_median":  # a zero filter is no duplicate of another one
        assert all(
            len(kept) == group.size - 1 for group, kept in zip(analysis.groups, payload.kept.values(), strict=True)
        )
        return
    for group in analysis.groups:
        np.testing.assert_array_equal(payload.kept[group.name], np.setdiff1d(np.arange(group.size), [2]))
    np.testing.assert_allclose(run(prune(zeroed, config, payload), feeds), run(zeroed, feeds), **ROUNDING)


def test_geometric_median_drops_the_filter_in_the_middle() -> None:
    graph = LayerGraph()
    graph.output(conv(graph, conv(graph, image(graph), 3, 5, bias=False), 5, 2))
    built = graph.raw()
    weight = next(w for w in built.graph.initializer if list(w.dims) == [5, 3, 3, 3])
    values = np.random.default_rng(0).standard_normal((5, 3, 3, 3)).astype(np.float32) * 5
    values[1] = values[[0, 2, 3, 4]].mean(axis=0)
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    built = fold(normalize(built))
    config = PruneConfig(((analyse_channels(built).groups[0].name, 0.2),), "geometric_median")
    assert next(iter(resolve(built, config).kept.values())).tolist() == [0, 2, 3, 4]


def test_norms_are_those_of_the_weights(model: onnx.ModelProto) -> None:
    analysis = analyse_channels(model)
    inner = analysis.groups[1]
    weight = GraphIndex(model).weight(model.graph.node[2].input[1]).astype(np.float64)
    assert inner.layers == (model.graph.node[2].name,)
    expected = np.abs(weight).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(
        CRITERIA["l1"](Scoring(model, analysis, (inner,)))[inner.name], expected / expected.mean()
    )


def test_reconstruction_is_what_the_next_layer_loses(model: onnx.ModelProto) -> None:
    analysis = analyse_channels(model)
    inner = analysis.groups[1]
    feeds = samples(model, 4)
    scores = CRITERIA["reconstruction"](Scoring(model, analysis, (inner,), batches_of(feeds)))[inner.name]
    reader = inner.readers[0]
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    node = next(node for node in bare.graph.node if node.name == reader)
    del node.input[2:]
    node_output = node.output[0]
    del bare.graph.output[:]
    bare.graph.output.append(helper.make_tensor_value_info(node_output, 1, None))
    before = run(bare, feeds).astype(np.float64)
    lost = []
    for unit in range(inner.size):
        zeroed = with_zeroed_units(bare, analysis, {inner.name: np.array([unit])})
        lost.append(((run(zeroed, feeds) - before) ** 2).mean() / (before**2).mean())
    np.testing.assert_allclose(scores, lost, rtol=1e-3)


def test_batch_norm_scale_reads_the_model_before_folding() -> None:
    graph = LayerGraph()
    x = conv(graph, image(graph), 3, 6, bias=False)
    scale = graph.constant(np.array([3, -0.1, 2, 0.5, 4, 0.2], np.float32))
    ones = graph.constant(np.ones(6, np.float32))
    x = graph.op("BatchNormalization", x, scale, graph.random(6), graph.random(6), ones)
    graph.output(conv(graph, graph.op("Relu", x), 6, 2))
    original = normalize(graph.raw())
    folded = fold(original)
    name = analyse_channels(folded).groups[0].name
    config = PruneConfig(((name, 0.5),), "batch_norm_scale")
    assert resolve(folded, config, original=original).kept[name].tolist() == [0, 2, 4]
    with pytest.raises(RecipeError, match="no batch normalization left"):
        resolve(folded, config)
    # In a graph that keeps its normalization, removing agrees with zeroing as well.
    analysis = analyse_channels(original)
    removed, feeds = {name: np.array([1, 5])}, samples(original, 2)
    smaller = without_units(original, analysis, removed)
    np.testing.assert_allclose(
        run(smaller, feeds), run(with_zeroed_units(original, analysis, removed), feeds), **ROUNDING
    )


def test_pruning_is_repeatable_and_changes_nothing_given(model: onnx.ModelProto) -> None:
    before = model_bytes(model)
    name = analyse_channels(model).groups[0].name
    config = PruneConfig(((name, 0.5),))
    payload = resolve(model, config)
    assert model_bytes(prune(model, config, payload)) == model_bytes(prune(model, config, payload))
    assert model_bytes(mask(model, config, payload)) != before
    assert model_bytes(model) == before


def test_refusals_are_one_sentence(model: onnx.ModelProto) -> None:
    analysis = analyse_channels(model)
    first, inner = (group.name for group in analysis.groups)
    last = analysis.blocked[-1].name
    other = next(layer for layer in analysis.groups[0].layers if layer != first)
    for name, ratio, message in (
        (first, 0.97, "would empty the layer"),
        (last, 0.5, "reaches the output"),
        (other, 0.5, f"belong to group '{first}'"),
        ("nowhere", 0.5, "has no group"),
    ):
        with pytest.raises(RecipeError, match=message):
            resolve(model, PruneConfig(((name, ratio),)))
    with pytest.raises(RecipeError, match="needs samples"):
        resolve(model, PruneConfig(((inner, 0.5),), "activation"))
    with pytest.raises(RecipeError, match="do not fit"):
        prune(model, PruneConfig(((inner, 0.5),)), PrunePayload({inner: np.arange(2)}))


def test_no_part_of_a_split_is_emptied() -> None:
    graph = LayerGraph()
    x = conv(graph, image(graph), 3, 8)
    first = graph.op("Slice", x, graph.constant([0]), graph.constant([2]), graph.constant([1]))
    second = graph.op("Slice", x, graph.constant([2]), graph.constant([8]), graph.constant([1]))
    scaled = graph.op("Mul", conv(graph, first, 2, 4), graph.constant(np.float32(1)))
    graph.output(graph.op("Add", scaled, conv(graph, second, 6, 4)))
    built = graph.model()
    analysis = analyse_channels(built)
    # Channels of one layer that others read apart are groups of their own.
    part = analysis.groups[0]
    assert [(group.name, group.size, group.fixed) for group in analysis.groups] == [
        (part.layers[0], 2, 6), (f"{part.layers[0]}#1", 6, 2),
    ]  # fmt: skip
    weak = with_zeroed_units(built, analysis, {part.name: np.array([0, 1])})
    assert len(resolve(weak, PruneConfig(((part.name, 0.5),), "l1")).kept[part.name]) == 1
    with pytest.raises(RecipeError, match="without emptying one"):
        resolve(weak, PruneConfig(((part.name, 0.875),)))
    with pytest.raises(RecipeError, match="would empty the tensor"):
        without_units(built, analysis, {part.name: np.array([0, 1])})


def test_shared_weights_and_computed_weights_stay() -> None:
    graph = LayerGraph()
    x = tokens(graph)
    tied = graph.random(12, 12)
    y = graph.op("Relu", graph.op("MatMul", graph.op("Relu", graph.op("MatMul", x, tied)), tied))
    graph.output(linear(graph, graph.op("Relu", linear(graph, y, 12, 8)), 8, 3))
    analysis = analyse_channels(graph.model())
    assert [group.size for group in analysis.groups] == [8]
    assert any("is shared" in entry.reason for entry in analysis.blocked)

    graph = LayerGraph()
    x = conv(graph, image(graph), 3, 4)
    kernel = graph.op("Mul", graph.random(2, 4, 1, 1), graph.op("ReduceMean", x, axes=[0, 1, 2, 3]))
    graph.output(graph.op("Conv", x, kernel))
    blocked = analyse_channels(graph.model()).blocked
    assert [entry.name for entry in blocked] == ["Conv_0"] and "combines all channels" in blocked[0].reason


def test_unknown_operators_and_control_flow_block_what_they_touch() -> None:
    for op_type, domain, message in (
        ("Det", "", "no rule"),
        ("Blur", "com.example", "no operator of the ONNX standard"),
    ):
        graph = LayerGraph()
        free = conv(graph, image(graph), 3, 4)
        touched = conv(graph, free, 4, 6)
        graph.nodes.append(helper.make_node(op_type, [touched], ["seen"], name="odd", domain=domain))
        graph.output(conv(graph, touched, 6, 2), "seen")
        built = graph.raw()
        built.opset_import.append(helper.make_opsetid("com.example", 1))
        analysis = analyse_channels(built)
        assert [group.size for group in analysis.groups] == [4]
        assert message in analysis.blocked[0].reason and "odd" in analysis.blocked[0].reason

    graph = LayerGraph()
    touched = conv(graph, conv(graph, image(graph), 3, 4), 4, 6)
    body = helper.make_graph(
        [helper.make_node("Relu", [touched], ["r"])], "b", [], [helper.make_tensor_value_info("r", 1, None)]
    )
    graph.nodes.append(
        helper.make_node(
            "If", [graph.constant(np.bool_(True))], ["seen"], name="odd", then_branch=body, else_branch=body
        )
    )
    graph.output(conv(graph, touched, 6, 2), "seen")
    analysis = analyse_channels(graph.raw())
    assert [group.size for group in analysis.groups] == [4] and "control flow" in analysis.blocked[0].reason


def test_names_are_kept_and_shared_vectors_are_copied() -> None:
    graph = LayerGraph()
    bias = graph.random(8)
    x = graph.op("Conv", image(graph), graph.random(8, 3, 1, 1), bias)
    x = graph.op("Conv", graph.op("Relu", x), graph.random(8, 8, 1, 1), bias)
    graph.output(conv(graph, graph.op("Relu", x), 8, 2))
    built = graph.model()
    analysis = analyse_channels(built)
    first = analysis.groups[0]
    smaller = without_units(built, analysis, {first.name: np.array([0, 3])})
    dims = {weight.name: list(weight.dims) for weight in smaller.graph.initializer}
    assert dims[bias] == [8] and dims[f"{bias}_prune_copy"] == [6]
    assert [node.name for node in smaller.graph.node] == [node.name for node in built.graph.node]
    feeds = samples(built, 2)
    zeroed = with_zeroed_units(built, analysis, {first.name: np.array([0, 3])})
    np.testing.assert_allclose(run(smaller, feeds), run(zeroed, feeds), **ROUNDING)


def test_shares_count_the_arithmetic_that_goes(model: onnx.ModelProto) -> None:
    analysis = analyse_channels(model)
    cost = model_cost(bind(model))
    shares = macs_shares(analysis, cost)
    for group in analysis.groups:
        smaller = without_units(model, analysis, {group.name: np.arange(1, group.size)})
        gone = 1.0 - model_cost(bind(smaller)).total.macs / cost.total.macs
        if group is analysis.groups[1]:  # no layer both reads and writes it
            assert gone == pytest.approx(shares[group.name] * (1 - 1 / group.size))
        assert gone < shares[group.name] <= 1.0


def test_widths_stand_on_the_stairs() -> None:
    widths, prices = (124, 120, 116, 112, 108, 104, 100), (9.0, 9.5, 12.0, 6.0, 6.0, 7.0, 5.0)
    steps = worthwhile_widths(widths, prices, 128, 8.0)
    assert [(step.width, step.latency_ms) for step in steps] == [(112, 6.0), (100, 5.0)]
    assert steps[0].ratio == pytest.approx(1 - 112 / 128)
    assert worthwhile_widths(widths, [9.0] * 7, 128, 8.0) == ()


def test_widths_are_priced_as_executed(model: onnx.ModelProto) -> None:
    analysis = analyse_channels(model)
    outer = analysis.groups[0]
    assert candidate_widths(outer) == (4,)
    assert candidate_widths(outer, multiple=2) == (6, 4, 2)

    class Macs:
        """Prices the convolutions of an executed graph by their arithmetic."""

        def estimate_many(self, models):
            found = []
            for ops in models:
                sizes = [op.signature.inputs[1].shape for op in ops if "Conv" in op.signature.op_type]
                found.append(type("Estimate", (), {"latency_ms": float(sum(np.prod(size) for size in sizes))}))
            return found

    price = executed_prices(Macs(), get_runtime("onnxruntime"), samples(model, 1))
    steps = width_steps(model, price, [outer.name], analysis=analysis, multiple=2)[outer.name]
    assert [step.width for step in steps] == sorted({step.width for step in steps}, reverse=True) and steps
    full = price([model])[0]
    assert all(step.latency_ms < full for step in steps)
    with pytest.raises(ConfigError, match="no group"):
        width_steps(model, price, ["nowhere"])


def test_grouped_convolutions_stay_even() -> None:
    graph = LayerGraph()
    shuffled(graph)
    built = graph.model()
    analysis = analyse_channels(built)
    for group in analysis.groups:
        smaller = without_units(built, analysis, {group.name: np.array([0])})
        for node in smaller.graph.node:
            if node.op_type == "Conv":
                groups = next((a.i for a in node.attribute if a.name == "group"), 1)
                weight = GraphIndex(smaller).initializers[node.input[1]]
                assert weight.dims[0] % groups == 0


@given(seed=st.integers(0, 10**6), length=st.integers(2, 7))
@settings(max_examples=15, deadline=None)
def test_removing_agrees_with_zeroing_in_random_graphs(seed: int, length: int) -> None:
    built = random_graph(seed, length)
    analysis = analyse_channels(built)
    rng = np.random.default_rng(seed)
    removed = {
        group.name: np.sort(rng.permutation(group.size)[: rng.integers(0, max(1, group.size // 2) + 1)])
        for group in analysis.groups
        if group.size > 1
    }
    removed = {name: units for name, units in removed.items() if keeps_every_tensor(built, analysis, removed)}
    smaller = without_units(built, analysis, removed)
    onnx.checker.check_model(smaller, full_check=True)
    feeds = samples(built, 2)
    zeroed = run(with_zeroed_units(built, analysis, removed), feeds)
    np.testing.assert_allclose(
        run(smaller, feeds), zeroed, rtol=1e-4, atol=1e-5 * max(1.0, float(np.abs(zeroed).max()))
    )


def keeps_every_tensor(built: onnx.ModelProto, analysis, removed: dict[str, np.ndarray]) -> bool:
    try:
        without_units(built, analysis, removed)
    except RecipeError:
        return False
    return True


def random_graph(seed: int, length: int) -> onnx.ModelProto:
    """Convolutions joined at random in the ways that networks do."""
    rng = np.random.default_rng(seed)
    graph = LayerGraph(seed)
    made = [(conv(graph, image(graph), 3, 8), 8)]
    for _ in range(length):
        x, width = made[rng.integers(len(made))]
        kind = rng.integers(8)
        others = [(y, w) for y, w in made if w == width and y != x]
        if kind == 0 and others:
            made.append((graph.op("Add", x, others[rng.integers(len(others))][0]), width))
        elif kind == 1:
            y, other = made[rng.integers(len(made))]
            made.append((graph.op("Concat", x, y, axis=1), width + other))
        elif kind == 2:
            made.append((conv(graph, graph.op("Relu", x), width, width, group=width), width))
        elif kind == 3 and width % 2 == 0:
            made.append((conv(graph, x, width, 6, 1, group=2), 6))
        elif kind == 4 and width % 2 == 0:
            y = graph.op("Reshape", x, graph.constant([-1, 2, width // 2, 6, 6]))
            y = graph.op("Transpose", y, perm=[0, 2, 1, 3, 4])
            made.append((graph.op("Reshape", y, graph.constant([-1, width, 6, 6])), width))
        elif kind == 5:
            s = graph.op("GlobalAveragePool", x)
            made.append((graph.op("Mul", x, graph.op("Sigmoid", conv(graph, s, width, width, 1))), width))
        elif kind == 6 and width > 2:
            cut = int(rng.integers(1, width))
            y = graph.op("Slice", x, graph.constant([cut]), graph.constant([width]), graph.constant([1]))
            made.append((y, width - cut))
        else:
            out = int(rng.choice([6, 8, 12]))
            made.append((graph.op("Relu", conv(graph, x, width, out, int(rng.choice([1, 3])))), out))
    last, width = made[-1]
    graph.output(conv(graph, last, width, 3))
    return graph.model()
