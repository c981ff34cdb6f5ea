"""What the layers behind lose, solved anew without the unit and all less important ones (see ``surgery``).

A score is that loss, relative to the variance of what those layers give, so the scores of a group are its curve of loss
against width.  Units that only computed products or grouped and transposed convolutions read have no such layers; they
count by the share of the squared mean magnitudes that goes with them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from autocompress.passes.prune.criteria.activation import activation
from autocompress.passes.prune.criteria.scoring import DoubleArray, Scores, Scoring
from autocompress.passes.prune.moments import column_units, in_portions, read_moments, readers_of
from autocompress.passes.prune.surgery import removal_losses

_MAX_BYTES = 256 * 1024 * 1024


def surgeon(scoring: Scoring) -> Scores:
    """Loss by the time that a unit has gone.

    Raises:
        RecipeError: there are no samples.
        DataError: the samples are empty or give NaN.
    """
    batches = scoring.samples("surgeon")
    scores: Scores = {}
    for portion in in_portions(scoring.model, scoring.groups, _MAX_BYTES):
        readers = read_moments(scoring.model, readers_of(scoring.model, portion), batches, scoring.load)
        for group in portion:
            own = [readers[name] for name in group.readers if name in readers]
            if own:
                readings = [(reader, column_units(group, reader.layer)) for reader in own]
                scores[group.name] = removal_losses(readings, group.size)
    unread = tuple(group for group in scoring.groups if group.name not in scores)
    if unread:
        magnitudes = activation(replace(scoring, groups=unread))
        scores.update({name: _shares(values) for name, values in magnitudes.items()})
    return scores


def _shares(magnitudes: DoubleArray) -> DoubleArray:
    """The share of all squares that has gone with each unit, from the smallest on."""
    squares = np.square(magnitudes)
    order = np.argsort(squares, kind="stable")
    shares = np.empty(len(squares))
    shares[order] = np.cumsum(squares[order]) / max(float(squares.sum()), 1e-30)
    return shares
