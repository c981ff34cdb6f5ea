"""The stages before exploration: baseline, calibration, prices, screening, sensitivity."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from autocompress.errors import CandidateFailed, NothingToCompress
from autocompress.passes.quantize import FP32, INT8, QuantizeConfig
from autocompress.recipe.recipe import Recipe
from autocompress.runtimes.protocol import ExecutedOp
from autocompress.search import tasks
from autocompress.search.accuracy_predictor import AccuracyPredictor
from autocompress.search.affordable import affordable_samples
from autocompress.search.budget import make_budget
from autocompress.search.counted_size import counted_bytes
from autocompress.search.encoding import Encoding
from autocompress.search.equalizations import EQUALIZATION
from autocompress.search.features import RecipeFeatures, scheme_key
from autocompress.search.looks import Looks
from autocompress.search.prices import OPTIONS, LatencyPrices
from autocompress.search.probes import Probe, fit_prices, probe_recipes
from autocompress.search.proposals import Scorer
from autocompress.search.screening import KERNEL_FIELDS, kernel_choices
from autocompress.search.sensitivity import measure_sensitivity
from autocompress.search.settings import COMMAND, ESTIMATE
from autocompress.search.state import SearchState
from autocompress.search.surcharge import FORM, Choice

_KERNEL_TOLERANCE = 1.05
_MUCH_COVERAGE = 0.5  # less than this from another device's table is worth a word
_SENSITIVITY_SAMPLES = (16, 8, 4, 2)
# Sensitivities may take until this share of the time is used, or longer where the stages before took long.
_SENSITIVITY_DEADLINE, _SENSITIVITY_SHARE, _SENSITIVITY_LATEST = 0.4, 0.2, 0.7


def measure_baseline(state: SearchState) -> None:
    """Measures the uncompressed model and derives the budget."""
    state.progress.stage("measure the baseline")
    with state.stopwatch.stage("baseline"):
        state.baseline = state.executor.submit(tasks.baseline).result()
        if state.command is not None:
            state.baseline = replace(state.baseline, latency=state.command.baseline)
        if state.settings.verified_by == ESTIMATE:
            _estimate_baseline(state)
    for text in state.baseline.notices:
        state.notice(text)
    settings = state.settings
    state.budget = make_budget(
        baseline_latency_ms=_reference_ms(state),
        baseline_size_bytes=counted_bytes(state.baseline, settings.size_as),
        max_accuracy_drop=settings.max_accuracy_drop,
        target_speedup=settings.target_speedup,
        target_latency_ms=settings.target_latency_ms,
        target_size_factor=settings.target_size_factor,
        target_size_bytes=settings.target_size_bytes,
        size_as=settings.size_as,
    )
    if not state.units:
        raise NothingToCompress(
            "nothing to compress: the model has no operator with weights that this runtime can run in int8; "
            "it is left unchanged"
        )


def _reference_ms(state: SearchState) -> float:
    """The baseline's latency that targets refer to: measured, or estimated where nobody times anything."""
    assert state.baseline is not None
    if state.baseline.latency is not None:
        return state.baseline.latency.latency_ms
    assert state.baseline_estimate is not None
    return state.baseline_estimate.latency_ms


def _estimate_baseline(state: SearchState) -> None:
    """Opens the estimator over everything known now and prices the original model."""
    state.estimator = state.open_estimator()
    if not state.baseline_ops:
        state.baseline_ops = list(state.executor.submit(tasks.executed_baseline).result())
    state.baseline_estimate = state.estimator.estimate(state.baseline_ops)
    coverage = state.baseline_estimate.coverage
    if not state.settings.profiles and coverage < _MUCH_COVERAGE:
        state.notice(
            f"{coverage:.0%} of the original's estimated time comes from operators that the latency table has, the "
            "rest from predictors: profile the model there ('autocompress profile --model') for more"
        )
    if state.settings.verified_by == COMMAND and not state.settings.deterministic:
        state.anchor = _reference_ms(state) / state.baseline_estimate.latency_ms


def calibrate(state: SearchState) -> None:
    """Collects the statistics of every unit's tensors in one pass over the calibration part."""
    state.progress.stage("calibrate")
    with state.stopwatch.stage("calibrate"):
        begin_s = state.stopwatch.elapsed_s
        state.elements = state.executor.submit(tasks.calibrate).result()
        state.calibration_s = state.stopwatch.elapsed_s - begin_s


