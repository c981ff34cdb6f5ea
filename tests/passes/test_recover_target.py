"""Training that ends once it has done enough."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from autocompress.errors import RecipeError
from autocompress.passes.recover import RecoverConfig, resolve

sys.path.append(str(Path(__file__).parent))
from quantize_models import FloatGraph

torch.set_num_threads(1)
DATA = np.random.default_rng(3).standard_normal((128, 6)).astype(np.float32)
CONFIG = RecoverConfig(steps=400, closed_form=False, augment=False, output_loss="mse", held_out=0.25, ema_decay=0.0)


def layer(seed: int) -> onnx.ModelProto:
    graph = FloatGraph(seed)
    graph.output(graph.op("Gemm", graph.input("x", 6), graph.random(6, 5), graph.random(5), out="y"))
    return graph.model()


def batches() -> Iterator[dict[str, np.ndarray]]:
    yield {"x": DATA}


def test_training_ends_at_its_target() -> None:
    told = resolve(layer(1), layer(2), replace(CONFIG, target_loss=0.5), batches).history
    assert 0 < told["steps"] < 400
    assert told["loss_after"] <= 0.5 * told["loss_before"]
    unending = resolve(layer(1), layer(2), CONFIG, batches).history
    assert unending["steps"] == 400
    assert unending["loss_after"] < told["loss_after"]


def test_configurations_without_a_target_are_those_from_before() -> None:
    assert "target_loss" not in CONFIG.to_dict()
    aimed = replace(CONFIG, target_loss=0.25)
    assert aimed.to_dict()["target_loss"] == 0.25 and RecoverConfig.from_dict(aimed.to_dict()) == aimed
    with pytest.raises(RecipeError, match=r"target_loss is 1\.5"):
        replace(CONFIG, target_loss=1.5)
