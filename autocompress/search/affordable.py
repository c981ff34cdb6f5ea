"""How many samples a series of damage measurements may use."""

from __future__ import annotations

from autocompress.search.state import SearchState

_SHARE = 0.1


def affordable_samples(state: SearchState, measurements: int, choices: tuple[int, ...]) -> int:
    """The most samples per measurement that fit into a tenth of the time; a fixed number where no clock may steer.

    Args:
        state: of the search.
        measurements: how many there will be at most.
        choices: numbers of samples to choose from, the largest first.
    """
    assert state.baseline is not None
    if state.settings.deterministic or state.settings.timeout_s is None:
        return choices[1]
    once_s = measurements * state.baseline.run_s
    return next((n for n in choices if n * once_s <= _SHARE * state.settings.timeout_s), choices[-1])
