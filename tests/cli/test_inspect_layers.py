"""``autocompress inspect``, layer by layer: zeros are those of the file, not those that kernels add."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from autocompress.cli.main import main


@pytest.fixture
def inspect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Writes a model of two convolutions with these weights, and inspects it."""
    monkeypatch.setenv("AUTOCOMPRESS_CACHE", str(tmp_path / "cache"))

    def write(name: str, first: np.ndarray, second: np.ndarray) -> str:
        nodes = [
            helper.make_node("Conv", ["x", "w1"], ["a"], "first", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["a"], ["b"], "relu"),
            helper.make_node("Conv", ["b", "w2"], ["y"], "second", kernel_shape=[1, 1]),
        ]
        values = [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, first.shape[1], 16, 16]),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, second.shape[0], 16, 16]),
        ]
        weights = [numpy_helper.from_array(w.astype(np.float32), n) for n, w in (("w1", first), ("w2", second))]
        graph = helper.make_graph(nodes, "g", values[:1], values[1:], weights)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / name)
        return str(tmp_path / name)

    def run(first: np.ndarray, second: np.ndarray, *options: str, against: Any = None) -> str:
        other = [] if against is None else ["--against", write("original.onnx", *against)]
        assert main(["inspect", write("model.onnx", first, second), *other, *options]) == 0
        return capsys.readouterr().out

    return run


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape) + np.random.default_rng(0).uniform(0, 1, shape)


def test_padding_of_blocked_kernels_is_no_sparsity(inspect: Any) -> None:
    document = json.loads(inspect(ones(20, 16, 3, 3), ones(12, 20, 1, 1), "--json"))
    packed = [row["parameters"] for row in document["ops"]]
    if max(packed) <= 20 * 16 * 9:
        pytest.skip("the kernels of this processor fill up no channels")
    assert [row["sparsity"] for row in document["ops"]] == [0.0] * len(packed)
    totals = document["totals"]
    assert (totals["sparsity"], totals["weights"], totals["nonzero"]) == (0.0, 2880 + 240, 2880 + 240)
    assert [layer["macs"] for layer in document["layers"]] == [256 * 2880, 256 * 240]
    assert document["stored"] is None and document["changes"] is None


def test_zeros_are_said_with_what_they_are_worth(inspect: Any) -> None:
    sparse = ones(32, 16, 3, 3)
    sparse[:, ::2] = 0
    sparse[5] = 0
    text = inspect(sparse, ones(12, 32, 1, 1))
    assert "multiplies them like other numbers, so they save no time" in " ".join(text.split())
    assert "1 output channel in 1 layer is all zero" in " ".join(text.split())
    assert "Layers with zeros" in text and "51.6 %" in text and "50.0 %" in text and "3.1 %" in text
    assert "2:4" in text and "1 other layer" in text
    document = json.loads(inspect(sparse, ones(12, 32, 1, 1), "--json"))
    stored = document["stored"]
    assert stored["bitmask_bytes"] < 0.62 * stored["file_bytes"] and stored["deflate_bytes"] < stored["file_bytes"]
    zeros = 32 * 16 * 9 * (1 - 31 / 32 * 0.5)
    assert document["totals"]["sparsity"] == pytest.approx(zeros / (32 * 16 * 9 + 12 * 32))
    assert max(row["sparsity"] for row in document["ops"]) == pytest.approx(1 - 31 / 64)


def test_layers_are_put_beside_those_of_the_original(inspect: Any) -> None:
    text = inspect(ones(24, 16, 3, 3), ones(12, 24, 1, 1), against=(ones(32, 16, 3, 3), ones(12, 32, 1, 1)))
    assert "pruned 32 → 24 outputs" in text and "pruned 32 → 24 inputs" in text
    assert "1.18 M -> 885 k" in text and "unchanged: 0 layers" in text
