"""What every script here is given and prints: the script's only ties to the benchmark."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

NOT_INSTALLED = 3


@dataclass
class Work:
    """One quantization to do.

    Attributes:
        model: the float model; the tool must not change it.
        calibration: model input -> array whose first axis counts samples.
        output: where the quantized model goes.
        method: which of the script's methods.
        task: what the model does, a task of the evaluation set.
        notes: what a reader of the results should know; scripts add to it.
    """

    model: Path
    calibration: dict[str, Any]
    output: Path
    method: str
    task: str
    notes: list[str] = field(default_factory=list)

    @property
    def samples(self) -> int:
        """How many calibration samples there are."""
        return len(next(iter(self.calibration.values())))

    def sample(self, index: int) -> dict[str, Any]:
        """One calibration sample as a batch of one."""
        return {name: array[index : index + 1] for name, array in self.calibration.items()}


def main(methods: Sequence[str], load: Callable[[], Callable[[Work], str]]) -> None:
    """Runs one method and prints one line of JSON: seconds of processor time, the tool's version, notes.

    Args:
        methods: names that ``--method`` takes.
        load: imports the tool and returns what quantizes with it, which returns the tool's version.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--method", choices=methods, required=True)
    parser.add_argument("--task", default="")
    options = parser.parse_args()
    try:
        quantize = load()
    except ImportError as error:
        print(f"not installed ({error})", file=sys.stderr)
        raise SystemExit(NOT_INSTALLED) from error
    with np.load(options.calibration, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    work = Work(options.model, arrays, options.output, options.method, options.task)
    start = time.process_time()
    version = quantize(work)
    print(json.dumps({"cpu_s": time.process_time() - start, "version": version, "notes": work.notes}))
