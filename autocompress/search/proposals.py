"""Proposals: many recipes are bred and scored by the predictors for each one that is built.

An in-memory Optuna study (NSGA-II, started from the seeds and the best measured recipes) minimises predicted drop and
estimated latency; its trials cost microseconds of prediction instead of seconds of evaluation.  Of all it saw, the few
with the greatest expected use are handed back to be built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autocompress.measurement import EstimatedLatency
from autocompress.passes.quantize import QuantizeConfig
from autocompress.recipe.recipe import Recipe
from autocompress.search.accuracy_predictor import AccuracyPredictor
from autocompress.search.budget import Budget
from autocompress.search.encoding import Encoding, Params
from autocompress.search.features import RecipeFeatures
from autocompress.search.pareto import improvements
from autocompress.search.prices import OPTIONS, LatencyPrices
from autocompress.search.regions import Region
from autocompress.search.surcharge import choices_of

_BATCH = 16
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Proposal:
    """A recipe with what the predictors say of it; nothing here was measured.

    Attributes:
        recipe: the recipe.
        params: its Optuna parameters.
        drop: predicted accuracy drop.
        drop_deviation: standard deviation of that prediction.
        latency_ms: estimated latency.
        origin: "seed", "screen", "explore" or "polish".
    """

    recipe: Recipe
    params: Params
    drop: float
    drop_deviation: float
    latency_ms: float
    origin: str


class Scorer:
    """Scores recipes by the latency prices and the accuracy predictor.

    Attributes:
        prices: additive latency prices.
        known: what the predictor's features are made from.
        predictor: of the accuracy drop.
    """

    def __init__(
        self,
        regions: Sequence[Region],
        prices: LatencyPrices,
        features: RecipeFeatures,
        predictor: AccuracyPredictor,
    ) -> None:
        self._regions = tuple(regions)
        self.prices = prices
        self.known = features
        self.predictor = predictor

    def options(self, recipes: Sequence[Recipe]) -> IntArray:
        """Option of each region, of shape (recipes, regions)."""
        return np.array([self._row(recipe.quantize) for recipe in recipes], np.int64).reshape(len(recipes), -1)

    def features(self, recipes: Sequence[Recipe]) -> FloatArray:
        """Feature rows of recipes."""
        return self.known.rows(self.options(recipes), recipes)

    def price_ms(self, recipes: Sequence[Recipe]) -> FloatArray:
        """Estimated latency of recipes, of shape (recipes,)."""
        return self.prices.price_ms(self.options(recipes)) + self.added_us(recipes) * self.prices.scale / 1e3

    def added_us(self, recipes: Sequence[Recipe]) -> FloatArray:
        """What the choices of recipes that cost time add, before the prices' scale, of shape (recipes,)."""
        added = np.zeros(len(recipes))
        if not (self.prices.surcharges or self.prices.forms):
            return added
        made = [choices_of(recipe) for recipe in recipes]
        options = self.options(recipes)
        plain = self.prices.price_ms(options)
        for choices in dict.fromkeys(made):
            own = np.array([choices == others for others in made])
            added[own] = self.prices.under(choices).price_ms(options[own]) - plain[own]
        return np.asarray(np.nan_to_num(added) * 1e3 / self.prices.scale)

    def estimate(self, recipe: Recipe) -> EstimatedLatency:
        """Estimated latency of one recipe, with its interval."""
        options = [int(option) for option in self.options([recipe])[0]]
        return self.prices.under(choices_of(recipe)).estimate(options)

    def score(self, recipes: Sequence[Recipe]) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Predicted drop, its deviation and the estimated latency in ms, each of shape (recipes,)."""
        mean, deviation = self.predictor.predict(self.features(recipes))
        return mean, deviation, self.price_ms(recipes)

    def propose(self, encoding: Encoding, params: Sequence[Params], origin: str) -> list[Proposal]:
        """Recipes with their scores."""
        recipes = [encoding.to_recipe(p) for p in params]
        mean, deviation, latency = self.score(recipes)
        return [
            Proposal(recipe, given, float(m), float(d), float(ms), origin)
            for recipe, given, m, d, ms in zip(recipes, params, mean, deviation, latency, strict=True)
        ]

    def _row(self, config: QuantizeConfig | None) -> list[int]:
        if config is None:
            return [0] * len(self._regions)
        chosen = dict(config.exceptions)
        default = config.precision
        return [
            OPTIONS.index(chosen.get(u.name, default if default in u.options else OPTIONS[0])) for u in self._regions
        ]


def breed(
    encoding: Encoding,
    scorer: Scorer,
    parents: Sequence[Params],
    in_play: Mapping[str, tuple[object, ...]],
    *,
    count: int,
    seed: int,
) -> list[Proposal]:
    """Breeds and scores ``count`` recipes around the parents.

    Args:
        encoding: parameters of the space.
        scorer: the predictors.
        parents: parameters to start from.
        in_play: parameter name -> values to choose from, where fewer than the space allows.
        count: how many recipes.
        seed: of the sampler.
    """
    import optuna

    sampler = optuna.samplers.NSGAIISampler(
        population_size=max(min(len(parents), count // 3), 8),
        mutation_prob=None,
        crossover_prob=0.9,
        swapping_prob=0.3,
        seed=seed,
    )
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
    for params in parents:
        study.enqueue_trial({k: v for k, v in params.items() if v in in_play.get(k, (v,))})
    proposals: dict[str, Proposal] = {}
    for start in range(0, count, _BATCH):
        # Asked in batches, because a forest scores sixteen rows as fast as one.
        trials = [study.ask() for _ in range(min(_BATCH, count - start))]
        asked = [encoding.suggest(trial, in_play) for trial in trials]
        for trial, proposal in zip(trials, scorer.propose(encoding, asked, "explore"), strict=True):
            finite = np.isfinite(proposal.latency_ms)
            study.tell(trial, [proposal.drop, proposal.latency_ms if finite else 1e9])
            if finite:
                proposals.setdefault(proposal.recipe.hash, proposal)
    return list(proposals.values())


def choose(
    proposals: Sequence[Proposal],
    measured: Sequence[tuple[float, float]],
    budget: Budget,
    reference: tuple[float, float],
    *,
    count: int,
    margin: float,
) -> list[Proposal]:
    """The proposals most worth building.

    With a latency target half of them are those with the least predicted drop among those estimated to be fast enough;
    the others are those that, seen optimistically, enlarge the measured front most.

    Args:
        proposals: scored recipes, none of them built yet.
        measured: (drop, latency_ms) of what was evaluated.
        budget: limits of the study.
        reference: (drop, latency_ms) that bounds the hypervolume.
        count: how many to choose.
        margin: relative safety margin on the latency limit.
    """
    pool = list(proposals)
    chosen: list[Proposal] = []
    points = list(measured)
    while pool and len(chosen) < count:
        best: Proposal | None = None
        if budget.latency_ms is not None and len(chosen) % 2 == 0:
            limit = budget.latency_ms * (1 - margin)
            fast = [p for p in pool if p.latency_ms <= limit]
            best = min(fast, key=lambda p: (p.drop - 0.25 * p.drop_deviation, p.latency_ms), default=None)
        if best is None:
            optimistic = np.array([(p.drop - 0.5 * p.drop_deviation, p.latency_ms) for p in pool])
            gains = improvements(optimistic, points, reference)
            best = pool[int(gains.argmax())]
            if float(gains.max()) <= 0:
                break
        chosen.append(best)
        points.append((best.drop, best.latency_ms))
        pool = [p for p in pool if p.recipe.hash != best.recipe.hash]
    return chosen