def price(state: SearchState) -> None:
    """Looks at whole-model candidates as the runtime executes them and fits additive latency prices."""
    with state.stopwatch.stage("profile"):
        state.progress.stage("price operators")
        state.encoding = Encoding(state.settings.space, state.regions)
        looks = Looks(state)
        kernels = _usable_kernels(state, looks)
        kernel = min(kernels, key=lambda row: row[1])
        state.in_play = _kernels_in_play(kernels, kernel[1])
        plain = QuantizeConfig(precision=INT8, **kernel[0])  # type: ignore[arg-type]
        configs = {frozenset[Choice](): plain, **_forms(state, plain)}
        looks.profile(None)
        probes = {choices: _probes(state, looks, config, plain) for choices, config in configs.items()}
        _estimate_baseline(state)
        assert state.estimator is not None
        prices = _fitted(state, probes[frozenset()], plain)
        prices = replace(
            prices,
            forms={
                choices: _form_prices(state, prices, {**probes[frozenset()], **probes[choices]}, config)
                for choices, config in configs.items()
                if choices
            },
        )
        state.prices = prices.with_factors(np.full(len(OPTIONS) + 2, state.anchor), 1.0)
        _say_what_is_unknown(
            state, [*state.baseline_ops, *(op for own in probes.values() for probe in own.values() for op in probe.ops)]
        )


def _forms(state: SearchState, plain: QuantizeConfig) -> dict[frozenset[Choice], QuantizeConfig]:
    """The combinations of choices under which something else is int8, or written in int8, than under the plain ones."""
    if INT8 not in state.settings.space.precision:
        return {}
    quantizer = state.builder.quantizer
    known = quantizer.plan(plain)
    found: dict[frozenset[Choice], QuantizeConfig] = {}
    for values in itertools.product(*(state.settings.space.scheme[name] for name in FORM)):
        choices = dict(zip(FORM, values, strict=True))
        config = replace(plain, **choices)  # type: ignore[arg-type]
        if quantizer.plan(config) != known:
            found[frozenset(choices.items())] = config
    return found


def _probes(state: SearchState, looks: Looks, config: QuantizeConfig, plain: QuantizeConfig) -> dict[str, Probe]:
    """The whole model in every precision; under other choices than the plain ones, only in int8."""
    recipes = probe_recipes(state.regions, config, state.settings.space.precision)
    names = recipes if config == plain else (INT8,)
    found = {name: (recipes[name][0], looks.at(recipes[name][1])) for name in names}
    size_as = state.settings.size_as
    return {name: Probe(options, seen.ops, counted_bytes(seen, size_as)) for name, (options, seen) in found.items()}


def _form_prices(
    state: SearchState, plain: LatencyPrices, probes: Mapping[str, Probe], config: QuantizeConfig
) -> LatencyPrices:
    """Prices under other choices; to take a tensor to int8 and back costs what it costs under the plain ones."""
    found = _fitted(state, probes, config)
    return replace(found, quantize=plain.quantize, dequantize=plain.dequantize)


def _fitted(state: SearchState, probes: Mapping[str, Probe], config: QuantizeConfig) -> LatencyPrices:
    assert state.estimator is not None
    return fit_prices(
        state.builder,
        state.regions,
        probes,
        state.estimator,
        state.elements,
        config,
        size_as=state.settings.size_as,
    )


def set_up_whole_model(state: SearchState) -> None:
    """Sets up the predictors before sensitivities are known: each unit has an even share of the damage."""
    best = state.screened[0]
    state.damage = _even_damage(state, best.damage)
    set_up_predictors(state, best.damage)


