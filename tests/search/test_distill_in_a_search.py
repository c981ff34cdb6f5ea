"""Training of a quantized candidate as the last stage of a real small search within this process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from autocompress.api.apply import candidate_of
from autocompress.api.compression import compress
from autocompress.graph.model import model_bytes
from autocompress.search import polish as polishing

sys.path.append(str(Path(__file__).parents[1] / "passes"))
from quantize_models import uneven

SPACE = """
description: Small.
scheme:
  activation_range: [min_max]
  weight_granularity: [per_tensor]
precision:
  options: [int8]
  per: model
steps:
  reconstruction: [distill]
recovery:
  steps: 60
  learning_rate: 0.01
  batch_size: 8
  augment: false
search:
  screen: 1
"""
SAMPLES = np.random.default_rng(0).standard_normal((96, 3, 12, 12)).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("recovery", ["light", "none"])
def test_the_best_is_trained_where_recovery_allows_it(
    recovery: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    monkeypatch.setenv("AUTOCOMPRESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(polishing, "_promising", lambda state, reach: state.ledger.complete[:1])
    (tmp_path / "small.yaml").write_text(SPACE)
    onnx.save(uneven(), tmp_path / "model.onnx")
    options: dict[str, Any] = {"workers": 0, "trials": 20, "timeout": "120s", "recovery": recovery}
    places = {"output": str(tmp_path / "out"), "storage": str(tmp_path / "s.db")}
    space = {"search_space": str(tmp_path / "small.yaml")}
    result = compress(tmp_path / "model.onnx", {"x": SAMPLES}, **options, **places, **space)
    polished = [c for c in result.record.candidates if c.origin == "polish"]
    if recovery == "none":
        assert not polished
        return
    assert polished, result.record
    (candidate,) = polished
    assert candidate.state == "complete"
    step = candidate.recipe[-1]
    assert step["step"] == "reconstruct" and step["config"]["training"]["steps"] == 60
    # It is nearer to the original on the few samples held out, so about as near on others.
    before = min(result.record.candidates, key=lambda c: c.trial)
    assert candidate.damage < 2 * before.damage
    again = candidate_of(tmp_path / "out" / "recipe.json", tmp_path / "model.onnx")
    assert model_bytes(again) == (tmp_path / "out" / "best.onnx").read_bytes()
