"""Looks at candidates as the runtime executes them, each once, and has operators timed that no table knows."""

from __future__ import annotations

from autocompress.recipe.recipe import Recipe
from autocompress.search import tasks
from autocompress.search.results import ProbeResult
from autocompress.search.state import SearchState

_PROFILE_S, _PROFILE_SHARE = 20.0, 0.15


class Looks:
    """What was looked at so far.

    Args:
        state: of the search.
    """

    def __init__(self, state: SearchState) -> None:
        self._state = state
        self._known: dict[str, ProbeResult] = {}
        timeout_s = state.settings.timeout_s
        elapsed_s = state.stopwatch.elapsed_s
        self._until_s = float("inf") if timeout_s is None else elapsed_s + _PROFILE_SHARE * timeout_s

    def at(self, recipe: Recipe) -> ProbeResult:
        """A candidate as executed.

        Raises:
            CandidateFailed: when it cannot be built or loaded.
        """
        if recipe.hash not in self._known:
            self.profile(recipe)
            self._known[recipe.hash] = self._state.executor.submit(tasks.probe, recipe).result()
        return self._known[recipe.hash]

    def profile(self, recipe: Recipe | None) -> None:
        """Times the operators of a candidate (of the original for None), unless tables are about another device.

        Raises:
            CandidateFailed: when it cannot be built or loaded.
        """
        state = self._state
        if not state.settings.profiles:
            return
        left_s = self._until_s - state.stopwatch.elapsed_s
        if left_s <= 0:
            state.notice("not all operators that no table has were timed: too little time; give a longer --timeout")
            return
        refusal = state.executor.submit(tasks.profile, recipe, min(left_s, _PROFILE_S)).result()
        if refusal is not None:
            state.notice(f"operators that no table has were not timed: {refusal}")
