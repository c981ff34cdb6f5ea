"""Importance of the channels of the original: asked once per criterion and process, for all groups."""

from __future__ import annotations

from autocompress.passes.prune import CRITERIA
from autocompress.passes.prune.criteria import Scores, Scoring
from autocompress.search.workbench import Workbench


def channel_scores(tools: Workbench, criterion: str) -> Scores:
    """Group name -> importance of its units in the prepared model.

    Args:
        tools: of this process.
        criterion: one of ``CRITERIA``.

    Raises:
        RecipeError: the model lacks what the criterion looks at.
        DataError: the samples give NaN.
    """
    if criterion not in tools.scores:
        model, analysis = tools.builder.prepared, tools.channels
        question = Scoring(model, analysis, analysis.groups, tools.samples.batches, original=tools.unfolded)
        tools.scores[criterion] = CRITERIA[criterion](question)
    return tools.scores[criterion]
