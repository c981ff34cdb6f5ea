"""A run that makes the image smaller inside the network, and reaches what integers alone do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from convolution_chain import INPUTS, convolution_chain

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
  downsampling: [linear]
search:
  proposals_per_build: 8
  screen: 1
"""
WIDTH, DEPTH, SIZE = 48, 4, 24


def chain() -> onnx.ModelProto:
    def drawn(rng: np.random.Generator, inputs: int) -> tuple[np.ndarray, np.ndarray]:
        weight = rng.standard_normal((WIDTH, inputs, 3, 3)) * np.sqrt(2.0 / (inputs * 9))
        return weight, 0.1 * rng.standard_normal(WIDTH)

    return convolution_chain("chain", WIDTH, DEPTH, SIZE, drawn)


def smooth_images(count: int) -> np.ndarray:
    """Pictures without details, of which a lower resolution loses little."""
    rng = np.random.default_rng(0)
    rows = np.linspace(0, np.pi, SIZE)[:, None, None]
    waves = np.cos(rows * np.arange(3)[None, :, None])[:, :, 0]
    values = rng.standard_normal((count, INPUTS, 3, 3))
    return np.einsum("ncij,hi,wj->nchw", values, waves, waves).astype(np.float32)


def run(folder: Path, **options: Any) -> RunResult:
    (folder / "small.yaml").write_text(SPACE)
    onnx.save(chain(), folder / "model.onnx")
    places = {"output": folder / "out", "storage": str(folder / "s.db"), "study": "one"}
    chosen = {"workers": 0, "recovery": "none", "search_space": str(folder / "small.yaml"), "metric": "cosine"}
    return compress(folder / "model.onnx", {"x": smooth_images(64)}, **{**chosen, **places, **options})


def resolution_of(candidate: Any) -> int | None:
    return next((step["config"]["height"] for step in candidate.recipe if step["step"] == "downsample"), None)


@pytest.mark.slow
def test_a_smaller_image_reaches_what_int8_alone_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOCOMPRESS_CACHE", str(tmp_path / "cache"))
    unreachable = run(tmp_path, target_speedup=1000.0, max_accuracy_drop=0.02, timeout="20s")
    complete = [c for c in unreachable.record.candidates if c.state == "complete"]
    alone = max(c.search_speedup.speedup for c in complete if resolution_of(c) is None)
    smaller = max(c.search_speedup.speedup for c in complete if resolution_of(c) is not None)
    assert smaller > 1.15 * alone
    assert not unreachable.summary["target_met"]
    document = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert {"downsample", "quantize"} <= {step["step"] for step in document["steps"]}
    again = candidate_of(tmp_path / "out" / "recipe.json", tmp_path / "model.onnx")
    assert model_bytes(again) == (tmp_path / "out" / "best.onnx").read_bytes()
    emitted = onnx.load(tmp_path / "out" / "best.onnx")
    assert [d.dim_value for d in emitted.graph.input[0].type.tensor_type.shape.dim][1:] == [INPUTS, SIZE, SIZE]
    assert sum(node.op_type == "Resize" for node in emitted.graph.node) == 1
    assert "pixels" in (tmp_path / "out" / "report.html").read_text()
