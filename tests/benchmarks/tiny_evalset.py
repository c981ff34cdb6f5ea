"""An evaluation set made here: one classifier of small images whose labels are what it answers, but for some."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from evalset_inputs import feeds, prepare
from independent_check import plain_session
from onnx import TensorProto, helper, numpy_helper

SCALE, BIAS = [0.02, 0.01], [-1.0, 0.5]


def write_evalset(tmp_path: Path) -> Path:
    """40 two-channel images, 10 of them with a wrong label; returns the folder of folders."""
    folder = tmp_path / "evalset" / "tiny"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    onnx.save(classifier(channels=64), str(folder / "model.onnx"))
    x = generator.integers(0, 256, (40, 2, 16, 16), dtype=np.uint8)
    np.savez(folder / "calib.npz", x=generator.integers(0, 256, (8, 2, 16, 16), dtype=np.uint8))
    np.savez(folder / "eval.npz", x=x, y=np.zeros(40, np.int32))
    meta = {
        "task": "classification",
        "inputs": [{"name": "image"}],
        "preprocess": {"scale": SCALE, "bias": BIAS},
        "measured": 75.0,
    }
    (folder / "meta.json").write_text(json.dumps(meta))
    inputs = prepare(folder, tmp_path / "labelling")
    answers = plain_session(inputs.model, 1).run(None, feeds(inputs, inputs.data, ["image"]))
    y = answers[0].argmax(1).astype(np.int32)
    y[:10] = (y[:10] + 1) % 4
    np.savez(folder / "eval.npz", x=x, y=y)
    return tmp_path / "evalset"


def classifier(channels: int) -> onnx.ModelProto:
    """Two convolutions and a maximum."""
    generator = np.random.default_rng(1)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(generator.standard_normal(shape).astype(np.float32) * 0.1, name)

    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "w1"], ["a"], kernel_shape=[3, 3], pads=[1] * 4),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("Conv", ["b", "w2"], ["c"], kernel_shape=[3, 3], pads=[1] * 4),
            helper.make_node("GlobalMaxPool", ["c"], ["d"]),
            helper.make_node("Flatten", ["d"], ["logits"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 2, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 4])],
        [weight("w1", channels, 2, 3, 3), weight("w2", 4, channels, 3, 3)],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
