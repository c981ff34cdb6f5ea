"""What a user brings: tiny models, samples in files, metrics of their own; and their shell."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = 4
IMAGE = (3, 16, 16)


def save_classifier(path: Path, *, batch: str | int = 1, channels: int = 16, opset: int = 17) -> Path:
    """Two convolutions, a pooling and a linear layer; its input is ``x``, its output ``scores``."""
    generator = np.random.default_rng(1)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        values = generator.standard_normal(shape) * np.sqrt(2.0 / np.prod(shape[1:]))
        return numpy_helper.from_array(values.astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "conv1", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], "conv2", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["scores"], "linear", transB=1),
    ]
    weights = [
        weight("w1", channels, IMAGE[0], 3, 3),
        weight("w2", channels, channels, 3, 3),
        weight("w3", CLASSES, channels),
        *(numpy_helper.from_array(np.zeros(n, np.float32), f"b{i}") for i, n in ((1, channels), (2, channels))),
        numpy_helper.from_array(np.zeros(CLASSES, np.float32), "b3"),
    ]
    return save_graph(path, nodes, weights, {"x": (batch, *IMAGE)}, {"scores": (batch, CLASSES)}, opset=opset)


def save_graph(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    weights: Sequence[onnx.TensorProto],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Mapping[str, Sequence[int | str]],
    *,
    opset: int = 17,
) -> Path:
    """A checked float model of IR version 8."""
    values = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in group.items()]
        for group in (inputs, outputs)
    ]
    graph = helper.make_graph(list(nodes), path.stem, values[0], values[1], list(weights))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def save_small_space(path: Path) -> Path:
    """A search space that is screened in a moment: two schemes, every layer float or int8."""
    path.write_text(
        """
description: Small.
scheme:
  activation_dtype: [uint8]
  activation_symmetric: [false]
  activation_range: [min_max, percentile]
  weight_dtype: [int8]
  weight_granularity: [per_channel]
  weight_range: [abs_max]
  bias_correction: [false]
precision:
  options: [fp32, int8]
  per: unit
search:
  proposals_per_build: 16
  screen: 2
"""
    )
    return path


def images(n: int, seed: int = 0) -> np.ndarray:
    """Smooth random images, of shape (n, 3, 16, 16)."""
    generator = np.random.default_rng(seed)
    coarse = generator.standard_normal((n, IMAGE[0], 4, 4))
    return np.kron(coarse, np.ones((4, 4))).astype(np.float32)


def own_labels(model: Path, samples: np.ndarray) -> np.ndarray:
    """The classes that the model itself gives: what it can lose is then what quantization loses."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.array([session.run(None, {"x": sample[None]})[0].argmax() for sample in samples], np.int64)


def save_samples(path: Path, model: Path, n: int = 60, **changes: np.ndarray) -> Path:
    """``x`` and the model's own ``labels``; ``changes`` add or replace arrays."""
    samples = images(n)
    arrays = {"x": samples, "labels": own_labels(model, samples), **changes}
    np.savez(path, **arrays)
    return path


def digest(path: Path) -> str:
    """SHA-256 of a file, or of all files of a folder with their names."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    names = sorted(p for p in path.rglob("*") if p.is_file())
    return hashlib.sha256("".join(f"{p.relative_to(path)} {digest(p)}\n" for p in names).encode()).hexdigest()


@dataclass(frozen=True)
class Finished:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Standard output, which must be exactly one JSON document."""
        document = json.loads(self.out)
        assert isinstance(document, dict)
        return document

    @property
    def sentence(self) -> str:
        """The one line that says what was wrong."""
        errors = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, self.err
        assert "Traceback" not in self.err, self.err
        return errors[0].removeprefix("error: ")


@dataclass
class Shell:
    """Runs commands as a user would, in a folder of their own, with a cache of their own.

    Attributes:
        folder: the current folder; metrics written here can be imported.
        cache: this user's tables and unpacked samples.
    """

    folder: Path
    cache: Path
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, *arguments: object, **variables: str) -> subprocess.Popen[str]:
        """Starts ``autocompress`` and returns at once."""
        return subprocess.Popen(
            [sys.executable, "-m", "autocompress", *map(str, arguments)],
            cwd=self.folder,
            env=self._variables() | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def call(self, *arguments: object, timeout_s: float = 120.0, **variables: str) -> Finished:
        """Runs ``autocompress`` to its end."""
        process = self.start(*arguments, **variables)
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"{arguments} did not end within {timeout_s} s: {err}") from None
        return Finished(process.returncode, out, err)

    def call_here(self, *arguments: object) -> Finished:
        """The same within this process: much sooner, for tests of what a command says and writes."""
        from autocompress.cli.main import main

        out, err = io.StringIO(), io.StringIO()
        settings = {"AUTOCOMPRESS_CACHE": str(self.cache), **self.environment}
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.chdir(self.folder))
            stack.enter_context(mock.patch.dict(os.environ, settings))
            stack.enter_context(contextlib.redirect_stdout(out))
            stack.enter_context(contextlib.redirect_stderr(err))
            code = main([str(argument) for argument in arguments])
        return Finished(code, out.getvalue(), err.getvalue())

    def python(self, code: str, timeout_s: float = 120.0) -> Finished:
        """Runs Python code in a fresh interpreter."""
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=self.folder,
            env=self._variables(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    def _variables(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AUTOCOMPRESS_")}
        return {
            **kept,
            "AUTOCOMPRESS_CACHE": str(self.cache),
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
            **self.environment,
        }


def interrupt_when(
    process: subprocess.Popen[str], text: str, sent: int = signal.SIGINT, timeout_s: float = 60.0
) -> str:
    """Sends a signal once standard error says ``text``; returns what it had said."""
    assert process.stderr is not None
    said = ""
    deadline = time.monotonic() + timeout_s
    while text not in said:
        line = process.stderr.readline()
        assert line, f"the command ended before it said {text!r}: {said}"
        assert time.monotonic() < deadline, f"the command did not say {text!r}: {said}"
        said += line
    process.send_signal(sent)
    return said
