"""Quantization-aware training of one candidate: in the time that is left, after that was said."""

from __future__ import annotations

from dataclasses import replace

from autocompress.errors import CandidateFailed, DataError, ModelError, RecipeError, RuntimeFailure
from autocompress.passes.reconstruct import DISTILL, ReconstructConfig, gentle_training
from autocompress.passes.recover import expected_seconds
from autocompress.recipe.recipe import Recipe
from autocompress.search.state import SearchState
from autocompress.search.stems.cores import all_cores
from autocompress.search.tasks import bench
from autocompress.search.training_time import training_choices, usual_s, worth_training_s

# Choices that mean nothing to a quantized model, which is trained as a whole and stays as dense as it is.
_OF_FLOATS = frozenset({"distillation", "group_lasso", "l1"})


def distilled(state: SearchState, recipe: Recipe) -> Recipe:
    """A quantized candidate with a training of what it is quantized to as its last step."""
    assert state.settings.recovery in ("light", "full")
    settings = state.settings
    chosen = {name: value for name, value in settings.space.recovery.items() if name not in _OF_FLOATS}
    training = gentle_training(**training_choices(settings, chosen))
    return replace(recipe, reconstruct=ReconstructConfig(DISTILL, seed=settings.seed, training=training))


def training_s(state: SearchState, recipe: Recipe, left_s: float | None) -> float | None:
    """Seconds for the training, after its expected time was said; 0 where too little is left, None without a clock.

    Args:
        state: of the search.
        recipe: with a training as its last step.
        left_s: seconds that are left; None where no clock may steer.

    Raises:
        CandidateFailed: when the candidate cannot be trained.
    """
    assert recipe.reconstruct is not None and recipe.reconstruct.training is not None
    longest_s = state.executor.submit(expected_distillation_s, recipe, left_s is not None).result()
    expected_s = usual_s(recipe.reconstruct.training, longest_s)
    text = f"training of a quantized model takes about {expected_s:.0f} s here"
    if left_s is None:
        state.notice(text)
        return None
    given_s = worth_training_s(min(left_s, state.settings.longest_task_s), expected_s)
    state.notice(f"{text}; it has {given_s:.0f} s" if given_s else f"{text}; too little time is left for it")
    return given_s


def expected_distillation_s(recipe: Recipe, hurried: bool) -> float:
    """Runs in a worker: seconds that the training of a candidate will take here, from a timed step.

    Args:
        recipe: with a training as its last step.
        hurried: whether it will have a deadline, and then all processors.

    Raises:
        CandidateFailed: when it cannot be trained.
    """
    tools = bench()
    assert recipe.reconstruct is not None and recipe.reconstruct.training is not None
    try:
        candidate = tools.builder.build(tools.freezer.freeze(recipe.before("reconstruct")))
        with all_cores(hurried):
            return expected_seconds(
                candidate,
                tools.builder.prepared,
                recipe.reconstruct.training,
                tools.samples.unlabelled,
                timed_steps=1,
            )
    except (RecipeError, ModelError, DataError, RuntimeFailure) as error:
        raise CandidateFailed(f"the candidate cannot be trained: {error}") from error
