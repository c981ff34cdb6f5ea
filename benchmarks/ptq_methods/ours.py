"""Fixed recipes of this package: the same steps that a search may choose, chosen once for all models."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calibration_speed import ArraySource

import autocompress
from autocompress.graph.model import fingerprint, load_model, model_bytes
from autocompress.recipe.builder import CandidateBuilder, prepare
from autocompress.recipe.calibration import CalibrationSamples
from autocompress.recipe.freezer import Freezer
from autocompress.recipe.recipe import Recipe
from autocompress.runtimes import get_runtime
from autocompress.runtimes.protocol import SessionOptions
from ptq_methods.case import Built, Case, load_calibration

RUNTIME = "onnxruntime"


class FixedRecipe:
    """A recipe that looks at no label.

    Args:
        steps: step -> the fields of its configuration that differ from the defaults, in the order of recipes.
    """

    def __init__(self, **steps: Mapping[str, Any]) -> None:
        self._steps = [{"step": "fold"}, *({"step": name, "config": dict(config)} for name, config in steps.items())]

    def build(self, case: Case, target: Path) -> Built:
        """Writes the candidate; what other recipes have found already is found again, so that the time is its own."""
        start = time.process_time()
        freezer = _freezer(case)
        recipe = Recipe.from_steps(self._steps)
        target.write_bytes(model_bytes(freezer.builder.build(freezer.freeze(recipe))))
        return Built(time.process_time() - start, autocompress.__version__)


def _freezer(case: Case) -> Freezer:
    runtime = get_runtime(RUNTIME)
    arrays = load_calibration(case)
    samples = CalibrationSamples(
        load=lambda model: runtime.load(model_bytes(model), SessionOptions(threads=1)),
        open_source=lambda: ArraySource(arrays),
        indices=range(len(next(iter(arrays.values())))),
    )
    original = load_model(case.judged.model)
    return Freezer(CandidateBuilder(prepare(original), RUNTIME, fingerprint(original)), samples)
