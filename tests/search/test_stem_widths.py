"""Sizes and prices of combinations of widths, told from one look at each group, against models that are built."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from autocompress.graph.channels import ChannelAnalysis, analyse_channels
from autocompress.graph.model import model_bytes
from autocompress.graph.signature import OpSignature, TensorType
from autocompress.latency.estimator import LatencyEstimator
from autocompress.passes.prune.removal import without_units
from autocompress.passes.quantize import QuantizeConfig
from autocompress.recipe.any_ranges import any_ranges
from autocompress.recipe.builder import CandidateBuilder
from autocompress.recipe.recipe import FrozenRecipe, Recipe
from autocompress.runtimes import get_runtime
from autocompress.search.stems.combined_prices import CombinedPrices
from autocompress.search.stems.judging import Judged
from autocompress.search.stems.ladder import cost, least_damaging, most_ms
from autocompress.search.stems.losses import damage_at
from autocompress.search.stems.options import BRANCH, Option, Place
from autocompress.search.stems.shapes import OperatorShapes, numbers_of, with_numbers
from autocompress.search.stems.widths import shown_choice, whole_blocks, worthwhile

sys.path.append(str(Path(__file__).parents[1] / "passes"))
from layer_graphs import LayerGraph
from prune_patterns import conv, image


def network() -> onnx.ModelProto:
    """A stream with an inner layer, a depthwise one, a concatenation and a head: sizes depend on up to two groups."""
    graph = LayerGraph()
    # Four channels: the kernel of a first layer that reads three depends on its width.
    x = graph.op("Relu", conv(graph, image(graph, 4), 4, 32))
    y = conv(graph, graph.op("Relu", conv(graph, x, 32, 48)), 48, 32)
    x = graph.op("Relu", graph.op("Add", x, y))
    x = graph.op("Relu", conv(graph, x, 32, 32, group=32))
    joined = graph.op("Concat", conv(graph, x, 32, 16, 1), conv(graph, x, 32, 24, 1), axis=1)
    pooled = graph.op("Flatten", graph.op("GlobalAveragePool", joined))
    graph.output(graph.op("Gemm", pooled, graph.random(40, 5), graph.random(5)))
    return graph.model()


def executed(model: onnx.ModelProto, precision: str) -> list[OpSignature]:
    runtime = get_runtime("onnxruntime")
    builder = CandidateBuilder(model, "onnxruntime", "")
    recipe = Recipe(QuantizeConfig(precision=precision))
    built = builder.build(FrozenRecipe(recipe, "", "onnxruntime", {"quantize": any_ranges(builder)}))
    channels = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    feeds = {"x": np.zeros((1, channels, 6, 6), np.float32)}
    return [op.signature for op in runtime.executed_ops(model_bytes(built), feeds, standalone=False)]


def smaller(model: onnx.ModelProto, analysis: ChannelAnalysis, removed: Mapping[str, int]) -> onnx.ModelProto:
    return without_units(model, analysis, {name: np.arange(count) for name, count in removed.items()})


@pytest.fixture(scope="module")
def learnt() -> tuple[onnx.ModelProto, ChannelAnalysis, OperatorShapes]:
    model = network()
    analysis = analyse_channels(model)
    shapes = OperatorShapes(executed(model, "int8"))
    for group in analysis.groups:
        assert shapes.learn(group.name, group.size, 8, executed(smaller(model, analysis, {group.name: 8}), "int8"))
    return model, analysis, shapes


def test_operators_of_every_combination_are_those_that_are_executed(
    learnt: tuple[onnx.ModelProto, ChannelAnalysis, OperatorShapes],
) -> None:
    model, analysis, shapes = learnt
    assert len(analysis.groups) == 4
    rng = np.random.default_rng(0)
    for _ in range(3):
        removed = {g.name: int(rng.integers(0, g.size - 2)) for g in analysis.groups}
        told = [replace(own, sparsity=0.0) for own in shapes.signatures(removed)]
        seen = [replace(own, sparsity=0.0) for own in executed(smaller(model, analysis, removed), "int8")]
        assert told == seen
    assert shapes.signatures({}) == executed(model, "int8")


def test_what_does_not_follow_is_not_learnt(
    learnt: tuple[onnx.ModelProto, ChannelAnalysis, OperatorShapes],
) -> None:
    model, _, _ = learnt
    full = executed(model, "int8")
    shapes = OperatorShapes(full)
    assert not shapes.learn("g", 24, 8, full[:-1])
    assert not shapes.learn("g", 24, 8, executed(model, "fp32")[: len(full)])
    odd = next(i for i, own in enumerate(full) if len(numbers_of(own)) > 4)
    numbers = list(numbers_of(full[odd]))
    numbers[0] -= 3  # no whole number for each of 8 units
    assert not shapes.learn("g", 24, 8, [*full[:odd], with_numbers(full[odd], numbers), *full[odd + 1 :]])
    assert shapes.touched("g") == []


def test_widths_that_a_blocked_layout_fills_up_are_not_learnt() -> None:
    """Full width 24 runs as 32, and 16 as 16: from 32 to 16 by 8 units would leave less than nothing of 24."""
    graph = LayerGraph()
    x = graph.op("Relu", conv(graph, image(graph), 3, 24))
    graph.output(graph.op("GlobalAveragePool", conv(graph, x, 24, 16, 1)))
    model = graph.model()
    analysis = analyse_channels(model)
    (group,) = (group for group in analysis.groups if group.size == 24)
    shapes = OperatorShapes(executed(model, "fp32"))
    assert not shapes.learn(group.name, group.size, 8, executed(smaller(model, analysis, {group.name: 8}), "fp32"))
    assert shapes.touched(group.name) == []


def test_numbers_of_operators_can_be_put_back() -> None:
    signature = OpSignature(
        "", "Split", (TensorType("int8", (2, 6)), None, TensorType("int64", (2,), True)), (TensorType("int8", (2, 3)),),
        (("axis", 1), ("mode", "x"), ("scales", (0.5, 1.0)), ("sizes", (3, 3))),
    )  # fmt: skip
    assert numbers_of(signature) == (2, 6, 2, 2, 3, 1, 3, 3)
    assert with_numbers(signature, numbers_of(signature)) == signature
    assert with_numbers(signature, (2, 5, 2, 2, 2, 1, 2, 3)).attributes[-1] == ("sizes", (2, 3))


def test_savings_are_those_of_the_models(learnt: tuple[onnx.ModelProto, ChannelAnalysis, OperatorShapes]) -> None:
    """Bounds from the roofline, so that no table is needed: they grow with every size."""
    _, analysis, shapes = learnt
    estimator = LatencyEstimator(None)
    prices = CombinedPrices(estimator, shapes)
    stream, inner = analysis.groups[0].name, analysis.groups[1].name

    def total_ms(removed: Mapping[str, int]) -> float:
        estimates = [estimator.price([own])[0].latency_us for own in shapes.signatures(removed)]
        return sum(estimates) / 1e3

    both = {stream: 16, inner: 24}
    assert prices.total_saved_ms(both) == pytest.approx(total_ms({}) - total_ms(both), rel=1e-6)
    (given,) = prices.saved_ms(inner, [24], {stream: 16})
    assert given == pytest.approx(total_ms({stream: 16}) - total_ms(both), rel=1e-6)
    (alone,) = prices.saved_ms(inner, [24], {})
    assert alone > given > 0  # the stream has already made the inner layer cheaper
    place = Place(inner, "", 48, tuple(i / 48 for i in range(8, 41, 8)), follows=True)
    ladder = worthwhile(place, prices, total_ms({}))
    assert [option.removed for option in ladder] == [8, 16, 24, 32, 40]
    assert np.all(np.diff([option.saved_ms for option in ladder]) > 0)


def test_the_look_is_at_whole_blocks() -> None:
    assert shown_choice(Place("g", "", 64, tuple(i / 64 for i in range(4, 49, 4)))) == 16 / 64
    assert shown_choice(Place("g", "", 24, (4 / 24, 8 / 24, 12 / 24))) == 8 / 24
    assert shown_choice(Place("g", "", 12, (1 / 12, 2 / 12))) == 2 / 12


def test_whole_blocks_are_priced_first() -> None:
    wide = Place("g", "", 128, tuple(1 - width / 128 for width in range(124, 28, -4)))
    assert [128 - Option(wide, c).removed for c in whole_blocks(wide)] == [112, 96, 80, 64, 48, 32]
    narrow = Place("g", "", 16, (0.25, 0.5, 0.75))
    assert whole_blocks(narrow) == narrow.choices
    ranks = Place("g", "svd", 16, (12, 8, 4))
    assert whole_blocks(ranks) == ranks.choices


class PairedPrices:
    """Time is the product of the widths of neighbours, as in a chain of convolutions."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._sizes = dict(sizes)

    def total_ms(self, removed: Mapping[str, int]) -> float:
        widths = [16, *(size - removed.get(name, 0) for name, size in self._sizes.items()), 16]
        return sum(a * b for a, b in itertools.pairwise(widths)) / 1e3

    def saved_ms(self, group: str, counts: list[int], removed: Mapping[str, int]) -> list[float]:
        before = self.total_ms({**removed, group: 0})
        return [before - self.total_ms({**removed, group: count}) for count in counts]

    def total_saved_ms(self, removed: Mapping[str, int]) -> float:
        return self.total_ms({}) - self.total_ms(removed)


