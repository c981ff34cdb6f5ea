"""A second opinion on a compressed model: its accuracy and its speed by plain ONNX Runtime, without the package."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from evalset_inputs import Arrays, UserInputs, feeds, save_arrays

Array = npt.NDArray[Any]

_TIMING_SCRIPT = Path(__file__).with_name("interleaved_timing.py")
_SAMPLES_PER_RUN = 8


@dataclass(frozen=True)
class Scored:
    """A model on all samples.

    Attributes:
        value: of the metric.
        per_sample: shape (n,), or None where the metric exists for the whole set only.
        n: number of samples.
    """

    value: float
    per_sample: Array | None
    n: int


class Answers:
    """What a model answers to every sample of a data file, run once and scored on any part.

    Args:
        model: the ONNX file.
        inputs: whose ``data`` and ``metric`` are used.
        threads: of the runtime.
    """

    def __init__(self, model: Path, inputs: UserInputs, threads: int = 2) -> None:
        session = plain_session(model, threads)
        with np.load(inputs.data, allow_pickle=False) as archive:
            self._data = {name: archive[name] for name in archive.files}
        self._metric = inputs.metric
        self._outputs = _run_all(session, feeds(inputs, inputs.data, [i.name for i in session.get_inputs()]))

    def score(self, indices: Array | None = None) -> Scored:
        """The user's metric on the samples at ``indices`` (None for all)."""
        outputs, data = (
            arrays if indices is None else {k: v[indices] for k, v in arrays.items()}
            for arrays in (self._outputs, self._data)
        )
        if self._metric == "top1":
            (logits,) = outputs.values()
            result: Any = (logits.reshape(len(logits), -1).argmax(axis=1) == data["labels"]).astype(np.float64)
        else:
            module, _, function = self._metric.partition(":")
            result = getattr(import_module(module), function)(outputs, data)
        n = len(next(iter(data.values())))
        return Scored(float(np.mean(result)), result if np.ndim(result) else None, n)


def score(model: Path, inputs: UserInputs) -> Scored:
    """The user's metric on all samples."""
    return Answers(model, inputs).score()


def _run_all(session: Any, ready: Arrays) -> Arrays:
    """Every output over all samples, in order."""
    first = session.get_inputs()[0]
    step = first.shape[0] if isinstance(first.shape[0], int) else _SAMPLES_PER_RUN
    starts = range(0, len(ready[first.name]), step)
    parts = [session.run(None, {k: v[i : i + step] for k, v in ready.items()}) for i in starts]
    names = [output.name for output in session.get_outputs()]
    return {name: np.concatenate(part) for name, part in zip(names, zip(*parts, strict=True), strict=True)}


def paired_drop(baseline: Scored, candidate: Scored) -> dict[str, Any]:
    """How much worse the candidate is, with the 95 % interval of the paired mean where scores exist per sample."""
    drop: dict[str, Any] = {
        "baseline": baseline.value,
        "candidate": candidate.value,
        "drop": baseline.value - candidate.value,
        "drop_ci95": None,
        "n": baseline.n,
    }
    if baseline.per_sample is not None and candidate.per_sample is not None and baseline.n > 1:
        difference = baseline.per_sample - candidate.per_sample
        half = 1.96 * float(difference.std(ddof=1)) / math.sqrt(baseline.n)
        drop["drop_ci95"] = [drop["drop"] - half, drop["drop"] + half]
    return drop


def time_both(a: Path, b: Path, inputs: UserInputs, seconds: float, threads: int = 1) -> dict[str, Any]:
    """Interleaved timing of two models on the first sample, in a fresh process.

    Raises:
        subprocess.CalledProcessError: when the process fails; its standard error says why.
    """
    names = [i.name for i in plain_session(a, 1).get_inputs()]
    with tempfile.TemporaryDirectory() as folder:
        sample = Path(folder) / "sample.npz"
        save_arrays(sample, {name: array[:1] for name, array in feeds(inputs, inputs.data, names).items()})
        command = [sys.executable, _TIMING_SCRIPT, a, b, "--feeds", sample]
        command += ["--seconds", str(seconds), "--threads", str(threads)]
        done = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def plain_session(model: Path, threads: int) -> Any:
    """An ONNX Runtime session with default options but for the thread count."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
