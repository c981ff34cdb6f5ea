"""One recovery in a process of its own, so that its memory can be told from that of plain inference.

    python benchmarks/recovery_worker.py FOLDER --level light --samples 512 --out recovered.onnx

FOLDER holds ``teacher.onnx``, ``student.onnx`` and ``samples.npz`` (arrays by input name).  Level "inference" only runs
the teacher, in ONNX Runtime, with as many samples at once as a step of training takes.  Levels "inference_libraries"
and "training_libraries" only import what inference and training need.  Prints one line of JSON.
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
from independent_check import plain_session

INFERENCE = "inference"
INFERENCE_LIBRARIES, TRAINING_LIBRARIES = "inference_libraries", "training_libraries"
_BATCH = 32


def main() -> None:
    """Runs it and prints what happened."""
    options = _parse()
    if options.level in _LIBRARIES:
        _LIBRARIES[options.level]()
        print(json.dumps({"peak_bytes": _peak_bytes()}))
        return
    with np.load(options.folder / "samples.npz", allow_pickle=False) as archive:
        samples = {name: archive[name][: options.samples] for name in archive.files}
    cpu, wall = time.process_time(), time.perf_counter()
    result = _infer(options, samples) if options.level == INFERENCE else _recover(options, samples)
    result.update(process_cpu_s=time.process_time() - cpu, process_s=time.perf_counter() - wall)
    result["peak_bytes"] = _peak_bytes()
    print(json.dumps(result))


def _peak_bytes() -> int:
    """Most resident memory of this process.

    What the kernel reports of a child that has ended does not do: it begins with the memory of who started it.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def _infer(options: argparse.Namespace, samples: dict[str, Any]) -> dict[str, Any]:
    session = plain_session(options.folder / "teacher.onnx", options.threads)
    size = session.get_inputs()[0].shape[0]
    step = size if isinstance(size, int) else _BATCH
    for batch in _batches(samples, step):
        session.run(None, batch)
    return {"batch": step}


def _import_inference() -> None:
    import onnxruntime  # noqa: F401


def _import_training() -> None:
    import onnx  # noqa: F401

    import autocompress.passes.recover.resolution  # noqa: F401


_LIBRARIES = {INFERENCE_LIBRARIES: _import_inference, TRAINING_LIBRARIES: _import_training}


def _recover(options: argparse.Namespace, samples: dict[str, Any]) -> dict[str, Any]:
    import onnx
    import torch

    from autocompress.graph.torch_execution.weights import is_float
    from autocompress.passes.recover import RecoverConfig, expected_seconds, recover, resolve

    torch.set_num_threads(options.threads)
    teacher, student = (onnx.load(options.folder / f"{name}.onnx") for name in ("teacher", "student"))
    given = {key: json.loads(value) for key, value in (text.split("=", 1) for text in options.set)}
    config = replace(RecoverConfig(level=options.level), **given)
    size = student.graph.input[0].type.tensor_type.shape.dim[0].dim_value or _BATCH

    def passes() -> Iterator[dict[str, Any]]:
        return _batches(samples, size)

    told_s = expected_seconds(student, teacher, replace(config, closed_form=False), passes) if config.trains else None
    cpu = time.process_time()
    payload = resolve(student, teacher, config, passes, deadline_s=options.deadline)
    cpu_s = time.process_time() - cpu
    onnx.save(recover(student, config, payload), options.folder / options.out)
    arrays = [onnx.numpy_helper.to_array(weight) for weight in student.graph.initializer]
    history = {key: value for key, value in payload.history.items() if key not in ("reconstructed_layers", "losses")}
    return {
        **history,
        "expected_training_seconds": told_s,
        "cpu_seconds": cpu_s,
        "optimizer_bytes": 2 * sum(array.nbytes for array in arrays if is_float(array)) if config.trains else 0,
    }


def _batches(samples: dict[str, Any], size: int) -> Iterator[dict[str, Any]]:
    for start in range(0, len(next(iter(samples.values()))), size):
        yield {name: array[start : start + size] for name, array in samples.items()}


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--level", default="light")
    parser.add_argument("--samples", type=int)
    parser.add_argument("--deadline", type=float)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", default="recovered.onnx")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="of RecoverConfig, as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