@pytest.mark.parametrize("seed", range(6))
def test_combined_widths_are_nearly_the_best(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = {f"g{i}": 32 for i in range(4)}
    prices = PairedPrices(sizes)
    options = []
    for name in sizes:
        place = Place(name, "", 32, tuple(i / 32 for i in (8, 16, 24)), follows=True)
        damages = np.sort(10 ** rng.uniform(-3, -0.2, 3))
        alone = prices.saved_ms(name, [8, 16, 24], {})
        options += [Option(place, c, s, float(d)) for c, s, d in zip(place.choices, alone, damages, strict=True)]
    wanted = 0.45 * most_ms(options, prices)  # type: ignore[arg-type]
    chosen = least_damaging(options, wanted, prices)  # type: ignore[arg-type]
    assert chosen is not None
    assert prices.total_saved_ms({o.place.name: o.removed for o in chosen}) >= wanted
    by_place = [[None, *(o for o in options if o.place.name == name)] for name in sizes]
    feasible = [
        sum(cost(o.damage) for o in pick if o is not None)
        for pick in itertools.product(*by_place)
        if prices.total_saved_ms({o.place.name: o.removed for o in pick if o is not None}) >= wanted
    ]
    assert sum(cost(o.damage) for o in chosen) <= 1.35 * min(feasible) + 1e-9
    assert least_damaging(options, 1.01 * most_ms(options, prices), prices) is None  # type: ignore[arg-type]


def test_nothing_within_a_branch_that_goes_is_pruned() -> None:
    sizes = {"g0": 32, "g1": 32}
    prices = PairedPrices(sizes)
    branch = Option(Place("add", BRANCH, 1, (1.0,), within=frozenset({"g0"})), 1.0, 0.8, 0.01)
    inner = Option(Place("g0", "", 32, (0.5,), follows=True), 0.5, prices.saved_ms("g0", [16], {})[0], 0.02)
    other = Option(Place("g1", "", 32, (0.5,), follows=True), 0.5, prices.saved_ms("g1", [16], {})[0], 0.02)
    chosen = least_damaging([inner, other, branch], 1.2, prices)  # type: ignore[arg-type]
    assert chosen is not None and {o.place.name for o in chosen} == {"add", "g1"}
    assert branch.removed == 0 and inner.removed == 16


def test_damage_is_in_proportion_to_local_losses() -> None:
    judged = Judged((0.0, 0.1, 0.2, 0.4), 0.5)
    assert damage_at(judged, 3, 3) == pytest.approx(0.5)
    assert cost(damage_at(judged, 3, 4)) == pytest.approx(2 * cost(0.5))
    assert damage_at(judged, 3, 1) == 0.0
    assert damage_at(replace(judged, damage=float("inf")), 3, 1) == float("inf")
    assert damage_at(Judged((0.0, 0.0), 0.02), 1, 2) == pytest.approx(0.04, rel=0.05)
