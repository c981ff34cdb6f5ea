"""Runs that put zeros into weights: for a compressed size that integers alone do not have, and never for speed."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from convolution_chain import convolution_chain

from autocompress.api.apply import candidate_of
from autocompress.api.compression import RunResult, compress
from autocompress.graph.model import model_bytes
from autocompress.passes.sparsify import report
from autocompress.recipe.files import read_recipe

SPACE = """
description: Small.
scheme:
  activation_range: [min_max]
precision:
  options: [fp32, int8]
  per: unit
steps:
  sparsity: [{criteria}]
  sparsity_pattern: [{patterns}]
search:
  proposals_per_build: 8
  screen: 1
"""
WIDTH, DEPTH = 48, 3


def heavy_tailed() -> onnx.ModelProto:
    """Convolutions in which few weights say nearly everything."""

    def drawn(rng: np.random.Generator, inputs: int) -> tuple[np.ndarray, np.ndarray]:
        weight = rng.standard_normal((WIDTH, inputs, 3, 3)) ** 3 * np.sqrt(0.15 / (inputs * 9))
        return weight, 0.1 * rng.standard_normal(WIDTH)

    return convolution_chain("heavy_tailed", WIDTH, DEPTH, 16, drawn)


@pytest.fixture
def searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AUTOCOMPRESS_CACHE", str(tmp_path / "cache"))
    onnx.save(heavy_tailed(), tmp_path / "model.onnx")
    samples = np.random.default_rng(0).standard_normal((64, 8, 16, 16)).astype(np.float32)

    def search(criteria: str = "wanda", patterns: str = "unstructured", **options: Any) -> RunResult:
        (tmp_path / "small.yaml").write_text(SPACE.format(criteria=criteria, patterns=patterns))
        places = {"output": tmp_path / "out", "storage": str(tmp_path / "s.db"), "study": "one"}
        chosen = {"workers": 0, "recovery": "none", "search_space": str(tmp_path / "small.yaml"), "metric": "cosine"}
        return compress(tmp_path / "model.onnx", {"x": samples}, **{**chosen, **places, **options})

    return search


def deflated(path: Path) -> int:
    return len(zlib.compress(path.read_bytes(), 6))


def has_zeros(candidate: Any) -> bool:
    return any(step["step"] == "sparsify" for step in candidate.recipe)


def check_emitted(folder: Path, result: RunResult, limit: float) -> None:
    """The size that is reported is that of the file, and every zero that the recipe chose is in it."""
    best = result.summary["best"]
    assert best["deflate_bytes"] == deflated(folder / "out" / "best.onnx") <= limit
    assert best["size_bytes"] == (folder / "out" / "best.onnx").stat().st_size
    assert result.summary["baseline"]["deflate_bytes"] == deflated(folder / "model.onnx")
    again = candidate_of(folder / "out" / "recipe.json", folder / "model.onnx")
    assert model_bytes(again) == (folder / "out" / "best.onnx").read_bytes()
    frozen = read_recipe(folder / "out" / "recipe.json")
    payload = frozen.payloads["sparsify"]
    rows = {row.name: row for row in report(onnx.load(folder / "out" / "best.onnx"))}
    for name, mask in payload.masks.items():
        assert rows[name].nonzero <= mask.sum()


@pytest.mark.slow
def test_a_compressed_size_that_integers_alone_do_not_have(searched: Any, tmp_path: Path) -> None:
    limit = 0.105 * deflated(tmp_path / "model.onnx")
    result = searched(
        "wanda, magnitude", target_size=f"{int(limit)}B", size_as="deflate", max_accuracy_drop=0.03, timeout="60s"
    )
    complete = [c for c in result.record.candidates if c.state == "complete"]
    alone = min(c.deflate_bytes for c in complete if not has_zeros(c))
    assert result.summary["target_met"] and alone > limit
    check_emitted(tmp_path, result, limit)
    finalists = result.summary["finalists"]
    assert all(row["deflate_bytes"] < row["size_bytes"] for row in finalists)
    document = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert {"sparsify", "recover", "quantize"} <= {step["step"] for step in document["steps"]}
    assert "Compressed for transfer" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.slow
def test_patterns_and_training_keep_exactly_n_of_m(searched: Any, tmp_path: Path) -> None:
    limit = 0.14 * deflated(tmp_path / "model.onnx")
    result = searched(
        "sparsegpt",
        '"2:4", "1:4"',
        target_size=f"{int(limit)}B",
        size_as="deflate",
        max_accuracy_drop=0.004,
        timeout="80s",
        recovery="light",
    )
    sparse = [c for c in result.record.candidates if has_zeros(c) and c.state == "complete"]
    trained = [c for c in sparse if any(s["step"] == "recover" and s["config"]["level"] == "light" for s in c.recipe)]
    assert trained
    assert min(c.deflate_bytes for c in sparse) <= limit
    if result.summary["target_met"]:
        check_emitted(tmp_path, result, limit)
        frozen = read_recipe(tmp_path / "out" / "recipe.json")
        rows = {row.name: row for row in report(onnx.load(tmp_path / "out" / "best.onnx"))}
        assert frozen.recipe.sparsify is not None
        assert all(pattern in rows[name].patterns for name, pattern in frozen.recipe.sparsify.layers)


@pytest.mark.slow
def test_zeros_are_not_searched_for_speed_and_that_is_said(searched: Any) -> None:
    result = searched(target_speedup=1.2, max_accuracy_drop=0.05, timeout="30s")
    assert not any(has_zeros(c) for c in result.record.candidates)
    said = [text for text in result.summary["notices"] if "sparsity was left out of the search" in text]
    assert len(said) == 1 and "--size-as deflate" in said[0]
    assert result.summary["best"]["deflate_bytes"] < result.summary["baseline"]["deflate_bytes"]
