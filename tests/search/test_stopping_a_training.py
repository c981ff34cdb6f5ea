"""Ctrl-C while a worker trains: the training ends with its best weights, and a second one ends everything."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from autocompress.passes.recover import RecoverConfig, resolve
from autocompress.progress import NullProgress
from autocompress.search.progress_file import ProgressFile, ask_to_stop, read_progress
from autocompress.search.waiting import wait_for

sys.path.append(str(Path(__file__).parents[1] / "passes"))
from quantize_models import FloatGraph

torch.set_num_threads(1)


class Interrupted:
    """A task during which Ctrl-C is pressed a number of times."""

    def __init__(self, times: int) -> None:
        self._left = times

    def result(self, timeout: float) -> str:
        if self._left:
            self._left -= 1
            raise KeyboardInterrupt
        return "made"

    def done(self) -> bool:
        return True


def state() -> Any:
    return SimpleNamespace(interrupted=False, progress=NullProgress())


def test_the_first_asks_the_training_to_end(tmp_path: Path) -> None:
    path, searching = tmp_path / "progress-abc.json", state()
    worker = ProgressFile(path)
    worker.stage("recover", total=5)
    worker.advance()
    assert wait_for(searching, Interrupted(1), path, "recover", trains=True) == "made"  # type: ignore[arg-type]
    assert searching.interrupted
    with pytest.raises(KeyboardInterrupt):
        worker.advance()
    assert read_progress(path).done == 1
    ProgressFile(tmp_path / "progress-other.json").advance()  # nobody asked that one


def test_the_second_and_those_that_nothing_is_kept_of_end_at_once(tmp_path: Path) -> None:
    path = tmp_path / "progress-abc.json"
    for times, options in ((2, {"trains": True}), (1, {"trains": False})):
        with pytest.raises(KeyboardInterrupt):
            wait_for(state(), Interrupted(times), path, "recover", **options)  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        wait_for(state(), Interrupted(1), None, "recover", trains=True)  # type: ignore[arg-type]


def layer(seed: int) -> onnx.ModelProto:
    graph = FloatGraph(seed)
    graph.output(graph.op("Gemm", graph.input("x", 6), graph.random(6, 5), graph.random(5), out="y"))
    return graph.model()


def test_what_was_learnt_until_then_is_kept(tmp_path: Path) -> None:
    data = np.random.default_rng(3).standard_normal((128, 6)).astype(np.float32)
    path = tmp_path / "progress.json"

    def batches() -> Iterator[dict[str, np.ndarray]]:
        yield {"x": data}

    class StopsLater(ProgressFile):
        def detail(self, text: str) -> None:
            super().detail(text)
            if self._step.done >= 40:
                ask_to_stop(path)

    config = RecoverConfig(steps=400, closed_form=False, augment=False, output_loss="mse", ema_decay=0.0, held_out=0.25)
    found = resolve(layer(1), layer(2), config, batches, progress=StopsLater(path))
    assert 40 <= found.history["steps"] < 400
    assert found.weights and found.history["loss_after"] < found.history["loss_before"]
