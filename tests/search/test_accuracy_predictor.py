"""The accuracy predictor and the features it sees."""

from __future__ import annotations

import numpy as np
import pytest

from autocompress.passes.equalize.step import EqualizeConfig
from autocompress.passes.quantize import QuantizeConfig
from autocompress.recipe.recipe import Recipe
from autocompress.search.accuracy_predictor import AccuracyPredictor
from autocompress.search.features import RecipeFeatures, scheme_key
from autocompress.search.prices import OPTIONS


def synthetic(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Drops that grow with the first column and depend on one 0/1 column."""
    features = np.concatenate([rng.uniform(-5, -1, (n, 4)), rng.integers(0, 2, (n, 3))], axis=1).astype(float)
    drops = 0.3 * np.sqrt(10 ** features[:, 0]) + 0.02 * features[:, 5] + 0.01 * (features[:, 1] > -3)
    return features, drops


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    ranks = [np.argsort(np.argsort(v)) for v in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def test_it_learns_a_function() -> None:
    rng = np.random.default_rng(0)
    features, drops = synthetic(rng, 120)
    unseen, truth = synthetic(rng, 200)
    predictor = AccuracyPredictor(seed=0, prior_scale=0.5)
    predictor.fit(features, drops)
    mean, deviation = predictor.predict(unseen)
    assert correlation(mean, truth) > 0.9
    assert np.sqrt(np.mean((mean - truth) ** 2)) < 0.4 * truth.std()
    # Neither boastful nor useless: most truths lie within two deviations, which are smaller than the spread.
    assert 0.85 < np.mean(np.abs(mean - truth) <= 2 * deviation) <= 1.0
    assert deviation.mean() < truth.std()


def test_it_is_less_sure_where_it_saw_nothing() -> None:
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.uniform(-5, -4, 40), rng.uniform(-2, -1, 40)])
    predictor = AccuracyPredictor(seed=0, prior_scale=0.5)
    predictor.fit(x[:, None], np.sqrt(10**x))
    gap = predictor.predict(np.linspace(-3.2, -2.8, 50)[:, None])[1]
    seen = [predictor.predict(np.linspace(low, low + 0.8, 50)[:, None])[1] for low in (-4.9, -1.9)]
    assert gap.max() > 2 * max(deviation.mean() for deviation in seen)


def test_the_same_seed_gives_the_same_predictions() -> None:
    features, drops = synthetic(np.random.default_rng(2), 40)
    answers = []
    for seed in (0, 0, 1):
        predictor = AccuracyPredictor(seed=seed, prior_scale=0.5)
        predictor.fit(features, drops)
        answers.append(np.concatenate(predictor.predict(features)))
    np.testing.assert_array_equal(answers[0], answers[1])
    assert not np.array_equal(answers[0], answers[2])


def test_before_anything_was_measured_damage_ranks() -> None:
    features, _ = synthetic(np.random.default_rng(3), 30)
    mean, deviation = AccuracyPredictor(seed=0, prior_scale=0.5).predict(features)
    np.testing.assert_allclose(mean, 0.5 * np.sqrt(10 ** features[:, 0]))
    assert (deviation >= mean).all()
    assert (deviation >= 0.5).all()


def test_a_few_measurements_scale_the_guess() -> None:
    features, _ = synthetic(np.random.default_rng(4), 30)
    predictor = AccuracyPredictor(seed=0, prior_scale=0.5)
    predictor.fit(features[:4], 0.07 * np.sqrt(10 ** features[:4, 0]))
    np.testing.assert_allclose(predictor.predict(features)[0], 0.07 * np.sqrt(10 ** features[:, 0]))
    predictor.fit(features[:3], np.full(3, -0.01))
    assert (predictor.predict(features)[0] >= 0).all()
    predictor.fit(features[:0], np.zeros(0))
    assert np.isfinite(predictor.predict(features)[0]).all()


def test_feature_columns() -> None:
    damage = np.array([[0.0, 0.01, np.inf], [0.0, 0.001, 0.1], [0.0, 0.0, np.inf]])
    config = QuantizeConfig(activation_range="mse")
    features = RecipeFeatures(
        damage, [("activation_range", "mse"), ("activation_range", "kl")], {scheme_key(Recipe(config)): 2.0}
    )
    options = np.array([[0, 0, 0], [1, 2, 1], [1, 1, 0]])
    rows = features.rows(options, [Recipe(config), Recipe(config), Recipe(QuantizeConfig())])
    assert rows.shape == (3, 7 + len(OPTIONS))
    np.testing.assert_allclose(rows[:, 0], np.log10([1e-12, 0.11, 0.011]))
    np.testing.assert_allclose(rows[:, 1], np.log10([1e-12, 0.1, 0.01]))
    np.testing.assert_allclose(rows[:, 2], [0, 2 / 3, 2 / 3])
    np.testing.assert_allclose(rows[:, 3], [0, 1 / 3, 0])
    np.testing.assert_allclose(rows[1, -6:-3], np.log10([0.01, 0.1, 1e-12]))
    np.testing.assert_allclose(rows[:, -3], np.log10([2.0, 2.0, 1.0]))
    np.testing.assert_array_equal(rows[:, -2:], [[1, 0], [1, 0], [0, 0]])
    assert np.isfinite(rows).all()


@pytest.mark.parametrize("regions", [1, 3, 8, 40])
def test_features_have_one_width_per_model(regions: int) -> None:
    damage = np.tile([0.0, 0.01, np.inf], (regions, 1))
    features = RecipeFeatures(damage, [], {})
    assert features.rows(np.ones((5, regions), int), [Recipe(QuantizeConfig())] * 5).shape == (
        5,
        2 + len(OPTIONS) + min(regions, 8),
    )


def test_the_scheme_key_leaves_precisions_out() -> None:
    plain = QuantizeConfig(weight_range="mse")
    assert scheme_key(Recipe(plain)) == scheme_key(Recipe(plain.with_precisions({"a": "fp32"})))
    assert scheme_key(Recipe(plain)) != scheme_key(Recipe(QuantizeConfig()))
    assert scheme_key(Recipe(plain)) != scheme_key(Recipe(plain, equalize=EqualizeConfig("smooth")))


def test_the_damage_of_a_scheme_can_be_said_later() -> None:
    features = RecipeFeatures(np.array([[0.0, 0.01, np.inf]]), [("equalization", "smooth")], {})
    plain, smooth = Recipe(QuantizeConfig()), Recipe(QuantizeConfig(), equalize=EqualizeConfig("smooth"))
    features.set_relative_damage(smooth, 0.1)
    rows = features.rows(np.array([[1], [1]]), [plain, smooth])
    np.testing.assert_allclose(rows[:, -2:], [[0, 0], [-1, 1]])
    assert features.relative_damage(plain) == 1.0
