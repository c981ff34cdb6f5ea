"""How a stem is trained, and for how long."""

from __future__ import annotations

from dataclasses import replace

from autocompress.latency.device import identify_device
from autocompress.passes.recover import RecoverConfig
from autocompress.recipe.recipe import Recipe
from autocompress.search.reserve import searching_until
from autocompress.search.state import SearchState
from autocompress.search.stems import tasks
from autocompress.search.training_time import is_hurried, training_choices, usual_s, worth_training_s

ROUND_SHARE = 0.05
"""Of the time, for the candidates of one stem."""

_BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16"})
_FASTER = 0.95  # of the time that bfloat16 takes: some layers have no fast kernels in it


def trained_forms(state: SearchState, stem: Recipe) -> list[Recipe]:
    """A stem with the training that its space asks for, and in float32 where bfloat16 may be slower on this processor.

    Without a clock there is nothing to hurry for, and no choice may depend on this machine.
    """
    settings = state.settings
    chosen = training_choices(settings, settings.space.recovery)
    if settings.deterministic:
        chosen = {"bfloat16": False, **chosen}
    config = RecoverConfig.from_dict(chosen)
    forms = [config]
    asks = is_hurried(settings) and config.bfloat16 and "bfloat16" not in chosen
    if asks and not _BFLOAT16.isdisjoint(identify_device().isa):
        forms.append(replace(config, bfloat16=False))
    return [replace(stem, recover=form) for form in forms]


def plan_training(state: SearchState, forms: list[Recipe], jobs: int) -> tuple[Recipe, float | None]:
    """The form that trains fastest, and the seconds it gets, after its expected time was said.

    Args:
        state: of the search.
        forms: of one stem.
        jobs: trainings that are still to share the time, this one included.

    Returns:
        The form, and its seconds: 0 where too little time is left, None where no clock may steer.

    Raises:
        CandidateFailed: when the stem cannot be trained.
    """
    settings = state.settings
    recipe, longest_s = _fastest(state, forms, hurried=is_hurried(settings))
    assert recipe.recover is not None
    expected_s = usual_s(recipe.recover, longest_s)
    text = f"recovery '{recipe.recover.level}' of a smaller model takes about {expected_s:.0f} s here"
    timeout_s = settings.timeout_s
    if not is_hurried(settings) or timeout_s is None:
        state.notice(text)
        return recipe, None
    left_s = searching_until(state) * timeout_s - state.stopwatch.elapsed_s - jobs * ROUND_SHARE * timeout_s
    # Two short trainings are worth less than one of full length.
    given_s = left_s / jobs if left_s / jobs >= expected_s else min(left_s, 1.2 * expected_s)
    given_s = worth_training_s(min(given_s, settings.longest_task_s), expected_s)
    if given_s > 0:
        state.notice(f"{text}; it has {given_s:.0f} s")
    return recipe, given_s


def _fastest(state: SearchState, forms: list[Recipe], *, hurried: bool) -> tuple[Recipe, float]:
    """The first form, or another one that takes clearly less time; and its expected seconds."""
    best, *others = [(form, _expected_s(state, form, hurried)) for form in forms]
    for other in others:
        if other[1] < _FASTER * best[1]:
            best = other
    return best


def _expected_s(state: SearchState, form: Recipe, hurried: bool) -> float:
    expected_s: float = state.executor.submit(tasks.expected_recovery_s, form, hurried).result()
    return expected_s
