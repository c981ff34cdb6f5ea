"""Equalization, reconstruction and a metric that fails, in real small searches within this process."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from autocompress.api.apply import candidate_of
from autocompress.api.compression import RunResult, compress
from autocompress.graph.model import model_bytes
from autocompress.search import polish as polishing

sys.path.append(str(Path(__file__).parents[1] / "passes"))
from quantize_models import run, uneven

SPACE = """
description: Small.
scheme:
  activation_range: [min_max]
  weight_granularity: [per_tensor]
precision:
  options: [fp32, int8]
  per: unit
steps:
  equalization: [cross_layer, smooth]
  reconstruction: [gptq]
search:
  proposals_per_build: 8
  screen: 2
"""
SAMPLES = np.random.default_rng(0).standard_normal((48, 3, 12, 12)).astype(np.float32)


@pytest.fixture
def searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AUTOCOMPRESS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "small.yaml").write_text(SPACE)
    onnx.save(uneven(), tmp_path / "model.onnx")

    def search(**options: Any) -> RunResult:
        settings = {"workers": 0, "trials": 7, "timeout": "60s", "search_space": str(tmp_path / "small.yaml")}
        places = {"output": str(tmp_path / "out"), "storage": str(tmp_path / "s.db")}
        return compress(tmp_path / "model.onnx", {"x": SAMPLES}, **{**settings, **places, **options})

    return search


def steps_of(candidate: Any) -> list[str]:
    return [step["step"] for step in candidate.recipe]


@pytest.mark.slow
def test_steps_are_searched_recorded_and_emitted(
    searched: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polishing, "_promising", lambda state, reach: state.ledger.complete[:1])
    judge, judged = polishing._reconstructed, []
    monkeypatch.setattr(polishing, "_reconstructed", lambda *given: judged.append(judge(*given)) or judged[-1])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "recipe.npz").write_bytes(b"of an older run")
    result = searched(trials=20)
    complete = [c for c in result.record.candidates if c.state == "complete"]
    assert any("equalize" in steps_of(c) for c in complete)
    polished = [c for c in complete if c.origin == "polish"]
    # What does not bring the output nearer to the original's is not evaluated.
    assert len(judged) == 1
    assert [steps_of(c)[-1] for c in polished] == ["reconstruct"] * sum(judged)
    document = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert (tmp_path / "out" / "recipe.npz").exists() == ("arrays" in document["data"])
    again = candidate_of(tmp_path / "out" / "recipe.json", tmp_path / "model.onnx")
    assert model_bytes(again) == (tmp_path / "out" / "best.onnx").read_bytes()


@pytest.mark.slow
def test_a_metric_that_fails_for_one_candidate_fails_that_trial(searched: Any) -> None:
    (original,) = run(uneven(), {"x": SAMPLES}).values()
    raised: list[str] = []

    def picky(outputs: Mapping[str, np.ndarray], data: Mapping[str, np.ndarray]) -> float:
        (values,) = outputs.values()
        known = any(np.allclose(values[0], row, rtol=1e-6, atol=1e-6) for row in original)
        if not known and not raised:
            raised.append("once")
            raise ZeroDivisionError("no value for this candidate")
        return float(values.mean())

    result = searched(metric=picky, trials=3, max_accuracy_drop=1.0)
    assert raised
    failed = [c for c in result.record.candidates if c.state == "failed"]
    assert ["no value for this candidate" in str(c.cause) for c in failed] == [True]
    assert any(c.state == "complete" for c in result.record.candidates)
