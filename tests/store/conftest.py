from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autocompress.store import CandidateRecord, NewStudy, Store, open_store


@pytest.fixture
def new_study() -> Callable[..., NewStudy]:
    def make(name: str = "mobilenet", **changes: Any) -> NewStudy:
        fields: dict[str, Any] = {
            "name": name,
            "model_fingerprint": "f" * 64,
            "model_path": "model.onnx",
            "model_size_bytes": 14_000_000_000,
            "runtime": "onnxruntime",
            "runtime_version": "1.31.0",
            "device": "AMD EPYC (avx512_vnni)",
            "threads": 1,
            "batch_size": 1,
            "metric": "top1",
            "config": {"target_speedup": 2.0, "max_accuracy_drop": 0.01, "seed": 0, "trials": 50},
            "versions": {"onnxruntime": "1.31.0"},
        }
        return NewStudy(**{**fields, **changes})

    return make


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "autocompress.db") as opened:
        yield opened


@pytest.fixture
def candidate() -> Callable[..., CandidateRecord]:
    def make(trial: int = 0, **changes: Any) -> CandidateRecord:
        fields: dict[str, Any] = {
            "trial": trial,
            "recipe_hash": f"{trial:012x}",
            "recipe": [{"step": "fold"}, {"step": "quantize", "config": {"precision": "int8"}}],
            "origin": "explore",
            "state": "complete",
        }
        return CandidateRecord(**{**fields, **changes})

    return make
