"""Whole runs on models and samples that are unusual: what comes out runs, and says what became of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from autocompress.api.compression import RunResult, compress
from autocompress.errors import DataError
from autocompress.graph import external, saving
from autocompress.graph.model import size_bytes

SPACE = """
description: Small.
scheme:
  activation_range: [min_max]
precision:
  options: [fp32, int8]
  per: unit
search:
  proposals_per_build: 8
  screen: 1
"""
WIDTH, DEPTH, SAMPLES = 64, 3, 40


@pytest.fixture
def compressed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A short run in this process on a model, or a path of one."""
    monkeypatch.setenv("AUTOCOMPRESS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "small.yaml").write_text(SPACE)

    def start(model: object, data: object, **options: Any) -> RunResult:
        chosen = {"workers": 0, "trials": 2, "metric": "cosine", "max_accuracy_drop": 0.2, "runtime": "replay"}
        places = {"output": tmp_path / "out", "storage": str(tmp_path / "s.db")}
        return compress(model, data, search_space=str(tmp_path / "small.yaml"), **{**chosen, **places, **options})

    return start


def outputs_of(path: Path, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, feeds)


def near(found: list[np.ndarray], expected: list[np.ndarray]) -> bool:
    return all(np.abs(a - b).max() <= 0.1 * np.abs(b).max() for a, b in zip(found, expected, strict=True))


def perceptron(path: Path) -> Path:
    """Three layers, each weight in a file of its own."""
    rng = np.random.default_rng(0)
    weights, nodes, name = [], [], "x"
    for i in range(DEPTH):
        weight = (rng.standard_normal((WIDTH, WIDTH)) * np.sqrt(2 / WIDTH)).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"w{i}"))
        nodes.append(helper.make_node("MatMul", [name, f"w{i}"], [f"m{i}"], f"matmul{i}"))
        nodes.append(helper.make_node("Relu", [f"m{i}"], [f"r{i}"], f"relu{i}"))
        name = f"r{i}"
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", WIDTH]) for n in ("x", name)]
    graph = helper.make_graph(nodes, "perceptron", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save_model(
        model,
        path,
        save_as_external_data=True,
        all_tensors_to_one_file=False,
        size_threshold=16,
        convert_attribute=True,
    )
    return path


@pytest.mark.parametrize("precision", ["int8", pytest.param("fp32", marks=pytest.mark.slow)])
def test_weights_in_several_files_that_no_message_could_hold(
    compressed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """With the limit of one message lowered, every candidate that keeps its weights float is a model over it."""
    (tmp_path / "in").mkdir()
    path = perceptron(tmp_path / "in" / "model.onnx")
    assert len(list((tmp_path / "in").iterdir())) == DEPTH + 1
    monkeypatch.setattr(saving, "ONE_FILE_LIMIT_BYTES", 2 * WIDTH * WIDTH)
    reads: list[str] = []
    read = external.ExternalReference.read

    def counted(reference: external.ExternalReference) -> bytes:
        if reference.path.parent == path.parent:
            reads.append(reference.tensor)
        return read(reference)

    monkeypatch.setattr(external.ExternalReference, "read", counted)
    samples = np.random.default_rng(1).standard_normal((SAMPLES, WIDTH)).astype(np.float32)
    options = {} if precision == "int8" else {"max_accuracy_drop": 1e-9}
    result = compressed(path, {"x": samples}, **options)
    assert sorted(reads) == [f"w{i}" for i in range(DEPTH)], "each weight was read once"
    best = tmp_path / "out" / "best.onnx"
    assert near(outputs_of(best, {"x": samples}), outputs_of(path, {"x": samples}))
    # Only the name of the file with the weights, which the model holds, is another one.
    assert abs(result.summary["best"]["size_bytes"] - size_bytes(best)) < 200
    if precision == "fp32":
        assert result.summary["best"].get("unchanged")
        assert best.read_bytes() == path.read_bytes()
    else:
        assert size_bytes(best) < 0.5 * size_bytes(path)
    assert not list((tmp_path / "out").glob("*.onnx.data")) or size_bytes(best) > 2 * WIDTH * WIDTH


def two_inputs() -> onnx.ModelProto:
    """A convolution of one input, an operator without an integer form, and a sum with the other input."""
    rng = np.random.default_rng(2)
    weights = [
        numpy_helper.from_array((rng.standard_normal((8, 4, 3, 3)) * 0.2).astype(np.float32), "w"),
        numpy_helper.from_array((rng.standard_normal((4, 8, 3, 3)) * 0.2).astype(np.float32), "v"),
        numpy_helper.from_array(np.int64(3), "axis"),
    ]
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["a"], "first", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("CumSum", ["b", "axis"], ["c"], "running"),
        helper.make_node("Conv", ["c", "v"], ["d"], "second", pads=[1] * 4),
        helper.make_node("Add", ["d", "shift"], ["y"], "sum"),
    ]
    named = {"image": ["n", 4, 6, 6], "shift": ["n", 4, 6, 6], "y": ["n", 4, 6, 6]}
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in named.items()]
    graph = helper.make_graph(nodes, "two", values[:2], values[2:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


def arrays(samples: int, seed: int = 3) -> dict[str, np.ndarray]:
    """In the other order than the model has its inputs."""
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal((samples, 4, 6, 6)).astype(np.float32) for name in ("shift", "image")}


CALIBRATION = {
    "one sample": lambda: arrays(1),
    "constants": lambda: {name: np.full((4, 4, 6, 6), 0.5, np.float32) for name in ("shift", "image")},
}


@pytest.mark.parametrize("kind", CALIBRATION)
def test_little_calibration_in_any_order_and_an_operator_without_integers(
    compressed: Any, tmp_path: Path, kind: str
) -> None:
    model, data = two_inputs(), arrays(SAMPLES)
    onnx.save(model, tmp_path / "given.onnx")
    result = compressed(tmp_path / "given.onnx", data, calibration_data=CALIBRATION[kind](), max_accuracy_drop=0.95)
    best = onnx.load(tmp_path / "out" / "best.onnx")
    assert "CumSum" in {node.op_type for node in best.graph.node}
    found, expected = (outputs_of(tmp_path / name, data) for name in ("out/best.onnx", "given.onnx"))
    assert [values.shape for values in found] == [values.shape for values in expected]
    assert all(np.isfinite(values).all() for values in found)
    assert result.summary["split"]["calibration"] == (1 if kind == "one sample" else 4)
    states = [candidate.state for candidate in result.record.candidates]
    assert "complete" in states and "failed" not in states


@pytest.mark.parametrize(("value", "named"), [(np.nan, "NaN"), (np.inf, "Inf")])
def test_calibration_data_that_are_no_numbers_are_refused(
    compressed: Any, tmp_path: Path, value: float, named: str
) -> None:
    broken = arrays(4)
    broken["image"][2, 0, 0, 0] = value
    with pytest.raises(DataError, match=f"'image' holds {named} at sample 2"):
        compressed(two_inputs(), arrays(SAMPLES), calibration_data=broken)
    assert not (tmp_path / "out" / "best.onnx").exists()
