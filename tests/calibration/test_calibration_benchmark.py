"""The speed benchmark, as a person runs it, on a small model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from autocompress.calibration.ranges import ALGORITHMS

ROOT = Path(__file__).parents[2]


def test_benchmark_reports_every_algorithm(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 10, 10])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, 8, 8])],
        [numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", x=np.ones((5, 3, 10, 10), np.float32), labels=np.zeros(5))
    command = [sys.executable, "benchmarks/calibration_speed.py", "--model", tmp_path / "m.onnx"]
    command += ["--data", tmp_path / "d.npz", "--output", tmp_path / "out.json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT)})
    document = json.loads(done.stdout)
    assert document == json.loads((tmp_path / "out.json").read_text())
    assert document["collection"]["tensors"] == 3
    assert document["collection"]["samples"] == 5
    assert document["collection"]["values_per_sample"] == 300 + 256 + 256
    assert set(document["ranges_cpu_s"]["uint8_asymmetric"]) == {*ALGORITHMS, "all_s"}
