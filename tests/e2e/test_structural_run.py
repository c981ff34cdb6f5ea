"""Runs that change the float model: faster than integers alone, resumable, and reproducible from the recipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from convolution_chain import convolution_chain

from autocompress.api.apply import candidate_of
from autocompress.api.compression import RunResult, compress
from autocompress.graph.model import model_bytes

SPACE = """
description: Small.
scheme:
  activation_range: [min_max]
precision:
  options: [fp32, int8]
  per: unit
steps:
  pruning: [l2]
search:
  proposals_per_build: 8
  screen: 1
"""
WIDTH, DEPTH = 64, 4


def wasteful() -> onnx.ModelProto:
    """Convolutions of which three quarters of the channels hardly matter."""

    def drawn(rng: np.random.Generator, inputs: int) -> tuple[np.ndarray, np.ndarray]:
        weight = rng.standard_normal((WIDTH, inputs, 3, 3)) * np.sqrt(2.0 / (inputs * 9))
        weight[WIDTH // 4 :] *= 0.02
        return weight, np.where(np.arange(WIDTH) < WIDTH // 4, 0.1 * rng.standard_normal(WIDTH), 0.0)

    return convolution_chain("wasteful", WIDTH, DEPTH, 24, drawn)


@pytest.fixture
def searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AUTOCOMPRESS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "small.yaml").write_text(SPACE)
    onnx.save(wasteful(), tmp_path / "model.onnx")
    samples = np.random.default_rng(0).standard_normal((64, 8, 24, 24)).astype(np.float32)

    def search(**options: Any) -> RunResult:
        places = {"output": tmp_path / "out", "storage": str(tmp_path / "s.db"), "study": "one"}
        chosen = {"workers": 0, "recovery": "none", "search_space": str(tmp_path / "small.yaml"), "metric": "cosine"}
        return compress(tmp_path / "model.onnx", {"x": samples}, **{**chosen, **places, **options})

    return search


def has_step(candidate: Any, name: str) -> bool:
    return any(step["step"] == name for step in candidate.recipe)


@pytest.mark.slow
def test_pruning_and_int8_together_reach_what_int8_alone_does_not(searched: Any, tmp_path: Path) -> None:
    result = searched(target_speedup=7.0, max_accuracy_drop=0.02, timeout="40s")
    complete = [c for c in result.record.candidates if c.state == "complete"]
    alone = max(c.search_speedup.speedup for c in complete if not has_step(c, "prune"))
    together = max(c.search_speedup.speedup for c in complete if has_step(c, "prune"))
    assert together > 1.3 * alone
    assert result.summary["target_met"] and alone < 7.0
    document = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert {"prune", "recover", "quantize"} <= {step["step"] for step in document["steps"]}
    again = candidate_of(tmp_path / "out" / "recipe.json", tmp_path / "model.onnx")
    assert model_bytes(again) == (tmp_path / "out" / "best.onnx").read_bytes()
    assert "prune" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.slow
def test_a_resumed_run_keeps_its_stems(searched: Any, tmp_path: Path) -> None:
    first = searched(target_speedup=200.0, max_accuracy_drop=0.02, timeout="25s")
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/stems/*/payloads-*")}
    stems = {c.recipe_hash for c in first.record.candidates if has_step(c, "prune")}
    assert kept and stems
    second = searched(target_speedup=200.0, max_accuracy_drop=0.02, timeout="40s", resume=True)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    hashes = [c.recipe_hash for c in second.record.candidates]
    assert stems <= set(hashes) and len(set(hashes)) == len(hashes)
    for path in kept:
        path.unlink()
    third = searched(target_speedup=200.0, max_accuracy_drop=0.02, timeout="25s", resume=True)
    assert not third.summary["target_met"]
