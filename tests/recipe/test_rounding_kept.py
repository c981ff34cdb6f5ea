"""Rounded weights outlive a run, so that a study that is resumed need not round them again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autocompress.graph.model import fingerprint, model_bytes
from autocompress.passes.quantize import QuantizeConfig
from autocompress.passes.reconstruct import ReconstructConfig
from autocompress.recipe.builder import CandidateBuilder, prepare
from autocompress.recipe.calibration import CalibrationSamples
from autocompress.recipe.freezer import Freezer
from autocompress.recipe.recipe import Recipe
from autocompress.runtimes import get_runtime

sys.path.append(str(Path(__file__).parents[1] / "passes"))
from quantize_models import ArraySource, FloatGraph, feeds_for


class CountedSamples(CalibrationSamples):
    """Counts how often somebody learns from batches."""

    passes: list[int] = []  # noqa: RUF012

    def batches(self) -> Iterator[dict[str, Any]]:
        self.passes.append(1)
        return super().batches()


def test_a_later_run_finds_what_an_earlier_one_rounded(tmp_path: Path) -> None:
    graph = FloatGraph(2)
    graph.output(graph.conv(graph.op("Relu", graph.conv(graph.input("x", 4, 6, 6), 4, 8)), 8, 4))
    model = graph.model()
    builder = CandidateBuilder(prepare(model), "onnxruntime", fingerprint(model))
    runtime, source = get_runtime("onnxruntime"), ArraySource(feeds_for(model))
    samples = CountedSamples(lambda m: runtime.load(model_bytes(m)), lambda: source, range(8))  # type: ignore[arg-type,return-value]
    recipe = Recipe(QuantizeConfig(), reconstruct=ReconstructConfig(method="gptq"))

    def run(name: str) -> bytes:
        (tmp_path / name).mkdir()
        freezer = Freezer(builder, samples, tmp_path / name, stems=tmp_path / "kept" / "study")
        freezer.prepare(recipe)
        return model_bytes(builder.build(freezer.freeze(recipe)))

    first = run("first")
    learnt = len(CountedSamples.passes)
    assert learnt > 0
    assert {path.suffix for path in (tmp_path / "kept" / "study").iterdir()} == {".json", ".npz"}
    assert not list((tmp_path / "first").glob("payloads-*"))
    assert run("second") == first
    assert len(CountedSamples.passes) == learnt
    nearest = builder.build(Freezer(builder, samples).freeze(Recipe(QuantizeConfig())))
    assert model_bytes(nearest) != first
