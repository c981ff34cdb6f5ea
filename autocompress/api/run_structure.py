"""What a run did to the layers of its model, for summary and report: read off the model that it wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx

from autocompress.api.feeds import bound_model
from autocompress.api.opening import OpenRun
from autocompress.api.structure import changes_document, stored_layers
from autocompress.errors import ModelError
from autocompress.graph.model import load_model
from autocompress.recipe.recipe import Recipe
from autocompress.report.structure import side_by_side
from autocompress.search.stems.curves import curves_of
from autocompress.search.stems.survey import first_criterion
from autocompress.store.plain import json_ready


def run_structure(run: OpenRun, best: Recipe | None, emitted: Path) -> dict[str, Any]:
    """Keys for the summary.

    Args:
        run: the run.
        best: recipe of the result; None where the model stays as it was.
        emitted: the model file that it wrote.

    Returns:
        ``structure`` where the recipe changes layers themselves (see ``changes_document``), and ``curves`` where the
        search has measured what smaller layers lose.
    """
    found: dict[str, Any] = {}
    if best is not None and _changes_layers(best):
        before = stored_layers(_bound(run, run.request.model)).facts
        after = stored_layers(_bound(run, load_model(emitted))).facts
        if before and after:
            found["structure"] = changes_document(side_by_side(before, after), before, after)
    if run.state.surveyed:
        curves = curves_of(run.state.surveyed, first_criterion(run.state), best)
        found["curves"] = [curve.to_dict() for curve in curves]
    return dict(json_ready(found))


def _changes_layers(recipe: Recipe) -> bool:
    return any(step is not None for step in (recipe.downsample, recipe.decompose, recipe.prune, recipe.sparsify))


def _bound(run: OpenRun, model: onnx.ModelProto) -> onnx.ModelProto:
    """With its sizes as numbers; as it is where samples alone tell them, and multiply-adds are unknown then."""
    config = run.request.config
    try:
        return bound_model(model, config.shapes, config.batch_size)
    except ModelError:
        return model
