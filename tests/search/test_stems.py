"""The pure parts of the search over stems."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

from autocompress.passes.decompose import DecomposeConfig
from autocompress.passes.prune import PruneConfig
from autocompress.search.prices import OPTIONS
from autocompress.search.regions import Region
from autocompress.search.stems.ladder import cost, least_damaging, most_ms
from autocompress.search.stems.opening import inherited_damage
from autocompress.search.stems.options import Option, Place, stem_of, thinned

sys.path.append(str(Path(__file__).parent))
from small_problems import random_damage, random_prices, region


def random_options(seed: int, places: int, choices: int) -> list[Option]:
    rng = np.random.default_rng(seed)
    found = []
    for p in range(places):
        place = Place(f"g{p}", "", 16, tuple((i + 1) / 8 for i in range(choices)))
        saved, damage = np.sort(rng.uniform(0.1, 2, choices)), np.sort(10 ** rng.uniform(-4, 0, choices))
        found += [Option(place, c, float(s), float(d)) for c, s, d in zip(place.choices, saved, damage, strict=True)]
    return found


@pytest.mark.parametrize("seed", range(8))
def test_the_ladder_is_the_best_of_all_combinations(seed: int) -> None:
    options = random_options(seed, 4, 3)
    wanted = 0.6 * most_ms(options)
    chosen = least_damaging(options, wanted)
    assert chosen is not None
    by_place = [[None, *(o for o in options if o.place.name == f"g{p}")] for p in range(4)]
    feasible = [
        sum(cost(o.damage) for o in pick if o is not None)
        for pick in itertools.product(*by_place)
        if sum(o.saved_ms for o in pick if o is not None) >= wanted
    ]
    assert sum(cost(o.damage) for o in chosen) == pytest.approx(min(feasible), rel=1e-3, abs=1e-5)
    assert len({o.place.name for o in chosen}) == len(chosen)
    assert sum(o.saved_ms for o in chosen) >= wanted * (1 - 1e-6)


def test_one_layer_is_not_destroyed_to_spare_several() -> None:
    ruinous = Option(Place("stream", "", 16, (0.75,)), 0.75, 3.0, 0.6)
    gentle = [Option(Place(f"inner{i}", "", 16, (0.25,)), 0.25, 1.0, 0.25) for i in range(3)]
    assert least_damaging([ruinous, *gentle], 3.0) == gentle
    assert cost(1e-3) == pytest.approx(1e-3, rel=2e-3) and cost(1.5) == cost(1.0) > 40


def test_more_than_everything_cannot_be_saved() -> None:
    options = random_options(1, 3, 2)
    assert least_damaging(options, 1.01 * most_ms(options)) is None
    assert least_damaging([], 1.0) is None
    broken = [Option(o.place, o.choice, o.saved_ms, float("inf")) for o in options]
    assert least_damaging(broken, 0.01) is None and most_ms(broken) == 0.0


def test_options_become_steps() -> None:
    pruned = Option(Place("conv1", "", 16, (0.25, 0.5)), 0.5)
    decomposed = Option(Place("conv2", "svd", 32, (16, 8)), 8)
    paired = Option(Place("conv3", "tucker2", 32, ((16, 16),)), (16, 16))
    stem = stem_of([pruned, decomposed, paired], "activation")
    assert stem.prune == PruneConfig((("conv1", 0.5),), criterion="activation")
    assert stem.decompose == DecomposeConfig((("conv2", "svd", 8), ("conv3", "tucker2", (16, 16))))
    assert stem.recover is None and stem_of([], "l2").float_part == stem_of([], "l2")


@pytest.mark.parametrize(("count", "most"), [(3, 4), (8, 4), (9, 4), (20, 7), (5, 1)])
def test_thinned_choices_keep_order_and_the_strongest(count: int, most: int) -> None:
    choices = tuple(range(count))
    kept = thinned(choices, most)
    assert len(kept) == min(count, most) and kept[-1] == choices[-1]
    assert list(kept) == sorted(set(kept))


def test_damage_follows_the_names_of_layers() -> None:
    prices = random_prices(3, 6)
    damage = random_damage(3, prices)
    parts = [region("r1_decompose_first"), region("new")]
    regions: list[Region] = [prices.regions[4], *parts, prices.regions[1]]
    found = inherited_damage(prices.regions, damage, regions)
    int8 = OPTIONS.index("int8")
    assert found[0, int8] == damage[4, int8] and found[3, int8] == damage[1, int8]
    assert found[1, int8] == damage[1, int8]  # a part has the damage of its layer
    known = damage[np.isfinite(damage[:, int8]), int8]
    assert found[2, int8] == np.median(known)
    assert (found[:, 0] == 0).all()
    allowed = [[option in r.options for option in OPTIONS] for r in regions]
    assert (np.isfinite(found) == allowed).all()
