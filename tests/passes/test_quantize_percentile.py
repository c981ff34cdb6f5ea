"""Which percentile of an activation lies inside its range, and what recipes mean that do not say."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autocompress.errors import RecipeError
from autocompress.passes.quantize import QuantizeConfig
from autocompress.recipe.recipe import Recipe

sys.path.append(str(Path(__file__).parent))
from quantize_models import FloatGraph, Study


def config(**row: Any) -> QuantizeConfig:
    return QuantizeConfig.from_dict({"activation_range": "percentile", **row})


def test_a_recipe_from_before_the_choice_keeps_its_meaning_and_its_hash() -> None:
    old = config()
    assert old.activation_percentile == 99.99
    assert "activation_percentile" not in old.to_dict()
    # As the version before the choice computed it.
    assert Recipe(old).hash == "56b60fef03b9"


@pytest.mark.parametrize("percentile", [99.0, 99.999, 100])
def test_a_recipe_says_which_it_means(percentile: float) -> None:
    new = QuantizeConfig(activation_range="percentile", activation_percentile=percentile)
    assert new.to_dict()["activation_percentile"] == percentile
    assert QuantizeConfig.from_dict(new.to_dict()) == new
    assert Recipe(new).hash != Recipe(config()).hash


def test_other_algorithms_have_none() -> None:
    plain = QuantizeConfig(activation_range="mse")
    assert QuantizeConfig(activation_range="mse", activation_percentile=99.9) == plain
    assert "activation_percentile" not in plain.to_dict()


@pytest.mark.parametrize("bad", [0, 100.5, -1.0, float("nan"), "99.9", True, [99.9]])
def test_a_percentile_that_is_none_is_refused(bad: Any) -> None:
    with pytest.raises(RecipeError, match=r"activation_percentile.*above 0 and at most 100"):
        config(activation_percentile=bad)


def test_ranges_follow_the_percentile_of_the_recipe() -> None:
    graph = FloatGraph()
    graph.output(graph.op("Relu", graph.conv(graph.input("x", 3, 24, 24), 3, 8)))
    study = Study(graph.model())
    for percentile in (90.0, 99.0, 100.0):
        payload = study.freeze(config(activation_percentile=percentile)).payload
        assert payload is not None
        beyond = (100.0 - percentile) / 2.0
        expected = np.percentile(study.feeds["x"], [beyond, 100.0 - beyond])
        assert payload.ranges["x"] == pytest.approx(tuple(expected), abs=0.01)
