"""The parts of the search over zeros that are arithmetic: damage between measurements, choices by size, what counts."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from autocompress.errors import ConfigError
from autocompress.passes.sparsify.candidates import Candidate
from autocompress.search.budget import make_budget
from autocompress.search.counted_size import DEFLATE, FILE
from autocompress.search.probes import Probe, probe_recipes
from autocompress.search.regions import find_regions
from autocompress.search.results import ProbeResult
from autocompress.search.sizes import fit_sizes
from autocompress.search.space import parse_space
from autocompress.search.stems.knapsack import cheapest
from autocompress.search.stems.sparse_survey import damages_of

sys.path.extend(str(Path(__file__).parents[1] / folder) for folder in ("search", "passes"))
from quantize_models import FloatGraph, Study

from autocompress.graph.transfer_size import deflated_bytes
from autocompress.passes.quantize import FP32, INT8, QuantizeConfig
from autocompress.passes.sparsify import SparsifyConfig, resolve, sparsify
from autocompress.search.prices import OPTIONS

OWN = [
    Candidate("c", f"unstructured@{s}", 100 * i, e) for i, (s, e) in enumerate([(0.3, 0.01), (0.5, 0.04), (0.8, 0.5)])
]


def test_measured_damage_is_kept_and_the_rest_follows_the_error() -> None:
    measured = {("c", "unstructured@0.3"): 0.002, ("c", "unstructured@0.8"): 0.2, ("other", "2:4"): 9.0}
    low, middle, high = damages_of(OWN, measured)
    assert (low, high) == (0.002, 0.2)
    assert low < middle < high
    # On the line through both, in logarithms.
    share = np.log(0.04 / 0.01) / np.log(0.5 / 0.01)
    assert np.log(middle / low) == pytest.approx(share * np.log(high / low))


def test_beyond_what_was_measured_damage_is_proportional_to_the_error() -> None:
    low, middle, high = damages_of(OWN, {("c", "unstructured@0.5"): 0.03})
    assert (low, middle, high) == pytest.approx((0.03 / 4, 0.03, 0.03 * 12.5))


def test_a_layer_that_nobody_measured_is_like_the_others() -> None:
    others = {("a", "2:4"): 0.1, ("b", "2:4"): 0.3, ("d", "2:4"): float("inf")}
    found = damages_of(OWN, others)
    assert found == pytest.approx([0.2 * c.error / 0.5 for c in OWN])
    assert all(np.isfinite(damages_of(OWN, {})))


def test_a_pattern_that_breaks_the_model_is_never_taken() -> None:
    measured = {("c", "unstructured@0.5"): 0.03, ("c", "unstructured@0.8"): float("inf")}
    assert damages_of(OWN, measured)[2] == float("inf")


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e6])
def test_the_cheapest_choice_is_that_in_every_unit(unit: float) -> None:
    rng = np.random.default_rng(3)
    saved, costs = rng.uniform(0.1, 2, 12) * unit, rng.uniform(0.01, 1, 12)
    places = [f"p{i // 3}" for i in range(12)]
    wanted = 0.6 * sum(max(saved[3 * p : 3 * p + 3]) for p in range(4))
    taken = cheapest(list(costs), list(saved), places, wanted)
    assert taken is not None
    choices = itertools.product(*([None, 3 * p, 3 * p + 1, 3 * p + 2] for p in range(4)))
    every = [[i for i in choice if i is not None] for choice in choices]
    least = min(costs[pick].sum() for pick in every if pick and saved[pick].sum() >= wanted)
    assert costs[taken].sum() == pytest.approx(least, rel=1e-4)
    assert saved[taken].sum() >= wanted * (1 - 1e-6)
    assert cheapest(list(costs), list(saved), places, 10 * saved.sum()) is None
    assert cheapest([], [], [], 1.0) is None


def test_the_size_that_counts_is_the_one_asked_for() -> None:
    sized = ProbeResult((), 1000, 300)
    none: dict[str, float | None] = {"target_speedup": None, "target_latency_ms": None, "target_size_factor": None}
    limits = {
        size_as: make_budget(
            baseline_latency_ms=1.0,
            baseline_size_bytes=4000,
            max_accuracy_drop=0.01,
            target_size_bytes=500.0,
            size_as=size_as,
            **none,
        )
        for size_as in (FILE, DEFLATE)
    }
    assert {name: budget.counted_bytes(sized) for name, budget in limits.items()} == {FILE: 1000, DEFLATE: 300}
    met = {n: b.met_by(drop=0.0, speedup=1.0, size_bytes=b.counted_bytes(sized)) for n, b in limits.items()}
    assert met == {FILE: False, DEFLATE: True}
    with pytest.raises(AssertionError, match="every model is compressed"):
        limits[DEFLATE].counted_bytes(dataclasses.replace(sized, deflate_bytes=None))


def test_compressed_sizes_add_up_and_know_zeros() -> None:
    graph = FloatGraph(5)
    x = graph.op("Relu", graph.conv(graph.input("x", 16, 8, 8), 16, 64))
    graph.output(graph.op("GlobalAveragePool", graph.conv(x, 64, 64)))
    prepared = Study(graph.model()).builder.prepared
    first, second = (node.name for node in prepared.graph.node if node.op_type == "Conv")
    config = SparsifyConfig(((second, "unstructured@0.9"),))
    study = Study(sparsify(prepared, config, resolve(prepared, config)))
    regions = find_regions(study.builder.quantizer.units)
    probes = {}
    for name, (options, recipe) in probe_recipes(regions, QuantizeConfig(), (FP32, INT8)).items():
        candidate = study.builder.build(study.builder.freeze(recipe, study.statistics))
        probes[name] = Probe(options, (), deflated_bytes(candidate.SerializeToString()))
    sizes, fixed = fit_sizes(study.builder.prepared, regions, probes, DEFLATE)
    assert sizes is not None
    for probe in probes.values():
        assert sizes[np.arange(len(regions)), probe.options].sum() + fixed == pytest.approx(probe.size_bytes, rel=0.08)
    rows = {region.name: sizes[i] for i, region in enumerate(regions)}
    # 36864 weights, 9 of 10 of them zero, against 9216.
    assert rows[second][OPTIONS.index(FP32)] < 0.25 * 4 * 36864
    assert rows[first][OPTIONS.index(FP32)] > 0.8 * 4 * 9216


def test_a_pattern_without_quotes_is_a_number_to_yaml_and_that_is_said() -> None:
    document = yaml.safe_load("steps:\n  sparsity: [wanda]\n  sparsity_pattern: [unstructured, 2:4]\n")
    with pytest.raises(ConfigError, match='124 is not known; write it in quotes, as "2:4"'):
        parse_space("mine", document)
