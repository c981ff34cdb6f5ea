"""Predicts the accuracy drop of a recipe, and how sure that is: a random forest fitted to the study's evaluations."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


class AccuracyPredictor:
    """Predicts the drop of recipes; before enough was measured it ranks by damage and says it is unsure.

    The spread over the trees and the out-of-bag residual together give the uncertainty (Hutter, Hoos, Leyton-Brown,
    "Sequential Model-Based Optimization for General Algorithm Configuration", 2011, section 4.1).
    """

    def __init__(self, seed: int, prior_scale: float, trees: int = 60, at_least: int = 6) -> None:
        """Stores the settings.

        Args:
            seed: of the forest.
            prior_scale: drop expected of a recipe whose log10 damage is 0, used before the forest is fitted.
            trees: size of the forest.
            at_least: evaluations needed before a forest is fitted.
        """
        self._seed = seed
        self._prior_scale = prior_scale
        self._trees = trees
        self._at_least = at_least
        self._forest: object | None = None
        self._residual = prior_scale

    def fit(self, features: FloatArray, drops: FloatArray) -> None:
        """Learns from evaluations: ``features`` of shape (n, columns), ``drops`` of shape (n,)."""
        if len(drops) < self._at_least:
            self._scale_prior(features, drops)
            return
        from sklearn.ensemble import RandomForestRegressor

        forest = RandomForestRegressor(
            n_estimators=self._trees,
            min_samples_leaf=2,
            max_features=0.5,
            bootstrap=True,
            oob_score=True,
            random_state=self._seed,
            n_jobs=1,
        )
        forest.fit(features, drops)
        out_of_bag = np.asarray(forest.oob_prediction_)
        self._residual = float(np.sqrt(np.mean((out_of_bag - drops) ** 2)))
        self._forest = forest

    def predict(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of the drop, each of shape (n,)."""
        if self._forest is None:
            mean = self._prior_scale * np.sqrt(10.0 ** features[:, 0])
            return mean, np.maximum(mean, self._residual)
        trees = np.stack([tree.predict(features) for tree in self._forest.estimators_])  # type: ignore[attr-defined]
        deviation = np.sqrt(trees.var(axis=0) + 0.25 * self._residual**2)
        return np.asarray(trees.mean(axis=0)), np.asarray(deviation)

    def _scale_prior(self, features: FloatArray, drops: FloatArray) -> None:
        # Drop grows about as the root of the relative squared error; one factor is fitted to what is known.
        root = np.sqrt(10.0 ** features[:, 0])
        if len(drops) and float((root**2).sum()) > 0:
            factor = float((root * np.maximum(drops, 0.0)).sum() / (root**2).sum())
            self._prior_scale = max(factor, 1e-6)