def sense(state: SearchState) -> None:
    """Measures the sensitivity of each unit under the scheme of the search, where units are chosen one by one."""
    assert state.scheme is not None
    if state.settings.space.per == "unit":
        precisions = set(state.settings.space.precision) - {FP32}
        wanted = sum(len(precisions & set(r.options)) for r in state.regions)
        state.progress.stage("measure sensitivity", total=wanted)
        deadline = _sensitivity_deadline(state)
        with state.stopwatch.stage("search"):
            state.damage = measure_sensitivity(
                state.executor,
                state.regions,
                state.scheme,
                state.settings.space.precision,
                affordable_samples(state, wanted, _SENSITIVITY_SAMPLES),
                state.progress.advance,
                lambda: state.stopwatch.used(deadline),
            )
        state.sensitivity_measured = True
        key = scheme_key(state.scheme)
        damage = next((s.damage for s in state.screened if scheme_key(s.recipe) == key), state.screened[0].damage)
        set_up_predictors(state, damage)


def _sensitivity_deadline(state: SearchState) -> float:
    """The share of the whole time until which sensitivities may be measured; infinite where no clock may steer."""
    timeout_s = state.settings.timeout_s
    if state.settings.deterministic or timeout_s is None:
        return float("inf")
    used = state.stopwatch.elapsed_s / timeout_s
    return min(max(_SENSITIVITY_DEADLINE, used + _SENSITIVITY_SHARE), _SENSITIVITY_LATEST)


def set_up_predictors(state: SearchState, scheme_damage: float) -> None:
    """Makes the scorer of the stem at hand from prices, sensitivities and screening."""
    assert state.damage is not None and state.prices is not None and state.scheme is not None
    relative = {scheme_key(s.recipe): s.damage / max(scheme_damage, 1e-12) for s in reversed(state.screened)}
    choices = {**state.settings.space.scheme, EQUALIZATION: state.equalizations}
    values = [(name, value) for name, allowed in choices.items() if len(allowed) > 1 for value in allowed]
    features = RecipeFeatures(state.damage, values, relative)
    predictor = AccuracyPredictor(state.settings.seed, prior_scale=max(state.settings.max_accuracy_drop, 1e-3))
    own = [s.damage for s in state.refined if scheme_key(s.recipe) == scheme_key(state.scheme)]
    for screened in state.refined if own else ():
        features.set_relative_damage(screened.recipe, screened.damage / max(own[0], 1e-12))
    state.scorer = Scorer(state.regions, state.prices, features, predictor)


def _say_what_is_unknown(state: SearchState, ops: Sequence[ExecutedOp]) -> None:
    assert state.estimator is not None
    unknown = sorted({op.signature.op_type for op in state.estimator.unknown(ops)})
    if unknown:
        state.notice(
            f"neither table nor forest knows {', '.join(unknown)} on this device: their latency is a stated bound only"
        )


def _usable_kernels(state: SearchState, looks: Looks) -> list[tuple[dict[str, object], float]]:
    """Each choice of integer kernels with the estimated time of the whole model in int8 under it."""
    listed = []
    choices = kernel_choices(state.settings.space, state.builder.rules.weight_dtypes)
    if choices and INT8 not in state.settings.space.precision:
        return [(choices[0], 0.0)]  # what the kernels of static int8 decide, nobody asks
    for kernel in choices:
        recipe = Recipe(QuantizeConfig(precision=INT8, **kernel))  # type: ignore[arg-type]
        try:
            ops = looks.at(recipe).ops
        except CandidateFailed as error:
            state.notice(f"integer kernels {kernel} were left out: {error}")
            continue
        listed.append((kernel, state.open_estimator().estimate(ops).latency_ms))
    if not listed:
        raise NothingToCompress("the runtime runs no int8 form of this model; it is left unchanged")
    return listed


def _kernels_in_play(
    kernels: list[tuple[dict[str, object], float]], fastest_ms: float
) -> dict[str, tuple[object, ...]]:
    kept = [kernel for kernel, latency_ms in kernels if latency_ms <= fastest_ms * _KERNEL_TOLERANCE]
    return {name: tuple(dict.fromkeys(kernel[name] for kernel in kept)) for name in KERNEL_FIELDS}


def _even_damage(state: SearchState, whole: float) -> npt.NDArray[np.float64]:
    """Without a choice per unit, the whole model's damage is spread evenly."""
    damage = np.full((len(state.regions), len(OPTIONS)), np.inf)
    damage[:, OPTIONS.index(FP32)] = 0.0
    for i, region in enumerate(state.regions):
        for option in region.options[1:]:
            damage[i, OPTIONS.index(option)] = whole / len(state.regions)
    return damage
