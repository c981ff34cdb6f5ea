"""How much of what masking channels costs comes back without labels, and in what time.

    python benchmarks/recovery.py FOLDER [--ratio 0.375] [--level full] [--deadline 150] [--threads 1]

FOLDER holds ``model.onnx`` (a classifier), ``calib.npz``, ``eval.npz`` (with labels) and ``meta.json`` (scale and bias
per channel).  The inner channels of each block, those between two convolutions, with the smallest L2 norms are set to
zero.  Training sees the calibration images and those of the first third of the evaluation, both without labels; hit
rates are of the other two thirds.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch

from autocompress.graph.index import GraphIndex
from autocompress.graph.model import load_model
from autocompress.graph.normalize import normalize
from autocompress.graph.torch_execution.weights import with_weights
from autocompress.passes.fold import fold
from autocompress.passes.recover import RecoverConfig, recover, resolve

Images = npt.NDArray[np.float32]


class Lines:
    """Prints the progress of a recovery, one line per evaluation."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def stage(self, name: str, total: int | None = None, limit_s: float | None = None) -> None:
        """Prints a stage."""
        self.detail(f"{name} ({total} steps, {limit_s} s)")

    def advance(self, n: int = 1) -> None:
        """Does nothing."""

    def detail(self, text: str) -> None:
        """Prints a line."""
        print(f"{time.monotonic() - self._start:7.1f} s  {text}", flush=True)

    best = detail
    notice = detail


def masked(model: onnx.ModelProto, ratio: float) -> onnx.ModelProto:
    """Zeros the weakest output channels of every convolution that only another convolution reads."""
    index = GraphIndex(model)
    arrays: dict[str, npt.NDArray[Any]] = {}
    for node in model.graph.node:
        reader = index.sole_consumer(node.output[0])
        if node.op_type != "Conv" or reader is None:
            continue
        if reader.op_type in ("Relu", "Clip"):
            reader = index.sole_consumer(reader.output[0])
        if reader is None or reader.op_type != "Conv":
            continue
        weight, bias = index.weight(node.input[1]).copy(), index.weight(node.input[2]).copy()
        norms = np.sqrt((weight.reshape(len(weight), -1).astype(np.float64) ** 2).sum(1))
        weakest = np.argsort(norms)[: round(ratio * len(norms))]
        weight[weakest], bias[weakest] = 0, 0
        arrays.update({node.input[1]: weight, node.input[2]: bias})
    return with_weights(model, arrays)


def hit_rate(model: onnx.ModelProto, images: Images, labels: npt.NDArray[np.int64]) -> float:
    """Top-1 in percent."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    hits = 0
    for start in range(0, len(images), 64):
        scores = session.run(None, {name: images[start : start + 64]})[0]
        hits += int((scores.argmax(1) == labels[start : start + 64]).sum())
    return 100.0 * hits / len(images)


def images_of(path: Path, meta: dict[str, Any], name: str) -> Images:
    """Preprocessed images of one file."""
    preprocess = meta["preprocess"]
    scale, bias = (np.asarray(preprocess[key], np.float32).reshape(1, -1, 1, 1) for key in ("scale", "bias"))
    raw = np.load(path)[name].astype(np.float32)
    images: Images = raw * scale + bias
    return images


def main() -> None:
    """Masks, recovers, and prints a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ratio", type=float, default=0.375)
    parser.add_argument("--level", default="full")
    parser.add_argument("--deadline", type=float, default=150.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="of RecoverConfig, as JSON")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    meta = json.loads((given.folder / "meta.json").read_text())
    teacher = fold(normalize(load_model(given.folder / "model.onnx")))
    student = masked(teacher, given.ratio)
    name = teacher.graph.input[0].name
    images = images_of(given.folder / "eval.npz", meta, name)
    labels = np.load(given.folder / "eval.npz")["y"]
    seen = len(images) // 3
    unlabelled = np.concatenate([images_of(given.folder / "calib.npz", meta, name), images[:seen]])

    def batches() -> Iterator[dict[str, Images]]:
        for start in range(0, len(unlabelled), 64):
            yield {name: unlabelled[start : start + 64]}

    config = replace(
        RecoverConfig(level=given.level),
        **{key: json.loads(value) for key, value in (text.split("=", 1) for text in given.set)},
    )
    cpu = time.process_time()
    payload = resolve(student, teacher, config, batches, progress=Lines(), deadline_s=given.deadline)
    cpu = time.process_time() - cpu
    recovered = recover(student, config, payload)
    rates = [hit_rate(model, images[seen:], labels[seen:]) for model in (teacher, student, recovered)]
    print(
        json.dumps(
            {
                "samples": len(unlabelled),
                "original": rates[0],
                "masked": rates[1],
                "recovered": rates[2],
                "cpu_seconds": round(cpu, 1),
                **{key: value for key, value in payload.history.items() if key != "reconstructed_layers"},
            }
        )
    )


if __name__ == "__main__":
    main()
