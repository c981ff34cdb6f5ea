"""Mean magnitude of the activations that a unit's readers read, on unlabelled samples."""

from __future__ import annotations

import numpy as np

from autocompress.calibration.outputs import ActivationSessions
from autocompress.errors import DataError
from autocompress.passes.decompose.patches import run_with_onnxruntime
from autocompress.passes.prune.criteria.scoring import (
    DoubleArray,
    Scores,
    Scoring,
    axis_units,
    normalized,
    per_unit,
    tensors_of,
)


def activation(scoring: Scoring) -> Scores:
    """Sum over the tensors of mean |x|, each tensor's with mean 1.

    Raises:
        RecipeError: there are no samples.
        DataError: the samples are empty or make activations infinite.
    """
    batches = scoring.samples("activation")
    shown = tensors_of(scoring)
    places = [
        (group, tensor, place, units)
        for group in scoring.groups
        for tensor in shown[group.name]
        for place, units in axis_units(scoring, group, tensor)
    ]
    sessions = ActivationSessions(scoring.model, scoring.load or run_with_onnxruntime)
    session = sessions.open(list(dict.fromkeys(tensor for _, tensor, _, _ in places)))
    sums: list[DoubleArray] = [np.zeros(len(units)) for _, _, _, units in places]
    count = 0
    for batch in batches():
        values = session.run({name: batch[name] for name in sessions.input_names})
        for total, (_, tensor, place, _) in zip(sums, places, strict=True):
            magnitudes = np.moveaxis(np.abs(np.asarray(values[tensor])), place, 0)
            total += magnitudes.reshape(len(total), -1).mean(axis=1, dtype=np.float64)
        count += 1
    if count == 0:
        raise DataError("there are no samples to score channels with; give --data with at least one")
    scores = {group.name: np.zeros(group.size) for group in scoring.groups}
    for total, (group, tensor, _, units) in zip(sums, places, strict=True):
        if not np.isfinite(total).all():
            raise DataError(f"the samples make {tensor!r} infinite or NaN; check the preprocessing")
        scores[group.name] += normalized(per_unit(group, units, total))
    return scores
